"""One pass over the pictures: each is decoded once, and some 300 bytes are kept of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.data.checks.measures import (
    SMALL,
    chroma,
    contrast,
    crop_of,
    redness,
    small_of,
    thumbnails,
)
from hyperarc.data.checks.picture_hash import Int8s, describe
from hyperarc.data.face_set import FaceReader
from hyperarc.data.verification import Progress
from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels
from hyperarc.faces.quality import blur_px

_PART = 32  # faces measured together
_AHEAD = 4  # parts a thread may be ahead of the one that is waited for


@dataclass(frozen=True, eq=False)
class FaceStatistics:
    """What is kept of each face; all arrays are in the order of ``rows``.

    Attributes:
        rows: int64 [N], rows of the manifest.
        width, height: int32 [N] in px; 0 for a picture that cannot be read, of which everything else is 0 too.
        digests: uint64 [N], the first 8 bytes of the SHA-256 of size and pixels. That two different ones of 5 million
            pictures share one has a chance of one in a million.
        chroma, redness, contrast: float32 [N]; see :mod:`hyperarc.data.checks.measures`.
        blur_px: float32 [N]; see :func:`hyperarc.faces.quality.blur_px`.
        descriptors: int8 [N, 256]; see :mod:`hyperarc.data.checks.picture_hash`.
        errors: why the unreadable ones are so, by row.
    """

    rows: npt.NDArray[np.int64]
    width: npt.NDArray[np.int32]
    height: npt.NDArray[np.int32]
    digests: npt.NDArray[np.uint64]
    chroma: npt.NDArray[np.float32]
    redness: npt.NDArray[np.float32]
    contrast: npt.NDArray[np.float32]
    blur_px: npt.NDArray[np.float32]
    descriptors: Int8s
    errors: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def readable(self) -> npt.NDArray[np.bool_]:
        """Which pictures could be read, bool [N]."""
        return np.asarray(self.width > 0)


def measure_faces(
    reader: FaceReader,
    rows: npt.NDArray[np.int64],
    *,
    threads: int = 2,
    progress: Progress | None = None,
) -> FaceStatistics:
    """Decode and measure the faces of some rows.

    Args:
        reader: reads the faces.
        rows: which ones.
        threads: that work at a time.
        progress: called now and then with (faces done, faces in all).

    Example:
        >>> from hyperarc.data.sources import ArraySource
        >>> source = ArraySource(np.full((1, 112, 112, 3), 90, np.uint8), ["ann"])
        >>> measured = measure_faces(FaceReader(source, source.scan()), np.array([0]))
        >>> measured.width.tolist(), measured.chroma.tolist(), measured.contrast.tolist()
        ([112], [0.0], [0.0])
    """
    starts = range(0, len(rows), _PART)
    window = max(1, threads) * _AHEAD
    parts: list[FaceStatistics] = []
    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        for first in range(0, len(starts), window):
            some = [rows[start : start + _PART] for start in starts[first : first + window]]
            parts += pool.map(lambda part: _measure(reader, part), some)
            if progress:
                progress(min((first + window) * _PART, len(rows)), len(rows))
    return _joined(parts or [_measure(reader, rows)])


def _measure(reader: FaceReader, rows: npt.NDArray[np.int64]) -> FaceStatistics:
    count = len(rows)
    sizes = np.zeros((2, count), np.int32)
    digests, blur = np.zeros(count, np.uint64), np.zeros(count, np.float32)
    small = np.zeros((count, SMALL, SMALL, 3), np.uint8)
    errors: dict[int, str] = {}
    for place, row in enumerate(rows.tolist()):
        try:
            picture = reader.image(row)
        except DataError as error:
            errors[row] = str(error).removeprefix(f"{error.where}: ")
            continue
        sizes[:, place] = picture.shape[1::-1]
        crop = crop_of(picture)
        digests[place], small[place], blur[place] = pixel_digest(picture), small_of(crop), blur_px(crop)
    thumbs = thumbnails(small)
    return FaceStatistics(
        rows=rows,
        width=sizes[0],
        height=sizes[1],
        digests=digests,
        chroma=chroma(small),
        redness=redness(small),
        contrast=contrast(thumbs),
        blur_px=blur,
        descriptors=describe(thumbs),
        errors=errors,
    )


def pixel_digest(picture: Pixels) -> int:
    """The first 8 bytes of the SHA-256 of size and pixels.

    Example:
        >>> pixel_digest(np.zeros((2, 2, 3), np.uint8)) == pixel_digest(np.zeros((1, 4, 3), np.uint8))
        False
    """
    content = hashlib.sha256(str(picture.shape).encode())
    content.update(np.ascontiguousarray(picture).data)
    return int.from_bytes(content.digest()[:8], "little")


def _joined(parts: list[FaceStatistics]) -> FaceStatistics:
    names = [field.name for field in fields(FaceStatistics) if field.name != "errors"]
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return FaceStatistics(**columns, errors={row: text for part in parts for row, text in part.errors.items()})
