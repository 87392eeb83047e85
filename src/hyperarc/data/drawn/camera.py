"""Light, background and the camera's own faults: blur, low resolution, noise, JPEG."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from hyperarc.data.drawn.colors import hue
from hyperarc.data.drawn.head import SIZE, Floats, Knobs

Bytes = npt.NDArray[np.uint8]
_RAMP: Floats = np.linspace(-1, 1, SIZE, dtype=np.float32)


def draw_backgrounds(n: Knobs, draws: Floats) -> Floats:
    """Backdrops [3, B, 112, 112] of linear light: two colors along a slope, blurred blobs, stripes.

    ``draws`` are four numbers 0..1 for each picture, [B, 4].
    """
    vivid, pattern = n["back_color"], n["back_pattern"]
    first = hue(n["back_hue"], 0.15 + 0.6 * vivid, 0.15 + 0.8 * n["back_light"])
    second = hue(n["back_hue"] + 0.35 * vivid, 0.5 * vivid, 0.9 - 0.7 * n["back_light"])
    angle, stripe = (2 * math.pi) * draws[:, 0, None, None], 6 + 40 * draws[:, 1, None, None]
    slope = _RAMP * np.cos(angle) + _RAMP[:, None] * np.sin(angle)
    share = slope * 0.35
    share += 0.5
    corners = (draws[:, 2:] * (512 - SIZE)).astype(np.intp).tolist()
    blobs = np.stack([_clouds()[r : r + SIZE, c : c + SIZE] for r, c in corners])
    blobs *= 1.6 * pattern
    share += blobs
    striped = np.flatnonzero(pattern.ravel() > 0.55)
    if len(striped):
        strength = (0.30 / 0.45) * (pattern[striped] - 0.55)
        share[striped] += np.sin(slope[striped] * stripe[striped]) * strength
    share.clip(0, 1, out=share)
    return torch.addcmul(*(torch.from_numpy(part) for part in (first, share, second - first))).numpy()


@functools.cache
def _clouds() -> Floats:
    """A fixed [512, 512] field of soft blobs in [-0.5, 0.5]; a picture's background is a piece of it."""
    cells = np.random.default_rng(3).random((32, 32), dtype=np.float32)
    return np.asarray(Image.fromarray(cells).resize((512, 512), Image.Resampling.BICUBIC)) - np.float32(0.5)


def lights(n: Knobs) -> tuple[tuple[Floats, Floats, Floats], Floats, Floats]:
    """Direction to the key light (unit, view frame), its color times strength, and the ambient color."""
    x, y = 1.3 * n["light_x"], 1.1 * n["light_y"]
    inverse = 1 / np.sqrt(x * x + y * y + 0.64)
    warm = n["light_warmth"]
    key, fill = 1.15 * n["light_strength"], n["ambient"]
    return (
        (x * inverse, y * inverse, 0.8 * inverse),
        np.stack([key * (1 + 0.22 * warm), key, key * (1 - 0.30 * warm)]),
        np.stack([fill * (1 - 0.06 * warm), fill, fill * (1 + 0.10 * warm)]),
    )


def shade(albedo: Floats, normal: tuple[Floats, Floats, Floats], n: Knobs, gloss: Floats | None = None) -> Floats:
    """Light planes [3, B, h, w] in place by a key light, a fill from above, and a highlight (``gloss``)."""
    nx, ny, nz = normal
    (lx, ly, lz), key, fill = lights(n)
    lit = nx * lx
    step = ny * ly
    lit += step
    step = nz * lz
    lit += step
    if gloss is not None:
        # Blinn's highlight: the half vector lies between the light and the viewer at (0, 0, 1)
        glance = lit + nz
        glance *= 1 / np.sqrt(2 + 2 * lz)
        glance.clip(0, 1, out=glance)
        for _ in range(4):
            glance *= glance
        glance *= gloss
    lit += 0.22
    lit.clip(0, 2, out=lit)
    lit *= 1 / 1.22
    around = nz - ny
    around *= 0.18
    around += 0.73
    part = np.empty_like(step)
    for plane, strength, base in zip(albedo, key, fill, strict=True):
        np.multiply(lit, strength, out=step)
        step += np.multiply(around, base, out=part)
        plane *= step
        if gloss is not None:
            plane += np.multiply(glance, strength, out=part)
    return albedo


