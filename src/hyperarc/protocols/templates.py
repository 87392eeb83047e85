"""Templates as IJB-B and IJB-C pool them, and their scores.

The rule is that of InsightFace's ``eval_ijbc.py``: an image feature is the embedding with its length (N1) or without
(N0), times the detector's score (D1) or not (D0); inside a template, the features of one medium (the frames of a video)
are averaged, those of the media are added, and the sum is normalized. F, whether the embedding of the mirror image is
added, is the flip policy of the contract.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperarc.metrics.inputs import FloatArray, IntArray
from hyperarc.protocols.pooling import group, pool_sums, unit_rows

_AT_A_TIME = 512  # pairs scored at a time: their rows stay in the cache


@dataclass(frozen=True, eq=False)
class Templates:
    """Unit vectors [t, d] of templates by number, rising."""

    numbers: IntArray
    units: FloatArray

    def rows(self, numbers: IntArray) -> IntArray:
        """Row of each template; -1 of those that are not here."""
        place = np.minimum(np.searchsorted(self.numbers, numbers), len(self.numbers) - 1)
        return np.where(self.numbers[place] == numbers, place, -1)


def pool_templates(
    features: Any, templates: IntArray, media: IntArray, *, norm: bool = True, quality: FloatArray | None = None
) -> Templates:
    """Image features pooled into templates.

    Args:
        features: [n, d] raw embeddings, read in blocks.
        templates, media: [n] numbers.
        norm: keep the lengths of the embeddings (N1, default).
        quality: [n] detector scores to multiply by (D1), None for none (D0).

    Returns:
        Their unit vectors.

    Raises:
        DataError: a template whose features add up to zero.

    Example:
        >>> features = np.array([[2.0, 0.0], [4.0, 0.0], [0.0, 3.0]])  # two frames of a video, and a photo
        >>> pool_templates(features, np.array([1, 1, 1]), np.array([8, 8, 9])).units.round(3).tolist()
        [[0.707, 0.707]]
    """
    both = group(templates, media)
    sizes = np.diff(np.append(both.starts, len(both.order)))
    weights = np.empty(len(templates))
    weights[both.order] = np.repeat(1.0 / sizes, sizes)
    if not norm:
        weights /= np.linalg.norm(features, axis=1)
    if quality is not None:
        weights *= quality
    groups = group(templates)
    sums = pool_sums(features, groups, weights)
    return Templates(groups.numbers, unit_rows(sums, groups.numbers, "template"))


def pair_scores(templates: Templates, first: IntArray, second: IntArray) -> FloatArray:
    """Cosines [p] of pairs of templates by number; 0 where a template is not there."""
    left, right = templates.rows(first), templates.rows(second)
    scores = np.zeros(len(left))
    for start in range(0, len(left), _AT_A_TIME):
        part = slice(start, start + _AT_A_TIME)
        a, b = left[part], right[part]
        cosines = np.einsum("pd,pd->p", templates.units[a], templates.units[b])
        scores[part] = np.where((a >= 0) & (b >= 0), cosines, 0.0)
    return scores
