"""Pictures of an inversion beside the sheet: rows that compare, faces on their way, arcs, sub-centers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.artifact import Artifact
from hyperarc.commands.invert_judgement import Judged
from hyperarc.commands.invert_search import How, read_frames
from hyperarc.commands.invert_sphere import BETWEEN, MadeTargets
from hyperarc.commands.invert_targets import spread
from hyperarc.commands.people import labels_by_name
from hyperarc.commands.polling import PolledFaces, Polling, poll_faces
from hyperarc.commands.show import Show
from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels
from hyperarc.files import write_beside
from hyperarc.report.page import Section, Strip, Tile
from hyperarc.report.rows import FaceRow, row_sheet, write_film

ROWS, FRAMES, FILM, ARC, AVERAGES = "rows.png", "frames.png", "appearing.webp", "between.png", "sub-centers.png"
PICTURES = (ROWS, FRAMES, FILM, ARC, AVERAGES)
_ACROSS, _DOWN = 8, 6  # faces of a picture
_MOST_AVERAGED = 500  # faces of a sub-center


@dataclass(frozen=True, eq=False)
class Drawn:
    """What was drawn: paths by name, and sections for the page."""

    facts: dict[str, Any] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)

    def add(self, name: str, path: Path, section: Section | None = None) -> None:
        """One more picture."""
        self.facts[name] = str(path)
        self.sections.extend([] if section is None else [section])

    def joined(self, other: Drawn) -> Drawn:
        """Both."""
        return Drawn(self.facts | other.facts, self.sections + other.sections)


def draw_pictures(judged: Judged, how: How, search: Path, folder: Path) -> Drawn:
    """The pictures that any targets have: rows, and where steps were asked for, faces on their way.

    Args:
        judged: what was found.
        how: it was searched for.
        search: folder of the first search, with its frames; folder: where pictures go.
    """
    drawn = Drawn()
    rows = spread(len(judged.targets), _ACROSS).tolist()
    compared = list(_compared(judged, rows))
    if len(compared) > 1:
        people = [judged.targets.people[row] for row in rows]
        drawn.add("rows", _save(row_sheet(compared, people), folder / ROWS))
    if how.frames:
        _draw_frames(judged, how, read_frames(search), (folder, drawn))
    targets = judged.targets
    if isinstance(targets, MadeTargets) and targets.kind == BETWEEN:
        _draw_arc(judged, targets, (folder, drawn))
    return drawn


def _compared(judged: Judged, rows: list[int]) -> Iterator[FaceRow]:
    real = [judged.real_faces(row, 1) for row in rows]
    if any(real):
        title = "photo" if judged.targets.photos is not None else "real face"
        yield FaceRow(title, [faces[0] if faces else None for faces in real])
    for name, found in judged.found.items():
        title = name if len(judged.found) > 1 else "inverted"
        note = f"cosine {found.cosines.max(axis=0).mean():.2f}"
        yield FaceRow(title, list(judged.faces[name][rows]), note if len(judged.found) > 1 else "")


def _draw_frames(judged: Judged, how: How, frames: npt.NDArray[np.uint8], out: tuple[Path, Drawn]) -> None:
    folder, drawn = out
    best = judged.found[judged.first].best
    rows, steps = spread(len(best), _ACROSS), how.frames
    courses = np.stack([frames[best[row], :, row] for row in rows.tolist()], axis=1)  # [F, n, H, W, 3]
    people = [judged.targets.people[row] for row in rows.tolist()]
    shown = spread(len(steps), _ACROSS)
    lines, strips = [], []
    for place in range(min(len(rows), _DOWN)):
        real = judged.real_faces(int(rows[place]), 1)
        course = list(courses[shown, place])
        lines.append(FaceRow(people[place], [*real, *course] if real else [None, *course]))
        tiles = [Tile((face,), _step(steps[frame])) for face, frame in zip(course, shown.tolist(), strict=True)]
        strips.append(Strip(people[place], [*(Tile((face,), "real") for face in real), *tiles]))
    lines, beside = _with_real(lines)
    named = [*(["real"] if beside else []), *(_step(steps[at]) for at in shown)]
    text = f"How faces come out of noise; {FILM} beside this page shows it in motion."
    section = Section("Over the steps", text, image_strips=strips)
    drawn.add("frames", _save(row_sheet(lines, named), folder / FRAMES), section)
    labels = [f"{_step(step)} of {how.search.iterations:,}" for step in steps]
    drawn.add("film", write_film(courses, folder / FILM, people, labels))


def _with_real(lines: list[FaceRow]) -> tuple[list[FaceRow], bool]:
    """Without the first column where not everybody has a real face; and whether it stays."""
    if all(line.faces[0] is not None for line in lines):
        return lines, True
    return [FaceRow(line.title, line.faces[1:]) for line in lines], False


def _draw_arc(judged: Judged, targets: MadeTargets, out: tuple[Path, Drawn]) -> None:
    folder, drawn = out
    found = judged.found[judged.first]
    faces, cosines = list(judged.faces[judged.first]), found.cosines.max(axis=0)
    ends = [judged.real_faces(row, 1) for row in (0, len(targets) - 1)]
    several = all(ends)
    shown = [*ends[0], *faces, *ends[1]] if several else faces
    names = ["real", *targets.people, "real"] if several else list(targets.people)
    captions = [f"cosine {cosine:.2f}" for cosine in cosines]
    captions = ["", *captions, ""] if several else captions
    whole = f"{targets.people[0]} and {targets.people[-1]} are {targets.whole_deg:.0f}° apart"
    tiles = [Tile((face,), name, caption) for face, name, caption in zip(shown, names, captions, strict=True)]
    text = f"{whole}; every step along the great arc between them is as long, and each target is inverted for itself."
    section = Section("Between two people", text, image_strips=[Strip("", tiles)])
    drawn.add("between", _save(row_sheet([FaceRow("", shown, captions=captions)], names), folder / ARC), section)


def draw_sub_centers(judged: Judged, artifact: Artifact, polling: Polling, folder: Path, show: Show) -> Drawn:
    """The average real face of each sub-center beside the inversion of its center.

    Raises:
        DataError: none of the real faces can be read.
    """
    targets = judged.targets
    assert isinstance(targets, MadeTargets)
    assert judged.real is not None
    people = tuple(dict.fromkeys(targets.people))
    known = judged.real.faces.kept()
    of_people = np.flatnonzero(labels_by_name(known, people) >= 0)
    faces = known.with_manifest(known.manifest.take(of_people))
    polled = poll_faces(artifact, faces, folder / "angles", polling, show)
    count = len(targets) // len(people)
    drawn, lines, strips = Drawn(), [], []
    for place, person in enumerate(people):
        label = polled.people.index(person)
        votes = polled.polled.votes[label].tolist()
        order = np.argsort(-np.array(votes), kind="stable").tolist()
        inverted = [judged.faces[judged.first][place * count + k] for k in order]
        averages = [_average(faces.image, polled, label, k) for k in order]
        captions = [f"{votes[k]:,} face{'s' * (votes[k] != 1)}" for k in order]
        both = [face for pair in zip(averages, inverted, strict=True) for face in pair]
        lines.append(FaceRow(person, both, captions=[word for caption in captions for word in (caption, "")]))
        pairs = zip(averages, inverted, captions, strict=True)
        tiles = [Tile((face,) if mean is None else (mean, face), caption) for mean, face, caption in pairs]
        strips.append(Strip(person, tiles))
    text = (
        "Left of each pair the average of the person's faces that are nearest to the sub-center, right its inversion; "
        "the dominant sub-center comes first."
    )
    columns = [f"{what} {place + 1}" for place in range(count) for what in ("average", "sub-center")]
    sheet = row_sheet(lines[:_DOWN], columns)
    drawn.add("sub_centers", _save(sheet, folder / AVERAGES), Section("Sub-centers", text, image_strips=strips))
    return drawn


def _average(image: Any, polled: PolledFaces, label: int, sub_center: int) -> Pixels | None:
    """Mean of the faces that vote for a sub-center, or None where nobody does."""
    places = polled.places(label)
    rows = polled.rows[places[polled.polled.sub_centers[places] == sub_center]]
    total, read = np.zeros(()), 0
    for row in rows[spread(len(rows), _MOST_AVERAGED)].tolist() if len(rows) else []:
        try:
            total, read = total + image(row).astype(np.float64), read + 1
        except DataError:  # told of when it was polled
            continue
    return None if not read else (total / read).round().astype(np.uint8)


def _step(step: int) -> str:
    return f"step {step:,}"


def _save(sheet: Any, path: Path) -> Path:
    with write_beside(path) as beside:
        sheet.save(beside, "PNG")
    return path
