"""Intra-loss: the angle between a sample and its center. ArcFace (arXiv 1801.07698v3), equation 5."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hyperarc.geometry import angle, unit
from hyperarc.heads.auxiliary.auxiliary import Auxiliary, auxiliaries
from hyperarc.heads.shard import Shard


@auxiliaries.register("intra")
class Intra(Auxiliary):
    """mean of theta_{y_i} / pi; added with weight 1 in the paper.

    Use it beside norm_softmax to pull samples towards their centers; a margin does so already.

    Example:
        >>> from hyperarc.heads.shard import Shard
        >>> centers = Shard.whole(torch.eye(2)[:, None])
        >>> float(Intra()(torch.tensor([[0.0, 3.0]]), torch.tensor([0]), centers))  # 90 degrees off
        0.5
    """

    def forward(self, embeddings: Tensor, labels: Tensor, centers: Shard) -> Tensor:
        cosine = torch.einsum("nd,nkd->nk", unit(embeddings), unit(centers.of(labels))).amax(dim=1)
        return angle(cosine).mean() / math.pi
