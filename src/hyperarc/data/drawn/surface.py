"""From the shape of heads to planes over the crop: depth, coverage, head coordinates, normals.

Planes are float32 [B, 112, 112], colored ones [3, B, 112, 112].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperarc.data.drawn.head import (
    BACK,
    HEIGHTS,
    SIZE,
    STEP,
    TOP,
    Floats,
    Lathe,
    Pose,
    Rows,
    fade,
    rise,
)
from hyperarc.data.drawn.window import Reach, window

BESIDE = 1e4  # added to the distance from the middle where there is no face to paint on
_PIXELS: Floats = np.arange(SIZE, dtype=np.float32)


def entries(places: npt.NDArray[np.int32]) -> Rows:
    """Whole numbers as table entries; by way of int32 the conversion takes half the time."""
    return places.astype(np.intp)


@dataclass(frozen=True)
class Shell:
    """Lathes as seen: horizontal depth before pitch, half the ray's way inside, height y, coverage."""

    ahead: Floats
    inside: Floats
    y: Floats
    cover: Floats


def sight(pose: Pose) -> tuple[Floats, Floats]:
    """View coordinates (u, v) of every pixel."""
    dx = (_PIXELS - pose.x_px) / pose.scale
    dy = (_PIXELS[:, None] - pose.y_px) / pose.scale
    return dx * pose.cos_roll + dy * pose.sin_roll, dy * pose.cos_roll - dx * pose.sin_roll


def see_lathe(lathe: Lathe, pose: Pose, u: Floats, v: Floats, guess: Floats | None = None) -> Shell:
    """Meet every pixel's ray with the lathe.

    In a slice the ray meets an ellipse: with d = u - c sin(yaw), depth is
    c cos(yaw) - K d + G sqrt(E^2 - d^2), E the half extent.
    Under pitch the slice depends on the depth, for which ``guess`` is good enough.
    """
    sy, cy = pose.sin_yaw[:, :, 0], pose.cos_yaw[:, :, 0]
    a2, b2 = lathe.a * lathe.a, lathe.b * lathe.b
    extent2 = a2 * (cy * cy) + b2 * (sy * sy)
    inverse = 1 / np.maximum(extent2, 1.0)
    gain = lathe.a * lathe.b * inverse
    skew = (a2 - b2) * inverse * (cy * sy)
    sharp = _edge(lathe, extent2, pose.scale[:, :, 0])

    y = v * (1 / pose.cos_pitch)
    y -= (_first_guess(u, v) if guess is None else guess) * (pose.sin_pitch / pose.cos_pitch)
    entry = y - TOP
    entry *= 1 / STEP
    places = entry.clip(0, len(HEIGHTS) - 1, out=entry).astype(np.int32)
    places += np.arange(0, lathe.c.size, len(HEIGHTS), dtype=np.int32)[:, None, None]
    at = entries(places)
    ahead = lathe.c.take(at)
    d = u - ahead * pose.sin_yaw
    room = extent2.take(at)
    room -= d * d
    ahead *= pose.cos_yaw
    d *= skew.take(at)
    ahead -= d
    inside = np.sqrt(room.clip(np.float32(0), np.float32(3e38), out=d), out=d)
    inside *= gain.take(at)
    ahead += inside
    room *= sharp.take(at)
    room += 0.5
    return Shell(ahead, inside, y, fade(room))


def _edge(lathe: Lathe, extent2: Floats, scale: Floats) -> Floats:
    """Factor from E^2 - d^2 to the distance from the outline in pixels; closes ``extent2`` where there is no slice."""
    extent = np.sqrt(np.maximum(extent2, 1e-4))
    slope = np.zeros_like(extent)
    np.subtract(extent[:, 2:], extent[:, :-2], out=slope[:, 1:-1])
    slope *= 0.5 / STEP
    slope *= slope
    slope += 1
    sharp = (0.5 * scale) / (extent * np.sqrt(slope))
    hollow = lathe.a <= 0
    extent2[hollow] = -4.0
    sharp[hollow] = 0.5
    return np.asarray(sharp)


def _first_guess(u: Floats, v: Floats) -> Floats:
    """Depth of a plain ball about as large as a head: near enough to tell which slice a ray meets."""
    room = v * v
    room *= -0.35
    room -= u * u
    room += 44.0**2
    room = np.sqrt(rise(room), out=room)
    room -= 46.0
    return room


@dataclass(frozen=True)
class Surface:
    """Heads as seen: view depth w (units) with and without the nose, depth ahead, coverage, head coordinates.

    ``spots`` [3, B, 112, 112] are the distance |x| from the middle of the face (huge where there
    is no face), y, and the sign of x.
    """

    w: Floats
    bare: Floats
    ahead: Floats
    cover: Floats
    spots: Floats
    z: Floats
    reach: Reach


