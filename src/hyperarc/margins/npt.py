"""NPT-Loss: a triplet of sample, own proxy and nearest negative proxies; no softmax, no scale.

Khalid et al.: "NPT-Loss: A Metric Loss with Implicit Mining for Face Recognition", arXiv 2103.03503, TPAMI 2023.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperarc.errors import HyperArcError
from hyperarc.margins.margin import Margin, positive, register


@register("npt")
class NPT(Margin):
    """Loss 2 r^2 sum over the k nearest negatives of max(0, cos(theta_q) - cos(theta_y) + delta).

    Use it to train without scale and softmax; only the nearest negatives of a sample get a gradient.

    Args:
        delta: Delta / (2 r^2), in cosine; 0.5 is the paper's best, Delta = r^2.
        radius: r; 1. It only multiplies the loss.
        top_k: k; 1 for ResNet-50, 6 for MobileFaceNet.
        exclude_target: True is the paper's formula. False is the released code's, which sets the target's cosine to 0
            instead of leaving it out, and multiplies by 2 r.

    Example:
        >>> npt = NPT(delta=0.5)
        >>> npt.loss(torch.tensor([0.6]), torch.zeros(1), nearest=torch.tensor([[0.3]])).tolist()
        [0.3999999761581421]
    """

    def __init__(
        self, *, delta: float = 0.5, radius: float = 1.0, top_k: int = 1, exclude_target: bool = True, **rest: Any
    ) -> None:
        if set(rest) - {"inter_class_filter"}:
            raise HyperArcError("npt has no scale")
        super().__init__(scale=1.0, **rest)
        if top_k < 1:
            raise HyperArcError(f"top_k must be at least 1, got {top_k}")
        self.delta = delta
        self.radius = positive("radius", radius)
        self.top_k = top_k
        self.exclude_target = exclude_target

    def loss(self, logit: Tensor, log_sum: Tensor, nearest: Tensor | None) -> Tensor:
        assert nearest is not None
        factor = 2.0 * self.radius**2
        if self.inter_class_filter is not None:
            nearest = nearest.masked_fill(nearest > self.inter_class_filter, 0.0)
        if not self.exclude_target:
            factor = 2.0 * self.radius
            with_zero = torch.cat([nearest, torch.zeros_like(nearest[:, :1])], dim=1)
            nearest = with_zero.topk(min(self.top_k, with_zero.shape[1]), dim=1).values
        return factor * F.relu(nearest - logit[:, None] + self.delta).sum(dim=1)
