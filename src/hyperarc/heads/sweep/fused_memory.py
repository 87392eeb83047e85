"""How a fused sweep is cut into runs and blocks, and what memory it then holds."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor

from hyperarc.heads.sweep.plan import Plan

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
RUN = 32 if INTERPRETED else 1024  # fewest classes of a run
PART = 32 if INTERPRETED else 4096  # classes that one program adds up for the rows' gradient
SHARE_ROWS = 16 if INTERPRETED else 128  # rows of a tile of fill_shares, in every configuration


@dataclass(frozen=True)
class Cuts:
    """Classes of a run, whose sum forward keeps while it works, and of a block, whose shares backward holds."""

    run: int
    block: int

    @staticmethod
    def of(rows: int, weight: Tensor, top: int, product: torch.dtype, memory_mb: float) -> Cuts:
        """As large as half of ``memory_mb`` allows for the sums, and half for the shares; never less than a run."""
        half, run = int(memory_mb * 2**19), RUN
        classes, sub_centers = weight.shape[:2]
        while run < classes and -(-classes // run) * rows * (4 + 24 * top) > half:  # values, classes, and to sort them
            run *= 2
        of_class = sub_centers * (rows * product.itemsize + 4 * -(-rows // SHARE_ROWS))
        most = -(-classes // run)
        return Cuts(run, run * max(1, min(most, half // (of_class * run))))


def fused_footprint(rows: Tensor, weight: Tensor, plan: Plan) -> int:
    """What a fused sweep of rows [N, d] over centers [C, K, d] holds beside its inputs and its results, bytes.

    Only shapes and types are looked at.

    Example:
        >>> with torch.device("meta"):
        ...     rows, weight = torch.empty(1024, 512), torch.empty(29_000_000, 1, 512)
        >>> round(fused_footprint(rows, weight, Plan(memory_mb=176)) / 1e6)
        231
    """
    (count, dim), (classes, k, _) = rows.shape, weight.shape
    product, _ = plan.precision.resolved(rows.dtype)
    top = max(1, min(plan.top_k, classes - (not plan.foreign)))
    cuts = Cuts.of(count, weight, top, product, plan.memory_mb)
    runs, blocks = -(-classes // cuts.run), -(-classes // cuts.block)
    lengths = 4 * classes * k if plan.normalize_centers else 0
    of_rows = count * dim * (product.itemsize if product != rows.dtype else 0)
    known = lengths + of_rows + 4 * count * blocks  # stays from forward to backward
    forward = runs * count * (4 + 24 * top)
    pairs = 1 + (top if plan.top_k else 0)  # single cosines of a row with a gradient of their own
    backward = (
        k * cuts.block * (count * product.itemsize + 4 * -(-count // SHARE_ROWS))  # shares, and what is along centers
        + 4 * count * dim * -(-cuts.block // PART)  # parts of the rows' gradient
        + 8 * count * blocks  # who takes part
        + 4 * count * dim * (6 + 2 * pairs)  # gradients of rows and of pairs
        + (4 * cuts.block * k * dim if plan.update is not None else 0)  # of one block's centers
    )
    return known + max(forward, backward)
