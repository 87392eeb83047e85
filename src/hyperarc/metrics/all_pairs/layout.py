"""Which pairs there are: sides, blocks of faces, cells of pairs, and who belongs to whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.all_pairs.vectors import LabeledEmbeddings, Vectors
from hyperarc.metrics.all_pairs.wanted import AmongProbes
from hyperarc.metrics.inputs import IntArray, as_array, label_numbers

LARGEST_BLOCK = 1 << 14
SMALLEST_BLOCK = 1 << 6
MATCHES_AT_A_TIME = 1 << 20


@dataclass(frozen=True, eq=False)
class Side:
    """Vectors with labels and ids as whole numbers, equal on both sides where the originals are."""

    vectors: Vectors
    labels: IntArray
    ids: IntArray | None

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True)
class Cell:
    """Pairs of one block of probes with one block of a side.

    Attributes:
        within: both blocks are of probes; each unordered pair of them counts once and none with itself.
        row, column: first face of either block.
    """

    within: bool
    row: int
    column: int


class Layout:
    """The pairs of probes with a gallery, among themselves, or both.

    Args:
        probes, gallery: the sides; without a gallery the probes are compared among themselves.
        among_probes: see :class:`Wanted`.

    Attributes:
        block: faces of a block.
        cells: every pair lies in one of them.
        pairs, genuine, impostors: how many there are, without those left out by id.

    Raises:
        DataError: sides that do not fit together, no genuine or no impostor pair.
    """

    def __init__(
        self,
        probes: LabeledEmbeddings,
        gallery: LabeledEmbeddings | None = None,
        among_probes: AmongProbes = "none",
    ) -> None:
        self.probes, self.gallery = _sides(probes, gallery)
        self.dim = int(self.probes.vectors.shape[1])
        longest = max(len(self.probes), len(self.gallery) if self.gallery else 0)
        self.block = min(LARGEST_BLOCK, max(SMALLEST_BLOCK, 1 << max(0, (longest // 8).bit_length() - 1)))
        self.among_probes: AmongProbes = "all" if gallery is None else among_probes
        self.withins = [False] * (self.gallery is not None) + [True] * (self.among_probes != "none")
        self.cells = [cell for within in self.withins for cell in self._cells(within)]
        self._count()

    def columns(self, within: bool) -> Side:
        """The side that the probes are compared with."""
        if within or self.gallery is None:
            return self.probes
        return self.gallery

    def _cells(self, within: bool) -> Iterator[Cell]:
        """Row by row, to and fro: the blocks last used are those used next."""
        for number, row in enumerate(range(0, len(self.probes), self.block)):
            columns = range(row if within else 0, len(self.columns(within)), self.block)
            for column in columns[:: -1 if number % 2 else 1]:
                yield Cell(within, row, column)

    def has_impostors(self, within: bool) -> bool:
        """Whether pairs of two people count there."""
        return not within or self.among_probes == "all"

    def size(self, cell: Cell) -> int:
        """Pairs of a cell, for the progress."""
        rows = min(self.block, len(self.probes) - cell.row)
        columns = min(self.block, len(self.columns(cell.within)) - cell.column)
        return rows * (rows - 1) // 2 if cell.within and cell.row == cell.column else rows * columns

    def _count(self) -> None:
        self.genuine = self.impostors = 0
        for within in self.withins:
            other = None if within else self.gallery
            faces, others = len(self.probes), len(other) if other else 0
            every = faces * others if other else faces * (faces - 1) // 2
            genuine = _pairs_alike(self.probes.labels, other.labels if other else None)
            if self.probes.ids is not None and (other is None or other.ids is not None):
                both = _joint(self.probes.ids, self.probes.labels, other)
                every -= _pairs_alike(self.probes.ids, other.ids if other else None)
                genuine -= _pairs_alike(*both)
            self.genuine += genuine
            self.impostors += every - genuine if self.has_impostors(within) else 0
        self.pairs = self.genuine + self.impostors
        for count, kind in ((self.genuine, "genuine"), (self.impostors, "impostor")):
            if count == 0:
                raise DataError(f"there is no {kind} pair among {self.pairs} pairs", mend="check the labels")


def matches(rows: IntArray, columns: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Places (r, c) with rows[r] == columns[c], r rising, about a million at a time.

    Example:
        >>> [(r.tolist(), c.tolist()) for r, c in matches(np.array([7, 8, 7]), np.array([7, 9]))]
        [([0, 2], [0, 0])]
    """
    order = np.argsort(columns, kind="stable")
    known = columns[order]
    first, last = np.searchsorted(known, rows, side="left"), np.searchsorted(known, rows, side="right")
    counts = last - first
    before = np.concatenate([[0], np.cumsum(counts)])
    start = 0
    while start < rows.size and before[-1] > before[start]:
        stop = max(start + 1, int(np.searchsorted(before, before[start] + MATCHES_AT_A_TIME, side="right")) - 1)
        here = counts[start:stop]
        r = np.repeat(np.arange(start, stop), here)
        run = np.arange(r.size) - np.repeat(before[start:stop] - before[start], here)
        if r.size:
            yield r, order[np.repeat(first[start:stop], here) + run]
        start = stop


def _pairs_alike(values: IntArray, others: IntArray | None) -> int:
    """Unordered pairs of equal ``values``, or pairs of ``values`` with equal ``others``."""
    if others is None:
        counts = np.bincount(values)
        return int((counts * (counts - 1) // 2).sum())
    size = int(max(values.max(), others.max())) + 1
    return int(np.dot(np.bincount(values, minlength=size), np.bincount(others, minlength=size)))


def _joint(ids: IntArray, labels: IntArray, other: Side | None) -> tuple[IntArray, IntArray | None]:
    """Ids and labels as one number each, alike where both are."""
    if other is None or other.ids is None:
        return np.unique(np.stack([ids, labels]), axis=1, return_inverse=True)[1].ravel(), None
    stacked = np.concatenate([np.stack([ids, labels]), np.stack([other.ids, other.labels])], axis=1)
    numbers = np.unique(stacked, axis=1, return_inverse=True)[1].ravel()
    return numbers[: ids.size], numbers[ids.size :]


def _sides(probes: LabeledEmbeddings, gallery: LabeledEmbeddings | None) -> tuple[Side, Side | None]:
    given = {"probes": probes} | ({"gallery": gallery} if gallery is not None else {})
    vectors = {name: Vectors(side.embeddings, side.name or name) for name, side in given.items()}
    dims = {name: int(found.shape[1]) for name, found in vectors.items()}
    if len(set(dims.values())) > 1:
        raise DataError(f"probes have dimension {dims['probes']}, the gallery {dims['gallery']}")
    labels = _numbers("labels", {name: side.labels for name, side in given.items()}, vectors)
    with_ids = {name: side.ids for name, side in given.items() if side.ids is not None}
    ids = _numbers("ids", with_ids, vectors) if with_ids else {}
    sides = {name: Side(vectors[name], labels[name], ids.get(name)) for name in given}
    return sides["probes"], sides.get("gallery")


def _numbers(what: str, lists: dict[str, Any], vectors: dict[str, Vectors]) -> dict[str, IntArray]:
    for name, values in lists.items():
        shape = as_array(values, f"{what} of the {name}").shape
        if shape != (len(vectors[name]),):
            raise DataError(f"{what} of the {name} should have shape ({len(vectors[name])},), one a face, got {shape}")
    return dict(zip(lists, label_numbers(**lists), strict=True))
