"""Pairs drawn from any labelled faces: seeded, balanced, people whole in their folds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import BoolArray, IntArray

FOLDS = 10


@dataclass(frozen=True, eq=False)
class DrawnPairs:
    """Rows [p] of the two faces of each pair, whether they are of one person, and the fold."""

    first: IntArray
    second: IntArray
    same: BoolArray
    folds: IntArray


def draw_pairs(people: IntArray, count: int, seed: int) -> DrawnPairs:
    """As many genuine as impostor pairs of labelled faces.

    People are shuffled and dealt into ten folds (fewer where there are fewer than twenty people with two faces), and
    both faces of a pair come from one fold, so no threshold is judged on people it was chosen on. Inside a fold people
    take turns: a genuine pair is two faces of the person whose turn it is, no pair twice; an impostor pair is one of
    theirs and one of another person of the fold, drawn evenly over people. Who has no pair left is passed over.

    Args:
        people: [faces] who each is, below 0 for nobody.
        count: pairs; less come where there are not enough genuine ones.
        seed: same faces and seed, same pairs.

    Raises:
        DataError: fewer than four people with two faces.

    Example:
        >>> drawn = draw_pairs(np.repeat(np.arange(8), 3), 40, seed=0)
        >>> len(drawn.same), int(drawn.same.sum()), int(drawn.folds.max()) + 1
        (40, 20, 4)
    """
    rng = np.random.default_rng(seed)
    rows = {int(person): np.flatnonzero(people == person) for person in np.unique(people[people >= 0])}
    several = [person for person, faces in rows.items() if len(faces) > 1]
    folds = min(FOLDS, len(several) // 2)
    if folds < 2:
        raise DataError(
            f"expected at least four people with two faces, got {len(several)}",
            mend="give more people, or a list of pairs",
        )
    order = rng.permutation(several).tolist()
    first: list[int] = []
    second: list[int] = []
    fold_of: list[int] = []
    for fold in range(folds):
        dealt = order[fold::folds]
        wanted = count // 2 * (fold + 1) // folds - count // 2 * fold // folds
        for one, two, stranger in _turns(dealt, rows, wanted, rng):
            first += [one, one]
            second += [two, stranger]
            fold_of += [fold, fold]
    same = np.arange(len(first)) % 2 == 0
    return DrawnPairs(np.array(first), np.array(second), same, np.array(fold_of))


def _turns(
    people: list[int], rows: dict[int, IntArray], wanted: int, rng: np.random.Generator
) -> list[tuple[int, int, int]]:
    """Triples (face, face of the same person, face of another person); people take turns."""
    left = {person: _shuffled_pairs(len(rows[person]), wanted, rng) for person in people}
    taken: list[tuple[int, int, int]] = []
    while len(taken) < wanted and any(left.values()):
        for place, person in enumerate(people):
            if len(taken) == wanted or not left[person]:
                continue
            one, two = left[person].pop()
            other = people[(place + int(rng.integers(1, len(people)))) % len(people)]
            stranger = rows[other][int(rng.integers(len(rows[other])))]
            taken.append((int(rows[person][one]), int(rows[person][two]), int(stranger)))
    return taken


def _shuffled_pairs(faces: int, most: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """At most so many of a person's pairs, in random order, each once."""
    every = faces * (faces - 1) // 2
    chosen = rng.choice(every, min(every, most), replace=False) if every <= 1_000_000 else rng.integers(0, every, most)
    # Pair k counts along the rows of the triangle j < i.
    upper = ((1 + np.sqrt(1 + 8 * np.unique(chosen))) // 2).astype(np.int64)
    lower = np.unique(chosen) - upper * (upper - 1) // 2
    both = rng.permutation(np.stack([upper, lower], axis=1))
    return [(int(i), int(j)) for i, j in both]
