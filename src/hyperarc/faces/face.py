"""What a detector finds and what it is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels

Singles = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a photo.

    Attributes:
        box: float32 [4], left, top, right, bottom in px of the photo; it may reach beyond the borders.
        landmarks: float32 [5, 2], px of the photo: left eye, right eye, nose tip, left and right corner of the mouth,
            where left is the left of the picture (:mod:`hyperarc.faces.template`).
        score: how sure the detector is, 0 to 1. Scores of different detectors do not compare.

    Raises:
        DataError: other shapes, or values that are not finite.

    Example:
        >>> face = Face([10, 20, 50, 70], np.zeros((5, 2)), 0.9)
        >>> face.width, face.height
        (40.0, 50.0)
    """

    box: Singles
    landmarks: Singles
    score: float

    def __post_init__(self) -> None:
        for name, shape in (("box", (4,)), ("landmarks", (5, 2))):
            values = np.array(getattr(self, name), dtype=np.float32)
            if values.shape != shape or not np.isfinite(values).all():
                raise DataError(f"expected {name} of a face as finite numbers {list(shape)}, got {values}")
            values.setflags(write=False)
            object.__setattr__(self, name, values)
        object.__setattr__(self, "score", float(self.score))

    @property
    def width(self) -> float:
        """Width of the box in px."""
        return float(self.box[2] - self.box[0])

    @property
    def height(self) -> float:
        """Height of the box in px."""
        return float(self.box[3] - self.box[1])


@runtime_checkable
class Detector(Protocol):
    """Finds faces; what :func:`hyperarc.detect` takes besides names and files. Several threads may call it at once.

    Example:
        >>> class Nobody:
        ...     def detect(self, image): return []
        >>> isinstance(Nobody(), Detector)
        True
    """

    def detect(self, image: Pixels) -> list[Face]:
        """Faces of a photo, uint8 [H, W, 3] RGB, the highest score first."""


def check_photo(image: Pixels) -> Pixels:
    """The photo itself when a detector can be given it.

    Raises:
        DataError: not uint8 [H, W, 3] with at least one pixel.

    Example:
        >>> check_photo(np.zeros((2, 3, 3), np.uint8)).shape
        (2, 3, 3)
    """
    found = np.asarray(image)
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[2] != 3 or 0 in found.shape:
        raise DataError(
            f"expected a photo uint8 [H, W, 3], RGB, got {found.dtype} {list(found.shape)}",
            mend="open pictures with hyperarc.faces.image.decode",
        )
    return found
