"""Verification numbers of two lists of scores: genuine (one person) and impostor (two people).

One rule everywhere: a pair is accepted iff score >= threshold. So equal scores are accepted or rejected
together, a tie between a genuine and an impostor score is one point of the curve, and

    FAR(t) = share of impostor scores >= t        TAR(t) = share of genuine scores >= t        FRR = 1 - TAR.

Nothing is interpolated except the equal error rate, which exists on a step curve only between two points.
Scores are similarities (cosines as a rule): larger means more alike; negate distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import FloatArray, score_vector


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


def _highest_rejected(impostor: FloatArray, far: float) -> float:
    """The impostor score that the threshold must exceed so that FAR <= ``far``; -inf when none must be."""
    if not 0.0 <= far <= 1.0:
        raise DataError(f"far should lie in 0..1, got {far!r}", mend="1e-3 is one false accept in a thousand")
    count = impostor.size
    allowed = min(int(far * count) + 1, count)
    # The product may round across an integer; the quotient is what a reader would compute, so it decides.
    while allowed / count > far:
        allowed -= 1
    if allowed == count:
        return -np.inf
    place = count - 1 - allowed
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
    return float(np.mean(genuine > _highest_rejected(impostor, far)))


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
    rejected = _highest_rejected(impostor, far)
    scores = np.concatenate([genuine, impostor])
    return float(np.min(scores, where=scores > rejected, initial=np.inf))


def eer(genuine: Any, impostor: Any) -> float:
    """Equal error rate: where the straight line between neighbouring points of the curve has FAR = FRR.

    Example:
        >>> eer([0.9, 0.8], [0.2, 0.1])
        0.0
        >>> eer([0.9, 0.3], [0.5, 0.1])
        0.5
    """
    curve = roc(genuine, impostor)
    excess = curve.far - (1.0 - curve.tar)  # -1 where nothing is accepted, 1 where everything is
    after = int(np.argmax(excess >= 0.0))
    before = after - 1
    weight = -excess[before] / (excess[after] - excess[before])
    return float(curve.far[before] + weight * (curve.far[after] - curve.far[before]))


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
