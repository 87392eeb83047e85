"""Two sets of faces compared person by person: embedded, and who of one may stand in the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hyperarc.artifact import open_artifact
from hyperarc.commands.people import embed_people
from hyperarc.commands.show import Show
from hyperarc.data.face_set import FaceSet
from hyperarc.data.findings import Finding, finding
from hyperarc.encoder import Encoder
from hyperarc.errors import DataError
from hyperarc.purification.names import read_name
from hyperarc.purification.overlap import overlap
from hyperarc.purification.people import Match, Overlap, People


@dataclass(frozen=True)
class Comparison:
    """How two sets are compared.

    Attributes:
        artifact: whose embeddings tell who looks alike; None compares names alone.
        cosine: from which on two people look alike; None chooses it from the data.
        names: whether names are compared.
        faces_per_person: that are embedded at most.
        device: of the encoder.
    """

    artifact: Path | None = None
    cosine: float | None = None
    names: bool = True
    faces_per_person: int = 20
    device: str = "cpu"


@dataclass(frozen=True, eq=False)
class Party:
    """One of the two sets.

    Attributes:
        faces: all of them.
        labels: int64 [rows], who they are: places in ``names``.
        kept: the faces that are not left out, with these labels; only they are compared.
        names: of the people, sorted; "" for those of whom no face is kept.
        people: what is compared of them.
        findings: faces that could not be read, names that say nothing.
        embedded: how many faces were.
    """

    faces: FaceSet
    labels: npt.NDArray[np.int64]
    kept: FaceSet
    names: tuple[str, ...]
    people: People
    findings: tuple[Finding, ...]
    embedded: int

    def __len__(self) -> int:
        return sum(map(bool, self.names))


@dataclass(frozen=True, eq=False)
class Compared:
    """What comparing two sets came to.

    Attributes:
        comparison: how they were compared.
        train, test: the two sets.
        result: of comparing them.
        by_person: matches of each person to train on, nearest first.
    """

    comparison: Comparison
    train: Party
    test: Party
    result: Overlap
    by_person: dict[int, list[Match]]

    @property
    def found(self) -> list[int]:
        """People to train on who stand in the test set."""
        return [person for person in self.by_person if self.verdict(person)]

    def verdict(self, person: int) -> str:
        """In words; empty for those who were not found."""
        matches = self.by_person.get(person, [])
        looks, named = any(m.looks_alike for m in matches), any(m.likeness > 0.0 for m in matches)
        return " and ".join(words for words, true in (("looks like", looks), ("named like", named)) if true)


def compare(train: FaceSet, test: FaceSet, comparison: Comparison, show: Show) -> Compared:
    """Embed the people of both sets if there is an artifact, and compare them."""
    encoder = None
    if comparison.artifact is None:
        show.note("no artifact given: people are compared by their names alone")
    else:
        encoder = open_artifact(comparison.artifact).encoder(device=comparison.device)
    ours, theirs = (_party(faces, comparison, encoder, show) for faces in (train, test))
    with show.progress("comparing people") as tell:
        result = overlap(ours.people, theirs.people, cosine=comparison.cosine, progress=tell)
    by_person: dict[int, list[Match]] = {}
    for match in result.matches:
        by_person.setdefault(match.first, []).append(match)
    return Compared(comparison, ours, theirs, result, by_person)


def _party(faces: FaceSet, comparison: Comparison, encoder: Encoder | None, show: Show) -> Party:
    labelled = faces.with_manifest(faces.manifest.relabelled())
    kept = labelled.kept()
    if not len(kept):
        raise DataError("expected faces to compare, got none that are kept", where=faces.name)
    present = set(np.unique(kept.manifest.labels).tolist())
    names = tuple(name if label in present else "" for label, name in enumerate(faces.manifest.people))
    compared = names if comparison.names else ()
    codes = [name for name in compared if name and not read_name(name).words]
    findings = [finding("people with codes for names, not compared by name", codes, source=faces.name)]
    centers, embedded = None, 0
    if encoder is not None:
        with show.progress(f"embedding {faces.name}") as tell:
            done = embed_people(kept, len(names), encoder, comparison.faces_per_person, tell)
        centers, embedded = done.centers, done.faces
        findings.append(done.unreadable)
    told = tuple(found for found in findings if found.count)
    for found in told:
        show.note(str(found))
    return Party(faces, labelled.manifest.labels, kept, names, People(compared, centers), told, embedded)
