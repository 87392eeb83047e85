"""A purification as one HTML page: figures, and everybody with the faces kept beside those dropped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.commands.decisions import key_of
from hyperarc.commands.purified import Purified
from hyperarc.data.verification import Progress
from hyperarc.errors import DataError
from hyperarc.purification.detection import detection_curve
from hyperarc.purification.proposals import HALF, Proposal
from hyperarc.report.page import Card, Cell, Listing, Plot, Report, Section, Table, cell_text
from hyperarc.report.people_page import (
    FaceStrip,
    PeopleList,
    PersonEntry,
    Question,
    angle_counts,
    strip_picture,
    write_people_page,
)
from hyperarc.report.purification_plots import angle_groups, detection_plot

PICTURES_MB = 16.0  # of all faces in the page; the worst people come first
KEPT_SHOWN, DROPPED_SHOWN = 5, 7
Rows = npt.NDArray[np.int64]


def report_purification(purified: Purified, told: Mapping[str, Any], path: Path, tell: Progress) -> Path:
    """Write the page; ``tell`` is called with (people done, people in all)."""
    empty = len(told["people_left_empty"])
    cards = [
        Card("Faces left out", f"{told['left_out']:,}", f"of {told['faces_looked_at']:,}, {_share(purified.dropped)}"),
        Card("Angle", f"{purified.angle_deg:g}°", purified.angle_from),
        Card("People kept", f"{told['people_kept']:,}", f"{told['kept']:,} faces; {empty:,} people are left empty"),
        Card("Proposals", f"{len(purified.proposals.listed):,}", _kinds(told)),
    ]
    if (found := purified.detection()) is not None:
        note = f"of {found.wrong:,} noisy faces {found.right:,} were dropped, among {found.dropped:,} dropped"
        cards.append(Card("Precision and recall", f"{_percent(found.precision)}, {_percent(found.recall)}", note))
    album = _Album(purified)
    people = _entries(album, tell)
    text = (
        "Those with most faces dropped first. Faces are shown with their angle to the dominant center. Nothing is "
        "deleted: what is dropped is marked in the manifest, and --undo takes it back. Decisions made here are kept by "
        "the browser; the file that is exported is for hyperarc purify --decisions."
    )
    about = {"made_by": "hyperarc purify", "data": told["data"], "contract": told["contract"]}
    listed = PeopleList("People", text, people, purified.angle_deg, about, truth_known=purified.truth is not None)
    subtitle = "Faces far from the dominant sub-center of their person, marked in the manifest; pictures are untouched."
    sections = [angles_section(purified), *_results(told), _conditions(told)]
    return write_people_page(Report(f"{told['data']}, purified", subtitle, cards, sections), listed, path)


def angles_section(purified: Purified) -> Section:
    """Histograms of the angles, and where noise is known how well they tell it."""
    polled, dominant = purified.faces.polled, purified.dominant
    figures = []
    for angles, title, label in (
        (polled.angles, "Angles to the dominant center", "Angle to the dominant center of the person"),
        (polled.own_angles, "Angles to the nearest sub-center", "Angle to the sub-center voted for"),
    ):
        groups = _groups(np.degrees(angles), dominant, purified.truth)
        figures.append(Plot(angle_groups(groups, purified.angle_deg, title=title, x_label=label)))
    text = f"One count a face, of all people together. The angle: {purified.angle_from}."
    if purified.truth is None or (curve := detection_curve(purified.truth, polled.angles)) is None:
        return Section("Angles", text, figures)
    found = purified.detection()
    assert found is not None
    caption = f"The area under the curve is {found.auc:.4f}."
    plot = detection_plot(curve.far, curve.tar, np.degrees(curve.thresholds), purified.angle_deg)
    rows: list[Sequence[Cell]] = [
        ("noisy faces", found.wrong),
        ("of them dropped", found.right),
        ("clean faces dropped", found.dropped - found.right),
        ("precision", _percent(found.precision)),
        ("recall", _percent(found.recall)),
    ]
    return Section("Angles", text, [*figures, Plot(plot, caption)], [Table((), rows, "Known noise")])


def _groups(
    degrees: npt.NDArray[np.floating[Any]], dominant: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_] | None
) -> dict[str, npt.NDArray[np.floating[Any]]]:
    if truth is None:
        return {"dominant": degrees[dominant], "not dominant": degrees[~dominant]}
    return {
        f"{vote}, {state}": degrees[voted & noisy]
        for state, noisy in (("clean", ~truth), ("noisy", truth))
        for vote, voted in (("dominant", dominant), ("not dominant", ~dominant))
    }


def _results(told: Mapping[str, Any]) -> list[Section]:
    """What the models reach before and after."""
    rows: list[Sequence[Cell]] = []
    for name, results in told["results"].items():
        for result in results:
            rows += [(name, result["protocol"], one["name"], one["value"]) for one in result["numbers"][:3]]
    if not rows:
        return []
    text = "Judged by the recipe's evaluations: trained with sub-centers on all faces, and again on those kept."
    return [Section("Models", text, tables=[Table(["Model", "Protocol", "Number", "Value"], rows)])]


def _conditions(told: Mapping[str, Any]) -> Section:
    apart = ("findings", "results", "detection", "people_left_empty", "manifest", "proposals", "facts", "report")
    plain = {name: value for name, value in told.items() if name not in apart}
    empty = told["people_left_empty"]
    lines = [*told["findings"], *([f"people left empty: {', '.join(empty[:40])}"] if empty else [])]
    table = "\n".join(f"{name.replace('_', ' '):18}{cell_text(value)}" for name, value in plain.items())
    return Section("Conditions", "\n\n".join(f"{line}." for line in lines), listings=[Listing("All of them", table)])


class _Album:
    """The faces of each person, and pictures of them as long as there is room in the page."""

    def __init__(self, purified: Purified) -> None:
        self.purified = purified
        self.room = int(PICTURES_MB * 2**20)
        self.degrees = np.degrees(purified.faces.polled.angles)

    @cached_property
    def by_person(self) -> dict[int, list[Proposal]]:
        """Proposals by the person whose faces they are about."""
        listed: dict[int, list[Proposal]] = {}
        for one in self.purified.proposals.listed:
            listed.setdefault(one.person, []).append(one)
        return listed

    def places(self, person: int) -> Rows:
        """The faces of a person, nearest to the dominant center first: places among all that were looked at."""
        own = self.purified.faces.places(person)
        return np.asarray(own[np.argsort(self.degrees[own], kind="stable")], dtype=np.int64)

    def strip(self, places: Rows, most: int) -> FaceStrip | None:
        """Some of the faces, evenly spread; None without faces, or where the page has no room for more."""
        if not len(places) or self.room <= 0:
            return None
        chosen = places[np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(np.int64)]
        pictures, captions, tones = [], [], []
        for place in chosen.tolist():
            try:
                pictures.append(self.purified.before.image(int(self.purified.faces.rows[place])))
            except DataError:  # gone since it was embedded
                continue
            captions.append(f"{self.degrees[place]:.0f}°")
            truth = self.purified.truth
            tones.append("" if truth is None else "bad" if truth[place] else "good")
        if not pictures:
            return None
        address = strip_picture(pictures)
        self.room -= len(address)
        return FaceStrip(address, captions, tones if any(tones) else (), len(places) - len(pictures))


def _entries(album: _Album, tell: Progress) -> list[PersonEntry]:
    faces, dropped = album.purified.faces, album.purified.dropped
    had = np.bincount(faces.labels, minlength=len(faces.people))
    gone = np.bincount(faces.labels[dropped], minlength=len(faces.people))
    # the worst first: those with many faces dropped, which are a large share of theirs
    badness = gone.astype(np.float64) ** 2 / np.maximum(had, 1)
    for person, proposals in album.by_person.items():
        badness[person] += sum(one.faces for one in proposals)
    people = [person for person in np.argsort(-badness, kind="stable").tolist() if had[person]]
    entries = []
    for done, person in enumerate(people, 1):
        entries.append(_entry(album, person))
        if done % 100 == 0 or done == len(people):
            tell(done, len(people))
    return entries


def _entry(album: _Album, person: int) -> PersonEntry:
    purified = album.purified
    faces, places = purified.faces, album.places(person)
    dropped, dominant = purified.dropped[places], purified.dominant[places]
    notes = []
    if purified.truth is not None:
        wrong = purified.truth[places]
        notes.append(f"{int(wrong.sum())} noisy, {int((wrong & dropped).sum())} of them dropped")
    if copies := int(faces.copies[places].sum()):
        notes.append(f"{copies} {'copy' if copies == 1 else 'copies'} without a vote")
    return PersonEntry(
        name=faces.people[person],
        faces=len(places),
        dropped=int(dropped.sum()),
        note="; ".join(notes),
        dominant=angle_counts(album.degrees[places[dominant]]),
        others=angle_counts(album.degrees[places[~dominant]]),
        kept_faces=album.strip(places[~dropped], KEPT_SHOWN),
        dropped_faces=album.strip(places[dropped], DROPPED_SHOWN),
        questions=[_question(album, one) for one in album.by_person.get(person, [])],
    )


def _question(album: _Album, proposal: Proposal) -> Question:
    purified = album.purified
    people = purified.faces.people
    theirs = proposal.chosen(purified.faces.polled, album.places(proposal.person), math.radians(purified.angle_deg))
    other = album.places(proposal.other) if proposal.other >= 0 else np.zeros(0, np.int64)
    if proposal.sub_center == HALF:
        other = np.setdiff1d(album.places(proposal.person), theirs, assume_unique=True)
    other = other[~purified.dropped[other]]
    name = people[proposal.other] if proposal.other >= 0 else ""
    half = f"The faces are of two kinds, with centers of cosine {proposal.cosine:.2f}: {proposal.faces} of them may be "
    words = {
        "split": f"{half}somebody else, who gets a name of their own."
        if proposal.sub_center == HALF
        else f"{proposal.faces} dropped faces are alike (mean cosine {proposal.cosine:.2f}): somebody else, "
        "who gets a name of their own.",
        "move": f"{proposal.faces} dropped faces look like {name} (cosine {proposal.cosine:.2f}) and get that name.",
        "merge": f"All {proposal.faces} faces kept look like {name} (cosine {proposal.cosine:.2f}) and get that name.",
    }
    return Question(
        key=key_of(proposal, people),
        kind=proposal.kind,
        text=words[proposal.kind],
        faces=album.strip(theirs, KEPT_SHOWN),
        other=album.strip(other, KEPT_SHOWN),
        applied=proposal in purified.accepted,
    )


def _kinds(told: Mapping[str, Any]) -> str:
    return f"{told['splits']:,} splits, {told['moves']:,} moves, {told['merges']:,} merges; {told['applied']:,} applied"


def _share(flags: npt.NDArray[np.bool_]) -> str:
    return _percent(float(flags.mean()))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if math.isfinite(share) else "n/a"
