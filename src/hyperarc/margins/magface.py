"""MagFace: the length of the embedding becomes a measure of quality.

Meng, Zhao, Huang, Zhou: "MagFace: A Universal Representation for Face Recognition and Quality Assessment", CVPR 2021,
arXiv 2103.06627, equations 3 and 4; defaults of the authors' scripts.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

from torch import Tensor

from hyperarc.errors import HyperArcError, unknown_name
from hyperarc.margins.beyond_pi import margined_cosine
from hyperarc.margins.margin import Margin, register

Beyond = Literal["easy", "threshold"]


@register("magface")
class MagFace(Margin):
    """Target cos(theta_y + m(a)) with a = ||x|| held in [l_a, u_a], and a penalty that rewards long embeddings.

    m(a) = (u_margin - l_margin) / (u_a - l_a) (a - l_a) + l_margin; penalty_weight * mean g(a), g(a) = 1/a + a/u_a^2.
    Gradient flows into the length through both, except outside [l_a, u_a].

    Use it where the norm of an embedding shall say how good the picture is.

    Args:
        l_margin, u_margin: margin in radians at l_a and u_a; 0.45 and 0.8.
        l_a, u_a: lengths between which the margin grows; 10 and 110.
        penalty_weight: lambda_g; 35. Below s k u_a^2 l_a^2 / (u_a^2 - l_a^2), k the slope of m, the paper's
            convergence argument fails, and a warning says so.
        beyond_pi: "easy" (margin only where cos(theta_y) > 0), the authors' default, or "threshold".
        scale: s; 64.

    Example:
        >>> import torch
        >>> magface = MagFace()
        >>> round(float(magface.margin_of(torch.tensor([60.0]))), 4)
        0.625
    """

    def __init__(
        self,
        *,
        l_margin: float = 0.45,
        u_margin: float = 0.8,
        l_a: float = 10.0,
        u_a: float = 110.0,
        penalty_weight: float = 35.0,
        beyond_pi: Beyond = "easy",
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        if not 0.0 < l_a < u_a:
            raise HyperArcError(f"expected 0 < l_a < u_a, got {l_a} and {u_a}")
        if beyond_pi not in ("easy", "threshold"):
            raise unknown_name("beyond_pi", beyond_pi, ("easy", "threshold"))
        self.l_margin, self.l_a, self.u_a = l_margin, l_a, u_a
        self.slope = (u_margin - l_margin) / (u_a - l_a)
        self.penalty_weight = penalty_weight
        self.beyond_pi = beyond_pi
        least = float(self.scale) * self.slope * u_a**2 * l_a**2 / (u_a**2 - l_a**2)
        if penalty_weight < least:
            warnings.warn(f"magface: penalty_weight {penalty_weight} is below the bound {least:.2f}", stacklevel=2)

    def margin_of(self, norm: Tensor) -> Tensor:
        """m(a) [N] in radians."""
        return self.slope * (norm.clamp(self.l_a, self.u_a) - self.l_a) + self.l_margin

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        return margined_cosine(cosine, 1.0, self.margin_of(norm), self.beyond_pi)

    def penalty(self, norm: Tensor) -> Tensor:
        a = norm.clamp(self.l_a, self.u_a)
        return self.penalty_weight * (1.0 / a + a / self.u_a**2).mean()
