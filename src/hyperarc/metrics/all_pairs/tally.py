"""How often each score occurred: memory grows with the number of distinct values, not with the number of pairs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hyperarc.metrics.inputs import IntArray

Scores = npt.NDArray[np.float32]
WAITING = 1 << 21  # scores gathered before they are sorted in


class Tally:
    """A multiset of fp32 scores.

    Between 0.25 and 1 there are 16.8 million fp32 numbers, so even 1e12 scores there need 200 MB.

    Example:
        >>> tally = Tally()
        >>> tally.add(np.array([0.5, 0.25, 0.5], dtype=np.float32))
        >>> tally.total, tally.above(0.25), tally.largest(2), tally.least_above(0.25)
        (3, 2, 0.5, 0.5)
    """

    def __init__(self, values: Scores | None = None, counts: IntArray | None = None) -> None:
        self._values = np.empty(0, dtype=np.float32) if values is None else values
        self._counts = np.empty(0, dtype=np.int64) if counts is None else counts
        self._waiting: list[Scores] = []
        self._waiting_size = 0

    def add(self, scores: Scores) -> None:
        """Count these scores in."""
        if scores.size:
            self._waiting.append(scores)
            self._waiting_size += scores.size
            if self._waiting_size > WAITING:
                self._sort_in()

    def merge(self, other: Tally) -> None:
        """Count in all that another tally holds."""
        self._sort_in()
        other._sort_in()
        self._join(other._values, other._counts)

    def _sort_in(self) -> None:
        if self._waiting:
            values, counts = np.unique(np.concatenate(self._waiting), return_counts=True)
            self._waiting, self._waiting_size = [], 0
            self._join(values, counts.astype(np.int64))

    def _join(self, values: Scores, counts: IntArray) -> None:
        every = np.concatenate([self._values, values])
        order = np.argsort(every, kind="stable")  # two sorted lists: merged, not sorted anew
        every, weights = every[order], np.concatenate([self._counts, counts])[order]
        first = np.flatnonzero(np.concatenate([[True], every[1:] != every[:-1]])) if every.size else order
        self._values, self._counts = every[first], np.add.reduceat(weights, first) if every.size else weights

    @property
    def values(self) -> Scores:
        """Distinct scores, rising."""
        self._sort_in()
        return self._values

    @property
    def counts(self) -> IntArray:
        """How often each of ``values`` occurred."""
        self._sort_in()
        return self._counts

    @property
    def total(self) -> int:
        """How many scores."""
        return int(self._counts.sum()) + self._waiting_size

    def above(self, score: float) -> int:
        """How many scores lie strictly above ``score``."""
        return int(self.counts[np.searchsorted(self.values, np.float32(score), side="right") :].sum())

    def largest(self, rank: int) -> float:
        """The ``rank``-th largest score, counted from 1."""
        at_least = np.cumsum(self.counts[::-1])
        return float(self.values[::-1][np.searchsorted(at_least, rank)])

    def least_above(self, score: float) -> float:
        """The smallest score strictly above ``score``; infinity where there is none."""
        place = int(np.searchsorted(self.values, np.float32(score), side="right"))
        return float(self.values[place]) if place < self.values.size else float("inf")
