"""Verification numbers of two lists of scores: genuine (one person) and impostor (two people).

One rule everywhere: a pair is accepted iff score >= threshold. So equal scores are accepted or rejected
together, a tie between a genuine and an impostor score is one point of the curve, and

    FAR(t) = share of impostor scores >= t        TAR(t) = share of genuine scores >= t        FRR = 1 - TAR.

Nothing is interpolated except the equal error rate, which exists on a step curve only between two points.
ROC, DET, FAR, TAR and EER are those of ISO/IEC 19795-1 (there FMR, 1 - FNMR).
Scores are similarities (cosines as a rule): larger means more alike; negate distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import FloatArray, as_array, score_vector


@dataclass(frozen=True, eq=False)
class Roc:
    """An exact receiver operating characteristic, from the strictest threshold to the laxest.

    Attributes:
        far, tar: [m] shares in 0..1, both never falling.
        thresholds: [m] falling; the first is infinity (nothing accepted), then every distinct score.
    """

    far: FloatArray
    tar: FloatArray
    thresholds: FloatArray

    def tar_at_far(self, far: float) -> float:
        """Highest TAR of the points whose FAR is at most ``far``; see :func:`tar_at_far`."""
        _check_far(far)
        return float(self.tar[np.searchsorted(self.far, far, side="right") - 1])

    def rates_at(self, threshold: float) -> tuple[float, float]:
        """FAR and TAR of the scores >= ``threshold``.

        Example:
            >>> roc([0.9, 0.4], [0.4, 0.1]).rates_at(0.3)
            (0.5, 1.0)
        """
        row = np.searchsorted(-self.thresholds, -threshold, side="right") - 1
        return float(self.far[row]), float(self.tar[row])

    def eer(self) -> float:
        """Equal error rate; see :func:`eer`."""
        excess = self.far - (1.0 - self.tar)  # -1 where nothing is accepted, 1 where everything is
        after = int(np.argmax(excess >= 0.0))
        before = after - 1
        weight = -excess[before] / (excess[after] - excess[before])
        return float(self.far[before] + weight * (self.far[after] - self.far[before]))

    def auc(self) -> float:
        """Area under the curve, points joined by straight lines; see :func:`auc`."""
        return float(np.sum(np.diff(self.far) * (self.tar[1:] + self.tar[:-1])) / 2.0)


@dataclass(frozen=True, eq=False)
class Det:
    """Detection error trade-off points: the same thresholds as :class:`Roc`, errors on both axes.

    Attributes:
        far, frr: [m] false accept and false reject shares in 0..1.
        thresholds: [m] falling, the first is infinity.
    """

    far: FloatArray
    frr: FloatArray
    thresholds: FloatArray


def _share_at_least(scores: FloatArray, thresholds: FloatArray) -> FloatArray:
    """Share of ``scores`` >= each threshold."""
    below = np.searchsorted(np.sort(scores), thresholds, side="left")
    return np.asarray((scores.size - below) / scores.size, dtype=np.float64)


def roc(genuine: Any, impostor: Any) -> Roc:
    """Every distinct operating point of the scores.

    Args:
        genuine, impostor: scores [g] and [i], finite, at least one each.

    Raises:
        DataError: a list is empty, not flat, or holds a non-finite score (its row is named).

    Example:
        >>> curve = roc([0.9, 0.4], [0.4, 0.1])
        >>> curve.thresholds.tolist(), curve.far.tolist(), curve.tar.tolist()
        ([inf, 0.9, 0.4, 0.1], [0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    genuine, impostor = score_vector(genuine, "genuine"), score_vector(impostor, "impostor")
    distinct = np.unique(np.concatenate([genuine, impostor]))[::-1]
    thresholds = np.concatenate([[np.inf], distinct])
    return Roc(_share_at_least(impostor, thresholds), _share_at_least(genuine, thresholds), thresholds)


def det(genuine: Any, impostor: Any) -> Det:
    """False rejects against false accepts at every distinct operating point.

    Example:
        >>> det([0.9, 0.4], [0.4, 0.1]).frr.tolist()
        [1.0, 0.5, 0.0, 0.0]
    """
    curve = roc(genuine, impostor)
    return Det(curve.far, 1.0 - curve.tar, curve.thresholds)


def _check_far(far: float) -> None:
    if not 0.0 <= far <= 1.0:
        raise DataError(f"far should lie in 0..1, got {far!r}", mend="1e-3 is one false accept in a thousand")


def accepts_allowed(count: int, far: float) -> int:
    """How many of ``count`` impostor pairs may be accepted at ``far``.

    Example:
        >>> accepts_allowed(1000, 0.0029), accepts_allowed(1000, 0.003)
        (2, 3)
    """
    _check_far(far)
    allowed = min(int(far * count) + 1, count)
    # The product may round across an integer; the quotient is what a reader would compute, so it decides.
    while allowed / count > far:
        allowed -= 1
    return allowed


def highest_rejected(impostor: FloatArray, far: float) -> float:
    """The impostor score that the threshold must exceed so that FAR <= ``far``; -inf when none must be.

    Example:
        >>> highest_rejected(np.array([0.5, 0.2, 0.1, 0.0]), 0.25)
        0.2
    """
    allowed = accepts_allowed(impostor.size, far)
    if allowed == impostor.size:
        return -np.inf
    place = impostor.size - 1 - allowed
    return float(np.partition(impostor, place)[place])


def tar_at_far(genuine: Any, impostor: Any, far: float) -> float:
    """Highest TAR over all thresholds whose FAR is at most ``far``; no interpolation.

    Below 1 / len(impostor) the rule means "no false accept at all": the number is defined, but the list of
    impostors is too short to say how often one in 1 / far would be accepted.

    Args:
        genuine, impostor: scores [g] and [i].
        far: target false accept rate in 0..1.

    Raises:
        DataError: bad scores (see :func:`roc`) or ``far`` outside 0..1.

    Example:
        >>> tar_at_far([0.9, 0.8, 0.3, 0.2], [0.5, 0.2, 0.1, 0.0], far=0.25)
        0.75
        >>> tar_at_far([0.9, 0.8, 0.5, 0.2], [0.5, 0.2, 0.1, 0.0], far=0.0)
        0.5
    """
    genuine, impostor = score_vector(genuine, "genuine"), score_vector(impostor, "impostor")
    return float(np.mean(genuine > highest_rejected(impostor, far)))


def threshold_at_far(genuine: Any, impostor: Any, far: float) -> float:
    """The laxest threshold among all scores with FAR <= ``far``; infinity when every score is too lax.

    ``tar_at_far(...)`` equals the share of genuine scores >= this threshold.

    Example:
        >>> threshold_at_far([0.9, 0.8, 0.3], [0.5, 0.2, 0.1, 0.0], far=0.0)
        0.8
        >>> threshold_at_far([0.3], [0.5, 0.2], far=0.0)
        inf
    """
    genuine, impostor = score_vector(genuine, "genuine"), score_vector(impostor, "impostor")
    rejected = highest_rejected(impostor, far)
    scores = np.concatenate([genuine, impostor])
    return float(np.min(scores, where=scores > rejected, initial=np.inf))


def points_at_nearest_far(genuine: Any, impostor: Any, fars: Any) -> Roc:
    """The point of the curve whose FAR is nearest to each target: the IJB rule of InsightFace's evaluation.

    The rule of ``eval_ijbc.py`` (IJB-B and IJB-C 1:1), exactly: the curve is scikit-learn's ``roc_curve``, which leaves
    out points where neither count turns (its second differences are zero; ``drop_intermediate``); of the points left
    the one with the smallest ``|FAR - target|`` counts, of equally near ones the laxest. So the FAR may exceed the
    target, by much when there are few impostors; compare with :func:`tar_at_far`, which never does.

    Args:
        genuine, impostor: scores [g] and [i].
        fars: targets in 0..1, one or a list [m].

    Returns:
        The points [m] in the order of ``fars``, with the FAR and threshold that were really taken.

    Raises:
        DataError: bad scores (see :func:`roc`) or a target outside 0..1.

    Example:
        >>> points_at_nearest_far([0.9, 0.8, 0.3, 0.2], [0.5, 0.25, 0.1, 0.0], fars=[0.2]).far.tolist()
        [0.25]
    """
    targets = score_vector(np.atleast_1d(as_array(fars, "fars")), "fars")
    for target in targets.tolist():
        _check_far(target)
    genuine, impostor = score_vector(genuine, "genuine"), score_vector(impostor, "impostor")
    curve = roc(genuine, impostor)
    # The first point (nothing accepted) is always there; what may be dropped lies between the first and last score.
    # Whole numbers, because shares that lie on one line need not do so in floating point.
    far_turns = np.diff(np.rint(curve.far[1:] * impostor.size), 2)
    tar_turns = np.diff(np.rint(curve.tar[1:] * genuine.size), 2)
    kept = np.ones(curve.far.size, dtype=np.bool_)
    kept[2:-1] = (far_turns != 0) | (tar_turns != 0)
    rows = np.flatnonzero(kept)[::-1]
    nearest = rows[[int(np.argmin(np.abs(curve.far[rows] - target))) for target in targets]]
    return Roc(curve.far[nearest], curve.tar[nearest], curve.thresholds[nearest])


def tar_at_nearest_far(genuine: Any, impostor: Any, fars: Any) -> FloatArray:
    """TAR at the points of :func:`points_at_nearest_far`, [m]: what published IJB-B and IJB-C tables hold.

    Example:
        >>> tar_at_nearest_far([0.9, 0.8, 0.3, 0.2], [0.5, 0.25, 0.1, 0.0], fars=[0.2, 0.4]).tolist()
        [0.75, 1.0]
    """
    return points_at_nearest_far(genuine, impostor, fars).tar


def eer(genuine: Any, impostor: Any) -> float:
    """Equal error rate: where the straight line between neighbouring points of the curve has FAR = FRR.

    Example:
        >>> eer([0.9, 0.8], [0.2, 0.1])
        0.0
        >>> eer([0.9, 0.3], [0.5, 0.1])
        0.5
    """
    return roc(genuine, impostor).eer()


def auc(genuine: Any, impostor: Any) -> float:
    """Area under the curve: chance that a genuine score beats an impostor score, a tie counting one half.

    Example:
        >>> auc([0.9, 0.4], [0.4, 0.1])
        0.875
    """
    genuine, impostor = score_vector(genuine, "genuine"), np.sort(score_vector(impostor, "impostor"))
    below = np.searchsorted(impostor, genuine, side="left")
    not_above = np.searchsorted(impostor, genuine, side="right")
    return float(np.mean((below + not_above) / (2.0 * impostor.size)))
