"""What the columns of a list of faces may be called, and how they become the columns of a manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hyperarc.data.parquet import COLORS, SCHEMA
from hyperarc.errors import DataError

# The first that a list has is taken; names are compared in lower case.
PATHS = ("path", "file", "face", "image", "img", "file_path", "image_path", "img_path", "file_name", "filename")
PEOPLE = ("person", "identity", "label", "class", "name", "person_id", "identity_id", "class_id", "subject", "id")
OPTIONAL = ("width", "height", "keep", "reason", "color")
_SPELLINGS = ("{axis}{n}", "lm_{axis}{n}", "landmark_{axis}{n}", "p{n}{axis}")  # of the ten numbers, n from 1
_POINTS = ("landmarks", "landmark", "lm")  # ten numbers in one column
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")

Where = Callable[[int], str]


class ListColumns(NamedTuple):
    """The rows of a list. ``row_name(i)`` says where row i stands, for errors.

    ``extra`` holds what the list has of ``landmarks``, ``width``, ``height``, ``keep``, ``reason`` and ``color``, in
    the types of a manifest.
    """

    paths: pa.Array
    persons: pa.Array
    extra: dict[str, pa.Array]
    row_name: Where

    def take(self, rows: npt.NDArray[np.int64]) -> ListColumns:
        """These rows alone; each is still called by its place in the whole."""
        chosen = pa.array(rows)
        extra = {name: column.take(chosen) for name, column in self.extra.items()}
        return ListColumns(
            self.paths.take(chosen), self.persons.take(chosen), extra, lambda row: self.row_name(int(rows[row]))
        )


def column_named(known: Sequence[str], names: Sequence[str]) -> str | None:
    """The first of the known names that a list has, as the list spells it.

    Example:
        >>> column_named(PATHS, ["Label", "Filename "])
        'Filename '
    """
    spelled = {name.strip().lower(): name for name in reversed(names)}
    return next((spelled[name] for name in known if name in spelled), None)


def landmark_names(names: Sequence[str]) -> list[str]:
    """The columns with landmarks, in the order x1 y1 ... x5 y5 (or the one that holds all ten); empty if there is none.

    Example:
        >>> landmark_names(["NAME_ID", *(f"P{n}{axis}" for n in range(1, 6) for axis in "XY")])[:3]
        ['P1X', 'P1Y', 'P2X']
    """
    single = column_named(_POINTS, names)
    if single is not None:
        return [single]
    for spelling in _SPELLINGS:
        wanted = [spelling.format(axis=axis, n=n) for n in range(1, 6) for axis in "xy"]
        found = [column_named([name], names) for name in wanted]
        if all(found):
            return [name for name in found if name is not None]
    return []


def listed_columns(paths: pa.Array, columns: dict[str, pa.Array], row_name: Where) -> ListColumns:
    """The columns of a table under the names that it has; people must be among them."""
    person = column_named(PEOPLE, list(columns))
    assert person is not None
    extra: dict[str, pa.Array] = {}
    for wanted in OPTIONAL:
        name = column_named([wanted], list(columns))
        if name is None:
            continue
        what = f"column {name!r}"
        if wanted in ("width", "height"):
            extra[wanted] = whole_numbers(columns[name], what, row_name)
        elif wanted == "keep":
            extra[wanted] = flags(columns[name], what, row_name)
        elif wanted == "color":
            extra[wanted] = _colors(columns[name], what, row_name)
        else:
            extra[wanted] = pc.fill_null(columns[name].cast(pa.large_string()), "")
    marks = landmark_names(list(columns))
    if marks:
        extra["landmarks"] = points([columns[name] for name in marks], f"columns {marks[0]!r} ...", row_name)
    return ListColumns(paths.cast(pa.large_string()), columns[person], extra, row_name)


def whole(column: pa.ChunkedArray) -> pa.Array:
    """One array of all chunks."""
    one = column.combine_chunks()
    return one.combine_chunks() if isinstance(one, pa.ChunkedArray) else one


def whole_numbers(column: pa.Array, what: str, row_name: Where) -> pa.Array:
    """Texts or numbers as int32, empty ones 0; :class:`DataError` names the row of another one."""
    return _parsed(column, pa.int32(), what, "a whole number", row_name).fill_null(0)


def flags(column: pa.Array, what: str, row_name: Where) -> pa.Array:
    """Texts or booleans as booleans, empty ones true."""
    if pa.types.is_boolean(column.type):
        return column.fill_null(True)
    words = pc.utf8_lower(pc.utf8_trim_whitespace(column.cast(pa.large_string())))
    empty = pc.fill_null(pc.equal(words, ""), True)
    true = pc.or_(empty, pc.is_in(words, pa.array(_TRUE, pa.large_string())))
    odd = pc.invert(pc.or_(true, pc.is_in(words, pa.array(_FALSE, pa.large_string()))))
    _refuse_first(column, odd, what, "true or false", row_name)
    return true


def points(columns: Sequence[pa.Array], what: str, row_name: Where) -> pa.Array:
    """Ten columns of numbers, or one of ten numbers each, as the landmarks of a manifest; empty ones are null."""
    if len(columns) == 1 and pa.types.is_floating(getattr(columns[0].type, "value_type", pa.null())):
        return _listed_points(columns[0], what, row_name)
    if len(columns) == 1:
        trimmed = pc.utf8_trim_whitespace(columns[0].cast(pa.large_string()))
        columns = _split_ten(trimmed, what, row_name)
    numbers = [_parsed(column, pa.float32(), what, "a number", row_name) for column in columns]
    table = np.stack([np.asarray(n.to_numpy(zero_copy_only=False), np.float32) for n in numbers], axis=1)
    missing = np.isnan(table)
    partly = missing.any(axis=1) & ~missing.all(axis=1)
    if partly.any():
        raise DataError(f"expected ten numbers in {what}, got fewer", where=row_name(int(np.argmax(partly))))
    return fixed_points(table, missing[:, 0])


def fixed_points(table: npt.NDArray[np.float32], missing: npt.NDArray[np.bool_]) -> pa.Array:
    """float32 [rows, 10] as the column ``landmarks``, null where missing."""
    values = pa.array(np.ascontiguousarray(table, np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(values, type=SCHEMA.field("landmarks").type, mask=pa.array(missing))


def _colors(column: pa.Array, what: str, row_name: Where) -> pa.Array:
    words = pc.fill_null(pc.utf8_lower(pc.utf8_trim_whitespace(column.cast(pa.large_string()))), "")
    words = pc.if_else(pc.equal(words, ""), COLORS[0], words)
    odd = pc.invert(pc.is_in(words, pa.array(COLORS, pa.large_string())))
    _refuse_first(column, odd, what, " or ".join(COLORS), row_name)
    return words


def _listed_points(column: pa.Array, what: str, row_name: Where) -> pa.Array:
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False))
    odd = (lengths != 10) & (lengths != 0)
    if odd.any():
        raise DataError(
            f"expected ten numbers in {what}, got {lengths[odd][0]}", where=row_name(int(np.argmax(odd)))
        )
    table = np.full((len(column), 10), np.nan, np.float32)
    known = np.asarray(column.is_valid().to_numpy(zero_copy_only=False)) & (lengths == 10)
    table[known] = column.filter(pa.array(known)).flatten().to_numpy(zero_copy_only=False).reshape(-1, 10)
    return fixed_points(table, ~known)


def _split_ten(column: pa.Array, what: str, row_name: Where) -> list[pa.Array]:
    pattern = r"^(?:" + r"[\s;,]+".join(f"(?P<v{i}>[^\\s;,]+)" for i in range(10)) + r")?$"
    parts = pc.extract_regex(pc.fill_null(column, ""), pattern)
    _refuse_first(column, parts.is_null(), what, "ten numbers", row_name)
    return [parts.field(i) for i in range(10)]


def _parsed(column: pa.Array, kind: pa.DataType, what: str, wanted: str, row_name: Where) -> pa.Array:
    if _is_text(column.type):
        trimmed = pc.utf8_trim_whitespace(column)
        column = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, trimmed.type), trimmed)
    try:
        return column.cast(kind)
    except (pa.ArrowException, ValueError):
        for row, value in enumerate(column.to_pylist()):
            if not _fits(value, kind):
                raise DataError(f"expected {wanted} in {what}, got {value!r}", where=row_name(row)) from None
        raise


def _fits(value: Any, kind: pa.DataType) -> bool:
    try:
        pa.array([value]).cast(kind)
    except (pa.ArrowException, ValueError):
        return False
    return True


def _refuse_first(column: pa.Array, odd: pa.Array, what: str, wanted: str, row_name: Where) -> None:
    rows = np.flatnonzero(odd.to_numpy(zero_copy_only=False))
    if len(rows):
        row = int(rows[0])
        raise DataError(f"expected {wanted} in {what}, got {column[row].as_py()!r}", where=row_name(row))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
