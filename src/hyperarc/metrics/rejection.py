"""Does a quality tell which comparisons fail? Errors left when the worst faces are turned away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import FloatArray, as_array, score_vector


@dataclass(frozen=True, eq=False)
class ErrorReject:
    """False non-matches among the genuine pairs that remain, against the share rejected for low quality.

    A step curve: point i holds for shares from ``rejected[i]`` up to the next, as pairs of equal quality go together.

    Attributes:
        rejected: [m] share of pairs turned away, 0 first, rising, below 1.
        fnmr: [m] share of the remaining pairs that score below the threshold.
        quality: [m] pairs of at least this quality remain.
        pairs: number of genuine pairs.
    """

    rejected: FloatArray
    fnmr: FloatArray
    quality: FloatArray
    pairs: int

    def area(self, limit: float = 1.0) -> float:
        """Area under the steps from 0 to ``limit`` (share of pairs rejected): the smaller, the better the quality.

        Schlett et al. 2023 advise stepwise areas and large limits, as small ones rank qualities unstably.

        Example:
            >>> error_reject([0.2, 0.9], [1.0, 2.0], threshold=0.5).area()
            0.25
        """
        if not 0.0 < limit <= 1.0:
            raise DataError(f"limit should lie in 0..1 and not be 0, got {limit!r}")
        ends = np.minimum(np.append(self.rejected[1:], 1.0), limit)
        widths = np.maximum(ends - self.rejected, 0.0)
        return float(np.sum(widths * self.fnmr))

    def gain(self, limit: float = 1.0) -> float:
        """Where the area lies between that of no information, 0, and of a perfect quality, 1; below 0 it misleads.

        No information leaves the errors as they are, whatever is rejected: a flat line. A perfect quality rejects
        just the failing pairs first. The ratio of the two areas gained is the prediction rejection ratio of Malinin,
        Mlodozeniec and Gales (ICLR 2020) for this curve.

        Raises:
            DataError: no pair fails, or all do, so that no quality could help.

        Example:
            >>> error_reject([0.2, 0.9], [1.0, 2.0], threshold=0.5).gain()
            1.0
            >>> error_reject([0.2, 0.9, 0.2, 0.9], [1.0, 1.0, 1.0, 1.0], threshold=0.5).gain()
            0.0
        """
        start = float(self.fnmr[0])
        failing = round(start * self.pairs)
        if failing in (0, self.pairs):
            raise DataError(f"{failing} of {self.pairs} pairs fail, so no quality could change the error rate")
        gone = np.arange(failing + 1)
        left = (failing - gone) / (self.pairs - gone)
        best = ErrorReject(gone / self.pairs, left, gone.astype(np.float64), self.pairs)
        flat = start * limit
        return (flat - self.area(limit)) / (flat - best.area(limit))


def error_reject(genuine: Any, quality: Any, threshold: float) -> ErrorReject:
    """Error-versus-reject curve: the FNMR at a fixed threshold while the pairs of worst quality are turned away.

    ISO/IEC 29794-1 (error versus discard characteristic) after Grother and Tabassi, "Performance of biometric quality
    measures", PAMI 29(4), 2007. The quality of a pair is the lower of its two faces'. With the length of the embedding
    as quality it shows whether that length is informative for a model. A usual threshold is one that fails 1 to 10 %
    of all genuine pairs.

    Args:
        genuine: scores [g] of pairs of one person.
        quality: [g, 2] of the two faces of each pair, larger is better, or [g] of the pair itself.
        threshold: pairs are accepted iff score >= threshold.

    Raises:
        DataError: bad scores or qualities, lengths that differ, a threshold that is NaN.

    Example:
        >>> curve = error_reject([0.2, 0.6, 0.9], [[5, 1], [3, 4], [3, 3]], threshold=0.5)
        >>> curve.rejected.round(2).tolist(), curve.fnmr.round(2).tolist(), curve.quality.tolist()
        ([0.0, 0.33], [0.33, 0.0], [1.0, 3.0])
    """
    scores, given = score_vector(genuine, "genuine"), as_array(quality, "quality")
    if given.shape not in ((scores.size,), (scores.size, 2)):
        raise DataError(f"quality should have shape ({scores.size},) or ({scores.size}, 2), got {given.shape}")
    worst = score_vector(given.reshape(-1), "quality").reshape(scores.size, -1).min(axis=1)
    if np.isnan(threshold):
        raise DataError("threshold is NaN", mend="take one from threshold_at_far")
    order = np.argsort(worst)
    levels, first = np.unique(worst[order], return_index=True)
    failing = np.append(np.cumsum((scores[order] < threshold)[::-1])[::-1], 0)
    left = scores.size - first
    return ErrorReject(first / scores.size, failing[first] / left, levels, int(scores.size))
