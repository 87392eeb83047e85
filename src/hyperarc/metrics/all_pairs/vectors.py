"""Embeddings that may be larger than memory: read a block at a time, as unit vectors."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import IntArray, as_array, embedding_matrix

AT_A_TIME = 128  # rows made unit vectors at a time: they stay in the cache


@dataclass(frozen=True, eq=False)
class LabeledEmbeddings:
    """One side of the pairs.

    Attributes:
        embeddings: [n, d], any scale: array, tensor, ``numpy.memmap``, path of a ``.npy`` file, or anything with shape
            and dtype that gives rows as ``embeddings[start:stop]``.
        labels: [n] whole numbers or names; pairs of one label are genuine, all others impostors. Faces of unknown
            people in a gallery need labels that no probe has; among probes, a label each.
        ids: [n] whole numbers or names, or None. Pairs of one id are left out: the same picture on both sides.
        name: what errors call it (default "probes" and "gallery").
    """

    embeddings: Any
    labels: Any
    ids: Any = None
    name: str = ""


class Vectors:
    """Rows of a matrix, read where they lie.

    Args:
        value: see :class:`LabeledEmbeddings`.
        name: what errors call it.

    Raises:
        DataError: no matrix of numbers, or no faces; when rows are read, NaN, infinity, zero vectors, a file cut off.

    Example:
        >>> Vectors([[3.0, 4.0]], "probes").block(0, 1).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """

    def __init__(self, value: Any, name: str) -> None:
        self.name = name
        self._file = Path(value) if isinstance(value, str | Path) else None
        if self._file:
            self._offset, self.dtype, self.shape = _read_header(self._file)
        else:
            # what is read by slices stays where it is until a block of it is read
            self._array = value if hasattr(value, "shape") and hasattr(value, "dtype") else as_array(value, name)
            self.shape = tuple(self._array.shape)
            self.dtype = np.dtype(np.float64) if hasattr(value, "detach") else self._array.dtype
        if len(self.shape) != 2 or 0 in self.shape:
            raise DataError(f"{name} should be [faces, dimension] with at least one face, got shape {self.shape}")
        if self.dtype.kind not in "fiub":
            raise DataError(f"{name} should hold numbers, got {self.dtype}")

    def __len__(self) -> int:
        return int(self.shape[0])

    def raw(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Rows ``start`` to ``stop`` as they are."""
        if not self._file:
            rows = as_array(self._array[start:stop], self.name)
            return rows
        wanted = (stop - start) * self.shape[1]
        place = self._offset + start * self.shape[1] * self.dtype.itemsize
        numbers = np.fromfile(self._file, self.dtype, wanted, offset=place)
        if numbers.size < wanted:
            raise DataError("the file ends before its last row", where=self._file, mend="write it anew")
        return numbers.reshape(stop - start, self.shape[1])

    def block(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Unit vectors of rows ``start`` to ``stop``: made in fp64, then rounded to fp32."""
        units = np.empty((stop - start, self.shape[1]), dtype=np.float32)
        for first in range(start, stop, AT_A_TIME):
            last = min(first + AT_A_TIME, stop)
            rows = self.raw(first, last).astype(np.float64)
            units[first - start : last - start] = embedding_matrix(rows, self.name, first_row=first)
        self._let_go()
        return units

    def picked(self, rows: IntArray) -> npt.NDArray[np.float32]:
        """Unit vectors of single rows."""
        raw = np.concatenate([self.raw(row, row + 1) for row in rows.tolist()])
        self._let_go()
        try:
            return embedding_matrix(raw.astype(np.float64), self.name).astype(np.float32)
        except DataError:
            for row in rows.tolist():
                self.block(row, row + 1)  # tells the row by its true number
            raise

    def digest(self) -> str:
        """Digest of shape and content."""
        whole = blake2b(f"{self.shape}".encode(), digest_size=16)
        for start in range(0, len(self), AT_A_TIME):
            rows = self.raw(start, min(start + AT_A_TIME, len(self)))
            whole.update(np.ascontiguousarray(rows).data)
        self._let_go()
        return whole.hexdigest()

    def _let_go(self) -> None:
        """Give the pages of a memory map back, so that reading all of it does not keep all of it in memory."""
        if not self._file and isinstance(self._array, np.memmap) and self._array.mode in ("r", "r+"):
            pages = getattr(self._array, "_mmap", None)
            if pages is not None and hasattr(mmap, "MADV_DONTNEED"):
                pages.madvise(mmap.MADV_DONTNEED)


def _read_header(file: Path) -> tuple[int, np.dtype[Any], tuple[int, ...]]:
    """Where the numbers of a ``.npy`` file begin, and what they are."""
    try:
        with file.open("rb") as handle:
            version = np.lib.format.read_magic(handle)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(handle)
            offset = handle.tell()
    except (OSError, ValueError) as error:
        raise DataError(f"no .npy file that can be read ({error})", where=file) from error
    if fortran:
        raise DataError("holds its numbers column by column", where=file, mend="save numpy.ascontiguousarray(it)")
    return offset, dtype, shape
