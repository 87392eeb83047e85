"""The Parquet file of a manifest: its columns, checked on the way in, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hyperarc.errors import DataError, nearest_names
from hyperarc.files import write_beside

_METADATA_KEY = b"hyperarc"
# A few thousand names repeated over millions of rows: codes take 4 bytes a row. Keys of faces are all
# different, and beyond 2 GiB of them only 64-bit offsets hold.
_NAMES = pa.dictionary(pa.int32(), pa.string())

COLORS = ("rgb", "bgr")
SCHEMA = pa.schema(
    [
        ("face", pa.large_string()),
        ("source", _NAMES),
        ("person", _NAMES),
        ("label", pa.int64()),
        ("landmarks", pa.list_(pa.float32(), 10)),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("color", _NAMES),
        ("keep", pa.bool_()),
        ("reason", _NAMES),
    ]
)


def conform(table: pa.Table, *, where: object = None) -> pa.Table:
    """``table`` with exactly the columns of :data:`SCHEMA`, in its types and order; without ``color`` all is RGB.

    Raises:
        DataError: a column is missing, of another type, or holds nulls (landmarks may) or an unknown color.
    """
    _require_columns(table.schema.names, where)
    if "color" not in table.schema.names:
        table = table.append_column("color", color_column(np.zeros(len(table), np.bool_)))
    columns = [_column(table.column(wanted.name), wanted, where) for wanted in SCHEMA]
    whole = pa.table(columns, schema=SCHEMA)
    _require_colors(whole["color"], where)
    return whole


def color_column(swapped: npt.NDArray[np.bool_]) -> pa.DictionaryArray:
    """The column ``color``: bgr where red and blue are exchanged, else rgb."""
    return pa.DictionaryArray.from_arrays(pa.array(swapped.astype(np.int32)), pa.array(COLORS))


def _require_columns(names: list[str], where: object) -> None:
    missing = [name for name in SCHEMA.names if name not in names and name != "color"]
    if missing:
        near = nearest_names(missing[0], [name for name in names if name not in SCHEMA.names], most=1)
        raise DataError(
            f"expected the columns {', '.join(SCHEMA.names)}; missing: {', '.join(missing)}",
            where=where,
            mend=f"rename {near[0]!r}" if near else "scan the data again",
        )


def _require_colors(column: pa.ChunkedArray, where: object) -> None:
    unknown = [color for color in pc.unique(column).to_pylist() if color not in COLORS]
    if unknown:
        raise DataError(f"expected the colors {' or '.join(COLORS)}, got {unknown[0]!r}", where=where)


def _column(column: pa.ChunkedArray, wanted: pa.Field, where: object) -> pa.ChunkedArray:
    if column.null_count and wanted.name != "landmarks":
        raise DataError(
            f"expected no nulls in column {wanted.name!r}, got {column.null_count}",
            where=where,
            mend="fill them in, or scan the data again",
        )
    if wanted.type == _NAMES:
        return _names(column, wanted, where)
    if not _fits(column.type, wanted.type):
        raise _mistyped(column, wanted, where)
    if column.type != wanted.type:
        column = column.cast(wanted.type)
    return _single(column)


def _names(column: pa.ChunkedArray, wanted: pa.Field, where: object) -> pa.ChunkedArray:
    values = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not _is_text(values):
        raise _mistyped(column, wanted, where)
    if column.type == _NAMES:
        return _single(column.unify_dictionaries() if column.num_chunks > 1 else column)
    # Codes first: a plain column of names may exceed the 2 GiB of 32-bit offsets, its distinct names do not.
    coded = column if pa.types.is_dictionary(column.type) else pc.dictionary_encode(column)
    return _single(coded.cast(_NAMES).unify_dictionaries())


def _single(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """One chunk: look-ups by row are then a matter of offsets, and one dictionary serves the column."""
    if column.num_chunks == 1:
        return column
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.ChunkedArray) else pa.chunked_array([combined])


def _fits(got: pa.DataType, wanted: pa.DataType) -> bool:
    if got == wanted or (_is_text(got) and _is_text(wanted)):
        return True
    return bool(pa.types.is_fixed_size_list(got) and pa.types.is_fixed_size_list(wanted)) and (
        got.list_size == wanted.list_size and got.value_type == wanted.value_type
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _mistyped(column: pa.ChunkedArray, wanted: pa.Field, where: object) -> DataError:
    name = "string" if _is_text(wanted.type) or wanted.type == _NAMES else str(wanted.type)
    return DataError(
        f"expected column {wanted.name!r} of type {name}, got {column.type}",
        where=where,
        mend="convert it, or scan the data again",
    )


def read_table(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """The table and the metadata of a manifest file; :class:`DataError` when it is missing or damaged."""
    if not path.is_file():
        raise DataError("expected a manifest (a Parquet file), got nothing there", where=path)
    try:
        there = pq.read_schema(path, memory_map=True).names
        _require_columns(there, path)
        coded = [field.name for field in SCHEMA if field.type == _NAMES]
        wanted = [name for name in SCHEMA.names if name in there]
        table = pq.read_table(path, columns=wanted, memory_map=True, read_dictionary=coded)
        about = json.loads((table.schema.metadata or {}).get(_METADATA_KEY, b"{}"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"unreadable manifest: {error}", where=path, mend="scan the data again") from error
    if not isinstance(about, dict):
        raise DataError(
            "unreadable manifest: its metadata is no table", where=path, mend="scan the data again"
        )
    return table, about


def write_table(table: pa.Table, about: dict[str, Any], path: Path) -> None:
    """Write the table, whole or not at all."""
    described = table.replace_schema_metadata({_METADATA_KEY: json.dumps(about).encode()})
    with write_beside(path) as beside:
        pq.write_table(described, beside, compression="zstd")

def points_of(column: pa.Array) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Landmarks float32 [rows, 5, 2], NaN where unknown, and where they are known."""
    points = np.full((len(column), 10), np.nan, np.float32)
    known = np.asarray(pc.is_valid(column).to_numpy(zero_copy_only=False), dtype=np.bool_)
    points[known] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, 10)
    return points.reshape(-1, 5, 2), known


def values_of(column: pa.Array) -> list[Any]:
    """The values of a column; of coded names Arrow makes Python objects thirty times slower than of plain ones."""
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    values: list[Any] = plain.to_pylist()
    return values
