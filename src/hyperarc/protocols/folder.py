"""Any folder of people as a protocol: its pairs are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hyperarc.data.face_set import open_faces
from hyperarc.errors import DataError
from hyperarc.protocols.drawn_pairs import draw_pairs
from hyperarc.protocols.pair_lists import Pairs
from hyperarc.protocols.pair_protocols import PairsProtocol
from hyperarc.protocols.protocol import Opened, protocols


@protocols.register("folder")
def open_folder(faces: Path, *, seed: int, count: int = 6000) -> Opened:
    """Labelled faces: ``count`` pairs are drawn from those that are kept (:func:`draw_pairs`)."""
    if count < 40:
        raise DataError(f"expected at least 40 pairs, got count {count}")
    found = open_faces(faces).kept()
    drawn = draw_pairs(found.manifest.labels, count, seed)
    keys = np.array(found.manifest.column("face").tolist(), dtype=object)
    pairs = Pairs(found.name, keys[drawn.first], keys[drawn.second], drawn.same, drawn.folds)
    return Opened(PairsProtocol(pairs), found)
