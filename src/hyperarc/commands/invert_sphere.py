"""Targets that nobody has: people who do not exist, points between two people, and the sub-centers of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.artifact import Artifact
from hyperarc.commands.invert_targets import Choice, Targets, class_labels, file_names, open_targets
from hyperarc.commands.show import Show
from hyperarc.encoder import Encoder
from hyperarc.errors import UsageError
from hyperarc.heads.head import Head
from hyperarc.inversion import NewTargets, arc, new_targets, turned
from hyperarc.metrics import embedding_centers

NEW, BETWEEN, SUB_CENTERS = "new", "between", "sub-centers"


@dataclass(frozen=True)
class NewPeople:
    """People who do not exist, with some faces each.

    Attributes:
        count: people; per_person: faces of each.
        spread_deg: by which all faces of a person but the first are turned away, each in a direction of its own.
        least_arc_deg: that they keep from everybody; None takes it from the data, see :func:`new_targets`.
        seed: of the people.
    """

    count: int
    per_person: int = 1
    spread_deg: float = 20.0
    least_arc_deg: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.per_person < 1 or not 0 <= self.spread_deg <= 90:
            raise UsageError(
                f"expected at least one new person with one face, and a spread of 0 to 90 degrees; got {self.count}, "
                f"{self.per_person} and {self.spread_deg:g}"
            )


@dataclass(frozen=True)
class Between:
    """Points on the arc from one person to another: "ann,bob", steps in all."""

    people: str
    steps: int = 9


@dataclass(frozen=True)
class SubCenters:
    """Every sub-center of the chosen classes."""


Made = NewPeople | Between | SubCenters


@dataclass(frozen=True, eq=False)
class MadeTargets(Targets):
    """Targets made of people whom a model or a file knows.

    Attributes:
        known: names of those people; centers: float32 [P, K, d] of them.
        new: the people who do not exist, or None; whole_deg: the arc between two people, or None.
    """

    known: tuple[str, ...] = ()
    centers: npt.NDArray[np.float32] | None = None
    new: NewTargets | None = None
    whole_deg: float | None = None


def make_targets(artifact: Artifact, encoder: Encoder, choice: Choice, made: Made, show: Show) -> MadeTargets:
    """Targets made of the classes of a head, or, where photos or embeddings are given, of the people in these.

    Raises:
        UsageError: other than two people to go between, sub-centers of no classes or of people with one center each.
        DataError: no room for so many new people; two people at opposite points.
        UnknownNameError, ArtifactError, ContractError: as :func:`open_targets`.
    """
    if isinstance(made, SubCenters):
        return _sub_centers(artifact, encoder, choice, show)
    known = _people(artifact, encoder, choice, show)
    return _new(known, made) if isinstance(made, NewPeople) else _between(known, made)


@dataclass(frozen=True, eq=False)
class _People:
    """Names, centers [P, K, d], the one that counts most of each [P, d], and the head that they are of."""

    names: tuple[str, ...]
    centers: npt.NDArray[np.float32]
    single: npt.NDArray[np.float32]
    head: Head | None


def _people(artifact: Artifact, encoder: Encoder, choice: Choice, show: Show) -> _People:
    if choice.classes is not None:
        raise UsageError("--classes names faces to invert", mend="leave it out, or --new and --between")
    if choice.photos is None and choice.embeddings is None:
        head = _head(artifact, encoder, show)
        weight = head.centers.weight.detach().float().numpy(force=True)
        return _People(tuple(artifact.people()), weight, head.centers.dominant_weight().float().numpy(force=True), head)
    given = open_targets(artifact, encoder, choice, show)
    assert given.vectors is not None
    names, labels = np.unique(np.array(given.people), return_inverse=True)
    centers = embedding_centers(given.vectors, labels)[0].astype(np.float32)
    return _People(tuple(names.tolist()), centers[:, None], centers, None)


def _head(artifact: Artifact, encoder: Encoder, show: Show) -> Head:
    head = open_targets(artifact, encoder, Choice(classes="0"), show).head  # which says what is missing
    assert head is not None
    return head


def _new(known: _People, made: NewPeople) -> MadeTargets:
    found = new_targets(known.centers, made.count, made.least_arc_deg, made.seed)
    digits = max(6, len(str(made.count)))
    people = [f"new_{number:0{digits}d}" for number in range(1, made.count + 1) for _ in range(made.per_person)]
    vectors = np.repeat(found.vectors, made.per_person, axis=0)
    first = np.arange(len(vectors)) % made.per_person == 0
    vectors[~first] = turned(vectors, made.spread_deg, made.seed).numpy()[~first]
    names = [f"{person}/{row % made.per_person + 1}" for row, person in enumerate(people)]
    about: dict[str, Any] = {"known": known.names, "centers": known.centers, "head": known.head, "new": found}
    return MadeTargets(NEW, tuple(names), tuple(people), vectors=vectors, **about)


def _between(known: _People, made: Between) -> MadeTargets:
    labels = class_labels(made.people, known.names)
    if len(labels) != 2 or made.steps < 3:
        told = f"got {made.people!r} in {made.steps} steps"
        raise UsageError(f"expected two people and at least 3 steps between them; {told}", mend="say --between ann,bob")
    first, last = labels
    vectors = arc(known.single[first], known.single[last], made.steps).numpy()
    whole = float(np.degrees(np.arccos(np.clip(vectors[0] @ vectors[-1], -1, 1))))
    angles = np.linspace(0, whole, made.steps)[1:-1]
    people = (known.names[first], *(f"{angle:.0f}°" for angle in angles), known.names[last])
    about: dict[str, Any] = {"known": known.names, "centers": known.centers, "head": known.head, "whole_deg": whole}
    names = tuple(f"{place:02d}" for place in range(made.steps))
    return MadeTargets(BETWEEN, names, people, vectors=vectors, **about)


def _sub_centers(artifact: Artifact, encoder: Encoder, choice: Choice, show: Show) -> MadeTargets:
    if choice.classes is None:
        raise UsageError("--sub-centers shows those of classes", mend="add --classes, such as 0-3 or names")
    given = open_targets(artifact, encoder, choice, show)
    assert given.labels is not None
    assert given.head is not None
    weight = given.head.centers.weight.detach().float().numpy(force=True)
    count = weight.shape[1]
    if count == 1:
        mend = "train with head.sub_centers, or by hyperarc purify"
        raise UsageError("the model has one center a person", where=artifact.path, mend=mend)
    people = tuple(person for person in given.people for _ in range(count))
    names = file_names([f"{person}-{row % count + 1}" for row, person in enumerate(people)])
    known = tuple(artifact.people())
    vectors = weight[given.labels].reshape(-1, weight.shape[2])
    return MadeTargets(SUB_CENTERS, names, people, vectors=vectors, head=given.head, known=known, centers=weight)
