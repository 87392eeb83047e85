"""The chunked sweep: classes in blocks, so that the N x C matrix never exists.

Forward keeps one running log-sum-exp (of a binary loss, sum) per row. Backward makes each block's cosines again, turns
them into the gradient of the block, and adds it up; the true class's share sits in its own slot of its own block.
(Leaving the true class out of a finished sum instead gives NaN once it dominates.) The centers are normalized inside: a
block's product is divided by the centers' lengths, and the gradient is projected on the tangent plane, so no normalized
copy of W is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperarc.heads.sweep.plan import Plan, Swept

_BLOCKS_HELD = 6  # cosines, their gradient, and with a map of the negatives four temporaries of the same size


def chunked_sweep(rows: Tensor, weight: Tensor, labels: Tensor, plan: Plan) -> Swept:
    """The sweep of rows [N, d] with labels [N] over centers [C, K, d] within ``plan.memory_mb``."""
    swept: tuple[Tensor, ...] = _Chunked.apply(  # type: ignore[no-untyped-call]
        rows, weight, plan.bias, plan.offset, labels, plan
    )
    target, log_sum, nearest, nearest_class, nearest_k = swept
    return Swept(target, log_sum, nearest, nearest_class, nearest_k if plan.top_k else None)


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
        target = rows.new_zeros(len(rows))
        log_sum = rows.new_full((len(rows),), -torch.inf if offset is None else 0.0)
        near = rows.new_full((len(rows), max(1, min(plan.top_k, len(weight) - 1))), -torch.inf)
        near_class = labels[:, None].expand(near.shape)
        for block in _blocks(rows, weight, labels, plan):
            cosine = block.cosines(rows, bias)[0]
            target[block.rows] = cosine[block.rows, block.slots]
            logit = plan.scale * (cosine if plan.negative_map is None else plan.negative_map(cosine))
            logit[block.rows, block.slots] = -torch.inf
            if offset is None:
                log_sum = torch.logaddexp(log_sum, logit.logsumexp(dim=1))
            else:
                log_sum -= F.logsigmoid(logit.add_(offset).neg_()).sum(dim=1)  # softplus, exact beyond 20 too
            cosine[block.rows, block.slots] = -torch.inf
            near, near_class = _nearest(near, near_class, cosine, block.first)
        ctx.save_for_backward(rows, weight, bias, offset, labels, log_sum, near_class)
        ctx.plan = plan
        nearest, nearest_class = near[:, 0].clone(), near_class[:, 0].clone()
        ctx.mark_non_differentiable(nearest, nearest_class)
        return target, log_sum, nearest, nearest_class, near

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, None, None]:
        rows, weight, bias, offset, labels, log_sum, near_class = ctx.saved_tensors
        plan: Plan = ctx.plan
        to_target, to_log_sum = gradients[0], gradients[1] * plan.scale
        log_sum = log_sum.clamp_min(torch.finfo(log_sum.dtype).min)  # a row without any negative
        to_rows, to_weight = torch.zeros_like(rows), torch.empty_like(weight)
        to_bias = None if bias is None else torch.empty_like(bias)
        to_offset = None if offset is None else torch.zeros_like(offset)
        for block in _blocks(rows, weight, labels, plan):
            cosine, winner = block.cosines(rows, bias)
            slope = None if plan.negative_map is None else plan.negative_map.slope(cosine)
            logit = cosine if plan.negative_map is None else plan.negative_map(cosine)
            logit = logit.mul_(plan.scale)
            share = logit.sub_(log_sum[:, None]).exp_() if offset is None else logit.add_(offset).sigmoid_()
            gradient = share.mul_(to_log_sum[:, None])
            if to_offset is not None:
                gradient[block.rows, block.slots] = 0.0
                to_offset += gradient.sum() / plan.scale
            if slope is not None:
                gradient.mul_(slope)
            gradient[block.rows, block.slots] = to_target[block.rows]
            if plan.top_k:
                row, place = ((near_class >= block.first) & (near_class < block.last)).nonzero(as_tuple=True)
                gradient[row, near_class[row, place] - block.first] += gradients[4][row, place]
            if to_bias is not None:
                to_bias[block.first : block.last] = gradient.sum(dim=0)
            block.spread(gradient, winner, rows, to_rows, to_weight)
        return to_rows, to_weight, to_bias, to_offset, None, None


def _nearest(near: Tensor, near_class: Tensor, cosine: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """The largest of those known so far and of a block's, falling, with their classes."""
    if near.shape[1] == 1:  # the usual case; a maximum is much cheaper than a top-k
        largest, slots = cosine.max(dim=1, keepdim=True)
        nearer = largest > near
        return torch.where(nearer, largest, near), torch.where(nearer, slots + first, near_class)
    values, slots = cosine.topk(min(near.shape[1], cosine.shape[1]), dim=1)
    values, places = torch.cat([near, values], dim=1).topk(near.shape[1], dim=1)
    return values, torch.cat([near_class, slots + first], dim=1).gather(1, places)


