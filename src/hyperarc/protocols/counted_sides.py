"""Files of embeddings as the sides of all pairs: where the vectors lie, whose they are, and under which contract.

``.parquet`` and ``.npy`` with its table beside are what ``hyperarc embed`` writes; ``.bin`` is the form in which
LFR2019 takes embeddings, whose faces stand in a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hyperarc.contract import Contract, require_same
from hyperarc.data.formats.embedding_files import ARRAY, table_beside
from hyperarc.data.formats.stored_embeddings import StoredEmbeddings, read_embeddings
from hyperarc.errors import ContractError, DataError
from hyperarc.metrics.all_pairs import LabeledEmbeddings
from hyperarc.metrics.all_pairs.vectors import Vectors
from hyperarc.metrics.inputs import IntArray
from hyperarc.protocols.feature_files import map_matrix
from hyperarc.protocols.labelled_list import LabelledList, read_labelled_list
from hyperarc.protocols.pair_lists import face_key

MATRIX = ".bin"


@dataclass(frozen=True, eq=False)
class CountedSide:
    """One side of the pairs.

    Attributes:
        path: of the embeddings.
        vectors: [n, d], read a block at a time.
        faces: [n] keys, as text.
        persons: [n] names; null for strangers, who are nobody else.
        ids: [n] what tells pictures apart over several files, or None where only the list of this one does.
        contract: of the embeddings, or None where nobody knows.
    """

    path: Path
    vectors: Any
    faces: pa.ChunkedArray
    persons: pa.ChunkedArray
    ids: pa.ChunkedArray | None
    contract: Contract | None

    def __len__(self) -> int:
        return len(self.faces)

    @property
    def people(self) -> int:
        """How many, strangers aside."""
        return int(pc.count_distinct(self.persons, mode="only_valid").as_py())

    @property
    def strangers(self) -> int:
        """How many faces are of nobody known."""
        return int(self.persons.null_count)

    def face(self, row: int) -> str:
        """Key of a face."""
        return str(self.faces[row].as_py())


def open_side(path: Path, people: Path | None = None) -> CountedSide:
    """A file of embeddings with its faces.

    Args:
        path: ``.parquet``, ``.npy`` or ``.bin``.
        people: list with rows ``path person``, -1 for strangers, which says who is who instead of the table; without a
            table its rows are those of the embeddings, in order.

    Raises:
        DataError: a missing or damaged file, another kind of file, nobody says who is who, as many faces as vectors are
            not there, a face without a person.
    """
    listed = None if people is None else read_labelled_list(people)
    if listed is not None and listed.sides is not None:
        raise DataError("expected rows 'path person', got a third column", where=people)
    bare = path.suffix == MATRIX or (path.suffix == ARRAY and path.is_file() and not table_beside(path).is_file())
    if not bare:
        return _stored(read_embeddings(path), listed)
    if listed is None:
        mend = "give a list with rows 'path person'"
        raise DataError("nobody says whose embeddings these are", where=path, mend=mend)
    vectors = map_matrix(path) if path.suffix == MATRIX else path
    rows, dim = Vectors(vectors, str(path)).shape
    if rows != len(listed.faces):
        raise DataError(f"expected {len(listed.faces)} vectors as {people} says, got {rows} of {dim}", where=path)
    return CountedSide(path, vectors, _texts(listed.faces), _persons(listed, listed.people), None, None)


def labeled_sides(sides: list[CountedSide]) -> list[LabeledEmbeddings]:
    """The sides as the engine takes them; people are the same where their names are.

    Raises:
        ContractError: embeddings of two contracts, or of one nobody knows and another.
    """
    if len(sides) == 2:
        _require_one_contract(*sides)
    people = _numbers([side.persons for side in sides])
    ids: list[IntArray] | list[None] = [None] * len(sides)
    texts = [side.ids for side in sides if side.ids is not None]
    if len(texts) == len(sides) == 2:
        ids = _numbers(texts)
    return [
        LabeledEmbeddings(side.vectors, labels, own, name=str(side.path))
        for side, labels, own in zip(sides, people, ids, strict=True)
    ]


def _stored(stored: StoredEmbeddings, listed: LabelledList | None) -> CountedSide:
    names = stored.faces()
    faces = pc.list_element(pc.split_pattern(names, "\t", max_splits=1), 1)
    persons = pa.chunked_array([pa.array(stored.people, pa.large_string()).take(pa.array(stored.labels))])
    side = CountedSide(stored.path, stored.slices, faces, persons, names, stored.contract)
    if listed is None:
        unknown = pc.equal(persons, "")
        if pc.any(unknown).as_py():
            first = side.face(pc.index(unknown, True).as_py())
            told = f"{pc.sum(unknown).as_py()} faces have no person, the first being {first}"
            raise DataError(told, where=stored.path)
        return side
    row_of = {key: row for row, key in enumerate(listed.faces)}
    rows = np.array([row_of.get(face_key(face), -1) for face in faces.to_pylist()], np.int64)
    if (rows < 0).any():
        first = side.face(int(np.flatnonzero(rows < 0)[0]))
        raise DataError(f"does not name {int((rows < 0).sum())} faces, the first being {first}", where=listed.where)
    return replace(side, persons=_persons(listed, listed.people[rows]))


def _persons(listed: LabelledList, people: IntArray) -> pa.ChunkedArray:
    """Names of people by number, null for strangers."""
    return pa.chunked_array([pa.array(listed.names, pa.large_string()).take(pa.array(people, mask=people < 0))])


def _texts(values: Sequence[str]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.large_string())])


def _numbers(columns: list[pa.ChunkedArray]) -> list[IntArray]:
    """Whole numbers, equal where texts are; each null one of its own."""
    known = pc.drop_null(pc.unique(pa.chunked_array([chunk for column in columns for chunk in column.chunks])))
    found, strangers = [], 0
    for column in columns:
        numbers = pc.fill_null(pc.index_in(column, value_set=known), -1).to_numpy().astype(np.int64)
        nobody = np.flatnonzero(numbers < 0)
        numbers[nobody] = -1 - strangers - np.arange(nobody.size)
        strangers += nobody.size
        found.append(numbers)
    return found


def _require_one_contract(ours: CountedSide, theirs: CountedSide) -> None:
    if ours.contract is not None and theirs.contract is not None:
        require_same(ours.contract, theirs.contract, where=theirs.path)
    elif ours.contract != theirs.contract:
        known, other = (theirs, ours) if ours.contract is None else (ours, theirs)
        raise ContractError(
            f"nobody says under which contract these embeddings were made; {known.path} has one",
            where=other.path, mend="embed both sides by one artifact",
        )  # fmt: skip
