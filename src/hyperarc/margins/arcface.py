"""ArcFace: a constant angular margin, the arc between sample and center made longer by m.

Deng, Guo, Yang, Xue, Kotsia, Zafeiriou: "ArcFace: Additive Angular Margin Loss for Deep Face Recognition",
CVPR 2019 / TPAMI 2022, arXiv 1801.07698, equation 3.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from hyperarc.margins.beyond_pi import BeyondPi, Gradient, check_modes, margined_cosine, with_gradient
from hyperarc.margins.margin import Margin, register


@register("arcface")
class ArcFace(Margin):
    """Target cos(theta_y + m).

    Use it first: a constant margin along the arc, and what most published comparisons refer to.

    Args:
        margin: m in radians; 0.5 is the paper's.
        beyond_pi: what happens once theta_y + m passes pi (see :mod:`hyperarc.margins.beyond_pi`); "raw" gives parity
            with arcface_torch.
        gradient: "analytic", or "straight_through" for parity with arcface_torch since December 2022.
        scale: s; 64 is the paper's.

    Example:
        >>> import torch
        >>> arcface = ArcFace(margin=0.5)
        >>> cosine = torch.tensor([0.0])  # 90 degrees
        >>> round(float(arcface.target(cosine, norm=torch.ones(1), labels=torch.zeros(1, dtype=torch.long))), 4)
        -0.4794
    """

    def __init__(
        self,
        *,
        margin: float = 0.5,
        beyond_pi: BeyondPi = "threshold",
        gradient: Gradient = "analytic",
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        check_modes(beyond_pi, gradient)
        self.margin = margin
        self.beyond_pi = beyond_pi
        self.gradient = gradient

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        margined = margined_cosine(cosine, 1.0, self.margin, self.beyond_pi)
        return with_gradient(margined, cosine, self.gradient)
