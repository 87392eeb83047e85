"""How far a measured share can be trusted: exact binomial intervals, and how many trials correlated pairs are worth."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import FloatArray, IntArray, as_array, bool_vector, label_numbers, score_vector


class Interval(NamedTuple):
    """Bounds of a confidence interval, arrays of one shape (without axes for a single number)."""

    low: FloatArray
    high: FloatArray


def clopper_pearson(successes: Any, trials: Any, confidence: float = 0.95) -> Interval:
    """Exact interval of a share from independent trials.

    Clopper and Pearson, Biometrika 26, 1934: the shares not rejected by either one-sided binomial test at
    (1 - confidence) / 2, which are quantiles of Beta(k, n - k + 1) and Beta(k + 1, n - k). Pairs that share people are
    not independent: give their :func:`effective_trials`, which need not be whole numbers (Korn and Graubard, Survey
    Methodology 24, 1998).

    Args:
        successes, trials: numbers or arrays that broadcast, 0 <= successes <= trials, trials above 0.
        confidence: 0.5 to 0.999999 (default 0.95).

    Raises:
        DataError: counts or confidence outside their range, NaN.

    Example:
        >>> low, high = clopper_pearson(0, 300)  # the rule of three, two-sided
        >>> float(low), round(float(high), 4)
        (0.0, 0.0122)
    """
    if not 0.5 <= confidence <= 0.999999:
        raise DataError(f"confidence should lie in 0.5..0.999999, got {confidence!r}", mend="0.95 is the usual one")
    counts = (as_array(value, name) for value, name in ((successes, "successes"), (trials, "trials")))
    k, n = np.broadcast_arrays(*(count.astype(np.float64) for count in counts))
    if not (np.isfinite(n).all() and (n > 0.0).all() and (k >= 0.0).all() and (k <= n).all()):
        raise DataError("expected 0 <= successes <= trials and trials above 0, all finite")
    tail = (1.0 - confidence) / 2.0
    # quantiles above one half are those of the other side: 1 - Beta(a, b) is Beta(b, a)
    low = np.where(k > 0.0, _beta_quantile(np.where(k > 0.0, k, 1.0), n - k + 1.0, tail)[0], 0.0)
    high = np.where(k < n, _beta_quantile(np.where(k < n, n - k, 1.0), k + 1.0, tail)[1], 1.0)
    return Interval(low, high)


def _beta_quantile(a: FloatArray, b: FloatArray, tail: float) -> tuple[FloatArray, FloatArray]:
    """x and 1 - x where Beta(a, b) has ``tail`` (at most one half) below x.

    In u = logit(x) - logit(a / (a + b)) the density is exp(-D(u)) with D convex and 0 at its least. So either side is
    one smooth integral, and no gamma functions are needed, whose difference would be lost for counts of 1e12. The log
    of the mass below u is concave, so after the first steps Newton comes from the left and cannot miss.
    """
    u, far = np.zeros_like(a), 4.0 * _width(a, b)
    wanted = np.log(tail * (_mass_below(a, b, u) + _mass_below(b, a, u)))
    for _ in range(50):
        mass = _mass_below(a, b, u)
        step = np.minimum(mass * (np.log(mass) - _depth(a, b, u) - wanted), far)
        u = u - step
        if (np.abs(step) <= 1e-9 * np.abs(u)).all():
            break
    odds = a * np.exp(u)
    return odds / (odds + b), b / (odds + b)


def _depth(a: FloatArray, b: FloatArray, u: FloatArray) -> FloatArray:
    """D(u) = (a + b) log(1 + x (e^u - 1)) - a u with x = a / (a + b); from the smaller side, where little cancels."""
    swap = a > b
    small, u = np.where(swap, b, a), np.where(swap, -u, u)
    return (a + b) * np.log1p(small / (a + b) * np.expm1(u)) - small * u


def _width(a: FloatArray, b: FloatArray) -> FloatArray:
    """Standard deviation of the normal density that fits at the top."""
    return np.asarray(np.sqrt((a + b) / (a * b)), dtype=np.float64)


def _mass_below(a: FloatArray, b: FloatArray, u: FloatArray) -> FloatArray:
    """Mass below ``u`` divided by the density there, by Gauss-Legendre as far as the density is worth e^-40 of it."""
    here = _depth(a, b, u) + 40.0
    slope = np.maximum(-a * np.expm1(u) / (1.0 + a / b * np.exp(u)), 0.0)  # of -D; it falls at least so fast below
    length = 1.0 / np.maximum(1.0 / _width(a, b), slope / 40.0)
    while (short := _depth(a, b, u - length) < here).any():
        length = np.where(short, 1.5 * length, length)
    nodes, weights = _legendre()
    places = u[..., None] - length[..., None] * nodes
    fall = _depth(a[..., None], b[..., None], places) - _depth(a, b, u)[..., None]
    return np.asarray(length * (np.exp(-fall) @ weights), dtype=np.float64)


@lru_cache(maxsize=1)
def _legendre() -> tuple[FloatArray, FloatArray]:
    nodes, weights = np.polynomial.legendre.leggauss(96)
    return (nodes + 1.0) / 2.0, weights / 2.0


def effective_trials(outcomes: Any, people: Any) -> float:
    """How many independent trials would leave the share of ``outcomes`` as uncertain as these pairs do.

    n_eff = p (1 - p) / V, at most the number of pairs. V is the variance of the share p when pairs are correlated
    exactly if they have a person in common (Fafchamps and Gubert 2007; Aronow, Samii and Assenova, Political Analysis
    23, 2015), times G / (G - 1) for G people; for genuine pairs this is the usual variance over clusters. When all
    outcomes are equal there is nothing to estimate V from: then G for pairs of one person and G / 2, the most pairs
    that share nobody, for pairs of two. With :func:`clopper_pearson` it gives an interval for people as the unit,
    which holds for rates near 0 where a bootstrap has nothing to resample:
    ``n = effective_trials(...); clopper_pearson(p * n, n)``.

    Args:
        outcomes: [n] bool, e.g. whether each pair was accepted.
        people: [n] the person of each genuine pair, or [n, 2] both people of each pair.

    Raises:
        DataError: no pairs, fewer than two people, lengths that differ.

    Example:
        >>> effective_trials([True, True, False, False], ["a", "a", "b", "b"])  # two people, not four pairs
        1.0
    """
    labels = as_array(people, "people")
    happened = bool_vector(outcomes, "outcomes", labels.shape[0] if labels.ndim else 0)
    return float(effective_trials_at(happened, labels, [1.0])[0])


def effective_trials_at(scores: Any, people: Any, thresholds: Any) -> FloatArray:
    """:func:`effective_trials` of ``scores >= threshold`` for many thresholds [m] at once, in the time of a sort.

    With A of the n pairs of a person (or of two people) accepted, the sum of (A - p n)^2 over all of them is
    sum A^2 - 2 p sum A n + p^2 sum n^2. Going down the scores, the pair that is the j-th of its person adds 2 j - 1 to
    the first sum and n to the second: cumulative sums serve all thresholds.

    Args:
        scores: [n]; people: as for :func:`effective_trials`; thresholds: [m] in any order, perhaps infinite.

    Raises:
        DataError: as :func:`effective_trials`; scores that are not finite.

    Example:
        >>> effective_trials_at([0.9, 0.8, 0.2, 0.1], ["a", "a", "b", "b"], [0.5, 0.95]).tolist()
        [1.0, 2.0]
    """
    labels = as_array(people, "people")
    if labels.ndim not in (1, 2) or not labels.size or (labels.ndim == 2 and labels.shape[1] != 2):
        raise DataError(f"people should have shape [pairs] or [pairs, 2], at least one pair; got {labels.shape}")
    values, count = score_vector(scores, "scores"), labels.shape[0]
    if values.size != count:
        raise DataError(f"expected a score for each of {count} pairs, got {values.size}")
    (numbers,) = label_numbers(people=labels)
    falling = np.argsort(-values, kind="stable")
    pairs, group = np.sort(numbers.reshape(count, -1), axis=1)[falling], int(numbers.max()) + 1
    limits = -as_array(thresholds, "thresholds").astype(np.float64)
    accepted = np.searchsorted(-values[falling], limits, side="right")
    row, two = np.arange(count), pairs[:, 0] != pairs[:, -1]
    # pairs that share a person, minus those of the same two people, which that counts twice
    of_people = _sums(np.append(pairs[:, 0], pairs[two, -1]), np.append(row, row[two]), accepted)
    of_couples = _sums((pairs[:, 0] * group + pairs[:, -1])[two], row[two], accepted)
    return trials_worth(accepted, count, group, of_people.without(of_couples), couples=bool(two.any()))


class ClusterSums(NamedTuple):
    """Over people, or over couples of them: sum A^2 [m] and sum A n [m] at every threshold, and sum n^2."""

    squares: FloatArray
    products: FloatArray
    sizes: float

    def without(self, other: ClusterSums) -> ClusterSums:
        """The differences."""
        return ClusterSums(self.squares - other.squares, self.products - other.products, self.sizes - other.sizes)


def trials_worth(accepted: IntArray, count: int, people: int, sums: ClusterSums, *, couples: bool) -> FloatArray:
    """Independent trials [m] that ``count`` pairs are worth where ``accepted`` [m] of them are accepted.

    Args:
        people: how many there are; couples: whether pairs are of two of them.
    """
    if people < 2:
        raise DataError("all pairs are of one person, expected at least two people")
    share = accepted / count
    shared = sums.squares - 2.0 * share * sums.products + share**2 * sums.sizes
    independent = share * (1.0 - share) / count
    variance = np.maximum(shared / count**2 * people / (people - 1), independent)
    mixed = independent > 0.0
    worth = count * independent / np.where(mixed, variance, 1.0)
    equal = min(float(count), people / 2.0 if couples else float(people))
    return np.asarray(np.where(mixed, worth, equal), dtype=np.float64)


def rank_within(keys: IntArray) -> IntArray:
    """For every row how many rows of the same key stand before it.

    Example:
        >>> rank_within(np.array([7, 3, 7, 7, 3])).tolist()
        [0, 0, 1, 2, 1]
    """
    order = np.argsort(keys, kind="stable")
    first = np.flatnonzero(np.append(True, np.diff(keys[order]) != 0)) if keys.size else order
    ranks = np.empty(keys.size, dtype=np.int64)
    ranks[order] = np.arange(keys.size) - np.repeat(first, np.diff(np.append(first, keys.size)))
    return ranks


def _sums(keys: IntArray, rows: IntArray, accepted: IntArray) -> ClusterSums:
    """Sums over the keys; ``rows`` tells in which place down the scores each key's pair stands."""
    order = np.argsort(rows, kind="stable")
    keys, rows = keys[order], rows[order]
    _, key, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    squares, products = (np.append(0.0, np.cumsum(added)) for added in (2.0 * rank_within(keys) + 1.0, sizes[key]))
    ends = np.searchsorted(rows, accepted, side="left")
    return ClusterSums(squares[ends], products[ends], float(np.square(sizes, dtype=np.float64).sum()))
