"""FAR and TAR over all pairs with intervals for people as the unit."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.metrics.accept_rates import AcceptRates, Rates
from hyperarc.metrics.all_pairs.vectors import LabeledEmbeddings, Vectors
from hyperarc.metrics.inputs import FloatArray, IntArray, as_array, label_numbers
from hyperarc.metrics.intervals import ClusterSums, rank_within, trials_worth

_SCORES = 1 << 24  # held at a time, as far as one person's faces allow


def accept_rates_of_all(
    faces: LabeledEmbeddings, thresholds: Any, tell: Callable[[int, int], None] | None = None
) -> AcceptRates:
    """:func:`hyperarc.metrics.accept_rates` over all pairs of faces, without holding them.

    One sweep of fp32 products; in memory are the embeddings and two counts per person and threshold. Time goes into the
    pairs above the lowest threshold. A score within rounding (1e-6) of a threshold may fall on its other side: exact
    counts and thresholds are those of :func:`count_pairs`, and this tells how far they can be trusted.

    Args:
        faces: embeddings [n, d] with the people as labels; ids are of no use here.
        thresholds: cosines [m] in any order, perhaps infinite.
        tell: called with faces done and faces in all.

    Raises:
        DataError: no genuine or no impostor pair; NaN, infinity or zero vectors.

    Example:
        >>> faces = LabeledEmbeddings([[1.0, 0.1], [1.0, 0.0], [0.1, 1.0], [0.0, 1.0]], ["a", "a", "b", "b"])
        >>> far, tar = accept_rates_of_all(faces, [0.05, 0.9])
        >>> far.accepted.tolist(), far.pairs, tar.accepted.tolist()
        ([3, 0], 4, [2, 2])
    """
    vectors = Vectors(faces.embeddings, "faces")
    (labels,) = label_numbers(people=faces.labels)
    if labels.shape != (len(vectors),):
        raise DataError(f"expected a label for each of {len(vectors)} faces, got shape {labels.shape}")
    order, sizes = np.argsort(labels, kind="stable"), np.bincount(labels)
    within, across = sizes * (sizes - 1) // 2, sizes * (len(vectors) - sizes)
    if not within.any() or not across.any():
        what = f"{within.sum()} genuine and {across.sum() // 2} impostor ones"
        raise DataError(f"all pairs are {what}; both kinds are needed", mend="check the labels")
    limits, place = np.unique(as_array(thresholds, "thresholds").astype(np.float64), return_inverse=True)
    sums = _Sums(sizes, limits.size)
    units = vectors.block(0, len(vectors))[order]
    for start, stop in _blocks(sizes):
        sums.add(*_accepted(units, labels[order], slice(start, stop), limits))
        if tell is not None:
            tell(stop, len(vectors))
    far, tar = sums.rates(sums.impostor, across), sums.rates(sums.genuine, within)
    return AcceptRates(far.at(place), tar.at(place))


class _Accepted(NamedTuple):
    """Pairs above the lowest threshold: their people, and the last threshold that they reach."""

    first: IntArray
    second: IntArray
    score: npt.NDArray[np.float32]
    bin: IntArray


def _blocks(sizes: IntArray) -> list[tuple[int, int]]:
    """Runs of rows that hold whole people, so that a couple of people never lies in two of them."""
    ends, most = np.cumsum(sizes), max(1, _SCORES // int(sizes.sum()))
    cuts = [0]
    while cuts[-1] < ends[-1]:
        fitting = int(np.searchsorted(ends, cuts[-1] + most, side="right")) - 1
        cuts.append(int(max(ends[fitting] if fitting >= 0 else 0, ends[np.searchsorted(ends, cuts[-1], side="right")])))
    return list(itertools.pairwise(cuts))


def _accepted(
    units: npt.NDArray[np.float32], people: IntArray, rows: slice, limits: FloatArray
) -> tuple[_Accepted, _Accepted]:
    """Genuine and impostor pairs of these rows with all rows after them."""
    scores = units[rows] @ units[rows.start :].T
    i, j = np.nonzero(scores >= limits[0])
    later = j > i
    i, j = i[later], j[later]
    score = scores[i, j]
    found = _Accepted(
        people[i + rows.start], people[j + rows.start], score, np.searchsorted(limits, score, side="right") - 1
    )
    same = found.first == found.second
    return _Accepted(*(part[same] for part in found)), _Accepted(*(part[~same] for part in found))


class _Sums:
    """What the accepted pairs add up to, by the last threshold that they reach."""

    def __init__(self, sizes: IntArray, limits: int) -> None:
        self.sizes, self.limits = sizes, limits
        self.genuine, self.impostor = (np.zeros((sizes.size, limits), np.int64) for _ in range(2))
        self.squares, self.products = np.zeros(limits), np.zeros(limits)

    def add(self, genuine: _Accepted, impostor: _Accepted) -> None:
        np.add.at(self.genuine, (genuine.first, genuine.bin), 1)
        for person in (impostor.first, impostor.second):
            np.add.at(self.impostor, (person, impostor.bin), 1)
        falling = np.argsort(-impostor.score, kind="stable")
        first, second, last = (part[falling] for part in (impostor.first, impostor.second, impostor.bin))
        rank = rank_within(first * self.sizes.size + second)  # the j-th pair of a couple adds 2 j - 1 to its square
        self.squares += np.bincount(last, 2.0 * rank + 1.0, self.limits)
        self.products += np.bincount(last, self.sizes[first] * self.sizes[second], self.limits)

    def rates(self, reached: IntArray, pairs: IntArray) -> Rates:
        """Of the pairs of each person [people], of which so many reached each threshold [people, limits]."""
        accepted, couples = _from_above(reached), reached is self.impostor
        sums = ClusterSums(
            np.square(accepted, dtype=np.float64).sum(axis=0),
            pairs.astype(np.float64) @ accepted,
            float(np.square(pairs, dtype=np.float64).sum()),
        )
        if couples:
            n = self.sizes.astype(np.float64)
            of_couples = (np.square(np.square(n).sum()) - (n**4).sum()) / 2.0
            sums = sums.without(ClusterSums(_from_above(self.squares), _from_above(self.products), float(of_couples)))
        twice = 2 if couples else 1
        count, total = accepted.sum(axis=0) // twice, int(pairs.sum()) // twice
        worth = trials_worth(count, total, int(np.count_nonzero(pairs)), sums, couples=couples)
        return Rates(count, total, worth)


def _from_above(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sums from each threshold on."""
    return np.cumsum(values[..., ::-1], axis=-1)[..., ::-1]
