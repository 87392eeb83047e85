"""SphereFace with normalized features: a multiplicative angular margin.

Liu et al.: "SphereFace: Deep Hypersphere Embedding for Face Recognition", CVPR 2017, arXiv 1704.08063, in the form of
the ArcFace paper's tables ("SphereFace (1.35)": features normalized, m1 = 1.35, s = 64, no annealing). The original
with annealing is ``a_softmax``.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from hyperarc.errors import unknown_name
from hyperarc.geometry import angle
from hyperarc.margins.beyond_pi import Gradient, check_modes, with_gradient
from hyperarc.margins.margin import Margin, positive, register

Beyond = Literal["psi", "raw"]


@register("sphereface")
class SphereFace(Margin):
    """Target cos(m1 theta_y).

    Use it to compare with the multiplicative margin of the ArcFace paper's tables; its margin vanishes with the
    angle.

    Args:
        margin: m1; 1.35 as in the ArcFace paper's tables.
        beyond_pi: "psi" goes on falling, psi(theta) = (-1)^k cos(m1 theta) - 2k with k = floor(m1 theta / pi), as
            OpenSphere does; "raw" lets the cosine rise again, as the MXNet code does.
        gradient: "analytic", or "straight_through" for parity with OpenSphere.
        scale: s; 64.

    Example:
        >>> sphereface = SphereFace(margin=1.35)
        >>> cosine = torch.tensor([0.0])
        >>> round(float(sphereface.target(cosine, norm=torch.ones(1), labels=torch.zeros(1, dtype=torch.long))), 4)
        -0.5225
    """

    def __init__(
        self, *, margin: float = 1.35, beyond_pi: Beyond = "psi", gradient: Gradient = "analytic", **rest: Any
    ) -> None:
        super().__init__(**rest)
        if beyond_pi not in get_args(Beyond):
            raise unknown_name("beyond_pi", beyond_pi, get_args(Beyond))
        check_modes("raw", gradient)
        self.margin = positive("margin", margin)
        self.beyond_pi = beyond_pi
        self.gradient = gradient

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        phase = self.margin * angle(cosine)
        margined = torch.cos(phase)
        if self.beyond_pi == "psi":
            k = torch.floor(phase.detach() / math.pi)
            margined = (1.0 - 2.0 * (k % 2)) * margined - 2.0 * k
        return with_gradient(margined, cosine, self.gradient)
