"""Face masks drawn over nose, mouth and chin: surgical, of cloth, and respirators."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hyperarc.faces.augmentation.drawing import Canvas, choose, coverage, distance_px, fading, open_canvas, segment
from hyperarc.faces.augmentation.pixels import to_bytes, to_float
from hyperarc.recipe.augmentation import Mask

DRAWS = 9

_COLORS: dict[str, list[tuple[float, ...]]] = {
    "surgical": [(150, 190, 215), (172, 208, 222), (160, 205, 196), (236, 238, 240), (30, 31, 34), (222, 176, 190)],
    "cloth": [
        (28, 28, 32), (70, 74, 82), (226, 222, 214), (36, 52, 92), (150, 40, 48), (64, 96, 72), (186, 150, 112),
        (118, 88, 140), (196, 196, 200), (40, 104, 120),
    ],
    "respirator": [(240, 240, 238), (240, 240, 238), (214, 218, 222), (34, 35, 38)],
}  # fmt: skip
# height of the upper edge at the nose, at the cheeks; half width; bottom; how pointed the chin is
_OUTLINES = {
    "surgical": (0.34, 0.66, 1.07, 1.92, 2.6),
    "cloth": (0.30, 0.64, 1.05, 1.90, 2.2),
    "respirator": (0.22, 0.78, 1.02, 1.92, 1.9),
}


def put_on_mask(faces: Tensor, landmarks: Tensor, draws: Tensor, section: Mask) -> Tensor:
    """Draw a mask on every face, with folds, seams and loops, in the light of the picture; one in eight sits too low.

    Args:
        faces: uint8 [N, 3, H, W].
        landmarks: [N, 5, 2] in px of the crop.
        draws: even draws [N, 9]; kind, color, brightness, height at the nose and at the cheeks, whether it is worn
            below the nose, width, kind of pattern and its width follow from them.
        section: the kinds to draw from.
    """
    device = faces.device
    kinds = [section.kinds[int(draw * len(section.kinds))] for draw in draws[:, 0].tolist()]
    d = draws.to(device, torch.float32)[:, :, None, None]
    canvas = open_canvas(to_float(faces), landmarks)
    outline = torch.tensor([_OUTLINES[kind] for kind in kinds], device=device)
    nose, cheek, width, bottom, power = outline[:, :, None, None].unbind(1)
    nose = nose + 0.12 * (d[:, 3] - 0.5) + torch.where(d[:, 5] < 1 / 8, 0.34, 0.0)
    cheek = (cheek + 0.14 * (d[:, 4] - 0.5)).maximum(nose + 0.1)
    edge = distance_px(_outline(canvas, nose, cheek, width * (0.96 + 0.08 * d[:, 6]), bottom, power))
    colors = [choose(_COLORS[kind], draw[None], device) for kind, draw in zip(kinds, draws[:, 1], strict=True)]
    color = torch.cat(colors)[:, :, None, None] + 20 * (d[:, 2:3] - 0.5)
    black = torch.zeros(1, 3, 1, 1, device=device)
    canvas = canvas.paint(black, 0.3 * torch.exp(-edge.clamp(min=0) / 2.5))
    canvas = canvas.paint(110 + 0.5 * color, 0.9 * coverage(_loops(canvas, cheek, width)) * fading(canvas))
    are = {kind: torch.tensor([k == kind for k in kinds], device=device)[:, None, None] for kind in _COLORS}
    fabric = color + 40 * (_pattern(canvas, d[:, 7], d[:, 8]) * are["cloth"]).unsqueeze(1)
    shade = _form(canvas) + _folds(canvas, cheek) * are["surgical"] + _seam(canvas) * are["cloth"]
    shade = shade + _ridge(canvas) * are["respirator"] - 0.12 * torch.exp(-((edge + 3.2) ** 2) / 0.8)
    return to_bytes(canvas.paint(fabric * shade.unsqueeze(1), (0.5 - edge).clamp(0, 1)).values)


def _outline(canvas: Canvas, nose: Tensor, cheek: Tensor, width: Tensor, bottom: Tensor, power: Tensor) -> Tensor:
    """Level of the mask: below its upper edge, and inside a superellipse around the jaw."""
    side = canvas.across.abs() / width
    upper = nose + (cheek - nose) * side.clamp(max=1.2) ** 1.5 - canvas.down
    jaw = (side**power + ((canvas.down - 0.5).clamp(min=0) / (bottom - 0.5)) ** power) ** (1 / power) - 1
    return torch.maximum(upper, jaw)


def _loops(canvas: Canvas, cheek: Tensor, width: Tensor) -> Tensor:
    """Level of the ear loops: two lines on each side."""
    far = torch.full_like(width, 1.36)
    upper = segment(canvas, (0.93 * width, cheek + 0.04), (far, cheek - 0.34))
    lower = segment(canvas, (0.86 * width, cheek + 0.78), (far, cheek + 0.02))
    return torch.minimum(upper, lower) - 0.022


def _form(canvas: Canvas) -> Tensor:
    """Round like a face: darker to the sides and under the chin, lighter along the nose."""
    nose = 0.07 * _bump(canvas.across, 0.2) * _bump(canvas.down - 0.55, 0.35)
    return 1.04 - 0.30 * canvas.across**2 - 0.16 * (canvas.down - 1.25).clamp(min=0) + nose


def _folds(canvas: Canvas, cheek: Tensor) -> Tensor:
    """Three pleats."""
    shade = torch.zeros_like(canvas.down)
    for place in (0.12, 0.38, 0.64):
        at = canvas.down - cheek - place - 0.12 * (1 - canvas.across**2)
        shade = shade - 0.17 * _bump(at, 0.028) + 0.07 * _bump(at - 0.07, 0.04)
    return shade


def _seam(canvas: Canvas) -> Tensor:
    """A seam down the middle."""
    return 0.05 * _bump(canvas.across - 0.06, 0.04) - 0.16 * _bump(canvas.across, 0.022)


def _ridge(canvas: Canvas) -> Tensor:
    """A ridge down the middle, sides that fall off, and a welded line across each."""
    weld = _bump(canvas.across.abs() - 0.62 - 0.12 * (canvas.down - 1), 0.02)
    return 0.08 * _bump(canvas.across, 0.05) - 0.12 * canvas.across.abs() - 0.08 * weld


def _pattern(canvas: Canvas, kind: Tensor, width: Tensor) -> Tensor:
    """None, stripes, or checks: -1 to 1."""
    waves = 2 * math.pi * (3 + 5 * width)
    stripes, columns = torch.sin(waves * canvas.down), torch.sin(waves * canvas.across)
    return torch.where(kind < 0.5, 0.0, torch.where(kind < 0.75, stripes, (stripes + columns) / 2))


def _bump(x: Tensor, width: float) -> Tensor:
    return torch.exp(-((x / width) ** 2))
