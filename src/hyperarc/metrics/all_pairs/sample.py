"""A sample of the impostors: all pairs of random faces, scored exactly, so that it is the same on every machine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from hyperarc.metrics.all_pairs.layout import Layout, Side
from hyperarc.metrics.all_pairs.scores import exact_scores
from hyperarc.metrics.all_pairs.tally import Scores
from hyperarc.metrics.inputs import IntArray

MOST = 1 << 24  # pairs
LEAST = 1 << 16


@dataclass(frozen=True, eq=False)
class Sample:
    """Scores of random faces with random faces.

    Attributes:
        matrix: [r, c] scores; NaN for pairs that are no impostors.
        rows, columns: labels of its faces.
    """

    matrix: npt.NDArray[np.float32]
    rows: IntArray
    columns: IntArray

    @cached_property
    def rising(self) -> Scores:
        """All scores, sorted."""
        return np.sort(self.matrix[~np.isnan(self.matrix)])

    def ranked(self, rank: float) -> float:
        """The score that stands at ``rank``, counted from 1 at the largest; infinities beyond the ends."""
        place = self.rising.size - math.floor(rank)
        if place >= self.rising.size:
            return math.inf
        return float(self.rising[place]) if place >= 0 else -math.inf

    def rank_error(self, rank: float) -> float:
        """Standard error of the number of pairs above the score at ``rank``.

        Pairs that share a person are not independent: the variance is summed over the people of the rows and over those
        of the columns, less what both count (Cameron, Gelbach and Miller, Robust inference with multiway clustering,
        Journal of Business and Economic Statistics 29, 2011). It is not taken to be less than that of independent
        pairs.
        """
        above, known = self.matrix >= self.ranked(rank), ~np.isnan(self.matrix)
        share = float(above.sum() / known.sum())
        independent = float(known.sum()) * share * (1.0 - share)
        clustered = -independent
        for axis, people in ((1, self.rows), (0, self.columns)):
            found, there = (np.bincount(people, flags.sum(axis=axis)) for flags in (above, known))
            clustered += float(((found - share * there) ** 2).sum())
        return math.sqrt(max(clustered, independent))


def draw_sample(layout: Layout, share: float) -> Sample:
    """A sample from which windows can be foretold, the lowest at the score that ``share`` of the impostors reach."""
    generator = np.random.default_rng(0)
    pairs = _worth_sampling(layout.pairs, share)
    rows = _some(len(layout.probes), math.isqrt(pairs), generator)
    withins = [within for within in layout.withins if layout.has_impostors(within)]
    weights = {within: len(layout.columns(within)) / (2 if within else 1) for within in withins}
    parts, people = [], []
    for within, weight in weights.items():
        side = layout.columns(within)
        wanted = max(1, round(pairs // rows.size * weight / sum(weights.values())))
        columns = _some(len(side), wanted, generator)
        parts.append(_matrix(layout.probes, side, rows, columns))
        people.append(side.labels[columns])
    return Sample(np.concatenate(parts, axis=1), layout.probes.labels[rows], np.concatenate(people))


def _worth_sampling(pairs: int, share: float) -> int:
    """How many pairs to sample so that sampling m of them and scoring what lies in the windows cost least together.

    With ``share`` of all n pairs above the lowest threshold about 10 n sqrt(share / m) pairs lie in its window, and at
    least 10 n / m in the highest one (a hundred times as many are scored where the product is int8); a pair in a window
    takes some eight times as long as one of the sample.
    """
    balanced: float = max((60.0 * pairs * math.sqrt(share)) ** (2 / 3), math.sqrt(4000.0 * pairs))
    return int(min(MOST, max(LEAST, balanced)))


def _some(count: int, wanted: int, generator: np.random.Generator) -> IntArray:
    return np.sort(generator.choice(count, min(count, wanted), replace=False)).astype(np.int64)


def _matrix(probes: Side, side: Side, rows: IntArray, columns: IntArray) -> npt.NDArray[np.float32]:
    """Scores of all of these pairs; NaN for those that are no impostors."""
    left, right = (torch.from_numpy(s.vectors.picked(places)) for s, places in ((probes, rows), (side, columns)))
    scores = np.empty((rows.size, columns.size), dtype=np.float32)
    across = np.arange(columns.size)
    for start in range(0, rows.size, 256):
        part = left[start : start + 256]
        r, c = np.repeat(np.arange(len(part)), columns.size), np.tile(across, len(part))
        scores[start : start + 256] = exact_scores(part, right, r, c).reshape(len(part), columns.size)
    scores[probes.labels[rows][:, None] == side.labels[columns]] = np.nan
    if probes.ids is not None and side.ids is not None:
        scores[probes.ids[rows][:, None] == side.ids[columns]] = np.nan
    return scores
