"""The sweeps by name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hyperarc.heads.sweep.blocks import size_of
from hyperarc.heads.sweep.chunked import chunked_sweep
from hyperarc.heads.sweep.fused import can_fuse, fused_sweep, why_not_fused
from hyperarc.heads.sweep.fused_memory import fused_footprint
from hyperarc.heads.sweep.memory import footprint
from hyperarc.heads.sweep.plan import Plan, Swept
from hyperarc.heads.sweep.reference import reference_sweep

Sweep = Callable[[Tensor, Tensor, Tensor, Plan], Swept]


def auto_sweep(rows: Tensor, weight: Tensor, labels: Tensor, plan: Plan) -> Swept:
    """The fused sweep on a GPU where Triton is installed, else the chunked."""
    return SWEEPS[resolve("auto", rows.device.type)](rows, weight, labels, plan)


SWEEPS: dict[str, Sweep] = {
    "auto": auto_sweep,
    "chunked": chunked_sweep,
    "fused": fused_sweep,
    "reference": reference_sweep,
}


def resolve(name: str, device: str, plan: Plan | None = None) -> str:
    """Which sweep ``name`` is on ``device`` ("cpu", "cuda"), of fp32 rows; with a plan, whether the kernels know it.

    Example:
        >>> resolve("auto", "cpu"), resolve("reference", "cuda")
        ('chunked', 'reference')
    """
    if name == "auto":
        name = "fused" if device == "cuda" and can_fuse(device) else "chunked"
    if name == "fused" and plan is not None and why_not_fused(torch.empty(0), plan) is not None:
        return "chunked"
    return name


def held_bytes(name: str, rows: Tensor, weight: Tensor, plan: Plan) -> int:
    """What the chunked or the fused sweep of rows [N, d] over centers [C, K, d] holds beside its inputs and results.

    Only shapes and types are looked at.

    Example:
        >>> with torch.device("meta"):
        ...     rows, weight = torch.empty(512, 512), torch.empty(100_000, 1, 512)
        >>> held_bytes("chunked", rows, weight, Plan(memory_mb=176)) < 200e6
        True
    """
    return fused_footprint(rows, weight, plan) if name == "fused" else footprint(size_of(rows, weight, plan)).total
