"""From which cosine on two people are taken for one, read off the cosines of different people."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hyperarc.errors import DataError, UsageError

EDGES: Final = np.linspace(-1.0, 1.0, 4001)
FEWEST_PEOPLE = 10
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Impostors:
    """How often the centers of two different people reach a cosine: the upper tail of a normal distribution.

    Attributes:
        mean, std: of that distribution; std > 0.
        comparisons: how many pairs of people are compared.

    Example:
        >>> impostors = Impostors(0.0, 0.1, 1_000_000)
        >>> round(impostors.limit(1.0), 3), round(impostors.expected(0.475), 1)
        (0.475, 1.0)
    """

    mean: float
    std: float
    comparisons: int

    def limit(self, false_matches: float = 1.0) -> float:
        """The cosine that so many pairs of different people reach, in expectation among all comparisons; at most 1."""
        share = min(max(false_matches / self.comparisons, 1e-300), 0.5)
        return min(1.0, self.mean - self.std * _NORMAL.inv_cdf(share))

    def expected(self, cosine: float) -> float:
        """How many pairs of different people reach the cosine, in expectation among all comparisons."""
        return self.comparisons * 0.5 * math.erfc((cosine - self.mean) / (self.std * math.sqrt(2.0)))


def fit_impostors(counts: npt.NDArray[np.int64], people: int) -> Impostors:
    """The normal tail of the cosines of all comparisons, true matches among them or not.

    Each person of the smaller set is at most one of the larger set, so that true matches are at most one in ``people``
    of the comparisons. The tail is laid through two cosines, that which a share b = 10 / people of the comparisons
    reaches (at least 0.001, at most 0.25), where at most a tenth are true matches, and that which 10 b reaches (at most
    0.5). Between centers of MobileFaceNet embeddings of 5749 people it fits down to a share of 1e-5, where the cosine
    is 0.477 and the tail says 0.472.

    Args:
        counts: [4000], how many comparisons lie between each two of ``EDGES``.
        people: in the larger set.

    Raises:
        DataError: fewer than 10 people, or cosines that are all one.

    Example:
        >>> cosines = np.random.default_rng(0).normal(0.0, 0.1, 1_000_000)
        >>> round(fit_impostors(np.histogram(cosines, EDGES)[0], 1000).std, 2)
        0.1
    """
    if people < FEWEST_PEOPLE:
        raise DataError(
            f"expected at least {FEWEST_PEOPLE} people to read a limit off their cosines, got {people}",
            mend="give the limit by --cosine",
        )
    low = min(max(10.0 / people, 1e-3), 0.25)
    high = min(10.0 * low, 0.5)
    total = int(counts.sum())
    reached = counts[::-1].cumsum()[::-1] / total  # share at or above each left edge
    cosine_low, cosine_high = (float(np.interp(share, reached[::-1], EDGES[:-1][::-1])) for share in (low, high))
    std = (cosine_low - cosine_high) / (_NORMAL.inv_cdf(1.0 - low) - _NORMAL.inv_cdf(1.0 - high))
    if std < EDGES[1] - EDGES[0]:
        raise DataError("expected people whose faces differ, their cosines are all one", mend="check the artifact")
    return Impostors(cosine_low - std * _NORMAL.inv_cdf(1.0 - low), std, total)


def choose_limit(
    counts: npt.NDArray[np.int64], people: int, cosine: float | None
) -> tuple[float, Impostors | None]:
    """The cosine given, or else that of one expected false match; and the impostors, where they can be fitted.

    Args:
        counts, people: see :func:`fit_impostors`.
        cosine: given, or None.

    Raises:
        UsageError: a cosine out of -1..1. DataError: none given, and the impostors cannot be fitted.
    """
    if cosine is None:
        impostors = fit_impostors(counts, people)
        return impostors.limit(), impostors
    if not -1.0 <= cosine <= 1.0:
        raise UsageError(f"expected a cosine in -1..1, got {cosine}")
    with suppress(DataError):
        return cosine, fit_impostors(counts, people)
    return cosine, None


def count_cosines(cosines: Tensor) -> npt.NDArray[np.int64]:
    """How many of the cosines lie between each two of ``EDGES``.

    Example:
        >>> count_cosines(torch.tensor([0.0, 0.0001, 1.0])).sum()
        np.int64(3)
    """
    counts = torch.histc(cosines.float().clamp(-1.0, 1.0), len(EDGES) - 1, -1.0, 1.0)
    return counts.to(torch.int64).cpu().numpy()


def reached(counts: npt.NDArray[np.int64], every: int = 10) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Every tenth of the cosines of ``EDGES``, and how many of the counted pairs reach it.

    Example:
        >>> cosines, pairs = reached(count_cosines(torch.tensor([-0.5, 0.2])))
        >>> pairs[cosines < -0.5][-1], pairs[cosines <= 0.0][-1], len(pairs)
        (np.int64(2), np.int64(1), 400)
    """
    return EDGES[:-1:every], counts[::-1].cumsum()[::-1][::every]
