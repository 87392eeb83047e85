"""The backbone over several processes: its gradients and its running statistics."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hyperarc.parallel import world_size


def over_processes(backbone: nn.Module, device: str) -> nn.Module:
    """The backbone, whose gradients become the sum over all processes while the backward pass still runs.

    Every process computes the loss of the whole batch, so the sum, and not DDP's usual mean, is its gradient. Weights
    are made those of the first process; running statistics are left to :func:`average_buffers`.
    """
    if world_size() == 1 or not any(parameter.requires_grad for parameter in backbone.parameters()):
        return backbone
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # until torch 2.12
    quiet: dict[str, Any] = {name: False}
    ids = [torch.cuda.current_device()] if device == "cuda" else None
    wrapped = DistributedDataParallel(backbone, device_ids=ids, gradient_as_bucket_view=True, **quiet)
    wrapped.register_comm_hook(None, lambda state, bucket: sum_gradients(bucket))
    return wrapped


def held_back(forward: Callable[[Tensor], Tensor], last: bool) -> AbstractContextManager[None]:
    """For all parts of a batch but the last: gradients are added up here, and sent with the last part's."""
    quiet: AbstractContextManager[None] | None = None if last else getattr(forward, "no_sync", nullcontext)()
    return quiet or nullcontext()


def sum_gradients(bucket: Any) -> torch.futures.Future[Tensor]:
    """DDP's communication, without its division by the number of processes."""
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    return work.get_future().then(lambda done: done.value()[0])  # type: ignore[no-any-return]


@torch.no_grad()
def average_buffers(module: nn.Module) -> None:
    """Make running statistics the mean over the processes, each of which has seen its part of the batch.

    The mean commutes with the running average, so it is the running average of the parts' mean statistics; every
    process then holds the same network, whichever of them saves it.
    """
    buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
    if world_size() == 1 or not buffers:
        return
    flat = torch.cat([buffer.flatten() for buffer in buffers])
    dist.all_reduce(flat)
    parts = flat.div_(world_size()).split([buffer.numel() for buffer in buffers])
    for buffer, part in zip(buffers, parts, strict=True):
        buffer.copy_(part.view_as(buffer))
