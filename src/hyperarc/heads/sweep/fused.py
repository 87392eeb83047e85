"""The fused sweep: on a GPU, in kernels that never write cosines.

Forward goes through runs of classes, a tile at a time: product, 1 / ||w||, the margin's map of negatives and the sum of
exponentials stay on the processor. Backward goes through blocks of classes: it makes a block's shares again, in a
buffer of the products' dtype, and multiplies them into both gradients. A row takes part only where it counts:

A row i is left out of a block of w of the C classes where |g_i| p_i <= eps G w / C. Here g_i is the gradient of n_i, G
the largest |g_i|, p_i the block's part of exp(n_i), and eps the unit roundoff of the products. As a row's left-out
parts add up to at most eps G / |g_i|, with s the scale and L the largest slope of the negatives' map,

    ||error of dx_i|| <= eps L s G                                                (centers of any length: times it)
    sum_jk ||w_jk|| ||error of dw_jk|| <= eps L s G sum_i ||x_i||

which is what rounding the shares may cost the row that matters most. The true class and the nearest negatives that a
margin asks for are never left out.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from hyperarc.errors import HyperArcError
from hyperarc.heads.sweep.blocks import inverse_lengths
from hyperarc.heads.sweep.chunked import chunked_sweep
from hyperarc.heads.sweep.fused_memory import INTERPRETED, Cuts
from hyperarc.heads.sweep.logits import target_cosine
from hyperarc.heads.sweep.plan import Plan, Skipped, Swept
from hyperarc.heads.sweep.sums import LOG2_E


def fused_sweep(rows: Tensor, weight: Tensor, labels: Tensor, plan: Plan) -> Swept:
    """The sweep of rows [N, d] with labels [N] over centers [C, K, d], on a GPU; what it cannot do goes to the chunked.

    Errors: HyperArcError where there is no GPU, or no Triton.
    """
    if not can_fuse(rows.device.type):
        raise HyperArcError(
            f"the fused sweep expects a GPU and Triton, which comes with torch for CUDA; got {rows.device.type}",
            mend="use sweep: auto",
        )
    if why_not_fused(rows, plan) is not None or not len(rows):
        return chunked_sweep(rows, weight, labels, plan)
    skipped = Skipped()
    swept: tuple[Tensor, ...] = _Fused.apply(rows, weight, labels, plan, skipped)  # type: ignore[no-untyped-call]
    target, log_sum, near, near_class = swept
    nearest = near[:, 0].detach()
    if not plan.top_k:
        return Swept(target, log_sum, nearest, near_class[:, 0], skipped=skipped)
    return Swept(target, log_sum, nearest, near_class[:, 0], near, near_class, skipped=skipped)


def why_not_fused(rows: Tensor, plan: Plan) -> str | None:
    """What of this the kernels do not know, in words; None where they do it all.

    Example:
        >>> why_not_fused(torch.zeros(2, 4), Plan()), why_not_fused(torch.zeros(2, 4).double(), Plan())
        (None, 'float64')
    """
    reasons = {
        "float64": rows.dtype != torch.float32,
        "a binary loss": plan.offset is not None,
        "a bias": plan.bias is not None,
        "a scale chosen from the batch": plan.rescale is not None,
        "this map of the negatives": plan.negative_map is not None and plan.negative_map.form() is None,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


@cache
def can_fuse(device: str) -> bool:
    """Whether there is Triton, and a GPU or its interpreter.

    Example:
        >>> can_fuse("cpu")  # but with TRITON_INTERPRET=1
        False
    """
    there = importlib.util.find_spec("triton") is not None
    return there and (device == "cuda" or INTERPRETED)


def roundoff(product: torch.dtype) -> float:
    """What rounding to ``product`` may change of a number, relative to it: eps of the bound above."""
    return torch.finfo(product).eps / 2


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, labels: Tensor, plan: Plan, skipped: Skipped
    ) -> tuple[Tensor, ...]:
        import hyperarc.heads.sweep.fused_launch as launch

        target, _ = target_cosine(rows, weight, labels, plan)
        inverse = inverse_lengths(weight) if plan.normalize_centers else None
        scale = torch.as_tensor(plan.scale).detach().to(rows, copy=True)
        product, _ = plan.precision.resolved(rows.dtype)
        batch = launch.Batch(rows.to(product).contiguous(), weight.contiguous(), inverse, labels, scale, plan)
        top = max(1, min(plan.top_k, len(weight) - (not plan.foreign)))
        cuts = Cuts.of(len(rows), weight, top, product, plan.memory_mb)
        mass, near, near_class = launch.sum_negatives(batch, cuts.run, top)
        mass = mass.div_(LOG2_E)
        of_blocks = [part.logsumexp(dim=0) for part in mass.split(cuts.block // cuts.run)]
        log_sum = mass.logsumexp(dim=0)
        near, places = near.transpose(0, 1).flatten(1).topk(top, dim=1)
        near_class = near_class.transpose(0, 1).flatten(1).gather(1, places).long()
        known = (scale, inverse, log_sum, near_class, torch.stack(of_blocks))
        ctx.save_for_backward(rows, weight, labels, *known)
        ctx.plan, ctx.skipped, ctx.block = plan, skipped, cuts.block
        ctx.mark_non_differentiable(near_class)
        return target, log_sum, near, near_class

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        import hyperarc.heads.sweep.fused_launch as launch

        rows, weight, labels, scale, inverse, log_sum, near_class, of_blocks = ctx.saved_tensors
        plan: Plan = ctx.plan
        product, _ = plan.precision.resolved(rows.dtype)
        batch = launch.Batch(rows.to(product).contiguous(), weight.contiguous(), inverse, labels, scale, plan)
        room = launch.Shares.room(batch, ctx.block)
        edges = [*range(0, len(weight), ctx.block), len(weight)]
        taken, counts = _taken(gradients[1], of_blocks - _finite(log_sum), edges, roundoff(product))
        work = sum(count * (last - first) for count, (first, last) in zip(counts, pairwise(edges), strict=True))
        ctx.skipped.share = 1.0 - work / (len(rows) * len(weight))
        wanted = (labels[:, None], gradients[0][:, None])
        if plan.top_k:
            wanted = (torch.cat([wanted[0], near_class], dim=1), torch.cat([wanted[1], gradients[2]], dim=1))
        pairs = _Pairs.of(rows, weight, inverse, wanted, edges)
        sums = (_finite(log_sum) * LOG2_E, gradients[1] * scale)
        to_rows = pairs.to_rows.clone()
        to_weight = torch.empty_like(weight[: ctx.block] if plan.update is not None else weight)
        for block, (first, last) in enumerate(pairwise(edges)):
            part = to_weight[: last - first] if plan.update is not None else to_weight[first:last]
            if counts[block]:
                which = taken[block, : counts[block]]
                to_rows[which] += launch.gradients(batch, room, which.int(), (first, last), sums, part)
            else:
                part.zero_()
            pairs.add(block, first, part)
            if plan.update is not None:
                plan.update(first, last, part)
        return to_rows, None if plan.update is not None else to_weight, None, None, None


def _taken(gradient: Tensor, part: Tensor, edges: list[int], epsilon: float) -> tuple[Tensor, list[int]]:
    """For every block, the rows [N] with those that take part in it first, and how many they are.

    Args:
        gradient: of n_i, [N].
        part: log of each block's part of exp(n_i), [blocks, N].
        edges: where blocks begin and end.
        epsilon: what may be lost.
    """
    size = gradient.abs()
    widths = torch.tensor(edges, device=part.device, dtype=part.dtype).diff() / edges[-1]
    counts = ~(size * part.exp() <= epsilon * size.max() * widths[:, None])  # what is no number takes part
    order = counts.byte().argsort(dim=1, descending=True, stable=True)
    return order, counts.sum(dim=1).tolist()


def _finite(log_sum: Tensor) -> Tensor:
    """That of a row without any negative is -inf, from which no difference can be taken."""
    return log_sum.clamp_min(torch.finfo(log_sum.dtype).min / 2)


@dataclass(frozen=True)
class _Pairs:
    """Single cosines with a gradient of their own, in fp32: the true classes', and the nearest negatives'.

    Attributes:
        classes, winners, gradients: [P], [P], [P, d] of the centers, by class.
        bounds: where each block's begin, and where the last's end.
        to_rows: [N, d] what the rows get of them.
    """

    classes: Tensor
    winners: Tensor
    gradients: Tensor
    bounds: list[int]
    to_rows: Tensor

    @staticmethod
    def of(
        rows: Tensor, weight: Tensor, inverse: Tensor | None, wanted: tuple[Tensor, Tensor], edges: list[int]
    ) -> _Pairs:
        """Of the classes [N, m] and the gradients [N, m] of their cosines; a class outside 0..C-1 is none."""
        classes, gradient = wanted
        known = (classes >= 0) & (classes < len(weight))
        place = classes.clamp(0, len(weight) - 1)
        centers = weight[place]  # [N, m, K, d]
        if inverse is not None:
            centers = centers * inverse[place][..., None]
        cosine, winner = torch.einsum("nd,nmkd->nmk", rows, centers).max(dim=2)
        unit = centers.gather(2, winner[:, :, None, None].expand(-1, -1, 1, rows.shape[1]))[:, :, 0]
        gradient = (gradient * known)[:, :, None]
        to_centers = gradient * rows[:, None]
        if inverse is not None:
            to_centers = (to_centers - gradient * cosine[:, :, None] * unit) * inverse[place, winner][:, :, None]
        ordered, order = torch.where(known, classes, len(weight)).flatten().sort(stable=True)
        bounds = torch.searchsorted(ordered, torch.tensor(edges, device=rows.device)).tolist()
        return _Pairs(
            ordered, winner.flatten()[order], to_centers.flatten(0, 1)[order], bounds, (gradient * unit).sum(dim=1)
        )

    def add(self, block: int, first: int, part: Tensor) -> None:
        """Add those of a block to the gradient ``part`` [w, K, d] of its centers."""
        mine = slice(self.bounds[block], self.bounds[block + 1])
        place = (self.classes[mine] - first, self.winners[mine])
        part.index_put_(place, self.gradients[mine], accumulate=True)
