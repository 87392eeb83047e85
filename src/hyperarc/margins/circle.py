"""Circle loss on classes: every cosine is weighted by how far it is from where it should be.

Sun, Cheng, Zhang, Zhang, Zheng, Wang, Wei: "Circle Loss: A Unified Perspective of Pair Similarity Optimization", CVPR
2020, arXiv 2002.10857, equations 5 and 6 with class-level labels: one positive s_p, the true class, and a negative s_n
for every other one. O_p = 1 + m, O_n = -m, Delta_p = 1 - m, Delta_n = m. Defaults of the face recognition toolboxes
FaceX-Zoo and cavaface.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from hyperarc.errors import HyperArcError
from hyperarc.margins.margin import Margin, register


@register("circle")
class CircleLoss(Margin):
    """Target alpha_p (s_p - Delta_p) and negatives alpha_n (s_n - Delta_n), s_p and s_n cosines.

    alpha_p = max(0, 1 + m - s_p) and alpha_n = max(0, s_n + m) are weights: they get no gradient, so the slope of a
    logit is its weight. Two classes part on the circle s_n^2 + (1 - s_p)^2 = 2 m^2.

    Use it where the pull shall follow the mistake: cosines far from their place get most of the gradient.

    Args:
        margin: m in (0, 1), the relaxation factor; 0.25.
        scale: gamma; 256.

    Example:
        >>> import torch
        >>> circle = CircleLoss(margin=0.25)
        >>> circle.target(torch.tensor([0.5]), norm=torch.ones(1), labels=torch.zeros(1, dtype=torch.long)).tolist()
        [-0.1875]
        >>> circle.negative(torch.tensor([[0.5, 0.0]]), threshold=None).tolist()
        [[0.1875, -0.0625]]
    """

    def __init__(self, *, margin: float = 0.25, scale: float = 256.0, **rest: Any) -> None:
        super().__init__(scale=scale, **rest)
        if not 0.0 < margin < 1.0:
            raise HyperArcError(f"margin must be in (0, 1), got {margin}")
        self.margin = margin

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        alpha_p = (1.0 + self.margin - cosine.detach()).clamp_min(0.0)
        return alpha_p * (cosine - (1.0 - self.margin))

    def negative(self, cosine: Tensor, threshold: Tensor | None) -> Tensor:
        return self.negative_slope(cosine, threshold) * (cosine - self.margin)

    def negative_slope(self, cosine: Tensor, threshold: Tensor | None) -> Tensor:
        return (cosine.detach() + self.margin).clamp_min(0.0)  # alpha_n
