"""AdaCos: no margin, and a scale that chooses itself.

Zhang, Zhao, Qiao, Wang, Li: "AdaCos: Adaptively Scaling Cosine Logits for Effectively Learning Deep Face
Representations", CVPR 2019, arXiv 1905.00292, equations 12 to 15.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from hyperarc.errors import HyperArcError
from hyperarc.margins.margin import Margin, register

LEAST_SCALE = 1.0  # a confident model has B_avg < 1, from which the formula would take a negative scale


class AdaCosFixed(Margin):
    """Norm-softmax with the constant scale sqrt(2) ln(C - 1).

    Use it for a scale that fits the number of people and never moves.

    Attributes:
        scale: buffer, known once the number of classes is.

    Example:
        >>> fixed = AdaCosFixed()
        >>> fixed.for_classes(3001)
        >>> round(float(fixed.scale), 3)
        11.323
    """

    def __init__(self, **rest: Any) -> None:
        if set(rest) - {"inter_class_filter"}:
            raise HyperArcError("adacos chooses its scale itself")
        super().__init__(scale=1.0, **rest)
        del self.scale
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(()))

    def for_classes(self, num_classes: int) -> None:
        if num_classes < 4:
            raise HyperArcError(f"adacos needs at least 4 classes, got {num_classes}: sqrt(2) ln(C - 1) is no scale")
        self.scale.fill_(math.sqrt(2.0) * math.log(num_classes - 1))


register("adacos_fixed")(AdaCosFixed)


@register("adacos")
class AdaCos(AdaCosFixed):
    """Norm-softmax with s = ln(B_avg) / cos(min(pi/4, median theta_y)), chosen anew from every batch.

    B_avg is the batch mean of sum_{j != y} exp(s c_j) at the scale as it was. The scale never falls below 1.

    Use it where nothing shall be tuned: it has no margin, and chooses its scale as the angles shrink.

    Attributes:
        scale: buffer, from sqrt(2) ln(C - 1).

    Example:
        >>> adacos = AdaCos()
        >>> adacos.for_classes(1000)
        >>> adacos.rescale(cosine=torch.tensor([0.9, 0.9]), log_sum=torch.tensor([7.0, 7.0]))
        >>> round(float(adacos.scale), 4)
        7.7778
    """

    rescales = True

    def rescale(self, cosine: Tensor, log_sum: Tensor) -> None:
        log_b_avg = torch.logsumexp(log_sum, dim=0) - math.log(len(log_sum))
        theta_med = cosine.clamp(-1.0, 1.0).acos().median()  # torch's lower middle, as the ports
        scale = log_b_avg / torch.cos(theta_med.clamp_max(math.pi / 4))
        self.scale.copy_(scale.clamp_min(LEAST_SCALE))
