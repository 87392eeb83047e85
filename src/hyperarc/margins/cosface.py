"""CosFace: an additive margin on the cosine.

Wang et al.: "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018, arXiv 1801.09414, equation 4
(also AM-Softmax, arXiv 1801.05599). Scale and margin defaults as in the tables of the ArcFace paper.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hyperarc.margins.margin import Margin, register


@register("cosface")
class CosFace(Margin):
    """Target cos(theta_y) - m.

    Use it where arcface is hard to train: the gradient in the cosine is s at every angle, and there is no pi to pass.

    Args:
        margin: m in cosine; 0.35 as in the ArcFace paper's tables, 0.4 in arcface_torch's large-scale recipes.
        easy: apply the margin only where cos(theta_y) > 0, as the MV-Softmax authors' AM baseline does.
        scale: s; 64.

    Example:
        >>> cosface = CosFace(margin=0.35)
        >>> cosface.target(torch.tensor([0.5]), norm=torch.ones(1), labels=torch.zeros(1, dtype=torch.long)).tolist()
        [0.15000000596046448]
    """

    def __init__(self, *, margin: float = 0.35, easy: bool = False, **rest: Any) -> None:
        super().__init__(**rest)
        self.margin = margin
        self.easy = easy

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        margined = cosine - self.margin
        return torch.where(cosine.detach() > 0.0, margined, cosine) if self.easy else margined
