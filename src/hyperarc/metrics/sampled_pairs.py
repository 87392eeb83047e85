"""Pairs of faces: all of them, or an even sample where they are too many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperarc.metrics.inputs import IntArray, as_array


@dataclass(frozen=True, eq=False)
class PairSample:
    """Some pairs of one kind.

    Attributes:
        first, second: rows [p] of the two faces.
        total: pairs of the kind there are; p of them were taken.
    """

    first: IntArray
    second: IntArray
    total: int


def sample_pairs(labels: Any, most: int, seed: int = 0) -> tuple[PairSample, PairSample]:
    """Genuine and impostor pairs, each kind at most so many.

    Pairs are counted in the order of the people, and one is drawn from each of ``most`` equally long stretches (whose
    lengths differ by at most one): no pair comes twice, and everybody as often as their pairs are many. Held are about
    32 bytes a face and 48 a pair.

    Args:
        labels: [n] who each face is.
        most: pairs of a kind; all are taken where there are no more.
        seed: same labels and seed, same pairs.

    Example:
        >>> genuine, impostor = sample_pairs([7, 5, 7], most=10)
        >>> genuine.first.tolist(), genuine.second.tolist(), impostor.total
        ([0], [2], 2)
    """
    _, owners = np.unique(as_array(labels, "labels"), return_inverse=True)
    order = np.argsort(owners, kind="stable").astype(np.int64)
    counts = np.bincount(owners).astype(np.int64)
    starts = np.cumsum(counts) - counts
    rng = np.random.default_rng(seed)

    taken, total = _drawn(counts * (counts - 1) // 2, most, rng)
    upper, lower = _triangle(taken.places)
    genuine = PairSample(order[starts[taken.people] + lower], order[starts[taken.people] + upper], total)

    taken, total = _drawn(counts * starts, most, rng)  # each face with everybody's who comes before its person
    before = starts[taken.people]
    impostor = PairSample(order[taken.places % before], order[before + taken.places // before], total)
    return genuine, impostor


@dataclass(frozen=True, eq=False)
class _Taken:
    """Person and place among that person's pairs, of each pair that was drawn."""

    people: IntArray
    places: IntArray


def _drawn(pairs: IntArray, most: int, rng: np.random.Generator) -> tuple[_Taken, int]:
    """One of each stretch of all pairs in a row, given how many each person has; and how many there are."""
    ends = np.cumsum(pairs)
    total = int(ends[-1])
    if total <= most:
        drawn = np.arange(total)
    else:
        stretch, rest = divmod(total, most)
        edges = np.arange(most + 1)
        edges = edges * stretch + edges * rest // most
        drawn = rng.integers(edges[:-1], edges[1:])
    people = np.searchsorted(ends, drawn, side="right")
    return _Taken(people, drawn - (ends[people] - pairs[people])), total


def _triangle(places: IntArray) -> tuple[IntArray, IntArray]:
    """Row i and column j < i of each place, counted along the rows of a triangle."""
    upper = ((1 + np.sqrt(1 + 8 * places.astype(np.float64))) // 2).astype(np.int64)
    # the root of a large number may be rounded over the edge
    upper -= upper * (upper - 1) // 2 > places
    upper += upper * (upper + 1) // 2 <= places
    return upper, places - upper * (upper - 1) // 2
