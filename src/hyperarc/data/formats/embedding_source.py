"""Stored embeddings, read again: what ``hyperarc embed`` wrote, as a source of faces that has vectors for pictures."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from hyperarc.contract import Contract
from hyperarc.data.formats.embedding_files import ARRAY, PARQUET, table_beside
from hyperarc.data.formats.list_columns import whole
from hyperarc.data.formats.parquet_file import is_parquet, open_parquet, reading
from hyperarc.data.manifest import About, Manifest, manifest_of
from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels

Vectors = npt.NDArray[np.float32]
_COLUMNS = ("face", "source", "person", "norm")
_MEND = f"give a {PARQUET} or {ARRAY} that hyperarc embed wrote"
_APART = 1e-3  # by which a length may differ from the one that stands in the table, relatively


class EmbeddingFile:
    """A file of embeddings: ``.parquet``, or ``.npy`` with its table of faces beside it.

    Args:
        path: as ``hyperarc embed`` was given.
        name: short name of the source; default the name of the file without its ending.

    Attributes:
        contract: the embeddings were made under.
        vectors_shape: rows and dimension.

    Raises:
        DataError: missing or damaged, no file of embeddings, the table beside an array is missing or of other faces, a
            digest that is not that of the contract beside it.
    """

    def __init__(self, path: str | Path, *, name: str | None = None) -> None:
        self.path = Path(path).absolute()
        self.name = name or self.path.stem
        if not self.path.is_file():
            got = "a folder" if self.path.is_dir() else "nothing there"
            raise DataError(f"expected a file of embeddings, got {got}", where=path, mend=_MEND)
        self._table_path = table_beside(self.path) if self.path.suffix == ARRAY else self.path
        if not is_parquet(self._table_path):
            what = "no Parquet file" if self._table_path.exists() else "missing"
            raise DataError(f"{what}, expected the table of faces", where=self._table_path, mend=_MEND)
        with open_parquet(self._table_path) as file:
            self._schema, rows = file.schema_arrow, file.metadata.num_rows
        self.contract = _contract(self._schema, self._table_path)
        absent = [column for column in self._needed if column not in self._schema.names]
        if absent:
            mend = f"give {_array_of(self.path).name}" if _array_of(self.path).is_file() else _MEND
            raise DataError(f"has no column {absent[0]}", where=self._table_path, mend=mend)
        self.vectors_shape: tuple[int, int] = (rows, self.contract.embedding_dim)
        if self._shape != self.vectors_shape or not rows:
            raise DataError(
                f"expected embeddings {list(self.vectors_shape)}, as its table of faces says, at least one; got "
                f"{list(self._shape)}",
                where=self.path,
                mend="embed the faces again",
            )

    def __len__(self) -> int:
        return self.vectors_shape[0]

    def scan(self) -> Manifest:
        """All faces in the order of the file; the data set is named after the sources they were embedded from."""
        return self._manifest

    @cached_property
    def _manifest(self) -> Manifest:
        columns = [self._column(column).to_pylist() for column in ("face", "source", "person")]
        name = "+".join(sorted(set(map(str, columns[1]))))
        about = About(name, sources={self.name: str(self.path)})
        return manifest_of(columns[0], columns[2], source=self.name, about=about)

    def read(self, face: str) -> bytes:
        """There is none."""
        raise DataError("this file holds embeddings, no pictures", where=f"{self.path}:{face}", mend="give --data")

    def image(self, face: str) -> Pixels:
        """There is none."""
        raise DataError("this file holds embeddings, no pictures", where=f"{self.path}:{face}", mend="give --data")

    def vectors(self, rows: npt.NDArray[np.int64]) -> Vectors:
        """Raw embeddings [n, d] of rows, counted from 0; no more of the file is held than these and one row group.

        Raises:
            DataError: one is zero, NaN or infinite, or of another length than its table says (row, from 1, and face are
                named).
        """
        found = self._array[rows] if self.path.suffix == ARRAY else self._taken(rows)
        vectors = np.ascontiguousarray(found, np.float32)
        lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
        bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
        if len(bad):
            kind = "zero" if lengths[bad[0]] == 0 else "NaN or infinite"
            raise DataError(f"its embedding is {kind}", where=self._where(int(rows[bad[0]])), mend="embed it again")
        told = np.asarray(self._norms[rows], np.float64)
        odd = np.flatnonzero(~(np.abs(told - lengths) <= _APART * lengths))
        if len(odd):
            row = int(odd[0])
            raise DataError(
                f"its embedding has length {lengths[row]:.4g}, its table says {told[row]:.4g}",
                where=self._where(int(rows[row])),
                mend="the vectors are of other faces than the table: embed again",
            )
        return vectors

    @property
    def _needed(self) -> tuple[str, ...]:
        return _COLUMNS if self.path.suffix == ARRAY else (*_COLUMNS, "vector")

    @property
    def _shape(self) -> tuple[int, ...]:
        if self.path.suffix == ARRAY:
            return self._array.shape
        kind = self._schema.field("vector").type
        rows = self.vectors_shape[0]
        return (rows, kind.list_size) if pa.types.is_fixed_size_list(kind) else (rows,)

    @cached_property
    def _array(self) -> Vectors:
        try:
            array: Vectors = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"unreadable array: {str(error)[:200]}", where=self.path, mend="embed again") from error
        if array.dtype != np.float32:
            raise DataError(f"expected float32, got {array.dtype}", where=self.path, mend=_MEND)
        return array

    @cached_property
    def _norms(self) -> Vectors:
        return np.asarray(self._column("norm").to_numpy(), np.float32)

    def _column(self, name: str) -> pa.ChunkedArray:
        with reading(self._table_path):
            return pq.read_table(self._table_path, columns=[name], use_threads=False, memory_map=False)[name]

    def _taken(self, rows: npt.NDArray[np.int64]) -> Vectors:
        found = np.empty((len(rows), self.contract.embedding_dim), np.float32)
        with open_parquet(self.path) as file:
            start = 0
            for group in range(file.num_row_groups):
                end = start + file.metadata.row_group(group).num_rows
                inside = np.flatnonzero((rows >= start) & (rows < end))
                if len(inside):
                    with reading(self.path):
                        table = file.read_row_group(group, columns=["vector"], use_threads=False)
                    column = whole(table["vector"])
                    flat = column.flatten().to_numpy(zero_copy_only=False)
                    if column.null_count or flat.size != (end - start) * found.shape[1]:
                        raise DataError(f"row group {group} lacks embeddings", where=self.path, mend="embed again")
                    found[inside] = flat.reshape(end - start, -1)[rows[inside] - start]
                start = end
        return found

    def _where(self, row: int) -> str:
        return f"{self.path.name}: row {row + 1} ({self._column('face')[row].as_py()})"


def _contract(schema: pa.Schema, path: Path) -> Contract:
    try:
        about = json.loads((schema.metadata or {})[b"hyperarc"])
        contract, digest = Contract.model_validate(about["contract"]), about["digest"]
    except (KeyError, TypeError, ValueError, ValidationError):
        raise DataError("does not say what contract it was made under", where=path, mend=_MEND) from None
    if contract.digest != digest:
        raise DataError(
            f"says digest {digest}, but its contract has {contract.digest}: one of them was changed", where=path
        )
    return contract


def _array_of(table: Path) -> Path:
    return table.with_name(f"{table.name.removesuffix(PARQUET).removesuffix('.faces')}{ARRAY}")
