"""What becomes of the target when angle plus margin passes pi, where the cosine would rise again.

Published codes disagree, so the choice is an argument ``beyond_pi`` of the angular margins:

    threshold  cos(theta + m) while theta < pi - m, then c - m sin(m): falls everywhere (2018 ArcFace code,
               CurricularFace, pytorch-metric-learning). The default.
    raw        nothing is done: rewards moving away beyond pi - m (insightface MXNet, arcface_torch, ElasticFace).
    easy       the margin only where c > 0, the plain cosine elsewhere (defaults of MagFace and MV-Softmax).
    clip       theta + m held inside [eps, pi - eps] with eps = 1e-4: constant, without gradient, beyond (AdaFace code).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from hyperarc.errors import unknown_name
from hyperarc.geometry import add_angle, angle

BeyondPi = Literal["threshold", "raw", "easy", "clip"]
Gradient = Literal["analytic", "straight_through"]
CLIP_EPS = 1e-4


def margined_cosine(cosine: Tensor, m1: float, m2: Tensor | float, beyond_pi: BeyondPi) -> Tensor:
    """cos(m1 theta + m2) of cosines [N] with the chosen behavior where m1 theta + m2 passes pi.

    Example:
        >>> c = torch.tensor([0.5, -0.99])
        >>> margined_cosine(c, 1.0, 0.5, "threshold") < margined_cosine(c, 1.0, 0.0, "threshold")
        tensor([True, True])
    """
    if beyond_pi == "clip":
        theta = angle(cosine.clamp(CLIP_EPS - 1.0, 1.0 - CLIP_EPS))
        return torch.cos((m1 * theta + m2).clamp(CLIP_EPS, math.pi - CLIP_EPS))
    inside = add_angle(cosine, m2) if m1 == 1.0 else torch.cos(m1 * angle(cosine) + m2)
    if beyond_pi == "raw":
        return inside
    if beyond_pi == "easy":
        return torch.where(cosine.detach() > 0.0, inside, cosine)
    m2 = torch.as_tensor(m2, dtype=cosine.dtype, device=cosine.device)
    last = torch.cos((math.pi - m2) / m1)  # the cosine at which m1 theta + m2 = pi
    # For m1 = 1 the fallback of the published codes; for other m1, which no code defines, the cosine shifted so
    # that it joins -1 without a jump.
    fallback = cosine - (m2 * torch.sin(m2) if m1 == 1.0 else 1.0 + last)
    return torch.where(cosine.detach() > last, inside, fallback)


def with_gradient(margined: Tensor, cosine: Tensor, gradient: Gradient) -> Tensor:
    """``margined`` with the chosen derivative in respect of ``cosine``.

    "analytic" is the formula's, sin(theta + m) / sin(theta) for ArcFace. "straight_through" takes it as 1, as
    arcface_torch does since December 2022 by computing the margin outside autograd.
    """
    if gradient == "straight_through" and cosine.requires_grad:
        return cosine + (margined - cosine).detach()
    return margined


def check_modes(beyond_pi: str, gradient: str) -> None:
    """Raise unless both names are known."""
    for kind, value, known in (("beyond_pi", beyond_pi, BeyondPi), ("gradient", gradient, Gradient)):
        if value not in get_args(known):
            raise unknown_name(kind, value, get_args(known))
