"""Angles on the unit hypersphere, safe at both poles and in single precision.

Cosines computed in floating point leave [-1, 1] by a few ulps, where arccos is NaN, and the derivative of
sqrt(1 - c^2) is infinite at c = +-1. Every function here keeps value and gradient finite there and is exact elsewhere.
All angles are radians.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Below this value of 1 - c^2 the sine is held constant: an angle of 1e-3 rad in fp32, 1e-6 rad in fp64.
_SQUARED_SINE_FLOOR = {torch.float32: 1e-6, torch.float64: 1e-12}


def sine(cosine: Tensor) -> Tensor:
    """sin(theta) >= 0 for theta in [0, pi] given cos(theta); its gradient is 0 at the poles instead of infinite.

    Example:
        >>> sine(torch.tensor([0.0, 0.6])).tolist()
        [1.0, 0.800000011920929]
    """
    return (1.0 - cosine * cosine).clamp_min(_SQUARED_SINE_FLOOR[cosine.dtype]).sqrt()


def angle(cosine: Tensor) -> Tensor:
    """theta in [0, pi] given cos(theta), with a finite gradient everywhere.

    Example:
        >>> round(float(angle(torch.tensor(0.5))), 4)
        1.0472
    """
    return torch.atan2(sine(cosine), cosine)


def add_angle(cosine: Tensor, by: Tensor | float) -> Tensor:
    """cos(theta + by) given cos(theta), without an arccos: c cos(by) - sin(theta) sin(by).

    Example:
        >>> import math
        >>> round(float(add_angle(torch.tensor(0.5), math.pi / 3)), 4)
        -0.5
    """
    by = torch.as_tensor(by, dtype=cosine.dtype, device=cosine.device)
    return cosine * torch.cos(by) - sine(cosine) * torch.sin(by)


def unit(vectors: Tensor) -> Tensor:
    """Rows divided by their length; a zero row stays zero and gets no gradient.

    Follows torch's ``normalize`` (division by max(norm, 1e-12)) except for the gradient at the zero row, which there
    would be multiplied by 1e12.

    Example:
        >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    norm = vectors.norm(dim=-1, keepdim=True)
    tiny = norm <= 1e-12
    lengths: Tensor = norm.masked_fill(tiny, 1.0)
    return torch.where(tiny, vectors.detach(), vectors) / lengths
