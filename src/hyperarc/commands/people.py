"""The people of a face set, embedded one part after the other: one center each is all that is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperarc.data.crops import cut, read_crops
from hyperarc.data.face_set import FaceSet
from hyperarc.data.findings import Finding, finding
from hyperarc.encoder import Encoder
from hyperarc.faces.image import Pixels
from hyperarc.purification.centers import PersonCenters, joined, person_centers, spread_faces

PART = 4096  # faces whose embeddings are held at a time, rounded up to whole people
_THREADS = 2  # that decode ahead


@dataclass(frozen=True, eq=False)
class EmbeddedPeople:
    """What embedding gave.

    Attributes:
        centers: of each person, 0 .. people - 1; of no face where none could be read.
        faces: how many were embedded.
        unreadable: those that could not be read.
    """

    centers: PersonCenters
    faces: int
    unreadable: Finding


def embed_people(
    faces: FaceSet, people: int, encoder: Encoder, most: int, tell: Callable[[int, int], None]
) -> EmbeddedPeople:
    """Centers of people from at most so many faces each, evenly spread over theirs.

    Args:
        faces: those to embed, all of their rows.
        people: how many there are; labels of ``faces`` lie below.
        encoder: of an artifact.
        most: faces of a person that are embedded.
        tell: called with (faces done, faces in all).

    Raises:
        DataError: a face of another size than the contract's, by name.
    """
    rows = spread_faces(faces.manifest.labels, most)
    unreadable: list[str] = []
    embedded = 0

    def advance(count: int) -> None:
        nonlocal embedded
        embedded += count
        tell(embedded, len(rows) - len(unreadable))

    parts, first = [], 0
    for part in whole_people(rows, faces.manifest.labels[rows], PART):
        read: list[int] = []
        vectors = encoder.embed_batches(_batches(faces, part, encoder, read, unreadable), advance).vectors
        last = int(faces.manifest.labels[part[-1]]) + 1
        parts.append(_centers(vectors, faces.manifest.labels[read] - first, last - first))
        first = last
    dimension = encoder.contract.embedding_dim
    parts.append(PersonCenters(np.zeros((people - first, dimension), np.float32), np.zeros(people - first, np.int64)))
    found = finding("faces that could not be read, not compared", unreadable)
    return EmbeddedPeople(joined(parts), embedded, found)


def whole_people(
    rows: npt.NDArray[np.int64], labels: npt.NDArray[np.integer], least: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Rows in order of their labels, in parts of whole people: at least so many rows each, but for the last.

    Example:
        >>> [part.tolist() for part in whole_people(np.array([5, 6, 8, 2]), np.array([0, 0, 1, 2]), 2)]
        [[5, 6], [8, 2]]
    """
    ends = np.flatnonzero(np.diff(labels, append=-1)) + 1
    start = 0
    for end in ends.tolist():
        if end - start >= least or end == len(rows):
            yield rows[start:end]
            start = end


def _centers(vectors: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], people: int) -> PersonCenters:
    if len(vectors):
        return person_centers(vectors, labels, num_people=people)
    return PersonCenters(np.zeros((people, vectors.shape[1]), np.float32), np.zeros(people, np.int64))


def _batches(
    faces: FaceSet, rows: npt.NDArray[np.int64], encoder: Encoder, read: list[int], unreadable: list[str]
) -> Iterator[Pixels]:
    """Crops in batches; the rows that were read, and the names of the others, go into the lists."""
    with closing(read_crops(faces.reader, cut(rows, encoder.batch_size), encoder.contract, threads=_THREADS)) as crops:
        for batch in crops:
            unreadable += map(faces.reader.where, batch.unreadable)
            read += batch.rows.tolist()
            if len(batch.rows):
                yield batch.crops


def labels_by_name(faces: FaceSet, people: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Whose center belongs to each face, by name, or by ``source/name`` as in a set of several sources; else -1."""
    known = {name: label for label, name in enumerate(people)}
    column, sources = faces.manifest.table["person"].chunk(0), faces.manifest.table["source"].chunk(0)
    names, codes = column.dictionary.to_pylist(), column.indices.to_numpy()
    own, places = sources.dictionary.to_pylist(), sources.indices.to_numpy()
    table = np.full((len(own), len(names)), -1, np.int64)
    distinct = np.unique(places.astype(np.int64) * len(names) + codes)
    for place, code in (divmod(pair, len(names)) for pair in distinct.tolist()):
        name = " ".join(names[code].split())  # as people.txt has it
        table[place, code] = known.get(name, known.get(f"{own[place]}/{name}", -1))
    return np.asarray(table[places, codes])
