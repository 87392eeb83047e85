"""Intervals of verification numbers by resampling people, since pairs of one person rise and fall together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import FloatArray, IntArray, as_array, bool_vector, label_numbers, score_vector
from hyperarc.metrics.intervals import Interval
from hyperarc.metrics.kfold import Cells, count_accepted, fold_accuracies, fold_indices
from hyperarc.metrics.verification import Roc


@dataclass(frozen=True, eq=False)
class PeoplePairs:
    """Scores of pairs with the people in them.

    Args:
        genuine: scores [g]; genuine_people: [g] the person of each pair.
        impostor: scores [i]; impostor_people: [i, 2] the two people of each pair, numbers or names.

    Where nobody knows the people, both are None: then pairs are drawn again as if they were independent.

    Raises:
        DataError: bad scores, shapes that differ, an impostor pair of one person (its row is named), one person only,
            the people of one kind alone.

    Example:
        >>> PeoplePairs([0.9, 0.8], ["a", "b"], [0.1], [["a", "b"]]).people
        2
    """

    genuine: Any
    genuine_people: Any
    impostor: Any
    impostor_people: Any

    def __post_init__(self) -> None:
        for name in ("genuine", "impostor"):
            object.__setattr__(self, name, score_vector(getattr(self, name), name))
        if self.genuine_people is None and self.impostor_people is None:
            return
        for name, width in (("genuine", ()), ("impostor", (2,))):
            scores = getattr(self, name)
            shape = as_array(getattr(self, f"{name}_people"), f"{name}_people").shape
            if shape != (scores.size, *width):
                raise DataError(f"{name}_people should have shape {(scores.size, *width)}, got {shape}")
        numbers = label_numbers(genuine_people=self.genuine_people, impostor_people=self.impostor_people)
        same = np.flatnonzero(numbers[1][:, 0] == numbers[1][:, 1])
        if same.size:
            raise DataError(f"impostor pair {same[0]} is of one person", mend="check the labels of the pairs")
        object.__setattr__(self, "genuine_people", numbers[0])
        object.__setattr__(self, "impostor_people", numbers[1])

    @property
    def people(self) -> int:
        """Number of people in any pair; 0 where nobody knows them."""
        if self.genuine_people is None:
            return 0
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
    _check(resamples, confidence)
    thresholds = np.append(np.inf, np.unique(np.concatenate([pairs.genuine, pairs.impostor]))[::-1])
    genuine, genuine_ends = _order(pairs.genuine, thresholds)
    impostor, impostor_ends = _order(pairs.impostor, thresholds)
    random, people = np.random.default_rng(seed), pairs.people
    if people:
        person = pairs.genuine_people[genuine]
        first, second = pairs.impostor_people[impostor].T
    values = []
    for _ in range(resamples):
        if people:
            drawn = _draw(random, people)
            weights = drawn[person], drawn[first] * drawn[second]
        else:
            weights = _draw(random, genuine.size)[genuine], _draw(random, impostor.size)[impostor]
        tar, far = _accepted(weights[0], genuine_ends), _accepted(weights[1], impostor_ends)
        if tar[-1] and far[-1]:
            values.append(np.asarray(measure(Roc(far / far[-1], tar / tar[-1], thresholds)), dtype=np.float64))
    return _percentiles(values, resamples, confidence)


def bootstrap_kfold(
    distances: Any,
    same: Any,
    folds: Any = 10,
    *,
    people: Any = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Bootstrap:
    """Percentile interval of :func:`hyperarc.metrics.kfold_accuracy` when people, not pairs, are drawn again.

    Resamples are those of :func:`bootstrap_people`. In each the thresholds are chosen anew on the other folds, so the
    interval covers that choice too. A fold without pairs is left out of the mean of its resample.

    Args:
        distances: [pairs] squared distances 2 - 2 cos, 2 where absent; same: [pairs] bool; folds: as there.
        people: [pairs, 2] of the two faces of each pair, numbers or names; None draws pairs again.
        resamples, confidence, seed: as in :func:`bootstrap_people`.

    Example:
        >>> distances, same = [0.2, 1.9, 0.3, 0.5, 0.4, 2.1, 1.2, 1.8], [1, 0, 1, 0, 1, 0, 1, 0]
        >>> people = [[0, 0], [0, 1], [1, 1], [1, 2], [2, 2], [2, 3], [3, 3], [3, 0]]
        >>> found = bootstrap_kfold(distances, same, 2, people=people, resamples=200)
        >>> bool(found.interval.low < 0.75 <= found.interval.high)
        True
    """
    _check(resamples, confidence)
    measured = score_vector(distances, "distances")
    genuine = bool_vector(same, "same", measured.size)
    cells = Cells.of(measured, genuine, fold_indices(folds, measured.size), np.arange(0, 4, 0.01))
    random = np.random.default_rng(seed)
    numbers = None if people is None else label_numbers(people=people)[0]
    count = measured.size if numbers is None else int(numbers.max()) + 1
    values = []
    for _ in range(resamples):
        drawn = _draw(random, count)
        weights = drawn if numbers is None else _times(drawn, numbers)
        accuracies = fold_accuracies(count_accepted(cells, weights))[0]
        known = accuracies[~np.isnan(accuracies)]
        if known.size > 1:
            values.append(np.asarray(known.mean()))
    return _percentiles(values, resamples, confidence)


def _draw(random: np.random.Generator, count: int) -> IntArray:
    """How often each of ``count`` is drawn when as many are drawn with replacement."""
    return np.bincount(random.integers(0, count, size=count), minlength=count)


def _times(drawn: IntArray, people: IntArray) -> IntArray:
    """How often each pair of people [pairs, 2] counts."""
    first, second = people.T
    return np.asarray(np.where(first == second, drawn[first], drawn[first] * drawn[second]))


def _check(resamples: int, confidence: float) -> None:
    if resamples < 2 or not 0.0 < confidence < 1.0:
        raise DataError(f"expected 2 resamples or more and confidence in 0..1, got {resamples} and {confidence}")


def _percentiles(values: list[FloatArray], resamples: int, confidence: float) -> Bootstrap:
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
