"""Faces of people who do not exist as an ordinary set: person folders, manifest, and how far they are from anybody."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.commands.invert_judgement import Judged
from hyperarc.commands.invert_pictures import Drawn
from hyperarc.commands.invert_sphere import MadeTargets
from hyperarc.data.sources import FolderSource
from hyperarc.files import write_beside
from hyperarc.inversion import nearest_arcs
from hyperarc.report.page import Cell, Section, Table, Value

SOURCE, MANIFEST, TABLE = "synthesis", "faces.parquet", "new_people.csv"
_LICENCE = "made by a model from what it learned of real people; the licence of its training data may bind them too"
NEW_FILES = (MANIFEST, TABLE)
Arcs = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]
"""To the nearest center in degrees, and whose it is."""
_HEADER = ("face", "person", "target_arc_deg", "target_nearest", "face_arc_deg", "face_nearest")


def write_new_people(judged: Judged, faces: Path, folder: Path) -> Drawn:
    """Write manifest and table of the new people, whose pictures lie in ``faces`` already.

    The arc of a target is what was asked for; that of a face is where the model puts the picture that was found.
    """
    targets = judged.targets
    assert isinstance(targets, MadeTargets)
    assert targets.centers is not None
    assert targets.new is not None
    source = FolderSource(faces, name=SOURCE)
    source.scan().described(name=folder.name, licence=_LICENCE).write(folder / MANIFEST)
    found = judged.found[judged.first]
    vectors = found.vectors[found.best, np.arange(len(targets))]
    aimed, reached = (nearest_arcs(one, targets.centers) for one in (targets.vectors, vectors))
    with write_beside(folder / TABLE) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(_rows(targets, aimed, reached))
    facts = {
        "least_arc_deg": targets.new.least_arc_deg,
        "drawn": targets.new.drawn,
        "target_arcs_deg": _spread(targets.new.arcs_deg),
        "face_arcs_deg": _spread(reached[0]),
    }
    told = {"new": facts, "manifest": str(folder / MANIFEST), "new_people": str(folder / TABLE)}
    return Drawn(told, [_section(facts, len(targets.known))])


def _rows(targets: MadeTargets, *arcs: Arcs) -> Iterator[tuple[Any, ...]]:
    yield _HEADER
    for row, (name, person) in enumerate(zip(targets.names, targets.people, strict=True)):
        told = ((f"{degrees[row]:.3f}", targets.known[nearest[row]]) for degrees, nearest in arcs)
        yield (f"{name}.png", person, *(value for pair in told for value in pair))


def _spread(arcs: npt.NDArray[np.float64]) -> dict[str, float]:
    return {"least": float(arcs.min()), "median": float(np.median(arcs)), "most": float(arcs.max())}


def _section(facts: dict[str, Any], people: int) -> Section:
    rows: list[list[Cell]] = [
        [what, *(Value(f"{facts[name][one]:.1f}°") for one in ("least", "median", "most"))]
        for what, name in (("target", "target_arcs_deg"), ("its face, as the model sees it", "face_arcs_deg"))
    ]
    text = (
        f"Every person keeps {facts['least_arc_deg']:.1f}° from the centers of all {people:,} people that the model "
        f"knows, and from the other new ones; {facts['drawn']:,} were drawn. A face is not exactly where its target "
        "is: the second line says how near the faces themselves come to anybody."
    )
    table = Table(("Arc to the nearest center", "least", "median", "most"), rows)
    return Section("People who do not exist", text, tables=[table])
