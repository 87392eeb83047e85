"""Pieces of planes to draw in: a rectangle for each face, or a band of rows and columns for all; and paint.

Planes are float32 [..., B, 112, 112].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hyperarc.data.drawn.head import SIZE, Floats, Rows

_PIXELS: Floats = np.arange(SIZE, dtype=np.float32)
_WIDE = 88  # columns from which a band takes all: whole rows lie in one piece


@dataclass(frozen=True)
class Window:
    """One rectangle of the crop for each face: first rows and columns [B], the same size for all."""

    faces: Rows
    top: Rows
    left: Rows
    height: int
    width: int

    def cut(self, planes: Floats) -> Floats:
        """A copy of the rectangles [..., B, height, width] out of planes [..., N, 112, 112]."""
        return self._view(planes)[..., self.faces, self.top, self.left, :, :]

    def put(self, planes: Floats, patch: Floats) -> None:
        """Write rectangles back."""
        self._view(planes)[..., self.faces, self.top, self.left, :, :] = patch

    def _view(self, planes: Floats) -> Floats:
        *outer, rows, columns = planes.shape
        *outer_steps, row_step, column_step = planes.strides
        shape = (*outer, rows - self.height + 1, columns - self.width + 1, self.height, self.width)
        steps = (*outer_steps, row_step, column_step, row_step, column_step)
        # every possible rectangle as a view; ndarray() does what as_strided does at a tenth of the cost
        return np.ndarray(shape, planes.dtype, planes.data, 0, steps)

    @property
    def x(self) -> Floats:
        """Pixel columns [B, 1, width]."""
        return np.add(self.left[:, None, None], _PIXELS[: self.width], dtype=np.float32)

    @property
    def y(self) -> Floats:
        """Pixel rows [B, height, 1]."""
        return np.add(self.top[:, None, None], _PIXELS[: self.height, None], dtype=np.float32)


def window(faces: Rows, center: tuple[Floats, Floats], half: tuple[Floats, Floats]) -> Window:
    """Rectangles of the crop around centers (px, [B, 1, 1]), as large as the largest half sizes ask for.

    What is drawn in a window must vanish beyond its half sizes, so that a larger one changes nothing.
    """
    width, height = (min(2 * int(float(h.max())) + 3, SIZE) for h in half)
    left = (center[0][:, 0, 0] - (width // 2)).clip(0, SIZE - width).astype(np.intp)
    top = (center[1][:, 0, 0] - (height // 2)).clip(0, SIZE - height).astype(np.intp)
    return Window(faces, top, left, height, width)


@dataclass(frozen=True)
class Band:
    """The same rows and columns of the crop for some faces, ``faces`` None for all of the planes."""

    faces: Rows | None
    rows: slice
    columns: slice

    def cut(self, planes: Floats) -> Floats:
        """A copy of the piece [..., B, height, width] of planes [..., N, 112, 112]."""
        piece = self.open(planes)
        return piece if self.faces is not None else piece.copy()

    def open(self, planes: Floats) -> Floats:
        """The piece to change: a view of the planes where it can be; :meth:`put` it back when done."""
        if self.faces is None:
            return planes[..., self.rows, self.columns]
        return np.ascontiguousarray(planes[..., self.faces, self.rows, self.columns])

    def put(self, planes: Floats, piece: Floats) -> None:
        """Write back what :meth:`open` gave, where that was a copy."""
        if self.faces is not None:
            planes[..., self.faces, self.rows, self.columns] = piece


@dataclass(frozen=True)
class Reach:
    """Where B faces lie: least and greatest y in each row of pixels, least distance |x| in each column, each [112]."""

    low: Floats
    high: Floats
    beside: Floats

    def band(self, faces: Rows | None, outer: float, top: float, bottom: float) -> Band:
        """The rows and columns that hold all surface with |x| < ``outer`` and ``top`` < y < ``bottom``."""
        rows = ((self.low < bottom) & (self.high > top)).nonzero()[0]
        columns = (self.beside < outer).nonzero()[0]
        if len(rows) == 0 or len(columns) == 0:
            return Band(faces, slice(0, 1), slice(0, 1))
        first, last = int(columns[0]), int(columns[-1]) + 1
        across = slice(first, last) if last - first < _WIDE else slice(0, SIZE)
        return Band(faces, slice(int(rows[0]), int(rows[-1]) + 1), across)


def paint(planes: Floats, cover: Floats, color: Floats) -> None:
    """Blend color [3, B, 1, 1] or planes [3, B, h, w] into ``planes`` by coverage [B, h, w], in place.

    By torch, which does it in one pass where numpy needs three.
    """
    torch.from_numpy(planes).lerp_(torch.from_numpy(color), torch.from_numpy(cover))
