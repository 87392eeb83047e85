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
    if plan.foreign:  # one class more, at cosine 0, which is nobody's negative
        cosine = F.pad(cosine, (0, 1))
        labels = torch.where(labels < 0, len(weight), labels)
    is_target = torch.zeros_like(cosine, dtype=torch.bool).scatter_(1, labels[:, None], True)
    target = cosine.gather(1, labels[:, None])[:, 0]
    is_target[:, len(weight) :] = True
    negative = cosine if plan.negative_map is None else plan.negative_map(cosine)
    negative = negative.masked_fill(is_target, -torch.inf)

    def log_sum_at(scale: Tensor | float) -> Tensor:
        logit = scale * negative
        return logit.logsumexp(dim=1) if plan.offset is None else -F.logsigmoid(-logit - plan.offset).sum(dim=1)

    log_sum = log_sum_at(plan.scale)
    if plan.rescale is not None:
        log_sum = log_sum_at(plan.rescale(target.detach(), log_sum.detach()))
    others = cosine.masked_fill(is_target, -torch.inf)
    nearest, nearest_class = others.detach().max(dim=1)
    if not plan.top_k:
        return Swept(target, log_sum, nearest, nearest_class)
    top = others.topk(min(plan.top_k, others.shape[1] - 1), dim=1)
    return Swept(target, log_sum, nearest, nearest_class, top.values, top.indices)
