"""X2-Softmax: the target falls with the square of its angle, so the margin grows with the angle.

Xu, Liu, Zhang, Si, Li, Shi, Wang, Gong: "X2-Softmax: Margin Adaptive Loss Function for Face Recognition", Expert
Systems with Applications 2024, arXiv 2312.05281; constants of the authors' training script (XieZixiUSTC/X2-Softmax).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from hyperarc.errors import HyperArcError
from hyperarc.geometry import angle
from hyperarc.margins.beyond_pi import Gradient, check_modes, with_gradient
from hyperarc.margins.margin import Margin, register


@register("x2_softmax")
class X2Softmax(Margin):
    """Target a (theta_y - h)^2 + k, a parabola in place of the cosine.

    Use it for a margin that grows with the angle: small for easy samples, large for hard ones.

    Args:
        a: how fast it falls, negative; -0.9.
        h: angle of its top in radians, at most 0, or the target would rise at first; 0.
        k: its height; 0.65.
        gradient: "analytic", or "straight_through" for parity with the authors' code, which computes the target
            outside autograd.
        scale: s; 64.

    Example:
        >>> import torch
        >>> x2 = X2Softmax()
        >>> right_angle = torch.tensor([0.0])
        >>> round(float(x2.target(right_angle, norm=torch.ones(1), labels=torch.zeros(1, dtype=torch.long))), 4)
        -1.5707
    """

    def __init__(
        self, *, a: float = -0.9, h: float = 0.0, k: float = 0.65, gradient: Gradient = "analytic", **rest: Any
    ) -> None:
        super().__init__(**rest)
        if not (a < 0.0 and h <= 0.0):
            raise HyperArcError(f"the target falls with its angle only for a < 0 and h <= 0, got a = {a}, h = {h}")
        check_modes("raw", gradient)
        self.a, self.h, self.k = a, h, k
        self.gradient = gradient

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        parabola = self.a * (angle(cosine) - self.h) ** 2 + self.k
        return with_gradient(parabola, cosine, self.gradient)
