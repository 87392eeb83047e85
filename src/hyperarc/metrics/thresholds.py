"""A threshold for use: chosen at a false accept rate, with how far the pairs bear it out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import score_vector
from hyperarc.metrics.verification import Roc, threshold_at_far


def pairs_needed(far: float, rule: Literal[3, 30] = 30) -> int:
    """Impostor pairs needed before a false accept rate of ``far`` can be spoken of: ``rule`` / far, rounded up.

    Rule of 30 (Doddington et al., "The NIST speaker recognition evaluation", Speech Communication 31, 2000): with 30
    errors the true rate lies within 30 % of the measured one, with 90 % confidence. Rule of 3 (Hanley and Lippman-Hand,
    JAMA 249, 1983): if none of 3 / far independent pairs is accepted, the rate is below ``far`` with 95 % confidence.
    Both as in Mansfield and Wayman, "Best practices in testing and reporting performance of biometric devices", NPL
    2002. They hold for independent pairs; pairs that share people are worth fewer
    (:func:`hyperarc.metrics.effective_trials`).

    Args:
        far: rate above 0, up to 1.
        rule: 30 to measure the rate, 3 to bound it.

    Raises:
        DataError: ``far`` outside its range, another rule.

    Example:
        >>> pairs_needed(1e-4), pairs_needed(1e-4, rule=3)
        (300000, 30000)
    """
    if not 0.0 < far <= 1.0:
        raise DataError(f"far should lie in 0..1 and not be 0, got {far!r}", mend="1e-4 is one false accept in 10,000")
    if rule not in (3, 30):
        raise DataError(f"rule should be 3 or 30, got {rule!r}")
    # the rate as it is written: in binary, 3 / 0.003 may come out just above 1,000
    return math.ceil(rule / Fraction(repr(float(far))))


@dataclass(frozen=True)
class OperatingPoint:
    """One threshold and what it does to the pairs it was chosen on.

    Attributes:
        target: false accept rate asked for.
        threshold: pairs are accepted iff score >= threshold; infinity when nothing may be accepted.
        false_accepts, impostor_pairs: their quotient is ``far``, at most ``target``.
        true_accepts, genuine_pairs: their quotient is ``tar``.
        pairs_to_bound, pairs_to_measure: impostor pairs that ``target`` needs by the rules of 3 and of 30.
    """

    target: float
    threshold: float
    false_accepts: int
    impostor_pairs: int
    true_accepts: int
    genuine_pairs: int
    pairs_to_bound: int
    pairs_to_measure: int

    @property
    def far(self) -> float:
        """Measured false accept rate."""
        return self.false_accepts / self.impostor_pairs

    @property
    def tar(self) -> float:
        """Measured true accept rate."""
        return self.true_accepts / self.genuine_pairs


def operating_point(genuine: Any, impostor: Any, far: float) -> OperatingPoint:
    """The threshold of :func:`hyperarc.metrics.threshold_at_far` with its counts and how many pairs it needs.

    Args:
        genuine, impostor: scores [g] and [i].
        far: target false accept rate above 0, up to 1.

    Raises:
        DataError: bad scores, ``far`` outside its range.

    Example:
        >>> point = operating_point([0.9, 0.8, 0.3], [0.5, 0.2, 0.1, 0.0], far=0.25)
        >>> point.threshold, point.far, point.pairs_to_bound, point.pairs_to_measure
        (0.3, 0.25, 12, 120)
    """
    bound, measure = pairs_needed(far, rule=3), pairs_needed(far, rule=30)
    genuine, impostor = score_vector(genuine, "genuine"), score_vector(impostor, "impostor")
    threshold = threshold_at_far(genuine, impostor, far)
    return OperatingPoint(
        target=float(far),
        threshold=threshold,
        false_accepts=int(np.count_nonzero(impostor >= threshold)),
        impostor_pairs=int(impostor.size),
        true_accepts=int(np.count_nonzero(genuine >= threshold)),
        genuine_pairs=int(genuine.size),
        pairs_to_bound=bound,
        pairs_to_measure=measure,
    )


class Cut(NamedTuple):
    """A threshold and the rate that it was chosen for."""

    rate: float
    threshold: float


def equal_error_cut(curve: Roc) -> Cut:
    """The equal error rate, and the score at which FAR and FRR lie nearest to one another; of equal ones the highest.

    Example:
        >>> from hyperarc.metrics import roc
        >>> equal_error_cut(roc([0.9, 0.8, 0.3], [0.5, 0.2, 0.1]))
        Cut(rate=0.3333333333333333, threshold=0.5)
    """
    gaps = np.abs(curve.far + curve.tar - 1.0)[1:]
    return Cut(curve.eer(), float(curve.thresholds[1 + int(np.argmin(gaps))]))


def best_accuracy_cut(curve: Roc) -> Cut:
    """The best accuracy where both kinds of pairs are equally common, 1 - (FAR + FRR) / 2, at the highest such score.

    Example:
        >>> from hyperarc.metrics import roc
        >>> best_accuracy_cut(roc([0.9, 0.8, 0.3, 0.2], [0.5, 0.1]))
        Cut(rate=0.75, threshold=0.8)
    """
    accuracy = (1.0 + curve.tar - curve.far)[1:] / 2.0
    best = int(np.argmax(accuracy))
    return Cut(float(accuracy[best]), float(curve.thresholds[1 + best]))
