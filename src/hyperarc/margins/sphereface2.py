"""SphereFace2: C binary questions, "is it this person?", in place of one choice among C.

Wen, Liu, Weller, Raj, Singh: "SphereFace2: Binary Classification is All You Need for Deep Face Recognition", ICLR 2022,
arXiv 2108.01513, equation 5 with the additive margin on the cosine (SphereFace2-C); constants, factor of the loss and
start of b as in the authors' OpenSphere.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperarc.errors import HyperArcError
from hyperarc.margins.beyond_pi import Gradient, check_modes, with_gradient
from hyperarc.margins.margin import Margin, positive, register


@register("sphereface2")
class SphereFace2(Margin):
    """Loss (w / r) (lambda log(1 + e^(-z_y)) + (1 - lambda) sum_{j != y} log(1 + e^(z_j))).

    z_y = r (g(cos(theta_y)) - m) + b and z_j = r (g(cos(theta_j)) + m) + b, with g(c) = 2 ((c + 1) / 2)^t - 1.

    Use it where one threshold shall hold for all people: every class is its own yes or no, as in verification.

    Args:
        margin: m in cosine; 0.4.
        balance: lambda in (0, 1), weight of the true class; 0.7.
        t: of g, which spreads the small angles between faces; 3. At 1 g is the identity.
        loss_weight: w; 50.
        gradient: "straight_through" takes the slope of g as 1, as OpenSphere does; "analytic" is the formula's.
        scale: r; 40.

    Attributes:
        b: Parameter [], starts where at right angles true and wrong classes pull it equally.

    Example:
        >>> sphereface2 = SphereFace2()
        >>> sphereface2.negative(torch.tensor([[0.0]]), threshold=None).tolist()
        [[-0.3499999940395355]]
    """

    def __init__(
        self,
        *,
        margin: float = 0.4,
        balance: float = 0.7,
        t: float = 3.0,
        loss_weight: float = 50.0,
        gradient: Gradient = "straight_through",
        scale: float = 40.0,
        **rest: Any,
    ) -> None:
        super().__init__(scale=scale, **rest)
        if not 0.0 < balance < 1.0:
            raise HyperArcError(f"balance must be in (0, 1), got {balance}")
        if not 1.0 <= t < math.inf:
            raise HyperArcError(f"t must be at least 1, got {t}")
        check_modes("raw", gradient)
        self.margin = margin
        self.balance = balance
        self.t = float(t)
        self.loss_weight = positive("loss_weight", loss_weight)
        self.gradient = gradient
        self.b = nn.Parameter(torch.zeros(()))

    def for_classes(self, num_classes: int) -> None:
        r, m = float(self.scale), self.margin
        z = self.balance / ((1.0 - self.balance) * max(1, num_classes - 1))
        a_j = r * (2.0 * 0.5**self.t - 1.0 + m)  # z_j - b at a right angle
        root = math.sqrt((1.0 - z) ** 2 + 4.0 * z * math.exp(-2.0 * r * m))
        # the positive root v of e^(-2rm) v^2 + (1 - z) v = z; two forms of it, each without cancellation
        log_v = math.log(2.0 * z / (1.0 - z + root)) if z < 1.0 else math.log((z - 1.0 + root) / 2.0) + 2.0 * r * m
        self.b.data.fill_(log_v - a_j)

    def g(self, cosine: Tensor) -> Tensor:
        """2 ((c + 1) / 2)^t - 1."""
        projected = 2.0 * ((cosine + 1.0) / 2.0).clamp_min(0.0) ** self.t - 1.0
        return with_gradient(projected, cosine, self.gradient)

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        return self.g(cosine) - self.margin

    def negative(self, cosine: Tensor, threshold: Tensor | None) -> Tensor:
        return self.g(cosine) + self.margin

    def negative_slope(self, cosine: Tensor, threshold: Tensor | None) -> Tensor:
        if self.gradient == "straight_through":
            return torch.ones_like(cosine)
        return self.t * ((cosine + 1.0) / 2.0).clamp_min(0.0) ** (self.t - 1.0)

    def offset(self) -> Tensor:
        return self.b

    def loss(self, logit: Tensor, log_sum: Tensor, nearest: Tensor | None) -> Tensor:
        binary = (1.0 - self.balance) * log_sum - self.balance * F.logsigmoid(logit + self.b)
        return (self.loss_weight / self.scale) * binary
