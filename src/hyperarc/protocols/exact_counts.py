"""Every pair of two sets of faces, counted. The one place where protocols meet the all-pairs engine.

Here scores are held, so memory grows with the number of pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.metrics import Searches, tar_at_far, threshold_at_far
from hyperarc.metrics.inputs import FloatArray, IntArray
from hyperarc.protocols.pairs import TarAtFar

Within = Literal["all", "genuine", "none"]
_ROWS = 512  # scored at a time


@dataclass(frozen=True, eq=False)
class Side:
    """Unit embeddings [n, d] and whose they are [n]; people below 0 are nobody's, each another stranger."""

    units: npt.NDArray[np.float32]
    people: IntArray


@dataclass(frozen=True)
class Counted:
    """TAR at each FAR over all pairs, and how many pairs there were of either kind."""

    points: tuple[TarAtFar, ...]
    genuine: int
    impostor: int


def count_pairs(first: Side, second: Side | None, fars: tuple[float, ...], within: Within = "all") -> Counted:
    """Verification over all pairs of two sets.

    Args:
        first: compared with ``second``, and with itself as ``within`` says; every pair once, no face with itself.
        second: None for none.
        fars: targets.
        within: pairs inside ``first`` that count: all, the genuine ones only, or none.

    Raises:
        DataError: no genuine or no impostor pair.

    Example:
        >>> faces = Side(np.array([[1, 0], [1, 0], [0, 1]], np.float32), np.array([0, 0, 1]))
        >>> counted = count_pairs(faces, None, (0.0,))
        >>> counted.points[0].tar, counted.genuine, counted.impostor
        (1.0, 1, 2)
    """
    genuine: list[FloatArray] = []
    impostor: list[FloatArray] = []
    for start in range(0, len(first.units), _ROWS):
        part = slice(start, start + _ROWS)
        rows = np.arange(start, min(start + _ROWS, len(first.units)))
        for other in (None if within == "none" else first, second):
            if other is None:
                continue
            scores = np.asarray(first.units[part] @ other.units.T, np.float64)
            same = _same(first.people[part], other.people)
            counts = np.ones(scores.shape, np.bool_) if other is second else np.arange(len(other.units)) > rows[:, None]
            genuine.append(scores[same & counts])
            if other is second or within == "all":
                impostor.append(scores[~same & counts])
    of_one, of_two = (np.concatenate(kind) if kind else np.empty(0) for kind in (genuine, impostor))
    if not len(of_one) or not len(of_two):
        raise DataError(
            f"all pairs are {len(of_one)} genuine and {len(of_two)} impostor ones; both kinds are needed",
            mend="check the people of the list",
        )
    fewest = 1.0 / len(of_two)
    points = tuple(
        TarAtFar(far, tar_at_far(of_one, of_two, far), threshold_at_far(of_one, of_two, far), fewest <= far)
        for far in fars
    )
    return Counted(points, len(of_one), len(of_two))


def search_others(probes: Side, distractors: Side) -> Searches:
    """Every probe among all other probes and the distractors; then every distractor among the probes, without a mate.

    Example:
        >>> probes = Side(np.array([[1, 0], [1, 0]], np.float32), np.array([0, 0]))
        >>> found = search_others(probes, Side(np.array([[0, 1]], np.float32), np.array([-1])))
        >>> found.rank.tolist(), found.other.tolist()
        ([1, 1, 0], [0.0, 0.0, 0.0])
    """
    count = len(probes.units)
    mate, other, rank = np.empty(count), np.empty(count), np.empty(count, np.int64)
    alarm = np.full(len(distractors.units), -np.inf)
    for start in range(0, count, _ROWS):
        part = slice(start, start + _ROWS)
        among = np.asarray(probes.units[part] @ probes.units.T, np.float64)
        rows = np.arange(len(among))
        among[rows, rows + start] = -np.inf  # itself
        same = _same(probes.people[part], probes.people)
        same[rows, rows + start] = False
        mate[part] = np.where(same, among, -np.inf).max(axis=1)
        among[same] = -np.inf
        apart = np.asarray(probes.units[part] @ distractors.units.T, np.float64)
        other[part] = np.maximum(among.max(axis=1), apart.max(axis=1, initial=-np.inf))
        before = (among >= mate[part, None]).sum(axis=1) + (apart >= mate[part, None]).sum(axis=1)
        rank[part] = np.where(same.any(axis=1), 1 + before, 0)
        alarm = np.maximum(alarm, apart.max(axis=0))
    nobody, nowhere = np.full(len(alarm), -np.inf), np.zeros(len(alarm), np.int64)
    return Searches(*(np.concatenate(both) for both in ((mate, nobody), (other, alarm), (rank, nowhere))))


def _same(one: IntArray, other: IntArray) -> npt.NDArray[np.bool_]:
    return np.asarray((one[:, None] == other) & (one[:, None] >= 0))
