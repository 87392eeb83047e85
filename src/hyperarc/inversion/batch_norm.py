"""Statistics of a batch against those that BatchNorm layers remember (ArcFace, arXiv 1801.07698v4, Eq. 8)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hyperarc.errors import HyperArcError
from hyperarc.inversion.priors import Priors

_TINY = 1e-12  # under a root, whose slope at 0 is infinite


class _Moments(torch.autograd.Function):
    """What passes through, and its mean and variance: all three gradients meet in one pass over the values."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        exact = values if values.dtype == torch.float64 else values.float()
        # thirty times as fast as torch.var_mean where channels lie last
        mean, variance = torch.batch_norm_update_stats(exact, None, None, 0.0)
        ctx.save_for_backward(values, mean)
        return values.view_as(values), mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (values, mean), (passed, of_mean, of_variance) = ctx.saved_tensors, gradients
        count = values.numel() // values.shape[1]
        shape = [1, -1] + [1] * (values.ndim - 2)
        slope = of_variance * (2 / count)
        offset = (of_mean / count - slope * mean).reshape(shape).to(values.dtype)
        return torch.addcmul(offset, values, slope.reshape(shape).to(values.dtype)).add_(passed)


def moments(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values [N, C, ...] as they came, their mean [C] and biased variance [C] over all but the channels.

    What follows should go on with the values returned; their gradient then holds that of mean and variance. Statistics
    are in fp32, or fp64 of fp64.

    Example:
        >>> _, mean, variance = moments(torch.tensor([[1.0], [3.0]]))
        >>> mean.tolist(), variance.tolist()
        ([2.0], [1.0])
    """
    passed, mean, variance = _Moments.apply(values)  # type: ignore[no-untyped-call]
    return passed, mean, variance


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
        handles = [
            layer.register_forward_pre_hook(lambda _, inputs, at=at: self._look(at, inputs))
            for at, layer in enumerate(self._layers)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def value(self) -> Tensor:
        """Of the last forward pass, a scalar."""
        return torch.stack([self._found[at] for at in range(self.layers)]).sum()

    def _look(self, at: int, inputs: tuple[Any, ...]) -> Tensor:
        layer = self._layers[at]
        values, mean, variance = moments(inputs[0])
        remembered_mean, remembered = layer.running_mean, layer.running_var
        assert isinstance(remembered_mean, Tensor)
        assert isinstance(remembered, Tensor)
        if self._paper:
            apart = (mean - remembered_mean).square().sum()
            apart = apart + ((variance + _TINY).sqrt() - (remembered + _TINY).sqrt()).square().sum()
        else:
            apart = _length(mean - remembered_mean) + _length(variance - remembered)
        self._found[at] = apart * self._first if at == 0 else apart
        return values


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
