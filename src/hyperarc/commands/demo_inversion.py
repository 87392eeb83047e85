"""The last part of the demo: drawn people as the model that it trained remembers them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hyperarc.commands.invert_judgement import Found, score
from hyperarc.commands.invert_model import Machine, open_model, with_precision
from hyperarc.commands.invert_search import How, search_faces
from hyperarc.commands.invert_targets import Choice, Targets, open_targets
from hyperarc.commands.show import Show
from hyperarc.commands.train import Trained
from hyperarc.data.face_set import FaceReader
from hyperarc.inversion import Priors, Search
from hyperarc.report.page import Section, Strip, Tile

PEOPLE, STEPS = 8, 300


def invert_people(run: Trained, folder: Path, show: Show) -> Section:
    """Search for faces of some of the people that a run was trained on; each beside a drawn face of theirs.

    Found faces are kept in ``folder``; another start reads them.
    """
    artifact, model = open_model(run.folder / "artifact", Machine())
    targets = open_targets(artifact, model, Choice(classes="all", limit=PEOPLE), show)
    how = with_precision(How(Search(iterations=STEPS), Priors(), batch=PEOPLE), Machine(), model)
    found = score(model, targets, search_faces(model, targets, how, folder, show), show)
    text = (
        f"Faces of {len(targets)} people, found from noise in {STEPS} steps by nothing but the gradients and the "
        "BatchNorm statistics of the first model; on the left a face that it was trained on. A network this small, "
        "trained for minutes, remembers little more than colors; hyperarc invert shows what larger ones do."
    )
    return Section("Back to faces", text, image_strips=[Strip("", _tiles(run, targets, found))])


def _tiles(run: Trained, targets: Targets, found: Found) -> list[Tile]:
    kept = run.training_set.kept
    reader, people = FaceReader(run.training_set.sources, kept), kept.column("person")
    tiles = []
    for row, person in enumerate(targets.people):
        drawn = reader.image(int(np.flatnonzero(people == person)[0]))
        tiles.append(Tile((drawn, found.pictures[0, row]), person, f"cosine {found.cosines[0, row]:.2f}"))
    return tiles
