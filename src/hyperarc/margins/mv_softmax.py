"""MV-Softmax: emphasis on the negatives that beat the margined target.

Wang et al.: "Mis-Classified Vector Guided Softmax Loss for Face Recognition", AAAI 2020, arXiv 1912.00833, equations 6
to 8; t counts from 0 as in the authors' code (the paper's and CurricularFace's t is 1 + this).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from hyperarc.errors import unknown_name
from hyperarc.geometry import add_angle
from hyperarc.margins.margin import Margin, NegativeForm, register

Kind = Literal["arc", "am"]
Reweight = Literal["adaptive", "fixed"]
MARGINS = {"arc": 0.5, "am": 0.35}


@register("mv_softmax")
class MVSoftmax(Margin):
    """Target f = cos(theta_y + m) or cos(theta_y) - m; negatives with c_j > f become (1 + t) c_j + t, or c_j + t.

    Use it on clean labels with many easy samples: weight goes to the negatives that beat the target, and a wrong
    label has such negatives too.

    Args:
        kind: "arc" for an angular, "am" for a cosine margin.
        margin: m; None for 0.5 (arc) or 0.35 (am).
        t: extra weight of hard negatives, >= 0; 0.2.
        reweight: "adaptive", (1 + t) c_j + t, or "fixed", c_j + t.
        easy: apply the margin to the target only where cos(theta_y) > 0, as the authors' code does; hardness is judged
            with the margin all the same.
        scale: s; 32 as in the authors' code.

    Example:
        >>> mv = MVSoftmax(kind="am", t=0.2)
        >>> [round(c, 4) for c in mv.negative(torch.tensor([[0.1, 0.5]]), torch.tensor([[0.2]]))[0].tolist()]
        [0.1, 0.8]
    """

    def __init__(
        self,
        *,
        kind: Kind = "arc",
        margin: float | None = None,
        t: float = 0.2,
        reweight: Reweight = "adaptive",
        easy: bool = True,
        scale: float = 32.0,
        **rest: Any,
    ) -> None:
        super().__init__(scale=scale, **rest)
        for what, value, known in (("kind", kind, Kind), ("reweight", reweight, Reweight)):
            if value not in get_args(known):
                raise unknown_name(what, value, get_args(known))
        self.kind = kind
        self.margin = MARGINS[kind] if margin is None else margin
        self.t = t
        self.factor = 1.0 + t if reweight == "adaptive" else 1.0
        self.easy = easy

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        margined = self.threshold(cosine, norm)
        return torch.where(cosine.detach() > 0.0, margined, cosine) if self.easy else margined

    def threshold(self, cosine: Tensor, norm: Tensor) -> Tensor:
        return add_angle(cosine, self.margin) if self.kind == "arc" else cosine - self.margin

    def negative(self, cosine: Tensor, threshold: Tensor | None) -> Tensor:
        assert threshold is not None
        return torch.where(cosine > threshold, self.factor * cosine + self.t, cosine)

    def negative_slope(self, cosine: Tensor, threshold: Tensor | None) -> Tensor:
        assert threshold is not None
        return (cosine > threshold).to(cosine.dtype).mul_(self.factor - 1.0).add_(1.0)

    def negative_form(self) -> NegativeForm:
        return NegativeForm(linear=self.factor, constant=self.t)
