"""How far a measured share can be trusted: exact binomial intervals, and how many trials correlated pairs are worth."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import FloatArray, IntArray, as_array, bool_vector, label_numbers


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
    if labels.ndim not in (1, 2) or not labels.size or (labels.ndim == 2 and labels.shape[1] != 2):
        raise DataError(f"people should have shape [pairs] or [pairs, 2], at least one pair; got {labels.shape}")
    happened = bool_vector(outcomes, "outcomes", labels.shape[0])
    (numbers,) = label_numbers(people=labels)
    pairs = np.sort(numbers.reshape(labels.shape[0], -1), axis=1)
    count, group = pairs.shape[0], int(numbers.max()) + 1
    if group < 2:
        raise DataError("all pairs are of one person, expected at least two people")
    share = float(happened.mean())
    two = pairs[:, 0] != pairs[:, -1]
    if share in (0.0, 1.0):
        return min(float(count), group / 2.0 if two.any() else float(group))
    off = happened - share
    # pairs that share a person, minus those of the same two people, which that counts twice
    shared = _squares(np.append(pairs[:, 0], pairs[two, -1]), np.append(off, off[two]))
    shared -= _squares((pairs[:, 0] * group + pairs[:, -1])[two], off[two])
    variance = shared / count**2 * group / (group - 1)
    independent = share * (1.0 - share) / count
    return float(count * independent / max(variance, independent))


def _squares(keys: IntArray, values: FloatArray) -> float:
    """Sum over keys of the squared sum of their values."""
    _, row = np.unique(keys, return_inverse=True)
    return float(np.square(np.bincount(row, weights=values)).sum())
