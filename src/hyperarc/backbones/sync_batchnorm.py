"""Batch norms over the batch of all processes, on a CPU too.

torch.nn.SyncBatchNorm refuses the CPU. The statistics are those that one process would take of the whole batch: means,
squared differences and counts of the parts are joined as Chan, Golub and LeVeque do (1979), without cancellation.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from hyperarc.parallel import all_gather_into, world_size


class SyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """A batch norm of any number of dimensions; in eval mode, or in one process, torch's own.

    Example:
        >>> norm = SyncBatchNorm(3)
        >>> norm(torch.randn(4, 3, 2, 2)).mean().abs() < 1e-6
        tensor(True)
    """

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """x [N, C, ...] normalized over N of all processes and the places behind C."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        output, mean, variance, count = _Normalize.apply(input, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            newest = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            unbiased = variance * (count / (count - 1))
            self.running_mean.lerp_(mean.to(self.running_mean), newest)
            self.running_var.lerp_(unbiased.to(self.running_var), newest)
        return output  # type: ignore[no-any-return]


def synchronize(module: nn.Module, device: str = "cpu") -> nn.Module:
    """The module with every batch norm exchanged for one over all processes, parameters and buffers kept.

    On CUDA that is torch's own, which is fused.

    Example:
        >>> net = synchronize(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
        >>> type(net[1]).__name__, sorted(net.state_dict())[:2]
        ('SyncBatchNorm', ['0.bias', '0.weight'])
    """
    if device == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-any-return]
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and not isinstance(child, SyncBatchNorm):
            norm = SyncBatchNorm(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
            for kept in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
                setattr(norm, kept, getattr(child, kept))
            module.add_module(name, norm.train(child.training))
        else:
            synchronize(child, device)
    return module


class _Normalize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, ...]:
        axes = [0, *range(2, rows.ndim)]
        wide = rows if rows.dtype == torch.float64 else rows.float()
        size, channels = wide[:, 0].numel(), rows.shape[1]
        mean = wide.mean(dim=axes) if size else wide.new_zeros(channels)
        squares = (wide - _as(mean, rows)).square().sum(dim=axes)
        parts = wide.new_empty(world_size(), 2 * channels + 1)
        all_gather_into(parts.view(-1), torch.cat([mean, squares, mean.new_tensor([size])]))
        means, all_squares, counts = parts.split([channels, channels, 1], dim=1)
        count = counts.sum()
        mean = (means * counts).sum(dim=0) / count
        variance = (all_squares.sum(dim=0) + (counts * (means - mean).square()).sum(dim=0)) / count
        ctx.save_for_backward(rows, weight, mean, (variance + eps).rsqrt(), count)
        ctx.mark_non_differentiable(mean, variance, count)
        return F.batch_norm(rows, mean, variance, weight, bias, False, 0.0, eps), mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, mean, inverse, count = ctx.saved_tensors
        axes = [0, *range(2, rows.ndim)]
        gradient = gradients[0].to(mean.dtype)
        normalized = (rows - _as(mean, rows)) * _as(inverse, rows)
        to_bias, to_weight = gradient.sum(dim=axes), (gradient * normalized).sum(dim=axes)
        sums = torch.stack([to_bias, to_weight])
        dist.all_reduce(sums)
        along = _as(sums[0], rows) + normalized * _as(sums[1], rows)
        slope = inverse if weight is None else inverse * weight.to(inverse.dtype)
        to_rows = (gradient - along / count) * _as(slope, rows)
        if weight is None:
            return to_rows.to(rows.dtype), None, None, None
        return to_rows.to(rows.dtype), to_weight.to(weight.dtype), to_bias.to(weight.dtype), None


def _as(values: Tensor, rows: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (rows.ndim - 2))
