"""What is wrong with a set of faces as one HTML page: counts, measures, and the faces themselves kind by kind."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperarc.commands.check_people import twin_words
from hyperarc.data.checks.faults import Fault
from hyperarc.data.checks.kinds import CONFLICT, COPY, KINDS, NEAR_COPY, SWAPPED, Kind
from hyperarc.data.verification import UNREADABLE, Progress
from hyperarc.faces.image import Pixels
from hyperarc.report.histograms import Histogram, histograms
from hyperarc.report.page import (
    Card,
    Cell,
    FacesToFaces,
    FaceToFace,
    Plot,
    Report,
    Section,
    Strip,
    Table,
    Tile,
    write_report,
)
from hyperarc.report.sections import conditions_table

if TYPE_CHECKING:
    from hyperarc.commands.check import Checked

FACES_SHOWN, PAIRS_SHOWN = 27, 24
_TILE_PX = 112
Tone = Literal["good", "bad", "plain"]
_NAMES_SHOWN = 200
_TWINS_SHOWN, _TWIN_FACES = 40, 5


def report_check(checked: Checked, path: Path, tell: Progress) -> Path:
    """Write the page; ``tell`` is called with (kinds drawn, kinds in all)."""
    counts = checked.counts
    sections = [_summary(checked), _measures(checked)]
    for done, kind in enumerate(counts, 1):
        sections.append(_kind_section(checked, KINDS[kind]))
        tell(done, len(counts))
    sections += [_twins(checked)] if checked.twins else []
    title = f"{checked.faces.name}: {len(checked.measured):,} faces checked"
    subtitle = "The pictures are as they were: marks and color orders stand in the manifest, and can be taken back."
    return write_report(Report(title, subtitle, _cards(checked), sections), path)


def _cards(checked: Checked) -> list[Card]:
    after, counts = checked.faces.manifest, checked.counts
    looked_at = len(checked.measured)
    left_out = looked_at - int(after.keep.sum())
    kept_people = after.kept().num_people
    cards = [
        Card("Faces", f"{looked_at:,}", f"of {after.num_people:,} people"),
        Card("Left out", f"{left_out:,}", f"{after.keep.sum():,} faces of {kept_people:,} people are kept"),
    ]
    copies = counts.get(COPY, 0) + counts.get(NEAR_COPY, 0)
    notes = {
        "Copies": (copies, f"{counts.get(COPY, 0):,} with equal pixels, {counts.get(NEAR_COPY, 0):,} nearly"),
        "Label conflicts": (counts.get(CONFLICT, 0), "faces that stand under two people"),
        "Colors put right": (counts.get(SWAPPED, 0), "red and blue were exchanged in these files"),
    }
    return cards + [Card(label, f"{count:,}", note) for label, (count, note) in notes.items()]


def _summary(checked: Checked) -> Section:
    looked_at, marking = len(checked.measured), checked.options.marking
    rows: list[Sequence[Cell]] = []
    for name, count in checked.counts.items():
        rows.append([KINDS[name].title, count, f"{100 * count / looked_at:.2f} %", _becomes(name, marking)])
    tables = [Table(["Finding", "Faces", "Share", "What becomes of them"], rows)] if rows else []
    told: list[Sequence[Cell]] = [[found.what, found.count, _shortened(found.names)] for found in checked.findings]
    if told:
        tables.append(Table(["People, labels and files", "Number", "Which"], told))
    text = "" if rows else "No face has a fault that was looked for."
    return Section("Findings", text, tables=tables)


def _becomes(kind: str, marking: Sequence[str]) -> str:
    if kind == SWAPPED:
        return "put right on reading; --undo swapped takes that back"
    if kind in marking:
        return f"left out; --undo {kind.replace(' ', '-')} takes them back"
    return f"told of; --leave-out {kind.replace(' ', '-')} leaves them out"


def _shortened(names: Sequence[str]) -> str:
    text = ", ".join(names[:8])
    return text if len(names) <= 8 else f"{text} ..."


def _measures(checked: Checked) -> Section:
    measured, limits = checked.measured, checked.options.limits
    there = measured.readable
    edged = there & np.isfinite(measured.blur_px)
    colored = there & (measured.chroma >= limits.chroma)
    labels = checked.faces.manifest.labels[measured.rows]
    per_person = np.bincount(np.unique(labels, return_inverse=True)[1])
    panels = [
        Histogram("Blur", measured.blur_px[edged], "px of a crop of 112", limits=(limits.blur_px,), bad="above"),
        Histogram("Color", measured.chroma[there], "distance of the channels", limits=(limits.chroma,), bad="below"),
        Histogram("Redness of color faces", measured.redness[colored], "(R - B) / (R + G + B)", x_limits=(-0.5, 0.5)),
        Histogram("Contrast", measured.contrast[there], "grey levels", limits=(limits.contrast,), bad="below"),
        Histogram("Size", np.minimum(measured.width, measured.height)[there], "shorter side, px"),
        Histogram(
            "Faces of a person",
            per_person,
            "faces",
            "People",
            limits=(checked.options.min_faces,),
            bad="below",
            logarithmic=True,
        ),
    ]
    caption = "Dashed lines are limits; beyond them faces are told of. Skin lies around a redness of +0.17."
    sizes = _sizes(measured.width[there], measured.height[there])
    facts: dict[str, Cell] = {"faces of a person, median": float(np.median(per_person))}
    facts |= {"faces of a person, most": int(per_person.max()), "sizes": sizes}
    for source in checked.faces.manifest.sources:
        share = checked.shares.get(source)
        judged = "not judged: pictures of many sizes, or gray" if share is None else f"{100 * share:.1f} %"
        facts[f"exchanged files of {source}"] = judged
    figures = [Plot(histograms(panels), caption, wide=True)]
    return Section("Measures", figures=figures, tables=[conditions_table(facts, "")])


def _sizes(width: npt.NDArray[np.int32], height: npt.NDArray[np.int32]) -> str:
    if not len(width):
        return "none"
    sizes, counts = np.unique(np.stack([width, height], 1), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    named = [f"{w} x {h} ({100 * n / len(width):.1f} %)" for (w, h), n in zip(sizes[order], counts[order], strict=True)]
    return ", ".join(named[:4]) + (f" and {len(named) - 4} more" if len(named) > 4 else "")


def _kind_section(checked: Checked, kind: Kind) -> Section:
    faults = [fault for fault in checked.faults if fault.kind == kind.name]
    becomes = _becomes(kind.name, checked.options.marking)
    text = f"{kind.text}\n\n{len(faults):,} {'face' if len(faults) == 1 else 'faces'}, {becomes}."
    if kind.name == UNREADABLE:
        rows = [(name, fault.detail) for name, fault in zip(_names(checked, faults), faults, strict=True)]
        return Section(kind.title, text, tables=[Table(["File", "Why"], rows[:_NAMES_SHOWN])])
    each = list(_once(faults))
    shown = list(_spread(each, PAIRS_SHOWN if faults[0].other >= 0 or kind.name == SWAPPED else FACES_SHOWN))
    tiles = [_tile(checked, fault, name) for fault, name in zip(shown, _names(checked, shown), strict=True)]
    what = "" if len(each) == len(faults) else " pairs"
    caption = f"All {len(each):,}" if len(shown) == len(each) else f"{len(shown)} of {len(each):,}"
    caption += what + ("" if len(shown) == len(each) else ", evenly spread")
    return Section(kind.title, text, image_strips=[Strip(caption, tiles)])


def _twins(checked: Checked) -> Section:
    manifest = checked.faces.manifest
    labels, people = manifest.relabelled().labels, manifest.people
    readable = np.zeros(len(manifest), np.bool_)
    readable[checked.measured.rows] = checked.measured.readable
    faces_of = {person: np.flatnonzero(readable & (labels == person)) for person in _shown_twins(checked)}
    rows = []
    for match in checked.twins[:_TWINS_SHOWN]:
        sides = [
            [_small(checked.faces.image(row)) for row in faces_of[person][:_TWIN_FACES].tolist()]
            for person in (match.first, match.second)
        ]
        counts = {person: len(faces_of[person]) for person in (match.first, match.second)}
        captions = [f"{people[person]}, {n:,} face{'s' * (n != 1)}" for person, n in counts.items()]
        tone: Tone = "bad" if match.looks_alike else "plain"
        score = "" if math.isnan(match.cosine) else f"{match.cosine:.3f}"
        rows.append(FaceToFace(sides[0], sides[1], captions[0], captions[1], score, twin_words(match), tone))
    count = len(checked.twins)
    caption = f"All {count:,}" if count == len(rows) else f"The nearest {len(rows)} of {count:,}"
    text = "Two labels that may be one person, by their faces, their names or both. Nobody is left out for it."
    return Section("One person, two labels", text, side_by_side=[FacesToFaces(caption, rows)])


def _shown_twins(checked: Checked) -> set[int]:
    return {person for match in checked.twins[:_TWINS_SHOWN] for person in (match.first, match.second)}


def _tile(checked: Checked, fault: Fault, name: str) -> Tile:
    face = _small(checked.faces.image(fault.row))
    if fault.kind == SWAPPED:
        return Tile((face[..., ::-1], face), name, fault.detail)
    if fault.other < 0:
        return Tile((face,), name, fault.detail)
    other = checked.faces.manifest.faces(np.array([fault.other]))[0]
    faces = face, _small(checked.faces.image(fault.other))
    return Tile(faces, f"{name} · {other}", fault.detail, "bad" if fault.kind == CONFLICT else "plain")


def _names(checked: Checked, faults: Sequence[Fault]) -> list[str]:
    return checked.faces.manifest.faces(np.array([fault.row for fault in faults], np.int64))


def _once(faults: Sequence[Fault]) -> Iterator[Fault]:
    """Without those that tell of a pair the other way round."""
    told = set()
    for fault in faults:
        if (fault.other, fault.row) not in told:
            told.add((fault.row, fault.other))
            yield fault


def _spread(faults: Sequence[Fault], most: int) -> Iterator[Fault]:
    """At most so many, evenly over the list, its first and its last among them."""
    for place in np.linspace(0, len(faults) - 1, min(most, len(faults))).round().astype(int).tolist():
        yield faults[place]


def _small(picture: Pixels) -> Pixels:
    if max(picture.shape[:2]) <= _TILE_PX:
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((_TILE_PX, _TILE_PX))
    return np.asarray(image)
