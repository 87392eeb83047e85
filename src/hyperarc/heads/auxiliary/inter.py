"""Inter-loss: the angles between the batch's centers and all others. ArcFace (arXiv 1801.07698v3), equation 6."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from hyperarc.errors import unknown_name
from hyperarc.geometry import angle, unit
from hyperarc.heads.auxiliary.auxiliary import Auxiliary, auxiliaries

Variant = Literal["paper", "released"]


@auxiliaries.register("inter")
class Inter(Auxiliary):
    """Minus the mean over samples i and classes j != y_i of the angle between w_{y_i} and w_j, over pi.

    Use it to spread centers where there are few dimensions; in many, centers are nearly orthogonal without it.

    Only the batch's distinct classes are multiplied with all centers, U x C numbers for U classes in the batch.

    Args:
        variant: "paper", or "released" for the authors' 2018 code: the mean cosine over all j, y_i included.
        weight: 1.

    With sub-centers the first of each class stands for it.

    Example:
        >>> centers = torch.eye(3)[:, None]
        >>> float(Inter()(torch.ones(1, 3), torch.tensor([0]), centers))  # all at 90 degrees
        -0.5
    """

    def __init__(self, *, variant: Variant = "paper", **rest: Any) -> None:
        super().__init__(**rest)
        if variant not in get_args(Variant):
            raise unknown_name("variant", variant, get_args(Variant))
        self.variant = variant

    def forward(self, embeddings: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
        classes, counts = labels.unique(return_counts=True)
        share = counts.to(centers.dtype) / len(labels)
        directions = unit(centers[:, 0])
        cosine = directions[classes] @ directions.T  # [U, C]
        if self.variant == "released":
            return torch.dot(share, cosine.mean(dim=1))
        own = torch.zeros_like(cosine, dtype=torch.bool).scatter_(1, classes[:, None], True)
        angles = angle(cosine.masked_fill(own, 0.0)).masked_fill(own, 0.0)
        return -torch.dot(share, angles.sum(dim=1)) / (math.pi * (len(centers) - 1))
