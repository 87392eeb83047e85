"""The page of ``hyperarc align``: counts, measures, a sample of the crops, and everything that should be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageDraw

from hyperarc.commands.align_table import NO_FACE, crops_of
from hyperarc.data.photos import Photos
from hyperarc.errors import DataError
from hyperarc.faces.cutting import LOW_SCORE, OFF, SEVERAL, Cutting
from hyperarc.faces.image import Pixels, decode
from hyperarc.report import Card, Histogram, Plot, Report, Section, Strip, Table, Tile, histograms, write_report

SHOWN = 48  # of each kind
_THUMB_PX = 200
_KINDS = (
    (LOW_SCORE, "Low score", "score", True, "The detector is not sure that this is a face."),
    (OFF, "Landmarks off", "residual_px", False, "The five points do not lie as those of a face do."),
    (SEVERAL, "Several faces", "rival", False, "Another face of the photo is nearly as large: is it the right one?"),
)


def write_align_report(
    photos: Photos, table: pa.Table, facts: Mapping[str, Any], notes: Sequence[str], folder: Path
) -> None:
    """Write ``report.html`` into the folder of crops."""
    crops = crops_of(table)
    row_of = {key: row for row, key in enumerate(photos.faces.manifest.column("face").tolist())}
    sections = [_measures(crops)] if len(crops) else []
    sections += [_sample(crops, folder)] if len(crops) else []
    sections += [section for kind in _KINDS if (section := _doubtful(photos, row_of, crops, folder, kind))]
    sections += _missed(photos, row_of, table)
    if notes:
        sections.append(Section("Notes", "\n\n".join(notes)))
    write_report(Report("Aligned faces", folder_name(facts), _cards(facts), sections), folder / "report.html")


def folder_name(facts: Mapping[str, Any]) -> str:
    """The line below the title."""
    return f"{facts['photos']:,} photos, {facts['people']:,} people"


def _cards(facts: Mapping[str, Any]) -> list[Card]:
    share = facts["photos_with_faces"] / facts["photos"]
    residual = facts["residual_px"]
    middle = "–" if residual["median"] is None else f"{residual['median']:.1f} px"
    high = "" if residual["99 %"] is None else f"median; 99 % are within {residual['99 %']:.1f} px"
    return [
        Card("Photos with a face", f"{100 * share:.1f} %", f"{facts['photos_with_faces']:,} of {facts['photos']:,}"),
        Card("Crops", f"{facts['faces']:,}", f"of {facts['people']:,} people; {facts['left_out']:,} left out"),
        Card("Doubtful", f"{facts['doubtful']:,}", "crops to look at, below"),
        Card("Landmarks off the template", middle, high),
    ]


def _measures(crops: pa.Table) -> Section:
    limits = Cutting()
    panels = [
        Histogram("Score", crops["score"].to_numpy(), "of the detector", limits=(limits.sure_score,), bad="below"),
        Histogram(
            "Landmarks", crops["residual_px"].to_numpy(), "px off the template",
            limits=(limits.most_residual_px,), bad="above",
        ),
        Histogram("Size", crops["source_px"].to_numpy(), "px of the photo that a crop shows", logarithmic=True),
        Histogram("Turned", crops["yaw_deg"].to_numpy(), "degrees to the right of the picture", x_limits=(-90, 90)),
        Histogram("Bowed", crops["pitch_deg"].to_numpy(), "degrees downward", x_limits=(-60, 60)),
        Histogram("Blur", crops["blur_px"].to_numpy(), "px of the crop", x_limits=(0, 6)),
    ]  # fmt: skip
    return Section("Measures", figures=[Plot(histograms(panels), wide=True)])


def _sample(crops: pa.Table, folder: Path) -> Section:
    rows = np.random.default_rng(0).choice(len(crops), min(SHOWN, len(crops)), replace=False)
    chosen = crops.take(pa.array(np.sort(rows)))
    tiles = [Tile((_crop(folder, face),), face) for face in chosen["face"].to_pylist()]
    text = "Eyes, nose and mouth should lie at the same places in all of them, and nobody should look blue."
    return Section("Crops", text, image_strips=[Strip(f"{len(tiles)} of {len(crops):,}, at random", tiles)])


def _doubtful(
    photos: Photos, row_of: Mapping[str, int], crops: pa.Table, folder: Path, kind: tuple[str, str, str, bool, str]
) -> Section | None:
    name, title, measure, rising, text = kind
    which = crops.filter(pc.match_substring(crops["doubts"], f"{name}:"))
    if not len(which):
        return None
    ordered = which.sort_by([(measure, "ascending" if rising else "descending"), ("face", "ascending")])
    tiles = []
    for record in ordered.slice(0, SHOWN).to_pylist():
        photo = _thumb(photos, row_of.get(record["photo"]), record)
        doubt = next(d for d in record["doubts"].split(" | ") if d.startswith(name))
        tiles.append(Tile((_crop(folder, record["face"]), *photo), record["face"], doubt.partition(": ")[2], "bad"))
    return Section(title, text, image_strips=[Strip(f"{len(tiles)} of {len(which):,}, the most doubtful first", tiles)])


def _missed(photos: Photos, row_of: Mapping[str, int], table: pa.Table) -> list[Section]:
    missed = table.filter(pc.equal(table["problem"], NO_FACE))
    broken = table.filter(pc.invert(pc.is_in(table["problem"], pa.array(["", NO_FACE], pa.large_string()))))
    sections = []
    if len(missed):
        records = missed.slice(0, SHOWN).to_pylist()
        tiles = [Tile(thumb, r["photo"]) for r in records if (thumb := _thumb(photos, row_of.get(r["photo"]), None))]
        strips = [Strip(f"{len(tiles)} of {len(missed):,}", tiles)]
        sections.append(Section("Photos without a face", image_strips=strips))
    if len(broken):
        rows = [(r["photo"], r["problem"].removeprefix("unreadable: ")) for r in broken.slice(0, 200).to_pylist()]
        tables = [Table(("photo", "why"), rows, f"{len(rows)} of {len(broken):,}")]
        sections.append(Section("Unreadable", tables=tables))
    return sections


def _crop(folder: Path, face: str) -> Pixels:
    return decode((folder / face).read_bytes(), where=face)


def _thumb(photos: Photos, row: int | None, record: Mapping[str, Any] | None) -> tuple[Pixels, ...]:
    """The photo, small, with the box and points of the crop; nothing of a video or of what cannot be read again."""
    if row is None or photos.is_video(row):
        return ()
    try:
        picture = Image.fromarray(photos.faces.image(row))
    except DataError:
        return ()
    shrink = max(1.0, max(picture.size) / _THUMB_PX)
    picture = picture.resize([max(1, round(side / shrink)) for side in picture.size], Image.Resampling.LANCZOS)
    if record is not None:
        pen = ImageDraw.Draw(picture)
        box = [record[side] / shrink for side in ("left", "top", "right", "bottom")]
        pen.rectangle(box, outline=(255, 176, 0), width=2)
        for number in range(1, 6):
            x, y = record[f"x{number}"] / shrink, record[f"y{number}"] / shrink
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=(0, 224, 255))
    return (np.asarray(picture, dtype=np.uint8),)
