"""A look at a sample of the crops that a command is given: are they aligned to what the model expects?"""

from __future__ import annotations

import numpy as np

from hyperarc.commands.show import Show
from hyperarc.contract import Contract
from hyperarc.data.face_set import FaceSet
from hyperarc.data.findings import Finding
from hyperarc.errors import DataError
from hyperarc.faces.aligned import ALIGNED_PX, ready_detector, seen_misfit_px

_LOOKED_AT = 48


def warn_unaligned(faces: FaceSet, contract: Contract, show: Show) -> None:
    """A note when the kept faces do not seem to be aligned to the contract's template."""
    doubt = doubt_alignment(faces, contract)
    if doubt is not None:
        show.note(f"warning: {doubt}; align the photos first (hyperarc align)")


def doubt_alignment(faces: FaceSet, contract: Contract) -> Finding | None:
    """That the kept faces do not seem to be aligned to the contract's template; None when they do.

    Nothing is said where the default detector is not at hand: it is never downloaded for this.
    """
    rows = np.flatnonzero(faces.manifest.keep)
    detector = ready_detector() if len(rows) else None
    if detector is None:
        return None
    crops = []
    for row in rows[np.linspace(0, len(rows) - 1, min(_LOOKED_AT, len(rows))).astype(int)].tolist():
        try:
            crop = faces.image(row)
        except DataError:
            continue  # whoever needs the face says what is wrong with it
        if crop.shape[:2] == (contract.height, contract.width):
            crops.append(crop)
    misfit = seen_misfit_px(crops, detector, contract.template)
    if misfit is None or misfit <= ALIGNED_PX:
        return None
    what = (
        f"faces do not seem to be aligned to {contract.template}: in a sample of {len(crops)} their landmarks lie "
        f"{misfit:.1f} px from it (median, expected at most {ALIGNED_PX:g})"
    )
    return Finding(what, len(rows), source=faces.name)
