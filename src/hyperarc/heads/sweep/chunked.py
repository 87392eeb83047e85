"""The chunked sweep: classes in blocks, so that the N x C matrix never exists.

Forward turns a block's logits into exponentials where they lie, adds them up, and keeps those of as many blocks as the
memory allows. A share of a finished sum is such an exponential times a factor of its row, so backward multiplies the
factor into the rows, and kept exponentials go straight into the two products of the gradients: three products in all.
Blocks that were not kept are made again, with a fourth.

The true class is left out inside its block. (Taking it from a finished sum instead gives NaN once it dominates.) Its
cosine is computed beside, in the precision of the rows.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from hyperarc.heads.sweep.blocks import Block, Blocks, Pairs
from hyperarc.heads.sweep.kept import Kept
from hyperarc.heads.sweep.logits import Logits, target_cosine
from hyperarc.heads.sweep.nearest import Nearest
from hyperarc.heads.sweep.plan import Plan, Swept
from hyperarc.heads.sweep.sums import LOG2_E, LogSum, SoftplusSum

_BOUND = 120.0  # in units of log 2: sums of exponentials up to this stay within fp32 and bf16, as do their inverses


def chunked_sweep(rows: Tensor, weight: Tensor, labels: Tensor, plan: Plan) -> Swept:
    """The sweep of rows [N, d] with labels [N] over centers [C, K, d] within ``plan.memory_mb``.

    A row whose label is outside 0..C-1 has its true class elsewhere: its target is 0, and all C are its negatives.
    With ``plan.update`` the centers change in backward, and get no gradient.
    """
    inputs = (rows, weight, plan.bias, plan.offset)
    swept: tuple[Tensor, ...] = _Chunked.apply(*inputs, labels, plan)  # type: ignore[no-untyped-call]
    target, log_sum, near, near_class = swept
    nearest = near[:, 0].detach()
    if not plan.top_k:
        return Swept(target, log_sum, nearest, near_class[:, 0])
    return Swept(target, log_sum, nearest, near_class[:, 0], near, near_class)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        offset: Tensor | None,
        labels: Tensor,
        plan: Plan,
    ) -> tuple[Tensor, ...]:
        blocks = Blocks(rows, weight, plan)
        target, winner = target_cosine(rows, weight, labels, plan)
        near = Nearest(rows, labels, max(1, min(plan.top_k, len(weight) - (not plan.foreign))))
        scale = rows.new_tensor(plan.scale) if isinstance(plan.scale, float) else plan.scale.to(rows, copy=True)
        ctx.bounded = _is_bounded(rows, scale, weight, plan)
        total = _new_sum(rows, offset, ctx.bounded)
        kept = Kept(blocks, drafting=plan.rescale is not None)
        logits = Logits(blocks, rows, plan, scale, total.unit)
        for block in blocks.through(labels):
            _add(block, total, logits, kept, near)
        near.values /= logits.fold
        if plan.rescale is not None:
            before, scale = scale, plan.rescale(target, total.value()).to(rows, copy=True)
            total, kept.drafting = _new_sum(rows, offset, ctx.bounded), False
            logits = Logits(blocks, rows, plan, scale, total.unit)
            for block in blocks.through(labels):
                if not kept.redo(block, total, scale / before):
                    _add(block, total, logits, kept)
        slope = total.slope if isinstance(total, SoftplusSum) else None
        known = (total.value(), near.classes, scale, winner, slope, blocks.inverse)
        ctx.save_for_backward(rows, weight, bias, offset, labels, *known, *kept.tensors())
        ctx.plan = plan
        ctx.mark_non_differentiable(near.classes)
        return target, known[0], near.values, near.classes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, bias, offset, labels, log_sum, near_class, scale, winner, slope, inverse = ctx.saved_tensors[:11]
        plan: Plan = ctx.plan
        blocks = Blocks(rows, weight, plan, inverse)
        total = _new_sum(rows, offset, ctx.bounded)
        logits = Logits(blocks, rows, plan, scale, total.unit)
        kept = Kept(blocks, saved=ctx.saved_tensors[11:])
        rows_of = _Weighted(rows, gradients[1] * scale, blocks.product)
        to_rows = torch.zeros_like(rows)
        to_weight = blocks.gradients()
        to_bias = None if bias is None else torch.empty_like(bias)
        for block in blocks.through(labels):
            shares, won, shift = kept.get(block) or _again(block, total, logits, log_sum)
            factor, weighted = rows_of(total.factor(log_sum, shift), constant=shift is None)
            part = to_weight[block.first : block.last] if plan.update is None else to_weight[: block.width]
            to_rows.addcmul_(blocks.spread(block, shares, won, weighted, part).to(rows.dtype), factor[:, None])
            pairs = Pairs(block.rows, block.slots, winner[block.rows], gradients[0][block.rows])
            if plan.top_k:
                pairs = pairs.join(_near_pairs(block, near_class, won, gradients[2]))
            blocks.add_pairs(block, pairs, rows, (to_rows, part))
            if to_bias is not None:
                of_block = shares.to(rows.dtype).T.mv(factor)
                to_bias[block.first : block.last] = of_block.index_add_(0, pairs.slots, pairs.gradient)
            blocks.project(block, part)
            if plan.update is not None:
                plan.update(block.first, block.last, part)
        to_offset = None if offset is None else (gradients[1] * slope).sum().to(offset.dtype)
        return to_rows, to_weight if plan.update is None else None, to_bias, to_offset, None, None


def _is_bounded(rows: Tensor, scale: Tensor, weight: Tensor, plan: Plan) -> bool:
    """Whether exponentials and their sums stay in range without a running maximum."""
    changed = (plan.negative_map, plan.bias, plan.offset, plan.rescale)
    if not plan.normalize_centers or any(one is not None for one in changed) or not len(rows):
        return False
    return float(rows.norm(dim=1).amax() * scale) * LOG2_E + math.log2(len(weight)) < _BOUND


def _new_sum(rows: Tensor, offset: Tensor | None, bounded: bool) -> LogSum | SoftplusSum:
    return LogSum(rows, bounded) if offset is None else SoftplusSum(rows, offset)


def _add(block: Block, total: LogSum | SoftplusSum, logits: Logits, kept: Kept, near: Nearest | None = None) -> None:
    """Add a block to the sum, look for its nearest negatives, and keep what is to be kept of it."""
    plain = logits.plan.negative_map is None and isinstance(total, LogSum)
    keeps = kept.wants(block) and (plain or not kept.drafting)
    cosine, logit, winner, slope = logits.of(block, with_slope=keeps)
    if near is not None:
        near.look(cosine, block.first)
    shift = total.add(logit)
    if keeps:
        kept.put(block, logit if slope is None else logit.mul_(slope), winner, shift)


def _again(
    block: Block, total: LogSum | SoftplusSum, logits: Logits, log_sum: Tensor
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Shares of a block that was not kept, who won, and the shift."""
    _, logit, winner, slope = logits.of(block, with_slope=True)
    shift = total.shares(logit, log_sum)
    blocks = logits.blocks
    return blocks.fold(block, logit if slope is None else logit.mul_(slope), blocks.buffer(block)), winner, shift


class _Weighted:
    """Rows times the factor that makes shares of a block's exponentials, times the gradient of the sum."""

    def __init__(self, rows: Tensor, to_log_sum: Tensor, product: torch.dtype) -> None:
        self.rows, self.to_log_sum, self.product = rows, to_log_sum, product
        self.last: tuple[Tensor, Tensor] | None = None

    def __call__(self, factor: Tensor, *, constant: bool) -> tuple[Tensor, Tensor]:
        """The factor [N] and the rows [N, d]; the last answer where the factor is the same for all blocks."""
        if self.last is None or not constant:
            factor = factor * self.to_log_sum
            self.last = factor, (self.rows * factor[:, None]).to(self.product)
        return self.last


def _near_pairs(block: Block, near_class: Tensor, won: Tensor | None, gradient: Tensor) -> Pairs:
    """The rows' nearest negatives that lie in this block, with the gradient [N, k] of their cosines."""
    row, place = ((near_class >= block.first) & (near_class < block.last)).nonzero(as_tuple=True)
    slot = near_class[row, place] - block.first
    winner = torch.zeros_like(slot) if won is None else won[row, slot].long()
    return Pairs(row, slot, winner, gradient[row, place])
