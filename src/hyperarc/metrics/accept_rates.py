"""How many pairs are accepted at a threshold, with intervals for people as the unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from hyperarc.metrics.bootstrap import PeoplePairs
from hyperarc.metrics.inputs import FloatArray, IntArray, as_array
from hyperarc.metrics.intervals import Interval, clopper_pearson, effective_trials_at


@dataclass(frozen=True, eq=False)
class Rates:
    """Shares of pairs that are accepted at thresholds.

    Attributes:
        accepted: [m] pairs with score >= threshold.
        pairs: of how many.
        worth: [m] independent trials that these pairs are worth (:func:`hyperarc.metrics.effective_trials`).

    Example:
        >>> rates = Rates(np.array([0, 2]), 4, np.array([2.0, 4.0]))
        >>> rates.shares.tolist(), rates.interval().low.round(3).tolist()
        ([0.0, 0.5], [0.0, 0.068])
    """

    accepted: IntArray
    pairs: int
    worth: FloatArray

    @property
    def shares(self) -> FloatArray:
        """[m] in 0..1."""
        return np.asarray(self.accepted / self.pairs, dtype=np.float64)

    def interval(self, confidence: float = 0.95) -> Interval:
        """Clopper and Pearson's for as many trials as the pairs are worth, [m] each."""
        return clopper_pearson(self.shares * self.worth, self.worth, confidence)

    def at(self, rows: Any) -> Rates:
        """At some of the thresholds."""
        return Rates(self.accepted[rows], self.pairs, self.worth[rows])


class AcceptRates(NamedTuple):
    """Of impostor pairs (FAR) and of genuine pairs (TAR), at the same thresholds."""

    far: Rates
    tar: Rates


def accept_rates(pairs: PeoplePairs, thresholds: Any) -> AcceptRates:
    """FAR and TAR at thresholds [m].

    Args:
        pairs: scores with their people; thresholds: [m] in any order, perhaps infinite.

    Raises:
        DataError: all genuine pairs are of one person, or all impostor pairs of the same two.

    Example:
        >>> pairs = PeoplePairs([0.9, 0.8], ["a", "b"], [0.1, 0.3], [["a", "b"], ["b", "c"]])
        >>> far, tar = accept_rates(pairs, [0.2, 0.85])
        >>> far.shares.tolist(), tar.shares.tolist()
        ([0.5, 0.0], [1.0, 0.5])
    """
    limits = as_array(thresholds, "thresholds").astype(np.float64)
    return AcceptRates(
        _rates(pairs.impostor, pairs.impostor_people, limits), _rates(pairs.genuine, pairs.genuine_people, limits)
    )


def _rates(scores: FloatArray, people: IntArray, limits: FloatArray) -> Rates:
    below = np.searchsorted(np.sort(scores), limits, side="left")
    return Rates(scores.size - below, scores.size, effective_trials_at(scores, people, limits))
