"""The people of a test set found among those to train on, face to face, as one HTML page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperarc.commands.comparison import Compared, Party
from hyperarc.commands.overlap_marks import namesake_of
from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels
from hyperarc.purification.centers import spread_faces
from hyperarc.purification.limit import reached
from hyperarc.purification.people import Match, nearest_first
from hyperarc.report.overlap_plots import CosineTail, cosine_tail, nearest_histogram
from hyperarc.report.page import Card, FacesToFaces, FaceToFace, Plot, Report, Section, write_report
from hyperarc.report.sections import conditions_table

FACES_SHOWN = 5  # of a person
AROUND_SHOWN = 10  # on each side of the limit
MOST_SHOWN = 60  # rows of a group


def report_overlap(compared: Compared, told: Mapping[str, Any], path: Path) -> Path:
    """Write the page."""
    train, test = compared.train.faces.name, compared.test.faces.name
    subtitle = f"Who stands both in {train}, to train on, and in {test}, to test with."
    sections = [_by_faces(compared)] if math.isfinite(compared.result.limit) else []
    sections += [_by_names(compared)] if compared.comparison.names else []
    conditions = {name: value for name, value in told.items() if name != "findings"}
    conditions |= {"artifact": compared.comparison.artifact and str(compared.comparison.artifact)}
    conditions |= {"faces per person": compared.comparison.faces_per_person if compared.comparison.artifact else None}
    text = "\n\n".join(f"{found}." for found in told["findings"])
    sections.append(Section("Conditions", text, tables=[conditions_table(conditions, "")]))
    return write_report(Report(f"{test} in {train}", subtitle, _cards(told), sections), path)


def how_found(told: Mapping[str, Any]) -> str:
    """How many people were found by what, in words."""
    kinds = ("by_faces_and_names", "by_faces_alone", "by_names_alone")
    return ", ".join(f"{told[kind]:,} {kind.replace('_', ' ')}" for kind in kinds if told[kind])


def _cards(told: Mapping[str, Any]) -> list[Card]:
    how = how_found(told)
    cards = [
        Card("People found", f"{told['people_found']:,}", f"of {told['people']:,}" + (f"; {how}" if how else "")),
        Card("Faces left out", f"{told['faces_left_out']:,}", f"of {told['faces']:,}"),
    ]
    if told["limit_cosine"] is not None:
        expected = told["false_matches_expected"]
        note = f"{told['comparisons']:,} pairs of people compared"
        note += "" if expected is None else f", {expected:.2g} of them expected to reach it though they are two"
        cards.append(Card("Limit of the cosine", f"{told['limit_cosine']:.3f}", note))
    return cards


def _by_faces(compared: Compared) -> Section:
    nearest = [matches[0] for matches in compared.by_person.values() if not math.isnan(matches[0].cosine)]
    nearest.sort(key=nearest_first)
    alike = [match for match in nearest if match.looks_alike]
    groups = [
        ("Just above the limit: left out", alike[-AROUND_SHOWN:]),
        ("Just below the limit", nearest[len(alike) :][:AROUND_SHOWN]),
        ("Further above the limit: left out", alike[:-AROUND_SHOWN]),
    ]
    text = (
        "Each person to train on beside the person of the test set whose center is nearest. Those around the limit are "
        "worth a look: if different people stand above it, raise it with --cosine; if the same stand below, lower it."
    )
    named = np.array([match.likeness > 0.0 for match in nearest], np.bool_)
    cosines = np.array([match.cosine for match in nearest])
    figures = [
        Plot(
            cosine_tail(_tail(compared)),
            "Where the counted pairs leave the dashed line, the same people stand in both sets.",
        ),
        Plot(nearest_histogram(cosines[~named], cosines[named], compared.result.limit), "One count a person."),
    ]
    return Section("By faces", text, figures, side_by_side=_side_by_side(compared, groups))


def _by_names(compared: Compared) -> Section:
    namesakes = [found for matches in compared.by_person.values() if (found := namesake_of(matches))]
    namesakes.sort(key=nearest_first)
    unlike = [match for match in namesakes if not match.looks_alike]
    if math.isnan(compared.result.limit):
        text, caption = "People who are named alike in both sets.", "Named alike: left out"
    else:
        text = "People who are named alike but do not look alike are namesakes, or their folders hold wrong faces."
        caption = "Namesakes who do not look alike: left out"
    if not unlike:
        text = "Nobody is named alike." if not namesakes else "Everybody who is named alike looks alike, too."
    return Section("By names", text, side_by_side=_side_by_side(compared, [(caption, unlike)]))


def _tail(compared: Compared) -> CosineTail:
    result = compared.result
    cosines, counted = reached(result.counts)
    expected = None
    if result.impostors is not None:
        expected = np.array([result.impostors.expected(cosine) for cosine in cosines.tolist()])
    return CosineTail(cosines, counted, expected, result.limit)


def _side_by_side(compared: Compared, groups: Iterable[tuple[str, Sequence[Match]]]) -> list[FacesToFaces]:
    ours, theirs = _Album(compared.train), _Album(compared.test)
    shown = []
    for caption, matches in groups:
        more = f" (the first {MOST_SHOWN} of {len(matches):,})" if len(matches) > MOST_SHOWN else ""
        rows = [_row(compared, match, ours, theirs) for match in matches[:MOST_SHOWN]]
        shown += [FacesToFaces(caption + more, rows)] if rows else []
    return shown


def _row(compared: Compared, match: Match, ours: _Album, theirs: _Album) -> FaceToFace:
    words = [word for word, true in (("looks like", match.looks_alike), ("named like", match.likeness > 0.0)) if true]
    return FaceToFace(
        ours.faces(match.first),
        theirs.faces(match.second),
        ours.caption(match.first),
        theirs.caption(match.second),
        "" if math.isnan(match.cosine) else f"{match.cosine:.3f}",
        " and ".join(words) or "below the limit",
        "bad" if match.found else "good",
    )


class _Album:
    """Some faces of each person of a set."""

    def __init__(self, party: Party) -> None:
        self._party = party
        labels = party.kept.manifest.labels
        self._counts = np.bincount(labels, minlength=len(party.names))
        self._rows = spread_faces(labels, FACES_SHOWN)
        self._owners = labels[self._rows]

    def faces(self, person: int) -> list[Pixels]:
        first, last = np.searchsorted(self._owners, [person, person + 1])
        pictures = []
        for row in self._rows[first:last].tolist():
            try:
                pictures.append(self._party.kept.image(row))
            except DataError:  # told among the findings
                continue
        return pictures

    def caption(self, person: int) -> str:
        count = int(self._counts[person])
        return f"{self._party.names[person]}, {count:,} face{'s' * (count != 1)}"
