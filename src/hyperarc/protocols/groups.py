"""Which group a face is in: by a column of its manifest, or of a table about people or faces."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hyperarc.data.face_set import MANIFEST, Faces, FaceSet
from hyperarc.errors import DataError, unknown_name
from hyperarc.protocols.pair_lists import face_key, text_lines


def read_groups(faces: FaceSet, path: Faces, column: str, table: Path | None = None) -> list[str]:
    """The group of each face, in the order of the manifest; empty where it is not told.

    Args:
        faces: opened from ``path``.
        path: where they are. A manifest (``.parquet``) may hold further columns beside its own.
        column: name of the column.
        table: CSV with a header that has ``column`` and either ``person`` or ``face``; None looks in the manifest.

    Raises:
        DataError: a file that cannot be read; :class:`UnknownNameError` for a column that is not there.

    Example:
        read_groups(open_faces("faces.parquet"), Path("faces.parquet"), "region")   # ['north', 'south', ...]
    """
    if table is not None:
        return _from_table(faces, table, column)
    known = faces.manifest.table.column_names
    if isinstance(path, Path) and path.suffix == MANIFEST and path.is_file():
        try:
            known = list(dict.fromkeys([*known, *pq.read_schema(path).names]))
            if column in known and column not in faces.manifest.table.column_names:
                values = pq.read_table(path, columns=[column])[column].to_pylist()
                return ["" if value is None else str(value) for value in values]
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"unreadable manifest: {error}", where=path) from error
    if column not in known:
        raise unknown_name(f"column of {faces.name}:", column, known)
    return [str(value) for value in faces.manifest.column(column).tolist()]


def _from_table(faces: FaceSet, path: Path, column: str) -> list[str]:
    lines = list(text_lines(path))
    parsed = list(csv.reader(line for _, line in lines))
    header = [name.strip() for name in parsed[0]] if parsed else []
    if column not in header:
        raise unknown_name("column", column, header, where=path)
    by = next((name for name in ("face", "person") if name in header), None)
    if by is None:
        raise DataError(f"expected a column face or person, got {', '.join(header)}", where=path)
    named: dict[str, str] = {}
    for (number, _), cells in zip(lines[1:], parsed[1:], strict=True):
        if len(cells) != len(header):
            raise DataError(f"expected {len(header)} cells, got {len(cells)}", where=f"{path}:{number}")
        name, group = cells[header.index(by)].strip(), cells[header.index(column)].strip()
        name = face_key(name) if by == "face" else name
        if named.setdefault(name, group) != group:
            raise DataError(f"{by} {name} is in {named[name]} and in {group}", where=f"{path}:{number}")
    names = faces.manifest.column(by).tolist()
    return [named.get(face_key(name) if by == "face" else name, "") for name in names]
