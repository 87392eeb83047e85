"""Contact sheets: many faces on one picture, each with its caption."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

PAPER, LETTERS = (246, 248, 250), (31, 42, 55)
_GAP_PX, _CAPTION_PX = 6, 16


def rgb_picture(face: npt.ArrayLike, where: object = None) -> npt.NDArray[np.uint8]:
    """A face as uint8 [height, width, 3]; anything else is a :class:`DataError`.

    Example:
        >>> rgb_picture(np.zeros((4, 4, 3), np.uint8)).shape
        (4, 4, 3)
    """
    array: npt.NDArray[Any] = np.asarray(face)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or 0 in array.shape:
        raise DataError(f"expected a uint8 RGB face [height, width, 3], got {array.dtype} {array.shape}", where=where)
    return array


def contact_sheet(
    faces: Sequence[npt.ArrayLike],
    captions: Sequence[str] | None = None,
    columns: int = 8,
    *,
    tile_px: int = 112,
) -> Image:
    """Faces in rows of ``columns``, as a PIL picture (save it with ``.save``).

    Args:
        faces: uint8 RGB [height, width, 3], of any size; each is fitted into a square tile.
        captions: one line under each face, cut to the width of the tile; None leaves no room for them.
        columns: faces per row (default 8). tile_px: side of a tile in pixels (default 112).

    Raises:
        DataError: no faces, captions of another number, something that is no uint8 RGB face (its place is
            named).

    Example:
        >>> contact_sheet([np.zeros((112, 112, 3), np.uint8)] * 3, ["a", "b", "c"], columns=2).size
        (242, 274)
    """
    from PIL import Image, ImageDraw

    if not len(faces) or columns < 1 or (captions is not None and len(captions) != len(faces)):
        counted = "no" if captions is None else len(captions)
        raise DataError(f"expected faces, columns and a caption each; got {len(faces)}, {columns} and {counted}")
    columns = min(columns, len(faces))
    rows = -(-len(faces) // columns)
    high = tile_px + (_CAPTION_PX if captions is not None else 0)
    size = (_GAP_PX + columns * (tile_px + _GAP_PX), _GAP_PX + rows * (high + _GAP_PX))
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    for place, face in enumerate(faces):
        left = _GAP_PX + place % columns * (tile_px + _GAP_PX)
        top = _GAP_PX + place // columns * (high + _GAP_PX)
        paste_face(sheet, face, (left, top, tile_px), where=f"face {place}")
        if captions is not None:
            _write(pen, captions[place], left + tile_px // 2, top + tile_px + 2, tile_px)
    return sheet


def paste_face(sheet: Image, face: npt.ArrayLike, place: tuple[int, int, int], where: object = None) -> None:
    """Put a face into the middle of a square: left, top and side in pixels; it is fitted, its shape kept."""
    from PIL import Image

    left, top, side = place
    picture = Image.fromarray(rgb_picture(face, where))
    scale = side / max(picture.size)
    wide, tall = (max(1, round(length * scale)) for length in picture.size)
    picture = picture.resize((wide, tall), Image.Resampling.LANCZOS) if scale != 1.0 else picture
    sheet.paste(picture, (left + (side - wide) // 2, top + (side - tall) // 2))


def fitted_text(text: str, font: Any, width_px: int) -> str:
    """The text, letters dropped from its end until it fits."""
    while len(text) > 1 and font.getlength(text) > width_px:
        text = text.removesuffix("…")[:-1] + "…"
    return text


def _write(pen: Any, caption: str, middle: int, top: int, width_px: int) -> None:
    """One centred line."""
    from PIL import ImageFont

    font = ImageFont.load_default(size=11)
    pen.text((middle, top), fitted_text(caption, font, width_px), font=font, fill=LETTERS, anchor="ma")
