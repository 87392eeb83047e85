"""Blur: Gaussian, of the lens, and the streak of a moving camera."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperarc.faces.augmentation.pixels import to_bytes, to_float
from hyperarc.recipe.augmentation import Blur

DRAWS = 3


def blur(faces: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each face with its own kernel, the border repeated.

    Args:
        faces: uint8 [N, 3, H, W].
        kernels: float [N, K, K], K odd; each adds up to 1.

    Example:
        >>> face = torch.tensor([0, 90, 0], dtype=torch.uint8).expand(1, 3, 3, 3)
        >>> blur(face, torch.full((1, 3, 3), 1 / 9))[0, 0, 0].tolist()
        [30, 30, 30]
    """
    reach = kernels.shape[-1] // 2
    padded = F.pad(to_float(faces), (reach,) * 4, mode="replicate").transpose(0, 1)
    blurred = F.conv2d(padded, kernels.to(faces.device, torch.float32).unsqueeze(1), groups=len(faces))
    return to_bytes(blurred.transpose(0, 1))


def blur_kernels(sigma_px: Tensor, motion_px: Tensor, angle: Tensor, side: int) -> Tensor:
    """Kernels [N, side, side]: a Gaussian drawn along a streak.

    The streak is a segment of ``motion_px`` through the middle, sampled at ``4 side`` points; the sum of the Gaussians
    around them is taken. A sigma below 0.3 px is taken for 0.3 px, about the softness of a pixel.

    Args:
        sigma_px, motion_px: [N] standard deviation of the Gaussian and length of the streak.
        angle: [N] of the streak, in radians from the x axis, clockwise.
        side: of the kernels; odd.
    """
    middle = side // 2
    streak = motion_px[:, None] * torch.linspace(-0.5, 0.5, 4 * side, dtype=torch.float64)
    axis = torch.arange(side, dtype=torch.float64) - middle
    double_variance = (2 * sigma_px.clamp(min=0.3) ** 2)[:, None, None]
    across = torch.exp(-((axis - (streak * torch.cos(angle)[:, None])[..., None]) ** 2) / double_variance)
    down = torch.exp(-((axis - (streak * torch.sin(angle)[:, None])[..., None]) ** 2) / double_variance)
    kernels = down.mT @ across
    return kernels / kernels.sum((1, 2), keepdim=True)


def draw_kernels(draws: Tensor, section: Blur) -> Tensor:
    """Kernels from even draws [N, 3]; their side fits the widest that the section allows."""
    sigma_px = section.sigma_px[0] + (section.sigma_px[1] - section.sigma_px[0]) * draws[:, 0]
    motion_px = section.motion_px[0] + (section.motion_px[1] - section.motion_px[0]) * draws[:, 1]
    side = 2 * math.ceil(3 * section.sigma_px[1] + section.motion_px[1] / 2) + 1
    return blur_kernels(sigma_px, motion_px, math.pi * draws[:, 2], max(side, 3))
