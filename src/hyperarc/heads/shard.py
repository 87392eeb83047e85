"""The part of the class centers that one process holds, and what it can be asked with the others' help.

Class-parallel training as in Partial FC (arXiv 2203.15565): C classes are cut into as many runs of consecutive classes
as there are processes. All processes must ask the same, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from hyperarc.heads.sweep import Plan, Sweep, Swept
from hyperarc.parallel import all_gather_into, largest, log_sum_exp, rank, share, summed, world_size

Answer = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Cut:
    """Classes ``first ... last - 1`` of ``classes``.

    Example:
        >>> Cut.of(10).whole
        True
    """

    classes: int
    first: int
    last: int

    @staticmethod
    def of(classes: int, sharded: bool = False) -> Cut:
        """All classes, or with ``sharded`` those of this process."""
        part = share(classes, rank(), world_size()) if sharded else slice(0, classes)
        return Cut(classes, part.start, part.stop)

    @property
    def whole(self) -> bool:
        """Whether these are all classes, with no other process to ask."""
        return self.last - self.first == self.classes

    def local(self, classes: Tensor) -> Tensor:
        """Classes counted from ``first``; -1 for those held elsewhere."""
        if self.whole:
            return classes
        here = (classes >= self.first) & (classes < self.last)
        return torch.where(here, classes - self.first, -1)

    def ask(self, classes: Tensor, answer: Answer, like: Tensor) -> Tensor:
        """What the process that holds each of ``classes`` [N] knows of it: [N, ...], detached, the same in all.

        Args:
            classes: the same in all processes.
            answer: given which of them are held here [n], and their places from ``first`` [n]: values [n, ...].
            like: empty tensor [0, ...] of the answer's type and shape.
        """
        if self.whole:
            return answer(torch.arange(len(classes), device=classes.device), classes)
        slots = self.local(classes)
        rows = (slots >= 0).nonzero()[:, 0]
        known = like.new_zeros(len(classes), *like.shape[1:])
        known[rows] = answer(rows, slots[rows])
        dist.all_reduce(known)
        return known


@dataclass(frozen=True)
class Shard:
    """Centers [last - first, K, d] of the classes of a cut.

    Example:
        >>> shard = Shard.whole(torch.eye(3)[:, None])
        >>> shard.of(torch.tensor([2])).tolist()
        [[[0.0, 0.0, 1.0]]]
    """

    weight: Tensor
    cut: Cut

    @staticmethod
    def whole(weight: Tensor) -> Shard:
        """All centers [C, K, d] there are."""
        return Shard(weight, Cut.of(len(weight)))

    def detach(self) -> Shard:
        """Without gradient."""
        return Shard(self.weight.detach(), self.cut)

    def of(self, classes: Tensor) -> Tensor:
        """The centers [N, K, d] of ``classes`` [N]; differentiable, for what is computed alike in all processes."""
        if self.cut.whole:
            return self.weight[classes]
        slots = self.cut.local(classes)
        here = (slots >= 0).nonzero()[:, 0]
        zeros = self.weight.new_zeros(len(classes), *self.weight.shape[1:])
        return summed(zeros.index_copy(0, here, self.weight[slots[here]]))


def sweep_over(
    sweep: Sweep, batch: tuple[Tensor, Tensor], shard: Shard, classes: Tensor | None, plan: Plan
) -> Swept:
    """One sweep over all classes of a step, whoever holds them; classes are counted in all.

    Args:
        sweep: over a process's own classes.
        batch: rows [N, d] and labels [N] of all processes.
        shard: the centers held here.
        classes: sorted, those of them to sweep over, or None for all.
        plan: with the bias of the classes held here.
    """
    rows, labels = batch
    weight, cut, places = shard.weight, shard.cut, shard.cut.local(labels)
    if classes is not None:
        weight, places = weight[classes], torch.where(places < 0, -1, torch.searchsorted(classes, places))
        plan = replace(plan, bias=None if plan.bias is None else plan.bias[classes])
    swept = sweep(rows, weight, places, plan) if len(weight) else _sweep_nothing(rows, weight, plan)
    if classes is not None:
        counted = torch.cat([classes, classes.new_full((1,), -1)])  # -1 for none, where none is near
        near_k = None if swept.nearest_k_class is None else counted[swept.nearest_k_class]
        swept = replace(swept, nearest_class=counted[swept.nearest_class], nearest_k_class=near_k)
    if cut.whole:
        return swept
    near_k = None if swept.nearest_k_class is None else swept.nearest_k_class + cut.first
    swept = replace(swept, nearest_class=swept.nearest_class + cut.first, nearest_k_class=near_k)
    return replace(combine(swept, cut, top_k=plan.top_k, binary=plan.offset is not None), skipped=swept.skipped)


def _sweep_nothing(rows: Tensor, weight: Tensor, plan: Plan) -> Swept:
    """The sweep of a process without any class: no negatives, and zeros where others get a gradient."""
    zero = sum((one.sum() * 0.0 for one in (weight, plan.bias, plan.offset) if one is not None), rows.sum(dim=1) * 0.0)
    nothing = torch.zeros_like(zero) if plan.offset is not None else torch.full_like(zero, -torch.inf)
    if plan.rescale is not None:
        plan.rescale(zero.detach(), nothing)
    none = torch.full_like(zero, -1, dtype=torch.int64)
    return Swept(zero, nothing + zero, torch.full_like(zero, -torch.inf), none, rows[:, :0], none[:, None][:, :0])


def combine(swept: Swept, cut: Cut, *, top_k: int, binary: bool) -> Swept:
    """What all processes' sweeps over their own classes come to: one sweep over all classes.

    Target and n_i of the whole follow from those of the parts; each part's gradient is its share of theirs.

    Args:
        swept: over this process's classes, ``nearest_class`` counted in all; rows whose class is held elsewhere have
            target 0.
        cut: which classes those are.
        top_k: how many nearest negatives were asked for.
        binary: whether n_i adds up losses, one of each class, instead of being a log-sum-exp.
    """
    target = summed(swept.target)
    log_sum = summed(swept.log_sum) if binary else log_sum_exp(swept.log_sum)
    if top_k:
        assert swept.nearest_k is not None
        assert swept.nearest_k_class is not None
        near, near_class = merge(swept.nearest_k, swept.nearest_k_class, min(top_k, cut.classes - 1))
        return Swept(target, log_sum, near[:, 0].detach(), near_class[:, 0], near, near_class)
    nearest = largest(swept.nearest)
    mine = torch.where(swept.nearest == nearest, swept.nearest_class, -1)
    return Swept(target, log_sum, nearest, largest(mine))


def merge(near: Tensor, near_class: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest of all processes' nearest negatives [N, k], with their classes."""
    wide = near.new_full((len(near), count), -torch.inf)
    wide_class = near_class.new_full((len(near), count), -1)
    wide_class[:, : near.shape[1]] = near_class[:, :count]
    values: Tensor = _AllNear.apply(torch.cat([near, wide], dim=1)[:, :count])  # type: ignore[no-untyped-call]
    found = values.topk(count, dim=1)
    return found.values, _side_by_side(wide_class).gather(1, found.indices)


class _AllNear(torch.autograd.Function):
    """Every process's [N, k] side by side [N, world * k]; what is made of it must be the same in all."""

    @staticmethod
    def forward(ctx: Any, near: Tensor) -> Tensor:
        return _side_by_side(near)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        count = gradients[0].shape[1] // world_size()
        return gradients[0][:, rank() * count : (rank() + 1) * count]


def _side_by_side(rows: Tensor) -> Tensor:
    """Every process's [N, k] as [N, world * k]."""
    whole = rows.new_empty(world_size() * len(rows), rows.shape[1])
    all_gather_into(whole, rows.contiguous())
    return torch.cat(whole.split(len(rows)), dim=1)
