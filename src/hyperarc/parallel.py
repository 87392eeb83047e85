"""Several processes at one work: how they find each other, and what they must know of each other's rows.

Of one training, every process computes the same loss, that of the whole batch. The operations here differ in what their
backward pass makes of that, and in nothing else:

- what comes after is *the same in all* processes: the gradient that arrives is whole already, each takes its own rows;
- what comes after is *each one's part* (its own classes): the gradients that arrive are summands, and are added up.

No factor of the number of processes appears anywhere. To get the gradient of a backbone, sum (not average) its
gradients over the processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from hyperarc.errors import HyperArcError

Counts = tuple[int, ...]
_TOLD_BY_TORCHRUN = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}


def world_size() -> int:
    """How many processes work together; 1 where no process group is at work.

    Example:
        >>> world_size()
        1
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of the processes this is, from 0.

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


def share(total: int, of_rank: int, world: int) -> slice:
    """Which of ``total`` consecutive things a rank has; the first ``total % world`` ranks have one more.

    Example:
        >>> [share(5, rank, 3) for rank in range(3)]
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    few, more = divmod(total, world)
    first = few * of_rank + min(of_rank, more)
    return slice(first, first + few + (of_rank < more))


def row_counts(rows: Tensor) -> Counts:
    """How many rows each process has, by rank."""
    if world_size() == 1:
        return (len(rows),)
    counts = torch.empty(world_size(), dtype=torch.int64, device=rows.device)
    all_gather_into(counts, torch.tensor([len(rows)], device=rows.device))
    return tuple(counts.tolist())


def gather(rows: Tensor, counts: Counts | None = None, *, partial: bool = False) -> tuple[Tensor, slice]:
    """The rows of all processes in the order of their ranks, and which of them are this one's.

    Args:
        rows: this process's; the numbers of rows may differ.
        counts: what :func:`row_counts` says, where it is known already.
        partial: whether the gradients of the whole are summands, one of each process (reduce-scatter), or the same in
            all of them.

    Example:
        >>> whole, own = gather(torch.zeros(3, 2))
        >>> whole.shape, own
        (torch.Size([3, 2]), slice(0, 3, None))
    """
    if world_size() == 1:
        return rows, slice(0, len(rows))
    counts = row_counts(rows) if counts is None else counts
    first = sum(counts[: rank()])
    whole: Tensor = _Gather.apply(rows, counts, partial)  # type: ignore[no-untyped-call]
    return whole, slice(first, first + len(rows))


def summed(values: Tensor) -> Tensor:
    """The sum of all processes' values; what is made of it must be the same in all."""
    if world_size() == 1:
        return values
    total: Tensor = _Summed.apply(values)  # type: ignore[no-untyped-call]
    return total


def spread(values: Tensor) -> Tensor:
    """``values``, the same in all processes, for a computation of which each does its part: gradients are added up."""
    if world_size() == 1:
        return values
    same: Tensor = _Spread.apply(values)  # type: ignore[no-untyped-call]
    return same


def log_sum_exp(values: Tensor) -> Tensor:
    """log of the sum over all processes of exp(values); what is made of it must be the same in all."""
    if world_size() == 1:
        return values
    return _LogSumExp.apply(values)  # type: ignore[no-any-return, no-untyped-call]


def largest(values: Tensor) -> Tensor:
    """The largest of all processes' values, each; detached."""
    values = values.detach().clone()
    if world_size() > 1:
        dist.all_reduce(values, dist.ReduceOp.MAX)
    return values


def everyones(words: bytes) -> list[bytes]:
    """What each process says, by rank; all words must be equally long."""
    if world_size() == 1:
        return [words]
    mine = torch.tensor(list(words), dtype=torch.uint8, device=collective_device())
    whole = mine.new_empty(world_size() * len(words))
    all_gather_into(whole, mine)
    return [bytes(part.tolist()) for part in whole.split(len(words))]


