"""Low resolution: shrunk to a random size and enlarged again, by the interpolations that picture libraries have."""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hyperarc.faces.augmentation.pixels import to_bytes, to_float
from hyperarc.faces.template import Floats
from hyperarc.recipe.augmentation import Interpolation, LowResolution

DRAWS = 3
_ROOM = 16  # sides of shrunken faces are filled up to a multiple, so that few shapes are calculated apart
_REACH = {"bilinear": 1, "bicubic": 2, "lanczos": 4}

Way = tuple[Interpolation, Interpolation]


def lower_resolution(faces: Tensor, shares: Sequence[float], ways: Sequence[Way], *, antialias: bool = True) -> Tensor:
    """Shrink each face and enlarge it again. The shrunken face is stored in whole numbers, as a picture would be.

    Args:
        faces: uint8 [N, 3, H, W].
        shares: N sides of the shrunken face, as shares of the crop's; cut to whole px.
        ways: N interpolations (down, up).
        antialias: filter before shrinking, as Pillow does; OpenCV does not (except by area).

    Example:
        >>> face = torch.tensor([0, 80, 0, 0], dtype=torch.uint8).expand(1, 3, 4, 4)
        >>> lower_resolution(face, [0.5], [("area", "nearest")])[0, 0, 0].tolist()
        [40, 40, 0, 0]
    """
    height, width = faces.shape[2:]
    places: dict[tuple[int, int], list[int]] = defaultdict(list)
    sides = [(max(1, int(share * height)), max(1, int(share * width))) for share in shares]
    for place, (tall, wide) in enumerate(sides):
        places[_roomy(tall), _roomy(wide)].append(place)
    lowered = []
    for (tall, wide), group in places.items():
        rows = torch.tensor(group, device=faces.device)
        down_y = _stacked([_matrix(height, sides[i][0], ways[i][0], antialias) for i in group], tall, height)
        down_x = _stacked([_matrix(width, sides[i][1], ways[i][0], antialias) for i in group], wide, width)
        up_y = _stacked([_matrix(sides[i][0], height, ways[i][1], antialias) for i in group], height, tall)
        up_x = _stacked([_matrix(sides[i][1], width, ways[i][1], antialias) for i in group], width, wide)
        small = _turned(_turned(to_float(faces.index_select(0, rows)), down_x), down_y)
        small = small.clamp_(0, 255).add_(0.5).floor_()
        lowered.append(to_bytes(_turned(_turned(small, up_x), up_y)))
    order = torch.tensor([place for group in places.values() for place in group]).argsort()
    return torch.cat(lowered).index_select(0, order.to(faces.device))


def draw_resolutions(draws: Tensor, section: LowResolution) -> tuple[list[float], list[Way]]:
    """Shares and ways from even draws [N, 3]."""
    least, most = section.side
    known = section.interpolations
    ways = [(known[int(down * len(known))], known[int(up * len(known))]) for down, up in draws[:, 1:].tolist()]
    return (least + (most - least) * draws[:, 0]).tolist(), ways


def weights(size: int, wanted: int, way: Interpolation, *, antialias: bool = True) -> Floats:
    """Matrix [wanted, size] that resamples a row of pixels; each of its rows adds up to 1.

    Pixel o of the result covers the interval from o r to (o + 1) r of the source, r = size / wanted. ``nearest`` takes
    the pixel at its beginning and ``area`` the mean over it, as OpenCV does; the others weigh the pixels around its
    middle. With ``antialias`` that is done as in Pillow: bicubic with a = -0.5, Lanczos with 3 lobes, kernels widened
    when shrinking, pixels outside left out; else as in OpenCV: a = -0.75, 4 lobes, the border repeated.

    Example:
        >>> weights(4, 2, "bilinear", antialias=False).tolist()
        [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    ratio = size / wanted
    begin = np.arange(wanted)[:, None] * ratio
    pixel = np.arange(size)
    if way == "nearest":
        return np.asarray(pixel == np.floor(begin + 1e-9), dtype=np.float64)
    if way == "area":
        covered = np.minimum(begin + ratio, pixel + 1) - np.maximum(begin, pixel)
        return np.asarray(covered.clip(0) / ratio, dtype=np.float64)
    wide = max(ratio, 1.0) if antialias else 1.0
    beyond = 0 if antialias else _REACH[way]
    pixel = np.arange(-beyond, size + beyond)
    matrix = _kernel(way, np.abs(pixel - (begin + (ratio - 1) / 2)) / wide, soft=antialias)
    if beyond:
        matrix[:, beyond] += matrix[:, :beyond].sum(1)
        matrix[:, -beyond - 1] += matrix[:, -beyond:].sum(1)
        matrix = matrix[:, beyond:-beyond]
    return np.asarray(matrix / matrix.sum(1, keepdims=True), dtype=np.float64)


def _kernel(way: Interpolation, x: Floats, *, soft: bool) -> Floats:
    """Weight at a distance of x px."""
    if way == "bilinear":
        return (1 - x).clip(0)
    if way == "bicubic":  # Keys (1981)
        a = -0.5 if soft else -0.75
        near = ((a + 2) * x - (a + 3)) * x**2 + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return np.asarray(np.where(x < 1, near, np.where(x < 2, far, 0.0)))
    lobes = 3 if soft else 4
    return np.asarray(np.where(x < lobes, np.sinc(x) * np.sinc(x / lobes), 0.0))


@functools.lru_cache(maxsize=4096)
def _matrix(size: int, wanted: int, way: Interpolation, antialias: bool) -> Tensor:
    return torch.from_numpy(weights(size, wanted, way, antialias=antialias).astype(np.float32))


def _stacked(matrices: Sequence[Tensor], rows: int, columns: int) -> Tensor:
    """The transposes of matrices of several sizes as one [n, columns, rows], filled up with zeros."""
    stack = torch.zeros(len(matrices), columns, rows)
    for place, matrix in enumerate(matrices):
        stack[place, : matrix.shape[1], : matrix.shape[0]] = matrix.T
    return stack


def _turned(values: Tensor, across: Tensor) -> Tensor:
    """Rows of [n, 3, H, W] resampled by [n, W, w], and turned: [n, 3, w, H]. Two turns resample both sides."""
    count, channels, height, width = values.shape
    resampled = torch.bmm(values.reshape(count, channels * height, width), across.to(values.device))
    return resampled.view(count, channels, height, -1).mT


def _roomy(side: int) -> int:
    return math.ceil(side / _ROOM) * _ROOM
