"""Long lists of scores made short, for figures alone; numbers are counted from all of them."""

from __future__ import annotations

import numpy as np

from hyperarc.metrics.inputs import FloatArray
from hyperarc.protocols.result import ResultCurve

MOST = 1_000_000
_POINTS = 2000


def sampled(scores: FloatArray) -> FloatArray:
    """At most a million scores, evenly over the list.

    Example:
        >>> len(sampled(np.zeros(5)))
        5
    """
    step = -(-len(scores) // MOST)
    return scores[::step] if step > 1 else scores


def thinned_roc(genuine: FloatArray, impostor: FloatArray, label: str = "") -> ResultCurve:
    """A ROC of at most 2,000 points, evenly over the logarithm of the false accepts; each point is exact.

    Example:
        >>> curve = thinned_roc(np.array([0.9, 0.4]), np.array([0.5, 0.1]))
        >>> curve.x.tolist(), curve.y.tolist()
        ([0.0, 0.5, 1.0], [0.5, 1.0, 1.0])
    """
    falling, rising = np.sort(impostor)[::-1], np.sort(genuine)
    allowed = np.unique(np.concatenate([[0], np.geomspace(1, len(falling), _POINTS).astype(np.int64)]))
    # The point with at most so many false accepts: everything above the first score that is one too many.
    rejected = np.append(falling, -np.inf)[allowed]
    far = (len(falling) - np.searchsorted(falling[::-1], rejected, side="right")) / len(falling)
    tar = (len(rising) - np.searchsorted(rising, rejected, side="right")) / len(rising)
    return ResultCurve("roc", far, tar, label)
