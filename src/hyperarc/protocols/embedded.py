"""Embeddings of the faces that a protocol asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.contract import Contract
from hyperarc.errors import ContractError, DataError
from hyperarc.metrics.inputs import IntArray, as_array, embedding_matrix
from hyperarc.protocols.pair_lists import face_key
from hyperarc.protocols.result import Conditions


@dataclass(frozen=True, eq=False)
class Embedded(Mapping[str, npt.NDArray[np.float32]]):
    """Raw embeddings of faces by key, and what they are embeddings of.

    A face that was asked for and is not here is absent: not in the data, or not detected.

    Attributes:
        faces: keys, without endings of picture files, each once.
        vectors: float32 [faces, d], not normalized (with flip "sum", the sum over a crop and its mirror image).
        contract: they were made under; None where nobody knows.
        data, device: stated in the conditions of results.

    Raises:
        DataError: a key twice, other than one vector a key, a vector that is zero, NaN or infinite (the face is named).

    Example:
        >>> embedded = Embedded.of({"a/1.jpg": [3.0, 4.0], "b/1.jpg": [0.0, 2.0]})
        >>> embedded["a/1"].tolist(), embedded.norms.tolist(), embedded.rows(["b/1", "c/1"]).tolist()
        ([3.0, 4.0], [5.0, 2.0], [1, -1])
    """

    faces: tuple[str, ...]
    vectors: npt.NDArray[np.float32]
    contract: Contract | None = None
    data: str = "not stated"
    device: str = "not stated"

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.faces) or not self.vectors.size:
            raise DataError(
                f"expected one embedding a face, got {list(self.vectors.shape)} for {len(self.faces)} faces",
                where=self.data,
            )
        if len(self._row_of) < len(self.faces):
            twice = next(key for row, key in enumerate(self.faces) if self._row_of[key] != row)
            raise DataError(f"two faces are {twice} without their endings", where=self.data, mend="remove one")
        squares = np.einsum("nd,nd->n", self.vectors, self.vectors, dtype=np.float64)
        unusable = np.flatnonzero(~(np.isfinite(squares) & (squares > 0)))
        if len(unusable):
            key = self.faces[int(unusable[0])]
            raise DataError(f"embedding of {key} is zero, NaN or infinite", where=self.data)

    @classmethod
    def of(cls, vectors: Mapping[str, Any], **what: Any) -> Embedded:
        """From vectors [d] by name; endings of picture files do not matter.

        Args:
            vectors: arrays, lists or tensors of one length, at least one.
            what: contract, data and device.
        """
        found = [as_array(vector, name) for name, vector in vectors.items()]
        if len({vector.shape for vector in found}) != 1:
            shapes = sorted({str(list(vector.shape)) for vector in found})
            raise DataError(f"expected embeddings of one length, got shapes {', '.join(shapes) or 'of none'}")
        return cls(tuple(map(face_key, vectors)), np.stack(found).astype(np.float32), **what)

    def __getitem__(self, key: str) -> npt.NDArray[np.float32]:
        vector: npt.NDArray[np.float32] = self.vectors[self._row_of[key]]
        return vector

    def __iter__(self) -> Iterator[str]:
        return iter(self.faces)

    def __len__(self) -> int:
        return len(self.faces)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.faces)}

    @cached_property
    def norms(self) -> npt.NDArray[np.float32]:
        """Lengths [faces] of the embeddings."""
        return np.asarray(np.linalg.norm(self.vectors, axis=1), np.float32)

    @cached_property
    def units(self) -> npt.NDArray[np.float32]:
        """Unit embeddings [faces, d]."""
        return np.asarray(embedding_matrix(self.vectors, "embeddings"), np.float32)

    def rows(self, keys: Iterable[str]) -> IntArray:
        """Row of each key; -1 of those that are absent."""
        return np.array([self._row_of.get(key, -1) for key in keys], np.int64)

    def require_most(self, keys: tuple[str, ...] | list[str], where: str) -> tuple[str, ...]:
        """The absent ones among ``keys``; :class:`DataError` when they are more than half."""
        absent = tuple(key for key in keys if key not in self._row_of)
        if len(absent) * 2 > len(keys):
            raise DataError(
                f"{len(absent)} of {len(keys)} faces have no embedding, the first being {', '.join(absent[:3])}",
                where=where,
                mend="check that the data and the protocol's files belong together",
            )
        return absent

    def joined(self, other: Embedded) -> Embedded:
        """These faces and ``other``'s; :class:`ContractError` when they were made under another contract."""
        ours, theirs = (None if one.contract is None else one.contract.digest for one in (self, other))
        if ours != theirs:
            raise ContractError(
                f"embeddings of contract {theirs} cannot be compared with those of {ours}",
                where=other.data,
                mend="embed both by one artifact",
            )
        vectors = np.concatenate([self.vectors, other.vectors])
        return Embedded(self.faces + other.faces, vectors, self.contract, self.data, self.device)

    def conditions(self) -> Conditions:
        """Flip policy, digest of the contract and device, as every result states them."""
        return {
            "flip": "not stated" if self.contract is None else self.contract.flip,
            "contract": "not stated" if self.contract is None else self.contract.digest,
            "device": self.device,
        }
