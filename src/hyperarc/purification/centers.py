"""One center a person: the mean direction of their faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import embedding_matrix


@dataclass(frozen=True, eq=False)
class PersonCenters:
    """Centers of people, by label.

    Attributes:
        vectors: float32 [P, d], of unit length; zeros for a label without faces.
        counts: int64 [P], the faces that each was made of.
    """

    vectors: npt.NDArray[np.float32]
    counts: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.counts)


def person_centers(
    vectors: npt.ArrayLike, labels: npt.ArrayLike, *, num_people: int | None = None, trim: float = 0.0
) -> PersonCenters:
    """The unit mean of the unit embeddings of each person, on wish without the faces that lie furthest off.

    With ``trim`` the ``floor(trim * n)`` of a person's n faces with the smallest cosine to the mean of all n are left
    out and the mean is taken again, so that some wrong faces in a folder do not pull its center away. To find people of
    a test set it was of no use: a fifth of wrong faces turns a center, but not toward anybody else.

    Args:
        vectors: embeddings [N, d] of any length but 0.
        labels: who each is, [N], 0 .. num_people - 1.
        num_people: P (default: the largest label + 1); labels without faces get a zero center.
        trim: share of a person's faces left out, 0 <= trim < 1 (default 0: every face counts).

    Raises:
        DataError: no embeddings, one that has no direction, labels that do not fit, a trim out of range.

    Example:
        >>> centers = person_centers([[1, 0], [0, 2], [0, 3]], [0, 1, 1])
        >>> centers.vectors.tolist(), centers.counts.tolist()
        ([[1.0, 0.0], [0.0, 1.0]], [1, 2])
    """
    unit = embedding_matrix(vectors, "vectors").astype(np.float32, copy=False)
    owners = np.asarray(labels)
    if owners.shape != (len(unit),) or owners.dtype.kind not in "iu":
        raise DataError(f"expected {len(unit)} labels, whole numbers, got {owners.dtype} {list(owners.shape)}")
    people = int(owners.max()) + 1 if num_people is None else num_people
    if owners.min() < 0 or owners.max() >= people:
        raise DataError(f"expected labels 0..{people - 1}, got {owners.min()}..{owners.max()}")
    if not 0.0 <= trim < 1.0:
        raise DataError(f"expected a trim in 0..1, below 1, got {trim}")
    owners = owners.astype(np.int64)
    counts = np.bincount(owners, minlength=people)
    centers = _means(unit, owners, people)
    dropped = np.floor(trim * counts + 1e-9).astype(np.int64)
    if dropped.any():
        cosines = np.einsum("nd,nd->n", unit, centers[owners])
        order = np.lexsort((cosines, owners))  # person by person, furthest faces first
        place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = order[place >= dropped[owners[order]]]
        centers = _means(unit[kept], owners[kept], people)
        counts = counts - dropped
    return PersonCenters(centers, counts)


def spread_faces(labels: npt.NDArray[np.integer], most: int) -> npt.NDArray[np.int64]:
    """At most so many rows of each person, evenly spread over theirs, person by person.

    Example:
        >>> spread_faces(np.array([1, 0, 1, 1, 1, 1]), 3).tolist()
        [1, 0, 3, 5]
    """
    order = np.argsort(labels, kind="stable").astype(np.int64)
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    taken = np.minimum(counts, most)
    place = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
    gap = (counts - 1) / np.maximum(taken - 1, 1)
    rows = np.repeat(starts, taken) + np.rint(place * np.repeat(gap, taken)).astype(np.int64)
    return np.asarray(order[rows], dtype=np.int64)


def joined(parts: Sequence[PersonCenters]) -> PersonCenters:
    """Centers made part by part, as one; labels go on from part to part.

    Example:
        >>> part = person_centers([[1.0, 0.0]], [0])
        >>> len(joined([part, part]))
        2
    """
    vectors, counts = [part.vectors for part in parts], [part.counts for part in parts]
    return PersonCenters(np.concatenate(vectors), np.concatenate(counts))


def _means(unit: npt.NDArray[np.float32], owners: npt.NDArray[np.int64], people: int) -> npt.NDArray[np.float32]:
    sums = np.zeros((people, unit.shape[1]), np.float64)
    order = np.argsort(owners, kind="stable")
    present, starts = np.unique(owners[order], return_index=True)
    sums[present] = np.add.reduceat(unit[order], starts, axis=0, dtype=np.float64)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return (sums / np.where(lengths > 0.0, lengths, 1.0)).astype(np.float32)
