"""How good are probabilities? Proper scoring rules and the calibration error.

Measure on pairs that the map was not fitted on. Log loss, Brier score and calibration error count pairs as they are in
the set, so the probabilities should be taken at the set's own prior (``map.probability(scores, prior=same.mean())``);
Cllr needs no prior.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import BoolArray, FloatArray, bool_vector, score_vector


def log_loss(probability: Any, same: Any) -> float:
    """Mean negative log-likelihood of the labels, in nats: Good, "Rational decisions", 1952.

    Infinite when something certain turned out otherwise; nothing is clipped.

    Args:
        probability: [n] in 0..1 that the pair is of one person; same: [n] bool.

    Raises:
        DataError: no pairs, lengths that differ, probabilities outside 0..1 or NaN.

    Example:
        >>> round(log_loss([0.5, 0.5], [True, False]), 6)
        0.693147
    """
    shares, labels = _judged(probability, same)
    with np.errstate(divide="ignore"):
        return float(-np.mean(np.where(labels, np.log(shares), np.log1p(-shares))))


def brier(probability: Any, same: Any) -> float:
    """Mean squared difference between probability and label, 0 to 1: Brier, Monthly Weather Review 78, 1950.

    Arguments and errors as :func:`log_loss`.

    Example:
        >>> brier([0.5, 1.0], [True, True])
        0.125
    """
    shares, labels = _judged(probability, same)
    return float(np.mean(np.square(shares - labels)))


def calibration_error(probability: Any, same: Any, bins: int = 15) -> float:
    """Expected calibration error: mean gap between probability and share of genuine pairs, over bins of equal width.

    Naeini, Cooper and Hauskrecht, AAAI 2015; 15 bins as in Guo et al., ICML 2017, here of P(one person) itself. Where
    nearly all pairs are impostors it is small for every map: read it beside :func:`cllr`.

    Arguments and errors as :func:`log_loss`; bins: at least 1.

    Example:
        >>> round(calibration_error([0.9, 0.9, 0.1, 0.1], [True, True, False, True]), 6)
        0.25
    """
    shares, labels = _judged(probability, same)
    if bins < 1:
        raise DataError(f"bins should be at least 1, got {bins}")
    place = np.minimum((shares * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(place, weights=shares - labels, minlength=bins)
    return float(np.abs(gaps).sum() / shares.size)


def cllr(genuine_ratios: Any, impostor_ratios: Any) -> float:
    """Cost of log-likelihood ratios, in bits: 0 is perfect, 1 what knowing nothing costs, above 1 misleads.

    1/2 mean log2(1 + e^-g) + 1/2 mean log2(1 + e^i) (Bruemmer and du Preez, Computer Speech and Language 20, 2006).

    Args:
        genuine_ratios, impostor_ratios: natural log-likelihood ratios [g] and [i] of
            :meth:`hyperarc.metrics.ProbabilityMap.log_likelihood_ratio`.

    Raises:
        DataError: a list is empty or holds a non-finite ratio.

    Example:
        >>> cllr([0.0], [0.0])
        1.0
    """
    genuine, impostor = score_vector(genuine_ratios, "genuine"), score_vector(impostor_ratios, "impostor")
    nats = np.mean(np.logaddexp(0.0, -genuine)) + np.mean(np.logaddexp(0.0, impostor))
    return float(nats / (2.0 * np.log(2.0)))


def _judged(probability: Any, same: Any) -> tuple[FloatArray, BoolArray]:
    shares = score_vector(probability, "probability")
    if shares.min() < 0.0 or shares.max() > 1.0:
        raise DataError(f"probability should lie in 0..1, got {shares.min():g} to {shares.max():g}")
    return shares, bool_vector(same, "same", shares.size)
