"""Photo and landmarks to aligned crops.

As in the released ArcFace code, a similarity (rotation, one scale, shift) takes the five points to the template with
the least squared error (:mod:`hyperarc.faces.template`), the warp is bilinear, and outside the photo it is black.

Unlike in the released code, photos much larger than the crop are not undersampled. Where the crop shrinks the photo by
1.5 or more, it is sampled on a grid ``round(shrink)`` times as fine and brought down by a Lanczos filter; from 8 on,
box means of the photo come first, so that the work stays bounded. With less shrinking both give the same crop.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels
from hyperarc.faces.template import Floats, Template, five_points, open_template, similarity

_FINEST = 8  # samples per crop pixel along an axis, at most


def align(
    image: Pixels,
    landmarks: npt.ArrayLike,
    size: int = 112,
    *,
    template: str = "arcface_112",
    antialias: bool = True,
) -> Pixels:
    """One aligned crop.

    Args:
        image: uint8 [H, W, 3], RGB.
        landmarks: [5, 2] or [68, 2], px of the image.
        size: height of the crop, 16 to 1024 px; the template grows with it.
        template: `arcface_112`, or `sphereface_112x96` for crops 112 high and 96 wide.
        antialias: filter before shrinking. False samples every photo bilinearly, as the released code does, and
            gives the crops that published sets were made of.

    Returns:
        uint8 [size, width, 3], RGB. With OpenCV installed the warp takes a faster path; pixels differ by 1 at most.

    Raises:
        DataError: no such image or points, all points in one place, or the crop lies beside the photo.
        UnknownNameError: no such template.

    Example:
        >>> photo = np.full((250, 250, 3), 200, np.uint8)
        >>> eyes_nose_mouth = [[101, 113], [148, 113], [124, 140], [105, 165], [145, 165]]
        >>> align(photo, eyes_nose_mouth).shape
        (112, 112, 3)
        >>> align(photo, eyes_nose_mouth, template="sphereface_112x96").shape
        (112, 96, 3)
    """
    points = np.asarray(landmarks)[None]
    face: Pixels = align_faces([image], points, size, template=template, antialias=antialias)[0]
    return face


def align_faces(
    images: Sequence[Pixels],
    landmarks: npt.ArrayLike,
    size: int = 112,
    *,
    template: str = "arcface_112",
    antialias: bool = True,
) -> Pixels:
    """Aligned crops of many faces, as :func:`align` makes them.

    Args:
        images: N photos, uint8 [H, W, 3], of any sizes. For several faces of one photo repeat it: ``[photo] * 3``.
        landmarks: [N, 5, 2] or [N, 68, 2].
        size, template, antialias: see :func:`align`.

    Returns:
        uint8 [N, size, width, 3], RGB.

    Example:
        >>> photo = np.zeros((300, 400, 3), np.uint8)
        >>> points = np.stack([open_template("arcface_112").points + shift for shift in (50, 150)])
        >>> align_faces([photo] * 2, points).shape
        (2, 112, 112, 3)
    """
    wanted = open_template(template, size)
    points = five_points(landmarks)
    if points.ndim != 3 or len(points) != len(images):
        raise DataError(f"expected landmarks [{len(images)}, 5, 2], one set an image, got {list(points.shape)}")
    matrices = similarity(points, template, size)
    faces = np.empty((len(images), wanted.height, wanted.width, 3), dtype=np.uint8)
    for k, image in enumerate(images):
        faces[k] = _warp(_checked(image, k), matrices[k], wanted, antialias)
    return faces


def _checked(image: Pixels, index: int) -> Pixels:
    found = np.asarray(image)
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[2] != 3 or 0 in found.shape:
        raise DataError(
            f"expected an image uint8 [H, W, 3], got {found.dtype} {list(found.shape)}",
            where=f"face {index}",
            mend="open pictures with hyperarc.faces.image.decode",
        )
    return found


def _warp(image: Pixels, matrix: Floats, crop: Template, antialias: bool) -> Pixels:
    """The crop by a similarity matrix: crop = turn * photo + shift in complex numbers."""
    turn, shift = complex(matrix[0, 0], matrix[1, 0]), complex(matrix[0, 2], matrix[1, 2])
    shrink = 1 / abs(turn) if antialias else 1.0
    coarse = min(max(1, int(shrink / 4)), max(image.shape)) if shrink >= _FINEST else 1
    fine = min(max(1, round(shrink / coarse)), _FINEST)
    left, top, right, bottom = _reach(turn, shift, crop, 2 * coarse)
    height, width = image.shape[:2]
    x, y = max(left, 0), max(top, 0)
    part = image[y : max(bottom, 0), x : max(right, 0)]
    if 0 in part.shape:
        raise DataError(
            f"expected a face inside the photo of {width} x {height} px, got a crop from ({left}, {top}) to "
            f"({right}, {bottom})",
            mend="check that the landmarks are pixels of this photo",
        )
    if coarse > 1:
        part = np.asarray(Image.fromarray(part).reduce(coarse))
    # pixel k of a grid n times as coarse has its center at n k + (n - 1) / 2
    half = 0.5 + 0.5j
    first = (half * (1 / fine - 1) - shift) / turn - complex(x, y)
    start, step = (first - half * (coarse - 1)) / coarse, 1 / (turn * fine * coarse)
    face = _sample(part, start, step, (crop.height * fine, crop.width * fine))
    if fine > 1:
        face = np.asarray(Image.fromarray(face).resize((crop.width, crop.height), Image.Resampling.LANCZOS))
    if left < 0 or top < 0 or right > width or bottom > height:
        face = np.rint(face * _inside(turn, shift, crop, (height, width))[..., None]).astype(np.uint8)
    return face


def _reach(turn: complex, shift: complex, crop: Template, margin: int) -> tuple[int, int, int, int]:
    """The rectangle of the photo that the crop needs: left, top, right, bottom; it may reach beyond the photo."""
    far_x, far_y = crop.width - 0.5, crop.height - 0.5
    corners = [(complex(x, y) - shift) / turn for x in (-0.5, far_x) for y in (-0.5, far_y)]
    xs, ys = [corner.real for corner in corners], [corner.imag for corner in corners]
    return int(min(xs) // 1) - margin, int(min(ys) // 1) - margin, int(max(xs)) + 1 + margin, int(max(ys)) + 1 + margin


def _inside(turn: complex, shift: complex, crop: Template, shape: tuple[int, int]) -> Floats:
    """How much of each crop pixel the photo covers, 0 to 1: a bilinear sample with a black border is this share."""
    grid = np.arange(crop.width) + 1j * np.arange(crop.height)[:, None]
    place = (grid - shift) / turn
    sides = (np.minimum(p + 1, side - p) for p, side in ((place.real, shape[1]), (place.imag, shape[0])))
    across, down = (side.clip(0, 1) for side in sides)
    return np.asarray(across * down, dtype=np.float64)


def _sample(image: Pixels, start: complex, step: complex, shape: tuple[int, int]) -> Pixels:
    """Bilinear samples at start + step * (column + 1j row), the border repeated; by OpenCV where it is installed."""
    fast = _opencv()
    if fast is None:
        return sample_bilinear(image, start, step, shape)
    matrix = np.array([[step.real, -step.imag, start.real], [step.imag, step.real, start.imag]])
    how = fast.INTER_LINEAR | fast.WARP_INVERSE_MAP
    face: Pixels = fast.warpAffine(image, matrix, shape[::-1], flags=how, borderMode=fast.BORDER_REPLICATE)
    return face


def sample_bilinear(image: Pixels, start: complex, step: complex, shape: tuple[int, int]) -> Pixels:
    """Bilinear samples [rows, columns, 3] at the places start + step * (column + 1j row), the border repeated.

    Example:
        >>> image = np.repeat(np.array([[[0], [100]]], np.uint8), 3, axis=2)
        >>> sample_bilinear(image, 0.25 + 0j, 0.5 + 0j, (1, 3))[0, :, 0].tolist()
        [25, 75, 100]
    """
    rows, columns = np.arange(shape[0])[:, None], np.arange(shape[1])
    height, width = image.shape[:2]
    x = (start.real + step.real * columns - step.imag * rows).clip(0, width - 1)
    y = (start.imag + step.imag * columns + step.real * rows).clip(0, height - 1)
    left, top = x.astype(np.intp), y.astype(np.intp)
    # one weight a channel: numpy is slow where the last axis is short
    across, down = (np.repeat(part.astype(np.float32), 3).reshape(-1, 3) for part in (x - left, y - top))
    pixels = np.ascontiguousarray(image).reshape(-1, 3)
    at = (top * width + left).ravel()
    right, low = (left < width - 1).ravel(), ((top < height - 1) * width).ravel()
    upper, lower = (_blend(pixels.take(k, 0), pixels.take(k + right, 0), across) for k in (at, at + low))
    return np.asarray(np.rint(_blend(upper, lower, down)), dtype=np.uint8).reshape(*shape, 3)


def _blend(
    first: npt.NDArray[Any], second: npt.NDArray[Any], share: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """first + (second - first) * share."""
    blended: npt.NDArray[Any] = np.subtract(second, first, dtype=np.float32)
    blended *= share
    blended += first
    return blended


@functools.cache
def _opencv() -> Any:
    """The optional ``cv2`` module, or None."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2
