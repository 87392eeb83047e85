"""Lists of faces as text: with a header (CSV, TSV), or the header-less lists of the field.

================================== ===========================================================================
``path label``                     two columns, as FaceX-Zoo's and CelebA's; blank, tab, comma between them
``index \\t label \\t path``         MXNet's ``.lst``; of several labels the first one counts
``aligned \\t path \\t label ...``   InsightFace's older ``.lst``; a box and x1 ... x5 y1 ... y5 may follow
================================== ===========================================================================
"""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from hyperarc.data.formats.layout import EXTENSIONS
from hyperarc.data.formats.list_columns import (
    PATHS,
    PEOPLE,
    ListColumns,
    column_named,
    fixed_points,
    listed_columns,
    points,
    whole,
)
from hyperarc.errors import DataError

_LONGEST = 2**33  # bytes of a list
_DELIMITERS = ("\t", ",", ";", "|")
_BOM = b"\xef\xbb\xbf"
_NUMBER = r"-?\d+(?:\.\d*)?"
_TWO = r"^(?P<path>.*[^\s,;])(?:\s*[,;]\s*|\s+)(?P<label>[^\s,;]+)$"
_MXNET = rf"^\d+\t+(?P<label>{_NUMBER})(?:\t+{_NUMBER})*\t+(?P<path>[^\t]+)$"
_ALIGNED = r"^[01]\t(?P<path>[^\t]+)\t(?P<label>-?\d+)(?P<more>(?:\t[^\t]+)*)$"
_HELP = (
    "expected a header with a column of paths (path, file, image ...) and one of people (person, label, identity ...), "
    "or lines of path and label, or an MXNet .lst"
)


class _Lines(NamedTuple):
    """The lines of a file that are not blank, and the number of each, from 1."""

    text: pa.Array
    number: npt.NDArray[np.int64]
    where: Path

    def name(self, row: int) -> str:
        """What to call a row in an error."""
        return f"{self.where}:{self.number[row]}"


def read_text_list(path: Path) -> ListColumns:
    """Read a list of any of the kinds above; what it is is seen from its first line.

    Raises:
        DataError: unreadable, of no known kind, or a row that does not fit, named by its line.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "train.txt"
        >>> _ = path.write_text("ann/1.jpg 0\\nbob/1.jpg 1\\n")
        >>> read_text_list(path).persons.to_pylist()
        ['0', '1']
    """
    data = _bytes(path)
    lines = _lines(data, path)
    if not len(lines.text):
        raise DataError("expected a list of faces, got an empty file", where=path)
    first: str = lines.text[0].as_py()
    for delimiter in _DELIMITERS:
        names = _fields(first, delimiter)
        if column_named(PATHS, names) is not None and column_named(PEOPLE, names) is not None:
            return _with_header(data, names, delimiter, lines)
    fields = first.split("\t")
    if len(fields) >= 3 and re.fullmatch(_ALIGNED, first) and _is_picture(fields[1]):
        return _aligned(lines)
    if len(fields) >= 3 and re.fullmatch(_MXNET, first):
        return _matched(lines, _MXNET, "index, label and path between tabs")
    if re.fullmatch(_TWO, first) and _is_picture(re.sub(_TWO, r"\g<path>", first)):
        return _matched(lines, _TWO, "path and label")
    raise DataError(f"{_HELP}; got {first[:80]!r}", where=f"{path}:{lines.number[0]}")


def is_text(path: Path) -> bool:
    """Whether a file begins as text does."""
    try:
        with open(path, "rb") as file:
            start = file.read(4096)
    except OSError:
        return False
    bad = _first_bad(start)
    return b"\0" not in start and (bad is None or bad > len(start) - 4)  # a character may be cut at the end


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > _LONGEST:
            raise DataError(f"expected a list of at most {_LONGEST} bytes, got {size}", where=path, mend="split it")
        return path.read_bytes().removeprefix(_BOM)
    except OSError as error:
        raise DataError(f"cannot read the list: {error.strerror}", where=path) from error


