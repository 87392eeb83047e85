"""MTCNN by whichever of its two usual packages is installed."""

from __future__ import annotations

import importlib
import threading
from typing import Any

import numpy as np

from hyperarc.errors import HyperArcError
from hyperarc.faces.detectors.registry import DETECTORS
from hyperarc.faces.face import Face, check_photo
from hyperarc.faces.image import Pixels

_POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


@DETECTORS.register("mtcnn")
class MTCNN:
    """Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks", 2016.

    May be shared by threads; the network looks at one photo at a time.

    Args:
        network: an ``MTCNN`` of the package ``mtcnn`` (its ``detect_faces`` gives dicts) or ``facenet_pytorch`` (its
            ``detect`` gives arrays); default a new one of the first of these packages that is installed.
        min_score: faces below are left out.

    Raises:
        HyperArcError: neither package is installed.
    """

    def __init__(self, network: Any = None, *, min_score: float = 0.9) -> None:
        self.min_score = min_score
        self._network = _open() if network is None else network
        self._one = threading.Lock()

    def detect(self, image: Pixels) -> list[Face]:
        """Faces of a photo, uint8 [H, W, 3] RGB, the highest score first."""
        photo = check_photo(image)
        read = _read_dicts if hasattr(self._network, "detect_faces") else _read_arrays
        with self._one:
            faces = [face for face in read(self._network, photo) if face.score >= self.min_score]
        return sorted(faces, key=lambda face: -face.score)


def _read_dicts(network: Any, photo: Pixels) -> list[Face]:
    faces = []
    for found in network.detect_faces(photo):
        x, y, width, height = found["box"]
        box = np.array([x, y, x + width, y + height], dtype=np.float32)
        points = np.array([found["keypoints"][name] for name in _POINTS], dtype=np.float32)
        faces.append(Face(box, points, found["confidence"]))
    return faces


def _read_arrays(network: Any, photo: Pixels) -> list[Face]:
    boxes, scores, points = network.detect(photo, landmarks=True)
    return [] if boxes is None else [Face(*found) for found in zip(boxes, points, scores, strict=True)]


def _open() -> Any:
    for package, args in (("mtcnn", {}), ("facenet_pytorch", {"keep_all": True})):
        try:
            return importlib.import_module(package).MTCNN(**args)
        except ImportError:
            continue
    raise HyperArcError("MTCNN is not installed", mend="pip install mtcnn, or facenet-pytorch")
