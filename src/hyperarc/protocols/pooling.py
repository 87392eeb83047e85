"""Templates: many faces of one person (a video, a set of photos) as one unit vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import FloatArray, IntArray

_AT_A_TIME = 1 << 16  # faces whose vectors are weighted at a time


@dataclass(frozen=True)
class Grouped:
    """Rows brought together by a number.

    Attributes:
        order: rows sorted by group, in their own order inside a group.
        starts: place in ``order`` where each group begins; numbers: of the groups, rising.
    """

    order: IntArray
    starts: IntArray
    numbers: IntArray


def group(*numbers: npt.ArrayLike) -> Grouped:
    """Rows grouped by one or several whole numbers each; the group's number is that of the first list.

    Example:
        >>> grouped = group([7, 3, 7])
        >>> grouped.order.tolist(), grouped.starts.tolist(), grouped.numbers.tolist()
        ([1, 0, 2], [0, 1], [3, 7])
    """
    keys = [np.asarray(one, np.int64) for one in numbers]
    order = np.lexsort(keys[::-1])
    new = np.zeros(len(order), np.bool_)
    new[:1] = True
    for key in keys:
        new[1:] |= np.diff(key[order]) != 0
    starts = np.flatnonzero(new)
    return Grouped(order, starts, keys[0][order[starts]])


def pool_sums(vectors: Any, groups: Grouped, weights: FloatArray) -> FloatArray:
    """Weighted sum [groups, d] of the rows of each group, float64.

    Args:
        vectors: [rows, d], any float dtype; read in blocks, so a memory map will do.
        groups: of the rows; weights: [rows].

    Example:
        >>> pool_sums(np.eye(3), group([5, 5, 6]), np.array([1.0, 2.0, 3.0])).tolist()
        [[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]]
    """
    sums = np.zeros((len(groups.starts), vectors.shape[1]))
    ends = np.append(groups.starts[1:], len(groups.order))
    first = 0
    while first < len(groups.starts):
        # As many whole groups as fit, at least one: sums of a group never depend on the block.
        last = max(first + 1, int(np.searchsorted(ends, groups.starts[first] + _AT_A_TIME, side="right")))
        rows = groups.order[groups.starts[first] : ends[last - 1]]
        weighted = np.asarray(vectors[rows], np.float64) * weights[rows, None]
        sums[first:last] = np.add.reduceat(weighted, groups.starts[first:last] - groups.starts[first], axis=0)
        first = last
    return sums


def unit_rows(sums: FloatArray, names: Any, where: str) -> FloatArray:
    """Sums as unit vectors; :class:`DataError` names one that cancelled out to zero."""
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    zero = np.flatnonzero(norms[:, 0] == 0)
    if len(zero):
        raise DataError(f"the faces of {names[zero[0]]} add up to a zero vector", where=where)
    return np.asarray(sums / norms)


def mean_of_frames(
    vectors: npt.NDArray[np.float32], videos: IntArray, count: int, weights: FloatArray | None = None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Normalized weighted mean of the unit frame embeddings of each video.

    Args:
        vectors: [frames, d] raw embeddings; videos: [frames] number of its video, 0..count-1.
        count: videos.
        weights: [frames] above 0; None means 1.

    Returns:
        [count, d] float32 (zeros where a video has no frame), and [count] bool, which have one.

    Example:
        >>> pooled, there = mean_of_frames(np.eye(2, dtype=np.float32), np.array([1, 1]), 2)
        >>> pooled.round(3).tolist(), there.tolist()
        ([[0.0, 0.0], [0.7070000171661377, 0.7070000171661377]], [False, True])
    """
    pooled, there = np.zeros((count, vectors.shape[1]), np.float32), np.zeros(count, np.bool_)
    if len(videos):
        groups = group(videos)
        scale = 1.0 / np.linalg.norm(vectors, axis=1).astype(np.float64)
        sums = pool_sums(vectors, groups, scale if weights is None else scale * weights)
        pooled[groups.numbers], there[groups.numbers] = unit_rows(sums, groups.numbers, "video"), True
    return pooled, there
