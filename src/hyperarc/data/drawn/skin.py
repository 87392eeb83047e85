"""Skin: base color, blush, freckles, mole, lines of age, stubble and beard."""

from __future__ import annotations

import functools

import numpy as np

from hyperarc.data.drawn.colors import mix, tint
from hyperarc.data.drawn.head import SIZE, Floats, fade, rise
from hyperarc.data.drawn.sitter import Sitters
from hyperarc.data.drawn.surface import BESIDE, entries
from hyperarc.data.drawn.window import Band, paint


@functools.cache
def grain_tile() -> Floats:
    """A fixed, repeating [256, 256] field in [0, 1]: fine along the first axis, drawn out along the second."""
    rng = np.random.default_rng(7)
    tile = rng.standard_normal((256, 256)).astype(np.float32)
    for width in (1, 2, 4, 8):
        tile = 0.5 * tile + 0.25 * (np.roll(tile, width, 1) + np.roll(tile, -width, 1))
    tile = 0.6 * tile + 0.2 * (np.roll(tile, 1, 0) + np.roll(tile, -1, 0))
    tile += np.roll(tile, 3, 0) * 0.35
    return np.asarray(fade(0.5 + 0.20 * tile / float(tile.std())), dtype=np.float32)


@functools.cache
def freckle_tile() -> Floats:
    """A fixed, repeating [256, 256] field of small round spots in [0, 1], half a unit an entry."""
    rng = np.random.default_rng(11)
    rows, columns = np.mgrid[-4:5, -4:5]
    tile = np.zeros((256, 256), dtype=np.float32)
    for _ in range(700):
        y, x = rng.integers(0, 256, 2)
        radius, depth = rng.uniform(1.0, 2.4), rng.uniform(0.4, 1.0)
        spot = depth * np.clip(1.5 - np.hypot(rows, columns) / radius, 0, 1)
        at = ((rows + y) & 255, (columns + x) & 255)
        tile[at] = np.maximum(tile[at], spot)
    return tile


@functools.cache
def wrinkle_tile() -> Floats:
    """Lines of the upper face over (|x| [44], y from -44 to 14) at four entries a unit: forehead, brow, eyes."""
    x = np.arange(0, 44, 0.25, dtype=np.float32)
    y = np.arange(-44, 14, 0.25, dtype=np.float32)[:, None]
    tile = np.zeros((len(y), len(x)), dtype=np.float32)

    def stroke(center: Floats, thickness: float, start: tuple[float, float], strength: float) -> None:
        along = np.clip((x - start[0]) * 0.6, 0, 1) * np.clip((start[1] - x) * 0.25, 0, 1)
        np.maximum(tile, strength * along * np.clip(1 - np.abs(y - center) / thickness, 0, 1), out=tile)

    for k in range(3):
        stroke(-20.5 - 5.0 * k + 0.004 * x * x - 0.6 * np.sin(0.35 * x + k), 1.1, (-9.0, 23.0 - 2 * k), 0.55)
    for k in range(3):
        stroke(-3.0 + 2.2 * k + (0.35 * k - 0.4) * (x - 27), 0.8, (27.0, 35.0), 0.8)
    stroke(5.2 + 2.2 * np.clip(1 - ((x - 17) / 9) ** 2, 0, 1), 1.2, (9.0, 27.0), 0.65)
    stroke(8.8 + 2.0 * np.clip(1 - ((x - 19) / 8) ** 2, 0, 1), 1.1, (12.0, 27.0), 0.4)
    frown = np.clip(1 - np.abs(x - 3.0 - 0.08 * (y + 10)) / 1.0, 0, 1) * np.clip(1 - np.abs(y + 11) / 5, 0, 1)
    return np.asarray(np.maximum(tile, 0.6 * frown), dtype=np.float32)


def draw_skin(f: Sitters) -> None:
    """Fill the heads with skin and everything that lies in it."""
    t, n = f.t, f.n
    f.albedo[:] = f.skin
    red = tint(f.skin, 0.92, 0.55, 0.55)
    f.soft((21.0, 19.0), (14.0, 12.0), red, 0.15 + 0.75 * t["ruddiness"] + 0.25 * n["makeup"])
    f.soft((0.0, f.plan.nose_y), (8.0, 8.0), red, 0.15 + 0.5 * t["ruddiness"])
    years = np.maximum(t["age"] - 0.35, 0) * 1.1 + 0.8 * n["age_lines"]
    smile = np.maximum(n["smile"], 0)
    mood = np.maximum(np.maximum(n["brow_raise"], n["frown"]), 0)
    lines = 0.55 * years + 0.15 * smile + 0.15 * mood
    _draw_wrinkles(f, lines)
    _draw_folds(f, 0.06 + 0.34 * years + 0.22 * smile)
    for draw, strength in (
        (_draw_freckles, t["freckles"]),
        (_draw_mole, t["mole_size"]),
        (_draw_beard, t["beard"] * n["beard_grown"] - 0.02),
    ):
        some = f.pick(strength)
        if some is not None:
            draw(some)


