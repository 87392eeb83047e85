"""The combined margin: multiplicative, additive angular and additive cosine margin in one.

ArcFace (arXiv 1801.07698), equation 4. CM1 = (1, 0.3, 0.2) and CM2 = (0.9, 0.4, 0.15) of its Table 2. The class of the
same name in arcface_torch does not combine (with m3 > 0 it ignores m1 and m2); this one does, as the MXNet code did.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from hyperarc.margins.beyond_pi import BeyondPi, Gradient, check_modes, margined_cosine, with_gradient
from hyperarc.margins.margin import Margin, positive, register


@register("combined")
class Combined(Margin):
    """Target cos(m1 theta_y + m2) - m3.

    Use it to tune angular and cosine margins together, or any two of the three kinds.

    Args:
        m1: factor on the angle (SphereFace).
        m2: radians added to the angle (ArcFace).
        m3: subtracted from the cosine (CosFace). The defaults are the paper's CM1.
        beyond_pi: what happens once m1 theta_y + m2 passes pi (see :mod:`hyperarc.margins.beyond_pi`).
        gradient: "analytic" or "straight_through".
        scale: s; 64.

    Example:
        >>> import torch
        >>> combined = Combined(m1=1.0, m2=0.3, m3=0.2)
        >>> cosine = torch.tensor([0.0])
        >>> round(float(combined.target(cosine, norm=torch.ones(1), labels=torch.zeros(1, dtype=torch.long))), 4)
        -0.4955
    """

    def __init__(
        self,
        *,
        m1: float = 1.0,
        m2: float = 0.3,
        m3: float = 0.2,
        beyond_pi: BeyondPi = "threshold",
        gradient: Gradient = "analytic",
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        check_modes(beyond_pi, gradient)
        self.m1 = positive("m1", m1)
        self.m2 = m2
        self.m3 = m3
        self.beyond_pi = beyond_pi
        self.gradient = gradient

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        margined = margined_cosine(cosine, self.m1, self.m2, self.beyond_pi) - self.m3
        return with_gradient(margined, cosine, self.gradient)
