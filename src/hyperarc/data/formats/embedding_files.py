"""Files of embeddings: one row a face, as Parquet, or as a NumPy array with the table of its faces beside it.

====== ==================== ===========================================================
face   string               key of the face inside its source
source string               short name of the source
person string               who it is
label  int64                class index of the manifest
norm   float32              length of the embedding
vector float32 [d]          raw embedding, not normalized; in the .npy instead of here
====== ==================== ===========================================================

The metadata ``hyperarc`` of the table is a JSON object with the contract's fields and its digest. Rows are written part
by part, and read so too, so no more than one part is in memory. The same parts give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from hyperarc.contract import Contract
from hyperarc.data.formats.parquet_file import open_parquet, reading
from hyperarc.data.manifest import Manifest
from hyperarc.errors import DataError

PARQUET, ARRAY = ".parquet", ".npy"
Part = tuple[Manifest, npt.NDArray[np.float32]]
"""Faces, and their raw embeddings [n, d]."""

_MOST_IN_GROUP = 1 << 28  # bytes
_COLUMNS = [
    ("face", pa.large_string()),
    ("source", pa.string()),
    ("person", pa.string()),
    ("label", pa.int64()),
    ("norm", pa.float32()),
]


def table_beside(path: Path) -> Path:
    """Where the table of faces of an array lies.

    Example:
        >>> table_beside(Path("runs/lfw.npy")).as_posix()
        'runs/lfw.faces.parquet'
    """
    return path.with_name(f"{path.stem}.faces{PARQUET}")


def write_parquet(path: Path, parts: Iterable[Part], contract: Contract) -> None:
    """Write faces and embeddings into one Parquet file."""
    schema = _schema(contract, vectors=True)
    with _table(path, schema) as write:
        for faces, vectors in parts:
            flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
            column = pa.FixedSizeListArray.from_arrays(flat, contract.embedding_dim)
            write(pa.table([*_columns(faces, vectors), column], schema=schema))


def write_array(path: Path, table: Path, parts: Iterable[Part], rows: int, contract: Contract) -> None:
    """Write embeddings into a NumPy array [rows, d] at ``path``, and their faces into the Parquet file ``table``."""
    schema = _schema(contract, vectors=False)
    header = {"descr": "<f4", "fortran_order": False, "shape": (rows, contract.embedding_dim)}
    with open(path, "wb") as file, _table(table, schema) as write:
        np.lib.format.write_array_header_1_0(file, header)
        for faces, vectors in parts:
            file.write(np.ascontiguousarray(vectors, "<f4").tobytes())
            write(pa.table(_columns(faces, vectors), schema=schema))


@dataclass(frozen=True, eq=False)
class EmbeddedFaces:
    """Whose embeddings a file holds, row by row.

    Attributes:
        table: columns face, source and person, as text.
        contract: they were made under.
    """

    table: pa.Table
    contract: Contract


def read_embedded_faces(path: Path) -> EmbeddedFaces:
    """The faces of a file of embeddings, without its vectors.

    Args:
        path: the Parquet file, or the table beside an array.

    Raises:
        DataError: damaged, or not written by ``hyperarc embed``.
    """
    with open_parquet(path) as file, reading(path):
        table = file.read(columns=["face", "source", "person"], use_threads=False)
    try:
        if table.num_columns < 3:
            raise ValueError("it lacks the columns face, source and person")
        contract = Contract.model_validate(json.loads((table.schema.metadata or {})[b"hyperarc"])["contract"])
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        why = "it names no contract" if isinstance(error, KeyError | ValidationError) else str(error)
        raise DataError(f"is no file of embeddings: {why}", where=path, mend="make it by hyperarc embed") from error
    return EmbeddedFaces(table, contract)


class ParquetVectors:
    """The vectors [n, d] of a Parquet file of embeddings, where they lie: slices of rows are read when asked for.

    Raises:
        DataError: no such column, nulls, a row group too large to be read as one, a damaged file.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open_parquet(path)
        schema, groups = self._file.schema_arrow, self._file.metadata
        kind = schema.field("vector").type if "vector" in schema.names else None
        if kind is None or not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.float32():
            raise DataError("holds no column 'vector' of float32 vectors", where=path, mend="make it by hyperarc embed")
        sizes = [groups.row_group(group).num_rows for group in range(groups.num_row_groups)]
        self.shape = (int(groups.num_rows), int(kind.list_size))
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        if max(sizes, default=0) * self.shape[1] * 4 > _MOST_IN_GROUP:
            raise DataError(f"has a row group of {max(sizes)} vectors", where=path, mend="write it in smaller ones")
        self._group, self._rows = -1, np.empty((0, self.shape[1]), np.float32)

    def __getitem__(self, rows: slice) -> npt.NDArray[np.float32]:
        start, stop, _ = rows.indices(self.shape[0])
        parts = [np.empty((0, self.shape[1]), np.float32)]
        while start < stop:
            group = int(np.searchsorted(self._starts, start, side="right")) - 1
            first, last = int(self._starts[group]), min(stop, int(self._starts[group + 1]))
            parts.append(self._read(group)[start - first : last - first])
            start = last
        return np.concatenate(parts)

    def _read(self, group: int) -> npt.NDArray[np.float32]:
        """A row group; the last one is kept."""
        if group != self._group:
            with reading(self._path):
                column = self._file.read_row_group(group, columns=["vector"], use_threads=False).column(0)
            if column.null_count:
                raise DataError("holds faces without a vector", where=self._path)
            flat = [chunk.flatten() for chunk in column.chunks]
            if any(chunk.null_count for chunk in flat):
                raise DataError("holds vectors with numbers left out", where=self._path)
            self._rows = np.concatenate([chunk.to_numpy() for chunk in flat]).reshape(-1, self.shape[1])
            self._group = group
        return self._rows


@contextmanager
def _table(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Opens a Parquet file; every table handed over becomes a row group."""
    # names repeat or are alike; floats hardly compress, and a dictionary of them only costs
    coded = [name for name, _ in _COLUMNS if name in ("source", "person")]
    packed = {name: "zstd" for name, _ in _COLUMNS}
    with pq.ParquetWriter(path, schema, use_dictionary=coded, compression=packed) as writer:
        yield lambda table: writer.write_table(table, row_group_size=max(1, len(table)))


def _columns(faces: Manifest, vectors: npt.NDArray[np.float32]) -> list[Any]:
    names = [faces.table["face"], *(faces.table[name].cast(pa.string()) for name in ("source", "person"))]
    return [*names, faces.table["label"], pa.array(np.linalg.norm(vectors, axis=1).astype(np.float32))]


def _schema(contract: Contract, *, vectors: bool) -> pa.Schema:
    vector = [("vector", pa.list_(pa.float32(), contract.embedding_dim))] if vectors else []
    about = {"contract": contract.model_dump(), "digest": contract.digest}
    return pa.schema([*_COLUMNS, *vector], metadata={b"hyperarc": json.dumps(about).encode()})
