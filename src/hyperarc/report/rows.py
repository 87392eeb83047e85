"""Faces in named rows and columns, such as people over steps; and films of faces that change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.files import write_beside
from hyperarc.report.sheet import LETTERS, PAPER, contact_sheet, fitted_text, paste_face

if TYPE_CHECKING:
    from PIL.Image import Image

_MUTED, _LINE = (102, 116, 132), (0, 114, 178)
_GAP_PX, _EDGE_PX, _LETTERS_PX, _NOTE_PX = 4, 18, 14, 12
_LINE_PX = 20  # room of a line of text
_BAR_PX = 3


@dataclass(frozen=True, eq=False)
class FaceRow:
    """Faces side by side.

    Attributes:
        title: to their left; note: below it, in smaller letters.
        faces: uint8 RGB [height, width, 3]; None leaves a place empty.
        captions: one below each face, or none at all.

    Raises:
        DataError: captions of another number.
    """

    title: str
    faces: Sequence[npt.ArrayLike | None]
    note: str = ""
    captions: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.captions and len(self.captions) != len(self.faces):
            raise DataError(f"expected a caption for each of {len(self.faces)} faces, got {len(self.captions)}")


def row_sheet(rows: Sequence[FaceRow], columns: Sequence[str] = (), *, tile_px: int = 112) -> Image:
    """Rows of faces with their names on the left and the columns' names above, as a PIL picture.

    Args:
        rows: at least one, with a face at least; shorter ones end earlier.
        columns: a name over each column, or none at all.
        tile_px: side of the square that each face is fitted into (default 112).

    Raises:
        DataError: no faces, fewer names than columns, something that is no uint8 RGB face (its row is named).

    Example:
        >>> face = np.zeros((112, 112, 3), np.uint8)
        >>> row_sheet([FaceRow("photo", [face, face]), FaceRow("inverted", [face, None])], ["ann", "bob"]).height
        286
    """
    from PIL import Image, ImageDraw, ImageFont

    count = max((len(row.faces) for row in rows), default=0)
    if not count or (columns and len(columns) < count):
        raise DataError(f"expected rows of faces and a name for each column, got {count} columns, {len(columns)} named")
    letters, small = (ImageFont.load_default(size=size) for size in (_LETTERS_PX, _NOTE_PX))
    margin = max(max(_width(row.title, letters), _width(row.note, small)) for row in rows)
    left, top = _EDGE_PX + (margin + 14 if margin else 0), _EDGE_PX + (_LINE_PX + 2 if columns else 0)
    step = tile_px + _GAP_PX
    heights = [step + (_LINE_PX if row.captions else 0) for row in rows]
    size = (left + count * step - _GAP_PX + _EDGE_PX, top + sum(heights) - _GAP_PX + _EDGE_PX)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)

    def write_line(text: str, place: int, height: int, color: tuple[int, int, int], anchor: str) -> None:
        middle = left + place * step + tile_px // 2
        pen.text((middle, height), fitted_text(text, small, tile_px), font=small, fill=color, anchor=anchor)

    for place, name in enumerate(columns[:count]):
        write_line(name, place, top - 6, LETTERS, "md")
    for number, row in enumerate(rows):
        upper = top + sum(heights[:number])
        middle = upper + tile_px // 2 - (8 if row.note else 0)
        pen.text((left - 14, middle), row.title, font=letters, fill=LETTERS, anchor="rm")
        pen.text((left - 14, middle + (18 if row.title else 8)), row.note, font=small, fill=_MUTED, anchor="rm")
        for place, face in enumerate(row.faces):
            if face is not None:
                square = (left + place * step, upper, tile_px)
                paste_face(sheet, face, square, where=f"row {row.title or number}, face {place}")
        for place, caption in enumerate(row.captions):
            write_line(caption, place, upper + tile_px + 3, _MUTED, "ma")
    return sheet


@dataclass(frozen=True)
class Timing:
    """How a film runs: seconds from the first picture to the last, and how long that one stays."""

    course_s: float = 3.0
    hold_s: float = 1.6


def write_film(
    frames: npt.NDArray[np.uint8],
    path: Path,
    captions: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    *,
    columns: int = 8,
    timing: Timing | None = None,
) -> Path:
    """Faces that change, as an animated WebP that begins anew for ever.

    Args:
        frames: uint8 [F, N, H, W, 3], at least two.
        path: file to write, whole or not at all.
        captions: N lines, one below each face; labels: F lines, one below each picture, beside a bar that grows.
        columns: faces in a row (default 8).
        timing: default 3 s, then 1.6 s of the last picture.

    Returns:
        The path written.

    Raises:
        DataError: no such frames; captions or labels of another number.

    Example:
        >>> import tempfile
        >>> frames = np.zeros((3, 2, 16, 16, 3), np.uint8)
        >>> write_film(frames, Path(tempfile.mkdtemp()) / "film.webp", ["ann", "bob"]).stat().st_size > 0
        True
    """
    if frames.ndim != 5 or len(frames) < 2 or (labels is not None and len(labels) != len(frames)):
        told = "no" if labels is None else len(labels)
        raise DataError(f"expected pictures [F, N, H, W, 3], at least two, got {list(frames.shape)} and {told} labels")
    timing = timing or Timing()
    pictures = []
    for number, faces in enumerate(frames):
        sheet = contact_sheet(list(faces), captions, columns)
        label = None if labels is None else labels[number]
        pictures.append(sheet if label is None else _labelled(sheet, label, number / (len(frames) - 1)))
    each = max(20, round(1000 * timing.course_s / (len(frames) - 1)))
    times = [each] * (len(frames) - 1) + [each + round(1000 * timing.hold_s)]
    with write_beside(path) as beside:
        pictures[0].save(
            beside, "WEBP", save_all=True, append_images=pictures[1:], duration=times, loop=0, quality=85, method=4
        )
    return path


def _labelled(sheet: Image, label: str, part: float) -> Image:
    """The sheet with a line below it and a bar that is as long as the part of the film that has gone."""
    from PIL import Image, ImageDraw, ImageFont

    high = sheet.height + _LINE_PX + _BAR_PX
    whole = Image.new("RGB", (sheet.width, high), PAPER)
    whole.paste(sheet)
    pen = ImageDraw.Draw(whole)
    pen.text((8, sheet.height + 2), label, font=ImageFont.load_default(size=_NOTE_PX), fill=_MUTED, anchor="la")
    if part:
        pen.rectangle((0, high - _BAR_PX, round(part * sheet.width) - 1, high), fill=_LINE)
    return whole


def _width(text: str, font: Any) -> int:
    length: float = font.getlength(text)
    return round(length)
