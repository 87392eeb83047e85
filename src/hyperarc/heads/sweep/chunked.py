"""The chunked sweep: classes in blocks, so that the N x C matrix never exists.

Forward keeps one running log-sum-exp (of a binary loss, sum) per row, and the cosines of as many blocks as the memory
allows. Backward makes the cosines of the other blocks again, turns each block's into its gradient, and adds it up; the
true class's share sits in its own slot of its own block. (Leaving the true class out of a finished sum instead gives
NaN once it dominates.) The centers are normalized inside: a block's product is divided by the centers' lengths, and the
gradient is projected on the tangent plane, so no normalized copy of W is held.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperarc.heads.sweep.plan import Plan, Swept

_BLOCKS_HELD = 6  # cosines, their gradient, and with a map of the negatives four temporaries of the same size
_WORKING_MB = 16.0  # at most; a block that fits the processor's caches is worked on faster, the rest is for keeping


def chunked_sweep(rows: Tensor, weight: Tensor, labels: Tensor, plan: Plan) -> Swept:
    """The sweep of rows [N, d] with labels [N] over centers [C, K, d] within ``plan.memory_mb``."""
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
        target = rows.new_zeros(len(rows))
        log_sum = nothing = rows.new_full((len(rows),), -torch.inf if offset is None else 0.0)
        near = rows.new_full((len(rows), max(1, min(plan.top_k, len(weight) - (not plan.foreign)))), -torch.inf)
        near_class = labels[:, None].expand(near.shape)
        cosines = _Cosines(rows, weight, bias, plan)
        scale = rows.new_tensor(plan.scale) if isinstance(plan.scale, float) else plan.scale.to(rows, copy=True)
        for block in _blocks(rows, weight, labels, plan):
            cosine = cosines.of(block)[0]
            target[block.rows] = cosine[block.rows, block.slots]
            log_sum = block.add_log_sum(log_sum, cosine, plan, scale)
            cosine[block.rows, block.slots] = -torch.inf
            near, near_class = _nearest(near, near_class, cosine, block.first)
            cosine[block.rows, block.slots] = target[block.rows]  # it may be kept
        if plan.rescale is not None:
            scale = plan.rescale(target, log_sum).to(rows, copy=True)
            log_sum = nothing
            for block in _blocks(rows, weight, labels, plan):
                log_sum = block.add_log_sum(log_sum, cosines.of(block)[0], plan, scale)
        ctx.save_for_backward(rows, weight, bias, offset, labels, log_sum, near_class, scale, *cosines.kept())
        ctx.plan = plan
        ctx.mark_non_differentiable(near_class)
        return target, log_sum, near, near_class

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, bias, offset, labels, log_sum, near_class, scale, *kept = ctx.saved_tensors
        plan: Plan = ctx.plan
        to_target, to_log_sum = gradients[0], gradients[1] * scale
        log_sum = log_sum.clamp_min(torch.finfo(log_sum.dtype).min)  # a row without any negative
        to_rows, to_weight = torch.zeros_like(rows), torch.empty_like(weight)
        to_bias = None if bias is None else torch.empty_like(bias)
        to_offset = None if offset is None else torch.zeros_like(offset)
        cosines = _Cosines(rows, weight, bias, plan, kept)
        for block in _blocks(rows, weight, labels, plan):
            cosine, winner = cosines.of(block)
            logit = cosine if plan.negative_map is None else plan.negative_map(cosine)
            logit = logit * scale
            share = logit.sub_(log_sum[:, None]).exp_() if offset is None else logit.add_(offset).sigmoid_()
            gradient = share.mul_(to_log_sum[:, None])
            if to_offset is not None:
                gradient[block.rows, block.slots] = 0.0
                to_offset += gradient.sum() / scale
            if plan.negative_map is not None:
                gradient.mul_(plan.negative_map.slope(cosine))
            gradient[block.rows, block.slots] = to_target[block.rows]
            if plan.top_k:
                row, place = ((near_class >= block.first) & (near_class < block.last)).nonzero(as_tuple=True)
                gradient[row, near_class[row, place] - block.first] += gradients[2][row, place]
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


class _Cosines:
    """c [N, last - first] of any block: kept while memory lasts, made again otherwise.

    Blocks come in their order, so the first ones are those kept: ``kept`` holds one tensor for each, or two (cosines
    and winners) with sub-centers.
    """

    def __init__(
        self, rows: Tensor, weight: Tensor, bias: Tensor | None, plan: Plan, kept: list[Tensor] | None = None
    ) -> None:
        self.rows, self.bias = rows, bias
        self.has_winners = weight.shape[1] > 1
        self.free = 0 if kept is not None else _kept_bytes(plan)
        self.tensors = list(kept or [])
        self.known = len(self.tensors) // (1 + self.has_winners)

    def of(self, block: _Block) -> tuple[Tensor, Tensor | None]:
        """The block's cosines and, with sub-centers, which of the K won: uint8 where K allows."""
        if block.number < self.known:
            place = block.number * (1 + self.has_winners)
            return self.tensors[place], self.tensors[place + 1] if self.has_winners else None
        cosine, winner = block.cosines(self.rows, self.bias)
        held = [cosine] if winner is None else [cosine, winner]
        size = sum(tensor.nbytes for tensor in held)
        if block.number == self.known and size <= self.free:
            self.tensors += held
            self.known += 1
            self.free -= size
        return cosine, winner

    def kept(self) -> list[Tensor]:
        """What backward may use again."""
        return self.tensors


