"""UniFace: one learned threshold parts true from wrong classes, for all faces alike.

Zhou, Jia, Li, Shen, Duan: "UniFace: Unified Cross-Entropy Loss for Deep Face Recognition", ICCV 2023, the UCE loss with
margin; constants as in the authors' code (CVI-SZU/UniFace), which besides holds every exponent within [-s, s].
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperarc.margins.margin import Margin, positive, register


@register("uniface")
class UniFace(Margin):
    """Loss log(1 + e^(b - s (cos(theta_y) - m))) + lambda sum_{j != y} log(1 + e^(s cos(theta_j) - b)).

    b / s is the unified threshold: cosines to true classes are pushed above b / s + m, all others below b / s.

    Use it where one threshold shall hold for all people, as in verification.

    Args:
        margin: m in cosine; 0.4.
        negative_weight: lambda; 1. The paper's balanced loss makes it smaller, or samples classes, see ``sample_rate``.
        scale: s; 64.

    Attributes:
        b: Parameter [], from ln(10 C); the authors' code starts it at ln(10 r C) where a share r of the classes is
            sampled.

    Example:
        >>> uniface = UniFace()
        >>> uniface.for_classes(1000)
        >>> round(uniface.b.item(), 4)
        9.2103
    """

    def __init__(self, *, margin: float = 0.4, negative_weight: float = 1.0, **rest: Any) -> None:
        super().__init__(**rest)
        self.margin = margin
        self.negative_weight = positive("negative_weight", negative_weight)
        self.b = nn.Parameter(torch.zeros(()))

    def for_classes(self, num_classes: int) -> None:
        self.b.data.fill_(math.log(10 * num_classes))

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        return cosine - self.margin

    def offset(self) -> Tensor:
        return -self.b

    def loss(self, logit: Tensor, log_sum: Tensor, nearest: Tensor | None) -> Tensor:
        return self.negative_weight * log_sum - F.logsigmoid(logit - self.b)
