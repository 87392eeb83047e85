"""Drawing on faces in batch: a frame of coordinates from the five points, and shapes with smooth edges.

A shape is a level [N, H, W]: negative inside, 0 at the edge, positive outside, in any unit. Its coverage follows from
the level's own slope, so edges are one pixel wide however a face is turned or squeezed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperarc.errors import DataError
from hyperarc.faces.augmentation.pixels import luma

# distance from the eyes down to the mouth over the distance between the eyes, in the ArcFace template
_PROPORTION = 1.155


@dataclass(frozen=True)
class Canvas:
    """A batch of faces to draw on.

    Attributes:
        values: float [N, 3, H, W], 0 to 255.
        across, down: [N, H, W] coordinates of each pixel. The eyes lie at (-0.5, 0) and (0.5, 0), the middle of the
            mouth at (0, 1.155), so that in a frontal face both count in distances between the eyes.
        light: [N, 1, H, W], how lit something white would be there, about 0.3 to 1.1.
        colorful: [N, 1, 1, 1], 0 for a gray picture, 1 for one with colors.
    """

    values: Tensor
    across: Tensor
    down: Tensor
    light: Tensor
    colorful: Tensor

    def paint(self, color: Tensor, coverage: Tensor) -> Canvas:
        """Lay a color [N, 3, 1, 1] or [N, 3, H, W], 0 to 255 in full light, over the faces by a coverage [N, H, W]."""
        gray = luma(color)
        lit = (gray + (color - gray) * self.colorful) * self.light
        return replace(self, values=self.values + (lit - self.values) * coverage.unsqueeze(1))


def open_canvas(values: Tensor, landmarks: Tensor) -> Canvas:
    """Faces [N, 3, H, W] with their five points [N, 5, 2] in px of the crop.

    Raises:
        DataError: landmarks of another shape, or not finite.
    """
    count, _, height, width = values.shape
    if landmarks.shape != (count, 5, 2) or not bool(torch.isfinite(landmarks).all()):
        raise DataError(f"expected finite landmarks [{count}, 5, 2], got {list(landmarks.shape)}")
    points = landmarks.to(values.device, torch.float32)
    middle = points[:, :2].mean(1)
    right = points[:, 1] - points[:, 0]
    below = (points[:, 3:].mean(1) - middle) / _PROPORTION
    # a face seen from the side has its eyes nearly in one place: hold the frame open
    turned = torch.stack([below[:, 1], -below[:, 0]], dim=1)
    right = right + turned * (0.4 - _cross(right, below) / (below**2).sum(1).clamp(min=1)).clamp(min=0)[:, None]
    area = _cross(right, below).clamp(min=1.0)
    y, x = torch.meshgrid(*(torch.arange(s, device=values.device) for s in (height, width)), indexing="ij")
    from_x, from_y = x - middle[:, :1, None], y - middle[:, 1:, None]
    across = (from_x * below[:, 1, None, None] - from_y * below[:, 0, None, None]) / area[:, None, None]
    down = (from_y * right[:, 0, None, None] - from_x * right[:, 1, None, None]) / area[:, None, None]
    return Canvas(values, across, down, _light(values), _colorful(values))


def coverage(level: Tensor) -> Tensor:
    """Share of each pixel inside a shape, [N, H, W], from its level.

    Example:
        >>> x = torch.arange(5.0).expand(1, 5, 5)
        >>> coverage(x - 2)[0, 0].tolist()
        [1.0, 1.0, 0.5, 0.0, 0.0]
    """
    return (0.5 - distance_px(level)).clamp(0, 1)


def distance_px(level: Tensor) -> Tensor:
    """About how many px a pixel lies outside the edge of a shape; negative inside."""
    rows, columns = torch.gradient(level, dim=(1, 2))
    return level / torch.hypot(rows, columns).clamp(min=1e-6)


def segment(canvas: Canvas, start: tuple[Tensor, Tensor], end: tuple[Tensor, Tensor]) -> Tensor:
    """Distance [N, H, W] from the line between two points of each face, mirrored to the other side; both [N, 1, 1]."""
    x, y = canvas.across.abs() - start[0], canvas.down - start[1]
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    share = ((x * along_x + y * along_y) / (along_x**2 + along_y**2).clamp(min=1e-6)).clamp(0, 1)
    return torch.hypot(x - share * along_x, y - share * along_y)


def fading(canvas: Canvas) -> Tensor:
    """1 on the face and 0 beside it, [N, H, W]: where bows and loops pass behind the head.

    The head is about 1.15 distances of the eyes wide to either side.
    """
    return ((1.2 - canvas.across.abs()) / 0.12).clamp(0, 1)


def choose(table: Sequence[tuple[float, ...]], draws: Tensor, device: torch.device) -> Tensor:
    """Rows of a table by even draws [N]: float32 [N, columns]."""
    places = (draws * len(table)).long()
    return torch.tensor(table, dtype=torch.float32)[places].to(device)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _light(values: Tensor) -> Tensor:
    """From the picture itself: how bright its bright parts are, times how the light falls, both smoothed."""
    gray = luma(values)
    coarse = F.adaptive_avg_pool2d(gray, 5)
    bright = coarse.flatten(1).quantile(0.8, dim=1).clamp(min=8)[:, None, None, None]
    falls = (coarse / coarse.mean((2, 3), keepdim=True).clamp(min=8)).clamp(0.5, 1.5) ** 0.5
    exposure = (bright / 190).clamp(0.15, 1.15) ** 0.6
    return exposure * F.interpolate(falls, values.shape[2:], mode="bicubic", align_corners=False)


def _colorful(values: Tensor) -> Tensor:
    spread = (values.amax(1) - values.amin(1)).mean((1, 2))
    return (spread / 12).clamp(0, 1)[:, None, None, None]
