"""From a photo to the faces in it, whichever detector finds them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from hyperarc.errors import DataError
from hyperarc.faces.choice import choose_faces
from hyperarc.faces.detectors.onnx_file import open_onnx
from hyperarc.faces.detectors.registry import DETECTORS
from hyperarc.faces.face import Detector, Face, check_photo
from hyperarc.faces.image import Pixels

DEFAULT_DETECTOR = "yunet"


def detect(image: Pixels, detector: str | Path | Detector = DEFAULT_DETECTOR, *, policy: str = "all") -> list[Face]:
    """Faces of a photo.

    Args:
        image: uint8 [H, W, 3], RGB, upright, as :func:`hyperarc.faces.image.decode` makes it.
        detector: name, ONNX file, or a detector; names and files are opened at the first call and kept. See
            :func:`open_detector`.
        policy: ``all``, ``largest`` or ``central``; see :func:`hyperarc.faces.choice.choose_faces`.

    Returns:
        Faces with box, landmarks and score: of ``all`` the highest score first, else one or none.

    Raises:
        DataError: the photo is none, or the detector's file is missing or damaged.
        UnknownNameError: no such detector or policy.
        HyperArcError: a library is not installed; the message says which extra brings it.

    Example:
        >>> import numpy as np
        >>> class Middle:
        ...     def detect(self, image):
        ...         return [Face([40, 40, 60, 60], np.full((5, 2), 50), 0.9)]
        >>> detect(np.zeros((100, 100, 3), np.uint8), Middle(), policy="largest")[0].score
        0.9
    """
    photo = check_photo(image)
    opened = _kept(str(detector)) if isinstance(detector, str | Path) else detector
    return choose_faces(opened.detect(photo), photo.shape, policy)


def detector_names() -> list[str]:
    """Names of all detectors, sorted.

    Example:
        >>> "yunet" in detector_names()
        True
    """
    return DETECTORS.names()


def open_detector(name_or_path: str | Path = DEFAULT_DETECTOR, **args: Any) -> Detector:
    """A detector by name, or the one that an ONNX file holds.

    Args:
        name_or_path: one of :func:`detector_names`, or the path of an ``.onnx`` file, which is known by the outputs of
            its graph, whatever its name is.
        args: arguments of that detector, such as ``min_score``.

    Raises:
        UnknownNameError: no such name or argument.
        DataError: the file is missing, or no detector that HyperArc knows.
        HyperArcError: a library is not installed; the message says which extra brings it.

    Example:
        >>> open_detector("yunett")
        Traceback (most recent call last):
        ...
        hyperarc.errors.UnknownNameError: unknown detector 'yunett'; did you mean 'yunet'?
    """
    if str(name_or_path).endswith(".onnx"):
        return open_onnx(Path(name_or_path).expanduser(), **args)
    name = str(name_or_path)
    if name not in detector_names() and Path(name).exists():
        known = ", ".join(detector_names())
        raise DataError(f"expected the .onnx file of a detector, or one of {known}", where=name)
    DETECTORS.check_arguments(name, DETECTORS.get(name), args)
    return DETECTORS.get(name)(**args)


_kept = functools.cache(open_detector)
