"""Triplet loss on the batch: a sample must be nearer to its own person than to others, by a margin.

Euclidean form: FaceNet (arXiv 1503.03832), equation 3. Angular form: ArcFace (arXiv 1801.07698v3), section 3.3.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperarc.errors import unknown_name
from hyperarc.geometry import angle, unit
from hyperarc.heads.auxiliary.auxiliary import Auxiliary, auxiliaries
from hyperarc.heads.shard import Shard

Kind = Literal["angular", "euclidean"]
Mining = Literal["all", "hard", "semihard", "batch_hard"]
Mean = Literal["all", "nonzero"]
MARGINS = {"angular": 0.35, "euclidean": 0.3}


@auxiliaries.register("triplet")
class Triplet(Auxiliary):
    """mean of max(0, d(a, p) - d(a, n) + m) over mined triplets of the batch; 0 when there are none.

    Use it to fine-tune on batches that hold several faces of a person; others have no triplets.

    Args:
        kind: d is the "angular" distance in radians, or "euclidean", squared, of the normalized embeddings.
        margin: m; None for 0.35 rad (angular) or 0.3 (euclidean).
        mining: which triplets (a, p, n): "all" with d_an - d_ap <= m, "hard" with d_an <= d_ap, "semihard" with
            0 < d_an - d_ap <= m, "batch_hard" the farthest positive and nearest negative of each anchor. Mining looks
            at squared Euclidean distances for both kinds, as the authors' code does.
        mean: over "all" mined triplets, or over those of "nonzero" loss, as pytorch-metric-learning does.
        weight: 1.

    Example:
        >>> embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])
        >>> triplet = Triplet(kind="euclidean", mining="batch_hard")
        >>> float(triplet(embeddings, torch.tensor([0, 0, 1]), embeddings[:, None])) > 1
        True
    """

    def __init__(
        self,
        *,
        kind: Kind = "angular",
        margin: float | None = None,
        mining: Mining = "semihard",
        mean: Mean = "all",
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        for what, value, known in (("kind", kind, Kind), ("mining", mining, Mining), ("mean", mean, Mean)):
            if value not in get_args(known):
                raise unknown_name(what, value, get_args(known))
        self.kind, self.mining, self.mean = kind, mining, mean
        self.margin = MARGINS[kind] if margin is None else margin

    def forward(self, embeddings: Tensor, labels: Tensor, centers: Shard) -> Tensor:
        rows = unit(embeddings)
        anchor, positive, negative = self.mine(rows.detach(), labels)
        if not len(anchor):
            return rows.sum() * 0.0
        return self.loss(rows[anchor], rows[positive], rows[negative])

    def loss(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss of given triplets of unit rows [T, d] each."""
        losses = F.relu(self._distance(anchor, positive) - self._distance(anchor, negative) + self.margin)
        if self.mean == "all":
            return losses.mean()
        return losses.sum() / (losses > 0).sum().clamp_min(1)

    def mine(self, rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of anchors, positives and negatives, [T] each, among unit rows [N, d]."""
        distance = 2.0 - 2.0 * rows @ rows.T
        same = labels[:, None] == labels
        alike = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        if self.mining == "batch_hard":
            anchor = (alike.any(dim=1) & ~same.all(dim=1)).nonzero()[:, 0]
            positive = distance.masked_fill(~alike, -torch.inf).argmax(dim=1)[anchor]
            return anchor, positive, distance.masked_fill(same, torch.inf).argmin(dim=1)[anchor]
        anchor, positive = alike.nonzero(as_tuple=True)
        gap = distance[anchor] - distance[anchor, positive][:, None]  # d_an - d_ap [pairs, N]
        wanted = ~same[anchor] & (gap <= (0.0 if self.mining == "hard" else self.margin))
        if self.mining == "semihard":
            wanted &= gap > 0.0
        pair, negative = wanted.nonzero(as_tuple=True)
        return anchor[pair], positive[pair], negative

    def _distance(self, one: Tensor, other: Tensor) -> Tensor:
        if self.kind == "angular":
            return angle((one * other).sum(dim=1))
        return (one - other).square().sum(dim=1)
