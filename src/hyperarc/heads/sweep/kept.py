"""Exponentials that stay from forward to backward: those of the first blocks, as many as memory allows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hyperarc.heads.sweep.blocks import Block, Blocks
from hyperarc.heads.sweep.sums import LogSum, SoftplusSum


class Kept:
    """What is known of the first blocks.

    While ``drafting``, exponentials are kept as they are, for a second sum at another scale; then what is kept are
    the shares that backward needs: times the slope of the margin's map, and folded with the lengths of the centers.
    """

    def __init__(self, blocks: Blocks, *, drafting: bool = False, saved: Sequence[Tensor] = ()) -> None:
        self.blocks = blocks
        self.count = blocks.held.kept_blocks
        self.drafting = drafting
        parts = [list(saved[at : at + self.count]) for at in range(0, len(saved), self.count)] if self.count else []
        self.shares: list[Tensor] = parts.pop(0) if parts else []
        self.winners: list[Tensor] = parts.pop(0) if parts and blocks.sub_centers > 1 else []
        self.shifts: list[Tensor] = parts.pop(0) if parts else []

    def wants(self, block: Block) -> bool:
        """Whether this block is one of those kept."""
        return block.number < self.count

    def put(self, block: Block, shares: Tensor, winner: Tensor | None, shift: Tensor | None) -> None:
        """Keep a block's shares [N, w], who won, and the shift of its exponentials."""
        out = torch.empty_like(shares, dtype=self.blocks.kept)
        if self.drafting:
            out.copy_(shares)
        else:
            self.blocks.fold(block, shares, out)
        self.shares.append(out)
        if winner is not None:
            self.winners.append(winner)
        if shift is not None:
            self.shifts.append(shift)

    def get(self, block: Block) -> tuple[Tensor, Tensor | None, Tensor | None] | None:
        """Shares in the products' dtype, who won and the shift; None of a block that is not kept."""
        if block.number >= len(self.shares):
            return None
        shares = self.shares[block.number]
        if shares.dtype != self.blocks.product:
            shares = self.blocks.buffer(block).copy_(shares)
        winner = self.winners[block.number] if self.winners else None
        return shares, winner, self.shifts[block.number] if self.shifts else None

    def redo(self, block: Block, total: LogSum | SoftplusSum, ratio: Tensor) -> bool:
        """Add a draft to ``total`` with logits ``ratio`` times as large, and make it final; False if there is none."""
        found = self.get(block)
        if found is None:
            return False
        exponential, _, shift = found
        assert isinstance(total, LogSum)
        assert shift is not None
        self.shifts[block.number] = total.add_rescaled(exponential, shift, ratio)
        self.blocks.fold(block, exponential, self.shares[block.number])
        return True

    def tensors(self) -> list[Tensor]:
        """Everything, as ``saved`` takes it."""
        return [*self.shares, *self.winners, *self.shifts]
