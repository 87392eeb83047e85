"""Real faces of the people whose faces are inverted: what inversions are judged against and shown beside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hyperarc.artifact import Artifact
from hyperarc.commands.invert_sphere import BETWEEN
from hyperarc.commands.invert_targets import Targets, embed_rows, spread
from hyperarc.commands.people import labels_by_name
from hyperarc.commands.show import Show
from hyperarc.data.drawn.source import drawn_source
from hyperarc.data.face_set import FaceSet, open_faces
from hyperarc.encoder import Encoder
from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels

AUTO, NONE = "auto", "none"
MOST_FACES = 20  # of a person, evenly spread over all
_RUN_MANIFEST = "manifest.parquet"


@dataclass(frozen=True, eq=False)
class RealFaces:
    """Real faces of people, by name.

    Attributes:
        faces: where the pictures are.
        rows: [M] in ``faces``.
        people: distinct names of those whose faces are wanted.
        labels: [M] places in ``people``.
    """

    faces: FaceSet
    rows: npt.NDArray[np.int64]
    people: tuple[str, ...]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def embed(self, encoder: Encoder, show: Show) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Embeddings [m, d] of those that can be read, and their labels."""
        vectors, read = embed_rows(self.faces, self.rows, encoder, f"embedding {self.faces.name}", show)
        return vectors, self.labels[np.isin(self.rows, read)]

    def shown(self, person: str, most: int) -> list[Pixels]:
        """Some faces of a person; fewer where they cannot be read."""
        label = self._places.get(person)
        found = []
        for row in self.rows[self.labels == label][:most].tolist() if label is not None else []:
            try:
                found.append(self.faces.image(row))
            except DataError:  # told of when it was embedded
                continue
        return found

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.people)}


def real_faces(artifact: Artifact, targets: Targets, place: str, show: Show) -> RealFaces | None:
    """The real faces of the targets' people.

    Args:
        artifact: the attacked model.
        targets: whose people are looked for.
        place: what :func:`open_faces` opens, with people named as the targets are; "none"; or "auto": the photos
            themselves, or what the artifact was trained on, where its run folder or recipe tells.
        show: for notes.

    Raises:
        DataError: none of the people is in the faces that were named.
    """
    if place == NONE:
        return None
    faces = _auto(artifact, targets, show) if place == AUTO else open_faces(place).kept()
    if faces is None:
        return None
    people = tuple(dict.fromkeys(targets.people))
    if place == AUTO and targets.photos is not None:
        known = {name: label for label, name in enumerate(people)}
        return RealFaces(faces, np.arange(len(faces)), people, np.array([known[name] for name in targets.people]))
    labels = labels_by_name(faces, people)
    rows = _some(labels, len(people))
    if not len(rows) and place != AUTO:
        told = ", ".join(map(repr, people[:3]))
        raise DataError(f"expected faces of the people to be inverted, such as {told}; got none", where=place)
    missing = len(people) - len(np.unique(labels[rows]))
    if missing and len(rows) and targets.kind != BETWEEN:
        show.note(f"{missing} of {len(people)} people have no face in {faces.name}")
    return RealFaces(faces, rows, people, labels[rows]) if len(rows) else None


def _auto(artifact: Artifact, targets: Targets, show: Show) -> FaceSet | None:
    if targets.photos is not None:
        return targets.photos
    if targets.head is None:
        return None
    recipe, manifest = artifact.recipe, artifact.path.absolute().parent / _RUN_MANIFEST
    if recipe is not None and recipe.data.drawn is not None:
        with show.progress("drawing the people again"):
            source = drawn_source(recipe.data.drawn)
        return FaceSet((source,), source.scan())
    try:
        return open_faces(manifest).kept() if manifest.is_file() else None
    except DataError as error:  # moved since; nobody asked for them
        show.note(f"no real faces to compare with: {error}")
        return None


def _some(labels: npt.NDArray[np.int64], people: int) -> npt.NDArray[np.int64]:
    """At most so many rows of each person, in order."""
    order = np.argsort(labels, kind="stable")
    edges = np.searchsorted(labels[order], np.arange(people + 1))
    chosen = [np.zeros(0, np.int64)]
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if last > first:
            chosen.append(order[first + spread(last - first, MOST_FACES)])
    return np.sort(np.concatenate(chosen))
