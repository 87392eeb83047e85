"""The angles of one or several models as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hyperarc.commands.model_angles import OTHER, TRAIN, Looked, ModelAngles, sets_of
from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels
from hyperarc.metrics import angle
from hyperarc.protocols.angles import Near, Wide
from hyperarc.report.angle_plots import CenterPanel, Gap, PairPanel, center_panels, gap_figure, pair_panels
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
from hyperarc.report.training_plots import training_curves

FACES_SHOWN = 8  # of the widest people; half as many of the nearest
_ANGLE_FIELDS = ("step", "target_angle_deg", "nearest_negative_angle_deg")
_MEANING = {
    "W-EC": "class center to the center of the person's faces, mean over people; smaller is better",
    "W-Inter": "class center to the nearest other, mean over classes; larger is better",
    "Intra1": "training face to the center of its person, mean over faces; smaller is better",
    "Inter1": "center of a training person's faces to the nearest other, mean over people; larger is better",
    "Intra2": "as Intra1, of other faces",
    "Inter2": "as Inter1, of other faces",
}


def report_angles(found: Sequence[ModelAngles], conditions: Mapping[str, Cell], path: Path) -> Path:
    """Write the page."""
    sections = [_table(found), *_pairs(found), *_class_centers(found), *_training(found)]
    for one in found:
        sections += [_people(one, name, looked) for name, looked in one.sets.items()]
    sections.append(Section("Conditions", tables=[conditions_table(conditions, "Of all"), *map(_of_model, found)]))
    names = " and ".join(one.model.name for one in found)
    subtitle = "Where faces and centers lie on the hypersphere, as Table 3 of the ArcFace paper measures it."
    return write_report(Report(f"Angles of {names}", subtitle, _cards(found), sections), path)


def _cards(found: Sequence[ModelAngles]) -> list[Card]:
    cards = []
    for one in found:
        name = OTHER if OTHER in one.sets else TRAIN
        if name not in one.sets:
            cards.append(Card(one.model.name, f"{one.w_inter_deg:.1f}°", "W-Inter; no faces were given"))
            continue
        told, data = one.sets[name].angles.statistics, one.sets[name].embedded.name
        note = f"Intra and Inter of {told.faces:,} faces of {told.people:,} people, {data}"
        cards.append(Card(one.model.name, f"{told.intra_deg:.1f}°, {told.inter_deg:.1f}°", note))
    return cards


def _table(found: Sequence[ModelAngles]) -> Section:
    tables = [one.table() for one in found]
    rows = [(name, *(_degrees(table[name]) for table in tables), told) for name, told in _MEANING.items()]
    for number, name in ((1, TRAIN), (2, OTHER)):
        several = [one.sets[name].angles.statistics.intra_several_deg if name in one.sets else None for one in found]
        if any(name in one.sets and one.sets[name].angles.statistics.single_face_people for one in found):
            note = "without people who have one face, whose angle is 0"
            rows.append((f"Intra{number}, several faces", *map(_degrees, several), note))
    header = ("", *(one.model.name for one in found), "what")
    groups = []
    for name in (TRAIN, OTHER):
        looked = sets_of(found, name)
        if looked:
            gaps = [Gap(o.model.name, s.angles.statistics.intra_deg, s.angles.statistics.inter_deg) for o, s in looked]
            kind = "trained on" if name == TRAIN else "other faces"
            groups.append((f"{looked[0][1].embedded.name}, {kind}", gaps))
    caption = "A face should lie nearer to the center of its person than that center to any other."
    figures = [Plot(gap_figure(groups), caption, wide=True)] if groups else []
    return Section("Angles within and between people", figures=figures, tables=[Table(header, rows)])


def _pairs(found: Sequence[ModelAngles]) -> list[Section]:
    panels, told = [], []
    for name in (TRAIN, OTHER):
        for one, looked in sets_of(found, name):
            genuine, impostor = looked.angles.genuine, looked.angles.impostor
            if len(genuine.degrees) and len(impostor.degrees):
                title = f"{one.model.name}, {looked.embedded.name}"
                panels.append(PairPanel(title, genuine.degrees, impostor.degrees))
                told.append(
                    f"{title}: {len(genuine.degrees):,} of {genuine.total:,} pairs of one person, "
                    f"{len(impostor.degrees):,} of {impostor.total:,} of two people."
                )
    if not panels:
        return []
    caption = "The less the two hills overlap, the better. Dashed lines are medians. " + " ".join(told)
    return [Section("Angles of pairs", figures=[Plot(pair_panels(panels), caption, wide=True)])]


def _class_centers(found: Sequence[ModelAngles]) -> list[Section]:
    panels = []
    for one, looked in sets_of(found, TRAIN):
        seen = looked.angles.centers
        if seen is not None:
            title = f"{one.model.name}, {looked.embedded.name}"
            panels.append(CenterPanel(title, seen.nearest, seen.dominant, seen.others, seen.means_deg))
    if not panels:
        return []
    text = "Angles of training faces to the center of their class, which the margin pulls them to; in eval mode."
    if any(panel.others.any() for panel in panels):
        text += " Of several centers the dominant one draws the clean faces, the others hard and wrong ones."
    return [Section("Angles to class centers", text, figures=[Plot(center_panels(panels), wide=True)])]


def _training(found: Sequence[ModelAngles]) -> list[Section]:
    logs = {one.model.name: [{k: r[k] for k in _ANGLE_FIELDS if k in r} for r in one.model.log()] for one in found}
    runs = {name: rows for name, rows in logs.items() if any(_ANGLE_FIELDS[1] in row for row in rows)}
    if not runs:
        return []
    caption = "Of the faces of each step, in training mode: to the own class center, and to the nearest wrong one."
    return [Section("Over training", figures=[Plot(training_curves(runs), caption, wide=True)])]


def _people(one: ModelAngles, name: str, looked: Looked) -> Section:
    seen, kind = looked.angles, "trained on" if name == TRAIN else "other faces"
    wide = [(w.person, w.faces, _degrees(w.intra_deg)) for w in seen.widest]
    near = [(n.person, n.other, _degrees(n.angle_deg)) for n in seen.nearest]
    tables = [
        Table(("Person", "faces", "mean angle to the center"), wide, "Whose faces lie furthest apart"),
        Table(("Person", "and", "angle"), near, "Whose centers are nearest"),
    ]
    album = _Album(looked)
    strips = [strip for person in seen.widest if (strip := album.strip(person)).tiles]
    pairs = [album.pair(both) for both in seen.nearest] if looked.embedded.pictures is not None else []
    beside = [FacesToFaces("Nearest people", pairs)] if pairs else []
    title = f"People of {looked.embedded.name} ({kind}), {one.model.name}"
    text = (
        "Wide people often hold faces of somebody else, and very near ones may be one person twice: look before you "
        "conclude. Of the widest people, the faces are spread from the nearest to their center to the furthest."
    )
    return Section(title, text if strips or pairs else "", tables=tables, image_strips=strips, side_by_side=beside)


class _Album:
    """Faces of people with their angles to the center."""

    def __init__(self, looked: Looked) -> None:
        self._embedded, self._angles = looked.embedded, looked.angles
        self._label = {name: number for number, name in enumerate(looked.embedded.stored.people)}

    def strip(self, person: Wide) -> Strip:
        faces = self._faces(person.person, FACES_SHOWN)
        tiles = [Tile((picture,), "", f"{degrees:.0f}°") for picture, degrees in faces]
        return Strip(f"{person.person}, {person.intra_deg:.1f}° wide", tiles)

    def pair(self, both: Near) -> FaceToFace:
        left, right = (
            [picture for picture, _ in self._faces(name, FACES_SHOWN // 2)] for name in (both.person, both.other)
        )
        return FaceToFace(left, right, both.person, both.other, f"{both.angle_deg:.1f}°", "between their centers")

    def _faces(self, person: str, most: int) -> list[tuple[Pixels, float]]:
        """Some of the faces, with angles in degrees, evenly from the nearest to the center to the furthest."""
        stored, pictures = self._embedded.stored, self._embedded.pictures
        if pictures is None:
            return []
        rows = np.flatnonzero(stored.labels == self._label[person])
        center = self._angles.shown[person]
        degrees = np.rad2deg(angle(stored.vectors[rows], np.broadcast_to(center, (len(rows), len(center)))))
        order = np.argsort(degrees, kind="stable")
        chosen = np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))
        found = []
        for place in order[chosen].tolist():
            try:
                picture = pictures.image(int(self._embedded.picture_rows[rows[place]]))
            except DataError:  # gone since it was embedded
                continue
            found.append((picture, float(degrees[place])))
        return found


def _of_model(one: ModelAngles) -> Table:
    told = one.as_dict()
    plain: dict[str, Cell] = {k: v for k, v in told.items() if not isinstance(v, dict | list)}
    names = ("data", "people", "faces", "unreadable_faces", "single_face_people", "people_with_known_class")
    for kind in one.sets:
        plain |= {f"{kind}: {name}": told[kind][name] for name in names if name in told[kind]}
    if OTHER in one.sets:
        plain[f"{OTHER}: people named like trained ones"] = told[OTHER].get("people_named_like_trained_ones")
    return conditions_table(plain, one.model.name)


def _degrees(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f}°"