class _Block:
    """Classes ``first`` to ``last`` of the centers; ``rows[i]`` has its true class at ``slots[i]`` of this block."""

    def __init__(self, first: int, last: int, weight: Tensor, labels: Tensor, normalize: bool) -> None:
        self.first, self.last = first, last
        self.rows = ((labels >= first) & (labels < last)).nonzero()[:, 0]
        self.slots = labels[self.rows] - first
        self.sub_centers = weight.shape[1]
        self.weight = weight[first:last].flatten(0, 1)
        # 1 / ||w||, with a zero center left at zero
        norm = self.weight.norm(dim=1)
        self.inverse = norm.masked_fill(norm <= 1e-12, 1.0).reciprocal() if normalize else None

    def cosines(self, rows: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """c [N, last - first] and, with sub-centers, which of the K won."""
        cosine = rows @ self.weight.T
        if self.inverse is not None:
            cosine.mul_(self.inverse)
        winner = None
        if self.sub_centers > 1:
            cosine, winner = cosine.unflatten(1, (-1, self.sub_centers)).max(dim=2)
        if bias is not None:
            cosine = cosine.add_(bias[self.first : self.last])
        return cosine, winner

    def spread(
        self, gradient: Tensor, winner: Tensor | None, rows: Tensor, to_rows: Tensor, to_weight: Tensor
    ) -> None:
        """Add the block's gradient [N, last - first] to ``to_rows`` and write it into its part of ``to_weight``."""
        if winner is not None:
            spread = gradient.new_zeros(*gradient.shape, self.sub_centers)
            gradient = spread.scatter_(2, winner[:, :, None], gradient[:, :, None]).flatten(1, 2)
        part = to_weight[self.first : self.last].flatten(0, 1)
        torch.mm(gradient.T, rows, out=part)
        if self.inverse is None:
            to_rows.addmm_(gradient, self.weight)
            return
        # d c / d w = (x - c w / ||w||) / ||w||, summed over the rows
        along = (part * self.weight).sum(dim=1).mul_(self.inverse * self.inverse)
        part.addcmul_(along[:, None], self.weight, value=-1).mul_(self.inverse[:, None])
        to_rows.addmm_(gradient.mul_(self.inverse), self.weight)


def _blocks(rows: Tensor, weight: Tensor, labels: Tensor, plan: Plan) -> Iterator[_Block]:
    classes, sub_centers, dim = weight.shape
    # a class's share of the blocks, and of the product that projects the gradient of the centers
    bytes_per_class = (_BLOCKS_HELD * len(rows) + dim) * sub_centers * rows.element_size()
    width = max(1, int(plan.memory_mb * 2**20) // bytes_per_class)
    for first in range(0, classes, width):
        yield _Block(first, min(first + width, classes), weight, labels, plan.normalize_centers)
