"""The sweep over the classes: the only N x C work of a head.

``reference`` is dense, plain and differentiable by autograd; ``chunked`` never holds the N x C matrix; ``fused`` does
the same on a GPU, in kernels. All take a :class:`~hyperarc.heads.sweep.plan.Plan` and return a
:class:`~hyperarc.heads.sweep.plan.Swept`, and tests hold them equal in value and gradient.
"""

from hyperarc.heads.sweep.choice import SWEEPS, Sweep, held_bytes, resolve
from hyperarc.heads.sweep.chunked import chunked_sweep
from hyperarc.heads.sweep.fused import fused_sweep
from hyperarc.heads.sweep.memory import Footprint, SweepSize, footprint
from hyperarc.heads.sweep.plan import Plan, Skipped, Swept
from hyperarc.heads.sweep.precision import Precision, choose_precision
from hyperarc.heads.sweep.reference import cosines, reference_sweep
from hyperarc.heads.sweep.update import UpdateInBackward

__all__ = [
    "SWEEPS",
    "Footprint",
    "Plan",
    "Precision",
    "Skipped",
    "Sweep",
    "SweepSize",
    "Swept",
    "UpdateInBackward",
    "choose_precision",
    "chunked_sweep",
    "cosines",
    "footprint",
    "fused_sweep",
    "held_bytes",
    "reference_sweep",
    "resolve",
]
