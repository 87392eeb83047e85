"""Reading the files of embeddings that :mod:`hyperarc.data.formats.embedding_files` writes."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from hyperarc.contract import Contract
from hyperarc.data.formats.embedding_files import ARRAY, PARQUET, table_beside
from hyperarc.data.formats.parquet_file import open_parquet, reading
from hyperarc.errors import DataError

_WRITE = "write it by hyperarc embed"
_MOST_IN_GROUP = 1 << 28  # bytes


@dataclass(frozen=True, eq=False)
class StoredEmbeddings:
    """A file of embeddings, its vectors left there and not held; 12 bytes a face are.

    Attributes:
        path: of the file.
        sources: short names of the sources of its faces, sorted.
        contract: the embeddings were made under.
        slices: float32 [n, d] raw embeddings, read where they lie, by slices of rows.
        people: names, sorted.
        labels: int64 [n], who each face is: a place in ``people``.
    """

    path: Path
    sources: tuple[str, ...]
    contract: Contract
    slices: npt.NDArray[np.float32] | ParquetVectors
    people: tuple[str, ...]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def vectors(self) -> npt.NDArray[np.float32]:
        """The embeddings, mapped into memory; those of a ``.parquet`` from a temporary file that they are copied to."""
        return self.slices.unpacked() if isinstance(self.slices, ParquetVectors) else self.slices

    def faces(self) -> pa.ChunkedArray:
        """What :func:`joined_names` says of every face; read when asked for."""
        return joined_names(pq.read_table(_table_of(self.path), columns=["source", "face"]))


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
            raise DataError("holds no column 'vector' of float32 vectors", where=path, mend=_WRITE)
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

    def unpacked(self) -> npt.NDArray[np.float32]:
        """All vectors, copied row group by row group into a temporary file that is mapped."""
        if not self.shape[0]:
            return np.zeros(self.shape, np.float32)
        with tempfile.TemporaryFile() as file:
            for group in range(len(self._starts) - 1):
                file.write(self._read(group).tobytes())
            file.flush()
            return np.memmap(file, np.float32, "r", shape=self.shape)  # the mapping outlives the file's name


def read_embeddings(path: Path) -> StoredEmbeddings:
    """The embeddings of a ``.parquet``, or of a ``.npy`` with the table of its faces beside it.

    Raises:
        DataError: missing or damaged files, files that were not written by ``hyperarc embed``, array and table of
            different length.
    """
    if path.suffix not in (PARQUET, ARRAY):
        raise DataError(f"expected a {PARQUET} or {ARRAY} of embeddings", where=path, mend=_WRITE)
    table_path = _table_of(path)
    try:
        with pq.ParquetFile(table_path) as table:
            contract = _contract(table, table_path)
            people, labels = _people(table, table_path)
            sources = tuple(sorted(pc.unique(table.read(["source"])["source"].cast(pa.string())).to_pylist()))
            if path.suffix == PARQUET and "vector" not in table.schema_arrow.names:
                mend = f"give the {ARRAY} that it belongs to"
                raise DataError("holds faces without their vectors", where=path, mend=mend)
            slices = _array(path) if path.suffix == ARRAY else ParquetVectors(path)
    except FileNotFoundError:
        raise DataError("no such file", where=path if not path.exists() else table_path, mend=_WRITE) from None
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DataError(f"no file of embeddings that can be read: {error}", where=path, mend=_WRITE) from error
    expected = [len(labels), contract.embedding_dim]
    if list(slices.shape) != expected:
        got = list(slices.shape)
        raise DataError(f"expected embeddings {expected}, as its faces and contract say, got {got}", where=path)
    if not len(labels):
        raise DataError("holds no faces", where=path)
    return StoredEmbeddings(path, sources, contract, slices, people, labels)


def joined_names(table: pa.Table) -> pa.ChunkedArray:
    """Source and key of every row of a table of faces, joined by a tab."""
    text = pa.large_string()
    source = table["source"].cast(pa.string()).cast(text)
    return pc.binary_join_element_wise(source, table["face"].cast(text), pa.scalar("\t", text))


def _table_of(path: Path) -> Path:
    return table_beside(path) if path.suffix == ARRAY else path


def _contract(table: pq.ParquetFile, path: Path) -> Contract:
    metadata = table.schema_arrow.metadata or {}
    if b"hyperarc" not in metadata:
        raise DataError("does not say under which contract its embeddings were made", where=path, mend=_WRITE)
    try:
        about = json.loads(metadata[b"hyperarc"])
        contract = Contract.model_validate(about["contract"])
    except (ValueError, KeyError, TypeError, ValidationError):
        raise DataError("its contract cannot be read", where=path, mend=_WRITE) from None
    if contract.digest != about.get("digest"):
        raise DataError(f"its contract is not that of digest {about.get('digest')}", where=path, mend=_WRITE)
    return contract


def _people(table: pq.ParquetFile, path: Path) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    persons = table.read(["person"])["person"].cast(pa.string())
    if persons.null_count:
        raise DataError(f"{persons.null_count} faces have no person", where=path, mend=_WRITE)
    coded = persons.dictionary_encode().combine_chunks()
    names = coded.dictionary.to_pylist()
    people = sorted(names)
    place = {name: number for number, name in enumerate(people)}
    numbers = np.array([place[name] for name in names], np.int64)
    labels: npt.NDArray[np.int64] = numbers[coded.indices.to_numpy(zero_copy_only=False)]
    return tuple(people), labels


def _array(path: Path) -> npt.NDArray[np.float32]:
    vectors: npt.NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    if vectors.dtype != np.float32:
        raise DataError(f"expected float32, got {vectors.dtype}", where=path, mend=_WRITE)
    return vectors
