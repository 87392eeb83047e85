"""Videos to RGB frames, upright and of square pixels, by PyAV (extra ``video``).

A video may be hostile: it is read through an open file, by the demuxers of plain video files alone, so that no playlist
in it can name other files or addresses.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyperarc.errors import DataError, HyperArcError
from hyperarc.faces.image import Pixels

FORMATS = ("mp4", "matroska", "avi", "mpegts", "mpeg", "flv", "ogg", "asf")
"""Containers that are opened, by FFmpeg's names: MP4 and QuickTime, Matroska and WebM, AVI, MPEG, Flash, Ogg, WMV."""

_OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"}
_EARLY_S = 1e-6  # time stamps are rounded


@dataclass(frozen=True)
class VideoLimits:
    """How large a video may be before it is refused.

    Attributes:
        pixels: largest width x height of a frame; default that of 8K, 7680 x 4320.
        frames: most frames that are decoded; default a million, nine hours at 30 a second.

    Example:
        >>> VideoLimits().pixels
        33177600
    """

    pixels: int = 7680 * 4320
    frames: int = 1_000_000


def read_frames(
    path: str | Path, *, every_s: float = 0.0, limits: VideoLimits | None = None
) -> Iterator[tuple[float, Pixels]]:
    """Frames of a video file, one after the other; the file is closed when the iterator ends or is closed.

    Rotation and mirroring that the file asks for (its display matrix, as phones write it) are applied, and pixels that
    are not square are made so, at the same height.

    Args:
        path: a file of one of :data:`FORMATS`.
        every_s: give the first frame, then the first one of each further ``every_s`` seconds; 0 gives all.
        limits: default :class:`VideoLimits`. For the first n frames use ``itertools.islice(frames, n)``.

    Yields:
        Seconds since the first frame, and the frame, uint8 [H, W, 3], RGB.

    Raises:
        DataError: no such file, no video, too large, or damaged where reading has come to.
        HyperArcError: PyAV is not installed.

    Example:
        >>> for seconds, frame in read_frames("clip.mp4", every_s=1.0):
        ...     print(seconds, frame.shape)
        Traceback (most recent call last):
        ...
        hyperarc.errors.DataError: clip.mp4: expected a video file, found none; check the path
    """
    av, most, where = _pyav(), limits or VideoLimits(), Path(path)
    if not every_s >= 0:
        raise HyperArcError(f"expected every_s of at least 0 seconds, got {every_s}")
    if not where.is_file():
        raise DataError("expected a video file, found none", where=where, mend="check the path")
    first, due, count = None, 0.0, 0
    try:
        with open(where, "rb") as file, av.open(file, mode="r", container_options=_OPTIONS) as container:
            stream = _pictures(container, most, where)
            for count, frame in enumerate(container.decode(stream), start=1):
                if count > most.frames:
                    raise _too_large(f"{most.frames} frames, got more", where)
                time = float(frame.time if frame.time is not None else (count - 1) / (stream.average_rate or 25))
                first = time if first is None else first
                if time - first < due:
                    continue
                _check_size(frame, most, where)
                yield time - first, _upright(_to_rgb(frame, stream.sample_aspect_ratio), _matrix(frame))
                due = (math.floor((time - first + _EARLY_S) / every_s) + 1) * every_s - _EARLY_S if every_s else 0.0
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise DataError(
            f"expected a video, got what cannot be read after {count} frames: {_reason(error)}",
            where=where,
            mend="encode it anew; where its size changes on the way, VideoLimits may be too narrow",
        ) from error
    if count == 0:
        raise DataError("expected a video, got a file without frames", where=where)


def _pictures(container: Any, limits: VideoLimits, where: Path) -> Any:
    stream = container.streams.best("video")
    if stream is None:
        raise DataError("expected a video, got a file without pictures", where=where)
    _check_size(stream.codec_context, limits, where)
    # for frames that grow on the way; FFmpeg counts what it pads them with, too
    stream.codec_context.options = {"max_pixels": str(2 * limits.pixels + 2**16)}
    return stream


def _check_size(frame: Any, limits: VideoLimits, where: Path) -> None:
    if frame.width * frame.height > limits.pixels:
        raise _too_large(f"{limits.pixels} pixels a frame, got {frame.width} x {frame.height}", where)


def _too_large(what: str, where: Path) -> DataError:
    return DataError(f"expected a video of at most {what}", where=where, mend="shorten it or raise VideoLimits")


def _to_rgb(frame: Any, pixel_ratio: Any) -> Pixels:
    ratio = float(pixel_ratio) if pixel_ratio else 1.0
    width = round(frame.width * ratio) if 0.25 < ratio < 4 else frame.width
    pixels: Pixels = frame.reformat(width=max(1, width), format="rgb24").to_ndarray()
    return pixels


def _matrix(frame: Any) -> tuple[int, ...] | None:
    """The display matrix of a frame: nine numbers by rows, in 1 / 65536, or None."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    return None if side_data is None else tuple(np.frombuffer(bytes(side_data), "<i4").tolist())


def _upright(pixels: Pixels, matrix: tuple[int, ...] | None) -> Pixels:
    """The frame as it is to be shown: x' = a x + c y and y' = b x + d y, brought to the nearest quarter turn."""
    if matrix is None or len(matrix) != 9:
        return pixels
    a, b, _, c, d = matrix[:5]
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if turned else (a, d)
    shown = pixels.transpose(1, 0, 2) if turned else pixels
    return np.ascontiguousarray(shown[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


@functools.cache
def _pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise HyperArcError("PyAV is not installed", mend="pip install 'hyperarc[video]'") from error
    return av
