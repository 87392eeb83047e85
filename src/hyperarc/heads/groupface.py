"""The head of GroupFace: a margin on the embedding, and groups that label themselves.

Kim, Park, Roh, Shin: "GroupFace: Learning Latent Groups and Constructing Group-based Representations for Face
Recognition", CVPR 2020, arXiv 2005.10497, sections 3.1 to 3.3. The network is :mod:`hyperarc.backbones.groupface`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperarc.errors import HyperArcError
from hyperarc.geometry import unit
from hyperarc.heads.centers import Centers
from hyperarc.heads.head import Head, structures
from hyperarc.heads.output import HeadOutput
from hyperarc.margins import Margin
from hyperarc.parallel import gather


def self_distributed_labels(probabilities: Tensor, expectation: Tensor) -> Tensor:
    """G* [N] = argmax_k (p_k - E[p_k]) of group probabilities [N, K] and their expectation [K].

    The paper writes the argmax of (p_k - E[p_k]) / K + 1 / K, which is the same. Taking off the expectation spreads the
    labels over the groups: the plain argmax of p soon gives all of them to one group.

    Example:
        >>> p = torch.tensor([[0.7, 0.3], [0.6, 0.4]])
        >>> self_distributed_labels(p, p.mean(dim=0)).tolist()
        [0, 1]
    """
    return (probabilities - expectation).argmax(dim=1)


def similarity(
    vectors: tuple[Tensor, Tensor], hidden: tuple[Tensor, Tensor], *, beta: float = 0.1, gamma: float = 1 / 3
) -> Tensor:
    """Group-aware similarity S* = cos(vbar_i, vbar_j) - beta D(v^_i, v^_j)^gamma (section 3.1), D the distance.

    Args:
        vectors: embeddings of both sides, [..., d] each; sizes before the last broadcast.
        hidden: intermediate features of the group decision network of both sides, [..., h] each
            (:func:`hyperarc.backbones.groupface.group_features` gives both).
        beta, gamma: 0.1 and 1/3 are the paper's.

    Example:
        >>> vectors, hidden = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0], [8.0]])
        >>> table = similarity((vectors[:, None], vectors), (hidden[:, None], hidden))
        >>> [[round(value, 4) for value in row] for row in table.tolist()]
        [[1.0, -0.2], [-0.2, 1.0]]
    """
    cosine = (unit(vectors[0]) * unit(vectors[1])).sum(dim=-1)
    distance = (hidden[0] - hidden[1]).norm(dim=-1)
    value: Tensor = cosine - beta * distance**gamma
    return value


@structures.register("groupface")
class GroupFace(Head):
    """L = L_margin(vbar) + lambda CE(GDN logits, G*) (section 3.3).

    In training mode it takes [N, d + K], the embedding with the logits of K groups beside it, as a backbone with the
    neck groupface gives; in eval mode [N, d], and the loss is the margin's alone.

    Args:
        groups: K; 32 is the paper's best.
        group_weight: lambda; 0.1 is the paper's.
        group_momentum: mu of E[p] <- mu E[p] + (1 - mu) mean of the batch; 0 is the mean of the batch alone, as in the
            ports of the paper. A long memory lags behind the network, and the groups become less even. The first
            batch sets E[p].

    Attributes:
        expectation: buffer [K], E[p].
        batches: buffer, number of batches seen.
    """

    def __init__(
        self,
        centers: Centers,
        margin: Margin,
        *,
        groups: int = 32,
        group_weight: float = 0.1,
        group_momentum: float = 0.5,
        **rest: Any,
    ) -> None:
        super().__init__(centers, margin, **rest)
        if groups < 2:
            raise HyperArcError(f"groups must be at least 2, got {groups}")
        if group_weight < 0:
            raise HyperArcError(f"group_weight must not be negative, got {group_weight}")
        if not 0.0 <= group_momentum < 1.0:
            raise HyperArcError(f"group_momentum must be in [0, 1), got {group_momentum}")
        self.groups = groups
        self.group_weight = group_weight
        self.group_momentum = group_momentum
        self.expectation: Tensor
        self.register_buffer("expectation", torch.full((groups,), 1.0 / groups))
        self.batches: Tensor
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, embeddings: Tensor, labels: Tensor) -> HeadOutput:
        """Loss of raw embeddings with the logits of the groups beside them."""
        if not self.training:
            return super().forward(embeddings, labels)
        dim = self.centers.weight.shape[2]
        if embeddings.ndim != 2 or embeddings.shape[1] != dim + self.groups:
            raise HyperArcError(
                f"expected embeddings with the logits of {self.groups} groups [N, {dim} + {self.groups}], "
                f"got {list(embeddings.shape)}",
                where="head groupface",
                mend=f"create the backbone with neck='groupface', groups={self.groups}",
            )
        vectors, logits = embeddings.split([dim, self.groups], dim=1)
        out = super().forward(vectors, labels)
        logits, _ = gather(logits)
        with torch.autocast(embeddings.device.type, enabled=False):
            group = self.group_loss(logits if logits.dtype == torch.float64 else logits.float())
        return replace(
            out, loss=out.loss + self.group_weight * group, auxiliary={**out.auxiliary, "group": group.detach()}
        )

    def group_loss(self, logits: Tensor) -> Tensor:
        """Cross-entropy of the groups' logits [N, K] against their self-distributed labels; updates E[p] first."""
        probabilities = logits.detach().softmax(dim=1)
        kept = torch.where(self.batches > 0, self.group_momentum, 0.0).to(self.expectation.dtype)
        self.expectation.lerp_(probabilities.mean(dim=0).to(self.expectation.dtype), 1 - kept)
        self.batches += 1
        return F.cross_entropy(logits, self_distributed_labels(probabilities, self.expectation))

    def expected_first_loss(self) -> float:
        """That of the margin, and ln K for undecided groups."""
        return super().expected_first_loss() + self.group_weight * math.log(self.groups)
