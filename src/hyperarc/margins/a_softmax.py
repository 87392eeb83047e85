"""A-Softmax: the original SphereFace loss, features not normalized, annealed from the plain softmax.

Liu et al.: "SphereFace: Deep Hypersphere Embedding for Face Recognition", CVPR 2017, arXiv 1704.08063, equations 6
and 7; schedule of lambda from the authors' CASIA configuration. The authors' Caffe layer propagates a rescaled
gradient; this is the true one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hyperarc.errors import HyperArcError
from hyperarc.geometry import angle
from hyperarc.margins.margin import Margin, register


@register("a_softmax")
class ASoftmax(Margin):
    """Target ||x|| (lambda cos(theta_y) + psi(theta_y)) / (1 + lambda), negatives ||x|| cos(theta_j).

    psi(theta) = (-1)^k cos(m theta) - 2k with k = floor(m theta / pi) falls over all of [0, pi]; lambda falls with
    the iteration: max(lambda_min, base (1 + gamma iteration)^(-power)).

    Use it to repeat SphereFace as published; arcface and cosface train without annealing.

    Args:
        margin: m, a positive integer; 4 as in the paper.
        base, gamma, power, lambda_min: of the schedule; 1000, 0.12, 1 and 5 as in the authors' configuration, with
            which the network never sees more than a sixth of the margin.

    Attributes:
        iteration: buffer, counted up before use.

    Example:
        >>> a_softmax = ASoftmax(margin=4)
        >>> a_softmax.target(torch.tensor([2.0]), norm=torch.tensor([2.0]), labels=torch.tensor([0])).tolist()
        [2.0]
    """

    normalizes_embeddings = False

    def __init__(
        self,
        *,
        margin: int = 4,
        base: float = 1000.0,
        gamma: float = 0.12,
        power: float = 1.0,
        lambda_min: float = 5.0,
        **rest: Any,
    ) -> None:
        if set(rest) - {"inter_class_filter"}:
            raise HyperArcError("a_softmax has no scale: the embedding's length is its scale")
        super().__init__(scale=1.0, **rest)
        if margin != int(margin) or margin < 1:
            raise HyperArcError(f"margin must be a positive integer, got {margin}")
        self.margin = int(margin)
        self.base, self.gamma, self.power, self.lambda_min = base, gamma, power, lambda_min
        self.iteration: Tensor
        self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))

    def observe(self, cosine: Tensor, norm: Tensor) -> None:
        self.iteration += 1

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        # what comes is <x, w> = ||x|| cos(theta)
        length = norm.clamp_min(1e-12)
        cosine = (cosine / length).clamp(-1.0, 1.0)
        annealed = float(self.base * (1.0 + self.gamma * float(self.iteration)) ** -self.power)
        weight = max(self.lambda_min, annealed)
        margined: Tensor = length * (weight * cosine + self._psi(cosine)) / (1.0 + weight)
        return margined

    def _psi(self, cosine: Tensor) -> Tensor:
        before, multiple = torch.ones_like(cosine), cosine  # Chebyshev: cos(m theta) without an arccos
        for _ in range(self.margin - 1):
            before, multiple = multiple, 2.0 * cosine * multiple - before
        k = torch.floor(self.margin * angle(cosine.detach()) / torch.pi).clamp_max(self.margin - 1)
        return (1.0 - 2.0 * (k % 2)) * multiple - 2.0 * k
