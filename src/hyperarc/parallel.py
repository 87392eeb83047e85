"""Several processes at one work: how they find each other, and what they must know of each other's rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_TOLD_BY_TORCHRUN = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}


def world_size() -> int:
    """How many processes work together; 1 where no process group is at work.

    Example:
        >>> world_size()
        1
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0.

    Example:
        >>> rank()
        0
    """
    return dist.get_rank() if world_size() > 1 else 0


@contextmanager
def torchrun_group(device: str, *, patience: timedelta = timedelta(days=7)) -> Iterator[str]:
    """The group of all processes that ``torchrun`` started, and the device of this one; without it nothing is set up.

    Args:
        device: "cuda" becomes each process's own.
        patience: how long the first waits for the last.

    Example:
        >>> with torchrun_group("cpu") as device:
        ...     device, world_size()
        ('cpu', 1)
    """
    if not os.environ.keys() >= _TOLD_BY_TORCHRUN:
        yield device
        return
    if device == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=patience)
    try:
        yield device
    finally:
        dist.destroy_process_group()


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
