"""Faces about to be drawn, and the soft brushes that every feature uses."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hyperarc.data.drawn.head import Floats, Knobs, Lathe, Plan, Pose, Rows, rise
from hyperarc.data.drawn.surface import Surface
from hyperarc.data.drawn.window import Band, paint

Pair = tuple[Floats | float, Floats | float]


@dataclass(frozen=True)
class Sitters:
    """B faces: identities t, nuisances n, shape, pose, skin and hair color, and the planes drawn on.

    ``faces`` are the places of these B among the N of the planes; ``albedo`` is the paint [3, N, 112, 112].
    """

    t: Knobs
    n: Knobs
    plan: Plan
    lathe: Lathe
    pose: Pose
    skin: Floats
    hair: Floats
    faces: Rows
    surface: Surface
    albedo: Floats

    def pick(self, mask: Floats | npt.NDArray[np.bool_]) -> Sitters | None:
        """The faces where ``mask`` [B, 1, 1] is above 0, on the same planes; None where there is none."""
        rows = np.flatnonzero(mask.ravel() > 0)
        if len(rows) == 0:
            return None
        if len(rows) == len(self.faces):
            return self
        return replace(
            self,
            t=self.t.pick(rows),
            n=self.n.pick(rows),
            plan=self.plan.pick(rows),
            lathe=self.lathe.pick(rows),
            pose=self.pose.pick(rows),
            skin=self.skin[:, rows],
            hair=self.hair[:, rows],
            faces=self.faces[rows],
        )

    def around(self, center: Pair, half: Pair) -> Band:
        """A band that holds all surface within the half sizes (units) of (x, y) and (-x, y), x >= 0."""
        outer = _most(center[0]) + _most(half[0])
        tall = _most(half[1])
        top, bottom = _least(center[1]) - tall, _most(center[1]) + tall
        everyone = len(self.faces) == len(self.surface.w)
        return self.surface.reach.band(None if everyone else self.faces, outer, top, bottom)

    def _spot(self, center: Pair, half: Pair) -> tuple[Band, Floats]:
        """(1 - r^2)^2 inside the ellipses at (+-x, y), 0 outside, over a band."""
        part = self.around(center, half)
        dx, dy = part.open(self.surface.spots[:2])
        dx = dx - center[0]
        dx *= 1 / half[0]
        dx *= dx
        dy = dy - center[1]
        dy *= 1 / half[1]
        dy *= dy
        dx += dy
        left = rise(np.subtract(1, dx, out=dx))
        left *= left
        return part, left

    def soft(self, center: Pair, half: Pair, color: Floats, strength: Floats | float) -> None:
        """Soft elliptic spots of color at (+-x, y)."""
        part, spot = self._spot(center, half)
        spot *= strength
        planes = part.open(self.albedo)
        paint(planes, spot, color)
        part.put(self.albedo, planes)

    def darken(self, center: Pair, half: Pair, strength: Floats | float) -> None:
        """Soft elliptic shadows at (+-x, y)."""
        part, spot = self._spot(center, half)
        spot *= -strength
        spot += 1
        self.dim(part, spot)

    def dim(self, part: Band, light: Floats) -> None:
        """Multiply the paint of a band by ``light`` [B, h, w]."""
        planes = part.open(self.albedo)
        planes *= light
        part.put(self.albedo, planes)

    def swell(self, center: Pair, half: Pair, height: Floats | float) -> None:
        """Raise (or lower) the surface softly at (+-x, y) by ``height`` units."""
        part, spot = self._spot(center, half)
        spot *= height
        depth = part.open(self.surface.w)
        depth += spot
        part.put(self.surface.w, depth)


def _most(value: Floats | float) -> float:
    return float(value.max()) if isinstance(value, np.ndarray) else float(value)


def _least(value: Floats | float) -> float:
    return float(value.min()) if isinstance(value, np.ndarray) else float(value)


def shape_face(f: Sitters) -> None:
    """Cheeks, brow ridge, eyelids, lips and chin as soft swellings of the depth."""
    t, plan = f.t, f.plan
    full = 1 + 0.15 * t["cheek_fullness"]
    my, ex = plan.mouth_y, plan.eye_x
    f.swell((20.0, 17.0), (16.0 * full, 14.0 * full), 1.7 + 1.0 * t["cheekbones"] + 0.5 * t["cheek_fullness"])
    f.swell((ex - 1, -10.5), (15.0, 7.0), 1.2 + 0.7 * t["eye_depth"])
    f.swell((ex, 0.5), (10.5, 8.0), 1.7 - 0.7 * t["eye_depth"])
    f.swell((7.0, 0.0), (6.0, 8.0), -1.2 - 0.5 * t["eye_depth"])
    f.swell((0.0, my), (plan.mouth_half * 1.5, 15.0), 1.5)
    f.swell((0.0, my - 2.2), (plan.mouth_half, 3.8 + 0.5 * t["upper_lip"]), 1.1 + 0.3 * t["upper_lip"])
    f.swell((0.0, my + 3.2), (plan.mouth_half * 0.85, 4.0 + 0.6 * t["lower_lip"]), 1.4 + 0.3 * t["lower_lip"])
    f.swell((0.0, my + 8.6), (11.0, 4.5), -1.1)
    f.swell((0.0, plan.chin - 9.0), (14.0 + 3 * t["chin_width"], 10.5), 2.6 + t["chin_forward"])
