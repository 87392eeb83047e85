"""Inter-loss: the angles between the batch's centers and all others. ArcFace (arXiv 1801.07698v3), equation 6."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from hyperarc.errors import unknown_name
from hyperarc.geometry import angle, unit
from hyperarc.heads.auxiliary.auxiliary import Auxiliary, auxiliaries
from hyperarc.heads.shard import Shard
from hyperarc.parallel import spread, summed

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
        >>> from hyperarc.heads.shard import Shard
        >>> centers = Shard.whole(torch.eye(3)[:, None])
        >>> float(Inter()(torch.ones(1, 3), torch.tensor([0]), centers))  # all at 90 degrees
        -0.5
    """

    def __init__(self, *, variant: Variant = "paper", **rest: Any) -> None:
        super().__init__(**rest)
        if variant not in get_args(Variant):
            raise unknown_name("variant", variant, get_args(Variant))
        self.variant = variant

    def forward(self, embeddings: Tensor, labels: Tensor, centers: Shard) -> Tensor:
        own, counts = labels.unique(return_counts=True)
        share, classes = counts.to(embeddings.dtype) / len(labels), centers.cut.classes
        of_own = unit(centers.of(own)[:, 0])
        directions = of_own if centers.cut.whole else spread(of_own)
        cosine = directions @ unit(centers.weight[:, 0]).T  # [U, C], or this process's classes
        if self.variant == "released":
            value, parts = torch.dot(share, cosine.sum(dim=1)), float(classes)
        else:
            same = own[:, None] == torch.arange(centers.cut.first, centers.cut.last, device=own.device)
            angles = angle(cosine.masked_fill(same, 0.0)).masked_fill(same, 0.0)
            value, parts = -torch.dot(share, angles.sum(dim=1)), math.pi * (classes - 1)
        return (value if centers.cut.whole else summed(value)) / parts