def _lines(data: bytes, path: Path) -> _Lines:
    """Cut at line ends, without making a Python object of each of millions of lines."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")) + 1
    offsets = np.concatenate([[0], ends, [len(data)]]).astype(np.int64)
    whole = pa.Array.from_buffers(
        pa.large_string(), len(offsets) - 1, [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(data)]
    )
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid:
        line = data[: _first_bad(data)].count(b"\n") + 1
        raise DataError("expected UTF-8 text", where=f"{path}:{line}", mend="save the list as UTF-8") from None
    trimmed = pc.utf8_trim_whitespace(whole)
    full = np.asarray(pc.not_equal(trimmed, "").to_numpy(zero_copy_only=False), np.bool_)
    return _Lines(trimmed.filter(pa.array(full)), np.flatnonzero(full) + 1, path)


def _first_bad(data: bytes) -> int | None:
    """Where the bytes stop to be UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except csv.Error:  # a line end of another system within the line
        return []


def _is_picture(path: str) -> bool:
    return path.lower().endswith(EXTENSIONS)


def _with_header(data: bytes, names: list[str], delimiter: str, lines: _Lines) -> ListColumns:
    def row_name(row: int) -> str:
        return lines.name(row + 1)

    if len(set(names)) < len(names):
        raise DataError(f"expected columns of different names, got {', '.join(names)}", where=lines.name(0))
    try:
        table = arrow_csv.read_csv(
            pa.py_buffer(data),
            arrow_csv.ReadOptions(use_threads=False, column_names=names, skip_rows=int(lines.number[0])),
            arrow_csv.ParseOptions(delimiter=delimiter),
            arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.large_string()), strings_can_be_null=False),
        )
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"no table between {delimiter!r}: {error}", where=lines.where) from error
    columns = {name: whole(table[name]) for name in names}
    path = column_named(PATHS, names)
    assert path is not None
    return listed_columns(columns.pop(path), columns, row_name)


def _matched(lines: _Lines, pattern: str, wanted: str) -> ListColumns:
    parts = _parts(lines, pattern, wanted)
    labels = parts.field("label")
    if pattern == _MXNET:  # im2rec writes every label as a float
        labels = pc.replace_substring_regex(labels, r"\.0*$", "")
    return ListColumns(parts.field("path"), labels, {}, lines.name)


def _aligned(lines: _Lines) -> ListColumns:
    """InsightFace's own: behind the label a box of four, and behind it five x and then five y."""
    parts = _parts(lines, _ALIGNED, "aligned (0 or 1), path, label, and perhaps box and landmarks, between tabs")
    more = pc.split_pattern(parts.field("more"), "\t")  # begins with an empty one, for the tab in front
    counts = np.asarray(pc.list_value_length(more).to_numpy(zero_copy_only=False)) - 1
    odd = np.flatnonzero(~np.isin(counts, (0, 4, 14)))
    if len(odd):
        got = f"expected nothing, a box of 4 numbers, or 10 more behind the label, got {counts[odd[0]]} numbers"
        raise DataError(got, where=lines.name(int(odd[0])))
    extra = {}
    full = counts == 14
    if full.any():
        rows = np.flatnonzero(full)
        flat = more.filter(pa.array(full)).flatten().to_numpy(zero_copy_only=False).reshape(-1, 15)
        ten = [pa.array(flat[:, 5 + half + n], pa.large_string()) for n in range(5) for half in (0, 5)]
        found = points(ten, "the landmarks", lambda row: lines.name(int(rows[row])))
        table = np.full((len(counts), 10), np.nan, np.float32)
        table[rows] = found.flatten().to_numpy(zero_copy_only=False).reshape(-1, 10)
        extra["landmarks"] = fixed_points(table, ~full)
    return ListColumns(parts.field("path"), parts.field("label"), extra, lines.name)


def _parts(lines: _Lines, pattern: str, wanted: str) -> pa.StructArray:
    parts = pc.extract_regex(lines.text, pattern)
    odd = np.flatnonzero(parts.is_null().to_numpy(zero_copy_only=False))
    if len(odd):
        row = int(odd[0])
        raise DataError(f"expected {wanted}, got {lines.text[row].as_py()[:80]!r}", where=lines.name(row))
    return parts
