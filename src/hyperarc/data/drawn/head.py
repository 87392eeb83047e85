"""The shape of a drawn head: a lathe of ellipses with a nose of ellipsoids melted on.

Head frame: x to the right of the picture, y down, z toward the viewer, origin between the eyes, one unit about
one pixel of the 112 px crop. A head is a stack of horizontal ellipses (half width a, half depth b, center depth c,
each a function of y), so a ray meets it in closed form. View frame: (u, v) across the picture after yaw and pitch,
w toward the viewer; roll, zoom and shift then place (u, v) on the pixels.

Faces are drawn B at a time. A quantity of a face is an array [B, 1, 1], a table over y [B, T], a plane
[B, 112, 112], a color [3, B, 1, 1]; all operations are per element, so that no face depends on another.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hyperarc.faces.template import TEMPLATES

Floats = npt.NDArray[np.floating]
Rows = npt.NDArray[np.intp]

SIZE = 112
TEMPLATE: Floats = TEMPLATES["arcface_112"].points.astype(np.float32)
STEP = 1 / 10  # units of y between table entries: fine enough that normals show no steps
TOP = -76.0
BACK = -34.0  # depth z at which the face ends, half a unit more for each below y = 20
HEIGHTS: Floats = np.arange(TOP, 76.0, STEP, dtype=np.float32)


class Knobs:
    """Named columns of a table [B, K], each as [B, 1, 1].

    Example:
        >>> Knobs(("a", "b"), np.array([[1.0, 2.0]]))["b"].shape
        (1, 1, 1)
    """

    def __init__(self, names: Sequence[str], table: Floats) -> None:
        # each column contiguous: numpy rounds some functions otherwise when it has to stride
        self._columns: Floats = np.asarray(table.T, dtype=np.float32, order="C")[:, :, None, None]
        self._place = {name: k for k, name in enumerate(names)}

    def __getitem__(self, name: str) -> Floats:
        return np.asarray(self._columns[self._place[name]])

    def __len__(self) -> int:
        return len(self._columns[0])

    def pick(self, rows: Rows) -> Knobs:
        """The same columns of some rows."""
        return Knobs(tuple(self._place), self._columns[:, rows, 0, 0].T)


@dataclass(frozen=True)
class Pose:
    """Where heads stand before the camera: sines, cosines, pixels per unit, origin in pixels; each [B, 1, 1]."""

    sin_yaw: Floats
    cos_yaw: Floats
    sin_pitch: Floats
    cos_pitch: Floats
    sin_roll: Floats
    cos_roll: Floats
    scale: Floats
    x_px: Floats
    y_px: Floats

    def pick(self, rows: Rows) -> Pose:
        """The poses of some faces."""
        return Pose(*(value[rows] for value in vars(self).values()))

    def view(self, x: Floats | float, y: Floats | float, z: Floats | float) -> tuple[Floats, Floats]:
        """Points of the head frame to (u, v)."""
        ahead = z * self.cos_yaw - x * self.sin_yaw
        return x * self.cos_yaw + z * self.sin_yaw, y * self.cos_pitch + ahead * self.sin_pitch

    def pixels(self, x: Floats | float, y: Floats | float, z: Floats | float) -> tuple[Floats, Floats]:
        """Points of the head frame to pixels."""
        u, v = self.view(x, y, z)
        x_px = self.x_px + self.scale * (u * self.cos_roll - v * self.sin_roll)
        return x_px, self.y_px + self.scale * (u * self.sin_roll + v * self.cos_roll)

    def matrix(self) -> Floats:
        """Head frame to (x_px, y_px, w) without the shift, [B, 3, 3]."""
        sy, cy, sp, cp = self.sin_yaw, self.cos_yaw, self.sin_pitch, self.cos_pitch
        sr, cr, s = self.sin_roll, self.cos_roll, self.scale
        u = np.concatenate([cy, np.zeros_like(cy), sy], axis=2)
        v = np.concatenate([-sy * sp, cp, cy * sp], axis=2)
        w = np.concatenate([-sy * cp, -sp, cy * cp], axis=2)
        return np.concatenate([s * (u * cr - v * sr), s * (u * sr + v * cr), w], axis=1)


@dataclass(frozen=True)
class Lathe:
    """Stacks of horizontal ellipses: arrays [N, T] over :data:`HEIGHTS`, of which ``rows`` [B] are meant."""

    a: Floats
    b: Floats
    c: Floats
    rows: Rows

    def pick(self, rows: Rows) -> Lathe:
        """The lathes of some faces, in the same tables."""
        return replace(self, rows=self.rows[rows])

    def slice_at(self, y: Floats | float) -> tuple[Floats, Floats, Floats]:
        """a, b and c at height y, each [B, 1, 1]."""
        entry = ((np.asarray(y, dtype=np.float32) - TOP) * (1 / STEP)).clip(0, len(HEIGHTS) - 1).astype(np.intp)
        at = self.rows[:, None, None] * len(HEIGHTS) + entry
        return self.a.take(at), self.b.take(at), self.c.take(at)

    def front(self, x: Floats | float, y: Floats | float) -> Floats:
        """Depth z of the front at (x, y), [B, 1, 1]."""
        a, b, c = self.slice_at(y)
        inside = np.maximum(1 - (x / np.maximum(a, 1e-3)) ** 2, 0)
        return np.asarray(c + b * np.sqrt(inside))


@dataclass(frozen=True)
class Plan:
    """Positions of the features of faces in the head frame (expression included), each [B, 1, 1]."""

    chin: Floats
    eye_x: Floats
    eye_width: Floats
    nose_y: Floats
    nose_z: Floats
    nose_wing: Floats
    mouth_y: Floats
    mouth_half: Floats
    corner_lift: Floats

    def pick(self, rows: Rows) -> Plan:
        """The plans of some faces."""
        return Plan(*(value[rows] for value in vars(self).values()))


@functools.cache
def _bump(center: float, width: float) -> Floats:
    return np.asarray(np.exp(-(((HEIGHTS - center) / width) ** 2)), dtype=np.float32)


@functools.cache
def _crown() -> tuple[Floats, Floats]:
    """How width and depth of the skull close toward its top."""
    up2 = np.clip(-HEIGHTS / 64.0, 0, 1) ** 2
    return np.sqrt(np.maximum(1 - 0.6 * up2 - 0.4 * up2 * up2, 0)), np.sqrt(1 - up2)


def build_lathe(t: Knobs, chin: Floats) -> Lathe:
    """Skulls and jaws from the traits; ``chin`` is where the chin ends (an open mouth lowers it)."""
    k = {name: t[name][:, :, 0] for name in ("face_width", "chin_width", "jaw_width", "cheekbones")}
    k |= {name: t[name][:, :, 0] for name in ("cheek_fullness", "forehead_slope", "chin_forward")}
    end_y = chin[:, :, 0]
    wide, deep = _crown()
    down = (HEIGHTS * (1 / end_y)).clip(0, 1)
    square = 0.45 + 0.4 * k["chin_width"]
    d2 = down * down
    d4 = d2 * d2
    a = np.sqrt(rise(1 - d4 * ((1 - square) + square * d2)))
    a *= 1 - (0.27 - 0.11 * k["jaw_width"]) * (down * np.sqrt(down))
    a *= wide * (38.0 + 3.2 * k["face_width"])
    a += (1.6 * k["cheekbones"] + 0.6) * _bump(13, 10)
    a += 1.6 * k["cheek_fullness"] * _bump(30, 9)
    front = -(0.11 + 0.10 * k["forehead_slope"]) * np.maximum(-HEIGHTS - 8, 0)
    front += 3.0 * _bump(-10, 7) + 1.5 * _bump(22, 12) - 2.5
    front += (2.5 + 3 * k["chin_forward"]) * d4
    c = 14 * d2 - 46
    b = front - c
    b *= np.sqrt(rise(1 - d4 * d4 * d2)) * deep
    a *= (end_y > HEIGHTS) & (HEIGHTS > -64)
    return Lathe(rise(a), b, c, np.arange(len(a)))


def rise(values: Floats) -> Floats:
    """Set negative values to 0 in place; clip runs several times faster than maximum with a scalar."""
    return values.clip(_ZERO, _HUGE, out=values)


def fade(values: Floats) -> Floats:
    """Clip to [0, 1] in place."""
    return values.clip(_ZERO, _ONE, out=values)


_ZERO, _ONE, _HUGE = np.float32(0), np.float32(1), np.float32(3e38)


def plan_face(t: Knobs, n: Knobs) -> Plan:
    """Where the features sit for people under their expressions."""
    opened = 5.0 * n["mouth_open"]
    return Plan(
        chin=59.5 + 4.0 * t["face_length"] + 0.8 * opened,
        eye_x=17.6 + 1.5 * t["eye_spacing"],
        eye_width=8.3 + 0.9 * t["eye_width"],
        nose_y=19.5 + 2.4 * t["nose_length"],
        nose_z=10.5 + 2.8 * t["nose_forward"],
        nose_wing=7.6 + 1.9 * t["nose_width"],
        mouth_y=40.0 + 1.8 * t["mouth_height"] + 0.8 * t["nose_length"] + 0.3 * opened,
        mouth_half=14.0 + 1.7 * t["mouth_width"] + 2.0 * n["smile"] - 1.2 * n["mouth_open"],
        corner_lift=0.9 + 2.4 * n["smile"],
    )


def build_noses(t: Knobs, plan: Plan, lathe: Lathe) -> Floats:
    """Bridge, wings and tip of the noses as ellipsoids, [B, 4, 8]: center, radii, tilt about x (rad), blend width."""
    ny, nz, wing = plan.nose_y, plan.nose_z, plan.nose_wing
    tip = 4.7 + 0.9 * t["nose_tip"]
    root = lathe.front(0.0, -6.0) + 0.3 + 1.6 * t["nose_bridge"]
    length = ny + 3.0
    drop = nz - 3.4 - root
    middle = (root + nz - 3.4) / 2 - 7.6
    bridge = 5.6 - 0.5 * t["nose_bridge"]
    rows: list[tuple[Floats | float, ...]] = [
        (0.0, length / 2 - 4, middle, bridge, length / 2 + 5.0, 8.6, np.arctan2(drop, length), 4.5),
        (3.2 - wing, ny + 1.6, nz - 8.8, 3.6, 3.4, 4.8, 0.0, 2.6),
        (wing - 3.2, ny + 1.6, nz - 8.8, 3.6, 3.4, 4.8, 0.0, 2.6),
        (0.0, ny, nz - tip, tip, tip * 0.9, tip, 0.0, 3.4),
    ]
    table = np.empty((len(ny), len(rows), 8), dtype=np.float32)
    for k, row in enumerate(rows):
        for j, value in enumerate(row):
            table[:, k, j] = value[:, 0, 0] if isinstance(value, np.ndarray) else value
    return table


def landmark_points(plan: Plan, lathe: Lathe, asymmetry: Floats) -> tuple[Floats, Floats, Floats]:
    """x, y, z, each [B, 5, 1], of the eyes, nose tip and mouth corners, picture left first."""
    ex, half, zero = plan.eye_x, plan.mouth_half, np.zeros_like(plan.eye_x)
    corner = plan.mouth_y - plan.corner_lift
    eye_z, mouth_z = lathe.front(ex, zero) + 0.8, lathe.front(half, plan.mouth_y) + 0.8
    skew = 0.8 * asymmetry
    return (
        np.concatenate([-ex, ex, zero, -half, half], axis=1),
        np.concatenate([zero, zero, plan.nose_y, corner + skew, corner - skew], axis=1),
        np.concatenate([eye_z, eye_z, plan.nose_z, mouth_z, mouth_z], axis=1),
    )


def place(points: tuple[Floats, Floats, Floats], n: Knobs) -> Pose:
    """The pose whose five points fit the ArcFace template best, then jittered by roll, zoom and shift.

    Roll is not undone, as detectors leave some of it; scale and shift are, so a turned face fills the crop.
    """
    sy, cy, sp, cp = np.sin(n["yaw"]), np.cos(n["yaw"]), np.sin(n["pitch"]), np.cos(n["pitch"])
    one, zero = np.ones_like(sy), np.zeros_like(sy)
    u, v = Pose(sy, cy, sp, cp, zero, one, one, zero, zero).view(*points)
    target = TEMPLATE.mean(0)
    mx, my = u.mean(1, keepdims=True), v.mean(1, keepdims=True)
    du, dv = u - mx, v - my
    wanted = (TEMPLATE - target)[None, :, :, None]
    fit = (du * wanted[:, :, 0] + dv * wanted[:, :, 1]).sum(1, keepdims=True)
    fit /= (du * du + dv * dv).sum(1, keepdims=True)
    scale = fit.clip(0.85, 1.2) * n["zoom"]
    sr, cr = np.sin(n["roll"]), np.cos(n["roll"])
    x_px = target[0] + n["shift_x_px"] - scale * (mx * cr - my * sr)
    y_px = target[1] + n["shift_y_px"] - scale * (mx * sr + my * cr)
    return Pose(sy, cy, sp, cp, sr, cr, scale, x_px, y_px)
