"""A file of embeddings as a source of faces that has vectors for pictures."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hyperarc.data.formats.embedding_files import ARRAY, table_beside
from hyperarc.data.formats.parquet_file import reading
from hyperarc.data.formats.stored_embeddings import read_embeddings
from hyperarc.data.manifest import About, Manifest, manifest_of
from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels

_APART = 1e-3  # by which a length may differ from the one that stands in the table, relatively


class EmbeddingFile:
    """A file of embeddings: ``.parquet``, or ``.npy`` with its table of faces beside it.

    Args:
        path: as ``hyperarc embed`` was given.
        name: short name of the source; default the name of the file without its ending.

    Attributes:
        contract: the embeddings were made under.

    Raises:
        DataError: as :func:`hyperarc.data.formats.stored_embeddings.read_embeddings`.
    """

    def __init__(self, path: str | Path, *, name: str | None = None) -> None:
        self.path = Path(path).absolute()
        self.name = name or self.path.stem
        self._stored = read_embeddings(self.path)
        self.contract = self._stored.contract

    def __len__(self) -> int:
        return len(self._stored)

    def scan(self) -> Manifest:
        """All faces in the order of the file; the data set is named after the sources they were embedded from."""
        return self._manifest

    def read(self, face: str) -> bytes:
        """There is none."""
        raise DataError("this file holds embeddings, no pictures", where=f"{self.path}:{face}", mend="give --data")

    def image(self, face: str) -> Pixels:
        """There is none."""
        raise DataError("this file holds embeddings, no pictures", where=f"{self.path}:{face}", mend="give --data")

    def vectors(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Raw embeddings [n, d] of rows, counted from 0.

        Raises:
            DataError: one is zero, NaN or infinite, or of another length than its table says (row, from 1, and face are
                named).
        """
        vectors = np.ascontiguousarray(self._stored.vectors[rows], np.float32)
        lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
        bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
        if len(bad):
            kind = "zero" if lengths[bad[0]] == 0 else "NaN or infinite"
            raise DataError(f"its embedding is {kind}", where=self._where(int(rows[bad[0]])), mend="embed it again")
        told = np.asarray(self._column("norm").to_numpy(), np.float64)[rows]
        odd = np.flatnonzero(~(np.abs(told - lengths) <= _APART * lengths))
        if len(odd):
            row = int(odd[0])
            raise DataError(
                f"its embedding has length {lengths[row]:.4g}, its table says {told[row]:.4g}",
                where=self._where(int(rows[row])),
                mend="the vectors are of other faces than the table: embed again",
            )
        return vectors

    @cached_property
    def _manifest(self) -> Manifest:
        about = About("+".join(self._stored.sources), sources={self.name: str(self.path)})
        people, labels = self._stored.people, self._stored.labels
        persons = [people[label] for label in labels.tolist()]
        return manifest_of(self._column("face").to_pylist(), persons, source=self.name, about=about)

    def _column(self, name: str) -> pa.ChunkedArray:
        path = table_beside(self.path) if self.path.suffix == ARRAY else self.path
        with reading(path):
            table = pq.read_table(path, columns=[name], use_threads=False, memory_map=False)
        if name not in table.column_names:
            raise DataError(f"has no column {name}", where=path, mend="embed the faces again")
        return table[name]

    def _where(self, row: int) -> str:
        return f"{self.path.name}: row {row + 1} ({self._column('face')[row].as_py()})"
