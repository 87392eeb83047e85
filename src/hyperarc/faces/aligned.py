"""Whether crops are aligned to a template, seen by a detector."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hyperarc.faces.choice import choose_faces
from hyperarc.faces.cutting import misfit_px
from hyperarc.faces.detection import open_detector
from hyperarc.faces.detectors.yunet_file import local_model
from hyperarc.faces.face import Detector
from hyperarc.faces.image import Pixels

ALIGNED_PX = 6.5
"""Median misfit beyond which crops are taken for unaligned. HyperArc's own value: YuNet sees the points of aligned sets
(LFW, CFP, CelebA, PubFig, Glint360K) 3.6 to 4.4 px from the template, those of crops around the center 8 to 16 px."""
FEWEST = 8
"""Faces that must be found before anything is said."""


def seen_misfit_px(crops: Iterable[Pixels], detector: Detector, template: str = "arcface_112") -> float | None:
    """Median distance of the landmarks that a detector sees from the template, in px of a crop 112 high.

    Args:
        crops: uint8 [size, width, 3], RGB, a sample of some dozens.
        detector: sees the landmarks; the largest face of a crop counts.
        template: that the crops should be aligned to.

    Returns:
        The median of :func:`hyperarc.faces.cutting.misfit_px`, or None when fewer than :data:`FEWEST` are found.

    Example:
        >>> seen_misfit_px([], open_detector) is None
        True
    """
    misfits = []
    for crop in crops:
        for face in choose_faces(detector.detect(crop), crop.shape, "largest"):
            misfits.append(float(misfit_px(face.landmarks.astype(np.float64), template, len(crop))))
    return float(np.median(misfits)) if len(misfits) >= FEWEST else None


def ready_detector() -> Detector | None:
    """The default detector where nothing has to be installed or downloaded for it, else None.

    Example:
        >>> ready_detector() is None or hasattr(ready_detector(), "detect")
        True
    """
    try:
        import cv2  # noqa: F401
    except ImportError:
        return None
    model = local_model()
    return None if model is None else open_detector("yunet", model=model)
