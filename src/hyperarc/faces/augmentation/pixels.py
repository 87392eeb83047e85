"""Between stored pixels and numbers to calculate with."""

from __future__ import annotations

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def to_float(faces: Tensor) -> Tensor:
    """uint8 crops as float32, channels first in memory whatever they were."""
    return faces.contiguous().to(torch.float32)


def to_bytes(values: Tensor) -> Tensor:
    """Floats as uint8, rounded and clipped to 0 ... 255; overwrites them.

    Example:
        >>> to_bytes(torch.tensor([-3.0, 1.4, 1.5, 300.0])).tolist()
        [0, 1, 2, 255]
    """
    return values.clamp_(0, 255).add_(0.5).to(torch.uint8)


def luma(values: Tensor) -> Tensor:
    """Gray of RGB floats [N, 3, H, W]: [N, 1, H, W]."""
    red, green, blue = values.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green).add_(LUMA[2] * blue).unsqueeze(1)
