"""Parquet files of faces: with the pictures inside, as Hugging Face's data sets have them, and lists of paths."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hyperarc.data.formats.list_columns import (
    OPTIONAL,
    PATHS,
    PEOPLE,
    ListColumns,
    column_named,
    landmark_names,
    listed_columns,
    whole,
)
from hyperarc.errors import DataError

PICTURES = ("image", "img", "picture", "jpg", "bytes")
_MEND = "copy it again"


def is_parquet(path: Path) -> bool:
    """Whether a file begins as a Parquet file does."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"PAR1"
    except OSError:
        return False


def is_manifest(schema: pa.Schema) -> bool:
    """Whether a Parquet file is a manifest: a table that says of each face in which source it is."""
    return {"face", "source"} <= set(schema.names)


def holds_faces(path: Path) -> bool:
    """Whether a Parquet file holds faces or a list of them, and is no manifest."""
    if not is_parquet(path):
        return False
    try:
        with open_parquet(path) as file:
            return not is_manifest(file.schema_arrow)
    except DataError:
        return False  # reading it as a manifest says what is wrong


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What Parquet readers raise of damaged files becomes one :class:`DataError`."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise DataError(f"unreadable Parquet file: {str(error)[:200]}", where=path, mend=_MEND) from error


def open_parquet(path: Path) -> pq.ParquetFile:
    """The file, its metadata read."""
    with reading(path):
        return pq.ParquetFile(path, memory_map=False, pre_buffer=False)


def picture_column(schema: pa.Schema) -> str | None:
    """The column with picture files: binary, or a struct with a field ``bytes``.

    Example:
        >>> picture_column(pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]))
        'image'
    """
    found = [field.name for field in schema if _is_bytes(field.type) or _has_bytes(field.type)]
    return column_named(PICTURES, found) or (found[0] if found else None)


def picture_leaf(schema: pa.Schema, column: str) -> str:
    """What to ask a reader for to get the picture files alone."""
    return column if _is_bytes(schema.field(column).type) else f"{column}.bytes"


def read_path_list(path: Path) -> ListColumns:
    """The columns of a Parquet list of paths.

    Raises:
        DataError: damaged, or without a column of paths and one of people.
    """
    with open_parquet(path) as file:
        known = column_named(PATHS, file.schema_arrow.names)
        if known is None or not _is_text(file.schema_arrow.field(known).type):
            got = ", ".join(file.schema_arrow.names)[:200]
            raise DataError(f"expected a column of pictures or of paths, got {got}", where=path, mend="name it path")
        return read_columns(file, path, known)


def read_columns(file: pq.ParquetFile, where: Path, paths: str | None) -> ListColumns:
    """People, the optional columns, and the leaf ``paths`` (null where it is None)."""
    names = file.schema_arrow.names
    person = column_named(PEOPLE, names)
    if person is None:
        got = ", ".join(names)[:200]
        raise DataError(f"expected a column of people, got {got}", where=where, mend="name it person or label")
    optional = [name for known in OPTIONAL if (name := column_named([known], names))]
    wanted = dict.fromkeys([person, *optional, *landmark_names(names)])
    with reading(where):
        table = file.read(columns=list(wanted), use_threads=False)
        table.validate(full=True)  # texts may be no UTF-8
        columns = {name: whole(table[name]) for name in wanted}
        columns = {n: c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for n, c in columns.items()}
        columns[person] = _named(columns[person], file.schema_arrow, person, where)
        named = pa.nulls(len(table), pa.large_string()) if paths is None else _leaf(file, paths)
    if {len(column) for column in (named, *columns.values())} != {file.metadata.num_rows}:
        raise DataError("unreadable Parquet file: its columns differ in length", where=where, mend=_MEND)
    return listed_columns(named, columns, lambda row: f"{where}: row {row + 1}")


def _leaf(file: pq.ParquetFile, name: str) -> pa.Array:
    table = file.read(columns=[name], use_threads=False)
    table.validate(full=True)
    column = whole(table.column(0))
    column = column.field(0) if pa.types.is_struct(column.type) else column
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _named(column: pa.Array, schema: pa.Schema, name: str, where: Path) -> pa.Array:
    """Numbers of classes as the names that the file gives them, if it does (a ``ClassLabel``)."""
    names = _class_names(schema, name)
    if names is None or not pa.types.is_integer(column.type):
        return column
    most = pc.max(column).as_py()
    if most is not None and most >= len(names):
        raise DataError(f"names {len(names)} classes, but there is a class {most}", where=where, mend=_MEND)
    known = pc.greater_equal(column, 0)
    spelled = pa.array(names, pa.large_string()).take(pc.if_else(known, column, 0))
    return pc.if_else(known, spelled, column.cast(pa.large_string()))


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    try:
        feature: Any = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][column]
        names = feature["names"] if feature["_type"] == "ClassLabel" else feature["feature"]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return names if isinstance(names, list) and names and all(isinstance(name, str) for name in names) else None


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _has_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind)) and kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type)


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
