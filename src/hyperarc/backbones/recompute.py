"""Gradient checkpointing of one stage: its activations are computed again in the backward pass.

The second pass must not touch BatchNorm's running statistics, or every step would count twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def recomputed(stage: nn.Module, x: Tensor) -> Tensor:
    """``stage(x)`` that keeps only ``x``; same value, gradients and running statistics as the plain call.

    Example:
        >>> import torch
        >>> recomputed(nn.Linear(2, 3), torch.zeros(1, 2, requires_grad=True)).shape
        torch.Size([1, 3])
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_kept(stage)

    out: Tensor = checkpoint(stage, x, use_reentrant=False, context_fn=contexts)
    return out


@contextmanager
def _statistics_kept(stage: nn.Module) -> Iterator[None]:
    norms = [module for module in stage.modules() if isinstance(module, _BatchNorm)]
    saved = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, saved, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked
