"""How far the numbers of a list of pairs can be trusted: 95 % intervals with people as the unit.

Pairs of one person rise and fall together, so people are drawn again, not pairs. Where hardly any pair fails a
bootstrap has little to resample and its percentiles are too narrow; the exact binomial interval of the effective number
of trials holds there. Of both the wider bound is taken at either end. Where nobody knows the people, pairs are taken as
independent, and the condition ``intervals`` says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hyperarc.metrics import (
    PeoplePairs,
    Roc,
    bootstrap_kfold,
    bootstrap_people,
    clopper_pearson,
    effective_trials,
)
from hyperarc.metrics.inputs import BoolArray, FloatArray, IntArray
from hyperarc.protocols.pair_lists import Pairs
from hyperarc.protocols.result import Resampled

RESAMPLES = 1000
_FEWEST = 200
_WORK = 100_000_000  # pairs looked at over all resamples: seconds, whatever the list
_ROUNDING = 1e-12  # of an area that is 1 in every resample
ACCURACY, EER, AUC = "accuracy", "EER", "AUC"
Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class PairIntervals:
    """Intervals of the numbers of a list of pairs.

    Attributes:
        of: name of a number -> low and high; a number without one is left out.
        resampled: the numbers over the resamples.
        told: what was resampled, as a condition.
    """

    of: Mapping[str, Interval]
    resampled: Resampled
    told: str


def tar_name(far: float) -> str:
    """Name of the number "TAR at FAR"."""
    return f"TAR at FAR {far:g}"


def pair_intervals(
    pairs: Pairs, cosines: FloatArray, right: BoolArray, thresholds: Mapping[float, float]
) -> PairIntervals:
    """Intervals of accuracy, TAR at each FAR, EER and AUC; the same for the same pairs and scores.

    Args:
        pairs: that were compared; cosines: [pairs] their scores.
        right: [pairs] whether the threshold of its fold decides each pair rightly.
        thresholds: FAR -> cosine from which pairs are accepted, for the FARs that the list supports.

    Example:
        >>> pairs = Pairs("mine", ["a/1", "a/1", "b/1", "b/1"], ["a/2", "b/1", "b/2", "a/2"], [1, 0, 1, 0], 2)
        >>> found = pair_intervals(pairs, np.array([0.9, 0.1, 0.3, 0.4]), np.array([1, 1, 0, 1], bool), {0.5: 0.3})
        >>> found.told, sorted(found.of)
        ('95 %, people drawn again 1,000 times', ['TAR at FAR 0.5', 'accuracy'])
    """
    resamples = int(np.clip(_WORK // len(pairs), _FEWEST, RESAMPLES))
    genuine, impostor = cosines[pairs.same], cosines[~pairs.same]
    people = (None, None) if pairs.people is None else (pairs.people[pairs.same][:, 0], pairs.people[~pairs.same])
    fars = list(thresholds)

    def measure(curve: Roc) -> list[float]:
        return [*(curve.tar_at_far(far) for far in fars), curve.eer(), curve.auc()]

    curves = bootstrap_people(PeoplePairs(genuine, people[0], impostor, people[1]), measure, resamples=resamples)
    accuracy = bootstrap_kfold(2.0 - 2.0 * cosines, pairs.same, pairs.folds, people=pairs.people, resamples=resamples)
    values = {ACCURACY: accuracy.values}
    values |= dict(zip([*map(tar_name, fars), EER, AUC], curves.values.T, strict=True))
    shares: dict[str, tuple[BoolArray, IntArray | None]] = {ACCURACY: (right, pairs.people)}
    shares |= {tar_name(far): (genuine >= limit, people[0]) for far, limit in thresholds.items()}
    found = {name: _widest(values[name], *shares[name]) for name in shares}
    found |= {name: _percentiles(values[name]) for name in (EER, AUC)}
    unit = "people drawn" if pairs.people is not None else "people unknown: pairs taken as independent, drawn"
    return PairIntervals(
        {name: interval for name, interval in found.items() if interval is not None},
        Resampled(_digest(pairs), values),
        f"95 %, {unit} again {resamples:,} times",
    )


def share_interval(outcomes: BoolArray, people: IntArray | None) -> Interval | None:
    """Exact binomial interval of a share of trials that are worth fewer where they share people; None for one person.

    Args:
        outcomes: [n] whether each trial succeeded.
        people: [n] or [n, 2] who is in it; None where nobody knows.

    Example:
        >>> low, high = share_interval(np.ones(300, bool), None)
        >>> round(low, 4), high
        (0.9878, 1.0)
    """
    if people is not None and people.min() == people.max():
        return None
    trials = float(outcomes.size) if people is None else effective_trials(outcomes, people)
    low, high = clopper_pearson(outcomes.mean() * trials, trials)
    return float(low), float(high)


def _widest(values: FloatArray, outcomes: BoolArray, people: IntArray | None) -> Interval | None:
    exact = share_interval(outcomes, people)
    if exact is None:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return min(float(low), exact[0]), max(float(high), exact[1])


def _percentiles(values: FloatArray) -> Interval | None:
    """None where every resample gives the same number: that says nothing of how certain it is."""
    low, high = np.quantile(values, [0.025, 0.975])
    return (float(low), float(high)) if high - low > _ROUNDING else None


def _digest(pairs: Pairs) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the list."""
    content = hashlib.sha256("\n".join((*pairs.first, *pairs.second)).encode())
    content.update(pairs.same.tobytes() + pairs.folds.tobytes())
    content.update(b"" if pairs.people is None else pairs.people.tobytes())
    return content.hexdigest()[:16]
