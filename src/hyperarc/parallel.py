"""Several processes of one training: what they must know of each other's rows."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """How many processes train together; 1 where no process group is at work.

    Example:
        >>> world_size()
        1
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather(rows: Tensor) -> tuple[Tensor, slice]:
    """The rows of all processes in the order of their ranks, and which of them are this one's.

    The numbers of rows may differ. Every process is expected to compute the same loss of the whole: the gradient handed
    back is that of the whole in this process's rows, without a factor of the number of processes. To get the gradient
    of a backbone, sum (not average) its gradients over the processes.

    Example:
        >>> whole, own = gather(torch.zeros(3, 2))
        >>> whole.shape, own
        (torch.Size([3, 2]), slice(0, 3, None))
    """
    if world_size() == 1:
        return rows, slice(0, len(rows))
    counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
    sizes = [int(count) for count in counts]
    first = sum(sizes[: dist.get_rank()])
    own = slice(first, first + len(rows))
    whole: Tensor = _Gather.apply(rows, sizes, own)  # type: ignore[no-untyped-call]
    return whole, own


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int], own: slice) -> Tensor:
        ctx.own = own
        longest = rows.new_zeros(max(sizes), *rows.shape[1:])  # collectives want equal shapes
        longest[: len(rows)] = rows
        parts = [torch.empty_like(longest) for _ in sizes]
        dist.all_gather(parts, longest)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.own].contiguous(), None, None
