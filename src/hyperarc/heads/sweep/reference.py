"""The dense sweep: slow, plain, obviously right. Autograd does the backward."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperarc.geometry import unit
from hyperarc.heads.sweep.plan import Plan, Swept


def cosines(rows: Tensor, weight: Tensor, plan: Plan) -> Tensor:
    """c_ij [N, C] of rows [N, d] and centers [C, K, d]: the largest over a class's K sub-centers, plus the bias."""
    centers = unit(weight) if plan.normalize_centers else weight
    cosine = torch.einsum("nd,ckd->nck", rows, centers).amax(dim=2)
    return cosine if plan.bias is None else cosine + plan.bias


def reference_sweep(rows: Tensor, weight: Tensor, labels: Tensor, plan: Plan) -> Swept:
    """The sweep of rows [N, d] with labels [N] over centers [C, K, d], holding all N x C cosines."""
    cosine = cosines(rows, weight, plan)
    is_target = torch.zeros_like(cosine, dtype=torch.bool).scatter_(1, labels[:, None], True)
    target = cosine.gather(1, labels[:, None])[:, 0]
    negative = cosine if plan.negative_map is None else plan.negative_map(cosine)
    logit = (plan.scale * negative).masked_fill(is_target, -torch.inf)
    log_sum = logit.logsumexp(dim=1) if plan.offset is None else -F.logsigmoid(-logit - plan.offset).sum(dim=1)
    others = cosine.masked_fill(is_target, -torch.inf)
    nearest, nearest_class = others.detach().max(dim=1)
    nearest_k = others.topk(min(plan.top_k, others.shape[1] - 1), dim=1).values if plan.top_k else None
    return Swept(target, log_sum, nearest, nearest_class, nearest_k)
