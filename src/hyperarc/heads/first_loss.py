"""The loss of a head that has learned nothing, from its margin alone."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperarc.heads.centers import Centers
from hyperarc.margins import Margin


@torch.no_grad()
def expected_loss(margin: Margin, centers: Centers) -> float:
    """The loss to expect of random embeddings and centers.

    Cosines are then N(0, 1/d), or the largest of K such, and the sum over the negatives is C - 1 times its mean, taken
    up to the largest cosine that CK - K draws reach: E[n] = ln(C-1) + s^2 / 2d for K = 1 and a small s.

    Example:
        >>> from hyperarc.margins import create_margin
        >>> round(expected_loss(create_margin("norm_softmax"), Centers(85742, 512)), 1)
        15.3
    """
    _, sub_centers, dim = centers.weight.shape
    classes = max(2, centers.swept)
    if not margin.normalizes_centers:
        return math.log(classes)
    scale = float(margin.scale)
    z, share = (each.to(centers.weight) for each in _largest_of_normals(sub_centers))
    largest = math.sqrt(2.0 * math.log(max(2, (classes - 1) * sub_centers)))
    own = (share * z).sum()[None] / math.sqrt(dim)
    norm = torch.full_like(own, math.sqrt(dim))
    threshold, offset = margin.threshold(own, norm), margin.offset()
    seen, others = share[z <= largest], z[z <= largest][None] / math.sqrt(dim)
    negative = scale * margin.negative(others, None if threshold is None else threshold[:, None])
    if offset is None:
        log_sum = (seen.log() + negative).logsumexp(dim=1) + math.log(classes - 1)
    else:
        log_sum = (seen * F.softplus(negative + offset)).sum(dim=1) * (classes - 1)
    logit = scale * margin.target(own, norm, torch.zeros_like(own, dtype=torch.int64))
    return float(margin.loss(logit, log_sum, others[:, -max(1, margin.top_k) :]))


def _largest_of_normals(count: int) -> tuple[Tensor, Tensor]:
    """Values z of the largest of ``count`` standard normals, with their probabilities."""
    z = torch.linspace(-8.0, 8.0, 3201, dtype=torch.float64)
    share = (count * torch.special.log_ndtr(z)).exp().diff()
    return (z[1:] + z[:-1]) / 2, share
