"""The centers in blocks of classes: cosines of a block, and gradients through it.

The centers are never normalized as a tensor: a block's products are multiplied by 1 / ||w||, so are the shares that its
gradients are made of, and the gradient of the centers is projected on the tangent plane.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperarc.heads.sweep.memory import Footprint, SweepSize, footprint
from hyperarc.heads.sweep.plan import Plan

TINY = 1e-12  # a center this short has no direction: cosine 0, no gradient, as in hyperarc.geometry.unit


def size_of(rows: Tensor, weight: Tensor, plan: Plan) -> SweepSize:
    """What decides how much the chunked sweep of these holds."""
    product, kept = plan.precision.resolved(rows.dtype)
    return SweepSize(
        len(rows),
        len(weight),
        weight.shape[2],
        weight.shape[1],
        memory_mb=plan.memory_mb,
        number_bytes=rows.dtype.itemsize,
        product_bytes=product.itemsize,
        kept_bytes=kept.itemsize,
        maps_negatives=plan.negative_map is not None,
        updates=plan.update is not None,
    )


def inverse_lengths(centers: Tensor) -> Tensor:
    """1 / ||w|| [C, K] of centers [C, K, d]; 0 of a center without direction."""
    norm: Tensor = torch.linalg.vector_norm(centers, dim=2)
    return norm.reciprocal().masked_fill_(norm <= TINY, 0.0)


@dataclass(frozen=True)
class Block:
    """Classes ``first`` to ``last``; ``rows[i]`` has its true class at ``slots[i]`` of this block."""

    number: int
    first: int
    last: int
    rows: Tensor
    slots: Tensor

    @property
    def width(self) -> int:
        """How many classes."""
        return self.last - self.first


@dataclass(frozen=True)
class Pairs:
    """Single cosines with a gradient of their own, [P] each: row, class in the block, sub-center, gradient."""

    rows: Tensor
    slots: Tensor
    winner: Tensor
    gradient: Tensor

    def join(self, other: Pairs) -> Pairs:
        """Both."""
        mine, theirs = (
            (self.rows, self.slots, self.winner, self.gradient),
            (other.rows, other.slots, other.winner, other.gradient),
        )
        return Pairs(*(torch.cat(both) for both in zip(mine, theirs, strict=True)))


class Blocks:
    """All centers [C, K, d] for one pass over them.

    fp32 products take the centers as they are, and 1 / ||w|| is multiplied into cosines and shares; bf16 ones need a
    copy of the block in bf16, which is made normalized.

    Attributes:
        held: how they are cut, and what that holds.
        product, kept: dtypes of products and of kept exponentials.
        inverse: [C, K] 1 / ||w||, 0 for a center without direction; made by the first pass. None where centers keep
            their length.
    """

    def __init__(self, rows: Tensor, weight: Tensor, plan: Plan, inverse: Tensor | None = None) -> None:
        self.weight = weight
        self.held: Footprint = footprint(size_of(rows, weight, plan))
        self.product, self.kept = plan.precision.resolved(rows.dtype)
        self.lengths_known = inverse is not None
        self.inverse = inverse
        if plan.normalize_centers and inverse is None:
            self.inverse = weight.new_empty(weight.shape[:2])
        _, self.sub_centers, dim = weight.shape
        self.copies = self.product != weight.dtype
        self.updates = plan.update is not None
        size = len(rows) * self.held.width
        self.planes = rows.new_empty(self.sub_centers, size, dtype=self.product)
        self.between = rows.new_empty(3 if self.sub_centers > 1 else 0, size, dtype=self.product)
        self.moved = rows.new_empty(rows.shape, dtype=self.product)
        block = (self.held.width, self.sub_centers, dim)
        self.scratch = weight.new_empty(block)
        self.operands, self.partial = (rows.new_empty(block if self.copies else 0, dtype=self.product) for _ in "ab")

    def through(self, labels: Tensor) -> Iterator[Block]:
        """The blocks in their order."""
        for number, first in enumerate(range(0, len(self.weight), self.held.width)):
            last = min(first + self.held.width, len(self.weight))
            rows = ((labels >= first) & (labels < last)).nonzero()[:, 0]
            yield Block(number, first, last, rows, labels[rows] - first)

    def gradients(self) -> Tensor:
        """Room for the gradient of all centers, or of one block where it is used up at once."""
        return torch.empty_like(self.scratch if self.updates else self.weight)

    def buffer(self, block: Block) -> Tensor:
        """[N, w] in the products' dtype, where :meth:`products` puts its answer for a single center a class."""
        return self._planes(block)[0]

    def products(self, block: Block, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """<x, w / ||w||> [N, w] for rows in the products' dtype and, with sub-centers, which of the K won (uint8).

        The first is a buffer that the next block overwrites.
        """
        self._measure(block)
        centers, inverse = self._operand(block), self._folded(block)
        planes = self._planes(block)
        for k, plane in enumerate(planes):
            torch.mm(rows, centers[:, k].T, out=plane)
            if inverse is not None:
                plane.mul_(inverse[:, k])
        if len(planes) == 1:
            return planes[0], None
        largest, winner, beats = self._between(block)
        torch.maximum(planes[0], planes[1], out=largest)
        for plane in planes[2:]:
            torch.maximum(largest, plane, out=largest)
        winner.zero_()
        for k, plane in enumerate(planes[1:], 1):
            torch.ge(plane, largest, out=beats)
            torch.maximum(winner, beats.mul_(k), out=winner)
        return largest, winner.to(torch.uint8 if len(planes) <= 256 else torch.int32)

    def fold(self, block: Block, shares: Tensor, out: Tensor) -> Tensor:
        """Shares [N, w] times 1 / ||w|| in ``out``; with sub-centers, where it depends on who won, as they are."""
        inverse = self._folded(block)
        if inverse is not None and self.sub_centers == 1:
            return torch.mul(shares, inverse[:, 0], out=out)
        return out.copy_(shares)

    def spread(self, block: Block, shares: Tensor, winner: Tensor | None, rows: Tensor, part: Tensor) -> Tensor:
        """Write sum_i share_ij x_i / ||w_j|| into ``part`` [w, K, d]; answer sum_j share_ij w_j / ||w_j||.

        Shares are those that :meth:`fold` gave; the answer [N, d] is a buffer that the next block overwrites.
        """
        centers = self._operand(block)
        target = self.partial[: block.width] if self.copies else part
        for k in range(self.sub_centers):
            plane = shares if winner is None else self._won(block, shares, winner, k)
            torch.mm(plane.T, rows, out=target[:, k])
            if k == 0:
                torch.mm(plane, centers[:, 0], out=self.moved)
            else:
                self.moved.addmm_(plane, centers[:, k])
        if self.copies:
            inverse = self._inverse(block)
            part.copy_(target) if inverse is None else torch.mul(target, inverse[:, :, None], out=part)
        return self.moved

    def add_pairs(self, block: Block, pairs: Pairs, rows: Tensor, results: tuple[Tensor, Tensor]) -> None:
        """Add single gradients to those of the rows [N, d] and, before :meth:`project`, of the centers [w, K, d]."""
        to_rows, part = results
        inverse, place = self._inverse(block), (pairs.slots, pairs.winner)
        gradient = (pairs.gradient if inverse is None else pairs.gradient * inverse[place])[:, None]
        part.index_put_(place, gradient * rows[pairs.rows], accumulate=True)
        to_rows.index_add_(0, pairs.rows, gradient * self.weight[block.first : block.last][place])

    def project(self, block: Block, part: Tensor) -> None:
        """Take from the gradient of the centers in ``part`` what would change their length: (g - <g, u> u) / ||w||."""
        inverse = self._inverse(block)
        if inverse is None:
            return
        weight = self.weight[block.first : block.last]
        along = torch.mul(part, weight, out=self.scratch[: block.width]).sum(dim=2).mul_(inverse).mul_(inverse)
        part.addcmul_(weight, along[:, :, None], value=-1)

    def _won(self, block: Block, shares: Tensor, winner: Tensor, k: int) -> Tensor:
        """The shares where sub-center k won, times 1 / ||w||, in a buffer."""
        _, number, mine = self._between(block)
        if k == 0:
            number.copy_(winner)
        torch.eq(number, k, out=mine)
        mine.mul_(shares)
        inverse = self._folded(block)
        return mine if inverse is None else mine.mul_(inverse[:, k])

    def _operand(self, block: Block) -> Tensor:
        """The block's centers [w, K, d] in the products' dtype; a copy is normalized."""
        weight = self.weight[block.first : block.last]
        if not self.copies:
            return weight
        inverse, operand = self._inverse(block), self.operands[: block.width]
        return operand.copy_(weight) if inverse is None else torch.mul(weight, inverse[:, :, None], out=operand)

    def _measure(self, block: Block) -> None:
        """Find the lengths of the block's centers, the first time."""
        inverse = self._inverse(block)
        if inverse is not None and not self.lengths_known:
            inverse.copy_(inverse_lengths(self.weight[block.first : block.last]))

    def _inverse(self, block: Block) -> Tensor | None:
        """1 / ||w|| [w, K]."""
        return None if self.inverse is None else self.inverse[block.first : block.last]

    def _folded(self, block: Block) -> Tensor | None:
        """The same where cosines and shares must be multiplied by it."""
        return None if self.copies else self._inverse(block)

    def _planes(self, block: Block) -> list[Tensor]:
        return [plane[: len(self.moved) * block.width].view(-1, block.width) for plane in self.planes]

    def _between(self, block: Block) -> list[Tensor]:
        return [buffer[: len(self.moved) * block.width].view(-1, block.width) for buffer in self.between]
