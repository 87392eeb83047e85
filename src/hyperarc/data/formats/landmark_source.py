"""Faces that are cut out of their pictures by listed landmarks while they are read."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperarc.data.manifest import Manifest
from hyperarc.data.sources import Source
from hyperarc.errors import DataError
from hyperarc.faces.alignment import align
from hyperarc.faces.image import Pixels


class LandmarkSource:
    """A source whose pictures are aligned to the template of 112 x 112 by five points each.

    Args:
        source: of the pictures.
        landmarks: key of a face in ``source`` to its points [5, 2] in px; faces without are left out.

    Raises:
        DataError: no face of the source has landmarks.

    Example:
        >>> from hyperarc.data.sources import ArraySource
        >>> photos = ArraySource(np.zeros((1, 200, 200, 3), np.uint8), ["ann"])
        >>> points = np.array([[70, 90], [130, 90], [100, 120], [75, 150], [125, 150]], np.float32)
        >>> LandmarkSource(photos, {"ann/0000000": points}).image("ann/0000000").shape
        (112, 112, 3)
    """

    def __init__(self, source: Source, landmarks: Mapping[str, npt.NDArray[np.float32]]) -> None:
        self.source = source
        self.name = source.name
        self.landmarks = dict(landmarks)

    def scan(self) -> Manifest:
        """The faces of the source that have landmarks."""
        manifest = self.source.scan()
        rows = [row for row, face in enumerate(manifest.column("face").tolist()) if face in self.landmarks]
        if not rows:
            raise DataError("none of its pictures has landmarks", where=self.name, mend="give the pictures of the list")
        return manifest.take(np.array(rows, np.int64))

    def read(self, face: str) -> bytes:
        """The aligned face as a PNG file."""
        buffer = io.BytesIO()
        Image.fromarray(self.image(face)).save(buffer, "PNG")
        return buffer.getvalue()

    def image(self, face: str) -> Pixels:
        """The aligned face: uint8 [112, 112, 3], RGB."""
        if face not in self.landmarks:
            raise DataError("has no landmarks", where=f"{self.name}:{face}")
        return align(self.source.image(face), self.landmarks[face])
