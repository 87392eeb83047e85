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
from hyperarc.data.formats.embedding_files import ARRAY, PARQUET, ParquetVectors, read_embedded_faces, table_beside
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
    vectors, table = _opened(path)
    if people is not None:
        side = _listed(read_labelled_list(people), path, vectors, table)
    elif table is not None:
        side = _tabled(path, vectors, table)
        _require_persons(side, table)
    else:
        mend = "give a list with rows 'path person'"
        raise DataError("nobody says whose embeddings these are", where=path, mend=mend)
    shape = Vectors(vectors, str(path)).shape
    dim = None if side.contract is None else side.contract.embedding_dim
    if shape[0] != len(side) or dim not in (None, shape[1]):
        expected = f"{len(side)} vectors" + (f" of {dim} numbers" if dim else "")
        got = f"{shape[0]} of {shape[1]}"
        raise DataError(f"expected {expected} as {table or people} says, got {got}", where=path)
    return side


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


def _opened(path: Path) -> tuple[Any, Path | None]:
    """The vectors, and the table of their faces, if there is one."""
    if not path.is_file():
        raise DataError("no such file of embeddings", where=path)
    if path.suffix == PARQUET:
        return ParquetVectors(path), path
    if path.suffix not in (ARRAY, MATRIX):
        kinds = f"{PARQUET}, {ARRAY} or {MATRIX}"
        raise DataError(f"expected a file of embeddings, {kinds}", where=path, mend="make it by hyperarc embed")
    table = table_beside(path)
    return path if path.suffix == ARRAY else map_matrix(path), table if table.is_file() else None


def _tabled(path: Path, vectors: Any, table: Path) -> CountedSide:
    found = read_embedded_faces(table)
    source, faces, persons = (found.table[name].cast(pa.large_string()) for name in ("source", "face", "person"))
    ids = pc.binary_join_element_wise(source, faces, pa.scalar(":", pa.large_string()))
    return CountedSide(path, vectors, faces, persons, ids, found.contract)


def _require_persons(side: CountedSide, where: Path) -> None:
    unknown = pc.equal(pc.fill_null(side.persons, ""), "")
    if pc.any(unknown).as_py():
        first = side.face(pc.index(unknown, True).as_py())
        raise DataError(f"{pc.sum(unknown).as_py()} faces have no person, the first being {first}", where=where)


def _listed(listed: LabelledList, path: Path, vectors: Any, table: Path | None) -> CountedSide:
    if listed.sides is not None:
        raise DataError("expected rows 'path person', got a third column", where=listed.where)
    people = listed.people
    if table is None:
        side = CountedSide(path, vectors, _texts(listed.faces), _texts([None] * len(people)), None, None)
    else:
        side = _tabled(path, vectors, table)
        row_of = {key: row for row, key in enumerate(listed.faces)}
        rows = np.array([row_of.get(face_key(face), -1) for face in side.faces.to_pylist()], np.int64)
        if (rows < 0).any():
            first = side.face(int(np.flatnonzero(rows < 0)[0]))
            raise DataError(f"does not name {int((rows < 0).sum())} faces, the first being {first}", where=listed.where)
        people = people[rows]
    names = pa.array(listed.names, pa.large_string())
    return replace(side, persons=pa.chunked_array([names.take(pa.array(people, mask=people < 0))]))


def _texts(values: Sequence[str | None]) -> pa.ChunkedArray:
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
