"""Statistics of a batch against those that BatchNorm layers remember (ArcFace, arXiv 1801.07698v4, Eq. 8)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hyperarc.errors import HyperArcError
from hyperarc.inversion.priors import Priors

_TINY = 1e-12  # under a root, whose slope at 0 is infinite


class _Normalized(torch.autograd.Function):
    """What a frozen BatchNorm returns, and mean and variance of what it got: gradients of all three meet in two passes.

    torch's own, beside statistics of a batch, needs twice the time.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        exact = values if values.dtype == torch.float64 else values.float()
        # up to thirty times as fast as torch.var_mean where channels lie last
        mean, variance = torch.batch_norm_update_stats(exact, None, None, 0.0)
        ctx.save_for_backward(values, scale, mean)
        return torch.addcmul(_wide(shift, exact), exact, _wide(scale, exact)).to(values.dtype), mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (values, scale, mean), (of_output, of_mean, of_variance) = ctx.saved_tensors, gradients
        count = values.numel() // values.shape[1]
        slope = of_variance * (2 / count)
        offset = of_mean / count - slope * mean
        found = torch.addcmul(_wide(offset, values), values, _wide(slope, values))
        return found.addcmul_(of_output, _wide(scale, values)).to(values.dtype), None, None


def _wide(vector: Tensor, like: Tensor) -> Tensor:
    """[C] as [1, C, 1, ...]."""
    return vector.reshape([1, -1] + [1] * (like.ndim - 2))


def normalize_with_moments(values: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values [N, C, ...] times scale [C] plus shift [C]; mean [C] and biased variance [C] of the values.

    Neither scale nor shift gets a gradient. Statistics are in fp32, or fp64 of fp64.

    Example:
        >>> found = normalize_with_moments(torch.tensor([[1.0], [3.0]]), torch.ones(1), torch.ones(1))
        >>> [tensor.flatten().tolist() for tensor in found]
        [[2.0, 4.0], [2.0], [1.0]]
    """
    normalized, mean, variance = _Normalized.apply(values, scale, shift)  # type: ignore[no-untyped-call]
    return normalized, mean, variance


class BatchNormPrior:
    """How far the statistics of a batch are from those that the model's BatchNorm layers remember.

    Equation 8 of the ArcFace paper: the sum over layers of ||mean - running mean||^2 + ||std - running std||^2, where
    mean and std are taken of the layer's input over batch and space, the variance divided by n. Statistics are those of
    the layer's input, computed in fp32 whatever the network computes in.

    Args:
        backbone: in eval mode.
        priors: kind of statistics, factor of the first layer, whether the neck counts.

    Raises:
        HyperArcError: no BatchNorm at all, or one without running statistics.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
        >>> prior = BatchNormPrior(net, Priors())
        >>> with prior.watching():
        ...     _ = net(torch.randn(8, 3, 16, 16))
        >>> prior.value().shape, prior.layers
        (torch.Size([]), 1)
    """

    def __init__(self, backbone: nn.Module, priors: Priors) -> None:
        self._layers = list(_norms(backbone, priors.neck))
        self._paper = priors.statistics == "paper"
        self._first = priors.first_layer
        self._found: dict[int, Tensor] = {}

    @property
    def layers(self) -> int:
        """How many are watched."""
        return len(self._layers)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this is open, forward passes are looked at; the last one counts."""
        for at, layer in enumerate(self._layers):
            layer.forward = partial(self._look, at, *_scale_and_shift(layer))
        try:
            yield
        finally:
            for layer in self._layers:
                del layer.forward

    def value(self) -> Tensor:
        """Of the last forward pass, a scalar."""
        return torch.stack([self._found[at] for at in range(self.layers)]).sum()

    def _look(self, at: int, scale: Tensor, shift: Tensor, values: Tensor) -> Tensor:
        """The layer's forward pass while it is watched."""
        normalized, mean, variance = normalize_with_moments(values, scale, shift)
        remembered_mean, remembered = _remembered(self._layers[at])
        if self._paper:
            apart = (mean - remembered_mean).square().sum()
            apart = apart + ((variance + _TINY).sqrt() - (remembered + _TINY).sqrt()).square().sum()
        else:
            apart = _length(mean - remembered_mean) + _length(variance - remembered)
        self._found[at] = apart * self._first if at == 0 else apart
        return normalized


def _remembered(layer: nn.Module) -> tuple[Tensor, Tensor]:
    mean, variance = layer.running_mean, layer.running_var
    assert isinstance(mean, Tensor)
    assert isinstance(variance, Tensor)
    return mean, variance


@torch.no_grad()
def _scale_and_shift(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Of a BatchNorm in eval mode: output = scale * input + shift."""
    assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
    mean, variance = _remembered(layer)
    scale = (variance + layer.eps).rsqrt()
    scale = scale if layer.weight is None else scale * layer.weight
    shift = -mean * scale
    return scale, shift if layer.bias is None else shift + layer.bias


def _length(vector: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vector)
    return length


def _norms(backbone: nn.Module, neck: bool) -> Iterator[nn.Module]:
    kinds: tuple[type[nn.Module], ...] = (nn.BatchNorm2d, nn.BatchNorm1d) if neck else (nn.BatchNorm2d,)
    found = [(name, module) for name, module in backbone.named_modules() if isinstance(module, kinds)]
    if not found:
        raise HyperArcError(
            f"{type(backbone).__name__} has no BatchNorm whose statistics could guide the inversion",
            mend="set the weight batch_norm to 0; total variation, image norm and range still apply",
        )
    for name, module in found:
        if getattr(module, "running_mean", None) is None:
            raise HyperArcError(
                f"layer {name} keeps no running statistics (track_running_stats is off)",
                mend="set the weight batch_norm to 0, or train with running statistics",
            )
        yield module
