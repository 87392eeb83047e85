"""One pass over the pairs: multiply, sort out, score exactly what lies near a window, count."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hyperarc.errors import HyperArcError
from hyperarc.metrics.all_pairs.counts import Counts
from hyperarc.metrics.all_pairs.layout import Cell, Layout, Side, matches
from hyperarc.metrics.all_pairs.plan import Window
from hyperarc.metrics.all_pairs.products import Fp32, Lowered
from hyperarc.metrics.all_pairs.scores import exact_scores
from hyperarc.metrics.all_pairs.selection import count_above, places_above_limits, places_between, row_tops
from hyperarc.metrics.all_pairs.tally import Scores
from hyperarc.metrics.inputs import FloatArray, IntArray

TILE = {"cpu": (1024, 2048), "cuda": (8192, 8192)}  # scores at a time: on the CPU they stay in the cache
OUT = -4.0  # what stands for the score of a pair that is no impostor
WIDELY = 0.05  # below a window, about as far as an int8 product may be off
RARE = 1.0 / 64.0  # share of pairs that are cheaper picked out than counted where they are
SPARE_MB = 256.0  # for scores, the sample and what Python needs


class Block:
    """Unit vectors of neighboring faces, with what the product makes of them.

    Args:
        unit: [n, d] fp32 on the device.
        product: what will multiply them.
        height, width: of a tile.
    """

    def __init__(self, unit: Tensor, product: Fp32, height: int, width: int) -> None:
        self.unit, self.product, self.height, self.width = unit, product, height, width

    @cached_property
    def rows(self) -> list[Lowered]:
        """As left side, in tiles."""
        return [self.product.rows(part) for part in self.unit.split(self.height)]

    @cached_property
    def columns(self) -> list[Lowered]:
        """As right side, in tiles."""
        return [self.product.columns(part) for part in self.unit.split(self.width)]


class Tile:
    """A rectangle of pairs.

    Args:
        blocks: of probes and of the other side.
        row, column: which tile of either block.
    """

    def __init__(self, blocks: tuple[Block, Block], row: int, column: int) -> None:
        left, right = blocks
        rows, columns = left.rows[row], right.columns[column]
        self.rows, self.columns = left.unit.split(left.height)[row], right.unit.split(right.width)[column]
        self.raw = left.product.multiply(rows, columns)
        self.scale = rows.step * columns.step
        self.slack = left.product.bound(rows, columns, left.unit.shape[1])

    def leave_out(self, r: IntArray, c: IntArray) -> None:
        """These pairs are no impostors."""
        places = (torch.from_numpy(r).to(self.raw.device), torch.from_numpy(c).to(self.raw.device))
        self.raw[places] = self._out()

    def leave_out_below_diagonal(self, ahead: int) -> None:
        """Leave out the pairs whose column, ``ahead`` of the row, is not behind it."""
        height, width = self.raw.shape
        device = self.raw.device
        r, c = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)
        self.raw.masked_fill_(c + ahead <= r, self._out())

    def limits(self, window: Window) -> tuple[float, float]:
        """Below the one and above the other a pair is sure to lie beyond the window."""
        return max(window.low - self.slack, OUT / 2) / self.scale, (window.high + self.slack) / self.scale

    def scores_near(self, windows: Sequence[Window], r: IntArray, c: IntArray) -> Scores:
        """Scores of some pairs: exact where they may lie in a window, else on the right side of each."""
        seen = self._seen(r, c)
        doubt = np.zeros(r.size, dtype=np.bool_)
        for window in windows:
            doubt |= (seen >= window.low - self.slack) & (seen <= window.high + self.slack)
        scores = seen.astype(np.float32)
        scores[doubt] = self._exact(r[doubt], c[doubt], seen[doubt])
        return scores

    def _seen(self, r: IntArray, c: IntArray) -> FloatArray:
        """What the product says of some pairs."""
        places = (torch.from_numpy(r).to(self.raw.device), torch.from_numpy(c).to(self.raw.device))
        return np.asarray(self.raw[places].double().cpu().numpy() * self.scale)

    def _out(self) -> float:
        out = OUT / self.scale
        return out if self.raw.is_floating_point() else int(out)

    def scores(self, r: IntArray, c: IntArray) -> Scores:
        """Exact scores of some pairs; a product less precise than its bound is found out here."""
        return self._exact(r, c, self._seen(r, c))

    def _exact(self, r: IntArray, c: IntArray, seen: FloatArray) -> Scores:
        exact = exact_scores(self.rows, self.columns, r, c)
        if r.size:
            off = float(np.abs(seen - exact).max())
            if off > self.slack:
                raise HyperArcError(
                    f"a matrix product on {self.raw.device} is off by {off:.2g}, more than its {self.slack:.2g}",
                    mend="give precision='fp32', or another device",
                )
        return exact


class Sweep:
    """Counts cell after cell.

    Args:
        layout, counts: what to count, and where.
        product: what sorts out the pairs.
        device: where it works.
        memory_mb: for blocks kept, tiles and scores; None as told in Execution.

    Raises:
        HyperArcError: too little memory for two blocks.
    """

    def __init__(
        self, layout: Layout, counts: Counts, product: Fp32, device: torch.device, memory_mb: float | None = None
    ) -> None:
        self.layout, self.counts, self.product, self.device = layout, counts, product, device
        self.height, self.width = TILE["cuda" if device.type == "cuda" else "cpu"]
        if memory_mb is None:
            memory_mb = torch.cuda.mem_get_info(device)[0] / 2**21 if device.type == "cuda" else 1024.0
        tile_mb = 3 * 4 * self.height * self.width / 2**20
        block_mb = 12 * layout.block * layout.dim / 2**20  # fp32, lowered twice, and on the way
        self.kept = int((memory_mb - SPARE_MB - tile_mb) / block_mb)
        if self.kept < 2:
            needed = round(SPARE_MB + tile_mb + 2 * block_mb)
            raise HyperArcError(f"memory_mb is {memory_mb:g}, too little for blocks of {layout.block} faces",
                                mend=f"give at least {needed}")  # fmt: skip
        self._blocks: OrderedDict[tuple[bool, int], Block] = OrderedDict()
        self._often = sum(counts.plan.share_near(window.low - WIDELY) > RARE for window in counts.plan.windows)

    def count(self, index: int) -> None:
        """Count all pairs of a cell."""
        cell = self.layout.cells[index]
        side = self.layout.columns(cell.within)
        probes = self._block(self.layout.probes, cell.row)
        others = self._block(side, cell.column)
        for part in range(len(probes.rows)):
            row = cell.row + part * self.height
            for column in range(len(others.columns)):
                first = cell.column + column * self.width
                if not cell.within or first + self.width > row:
                    self._count_tile(cell, Tile((probes, others), part, column), row, first)
        self.counts.done[index] = True

    def _block(self, side: Side, start: int) -> Block:
        key = (side is self.layout.probes, start)
        if key not in self._blocks:
            while len(self._blocks) >= self.kept:
                self._blocks.popitem(last=False)
            units = side.vectors.block(start, min(start + self.layout.block, len(side)))
            self._blocks[key] = Block(torch.from_numpy(units).to(self.device), self.product, self.height, self.width)
        self._blocks.move_to_end(key)
        return self._blocks[key]

    def _count_tile(self, cell: Cell, tile: Tile, row: int, column: int) -> None:
        ahead = column - row
        side = self.layout.columns(cell.within)
        rows, columns = slice(row, row + len(tile.rows)), slice(column, column + len(tile.columns))
        ids = None
        if self.layout.probes.ids is not None and side.ids is not None:
            ids = self.layout.probes.ids[rows], side.ids[columns]
        for r, c in matches(self.layout.probes.labels[rows], side.labels[columns]):
            counted = c + ahead > r if cell.within else np.ones(r.size, dtype=np.bool_)
            if ids is not None:
                counted &= ids[0][r] != ids[1][c]
            self._count_genuine(cell, tile, row, column, (r[counted], c[counted]))
            tile.leave_out(r, c)
        if not self.layout.has_impostors(cell.within):
            return
        for r, c in matches(*ids) if ids is not None else ():
            tile.leave_out(r, c)
        if cell.within and ahead < len(tile.rows):
            tile.leave_out_below_diagonal(ahead)
        self._count_impostors(cell, tile, row, column)
        if self.counts.other.size:
            _keep_best(tile, self.counts.other[rows])
            _keep_best(tile, (self.counts.other if cell.within else self.counts.alarm)[columns], across=True)

    def _count_genuine(self, cell: Cell, tile: Tile, row: int, column: int, places: tuple[IntArray, IntArray]) -> None:
        r, c = places
        scores = tile.scores(r, c)
        self.counts.genuine.add(scores)
        self.counts.lowest.add(scores, cell.within, r + row, c + column)
        if self.counts.mate.size:
            np.maximum.at(self.counts.mate, r + row, scores)
            if cell.within:
                np.maximum.at(self.counts.mate, c + column, scores)

    def _count_impostors(self, cell: Cell, tile: Tile, row: int, column: int) -> None:
        windows, counts = self.counts.plan.windows, self.counts
        for k, window in enumerate(windows[: self._often]):
            # a pair beyond these limits is sure to lie beyond the window
            least, most = tile.limits(window)
            r, c = places_between(tile.raw, least, most)
            scores = tile.scores(r, c)
            sure = count_above(tile.raw, most) if np.isfinite(most) else 0
            counts.count(k, scores, sure)
        if self._often < len(windows):
            r, c = places_between(tile.raw, tile.limits(windows[self._often])[0], np.inf)
            scores = tile.scores_near(windows[self._often :], r, c)
            for k in range(self._often, len(windows)):
                counts.count(k, scores)
        if windows and np.isinf(windows[-1].high):
            top = scores >= windows[-1].low  # below it not all pairs are seen
            counts.hardest.add(scores[top], cell.within, r[top] + row, c[top] + column)


def _keep_best(tile: Tile, best: Scores, *, across: bool = False) -> None:
    """Raise each row's (or, across, each column's) best exact score to the best impostor of the tile."""
    raw = tile.raw.T if across else tile.raw
    tops = row_tops(raw) * tile.scale
    hopeful = np.flatnonzero((tops > OUT / 2) & (tops + tile.slack > best))
    if hopeful.size:
        limits = np.maximum(tops[hopeful] - 2 * tile.slack, best[hopeful] - tile.slack) / tile.scale
        r, c = places_above_limits(raw, hopeful, limits)
        np.maximum.at(best, r, tile.scores(c, r) if across else tile.scores(r, c))
