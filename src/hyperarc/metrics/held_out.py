"""A probability map judged on people whom it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.bootstrap import PeoplePairs
from hyperarc.metrics.calibration import ProbabilityMap, logit
from hyperarc.metrics.inputs import BoolArray, FloatArray, IntArray, as_array
from hyperarc.metrics.intervals import clopper_pearson, effective_trials
from hyperarc.metrics.scoring_rules import brier, calibration_error, cllr

FOLDS = 5
Fit = Callable[[Any, Any], ProbabilityMap]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Log-likelihood ratios of pairs, each by a map that was fitted without its people.

    Attributes:
        genuine: natural log-likelihood ratios [g]; genuine_people: [g].
        impostor: [i]; impostor_people: [i, 2].
        folds: how many maps were fitted.
    """

    genuine: FloatArray
    genuine_people: IntArray
    impostor: FloatArray
    impostor_people: IntArray
    folds: int

    @property
    def prior(self) -> float:
        """Share of genuine pairs; probabilities are taken at it where pairs are counted."""
        return self.genuine.size / (self.genuine.size + self.impostor.size)

    @cached_property
    def same(self) -> BoolArray:
        """Genuine pairs first."""
        return np.arange(self.genuine.size + self.impostor.size) < self.genuine.size

    @cached_property
    def probability(self) -> FloatArray:
        """P(one person) at the prior of these pairs, genuine pairs first."""
        odds = np.concatenate([self.genuine, self.impostor]) + logit(self.prior)
        return np.asarray(np.exp(-np.logaddexp(0.0, -odds)), dtype=np.float64)

    @property
    def cllr(self) -> float:
        """See :func:`hyperarc.metrics.cllr`; the same at every prior."""
        return cllr(self.genuine, self.impostor)

    @property
    def brier(self) -> float:
        """See :func:`hyperarc.metrics.brier`."""
        return brier(self.probability, self.same)

    @property
    def calibration_error(self) -> float:
        """See :func:`hyperarc.metrics.calibration_error`; 15 bins."""
        return calibration_error(self.probability, self.same)

    def reliability(self, bins: int = 10) -> Reliability:
        """How often pairs that were given a probability are genuine, in bins of equal width; empty ones left out."""
        place = np.minimum((self.probability * bins).astype(np.int64), bins - 1)
        people = np.concatenate([np.repeat(self.genuine_people[:, None], 2, axis=1), self.impostor_people])
        rows = [np.flatnonzero(place == number) for number in range(bins)]
        rows = [row for row in rows if row.size]
        counts = np.array([row.size for row in rows])
        genuine = np.array([int(self.same[row].sum()) for row in rows])
        worth = np.array([_worth(self.same[row], people[row]) for row in rows])
        low, high = clopper_pearson(genuine / counts * worth, worth)
        means = np.array([self.probability[row].mean() for row in rows])
        return Reliability(means, genuine, counts - genuine, low, high)


@dataclass(frozen=True, eq=False)
class Reliability:
    """Pairs in bins of probability.

    Attributes:
        probability: [bins] mean of those given; genuine, impostor: [bins] pairs of either kind.
        low, high: [bins] 95 % interval of the share of genuine pairs, with people as the unit.
    """

    probability: FloatArray
    genuine: IntArray
    impostor: IntArray
    low: FloatArray
    high: FloatArray

    @property
    def shares(self) -> FloatArray:
        """Share of genuine pairs, [bins]."""
        return np.asarray(self.genuine / (self.genuine + self.impostor), dtype=np.float64)


def hold_out(pairs: PeoplePairs, fold_of: Any, fit: Fit) -> HeldOut:
    """Cross-validation over people: a fold's pairs are scored by a map fitted on pairs of other people alone.

    A pair whose two people are of different folds is of no use as a test, and serves to fit where neither is held out.

    Args:
        pairs: scores with their people.
        fold_of: [people] fold of each person, by the numbers of ``pairs``; from :func:`deal_people`, or one's own.
        fit: such as :func:`hyperarc.metrics.fit_isotonic`.

    Raises:
        DataError: too few people for both kinds of pairs in every fit and in the tests.

    Example:
        >>> from hyperarc.metrics import fit_logistic
        >>> pairs = PeoplePairs([0.9, 0.7, 0.8, 0.6], [0, 1, 2, 3], [0.1, 0.3, 0.2, 0.4], [[0, 1], [2, 3]] * 2)
        >>> hold_out(pairs, [0, 0, 1, 1], fit_logistic).cllr < 0.5
        True
    """
    folds = as_array(fold_of, "fold_of")
    if folds.shape != (pairs.people,):
        raise DataError(f"fold_of should hold a fold for each of {pairs.people} people, got shape {folds.shape}")
    ours, theirs = folds[pairs.genuine_people], folds[pairs.impostor_people]
    genuine, impostor = np.full(pairs.genuine.size, np.nan), np.full(pairs.impostor.size, np.nan)
    for fold in np.unique(folds).tolist():
        fitted_on = pairs.genuine[ours != fold], pairs.impostor[(theirs != fold).all(axis=1)]
        if not all(part.size for part in fitted_on):
            raise DataError("too few people to judge the map on people it was not fitted on", mend="give more people")
        fitted = fit(*fitted_on)
        for ratios, scores, test in (
            (genuine, pairs.genuine, ours == fold),
            (impostor, pairs.impostor, (theirs == fold).all(axis=1)),
        ):
            ratios[test] = fitted.log_likelihood_ratio(scores[test]) if test.any() else 0.0
    tested = ~np.isnan(impostor)
    if not tested.any():
        raise DataError("no impostor pair has both people in one fold", mend="give more people, or more pairs")
    return HeldOut(
        genuine, pairs.genuine_people, impostor[tested], pairs.impostor_people[tested], np.unique(folds).size
    )


def deal_people(pairs: PeoplePairs, folds: tuple[Any, Any] | None = None, seed: int = 0) -> IntArray:
    """A fold for every person, [people].

    Args:
        pairs: whose people are dealt.
        folds: of every genuine and of every impostor pair, as a protocol has them. They are taken if no person is in
            two of them, so that every pair is tested; else people are dealt into five at random (of fewer than ten
            people into fewer), and a fifth of the impostor pairs can be.
        seed: of that deal.

    Example:
        >>> pairs = PeoplePairs([0.9, 0.8], [0, 1], [0.1, 0.3], [[0, 2], [1, 3]])
        >>> deal_people(pairs, ([0, 1], [0, 1])).tolist()
        [0, 1, 0, 1]
    """
    if folds is not None:
        numbers = np.concatenate([as_array(folds[0], "folds"), np.repeat(as_array(folds[1], "folds"), 2)])
        people = np.concatenate([pairs.genuine_people, pairs.impostor_people.ravel()])
        fold_of = np.zeros(pairs.people, dtype=np.int64)
        fold_of[people] = numbers
        if (fold_of[people] == numbers).all() and np.unique(numbers).size > 1:
            return fold_of
    return np.random.default_rng(seed).permutation(pairs.people) % max(2, min(FOLDS, pairs.people // 2))


def _worth(same: BoolArray, people: IntArray) -> float:
    return effective_trials(same, people) if np.unique(people).size > 1 else 1.0
