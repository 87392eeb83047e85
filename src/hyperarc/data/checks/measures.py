"""Measures of many pictures at once, all from one small view of each.

Every picture is seen as a crop of 112 x 112 (others are scaled to it, filtered) and then 4 x 4 pixels at a time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperarc.faces.image import Pixels
from hyperarc.faces.quality import inner_face

CROP_PX, CELL_PX = 112, 4
SMALL = CROP_PX // CELL_PX
THUMB = 16  # cells on a side of the thumbnail: the middle 64 px of the crop, from the brows to the lower lip
_TOP, _LEFT = 10, 6
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

Floats32 = npt.NDArray[np.float32]


def crop_of(picture: Pixels) -> Pixels:
    """The picture as a crop of 112 x 112; itself when it has that size.

    Example:
        >>> crop_of(np.zeros((250, 200, 3), np.uint8)).shape
        (112, 112, 3)
    """
    if picture.shape[:2] == (CROP_PX, CROP_PX):
        return np.ascontiguousarray(picture)
    size = (CROP_PX, CROP_PX)
    resized = Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(resized)


def small_of(crop: Pixels) -> Pixels:
    """Means of cells of 4 x 4 pixels: uint8 [28, 28, 3]."""
    return np.asarray(Image.fromarray(crop).reduce(CELL_PX))


def chroma(small: Pixels) -> Floats32:
    """How far the channels lie apart, [N]: mean of largest - smallest, in grey levels; 0 for gray pictures.

    Example:
        >>> chroma(np.full((1, 28, 28, 3), (90, 60, 50), np.uint8)).tolist()
        [40.0]
    """
    red, green, blue = small[..., 0], small[..., 1], small[..., 2]
    apart = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return np.asarray(apart.mean((1, 2), dtype=np.float32))


def redness(small: Pixels) -> Floats32:
    """(R - B) / (R + G + B) of the mean color of the inner face, [N]: from -1 to 1, 0 for gray.

    Skin of every shade reflects more red than blue (its melanin and blood absorb the short waves), so that faces of any
    color lie around 0.17; those in blue light lie lower, those whose red and blue are exchanged around -0.17.

    Example:
        >>> redness(np.full((1, 28, 28, 3), (90, 60, 50), np.uint8)).tolist()
        [0.20000000298023224]
    """
    mean = small[:, inner_face("arcface_112", SMALL)].mean(1, dtype=np.float32)
    return np.asarray((mean[:, 0] - mean[:, 2]) / np.maximum(mean.sum(1), 1.0), dtype=np.float32)


def thumbnails(small: Pixels) -> Pixels:
    """Grey levels of the middle of the face: uint8 [N, 16, 16]."""
    middle = small[:, _TOP : _TOP + THUMB, _LEFT : _LEFT + THUMB] @ _LUMA
    return np.asarray(np.rint(middle), dtype=np.uint8)


def contrast(thumbs: Pixels) -> Floats32:
    """Standard deviation of the thumbnail's grey levels, [N]."""
    return np.asarray(thumbs.std((1, 2), dtype=np.float32))
