"""JPEG compression and back, in batch: what libjpeg loses, without writing a file (ITU-T T.81; JFIF).

Only the lossless part, entropy coding, is left out.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hyperarc.faces.augmentation.pixels import to_bytes, to_float
from hyperarc.recipe.augmentation import Jpeg

DRAWS = 1

# ITU-T T.81, tables K.1 and K.2
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32,
)  # fmt: skip
# JFIF: Y from 0 to 255, Cb and Cr around 128
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))


def compress(faces: Tensor, qualities: Tensor) -> Tensor:
    """Compress each face as JPEG and decompress it, as libjpeg does with chroma at half resolution (4:2:0).

    RGB to YCbCr, chroma averaged over 2 x 2 px, the cosine transform of blocks of 8 x 8, division by the quantization
    table and rounding; then back, chroma enlarged by the triangle filter.

    Args:
        faces: uint8 [N, 3, H, W].
        qualities: whole numbers [N], 1 to 100.

    Example:
        >>> face = torch.full((1, 3, 16, 16), 100, dtype=torch.uint8)
        >>> compress(face, torch.tensor([50])).unique().tolist()
        [100]
    """
    height, width = faces.shape[2:]
    tables = quantization(qualities).to(faces.device)
    values = _mixed(_TO_YCC, to_float(faces)).add_(0.5).floor_()
    values = F.pad(values, (0, -width % 16, 0, -height % 16), mode="replicate")
    light = _coded(values[:, :1] - 128, tables[:, :1])
    chroma = _coded(_halved(values[:, 1:]), tables[:, 1:])
    chroma = F.interpolate(chroma.clamp_(-128, 127).round_(), scale_factor=2, mode="bilinear", align_corners=False)
    together = torch.cat([light.add_(128).clamp_(0, 255).round_(), chroma], dim=1)
    return to_bytes(_mixed(_TO_RGB, together)[:, :, :height, :width])


def quantization(qualities: Tensor) -> Tensor:
    """Tables of luminance and chrominance [N, 2, 64], scaled by the quality as libjpeg does.

    Example:
        >>> quantization(torch.tensor([50, 100]))[:, 0, :3].tolist()
        [[16.0, 11.0, 10.0], [1.0, 1.0, 1.0]]
    """
    scale = torch.where(qualities < 50, 5000 // qualities, 200 - 2 * qualities)
    standard = torch.tensor([_LUMINANCE, _CHROMINANCE])
    return ((standard * scale[:, None, None] + 50) // 100).clamp(1, 255).float()


def draw_qualities(draws: Tensor, section: Jpeg) -> Tensor:
    """Qualities from even draws [N, 1]."""
    least, most = section.quality
    return least + (draws[:, 0] * (most - least + 1)).long()


def _mixed(matrix: tuple[tuple[float, ...], ...], values: Tensor) -> Tensor:
    """A linear change of color space; YCbCr with chroma around 0."""
    count, _, height, width = values.shape
    there = torch.tensor(matrix, device=values.device).expand(count, 3, 3)
    return torch.bmm(there, values.reshape(count, 3, -1)).view(count, 3, height, width)


def _halved(chroma: Tensor) -> Tensor:
    """Means of 2 x 2 px, as libjpeg rounds them: alternately up and down along a row where they lie in the middle."""
    sums = 4 * F.avg_pool2d(chroma, 2)
    up = torch.arange(sums.shape[-1], device=chroma.device) % 2 + 1
    return (sums + up).div_(4).floor_()


def _coded(planes: Tensor, tables: Tensor) -> Tensor:
    """Planes [n, c, H, W] through transform, quantization by a table [n, 1, 64], and back."""
    count, channels, height, width = planes.shape
    cosines = _cosines().to(planes.device)
    blocks = planes.view(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4).reshape(count, -1, 64)
    coefficients = (blocks @ cosines.T).div_(tables).round_().mul_(tables)
    back = (coefficients @ cosines).view(count, channels, height // 8, width // 8, 8, 8)
    return back.transpose(3, 4).reshape(planes.shape)


@functools.cache
def _cosines() -> Tensor:
    """The orthonormal cosine transform of a block of 8 x 8, as a matrix [64, 64]."""
    place = torch.arange(8, dtype=torch.float64)
    one = torch.cos((2 * place + 1) * place[:, None] * math.pi / 16) / 2
    one[0] /= math.sqrt(2)
    return torch.kron(one, one).float()
