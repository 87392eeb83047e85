"""CurricularFace: easy negatives first, hard negatives later, without a hand-set schedule.

Huang et al.: "CurricularFace: Adaptive Curriculum Learning Loss for Deep Face Recognition", CVPR 2020,
arXiv 2004.00288, equations 5 to 7; handling beyond pi and start of t as in the authors' code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hyperarc.geometry import add_angle
from hyperarc.margins.beyond_pi import margined_cosine
from hyperarc.margins.margin import Margin, NegativeForm, register


@register("curricularface")
class CurricularFace(Margin):
    """Target cos(theta_y + m); negatives harder than it, cos(theta_j) > cos(theta_y + m), become c_j (t + c_j).

    Use it on data of mixed difficulty: hard negatives count less while t is small, and more as training goes on.

    Args:
        margin: m in radians; 0.5.
        momentum: of t; 0.99.
        scale: s; 64.

    Attributes:
        t: buffer [1], running mean of the batch's target cosines, updated before use.

    Example:
        >>> curricular = CurricularFace()
        >>> curricular.negative(torch.tensor([[0.1, 0.6]]), threshold=torch.tensor([[0.5]])).tolist()
        [[0.10000000149011612, 0.36000001430511475]]
    """

    def __init__(self, *, margin: float = 0.5, momentum: float = 0.99, **rest: Any) -> None:
        super().__init__(**rest)
        self.margin = margin
        self.momentum = momentum
        self.t: Tensor
        self.register_buffer("t", torch.zeros(1))

    def observe(self, cosine: Tensor, norm: Tensor) -> None:
        self.t.lerp_(cosine.mean().to(self.t), 1.0 - self.momentum)

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        return margined_cosine(cosine, 1.0, self.margin, "threshold")

    def threshold(self, cosine: Tensor, norm: Tensor) -> Tensor:
        return add_angle(cosine, self.margin)  # of the plain formula, also beyond pi

    def negative(self, cosine: Tensor, threshold: Tensor | None) -> Tensor:
        assert threshold is not None
        return torch.where(cosine > threshold, cosine * (self.t + cosine), cosine)

    def negative_slope(self, cosine: Tensor, threshold: Tensor | None) -> Tensor:
        assert threshold is not None
        return torch.where(cosine > threshold, self.t + 2.0 * cosine, 1.0)

    def negative_form(self) -> NegativeForm:
        return NegativeForm(square=1.0, linear=self.t)
