"""An attack on stored templates as one HTML page and one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hyperarc.commands.attack import REPORT, SHEET, Attacked, Gallery
from hyperarc.commands.invert_targets import spread
from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels
from hyperarc.files import write_beside
from hyperarc.inversion.leakage import Share
from hyperarc.report.attack_plots import Estimate, Stored, leakage_and_use
from hyperarc.report.page import Card, Plot, Report, Section, Strip, Table, Tile, Value, write_report
from hyperarc.report.rows import FaceRow, row_sheet
from hyperarc.report.sections import conditions_table
from hyperarc.report.style import percent, share_label

_ACROSS = 8  # people of the picture and of the page
_STATEMENT = (
    "A template is biometric data: from it alone, with the model that made it, a face can be had back that passes for "
    "the person. Encrypted where it lies it gives a thief nothing at all, as long as the key is safe; but it has to be "
    "decrypted before it is compared.\n\n"
    "A keyed rotation changes no comparison, and leaves nothing to invert as long as the key is secret. With the key "
    "it is undone, and the first line holds again; so it does with known pairs of plain and stored templates, of "
    "which as many as templates have values tell everything and fewer already much. Signs, fewer values and noise have "
    "no key: what they take from the attacker they take from verification too.\n\n"
    "Links: the share of genuine pairs of two databases, each stored in this way with a key of its own where there is "
    "one, that are accepted at the same rate. ISO/IEC 24745 asks that it be as low as that rate (unlinkability)."
)


def report_attack(found: Sequence[Attacked], gallery: Gallery, facts: dict[str, Any]) -> dict[str, Any]:
    """Write page and picture into the run folder; the facts with where they are."""
    folder = Path(facts["run"])
    with write_beside(folder / SHEET) as beside:
        _sheet(found, gallery).save(beside, "PNG")
    subtitle = (
        f"{facts['attacked']:,} of {facts['people']:,} people of {gallery.name}, one template each, inverted as "
        "stored; a judge compares the faces with their photos."
    )
    sections = [_figure(found, facts), _faces(found, gallery), _conditions(facts)]
    write_report(Report("What stored templates give away", subtitle, _cards(found), sections), folder / REPORT)
    return facts | {"sheet": str(folder / SHEET), "report": str(folder / REPORT)}


def _cards(found: Sequence[Attacked]) -> list[Card]:
    cards = []
    for one in found:
        if one.way.name == "none" or one.way.name.startswith("rotation"):
            share = one.leakage.same_photo
            note = f"{share.accepted:,} of {share.pairs:,} faces pass for their template's photo, 95 % {_bounds(share)}"
            name = "Leaks unprotected" if one.way.name == "none" else f"Leaks: {one.way.name}"
            cards.append(Card(name, percent(share.share, 1), note))
    return cards


def _figure(found: Sequence[Attacked], facts: dict[str, Any]) -> Section:
    ways = [
        Stored(
            one.way.name,
            _estimate(one.leakage.same_photo),
            None if one.leakage.other_photos is None else _estimate(one.leakage.other_photos),
            _estimate(one.use.tar),
        )
        for one in found
    ]
    header = ("Stored as", "Leaks, type I", "Type II", "Cosine to the photo", "Verifies", "EER", "Links")
    rows = [
        (
            one.way.name,
            _cell(one.leakage.same_photo),
            None if one.leakage.other_photos is None else _cell(one.leakage.other_photos),
            Value(f"{one.leakage.cosines.mean():.3f}"),
            _cell(one.use.tar),
            Value(percent(one.use.eer, 1)),
            Value(percent(one.linked.tar.share, 1)),
        )
        for one in found
    ]
    caption = (
        "Left: inverted faces that the judge takes for the person; dashed, how many of strangers it would take. Right: "
        "pairs of stored templates of one person that are accepted. Bands are 95 % intervals with people as the unit."
    )
    note = f"All at FAR {share_label(facts['far'])}. The judge accepts from {facts['threshold']:.3f} on: "
    note += f"{facts['threshold_from']}."
    table = Table(header, rows, "In numbers", note=note, wide=True)
    figure = Plot(leakage_and_use(ways, facts["far"]), caption, wide=True)
    return Section("Leakage against usefulness", _STATEMENT, figures=[figure], tables=[table])


def _faces(found: Sequence[Attacked], gallery: Gallery) -> Section:
    strips = []
    for place in spread(len(gallery.attacked), _ACROSS).tolist():
        tiles = [Tile((face,), "photo") for face in _photo(gallery, place)]
        for one in found:
            cosine, accepted = one.leakage.cosines[place], one.leakage.accepted[place]
            tone = "bad" if accepted else "good"  # for whose face it is
            tiles.append(Tile((one.faces[place],), one.way.name, f"{cosine:.2f}", tone))  # type: ignore[arg-type]
        strips.append(Strip(_person(gallery, place), tiles))
    text = "Cosines between face and photo under the judge; red where it takes the face for the person."
    return Section("Faces", text, image_strips=strips)


def _sheet(found: Sequence[Attacked], gallery: Gallery) -> Any:
    places = spread(len(gallery.attacked), _ACROSS).tolist()
    photos = [_photo(gallery, place) for place in places]
    rows = [FaceRow("photo", [faces[0] if faces else None for faces in photos])]
    for one in found:
        note = f"{percent(one.leakage.same_photo.share, 0)} pass"
        rows.append(FaceRow(one.way.name, list(one.faces[places]), note))
    return row_sheet(rows, [_person(gallery, place) for place in places])


def _photo(gallery: Gallery, place: int) -> list[Pixels]:
    try:
        return [gallery.photos.image(int(gallery.photo[gallery.attacked[place]]))]
    except DataError:  # gone since the judge saw it
        return []


def _person(gallery: Gallery, place: int) -> str:
    return gallery.people[int(gallery.labels[gallery.attacked[place]])]


def _conditions(facts: dict[str, Any]) -> Section:
    about = {name: value for name, value in facts.items() if isinstance(value, str | int | float)}
    about = {name: value for name, value in about.items() if name not in ("run", "json", "threshold_from")}
    tables = [conditions_table(about)]
    for name in ("search", "priors"):
        told = {k: ", ".join(map(str, v)) if isinstance(v, tuple | list) else v for k, v in facts[name].items()}
        tables.append(conditions_table(told, name.capitalize()))
    return Section("Conditions", tables=tables)


def _estimate(share: Share) -> Estimate:
    return Estimate(share.share, share.low, share.high)


def _cell(share: Share) -> Value:
    return Value(percent(share.share, 1), _bounds(share))


def _bounds(share: Share) -> str:
    return f"{100 * share.low:.1f} to {100 * share.high:.1f} %"