@functools.cache
def _grain() -> Floats:
    """Fixed normal draws; a picture's sensor noise is a stretch of them from a place of its own."""
    return np.random.default_rng(5).standard_normal(3 * SIZE * SIZE + 2**16, dtype=np.float32)


def develop(light: Floats, n: Knobs, noise_from: Sequence[int]) -> Bytes:
    """Linear light [3, B, 112, 112] to pictures uint8 [B, 112, 112, 3] with the cameras' faults."""
    # a soft shoulder keeps bright skin from clipping flat: sqrt(e x / (0.3 e x + 0.78)) at exposure e, times 255
    under = light * (0.30 / 255**2)
    under += (0.78 / 255**2) / 2.0 ** n["exposure"]
    light /= under
    pictures = np.sqrt(light, out=light)
    names = ("blur_px", "noise", "resolution_px", "jpeg_quality")
    faults = list(zip(*(n[name].ravel().tolist() for name in names), strict=True))
    for k, (blur_px, noise, _, _) in enumerate(faults):
        if blur_px > 0.05:
            blur(pictures[:, k], blur_px)
        if noise > 0:
            grain = _grain()[noise_from[k] : noise_from[k] + 3 * SIZE * SIZE] * (255 * noise)
            pictures[:, k] += grain.reshape(3, SIZE, SIZE)
    pictures += 0.5
    pictures.clip(0, 255, out=pictures)
    drawn: Bytes = np.empty((len(n), SIZE, SIZE, 3), dtype=np.uint8)
    for c, plane in enumerate(pictures.astype(np.uint8)):
        drawn[:, :, :, c] = plane
    for k, (_, _, resolution_px, quality) in enumerate(faults):
        if resolution_px < SIZE or quality < 100:
            drawn[k] = transmit(drawn[k], round(resolution_px), round(quality))
    return drawn


def transmit(drawn: Bytes, size: int, quality: int) -> Bytes:
    """A picture [112, 112, 3] once ``size`` pixels large and compressed at JPEG ``quality``."""
    image = Image.fromarray(drawn)
    if size < SIZE:
        small = image.resize((size, size), Image.Resampling.BOX)
        image = small.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(squeeze(image, quality) if quality < 100 else image)


def blur(planes: Floats, sigma_px: float) -> None:
    """Gaussian blur of planes [3, 112, 112] in place, edges repeated."""
    radius = max(1, math.ceil(2.5 * sigma_px))
    weights = [math.exp(-0.5 * (k / sigma_px) ** 2) for k in range(radius + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    wide = np.empty((3, SIZE + 2 * radius, SIZE), dtype=np.float32)
    step = np.empty((3, SIZE, SIZE), dtype=np.float32)
    middle = slice(radius, radius + SIZE)
    # rows first, then columns by way of the transpose
    for turned in (planes, planes.transpose(0, 2, 1)):
        wide[:, middle] = turned
        wide[:, :radius], wide[:, radius + SIZE :] = wide[:, middle][:, :1], wide[:, middle][:, -1:]
        summed = wide[:, middle] * (weights[0] / total)
        for k in range(1, radius + 1):
            np.add(wide[:, radius - k : radius - k + SIZE], wide[:, radius + k : radius + k + SIZE], out=step)
            step *= weights[k] / total
            summed += step
        turned[:] = summed


def squeeze(image: Image.Image, quality: int) -> Image.Image:
    """Through JPEG and back."""
    with io.BytesIO() as stream:
        image.save(stream, format="JPEG", quality=quality)
        # straight to the decoder: what the header says is known
        return Image.frombytes("RGB", image.size, stream.getvalue(), "jpeg", "RGB", "")
