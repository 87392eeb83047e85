"""Picture bytes to RGB: the only place where color order, orientation and bit depth are decided.

Everything downstream sees uint8 [H, W, 3], RGB, upright. What a file may be, and what becomes of it:

- JPEG, PNG, WebP, BMP, GIF and TIFF, of animations and many pages the first; no other decoder is ever opened.
- gray and two-level become three equal channels; palettes are looked up; CMYK and YCbCr are converted.
- 16-bit gray keeps its upper byte, as 16-bit color does. Floating-point pixels have no defined range:
  refused.
- transparent pixels are laid on black, which is also what alignment puts outside the borders of a photo.
- the EXIF orientation is applied, or XMP's where there is none; a damaged EXIF block counts as upright, as in every
  viewer. Color profiles are not applied.
"""

from __future__ import annotations

import functools
import io
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from hyperarc.errors import DataError

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
_ORIENTATION = 0x0112
# Both lie in segments of at most 64 KiB at the front; finding one anywhere there only costs speed.
_TURNED = (b"Exif\x00", b"tiff:Orientation")
_ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")


@dataclass(frozen=True)
class ImageLimits:
    """How large a picture may be before it is refused.

    Attributes:
        bytes: largest file; default 64 MiB.
        pixels: largest width x height, read from the header before anything is decoded; default 64 million.
            Pillow refuses more than 178,956,970 by itself.

    Example:
        >>> ImageLimits().bytes
        67108864
    """

    bytes: int = 64 * 2**20
    pixels: int = 64_000_000


DEFAULT_LIMITS = ImageLimits()


def decode(data: bytes, *, where: object = None, limits: ImageLimits = DEFAULT_LIMITS) -> Pixels:
    """Picture bytes to upright RGB.

    Args:
        data: a whole picture file.
        where: what to call the picture in an error, usually its path.
        limits: refused beyond these sizes, before decoding.

    Returns:
        uint8 [H, W, 3], RGB, C-contiguous, owned by the caller. With ``simplejpeg`` installed JPEG files take
        a faster path through the same libjpeg-turbo; pixels differ by what two builds of it differ.

    Raises:
        DataError: empty, too large, truncated, or not a picture of a known format.

    Example:
        >>> buffer = io.BytesIO()
        >>> Image.new("L", (4, 3), 200).save(buffer, "PNG")
        >>> decode(buffer.getvalue()).shape
        (3, 4, 3)
    """
    if len(data) == 0:
        raise DataError("expected a picture, got an empty file", where=where, mend="remove or replace it")
    if len(data) > limits.bytes:
        raise DataError(
            f"expected a picture of at most {limits.bytes} bytes, got {len(data)}",
            where=where,
            mend="shrink it or raise ImageLimits.bytes",
        )
    fast = _decode_jpeg(data, where, limits)
    return fast if fast is not None else _decode_pillow(data, where, limits)


def file_ending(data: bytes) -> str | None:
    """The usual ending of the picture file that these bytes begin, or None when folders of faces hold no such files.

    Example:
        >>> file_ending(b"\\xff\\xd8\\xff\\xe0"), file_ending(b"GIF89a")
        ('.jpg', None)
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    starts = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png", b"BM": ".bmp"}
    return next((ending for start, ending in starts.items() if data.startswith(start)), None)


@functools.cache
def _simplejpeg() -> Any:
    """The optional ``simplejpeg`` module, or None."""
    try:
        import simplejpeg
    except ImportError:
        return None
    return simplejpeg


def _decode_jpeg(data: bytes, where: object, limits: ImageLimits) -> Pixels | None:
    """The fast path, or None when Pillow must look: no JPEG, CMYK, an orientation, or anything irregular."""
    turbo = _simplejpeg()
    if turbo is None or data[:3] != b"\xff\xd8\xff" or any(data.find(mark, 0, 2**17) >= 0 for mark in _TURNED):
        return None
    try:
        height, width, color, _ = turbo.decode_jpeg_header(data)
        if color not in ("YCbCr", "Gray"):
            return None
        _require_pixels(width, height, where, limits)
        pixels: Pixels = turbo.decode_jpeg(data, colorspace="RGB")
    except ValueError:
        return None  # truncated or damaged: Pillow says what is wrong
    return pixels


def _decode_pillow(data: bytes, where: object, limits: ImageLimits) -> Pixels:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _require_pixels(image.width, image.height, where, limits)
            image.load()
            return np.array(_to_rgb(_upright(image), where), dtype=np.uint8)
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels("".join(re.findall(r"\d+ pixels", str(error))[:1]), where, limits) from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"expected a picture ({', '.join(FORMATS)}), got {len(data)} bytes starting with {data[:8]!r}",
            where=where,
            mend="remove or replace it",
        ) from error
    except Exception as error:
        # Hostile bytes make Pillow raise almost anything: OSError, SyntaxError, struct.error ...
        raise DataError(
            f"unreadable picture: {type(error).__name__}: {error}", where=where, mend="remove or replace it"
        ) from error


def _require_pixels(width: int, height: int, where: object, limits: ImageLimits) -> None:
    if width * height > limits.pixels:
        raise _too_many_pixels(f"{width}x{height}", where, limits)


def _too_many_pixels(got: str, where: object, limits: ImageLimits) -> DataError:
    return DataError(
        f"expected a picture of at most {limits.pixels} pixels, its header says {got}",
        where=where,
        mend="shrink it or raise ImageLimits.pixels",
    )


def _upright(image: Image.Image) -> Image.Image:
    try:
        turned = image.getexif().get(_ORIENTATION, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image
    except Exception:  # a damaged EXIF block says nothing about orientation
        return image


def _to_rgb(image: Image.Image, where: object) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        # Pillow would clip 16 bits at 255; the upper byte is what it keeps of 16-bit color.
        gray = np.clip(np.asarray(image, dtype=np.int64), 0, 65535) >> 8
        return Image.fromarray(gray.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise DataError("expected integer pixels, got floating point", where=where, mend="convert it to 8 or 16 bits")
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    return image.convert("RGB")
