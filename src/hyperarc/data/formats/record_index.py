"""Where each record begins: ``.idx`` read, or made anew by walking through the ``.rec``; and what lies beside."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

from hyperarc.data.findings import NAMES_KEPT, Finding
from hyperarc.data.formats.layout import leads_outside
from hyperarc.data.formats.recordio import CHUNK, FIRST, LAST, LONGEST, MAGIC, SOUND, WHOLE, RecordFile
from hyperarc.errors import DataError

_COLUMNS = ("key", "offset")
_LONGEST_LINE = 40  # of an .idx: two numbers of up to 19 digits
_LONGEST_PROPERTY = 4096
_LONGEST_NAMES = 2**30
_DAMAGED = "damaged records skipped"
_WINDOW = 2**20  # bytes searched at a time; a multiple of four, so that no place is cut in two
_MOST_DAMAGED = 10_000  # stretches; a file with more is no .rec


class RecordIndex(NamedTuple):
    """Keys, in rising order, and the byte at which each record begins, int64 [records].

    ``findings`` tell what could not be indexed.
    """

    keys: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    findings: tuple[Finding, ...] = ()


class Property(NamedTuple):
    """What the file ``property`` says: number of classes, and the size of the pictures in pixels."""

    classes: int
    height: int
    width: int


def read_index(path: Path, most: int) -> RecordIndex:
    """Read an ``.idx``: lines of key, tab, byte. Of lines with one key the last one counts, as in MXNet.

    Args:
        path: the file.
        most: records accepted.

    Raises:
        DataError: unreadable, other than two whole numbers in a row, negative, empty, or too many rows.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "train.idx"
        >>> _ = path.write_text("1\\t0\\n0\\t4872\\n")
        >>> read_index(path, 10).offsets.tolist()
        [4872, 0]
    """
    mend = "remove it, and it is rebuilt from the .rec"
    try:
        size = path.stat().st_size
        if size > most * _LONGEST_LINE:
            raise DataError(f"expected at most {most} records, got an index of {size} bytes", where=path)
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(use_threads=False, column_names=list(_COLUMNS)),
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(_COLUMNS, pa.int64()), null_values=[]),
        )
        keys, offsets = (np.asarray(table[name].to_numpy(), np.int64) for name in _COLUMNS)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"expected lines of key, tab, byte: {error}", where=path, mend=mend) from error
    if not 0 < len(keys) <= most or keys.min() < 0:
        raise DataError(f"expected 1 to {most} records with keys from 0 on, got {len(keys)}", where=path, mend=mend)
    order = np.argsort(keys, kind="stable")
    keys, offsets = keys[order], offsets[order]
    last = np.append(keys[1:] != keys[:-1], True)
    findings = found("index lines skipped for a later one of their key", keys[~last])
    return RecordIndex(keys[last], offsets[last], findings)


def found(what: str, names: npt.NDArray[np.int64], form: str = "{}") -> tuple[Finding, ...]:
    """One finding over records named by numbers, or none; millions of names cost nothing.

    Example:
        >>> str(found("damaged records skipped", np.array([3, 5]))[0])
        "2 damaged records skipped: '3', '5'"
    """
    shown = tuple(form.format(name) for name in names[:NAMES_KEPT].tolist())
    return (Finding(what, len(names), shown),) if len(names) else ()


def rebuild_index(file: RecordFile) -> RecordIndex:
    """The index of a ``.rec`` without one: records are named by their ids, or counted where ids recur.

    A damaged stretch is left at the next magic number at a multiple of four, which no payload can hold.

    Raises:
        DataError: not one sound record, or too many.
    """
    offsets, damaged = _walk(file)
    heads = file.heads(offsets)
    sound = (heads.problem == SOUND) & (heads.id < 2**63)
    damaged = np.sort(np.append(damaged, offsets[~sound]))
    offsets, keys = offsets[sound], heads.id[sound].astype(np.int64)
    if not len(offsets):
        raise DataError("expected records, got none", where=file.path, mend="copy it again")
    if len(np.unique(keys)) < len(keys):
        keys = np.arange(len(keys))
    order = np.argsort(keys, kind="stable")
    return RecordIndex(keys[order], offsets[order], found(_DAMAGED, damaged, "byte {}"))


def read_property(path: Path) -> Property | None:
    """Read ``property``, one line of classes, height, width; None where there is no such file.

    Raises:
        DataError: anything else in it.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "property"
        >>> _ = path.write_text("85742,112,112\\n")
        >>> read_property(path)
        Property(classes=85742, height=112, width=112)
    """
    text = _small_text(path, _LONGEST_PROPERTY)
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    if len(words) != 3 or not all(word.isdecimal() and len(word) < 10 for word in words):
        raise DataError(f"expected 'classes,height,width', got {text[:40]!r}", where=path, mend="correct or remove it")
    return Property(*map(int, words))


def read_people(path: Path) -> list[str] | None:
    """Read ``people.txt``, the names of the classes in their order, one a line; None where there is no such file.

    ``hyperarc pack`` writes it, because records know people by their numbers alone.

    Raises:
        DataError: empty names, names that recur, or that would lead out of a folder.
    """
    text = _small_text(path, _LONGEST_NAMES)
    if text is None:
        return None
    people = text.removesuffix("\n").split("\n")
    seen: set[str] = set()
    for number, person in enumerate(people, start=1):
        if leads_outside(person) or person in seen:
            reason = "stands twice" if person in seen else "is no name of a folder"
            raise DataError(f"{person[:80]!r} {reason}", where=f"{path}:{number}", mend="correct or remove it")
        seen.add(person)
    return people


def _small_text(path: Path, most: int) -> str | None:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read(most + 1)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read as UTF-8 text ({error})", where=path, mend="correct or remove it") from error
    if len(text) > most:
        raise DataError(f"expected at most {most} characters", where=path, mend="correct or remove it")
    return text


def _walk(file: RecordFile) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where records begin, and where damaged stretches do."""
    read, size, unpack = file.bytes.read_at, file.size, CHUNK.unpack
    magic = int.from_bytes(MAGIC, "little")
    begins, damaged = array("q"), array("q")
    at, closed = 0, True  # closed: no split record waits for its next part
    while at < size:
        start = read(at, CHUNK.size)
        head, word = unpack(start) if len(start) == CHUNK.size else (0, 0)
        kind, end = word >> 29, at + CHUNK.size + (word & LONGEST)
        if head == magic and end <= size and kind <= LAST and (kind in (WHOLE, FIRST)) == closed:
            if closed:
                begins.append(at)
            closed = kind in (WHOLE, LAST)
            at = end + -end % 4
        elif closed:
            damaged.append(at)
            at = _next_magic(file, at + 4)
        else:  # the next part never came; what stands here instead may be a record
            damaged.append(begins.pop())
            closed = True
        if len(damaged) > _MOST_DAMAGED or len(begins) > file.limits.records:
            most = f"{file.limits.records} records, at most {_MOST_DAMAGED} of them damaged"
            raise DataError(f"expected at most {most}; got more", where=file.path, mend="copy it again")
    if not closed:
        damaged.append(begins.pop())
    return np.array(begins, np.int64), np.array(damaged, np.int64)


def _next_magic(file: RecordFile, at: int) -> int:
    """The next place at a multiple of four where the magic number stands, or the end of the file."""
    while at < file.size:
        window = file.bytes.read_at(at, _WINDOW)
        found = window.find(MAGIC)
        while found >= 0 and found % 4:
            found = window.find(MAGIC, found + 1)
        if found >= 0:
            return at + found
        at += _WINDOW if len(window) == _WINDOW else file.size
    return file.size
