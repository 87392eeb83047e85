"""AdaptiveFace (AdaM-Softmax): every class learns its own margin.

Liu et al.: "AdaptiveFace: Adaptive Margin and Sampling for Face Recognition", CVPR 2019, equations 4 to 6. No official
code exists; initial margins, clamp, s and lambda as in FaceX-Zoo. Hard prototype mining and adaptive sampling live
outside the margin.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hyperarc.errors import HyperArcError
from hyperarc.geometry import add_angle
from hyperarc.margins.margin import Margin, register


@register("adaptiveface")
class AdaptiveFace(Margin):
    """Target cos(theta_y) - m_y with m_y learned, and a penalty lambda (1 - mean m) that pushes margins up.

    A class pushes its margin down whenever it is seen, so rare classes keep larger ones.

    Use it where people have very different numbers of faces.

    Args:
        penalty_weight: lambda; 70.
        margin_init: range that the margins are drawn from at the start; (0.3, 0.4).
        angular: cos(theta_y + m_y) instead.
        seed: of the initial margins.
        scale: s; 32.

    Attributes:
        margins: Parameter [C], held in [0, 1].

    Example:
        >>> adaptive = AdaptiveFace(margin_init=(0.35, 0.35))
        >>> adaptive.for_classes(10)
        >>> adaptive.target(torch.tensor([0.5]), torch.ones(1), torch.tensor([3])).tolist()
        [0.15000000596046448]
    """

    def __init__(
        self,
        *,
        penalty_weight: float = 70.0,
        margin_init: tuple[float, float] = (0.3, 0.4),
        angular: bool = False,
        seed: int = 0,
        scale: float = 32.0,
        **rest: Any,
    ) -> None:
        super().__init__(scale=scale, **rest)
        low, high = margin_init
        if not 0.0 <= low <= high <= 1.0:
            raise HyperArcError(f"margin_init must be a range within [0, 1], got {low} to {high}")
        self.penalty_weight = penalty_weight
        self.margin_init = (low, high)
        self.angular = angular
        self.seed = seed
        self.margins = nn.Parameter(torch.zeros(0))

    def for_classes(self, num_classes: int) -> None:
        draws = torch.rand(num_classes, generator=torch.Generator().manual_seed(self.seed))
        low, high = self.margin_init
        self.margins = nn.Parameter(low + (high - low) * draws)

    def observe(self, cosine: Tensor, norm: Tensor) -> None:
        self.margins.clamp_(0.0, 1.0)

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        m_y = self.margins[labels].to(cosine.dtype)
        return add_angle(cosine, m_y) if self.angular else cosine - m_y

    def penalty(self, norm: Tensor) -> Tensor:
        return self.penalty_weight * (1.0 - self.margins.to(norm.dtype).mean())
