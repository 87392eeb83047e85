"""RecordIO, the container of MXNet: records one after the other in a ``.rec`` file, read in place.

A record is one chunk. Where its own bytes hold the magic number at a multiple of four they are cut there, the magic
number is left out, and each piece is a chunk. A chunk is the magic number, a word with its kind (3 bits) and length
(29 bits), its bytes, and zeros up to a multiple of four.

A record begins with 24 bytes: uint32 flag, float32 label, uint64 id, uint64 id2. With flag = n > 0 the label is a
vector, and n float32 follow. The rest is the payload, a picture file. All numbers are little endian.

Nothing that the file says of itself is believed: every length is held against the file and the limits.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hyperarc.data.formats.byte_file import LocalBytes
from hyperarc.errors import DataError
from hyperarc.faces.image import DEFAULT_LIMITS, ImageLimits

MAGIC = (0xCED7230A).to_bytes(4, "little")
CHUNK = struct.Struct("<II")
WHOLE, FIRST, MIDDLE, LAST = range(4)
LONGEST = 2**29 - 1
SOUND, OUTSIDE, DAMAGED = range(3)
_HEADER = struct.Struct("<IfQQ")
_SMALLEST = CHUNK.size + _HEADER.size
_HEAD = _SMALLEST + 4  # bytes of a chunk, its header, and the first number of a label vector
_USUAL = struct.Struct("<IIIfQQ")
_MAGIC = int.from_bytes(MAGIC, "little")
_GUESS = 2**13  # bytes that hold most records of aligned faces
_BLOCK = 2**18  # heads looked at together
_PARTS = 1024  # of one record; no picture holds the magic number that often


@dataclass(frozen=True)
class RecordLimits:
    """What a ``.rec`` may hold before it, or a record of it, is refused.

    Attributes:
        records: number of records; default 200 million.
        labels: numbers in the label vector of a record; default 1024.
        image: limits of each picture; its ``bytes`` bounds each payload.
    """

    records: int = 200_000_000
    labels: int = 1024
    image: ImageLimits = DEFAULT_LIMITS


class Record(NamedTuple):
    """One record; ``label`` has one number, or ``flag`` numbers when flag > 0."""

    flag: int
    label: tuple[float, ...]
    id: int
    id2: int
    payload: bytes


class Heads(NamedTuple):
    """What is known of many records without their payloads, each [records].

    ``problem`` is SOUND, OUTSIDE (of the file) or DAMAGED, ``label`` the first number of the label, ``payload`` a
    length in bytes. The other columns mean nothing where there is a problem.
    """

    problem: npt.NDArray[np.uint8]
    flag: npt.NDArray[np.int64]
    label: npt.NDArray[np.float32]
    id: npt.NDArray[np.uint64]
    payload: npt.NDArray[np.int64]


class RecordFile:
    """A ``.rec``, read by position. Not by a memory map: were the file cut off meanwhile, it would end the process.

    Args:
        path: the file.
        limits: refused beyond these.

    Raises:
        DataError: missing, or too short for a record; when read, changed since this object was made.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "one.rec"
        >>> _ = path.write_bytes(chunks(packed(3.0, 1, b"picture")))
        >>> RecordFile(path).record(0)
        Record(flag=0, label=(3.0,), id=1, id2=0, payload=b'picture')
    """

    def __init__(self, path: Path, limits: RecordLimits | None = None) -> None:
        self.path = path
        self.limits = limits or RecordLimits()
        self.bytes = LocalBytes(path)
        self.size = self.bytes.size
        self._most = _HEADER.size + self.limits.image.bytes
        if self.size < _SMALLEST:
            raise DataError(f"expected records, got {self.size} bytes", where=path, mend="copy it again")

    def record(self, offset: int, where: object = None) -> Record:
        """The record that begins at ``offset``; :class:`DataError` with ``where`` when it is damaged."""
        start = self.bytes.read_at(offset, _GUESS) if 0 <= offset < self.size else b""
        if len(start) >= _SMALLEST:  # nearly all records: whole, with one label, and short
            magic, word, flag, label, number, number2 = _USUAL.unpack_from(start)
            if magic == _MAGIC and not flag and _HEADER.size <= word <= min(len(start) - CHUNK.size, self._most):
                return Record(0, (label,), number, number2, start[_SMALLEST : CHUNK.size + word])
        place = where or f"{self.path}: byte {offset}"
        data = self._joined(offset, place)
        if len(data) < _HEADER.size:
            raise _damaged(place, f"expected a header of {_HEADER.size} bytes, got {len(data)}")
        flag, label, number, number2 = _HEADER.unpack_from(data)
        start = _HEADER.size + 4 * flag
        if flag > self.limits.labels or start > len(data):
            raise _damaged(place, f"its label is said to have {flag} numbers")
        if len(data) - start > self.limits.image.bytes:
            raise _damaged(place, f"longer than the {self.limits.image.bytes} bytes accepted of a picture")
        labels = struct.unpack_from(f"<{flag}f", data, _HEADER.size) if flag else (label,)
        return Record(flag, labels, number, number2, data[start:])

    def heads(self, offsets: npt.NDArray[np.int64]) -> Heads:
        """What stands at the beginning of each record; nothing is raised for damaged ones."""
        blocks = [self._heads(offsets[at : at + _BLOCK]) for at in range(0, max(len(offsets), 1), _BLOCK)]
        return Heads(*(np.concatenate(column) for column in zip(*blocks, strict=True)))

    def _joined(self, offset: int, where: object) -> bytes:
        most = _HEADER.size + 4 * self.limits.labels + self.limits.image.bytes
        parts: list[bytes] = []
        while len(parts) < _PARTS:
            kind, part = self._chunk(offset, most, where)
            if kind > LAST or (kind in (WHOLE, FIRST)) == bool(parts):
                raise _damaged(where, "a part of a split record stands where none belongs, or is missing")
            if kind == WHOLE:
                return part
            most -= len(part)
            parts.append(part)
            if kind == LAST:
                return MAGIC.join(parts)
            offset += CHUNK.size + len(part) + -len(part) % 4
        raise _damaged(where, f"cut into more than {_PARTS} parts")

    def _chunk(self, offset: int, most: int, where: object) -> tuple[int, bytes]:
        """Kind and bytes of the chunk at ``offset``: one read for most, two for long ones."""
        if offset < 0 or offset + CHUNK.size > self.size:
            raise _damaged(where, f"byte {offset} lies outside the file, which has {self.size}")
        data = self.bytes.read_at(offset, _GUESS)
        if data[:4] != MAGIC or len(data) < CHUNK.size:
            raise _damaged(where, f"no record begins at byte {offset}")
        word = CHUNK.unpack_from(data)[1]
        length = word & LONGEST
        end = CHUNK.size + length
        if offset + end > self.size:
            raise _damaged(where, f"{length} bytes from byte {offset} on reach beyond the file, which has {self.size}")
        if length > most:
            raise _damaged(where, f"longer than the {self.limits.image.bytes} bytes accepted of a picture")
        if end > len(data):
            data += self.bytes.read_at(offset + len(data), end - len(data))
        if end > len(data):
            raise _damaged(where, "the file was cut off")
        return word >> 29, data[CHUNK.size : end]

    def _heads(self, offsets: npt.NDArray[np.int64]) -> Heads:
        inside = (offsets >= 0) & (offsets % 4 == 0) & (offsets <= self.size - _SMALLEST)
        begins_at = np.where(inside, offsets, 0).tolist()
        read = b"".join(self.bytes.read_at(at, _HEAD).ljust(_HEAD, b"\0") for at in begins_at)
        table = np.frombuffer(read, "<u4").reshape(-1, _HEAD // 4)
        kind, length = table[:, 1] >> 29, (table[:, 1] & LONGEST).astype(np.int64)
        flag = table[:, 2].astype(np.int64)
        label = np.where(flag > 0, table[:, 8], table[:, 3]).astype(np.uint32).view(np.float32)
        number = table[:, 4] | table[:, 5].astype(np.uint64) << np.uint64(32)
        payload = length - _HEADER.size - 4 * flag
        begins = inside & (table[:, 0] == int.from_bytes(MAGIC, "little"))
        sound = begins & (kind == WHOLE) & (flag <= self.limits.labels) & (payload >= 0)
        sound &= (offsets + CHUNK.size + length <= self.size) & (payload <= self.limits.image.bytes)
        for row in np.flatnonzero(begins & (kind == FIRST)):
            try:
                record = self.record(int(offsets[row]))
            except DataError:
                continue
            sound[row], flag[row], label[row] = True, record.flag, record.label[0]
            number[row], payload[row] = record.id, len(record.payload)
        problem = np.where(inside, np.where(sound, SOUND, DAMAGED), OUTSIDE).astype(np.uint8)
        return Heads(problem, flag, label, number, payload)


def packed(label: float | Sequence[float], number: int, payload: bytes, *, id2: int = 0) -> bytes:
    """A record's bytes: header, label vector if ``label`` is a sequence, payload.

    Example:
        >>> len(packed(1.0, 7, b"")), len(packed((1.0, 4.0), 7, b""))
        (24, 32)
    """
    if isinstance(label, Sequence):
        return _HEADER.pack(len(label), 0.0, number, id2) + struct.pack(f"<{len(label)}f", *label) + payload
    return _HEADER.pack(0, label, number, id2) + payload


def chunks(record: bytes) -> bytes:
    """A record as it lies in the file: cut at every magic number that stands at a multiple of four.

    Raises:
        DataError: longer than the 29 bits of a length, or cut too often to be a picture.

    Example:
        >>> [len(chunks(bytes(8))), len(chunks(bytes(4) + MAGIC)), len(chunks(b"x" + MAGIC))]
        [16, 20, 16]
    """
    if len(record) > LONGEST:
        raise DataError(f"expected a record of at most {LONGEST} bytes, got {len(record)}")
    parts, start, found = [], 0, record.find(MAGIC)
    while found >= 0:
        if found % 4 == 0:
            parts.append(record[start:found])
            start = found + 4
        found = record.find(MAGIC, start if found % 4 == 0 else found + 1)
    parts.append(record[start:])
    if len(parts) > _PARTS:
        raise DataError(f"expected a picture, got bytes that hold RecordIO's magic number {len(parts) - 1} times")
    kinds = [WHOLE] if len(parts) == 1 else [FIRST, *[MIDDLE] * (len(parts) - 2), LAST]
    heads = (MAGIC + (kind << 29 | len(part)).to_bytes(4, "little") for kind, part in zip(kinds, parts, strict=True))
    return b"".join(head + part + bytes(-len(part) % 4) for head, part in zip(heads, parts, strict=True))


def _damaged(where: object, what: str) -> DataError:
    return DataError(f"damaged record: {what}", where=where, mend="copy or pack the records again")
