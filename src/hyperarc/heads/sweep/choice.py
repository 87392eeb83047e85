"""The sweeps by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from hyperarc.heads.sweep.chunked import chunked_sweep
from hyperarc.heads.sweep.fused import can_fuse, fused_sweep
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


def resolve(name: str, device: str) -> str:
    """Which sweep ``name`` is on ``device`` ("cpu", "cuda").

    Example:
        >>> resolve("auto", "cpu"), resolve("reference", "cuda")
        ('chunked', 'reference')
    """
    if name != "auto":
        return name
    return "fused" if device == "cuda" and can_fuse(device) else "chunked"