def see_head(lathe: Lathe, noses: Floats, pose: Pose, u: Floats, v: Floats) -> Surface:
    """Lathe and nose together, nearest on top, melted where they meet."""
    shell = see_lathe(lathe, pose, u, v)
    bare = shell.ahead * pose.cos_pitch
    bare -= shell.y * pose.sin_pitch
    w = bare.copy()
    melt(noses, pose, w, shell.cover)
    spots = np.empty((3, *w.shape), dtype=np.float32)
    np.multiply(v, pose.cos_pitch, out=spots[1])
    spots[1] -= w * pose.sin_pitch
    ahead = w * pose.cos_pitch
    ahead += v * pose.sin_pitch
    x = u * pose.cos_yaw
    x -= ahead * pose.sin_yaw
    np.abs(x, out=spots[0])
    np.multiply(x, 1e6, out=spots[2])
    spots[2].clip(-1, 1, out=spots[2])
    ahead *= pose.cos_yaw
    ahead += u * pose.sin_yaw
    # beside the face, and on the back of the head, there is nothing to paint on
    back = (spots[1] * 0.5 - 10).clip(0, 20)
    back += BACK
    beside = (ahead < back) | (shell.cover <= 0)
    off = np.multiply(beside, BESIDE, dtype=np.float32)
    spots[0] += off
    high = np.subtract(spots[1], off, out=back).max(2).max(0)
    low = np.add(spots[1], off, out=off).min(2).min(0)
    return Surface(w, bare, shell.ahead, shell.cover, spots, ahead, Reach(low, high, spots[0].min(0).min(0)))


def _in_view(noses: Floats, pose: Pose) -> tuple[Floats, Floats]:
    """Centers [B, K, 3] in pixels (without the shift) and depth, and covariances [B, K, 3, 3], of ellipsoids."""
    view = pose.matrix()[:, None]
    # products written out: a matrix product may round differently with the size of the batch
    centers = view[..., 0] * noses[..., :1] + view[..., 1] * noses[..., 1:2] + view[..., 2] * noses[..., 2:3]
    cosine, sine = np.cos(noses[..., 6:7]), np.sin(noses[..., 6:7])
    first = view[..., 0] * noses[..., 3:4]
    second = (view[..., 1] * cosine + view[..., 2] * sine) * noses[..., 4:5]
    third = (view[..., 2] * cosine - view[..., 1] * sine) * noses[..., 5:6]
    spread = np.zeros((*noses.shape[:2], 3, 3), dtype=np.float32)
    for axis in (first, second, third):
        spread += axis[..., :, None] * axis[..., None, :]
    return centers, spread


def melt(noses: Floats, pose: Pose, w: Floats, cover: Floats) -> None:
    """Add ellipsoids [B, K, 8] to depth and coverage in place.

    For covariance S of an ellipsoid in the view, its front is the conditional form of a Gaussian:
    w = w0 + S_wp S_pp^-1 d + sqrt(S_ww - S_wp S_pp^-1 S_pw) sqrt(1 - d' S_pp^-1 d).
    """
    faces = np.arange(len(w))
    centers, spread = _in_view(noses, pose)
    for k in range(noses.shape[1]):
        sxx, sxy, sxw, _, syy, syw, _, _, sww = (spread[:, k].reshape(-1, 9, 1, 1)[:, j] for j in range(9))
        cx, cy, cw = (centers[:, k, j, None, None] for j in range(3))
        cx, cy = cx + pose.x_px, cy + pose.y_px
        part = window(faces, (cx, cy), (np.sqrt(sxx) + 4, np.sqrt(syy) + 4))
        dx, dy = part.x - cx, part.y - cy
        det = 1 / (sxx * syy - sxy * sxy)
        gx, gy = (sxw * syy - syw * sxy) * det, (syw * sxx - sxw * sxy) * det
        height = np.sqrt(np.maximum(sww - gx * sxw - gy * syw, 1e-6))
        left = dy * (dx * (2 * sxy * det))
        left -= dx * dx * (syy * det) - 1
        left -= dy * dy * (sxx * det)
        up = rise(left.copy())
        lump = np.sqrt(up)
        lump *= height
        lump += (left - up) * 60
        lump += gx * dx
        lump += gy * dy + cw
        under = part.cut(w)
        soft = lump - under
        np.abs(soft, out=soft)
        blend = noses[:, k, 7, None, None]
        soft = rise(np.subtract(blend, soft, out=soft))
        np.maximum(lump, under, out=lump)
        soft *= soft
        soft *= 0.25 / blend
        lump += soft
        part.put(w, lump)
        left *= 0.5 / np.sqrt(np.sqrt(det))
        left += 0.5
        part.put(cover, np.maximum(fade(left), part.cut(cover)))


def normals(w: Floats, scale: Floats) -> tuple[Floats, Floats, Floats]:
    """Unit normals of depth planes (w in units, ``scale`` pixels a unit); steep steps are held back."""
    nx, ny = np.empty_like(w), np.empty_like(w)
    np.subtract(w[:, :, :-2], w[:, :, 2:], out=nx[:, :, 1:-1])
    np.subtract(w[:, :-2], w[:, 2:], out=ny[:, 1:-1])
    nx[:, :, 0], nx[:, :, -1] = nx[:, :, 1], nx[:, :, -2]
    ny[:, 0], ny[:, -1] = ny[:, 1], ny[:, -2]
    half = 0.5 * scale
    for plane in (nx, ny):
        plane *= half
        plane.clip(np.float32(-2.2), np.float32(2.2), out=plane)
    nz = nx * nx
    nz += ny * ny
    nz += 1
    np.sqrt(nz, out=nz)
    np.divide(1, nz, out=nz)
    nx *= nz
    ny *= nz
    return nx, ny, nz