def together(problem: str | None = None) -> None:
    """Wait for all processes; :class:`HyperArcError` in those that have no problem where another has one.

    Example:
        >>> together()
    """
    failed = [at for at, words in enumerate(everyones(bytes([problem is not None]))) if words[0]]
    if failed and problem is None:
        raise HyperArcError(f"process {failed[0]} of {world_size()} could not go on", mend="see its own message")


def agreed(*flags: bool) -> tuple[bool, ...]:
    """Flags that are true for all processes once they are for one.

    Example:
        >>> agreed(True, False)
        (True, False)
    """
    everyone = everyones(bytes(flags))
    return tuple(any(words[at] for words in everyone) for at in range(len(flags)))


def collective_device() -> torch.device:
    """Where tensors must lie that processes exchange."""
    return torch.device("cuda" if world_size() > 1 and dist.get_backend() == "nccl" else "cpu")


def stream(rows: Tensor, block_bytes: int = 64 << 20) -> Iterator[Tensor]:
    """The rows of all processes, block by block on the CPU, to the first of them; the others send theirs and get none.

    All processes must exhaust it.

    Example:
        >>> [len(block) for block in stream(torch.zeros(5, 2), block_bytes=16)]
        [2, 2, 1]
    """
    few = max(1, block_bytes // (rows.shape[1:].numel() * rows.element_size()))
    for sender, count in enumerate(row_counts(rows)):
        for first in range(0, count, few):
            if sender == rank():
                block = rows[first : first + few].detach().contiguous()
                if sender:
                    dist.send(block, 0)
                else:
                    yield block.cpu()
            elif rank() == 0:
                block = rows.new_empty(min(few, count - first), *rows.shape[1:])
                dist.recv(block, sender)
                yield block.cpu()


def all_gather_into(whole: Tensor, mine: Tensor) -> None:
    """Fill ``whole`` with what all processes have, by rank along the first axis; equal shapes."""
    name = "all_gather_single" if hasattr(dist, "all_gather_single") else "all_gather_into_tensor"  # until torch 2.12
    getattr(dist, name)(whole, mine)


def _reduce_scatter(mine: Tensor, whole: Tensor) -> None:
    name = "reduce_scatter_single" if hasattr(dist, "reduce_scatter_single") else "reduce_scatter_tensor"
    getattr(dist, name)(mine, whole)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: Counts, partial: bool) -> Tensor:
        ctx.counts, ctx.partial = counts, partial
        longest = max(counts)  # the collectives want equal shapes
        whole = rows.new_empty(len(counts) * longest, *rows.shape[1:])
        all_gather_into(whole, _padded(rows.contiguous(), longest))
        if min(counts) == longest:
            return whole
        return torch.cat([part[:count] for part, count in zip(whole.split(longest), counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        counts, (gradient,) = ctx.counts, gradients
        own, longest = counts[rank()], max(counts)
        if not ctx.partial:
            first = sum(counts[: rank()])
            return gradient[first : first + own].contiguous(), None, None
        if min(counts) < longest:
            gradient = torch.cat([_padded(part, longest) for part in gradient.split(list(counts))])
        mine = gradient.new_empty(longest, *gradient.shape[1:])
        _reduce_scatter(mine, gradient.contiguous())
        return mine[:own], None, None


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        high = largest(values).clamp_min(torch.finfo(values.dtype).min)  # all of them may be -inf
        total = (values - high).exp_()
        dist.all_reduce(total)
        log_sum = total.log_().add_(high)
        ctx.save_for_backward(values, log_sum)
        return log_sum

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        values, log_sum = ctx.saved_tensors
        shares: Tensor = (values - log_sum.clamp_min(torch.finfo(values.dtype).min)).exp_()
        return gradients[0] * shares


def _padded(rows: Tensor, count: int) -> Tensor:
    return rows if len(rows) == count else torch.cat([rows, rows.new_zeros(count - len(rows), *rows.shape[1:])])
