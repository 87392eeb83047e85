"""AdaFace: emphasis on hard samples only where the picture is good, judged by the length of the embedding.

Kim, Jain, Liu: "AdaFace: Quality Adaptive Margin for Face Recognition", CVPR 2022, arXiv 2204.00964, equations 14 to
17; clips as in the authors' code, h and t_alpha as in the paper.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hyperarc.geometry import angle
from hyperarc.margins.margin import Margin, NegativeForm, register


@register("adaface")
class AdaFace(Margin):
    """Target cos(theta_y + g_angle) - g_add, g_angle = -m z, g_add = m z + m, z the standardized embedding length.

    z = clip(h (||x|| - mu) / (sigma + 1e-3), -1, 1), without gradient: -1 (poor) is ArcFace-like, 0 is CosFace, +1
    (good) a negative angular margin.

    Use it on pictures of mixed quality: hard samples get weight where the picture is good, and less where nobody
    could tell.

    Args:
        margin: m; 0.4.
        h: 0.333, so that about two thirds of the lengths lie within (-1, 1).
        t_alpha: weight of the newest batch in the running mean mu and standard deviation sigma; 0.01.
        eps: cosines are held in [-1 + eps, 1 - eps], angles in [eps, pi - eps]; 1e-3.
        scale: s; 64.

    Attributes:
        batch_mean, batch_std: buffers [1], mu and sigma, from 20 and 100; updated before use.

    Example:
        >>> adaface = AdaFace()
        >>> round(float(adaface.z(torch.tensor([20.0]))), 4)
        0.0
    """

    def __init__(
        self, *, margin: float = 0.4, h: float = 0.333, t_alpha: float = 0.01, eps: float = 1e-3, **rest: Any
    ) -> None:
        super().__init__(**rest)
        self.margin, self.h, self.t_alpha, self.eps = margin, h, t_alpha, eps
        self.batch_mean: Tensor
        self.batch_std: Tensor
        self.register_buffer("batch_mean", torch.full((1,), 20.0))
        self.register_buffer("batch_std", torch.full((1,), 100.0))

    def observe(self, cosine: Tensor, norm: Tensor) -> None:
        norm = norm.clamp(1e-3, 100.0)
        self.batch_mean.lerp_(norm.mean().to(self.batch_mean), self.t_alpha)
        if len(norm) > 1:  # the standard deviation of one sample is undefined
            self.batch_std.lerp_(norm.std().to(self.batch_std), self.t_alpha)

    def z(self, norm: Tensor) -> Tensor:
        """The standardized length [N], in [-1, 1]."""
        norm = norm.detach().clamp(1e-3, 100.0)
        return (self.h * (norm - self.batch_mean) / (self.batch_std + 1e-3)).clamp(-1.0, 1.0)

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        g_angle, g_add = -self.margin * self.z(norm), self.margin * self.z(norm) + self.margin
        theta = angle(cosine.clamp(self.eps - 1.0, 1.0 - self.eps)) + g_angle
        return torch.cos(theta.clamp(self.eps, torch.pi - self.eps)) - g_add

    def negative(self, cosine: Tensor, threshold: Tensor | None) -> Tensor:
        return cosine.clamp(self.eps - 1.0, 1.0 - self.eps)

    def negative_slope(self, cosine: Tensor, threshold: Tensor | None) -> Tensor:
        return (cosine.abs() <= 1.0 - self.eps).to(cosine)

    def negative_form(self) -> NegativeForm:
        return NegativeForm(linear=0.0, constant=1.0 - self.eps, floor=self.eps - 1.0, above=1.0 - self.eps)
