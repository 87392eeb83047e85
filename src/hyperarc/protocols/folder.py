"""Any folder of people as a protocol: its pairs are drawn."""

from __future__ import annotations

import numpy as np

from hyperarc.data.face_set import Faces, open_faces
from hyperarc.errors import UsageError
from hyperarc.protocols.drawn_pairs import draw_pairs
from hyperarc.protocols.pair_lists import Pairs
from hyperarc.protocols.pair_protocols import PairsProtocol
from hyperarc.protocols.protocol import Opened, protocols


@protocols.register("folder")
def open_folder(faces: Faces, *, seed: int, count: int = 6000) -> Opened:
    """Labelled faces: ``count`` pairs are drawn from those that are kept (:func:`draw_pairs`)."""
    if count < 40:
        raise UsageError(f"expected at least 40 pairs, got count {count}")
    found = open_faces(faces).kept()
    drawn = draw_pairs(found.manifest.labels, count, seed)
    keys = np.array(found.manifest.column("face").tolist(), dtype=object)
    first, second = drawn.first, drawn.second
    people = found.manifest.labels[np.stack([first, second], axis=1)]
    pairs = Pairs(found.name, keys[first], keys[second], drawn.same, drawn.folds, people)
    return Opened(PairsProtocol(pairs), found)
