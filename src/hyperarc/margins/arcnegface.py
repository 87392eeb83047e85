"""ArcNegFace: negatives near the margined target weigh most, those far above it look mislabeled and weigh less.

Liu, Song, Zhang, Liu, Zhou, Yan: "Towards Flops-constrained Face Recognition", ICCV Workshops 2019, arXiv 1909.00632;
constants, fallback beyond pi and the constant weight as in the authors' loss.py (liuyuisanai/trojans-face-recognizer).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hyperarc.margins.beyond_pi import margined_cosine
from hyperarc.margins.margin import Margin, positive, register


@register("arcnegface")
class ArcNegFace(Margin):
    """Target f = cos(theta_y + m); negatives t_j c_j + t_j - 1 with t_j = alpha exp(-(c_j - f)^2 / (2 sigma^2)).

    t_j is a weight: it gets no gradient, so the slope of a negative is t_j.

    Use it on labels that may be wrong: negatives far above the target weigh less than those near it.

    Args:
        margin: m in radians; 0.5.
        alpha: weight of a negative right at the margined target; 1.2.
        sigma: distance in cosine over which the weight falls; 1, the authors' division by 2.
        scale: s; 64.

    Example:
        >>> arcneg = ArcNegFace()
        >>> [round(c, 4) for c in arcneg.negative(torch.tensor([[0.5, -0.5]]), torch.tensor([[0.5]]))[0].tolist()]
        [0.8, -0.6361]
    """

    def __init__(self, *, margin: float = 0.5, alpha: float = 1.2, sigma: float = 1.0, **rest: Any) -> None:
        super().__init__(**rest)
        self.margin = margin
        self.alpha = positive("alpha", alpha)
        self.sigma = positive("sigma", sigma)

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        return margined_cosine(cosine, 1.0, self.margin, "threshold")

    def threshold(self, cosine: Tensor, norm: Tensor) -> Tensor:
        return margined_cosine(cosine, 1.0, self.margin, "threshold")

    def negative(self, cosine: Tensor, threshold: Tensor | None) -> Tensor:
        t = self.negative_slope(cosine, threshold)
        return t * cosine + t - 1.0

    def negative_slope(self, cosine: Tensor, threshold: Tensor | None) -> Tensor:
        assert threshold is not None
        return self.alpha * torch.exp((cosine.detach() - threshold) ** 2 / (-2.0 * self.sigma**2))
