"""Reading the files of embeddings that :mod:`hyperarc.data.formats.embedding_files` writes."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from hyperarc.contract import Contract
from hyperarc.data.formats.embedding_files import ARRAY, PARQUET, table_beside
from hyperarc.errors import DataError

_WRITE = "write it by hyperarc embed"


@dataclass(frozen=True, eq=False)
class StoredEmbeddings:
    """A file of embeddings, its vectors mapped and not held; 12 bytes a face are.

    Attributes:
        path: of the file.
        sources: short names of the sources of its faces, sorted.
        contract: the embeddings were made under.
        vectors: float32 [n, d] raw embeddings, mapped into memory.
        people: names, sorted.
        labels: int64 [n], who each face is: a place in ``people``.
    """

    path: Path
    sources: tuple[str, ...]
    contract: Contract
    vectors: npt.NDArray[np.float32]
    people: tuple[str, ...]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def faces(self) -> pa.ChunkedArray:
        """What :func:`joined_names` says of every face; read when asked for."""
        return joined_names(pq.read_table(_table_of(self.path), columns=["source", "face"]))


def read_embeddings(path: Path) -> StoredEmbeddings:
    """The embeddings of a ``.parquet``, or of a ``.npy`` with the table of its faces beside it.

    The vectors of a ``.parquet`` are copied, row group by row group, into a temporary file that is mapped.

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
            people, labels = _people(table)
            sources = tuple(sorted(pc.unique(table.read(["source"])["source"].cast(pa.string())).to_pylist()))
            if path.suffix == PARQUET and "vector" not in table.schema_arrow.names:
                mend = f"give the {ARRAY} that it belongs to"
                raise DataError("holds faces without their vectors", where=path, mend=mend)
            vectors = _array(path) if path.suffix == ARRAY else _unpacked(table, contract.embedding_dim)
    except FileNotFoundError:
        raise DataError("no such file", where=path if not path.exists() else table_path, mend=_WRITE) from None
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DataError(f"no file of embeddings that can be read: {error}", where=path, mend=_WRITE) from error
    expected = [len(labels), contract.embedding_dim]
    if list(vectors.shape) != expected:
        got = list(vectors.shape)
        raise DataError(f"expected embeddings {expected}, as its faces and contract say, got {got}", where=path)
    if not len(labels):
        raise DataError("holds no faces", where=path)
    return StoredEmbeddings(path, sources, contract, vectors, people, labels)


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


def _people(table: pq.ParquetFile) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    coded = table.read(["person"])["person"].cast(pa.string()).dictionary_encode().combine_chunks()
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


def _unpacked(table: pq.ParquetFile, dimension: int) -> npt.NDArray[np.float32]:
    shape = (table.metadata.num_rows, dimension)
    if not shape[0]:
        return np.zeros(shape, np.float32)
    with tempfile.TemporaryFile() as file:
        for batch in table.iter_batches(batch_size=4096, columns=["vector"]):
            file.write(np.ascontiguousarray(batch.column(0).flatten().to_numpy(), "<f4").tobytes())
        file.flush()
        return np.memmap(file, np.float32, "r", shape=shape)  # the mapping outlives the file's name
