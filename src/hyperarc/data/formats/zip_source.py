"""Faces in a zip, read in place: nothing is extracted to disk."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hyperarc.data.formats.byte_file import LocalBytes
from hyperarc.data.formats.layout import Layout, Place, leads_outside
from hyperarc.data.manifest import Manifest
from hyperarc.errors import DataError, nearest_names
from hyperarc.faces.image import DEFAULT_LIMITS, ImageLimits, Pixels, decode

_LOCAL_HEADER = 30
_ENCRYPTED = 0x1
_EXTRA_GUESS = 64  # local extra fields are usually shorter; one read then fetches header and data together


@dataclass(frozen=True)
class ZipLimits:
    """What a zip may hold before it is refused.

    Attributes:
        members: number of entries; default 20 million.
        image: limits of each picture; its ``bytes`` bounds each member, inflated.
    """

    members: int = 20_000_000
    image: ImageLimits = DEFAULT_LIMITS


class _Member(NamedTuple):
    offset: int
    packed: int
    size: int
    deflated: bool
    crc: int


class ZipSource:
    """A zip of ``person/face.ext``, at any depth: the person is the path of the folder.

    The central directory is read once, here; a face is then one positioned read, so random access costs the
    same anywhere in the file and in any number of processes. Stored and deflated members are read.

    Args:
        path: the zip.
        name: short name of the source; default the file name without ``.zip``.
        limits: refused beyond these.

    Raises:
        DataError: no zip, more members than allowed, a member that is encrypted, packed in an unknown way,
            larger than allowed, or whose name leads out of the zip (``../``, absolute): named.

    Example:
        >>> import tempfile, PIL.Image, io
        >>> path = Path(tempfile.mkdtemp(), "set.zip")
        >>> picture = io.BytesIO(); PIL.Image.new("RGB", (112, 112)).save(picture, "PNG")
        >>> with zipfile.ZipFile(path, "w") as z:
        ...     z.writestr("ann/1.png", picture.getvalue())
        >>> source = ZipSource(path)
        >>> source.scan().people, source.image("ann/1.png").shape
        (('ann',), (112, 112, 3))
    """

    def __init__(self, path: str | Path, *, name: str | None = None, limits: ZipLimits | None = None) -> None:
        self.path = Path(path).absolute()
        self.name = name or self.path.stem
        self.limits = limits or ZipLimits()
        self._file = LocalBytes(self.path)
        self._members: dict[str, _Member] = {}
        self._layout = Layout(self.name, str(self.path))
        self._read_directory()

    def scan(self) -> Manifest:
        """All faces, with findings: skipped members and people without faces."""
        return self._layout.manifest()

    def read(self, face: str) -> bytes:
        """The picture file of ``face``; :class:`DataError` when it is unknown or damaged."""
        member = self._members.get(face)
        if member is None:
            near = nearest_names(face, self._members, most=1) if len(self._members) < 100_000 else []
            raise DataError(
                "no such face in this zip",
                where=self._where(face),
                mend=f"did you mean {near[0]!r}?" if near else "scan it again",
            )
        room = _LOCAL_HEADER + len(face.encode()) + _EXTRA_GUESS + member.packed
        inside = 0 <= member.offset < self._file.size  # else the system refuses to read there
        head = self._file.read_at(member.offset, room) if inside else b""
        if len(head) < _LOCAL_HEADER or head[:4] != b"PK\x03\x04":
            raise self._damaged(face, "no member header where the directory says")
        start = _LOCAL_HEADER + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        if start + member.packed > len(head):
            head, start = self._file.read_at(member.offset + start, member.packed), 0
        packed = head[start : start + member.packed]
        data = self._inflate(face, packed, member.size) if member.deflated else packed
        if len(data) != member.size or zlib.crc32(data) != member.crc:
            raise self._damaged(face, f"expected {member.size} bytes of checksum {member.crc:08x}")
        return data

    def image(self, face: str) -> Pixels:
        """The picture of ``face``: uint8 [H, W, 3], RGB."""
        return decode(self.read(face), where=self._where(face), limits=self.limits.image)

    def _where(self, face: str) -> Place:
        return Place(self.path, face)

    def _damaged(self, face: str, what: str) -> DataError:
        return DataError(f"damaged zip member: {what}", where=self._where(face), mend="copy or pack it again")

    def _inflate(self, face: str, packed: bytes, size: int) -> bytes:
        try:
            # One byte more than declared tells a bomb from an honest member without inflating the rest.
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
        except zlib.error as error:
            raise self._damaged(face, str(error)) from error

    def _read_directory(self) -> None:
        try:
            with zipfile.ZipFile(self.path) as archive:
                entries = archive.infolist()
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise DataError(f"expected a zip of faces, got: {error}", where=self.path) from error
        if len(entries) > self.limits.members:
            raise DataError(
                f"expected at most {self.limits.members} members, got {len(entries)}",
                where=self.path,
                mend="raise ZipLimits.members",
            )
        for entry in entries:
            self._add(entry)

    def _add(self, entry: zipfile.ZipInfo) -> None:
        name = entry.filename
        self._require_inside(entry.orig_filename)
        if entry.is_dir():
            self._layout.add_folder(name.rstrip("/"))
            return
        if "/" in name:
            self._layout.add_folder(name.rpartition("/")[0])
        if name in self._members:
            self._layout.skip("members of the same name skipped", name)
            return
        before = len(self._layout.faces)
        self._layout.add(name)
        if len(self._layout.faces) == before:
            return
        self._require_readable(entry)
        deflated = entry.compress_type == zipfile.ZIP_DEFLATED
        self._members[name] = _Member(
            entry.header_offset, entry.compress_size, entry.file_size, deflated, entry.CRC
        )

    def _require_inside(self, name: str) -> None:
        if leads_outside(name):
            raise DataError(
                f"refused: the member name {name!r} leads out of the zip",
                where=self.path,
                mend="do not trust this file; pack it again from its folder",
            )

    def _require_readable(self, entry: zipfile.ZipInfo) -> None:
        wrong = None
        if entry.flag_bits & _ENCRYPTED:
            wrong, mend = "is encrypted", "pack it again without a password"
        elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            wrong, mend = f"is packed by method {entry.compress_type}", "pack it again stored or deflated"
        elif max(entry.file_size, entry.compress_size) > self.limits.image.bytes:
            wrong = f"has {entry.file_size} bytes; at most {self.limits.image.bytes} are accepted"
            mend = "shrink it or raise ImageLimits.bytes"
        if wrong:
            raise DataError(f"refused: the member {entry.filename!r} {wrong}", where=self.path, mend=mend)
