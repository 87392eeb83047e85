"""Color: brightness, contrast, saturation, hue, and gray."""

from __future__ import annotations

import torch
from torch import Tensor

from hyperarc.faces.augmentation.pixels import LUMA, luma, to_bytes, to_float
from hyperarc.recipe.augmentation import Color

DRAWS = 8
_YIQ = (LUMA, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


def jitter_color(faces: Tensor, factors: Tensor, orders: Tensor) -> Tensor:
    """Change brightness, contrast, saturation and hue of each face, one after another; each clips to 0 ... 255.

    As torchvision's ColorJitter, with f the factor: brightness is f x, contrast f x + (1 - f) times the face's mean
    gray, saturation f x + (1 - f) times the pixel's. Hue turns the plane of I and Q of NTSC's YIQ, so gray stays.

    Args:
        faces: uint8 [N, 3, H, W].
        factors: [N, 4] of brightness, contrast and saturation, and the turn of the hue in radians.
        orders: whole numbers [N, 4]: which of the four comes first, second ...

    Example:
        >>> face = torch.tensor([100, 50, 0], dtype=torch.uint8).view(1, 3, 1, 1)
        >>> order = torch.tensor([[0, 1, 2, 3]])
        >>> jitter_color(face, torch.tensor([[1.5, 1.0, 0.0, 0.0]]), order).flatten().tolist()
        [89, 89, 89]
    """
    count, _, height, width = faces.shape
    values = to_float(faces).view(count, 3, height * width)
    chosen = orders[:, :, None, None].expand(-1, -1, 3, 3)
    matrices = _matrices(factors.double()).gather(1, chosen).to(faces.device, torch.float32)
    to_mean = torch.where(orders == 1, 1 - factors[:, 1:2], 0.0).to(faces.device, torch.float32)
    gray = torch.tensor(LUMA, device=faces.device)
    for place in range(4):
        mean = (values.mean(2) * gray).sum(1)
        offset = (to_mean[:, place] * mean)[:, None, None]
        values = torch.bmm(matrices[:, place], values).add_(offset).clamp_(0, 255)
    return to_bytes(values).view(faces.shape)


def draw_factors(draws: Tensor, section: Color) -> tuple[Tensor, Tensor]:
    """Factors and orders from even draws [N, 8]."""
    hue = torch.tensor(section.hue_deg, dtype=torch.float64).deg2rad().tolist()
    limits = torch.tensor([section.brightness, section.contrast, section.saturation, hue], dtype=torch.float64)
    return limits[:, 0] + (limits[:, 1] - limits[:, 0]) * draws[:, :4], draws[:, 4:].argsort(dim=1)


def turn_gray(faces: Tensor) -> Tensor:
    """Three equal channels of gray (ITU-R BT.601).

    Example:
        >>> turn_gray(torch.tensor([255, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1)).flatten().tolist()
        [76, 76, 76]
    """
    return to_bytes(luma(to_float(faces))).expand(-1, 3, -1, -1)


def _matrices(factors: Tensor) -> Tensor:
    """What each of the four does to a color: [N, 4, 3, 3]."""
    same = torch.eye(3, dtype=torch.float64)
    brightness, contrast, saturation, hue = factors[:, :, None, None].unbind(1)
    to_yiq = torch.tensor(_YIQ, dtype=torch.float64)
    gray = to_yiq[:1].expand(3, 3)
    flat = torch.diag(torch.tensor([0.0, 1.0, 1.0], dtype=torch.float64))
    quarter = torch.tensor([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=torch.float64)
    turned = same - flat + torch.cos(hue) * flat + torch.sin(hue) * quarter
    hues = torch.linalg.inv(to_yiq) @ turned @ to_yiq
    return torch.stack([brightness * same, contrast * same, saturation * same + (1 - saturation) * gray, hues], dim=1)
