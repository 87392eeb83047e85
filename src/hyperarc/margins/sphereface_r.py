"""SphereFace-R: the multiplicative margin on either side of the decision, with a steady gradient.

Liu, Wen, Raj, Singh, Weller: "SphereFace Revived: Unifying Hyperspherical Face Recognition", TPAMI 2022, arXiv
2109.05565, with hard feature normalization; formulas and constants as in the authors' OpenSphere (SphereFaceR_H). Its
"v0" is ``sphereface``.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from hyperarc.errors import HyperArcError, unknown_name
from hyperarc.geometry import angle
from hyperarc.margins.beyond_pi import Gradient, check_modes, with_gradient
from hyperarc.margins.margin import Margin, register

Version = Literal["v1", "v2"]


@register("sphereface_r")
class SphereFaceR(Margin):
    """v1: target cos(min(m theta_y, pi)), negatives cos(theta_j). v2: target cos(theta_y), negatives cos(theta_j / m).

    Use it for a multiplicative margin that trains steadily: every logit has the slope s.

    Args:
        version: "v1" or "v2"; "v2" as in OpenSphere's recipe.
        margin: m >= 1; 1.4 as in OpenSphere's recipe.
        gradient: "straight_through" is the paper's characteristic gradient detachment: the slope of every logit is s.
            "analytic" is the formula's.
        scale: s; 60 as in OpenSphere's recipe, which multiplies the loss by 50 / s besides.

    Example:
        >>> spherical = SphereFaceR(margin=2.0)
        >>> round(float(spherical.negative(torch.tensor([[-0.5]]), threshold=None)), 4)
        0.5
    """

    def __init__(
        self,
        *,
        version: Version = "v2",
        margin: float = 1.4,
        gradient: Gradient = "straight_through",
        scale: float = 60.0,
        **rest: Any,
    ) -> None:
        super().__init__(scale=scale, **rest)
        if version not in get_args(Version):
            raise unknown_name("version", version, get_args(Version))
        if not 1.0 <= margin < math.inf:
            raise HyperArcError(f"margin multiplies the angle and is at least 1, got {margin}")
        check_modes("raw", gradient)
        self.version = version
        self.margin = margin
        self.gradient = gradient

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        if self.version == "v2":
            return cosine
        margined = torch.cos((self.margin * angle(cosine)).clamp_max(math.pi))
        return with_gradient(margined, cosine, self.gradient)

    def negative(self, cosine: Tensor, threshold: Tensor | None) -> Tensor:
        if self.version == "v1":
            return cosine
        if self.gradient == "analytic":
            return torch.cos(angle(cosine) / self.margin)
        margined = cosine.detach().clamp(-1.0, 1.0).acos_().div_(self.margin).cos_()  # N x C: in place
        return with_gradient(margined, cosine, self.gradient)

    def negative_slope(self, cosine: Tensor, threshold: Tensor | None) -> Tensor | None:
        return torch.ones_like(cosine) if self.version == "v1" or self.gradient == "straight_through" else None
