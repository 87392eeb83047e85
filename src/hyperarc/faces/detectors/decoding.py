"""What the outputs of SCRFD and RetinaFace mean: rows of box, landmarks and score in px of the network's input.

Both give, for strides 8, 16 and 32, two predictions at each place of a grid, and are plain formulas of the papers'
released codes (InsightFace's model_zoo/scrfd.py and detection/retinaface):

- SCRFD, outputs [..., N, 1], [..., N, 4] and [..., N, 10]: distances from the place (stride * column, stride * row) to
  the left, top, right and bottom of the box, and offsets to the five points, all in strides. The RetinaFace files of
  InsightFace's Python packages are of the same kind.
- RetinaFace as trained in MXNet, outputs [1, 4, h, w], [1, 8, h, w] and [1, 20, h, w]: at each place two square
  anchors, of which the box is a shift and a stretch and the points are shifts, in widths of the anchor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Rows = npt.NDArray[np.float64]

# sides of both anchors in px by stride; all are centered at 7.5 px from the corner of their place
_ANCHORS = {8: (32, 16), 16: (128, 64), 32: (512, 256)}
_ANCHOR_CENTER = 7.5


def decode_distances(outputs: Sequence[Array], shape: tuple[int, int], min_score: float) -> Rows:
    """Rows [n, 15] of the nine outputs of SCRFD, in any order.

    Args:
        outputs: [N, k] or [1, N, k], k of 1, 4 and 10, for N = 2 (height / stride) (width / stride).
        shape: height and width of the network's input in px.
        min_score: places below are left out.

    Raises:
        ValueError: other shapes.
    """
    rows = []
    for stride in _ANCHORS:
        height, width = shape[0] // stride, shape[1] // stride
        scores, sides, offsets = (_of_size(outputs, (2 * height * width, last)) for last in (1, 4, 10))
        sure = np.flatnonzero(scores[:, 0] >= min_score)
        place = np.stack([sure // 2 % width, sure // 2 // width], axis=1).astype(np.float64)
        corners = np.concatenate([place - sides[sure, :2], place + sides[sure, 2:]], axis=1)
        points = np.tile(place, 5) + offsets[sure]
        rows.append(np.concatenate([corners * stride, points * stride, scores[sure]], axis=1))
    return np.concatenate(rows)


def decode_anchors(outputs: Sequence[Array], shape: tuple[int, int], min_score: float) -> Rows:
    """Rows [n, 15] of the nine outputs of RetinaFace as trained in MXNet, in any order.

    Args:
        outputs: [1, k, height / stride, width / stride], k of 4 (background of both anchors, then face), 8 and 20.
        shape, min_score: see :func:`decode_distances`.

    Raises:
        ValueError: other shapes.
    """
    rows = []
    for stride, anchors in _ANCHORS.items():
        grid = shape[0] // stride, shape[1] // stride
        scores, boxes, points = (_of_size(outputs, (k, *grid)) for k in (4, 8, 20))
        for k, side in enumerate(anchors):
            down, across = np.nonzero(scores[2 + k] >= min_score)
            center = np.stack([across, down], axis=1) * float(stride) + _ANCHOR_CENTER
            box = boxes[4 * k : 4 * k + 4, down, across].T.astype(np.float64)
            middle, half = box[:, :2] * side + center, (np.exp(box[:, 2:].clip(max=10)) * side - 1) / 2
            shifts = points[10 * k : 10 * k + 10, down, across].T * float(side)
            score = scores[2 + k, down, across][:, None]
            rows.append(np.concatenate([middle - half, middle + half, np.tile(center, 5) + shifts, score], axis=1))
    return np.concatenate(rows)


DECODERS: dict[tuple[int, ...], Callable[[Sequence[Array], tuple[int, int], float], Rows]] = {
    (1, 4, 10): decode_distances,
    (4, 8, 20): decode_anchors,
}
"""Decoders by what their outputs hold: sizes of score, box and landmarks at a place."""


def _of_size(outputs: Sequence[Array], size: tuple[int, ...]) -> Array:
    """The one output of a size, with or without an axis of one picture before it."""
    found = [output.reshape(size) for output in outputs if output.shape in (size, (1, *size))]
    if len(found) != 1:
        raise ValueError(f"expected one output {list(size)}, got {[list(output.shape) for output in outputs]}")
    return found[0]
