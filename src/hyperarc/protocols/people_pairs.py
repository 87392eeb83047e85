"""Scored pairs together with the people in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.metrics import PeoplePairs
from hyperarc.metrics.inputs import FloatArray, IntArray, embedding_matrix
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.pair_lists import Pairs
from hyperarc.protocols.result import ScoredPair


@dataclass(frozen=True, eq=False)
class ScoredPeople:
    """Cosines of pairs, and whose faces they are.

    Attributes:
        pairs: the list.
        rows: [present] rows of it, those with an absent face left out; cosines: [present] in -1..1.
        people: [present, 2] numbers of people.
        contradictions: pairs at which the list and the people of the data disagree. Where there are any, faces count as
            of one person only if genuine pairs link them.
        absent_faces: keys without an embedding.
    """

    pairs: Pairs
    rows: IntArray
    cosines: FloatArray
    people: IntArray
    contradictions: int
    absent_faces: tuple[str, ...]

    @property
    def same(self) -> npt.NDArray[np.bool_]:
        """[present] one person or two."""
        return self.pairs.same[self.rows]

    def people_pairs(self) -> PeoplePairs:
        """For metrics.

        Raises:
            DataError: a kind of pairs is missing, or genuine pairs link the two faces of an impostor pair.
        """
        same, genuine = self.same, int(self.same.sum())
        if not 0 < genuine < same.size:
            raise DataError(
                f"{genuine} of {same.size} pairs are genuine; both kinds are needed",
                where=self.pairs.name,
                mend="check the column that says whether they are of one person",
            )
        linked = np.flatnonzero(~same & (self.people[:, 0] == self.people[:, 1]))
        if linked.size:
            row = int(self.rows[linked[0]])
            raise DataError(
                f"{self.pairs.first[row]} and {self.pairs.second[row]} are an impostor pair, but genuine pairs of the "
                "list make them one person",
                where=self.pairs.name,
                mend="put the list right",
            )
        return PeoplePairs(self.cosines[same], self.people[same, 0], self.cosines[~same], self.people[~same])

    def folds(self) -> tuple[IntArray, IntArray]:
        """Of the genuine and of the impostor pairs, as the list has them."""
        folds = self.pairs.folds[self.rows]
        return folds[self.same], folds[~self.same]

    def hardest(self, count: int) -> tuple[ScoredPair, ...]:
        """The impostor pairs most alike, first the worst."""
        rows = np.flatnonzero(~self.same)
        rows = rows[np.argsort(-self.cosines[rows], kind="stable")[:count]]
        return tuple(
            ScoredPair(place, self.pairs.first[place], self.pairs.second[place], False, float(self.cosines[row]))
            for row, place in zip(rows.tolist(), self.rows[rows].tolist(), strict=True)
        )


def score_people(pairs: Pairs, embedded: Embedded, person_of: Mapping[str, int]) -> ScoredPeople:
    """The cosines of pairs, with their people; pairs with an absent face are left out and counted.

    Args:
        pairs: which faces are compared.
        embedded: their embeddings.
        person_of: number of the person of each face, by key, as the data have it; below 0 where nobody knows.

    Raises:
        DataError: more than half of the faces are absent.

    Example:
        >>> pairs = Pairs("mine", ["a1", "a1", "b1", "b1"], ["a2", "b1", "b2", "a2"], [1, 0, 1, 0], 2)
        >>> embedded = Embedded.of({"a1": [1, 0], "a2": [1, 0], "b1": [0, 1], "b2": [0, 1]})
        >>> scored = score_people(pairs, embedded, {"a1": 0, "a2": 0, "b1": 1, "b2": 1})
        >>> scored.cosines.tolist(), scored.people.tolist()
        ([1.0, 0.0, 1.0, 0.0], [[0, 0], [0, 1], [1, 1], [1, 0]])
    """
    absent = embedded.require_most(pairs.faces(), pairs.name)
    faces = np.stack([embedded.rows(pairs.first), embedded.rows(pairs.second)], axis=1)
    rows = np.flatnonzero((faces >= 0).all(axis=1))
    faces, same = faces[rows], pairs.same[rows]
    units = embedding_matrix(embedded.vectors.astype(np.float64), "embeddings")
    cosines = np.einsum("pd,pd->p", units[faces[:, 0]], units[faces[:, 1]]).clip(-1.0, 1.0)
    people = np.array([person_of.get(key, -1) for key in embedded.faces], np.int64)[faces]
    wrong = (people < 0).any(axis=1) | ((people[:, 0] == people[:, 1]) != same)
    if wrong.any():
        people = _linked(faces[same], len(embedded))[faces]
    return ScoredPeople(pairs, rows, cosines, people, int(wrong.sum()), absent)


def _linked(edges: IntArray, faces: int) -> IntArray:
    """Smallest face of each face's group [faces]: those that edges [n, 2] join, over however many steps."""
    group = np.arange(faces)
    while True:
        least = group[edges].min(axis=1)
        before = group.copy()
        np.minimum.at(group, group[edges[:, 0]], least)
        np.minimum.at(group, group[edges[:, 1]], least)
        group = group[group]
        if (group == before).all():
            return group
