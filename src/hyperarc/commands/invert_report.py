"""Inverted faces as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.commands.invert_judgement import JUDGE, MODEL, Judged
from hyperarc.commands.invert_targets import spread
from hyperarc.report.cosine_plots import CosinePanel, cosine_hills
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
    Value,
    write_report,
)
from hyperarc.report.sections import conditions_table
from hyperarc.report.style import percent

ROWS_SHOWN, PAIRS_SHOWN, WORST_SHOWN = 8, 48, 12
_A_SIDE = 5  # faces
KINDS = {
    "classes": "class centers",
    "photos": "embeddings of photos",
    "embeddings": "embeddings",
    "new": "targets of people who do not exist",
    "between": "points between two people",
    "sub-centers": "sub-centers",
}


def report_inversion(judged: Judged, facts: Mapping[str, Any], path: Path, more: Sequence[Section] = ()) -> Path:
    """Write the page; ``more`` stands after the faces."""
    subtitle = (
        f"{len(judged.targets):,} {KINDS[judged.targets.kind]} turned back into faces by the gradients"
        + (" and BatchNorm statistics" if facts["priors"]["batch_norm"] else "")
        + f" of {judged.names[MODEL]} alone."
    )
    sections = [_faces(judged), *more, *_hills(judged), _numbers(judged), *_more(judged), _conditions(facts)]
    report = Report(f"Inversion of {judged.names[MODEL]}", subtitle, _cards(judged), sections)
    return write_report(report, path)


def _who(judged: Judged, side: str) -> str:
    return f"the judge {judged.names[JUDGE]}" if side == JUDGE else f"{judged.names[MODEL]} itself"


def _cards(judged: Judged) -> list[Card]:
    found, side = judged.found[judged.first], judged.side
    judgement, who = judged.judgements[judged.first][side], _who(judged, side)
    told = judgement.as_dict()
    cards = [Card("Cosine to the target", f"{found.cosines.max(axis=0).mean():.3f}", "under the attacked model")]
    if told["cosine_to_real_faces"] is not None:
        to = "the photos" if judged.targets.photos is not None else "real faces of the person"
        cards.append(Card(f"Cosine to {to}", f"{told['cosine_to_real_faces']:.3f}", f"under {who}{_beside(told)}"))
    if judgement.accuracy is not None:
        note = f"10-fold, {judgement.accuracy.pair_count:,} pairs of an inverted and a real face, under {who}"
        if judgement.real_accuracy is not None:
            note += f"; real faces {percent(judgement.real_accuracy.mean, 1)}"
        cards.append(Card("Verified", percent(judgement.accuracy.mean, 1), note))
    if judgement.frechet is not None:
        floor = "" if judgement.real_frechet is None else f"; among real faces {judgement.real_frechet.distance:.3f}"
        cards.append(Card("Frechet distance", f"{judgement.frechet.distance:.3f}", f"in the space of {who}{floor}"))
    if judged.first in judged.fid:
        fid = judged.fid[judged.first]
        note = "{:,} inverted and {:,} real faces, in the space of Inception".format(*fid.samples)
        cards.append(Card("FID", f"{fid.distance:.1f}", note))
    return cards


def _beside(told: Mapping[str, Any]) -> str:
    return "" if told["cosine_real_same"] is None else f"; of two real faces {told['cosine_real_same']:.3f}"


def _faces(judged: Judged) -> Section:
    known = np.flatnonzero(np.isfinite(judged.judgements[judged.first][judged.side].own))
    if not len(known):
        return _alone(judged)
    left = "real faces of a person, none of which the search has seen"
    if judged.targets.photos is not None:
        left = "the photo, of which the search knew the embedding alone"
    text = f"Left: {left}. Right: what the search found."
    threshold = judged.threshold(judged.side)
    if threshold is not None:
        text += (
            f" Large numbers are cosines between the two under {_who(judged, judged.side)}, green from {threshold:.2f} "
            "on, where it takes faces for one person."
        )
    if _in_pairs(judged):
        return Section("Faces", text.replace("Large numbers", "Numbers"), image_strips=[_pairs(judged, known)])
    beside = [_row(judged, row) for row in known[spread(len(known), ROWS_SHOWN)].tolist()]
    return Section("Faces", text, side_by_side=[FacesToFaces("Real and inverted", beside)])


def _in_pairs(judged: Judged) -> bool:
    """Whether one photo stands beside one inversion."""
    return judged.targets.photos is not None and len(judged.found) == 1 == len(judged.found[judged.first].cosines)


def _pairs(judged: Judged, known: npt.NDArray[np.int64]) -> Strip:
    rows = known[spread(len(known), PAIRS_SHOWN)].tolist()
    return Strip("Real and inverted", [_tile(judged, row) for row in rows])


def _alone(judged: Judged) -> Section:
    """Where there is nobody to show beside them."""
    cosines = judged.found[judged.first].cosines.max(axis=0)
    shown = zip(judged.faces[judged.first], judged.targets.names, cosines, strict=True)
    tiles = [Tile((face,), name, f"{cosine:.3f}") for face, name, cosine in shown]
    text = "Numbers are cosines to the target under the attacked model."
    return Section("Faces", text, image_strips=[Strip("Inverted", tiles[: 2 * PAIRS_SHOWN])])


def _row(judged: Judged, row: int) -> FaceToFace:
    own = judged.own(judged.first, judged.side, row)
    if len(judged.found) > 1:
        right = [judged.faces[name][row] for name in judged.found]
        told = (f"{name} {_short(judged.own(name, judged.side, row))}" for name in judged.found)
        caption = ", ".join(told)
    else:
        found = judged.found[judged.first]
        order = np.argsort(-found.cosines[:, row], kind="stable")[:_A_SIDE]
        right = [found.pictures[attempt, row] for attempt in order]
        caption = f"{len(found.cosines)} tries, the best first" if len(found.cosines) > 1 else "inverted"
    target = float(judged.found[judged.first].cosines[:, row].max())
    return FaceToFace(
        judged.real_faces(row, _A_SIDE), right, judged.targets.people[row], caption, _short(own),
        f"{target:.2f} to the target under the model", _tone(judged, own),
    )  # fmt: skip


def _tile(judged: Judged, row: int) -> Tile:
    own = judged.own(judged.first, judged.side, row)
    faces = (*judged.real_faces(row, 1), judged.faces[judged.first][row])
    return Tile(faces, judged.targets.people[row], _short(own), _tone(judged, own))


def _tone(judged: Judged, own: float | None) -> Any:
    threshold = judged.threshold(judged.side)
    return "plain" if own is None or threshold is None else "good" if own >= threshold else "bad"


def _hills(judged: Judged) -> list[Section]:
    panels = []
    for name, judgements in judged.judgements.items():
        one = judgements[judged.side]
        if len(one.same):
            panels.append(CosinePanel(_title(judged, name), one.same, one.other, one.real_same, one.real_other))
    if not panels:
        return []
    caption = f"Under {_who(judged, judged.side)}."
    if any(len(np.ravel(panel.real_same)) for panel in panels):
        caption += " Where the blue hills meet, an inverted face is as good as a photo."
    return [Section("How alike", figures=[Plot(cosine_hills(panels), caption, wide=True)])]


def _title(judged: Judged, name: str) -> str:
    return f"Priors: {name}" if len(judged.found) > 1 else "Cosines between faces"


def _numbers(judged: Judged) -> Section:
    tables = [_table(judged, side) for side in (JUDGE, MODEL) if side in judged.names]
    text = (
        "A model that is asked about pictures made to please it flatters them; an independent judge does not. The "
        "Frechet distance is taken in the embedding space of each and is no FID."
    )
    return Section("Numbers", text, tables=tables)


def _table(judged: Judged, side: str) -> Table:
    names = list(judged.found)
    told = {name: judged.judgements[name][side].as_dict() for name in names}
    first = told[names[0]]
    rows: list[list[Cell]] = []

    def add(what: str, real: float | None, values: list[float | None], best: Any, write: Any) -> None:
        known = [value for value in values if value is not None]
        top = best(known) if best is not None and len(known) > 1 else None
        cells = [v if v is None else Value(write(v), tone="best" if v == top else "plain") for v in values]
        if known:
            rows.append([what, Value("–" if real is None else write(real)), *cells])

    to = "the photo" if judged.targets.photos is not None else "real faces of the person"
    add(f"cosine to {to}", first["cosine_real_same"], [told[n]["cosine_to_real_faces"] for n in names], max, _short)
    share = [told[n]["accuracy"] and told[n]["accuracy"]["mean"] for n in names]
    add("accuracy, 10-fold", first["real_accuracy"] and first["real_accuracy"]["mean"], share, max, percent)
    apart = [told[n]["cosine_of_two_people"] for n in names]
    add("cosine of two people", first["cosine_of_two_real_people"], apart, None, _short)
    add("cosine of two tries", None, [told[n]["cosine_of_tries"] for n in names], None, _short)
    far = [told[n]["frechet"] and told[n]["frechet"]["distance"] for n in names]
    add("Frechet distance", first["real_frechet"] and first["real_frechet"]["distance"], far, min, _short)
    if side == MODEL:
        kept = [float(judged.found[name].cosines.max(axis=0).mean()) for name in names]
        add("cosine to the target", None, list(kept), max, _short)
        fids = [judged.fid[n].distance if n in judged.fid else None for n in names]
        add("FID, by Inception", None, list(fids), min, _short)
    header = ("", "real faces", *(names if len(names) > 1 else ["inverted"]))
    samples = "" if first["frechet"] is None else _samples(first)
    return Table(header, rows, f"Under {_who(judged, side)}", note=samples, wide=True)


def _samples(told: Mapping[str, Any]) -> str:
    inverted, real = told["frechet"]["samples"]
    text = f"Frechet distance of {inverted:,} inverted and {real:,} real faces"
    if told["real_frechet"] is not None:
        text += "; among real faces, of {:,} and {:,}".format(*told["real_frechet"]["samples"])
    return text + ". Few faces bias it upward: compare equal counts alone."


def _more(judged: Judged) -> list[Section]:
    """Many more, and those that are least alike."""
    own = judged.judgements[judged.first][judged.side].own
    known = np.flatnonzero(np.isfinite(own))
    strips = [_pairs(judged, known)] if len(known) > ROWS_SHOWN and not _in_pairs(judged) else []
    if len(known) >= 2 * WORST_SHOWN:
        worst = known[np.argsort(own[known], kind="stable")][:WORST_SHOWN].tolist()
        strips.append(Strip("Least alike", [_tile(judged, row) for row in worst]))
    text = f"Cosines under {_who(judged, judged.side)}."
    return [Section("More faces", text, image_strips=strips)] if strips else []


def _conditions(facts: Mapping[str, Any]) -> Section:
    plain_facts = {k: v for k, v in facts.items() if isinstance(v, str | int | float) or v is None}
    about = {k: v for k, v in plain_facts.items() if k not in ("faces", "table", "sheet", "report", "json")}
    real = facts["real_faces"]
    about["real faces"] = "none" if real is None else f"{real['faces']:,} of {real['data']}"
    tables = [conditions_table(about)]
    for name in ("search", "priors"):
        told = {k: ", ".join(map(str, v)) if isinstance(v, tuple | list) else v for k, v in facts[name].items()}
        tables.append(conditions_table(told, name.capitalize()))
    return Section("Conditions", tables=tables)


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
