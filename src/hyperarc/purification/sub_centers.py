"""Which sub-center of a person each of their faces votes for, and how far it lies from the dominant one.

Sub-center ArcFace (Deng, Guo, Yang, Xue, Kotsia, Zafeiriou, TPAMI 2021, arXiv 1801.07698v4, section 3.2): trained with
K centers a person, clean faces gather at one of them, the dominant one, and most noise at the others or far from all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import embedding_matrix
from hyperarc.purification.halves import Halves, cut_in_halves

ANGLE_DEG = 75.0
"""Faces further from the dominant center are dropped: the best of 70, 75, 80 and 85 in Table 3 of the paper."""

FEWEST_FACES = 5
"""Faces that are another person at least: of a split, a move or a half."""

Floats32 = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Poll:
    """The faces of some people, polled.

    Attributes:
        votes: int64 [P, K] faces that are nearest to each sub-center of each person; copies are not counted.
        sums: float32 [P, K, d] sums of these faces' unit embeddings: their directions are what the faces look like,
            their lengths tell how alike the faces are.
        sub_centers: int8 [N] the sub-center that each face voted for.
        angles: float32 [N] radians to the dominant center of the face's person.
        own_angles: float32 [N] radians to the sub-center voted for.
        halves: the faces of each person cut in two, whatever they voted for.
    """

    votes: npt.NDArray[np.int64]
    sums: Floats32
    sub_centers: npt.NDArray[np.int8]
    angles: Floats32
    own_angles: Floats32
    halves: Halves

    @property
    def dominant(self) -> npt.NDArray[np.int64]:
        """[P] the sub-center with most votes; the first on ties, and of people without faces."""
        return np.asarray(self.votes.argmax(axis=1), dtype=np.int64)

    def kept(self, angle: float) -> npt.NDArray[np.bool_]:
        """[N] faces nearer to the dominant center than ``angle`` (radians), whatever they voted for."""
        return np.asarray(self.angles < angle)


def poll(
    vectors: npt.ArrayLike,
    labels: npt.ArrayLike,
    centers: npt.ArrayLike,
    copies: npt.NDArray[np.bool_] | None = None,
) -> Poll:
    """Let faces vote for the nearest sub-center of their person.

    A person's faces must come together: votes decide which center is the dominant one. People may come in parts.

    Args:
        vectors: embeddings [N, d] of any length but 0.
        labels: who each is called, [N], 0 .. P - 1.
        centers: [P, K, d] of any length but 0, the weights of a head.
        copies: [N] faces that have no vote, as an equal one has it already. They get angles like all others.

    Raises:
        DataError: no embeddings, one that has no direction, or labels and centers that do not fit.

    Example:
        >>> centers = [[[1.0, 0.0], [0.0, 1.0]]]  # one person with two sub-centers
        >>> polled = poll([[2.0, 0.1], [3.0, -0.1], [-0.1, 1.0]], [0, 0, 0], centers)
        >>> polled.votes.tolist(), polled.sub_centers.tolist(), polled.kept(np.radians(75)).tolist()
        ([[2, 1]], [0, 0, 1], [True, True, False])
    """
    unit = embedding_matrix(vectors, "vectors")
    weight = np.asarray(centers)
    owners = np.asarray(labels)
    if weight.ndim != 3 or weight.shape[2] != unit.shape[1] or not weight.size:
        raise DataError(f"expected centers [people, sub-centers, {unit.shape[1]}], got {list(weight.shape)}")
    people, sub_centers, dimension = weight.shape
    if owners.shape != (len(unit),) or owners.dtype.kind not in "iu":
        raise DataError(f"expected {len(unit)} labels, whole numbers, got {owners.dtype} {list(owners.shape)}")
    if owners.min() < 0 or owners.max() >= people:
        raise DataError(f"expected labels 0..{people - 1}, got {owners.min()}..{owners.max()}")
    own = weight[owners] / np.linalg.norm(weight, axis=2, keepdims=True)[owners]
    cosines = np.einsum("nd,nkd->nk", unit, own).clip(-1.0, 1.0)
    nearest = cosines.argmax(axis=1)
    once = np.ones(len(unit), np.bool_) if copies is None else ~copies
    places = owners[once] * sub_centers + nearest[once]
    votes = np.bincount(places, minlength=people * sub_centers).reshape(people, sub_centers)
    sums = np.zeros((people * sub_centers, dimension), np.float64)
    np.add.at(sums, places, unit[once])
    rows = np.arange(len(unit))
    return Poll(
        votes=votes.astype(np.int64),
        sums=sums.reshape(weight.shape).astype(np.float32),
        sub_centers=nearest.astype(np.int8),
        angles=np.arccos(cosines[rows, votes.argmax(axis=1)[owners]]).astype(np.float32),
        own_angles=np.arccos(cosines[rows, nearest]).astype(np.float32),
        halves=cut_in_halves(unit, owners, people, ~once, FEWEST_FACES),
    )


def alikeness(votes: npt.NDArray[np.integer], sums: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Mean cosine between two different faces of each sub-center [...], NaN where fewer than two voted.

    Of n unit vectors with the sum S it is (|S|^2 - n) / (n (n - 1)), so that no embedding need be kept.

    Example:
        >>> alikeness(np.array([2, 1]), np.array([[2.0, 0.0], [0.0, 1.0]])).tolist()
        [1.0, nan]
    """
    counts = np.asarray(votes, np.float64)
    squares = np.square(np.asarray(sums, np.float64)).sum(axis=-1)
    pairs = np.where(counts > 1, counts * (counts - 1), np.nan)
    return np.asarray((squares - counts) / pairs)
