"""Sunglasses drawn over the eyes: several shapes, frames and tints."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hyperarc.faces.augmentation.drawing import Canvas, choose, coverage, distance_px, fading, open_canvas, segment
from hyperarc.faces.augmentation.pixels import to_bytes, to_float
from hyperarc.recipe.augmentation import Sunglasses

DRAWS = 9

# half width and half height of a lens, its middle, exponent of the superellipse (2 ellipse, 8 box), how much narrower
# it gets toward the bottom, how much it rises outward, how far its bottom leans outward, width of the rim
_SHAPES = [
    (0.33, 0.33, 0.50, 2.0, 0.00, 0.00, 0.00, 0.035),  # round
    (0.40, 0.30, 0.53, 4.0, 0.14, 0.06, 0.03, 0.080),  # wayfarer
    (0.41, 0.37, 0.52, 2.5, 0.20, 0.00, 0.10, 0.022),  # aviator
    (0.42, 0.24, 0.53, 6.0, 0.04, 0.02, 0.00, 0.050),  # rectangle
    (0.42, 0.29, 0.54, 3.0, 0.18, 0.20, 0.00, 0.065),  # cat-eye
    (0.45, 0.38, 0.55, 3.0, 0.08, 0.02, 0.03, 0.075),  # oversized
    (0.46, 0.25, 0.49, 3.4, 0.10, 0.04, 0.06, 0.030),  # sport
]
_FRAMES = [
    (18, 18, 20), (18, 18, 20), (40, 34, 30), (84, 48, 24), (120, 76, 40), (176, 146, 84), (170, 172, 176),
    (232, 230, 226), (132, 24, 32), (28, 44, 92),
]  # fmt: skip
_TINTS = [
    (12, 12, 14), (14, 16, 20), (24, 22, 20), (52, 32, 18), (30, 42, 30), (20, 36, 64), (70, 44, 60), (96, 70, 30),
]  # fmt: skip


@dataclass(frozen=True)
class _Pair:
    """Sunglasses in the coordinates of a canvas; all tensors [N, 1, 1]."""

    half_width: Tensor
    half_height: Tensor
    middle: Tensor
    power: Tensor
    taper: Tensor
    rise: Tensor
    lean: Tensor
    rim: Tensor
    top: Tensor  # how far below the eyes' line the lenses' middle lies

    def place(self, canvas: Canvas) -> tuple[Tensor, Tensor]:
        """Each pixel from the middle of the lens on its side, outward and downward, in half widths and half heights."""
        outward = canvas.across.abs() - self.middle
        downward = (canvas.down - self.top + self.rise * outward) / self.half_height
        width = self.half_width * (1 - self.taper * downward.clamp(-1.5, 1.5))
        return (outward - self.lean * downward) / width, downward

    def lens(self, x: Tensor, y: Tensor) -> Tensor:
        """Level of both lenses at such places: a superellipse."""
        return (x.abs() ** self.power + y.abs() ** self.power) ** (1 / self.power) - 1

    def frame(self, canvas: Canvas, lens: Tensor) -> Tensor:
        """Level of rims and bridge together, lenses included."""
        rims = lens - self.rim / self.half_height
        arch = canvas.down - self.top + 0.35 * self.half_height - 0.5 * canvas.across**2
        reach = canvas.across.abs() - self.middle + 0.9 * self.half_width
        bridge = torch.maximum(arch.abs() - 0.5 * self.rim - 0.015, reach)
        return torch.minimum(rims, bridge)

    def bows(self, canvas: Canvas) -> Tensor:
        """Level of what leads to the ears."""
        hinge = (self.middle + 0.95 * self.half_width, self.top - (0.45 + self.rise) * self.half_height)
        return segment(canvas, hinge, (hinge[0].clamp(min=1.3), hinge[1] - 0.04)) - 0.4 * self.rim - 0.018


def put_on_sunglasses(faces: Tensor, landmarks: Tensor, draws: Tensor, section: Sunglasses) -> Tensor:
    """Draw sunglasses on every face.

    Frames and lenses take the light of the picture; lenses are darkest at the top, let some of the eyes through and may
    carry a streak of reflected sky.

    Args:
        faces: uint8 [N, 3, H, W].
        landmarks: [N, 5, 2] in px of the crop.
        draws: even draws [N, 9]; shape, size, height, frame, opacity, fading, tint, place and strength of the streak
            follow from them.
        section: limits of the opacity.
    """
    device = faces.device
    d = draws.to(device, torch.float32)[:, :, None, None]
    canvas = open_canvas(to_float(faces), landmarks)
    shape = choose(_SHAPES, draws[:, 0], device)
    shape[:, :2] *= 0.94 + 0.14 * d[:, 1, :, 0]
    pair = _Pair(*torch.cat([shape, 0.02 + 0.07 * d[:, 2, :, 0]], dim=1)[:, :, None, None].unbind(1))
    x, y = pair.place(canvas)
    lens = pair.lens(x, y)
    black = torch.zeros(1, 3, 1, 1, device=device)
    canvas = canvas.paint(black, 0.25 * (1 - distance_px(lens - 0.1) / 5).clamp(0, 1) * (y > 0))
    frame = choose(_FRAMES, draws[:, 3], device)[:, :, None, None] * (1 - 0.15 * y.clamp(-1.5, 1.5)).unsqueeze(1)
    canvas = canvas.paint(frame, coverage(pair.bows(canvas)) * fading(canvas))
    canvas = canvas.paint(frame, coverage(pair.frame(canvas, lens)))
    glass = coverage(lens)
    opacity = section.opacity[0] + (section.opacity[1] - section.opacity[0]) * d[:, 4]
    tint = choose(_TINTS, draws[:, 6], device)[:, :, None, None]
    canvas = canvas.paint(tint, glass * opacity * (1 - 0.3 * d[:, 5] * (1 + y.clamp(-1, 1)) / 2))
    sky = torch.tensor([205.0, 220.0, 235.0], device=device)[None, :, None, None]
    slant = 0.7 * (canvas.across - canvas.across.sign() * pair.middle) + canvas.down + 0.4 * (d[:, 7] - 0.5)
    gleam = 0.25 * torch.exp(-((slant / 0.12) ** 2)) + 0.2 * (-y).clamp(0, 1)
    return to_bytes(canvas.paint(sky, glass * gleam * d[:, 8]).values)
