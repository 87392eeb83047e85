"""Cosines of a block, and the logits of its negatives."""

from __future__ import annotations

import torch
from torch import Tensor

from hyperarc.heads.sweep.blocks import Block, Blocks, inverse_lengths
from hyperarc.heads.sweep.plan import Plan


def target_cosine(rows: Tensor, weight: Tensor, labels: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    """c_iy [N] and which of the K it was; 0 of a row whose label is not among the classes."""
    known = (labels >= 0) & (labels < len(weight))
    classes = labels.clamp(0, len(weight) - 1)
    own = weight[classes]  # [N, K, d]
    cosine = torch.einsum("nd,nkd->nk", rows, own)
    if plan.normalize_centers:
        cosine *= inverse_lengths(own)
    largest, winner = cosine.max(dim=1)
    if plan.bias is not None:
        largest += plan.bias[classes]
    return largest.masked_fill_(~known, 0.0), winner


class Logits:
    """The blocks' cosines and logits at one scale.

    Where the margin leaves negatives alone, a logit is a cosine times a number, which is multiplied into the rows once:
    both are then one tensor.

    Args:
        unit: what natural logits are multiplied by.

    Attributes:
        fold: [] what cosines come multiplied with.
    """

    def __init__(self, blocks: Blocks, rows: Tensor, plan: Plan, scale: Tensor, unit: float) -> None:
        self.blocks = blocks
        self.plan = plan
        self.factor = scale * unit
        self.fold = self.factor if plan.negative_map is None else torch.ones_like(self.factor)
        self.dtype = rows.dtype
        self.rows = (rows if plan.negative_map is not None else rows * self.fold).to(blocks.product)

    def of(self, block: Block, *, with_slope: bool) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Cosines times ``fold`` and logits [N, w], both -inf at the own classes; who won; d negative / d c.

        The slope is None where it is 1, or not asked for.
        """
        cosine, winner = self.blocks.products(block, self.rows)
        if self.plan.bias is not None:
            cosine.add_(self.plan.bias[block.first : block.last] * self.fold)
        logit, slope = cosine, None
        if self.plan.negative_map is not None:
            exact = cosine.to(self.dtype)
            logit = self.plan.negative_map(exact) * self.factor
            slope = self.plan.negative_map.slope(exact) if with_slope else None
            logit[block.rows, block.slots] = -torch.inf
        cosine[block.rows, block.slots] = -torch.inf
        return cosine, logit, winner, slope
