"""Boxes that show one face: intersection over union, and non-maximum suppression."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SAME_FACE = 0.4
"""Intersection over union above which two boxes are taken for one face; InsightFace's detectors use it too."""


def overlaps(box: npt.ArrayLike, boxes: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Intersection over union of one box [4] with each of boxes [N, 4]: left, top, right, bottom.

    Example:
        >>> overlaps([0, 0, 10, 10], [[0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10]]).round(3).tolist()
        [1.0, 0.333, 0.0]
    """
    one, many = np.asarray(box, dtype=np.float64), np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    low, high = np.maximum(one[:2], many[:, :2]), np.minimum(one[2:], many[:, 2:])
    shared = (high - low).clip(0).prod(1)
    areas = (many[:, 2:] - many[:, :2]).clip(0).prod(1) + (one[2:] - one[:2]).clip(0).prod()
    return np.asarray(shared / np.maximum(areas - shared, 1e-12), dtype=np.float64)


def suppress(boxes: npt.ArrayLike, scores: npt.ArrayLike, most: float = SAME_FACE) -> list[int]:
    """Non-maximum suppression: rows of boxes [N, 4] that overlap no row of higher score by more than ``most``.

    Returns:
        The rows kept, the highest score first; of equal scores the earlier row counts.

    Example:
        >>> suppress([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], [0.7, 0.9, 0.8])
        [1, 2]
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    waiting = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    kept: list[int] = []
    while len(waiting):
        best = int(waiting[0])
        kept.append(best)
        waiting = waiting[1:]
        waiting = waiting[overlaps(boxes[best], boxes[waiting]) <= most]
    return kept