def _draw_mole(f: Sitters) -> None:
    t = f.t
    x, y, radius = 27 * t["mole_x"], 22 + 26 * t["mole_y"], 1.6 + 1.4 * t["mole_size"]
    part = f.around((np.abs(x), y), (radius, radius))
    far, dy, side = part.cut(f.surface.spots)
    far *= side
    off = ((far - x) ** 2 + (dy - y) ** 2) * (1 / (radius * radius))
    planes = part.open(f.albedo)
    paint(planes, rise(1 - off) * np.minimum(4 * t["mole_size"], 1), tint(f.skin, 0.16, 0.10, 0.09))
    part.put(f.albedo, planes)


def _draw_freckles(f: Sitters) -> None:
    part = f.around((0.0, 13.0), (34.0, 15.0))
    x, y, side = part.cut(f.surface.spots)
    x *= side
    # the pattern is the person's own: the place on the tile follows from traits that never change
    at = ((y * 2 + (600 + 90 * f.t["mole_y"])).astype(np.int32) & 255) << 8
    at |= (x * 2 + (600 + 90 * f.t["mole_x"])).astype(np.int32) & 255
    spots = freckle_tile().ravel().take(entries(at))
    spots *= rise(1 - (x * (1 / 34)) ** 2 - ((y - 13) * (1 / 15)) ** 2)
    spots *= -0.55 * f.t["freckles"]
    spots += 1
    f.dim(part, spots)


def _draw_wrinkles(f: Sitters, strength: Floats) -> None:
    part = f.around((0.0, -15.0), (36.0, 30.0))
    tile = wrinkle_tile()
    high, wide = tile.shape
    far, down = part.cut(f.surface.spots[:2])
    far *= 4 * 17.6 / f.plan.eye_x
    down += 44
    down *= 4
    at = down.clip(0, high - 1, out=down).astype(np.int32)
    at *= wide
    at += far.clip(0, wide - 1, out=far).astype(np.int32)
    lines = tile.ravel().take(entries(at))
    lines *= -strength.clip(0, 0.8)
    lines += 1
    f.dim(part, lines)


def _draw_folds(f: Sitters, strength: Floats) -> None:
    """The folds from the wings of the nose to beside the mouth."""
    top, low = f.plan.nose_y - 1.0, f.plan.mouth_y + 3.0
    middle, half = 0.5 * (top + low), 0.5 * (low - top)
    inner, outer = f.plan.nose_wing + 2.5, f.plan.mouth_half + 4.5
    part = f.around((0.5 * (inner + outer), middle), (11.0, half + 1))
    off, down = part.cut(f.surface.spots[:2])
    down -= middle
    down *= 1 / half
    fall = rise(1 - down * down)
    off -= 0.5 * (inner + outer)
    down *= 0.5 * (outer - inner)
    off -= down
    off -= fall * 1.2
    groove = np.abs(off)
    groove *= -0.42
    off *= 0.14
    groove -= off
    groove += 1
    rise(groove)
    groove *= fall
    groove *= -strength
    groove += 1
    f.dim(part, groove)


def _draw_beard(f: Sitters) -> None:
    grown = f.t["beard"] * f.n["beard_grown"]
    my = f.plan.mouth_y
    # a beard reaches around the jaw, where other paint ends
    part = Band(f.faces, slice(0, SIZE), slice(0, SIZE))
    far, y, sign = part.cut(f.surface.spots)
    far -= np.multiply(far > BESIDE / 2, BESIDE, dtype=np.float32)
    sign *= far
    # below a line from the sideburns to beside the mouth, with a mustache over the lip
    side = fade((far - 10) * (1 / 25))
    edge = my + 1.5 - (my - 2.0) * side * side * (2.2 - 1.2 * side)
    cover = fade((y - edge) * 0.28 + 0.3)
    cover *= fade(np.minimum(46 - far, my + 40 - y) * 0.5)
    lip = fade((y - my + 8.5) * 0.4) * fade((22 - far) * 0.16) * fade((my + 2 - y) * 0.5)
    at = ((sign * 2.4 + 500).astype(np.int32) & 255) << 8
    at |= (y * 2.2 + 200).astype(np.int32) & 255
    strands = grain_tile().ravel().take(entries(at))
    np.maximum(cover, lip, out=cover)
    cover *= fade(strands * 1.2 + (1.7 * grown - 0.65))
    cover *= np.minimum(0.30 + 0.9 * grown, 0.95)
    strands *= 0.7
    strands += 0.6
    planes = part.open(f.albedo)
    paint(planes, cover, strands * mix(f.hair, f.skin, 0.30 * (1 - grown)))
    part.put(f.albedo, planes)
