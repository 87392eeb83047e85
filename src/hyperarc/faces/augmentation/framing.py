"""What is left of a face, or covered: rectangles of a crop."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hyperarc.recipe.augmentation import Crop, Occlusion

CROP_DRAWS, OCCLUSION_DRAWS = 22, 4
_TRIES = 10  # as torchvision's RandomResizedCrop


def crop(faces: Tensor, boxes: Tensor) -> Tensor:
    """Leave a rectangle of each face in place and make the rest black.

    AdaFace's crop (Kim et al., CVPR 2022, section 4.1): the face keeps its place and size, as a backbone for aligned
    faces expects.

    Args:
        faces: uint8 [N, 3, H, W].
        boxes: whole numbers [N, 4]: top, left, height, width in px.

    Example:
        >>> crop(torch.full((1, 3, 2, 4), 9, dtype=torch.uint8), torch.tensor([[0, 1, 1, 2]]))[0, 0].tolist()
        [[0, 9, 9, 0], [0, 0, 0, 0]]
    """
    return faces * _inside(faces, boxes)


def draw_crops(draws: Tensor, section: Crop, height: int, width: int) -> Tensor:
    """Boxes [N, 4] from even draws [N, 22]: share of the area and log of width / height are drawn evenly.

    What does not fit into the crop is drawn again, up to ten times; then the whole crop stays.
    """
    least, most = section.area
    area = (least + (most - least) * draws[:, :_TRIES]) * (height * width)
    aspect = torch.exp(math.log(section.aspect) * (2 * draws[:, _TRIES : 2 * _TRIES] - 1))
    tall, wide = (area / aspect).sqrt().round(), (area * aspect).sqrt().round()
    fits = (tall >= 1) & (tall <= height) & (wide >= 1) & (wide <= width)
    first = fits.int().argmax(dim=1, keepdim=True)
    fitting = fits.any(dim=1)
    tall = torch.where(fitting, tall.gather(1, first)[:, 0], height)
    wide = torch.where(fitting, wide.gather(1, first)[:, 0], width)
    top, left = (draws[:, -2] * (height - tall + 1)).floor(), (draws[:, -1] * (width - wide + 1)).floor()
    return torch.stack([top, left, tall, wide], dim=1).long()


def occlude(faces: Tensor, boxes: Tensor, seeds: Tensor | None = None) -> Tensor:
    """Cover a rectangle of each face, with the value 128 or with noise.

    Args:
        faces: uint8 [N, 3, H, W].
        boxes: whole numbers [N, 4]: top, left, height, width in px; what lies outside the crop does not count.
        seeds: whole numbers [N] below 2^31 for noise, another for another; None fills with 128.

    Example:
        >>> occlude(torch.zeros(1, 3, 1, 3, dtype=torch.uint8), torch.tensor([[0, 1, 1, 5]]))[0, 0].tolist()
        [[0, 128, 128]]
    """
    inside = _inside(faces, boxes)
    return faces.masked_fill(inside, 128) if seeds is None else torch.where(inside, noise(seeds, faces), faces)


def draw_squares(draws: Tensor, section: Occlusion, height: int, width: int) -> Tensor:
    """Boxes [N, 4] from even draws [N, 3]: the side, and the middle anywhere in the crop, as MXNet's cutoff does."""
    least, most = section.side
    side = ((least + (most - least) * draws[:, 0]) * min(height, width)).round().clamp(min=1)
    top = (draws[:, 1] * height).floor() - (side / 2).floor()
    left = (draws[:, 2] * width).floor() - (side / 2).floor()
    return torch.stack([top, left, side, side], dim=1).long()


def noise(seeds: Tensor, like: Tensor) -> Tensor:
    """Even uint8 noise in the shape of ``like``, on its device: a hash of seed and place, the same everywhere.

    The hash is lowbias32 (Wellons, 2018), on 32 bits of int64.
    """
    places = torch.arange(like[0].numel(), device=like.device)
    x = (seeds.to(like.device)[:, None] * 0x9E3779B1 + places) & 0xFFFFFFFF
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x3C6EF372) & 0xFFFFFFFF
    return ((x ^ (x >> 16)) & 0xFF).to(torch.uint8).view(like.shape)


def _inside(faces: Tensor, boxes: Tensor) -> Tensor:
    """Which pixels lie in the box of their face: bool [N, 1, H, W]."""
    top, left, tall, wide = boxes.to(faces.device)[:, :, None].unbind(1)
    y, x = (torch.arange(side, device=faces.device) for side in faces.shape[2:])
    down, across = (y >= top) & (y < top + tall), (x >= left) & (x < left + wide)
    return (down[:, :, None] & across[:, None, :]).unsqueeze(1)
