"""GroupFace: representations of latent groups, added to a face's own.

Kim, Park, Roh, Shin: "GroupFace: Learning Latent Groups and Constructing Group-based Representations for Face
Recognition", CVPR 2020, arXiv 2005.10497, section 3.1. There is no official code. What the paper leaves open is
decided here: a BatchNorm after the shared and the instance FC, and in the group decision network 256 units a layer,
each followed by BatchNorm and PReLU (one layer of 256 with both stands in the ports of the paper).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperarc.backbones.prelu import PReLU
from hyperarc.errors import HyperArcError

Assignment = Literal["soft", "hard"]


class GroupDecisionNetwork(nn.Module):
    """v [N, d] -> logits [N, K] of the groups, by three FC layers; p(G_k | x) is their softmax.

    ``hidden`` gives v^ [N, hidden_dim], the intermediate feature that group-aware similarity compares.
    """

    def __init__(self, embedding_dim: int, hidden_dim: int, groups: int, bn_eps: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (embedding_dim, hidden_dim):
            layers += [nn.Linear(width, hidden_dim), nn.BatchNorm1d(hidden_dim, eps=bn_eps), PReLU(hidden_dim)]
        self.hidden = nn.Sequential(*layers)
        self.decide = nn.Linear(hidden_dim, groups)

    def forward(self, v: Tensor) -> Tensor:
        logits: Tensor = self.decide(self.hidden(v))
        return logits


class GroupFCs(nn.Module):
    """K fully connected layers [N, D] -> [N, d], one a group, joined by what the group decision network says.

    Attributes:
        weight: Parameter [K, d, D]; bias: Parameter [K * d]. Both start as torch's Linear does.
    """

    def __init__(self, shared_dim: int, embedding_dim: int, groups: int, assignment: Assignment) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(shared_dim)
        self.weight = nn.Parameter(torch.empty(groups, embedding_dim, shared_dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(groups * embedding_dim).uniform_(-bound, bound))
        self.assignment = assignment

    def forward(self, x: Tensor, logits: Tensor) -> Tensor:
        """v^G [N, d] of the shared features x [N, D] and the groups' logits [N, K]."""
        return self.soft(x, logits) if self.assignment == "soft" else self.hard(x, logits)

    def soft(self, x: Tensor, logits: Tensor) -> Tensor:
        """sum_k p_k v^{G_k}: all groups in one product of x with [K * d, D]."""
        representations = F.linear(x, self.weight.flatten(0, 1), self.bias).unflatten(1, self.weight.shape[:2])
        return torch.einsum("nk,nkd->nd", logits.softmax(dim=1), representations)

    def hard(self, x: Tensor, logits: Tensor) -> Tensor:
        """v^{G_argmax p}: every row goes through the FC of its own group alone."""
        chosen = logits.argmax(dim=1)
        bias = self.bias.unflatten(0, self.weight.shape[:2])
        out = x.new_zeros(x.shape[0], self.weight.shape[1])  # not len(x): a traced graph would keep it
        for group in range(len(self.weight)):
            rows = (chosen == group).nonzero()[:, 0]
            out = out.index_add(0, rows, F.linear(x[rows], self.weight[group], bias[group]))
        return out


class GroupFace(nn.Module):
    """Flat features [N, C] -> embeddings vbar = v + v^G [N, d]; in training mode [N, d + K].

    x = BN(FC(features)) is the shared feature of 4096 values, v = BN(FC(x)) the instance-based representation,
    v^{G_k} = FC_k(x) are the K group-aware ones. In training mode the logits of the group decision network stand beside
    the embedding: the head called groupface takes both apart.

    Args:
        channels: C.
        embedding_dim: d.
        groups: K; the paper tries 4, 16 and 32, and 32 is best.
        shared_dim: width of the shared feature.
        assignment: "soft", v^G = sum_k p_k v^{G_k} (S-GroupFace), or "hard", that of the most probable group
            (H-GroupFace): nearly as cheap as no groups when faces are embedded.
        hidden_dim: width of the group decision network.
        bn_eps: BatchNorm epsilon.

    Example:
        >>> neck = GroupFace(6, 4, groups=3, shared_dim=8)
        >>> neck(torch.randn(2, 6)).shape, neck.eval()(torch.randn(2, 6)).shape
        (torch.Size([2, 7]), torch.Size([2, 4]))
    """

    def __init__(
        self,
        channels: int,
        embedding_dim: int,
        *,
        groups: int = 32,
        shared_dim: int = 4096,
        assignment: Assignment = "soft",
        hidden_dim: int = 256,
        bn_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        for name, value, least in (("groups", groups, 2), ("shared_dim", shared_dim, 1), ("hidden_dim", hidden_dim, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise HyperArcError(f"expected {name} to be an int of at least {least}, got {value!r}")
        if assignment not in get_args(Assignment):
            raise HyperArcError(f"expected assignment to be soft or hard, got {assignment!r}")
        self.shared = nn.Sequential(nn.Linear(channels, shared_dim), nn.BatchNorm1d(shared_dim, eps=bn_eps))
        norm = nn.BatchNorm1d(embedding_dim, eps=bn_eps)
        norm.weight.requires_grad = False  # as after the FC of the other necks
        self.instance = nn.Sequential(nn.Linear(shared_dim, embedding_dim), norm)
        self.decision = GroupDecisionNetwork(embedding_dim, hidden_dim, groups, bn_eps)
        self.group_fcs = GroupFCs(shared_dim, embedding_dim, groups, assignment)

    def forward(self, features: Tensor) -> Tensor:
        x = self.shared(features)
        v = self.instance(x)
        logits = self.decision(v)
        embedding: Tensor = v + self.group_fcs(x, logits)
        return torch.cat([embedding, logits], dim=1) if self.training else embedding


@torch.no_grad()
def group_features(backbone: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings vbar [N, d] and intermediate features v^ [N, hidden_dim] of a backbone with the neck groupface.

    ``inputs`` is what the backbone takes (:func:`hyperarc.encoder.model_input`). Both are what
    :func:`hyperarc.heads.groupface.similarity` compares. The backbone is used in eval mode and left as it was.

    Raises:
        HyperArcError: the backbone has another neck.

    Example:
        >>> from hyperarc.backbones import create_backbone
        >>> backbone = create_backbone("iresnet_tiny", 16, neck="groupface", groups=4, shared_dim=32, hidden_dim=8)
        >>> vectors, hidden = group_features(backbone, torch.zeros(2, 3, 112, 112))
        >>> vectors.shape, hidden.shape
        (torch.Size([2, 16]), torch.Size([2, 8]))
    """
    neck = next((module for module in backbone.modules() if isinstance(module, GroupFace)), None)
    if neck is None:
        raise HyperArcError(
            "expected a backbone with the neck groupface, got one without groups",
            where=type(backbone).__name__,
            mend="create it with neck='groupface'",
        )
    seen: list[Tensor] = []
    hook = neck.decision.hidden.register_forward_hook(lambda module, given, out: seen.append(out))
    was_training = backbone.training
    backbone.eval()
    try:
        embeddings: Tensor = backbone(inputs)
    finally:
        hook.remove()
        backbone.train(was_training)
    return embeddings, seen[0]
