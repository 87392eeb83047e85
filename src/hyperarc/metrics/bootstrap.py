"""Intervals of any verification number by resampling people, since pairs of one person rise and fall together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import FloatArray, IntArray, as_array, label_numbers, score_vector
from hyperarc.metrics.intervals import Interval
from hyperarc.metrics.verification import Roc


@dataclass(frozen=True, eq=False)
class PeoplePairs:
    """Scores of pairs with the people in them.

    Args:
        genuine: scores [g]; genuine_people: [g] the person of each pair.
        impostor: scores [i]; impostor_people: [i, 2] the two people of each pair, numbers or names.

    Raises:
        DataError: bad scores, shapes that differ, an impostor pair of one person (its row is named), one person only.

    Example:
        >>> PeoplePairs([0.9, 0.8], ["a", "b"], [0.1], [["a", "b"]]).people
        2
    """

    genuine: Any
    genuine_people: Any
    impostor: Any
    impostor_people: Any

    def __post_init__(self) -> None:
        for name, width in (("genuine", ()), ("impostor", (2,))):
            scores = score_vector(getattr(self, name), name)
            shape = as_array(getattr(self, f"{name}_people"), f"{name}_people").shape
            if shape != (scores.size, *width):
                raise DataError(f"{name}_people should have shape {(scores.size, *width)}, got {shape}")
            object.__setattr__(self, name, scores)
        numbers = label_numbers(genuine_people=self.genuine_people, impostor_people=self.impostor_people)
        same = np.flatnonzero(numbers[1][:, 0] == numbers[1][:, 1])
        if same.size:
            raise DataError(f"impostor pair {same[0]} is of one person", mend="check the labels of the pairs")
        object.__setattr__(self, "genuine_people", numbers[0])
        object.__setattr__(self, "impostor_people", numbers[1])

    @property
    def people(self) -> int:
        """Number of people in any pair."""
        return int(max(self.genuine_people.max(), self.impostor_people.max())) + 1


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """A number over resamples of people.

    Attributes:
        interval: percentiles of ``values``, of the shape of the measure.
        values: [resamples - empty, ...] the measure of each resample.
        empty: resamples that drew no genuine or no impostor pair; the measure does not exist there.
    """

    interval: Interval
    values: FloatArray
    empty: int


def bootstrap_people(
    pairs: PeoplePairs,
    measure: Callable[[Roc], Any],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Bootstrap:
    """Percentile interval of a measure of the ROC when people, not pairs, are drawn again.

    A resample draws as many people as there are, with replacement. A genuine pair counts as often as its person was
    drawn, an impostor pair as often as the product of both: the subsets bootstrap of Bolle, Ratha and Pankanti (CVIU
    93, 2004) with both people of an impostor pair drawn, as Poh, Martin and Bengio (PAMI 29, 2007) and Owen's
    pigeonhole bootstrap (Annals of Applied Statistics 1, 2007) do; it leans to wide intervals for impostors. Drawing
    pairs instead would give intervals that are too narrow (Fogliato, Patil and Perona, IJCV 2024). Where no pair fails
    nothing can be resampled: use :func:`hyperarc.metrics.clopper_pearson` with
    :func:`hyperarc.metrics.effective_trials`.

    The scores are sorted once, so each resample takes time linear in the number of pairs.

    Args:
        measure: number or array from an exact :class:`Roc`, e.g. ``lambda curve: curve.tar_at_far(1e-3)``.
        resamples: at least 2 (default 1000).
        confidence: above 0, below 1 (default 0.95).
        seed: the same seed gives the same numbers.

    Raises:
        DataError: arguments outside their range, every resample empty.

    Example:
        >>> pairs = PeoplePairs([0.9, 0.8, 0.3], [0, 1, 2], [0.4, 0.1, 0.2], [[0, 1], [1, 2], [2, 0]])
        >>> found = bootstrap_people(pairs, lambda curve: curve.rates_at(0.5)[1], resamples=200)
        >>> found.interval.low.round(2).tolist(), found.interval.high.tolist()
        (0.33, 1.0)
    """
    if resamples < 2 or not 0.0 < confidence < 1.0:
        raise DataError(f"expected 2 resamples or more and confidence in 0..1, got {resamples} and {confidence}")
    thresholds = np.append(np.inf, np.unique(np.concatenate([pairs.genuine, pairs.impostor]))[::-1])
    genuine, genuine_ends = _order(pairs.genuine, thresholds)
    impostor, impostor_ends = _order(pairs.impostor, thresholds)
    person = pairs.genuine_people[genuine]
    first, second = pairs.impostor_people[impostor].T
    random, people = np.random.default_rng(seed), pairs.people
    values = []
    for _ in range(resamples):
        drawn = np.bincount(random.integers(0, people, size=people), minlength=people)
        tar = _accepted(drawn[person], genuine_ends)
        far = _accepted(drawn[first] * drawn[second], impostor_ends)
        if tar[-1] and far[-1]:
            values.append(np.asarray(measure(Roc(far / far[-1], tar / tar[-1], thresholds)), dtype=np.float64))
    if not values:
        raise DataError(f"none of {resamples} resamples drew both kinds of pairs", mend="more people are needed")
    table = np.stack(values)
    low, high = np.quantile(table, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0], axis=0)
    return Bootstrap(Interval(np.asarray(low), np.asarray(high)), table, resamples - len(values))


def _order(scores: FloatArray, thresholds: FloatArray) -> tuple[IntArray, IntArray]:
    """Rows by falling score, and how many of them are at least each threshold."""
    order = np.argsort(-scores, kind="stable")
    ends = np.searchsorted(-scores[order], -thresholds, side="right")
    return order, ends


def _accepted(weights: IntArray, ends: IntArray) -> IntArray:
    """Weight of the first ``ends`` rows; whole numbers, so that equal shares are equal exactly."""
    return np.append(0, np.cumsum(weights))[ends]