class _Block:
    """Classes ``first`` to ``last`` of the centers; ``rows[i]`` has its true class at ``slots[i]`` of this block."""

    def __init__(self, number: int, classes: tuple[int, int], weight: Tensor, labels: Tensor, normalize: bool) -> None:
        self.number = number
        self.first, self.last = classes
        self.rows = ((labels >= self.first) & (labels < self.last)).nonzero()[:, 0]
        self.slots = labels[self.rows] - self.first
        self.sub_centers = weight.shape[1]
        self.weight = weight[self.first : self.last].flatten(0, 1)
        self.normalize = normalize

    @cached_property
    def inverse(self) -> Tensor | None:
        """1 / ||w||, with a zero center left at zero."""
        if not self.normalize:
            return None
        norm: Tensor = self.weight.norm(dim=1)
        return norm.masked_fill(norm <= 1e-12, 1.0).reciprocal()

    def cosines(self, rows: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """c [N, last - first] and, with sub-centers, which of the K won."""
        cosine = rows @ self.weight.T
        if self.inverse is not None:
            cosine.mul_(self.inverse)
        winner = None
        if self.sub_centers > 1:
            cosine, winner = cosine.unflatten(1, (-1, self.sub_centers)).max(dim=2)
            winner = winner.to(torch.uint8) if self.sub_centers <= 256 else winner
        if bias is not None:
            cosine = cosine.add_(bias[self.first : self.last])
        return cosine, winner

    def add_log_sum(self, log_sum: Tensor, cosine: Tensor, plan: Plan, scale: Tensor) -> Tensor:
        """``log_sum`` [N] with the block's negatives added: log sum of exp, or with an offset sum of softplus."""
        logit = scale * (cosine if plan.negative_map is None else plan.negative_map(cosine))
        logit[self.rows, self.slots] = -torch.inf
        if plan.offset is None:
            return torch.logaddexp(log_sum, logit.logsumexp(dim=1))
        return log_sum - F.logsigmoid(logit.add_(plan.offset).neg_()).sum(dim=1)  # softplus, exact beyond 20 too

    def spread(
        self, gradient: Tensor, winner: Tensor | None, rows: Tensor, to_rows: Tensor, to_weight: Tensor
    ) -> None:
        """Add the block's gradient [N, last - first] to ``to_rows`` and write it into its part of ``to_weight``."""
        if winner is not None:
            spread = gradient.new_zeros(*gradient.shape, self.sub_centers)
            gradient = spread.scatter_(2, winner[:, :, None].long(), gradient[:, :, None]).flatten(1, 2)
        part = to_weight[self.first : self.last].flatten(0, 1)
        torch.mm(gradient.T, rows, out=part)
        if self.inverse is None:
            to_rows.addmm_(gradient, self.weight)
            return
        # d c / d w = (x - c w / ||w||) / ||w||, summed over the rows
        along = (part * self.weight).sum(dim=1).mul_(self.inverse * self.inverse)
        part.addcmul_(along[:, None], self.weight, value=-1).mul_(self.inverse[:, None])
        to_rows.addmm_(gradient.mul_(self.inverse), self.weight)


def _working_bytes(plan: Plan) -> int:
    return int(min(plan.memory_mb / 2, _WORKING_MB) * 2**20)


def _kept_bytes(plan: Plan) -> int:
    return int(plan.memory_mb * 2**20) - _working_bytes(plan)


def _blocks(rows: Tensor, weight: Tensor, labels: Tensor, plan: Plan) -> Iterator[_Block]:
    classes, sub_centers, dim = weight.shape
    # a class's share of the blocks, and of the product that projects the gradient of the centers
    bytes_per_class = (_BLOCKS_HELD * len(rows) + dim) * sub_centers * rows.element_size()
    width = max(1, _working_bytes(plan) // bytes_per_class)
    for number, first in enumerate(range(0, classes, width)):
        yield _Block(number, (first, min(first + width, classes)), weight, labels, plan.normalize_centers)
