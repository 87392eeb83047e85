"""Eyes, brows, nose and mouth, painted on the surface of heads as distance functions in head coordinates.

Both sides of the face are drawn at once, over the distance from the middle; a plane of signs tells them apart.
"""

from __future__ import annotations

import numpy as np

from hyperarc.data.drawn.colors import DARK, constant, iris_color, linear, lip_color, mix, tint
from hyperarc.data.drawn.head import Floats, fade, rise
from hyperarc.data.drawn.sitter import Sitters
from hyperarc.data.drawn.window import paint

_WHITE, _PUPIL, _GLINT = constant(0.62, 0.59, 0.57), constant(0.006, 0.005, 0.006), constant(1.3, 1.3, 1.3)
_MOUTH, _TEETH = linear((66, 18, 20)).T[:, :, None, None], constant(0.72, 0.70, 0.66)


def draw_eyes(f: Sitters) -> None:
    """Both eyes: socket shade, white, iris, pupil, catchlight, lids and lashes."""
    t, x = f.t, f.plan.eye_x
    f.darken((x - 3.5, -3.0), (11.5, 7.5), 0.20 + 0.16 * t["eye_depth"])
    f.darken((x, 4.8), (10.0, 4.5), 0.10 + 0.08 * t["age"] + 0.05 * t["eye_depth"])
    made = f.pick(f.n["makeup"])
    if made is not None:
        color = mix(tint(made.skin, 0.5, 0.35, 0.45), DARK, 0.3)
        made.soft((made.plan.eye_x + 1, -4.0), (11.0, 5.5), color, 0.75 * made.n["makeup"])
    part = f.around((x, 0.0), (f.plan.eye_width + 2, 13.0))
    spots = part.cut(f.surface.spots)
    planes = part.open(f.albedo)
    _draw_lids(f, spots, planes)
    part.put(f.albedo, planes)


def _draw_lids(f: Sitters, spots: Floats, planes: Floats) -> None:
    t, n = f.t, f.n
    opened = n["eyes_open"]
    up = (3.5 + 1.0 * t["eye_height"]) * opened
    low = (2.5 + 0.4 * t["eye_height"]) * (0.55 + 0.45 * opened) - 0.7 * np.maximum(n["smile"], 0)
    dx, py, side = spots
    dx -= f.plan.eye_x
    across = dx * (1 / f.plan.eye_width)
    y = across * (1.2 + 1.5 * t["eye_tilt"])
    y += py
    arch = across * across
    np.subtract(1, arch, out=arch)
    skew = across * 0.16
    skew += 1
    skew *= arch
    below = skew * up  # below the upper lid
    below += y
    above = skew * low  # above the lower lid
    above -= y
    crease = np.abs(below + (1.3 + 1.6 * t["lid_crease"] + 0.6 * (1 - opened)))
    crease *= -0.9
    crease += 1
    fade(crease)
    arch *= 2.2
    crease *= fade(arch)
    crease *= -(0.15 + 0.45 * np.minimum(t["lid_crease"] * 2.0, 1))
    crease += 1
    planes *= crease
    white = np.minimum(below, above)
    white *= 1.2
    white += 0.5
    fade(white)
    shade = below * 0.28
    shade += 0.35
    fade(shade)
    paint(planes, white, shade * _WHITE)
    _draw_iris(f, (dx, py, side), (white, shade), planes)
    _draw_lashes(f, across, (below, above), planes)


def _draw_lashes(f: Sitters, across: Floats, lids: tuple[Floats, Floats], planes: Floats) -> None:
    """The dark line of the upper lashes and the faint one of the lower."""
    n = f.n
    below, above = lids
    edge = np.abs(across)
    below += 0.25
    lash = np.abs(below, out=below)
    lash *= -1.1
    weight = 1.1 * (0.55 + 0.5 * n["makeup"])
    lash += rise(across) * (0.35 * weight) + (weight + 0.45)
    fade(lash)
    lash *= fade(7.84 - edge * 7)
    lash *= 0.92
    paint(planes, lash, DARK)
    lower = fade(0.85 - np.abs(above, out=above))
    lower *= fade(5 - edge * 5)
    lower *= -(0.38 + 0.3 * n["makeup"])
    lower += 1
    planes *= lower


def _draw_iris(f: Sitters, at: tuple[Floats, Floats, Floats], lids: tuple[Floats, Floats], planes: Floats) -> None:
    """Iris, pupil and catchlight within the white."""
    n = f.n
    dx, py, side = at
    white, shade = lids
    dx *= side
    dx -= n["gaze_x"] * 2.2
    py += 0.7 - n["gaze_y"] * 1.2
    r = dx * dx
    r += py * py
    np.sqrt(r, out=r)
    rim = fade(1.55 - 0.38 * r)
    rim *= shade
    iris = fade(4.0 - r)
    iris *= white
    paint(planes, iris, rim * iris_color(f.t))
    pupil = fade(np.subtract(2.05, r, out=r))
    pupil *= white
    paint(planes, pupil, _PUPIL)
    dx -= 1.1 * n["light_x"]
    py += 1.1
    dx *= dx
    py *= py
    dx += py
    glint = fade(1.35 - np.sqrt(dx))
    glint *= white
    glint *= 0.85
    paint(planes, glint, _GLINT)


def draw_brows(f: Sitters) -> None:
    """Brows as tapered bands of fine hair."""
    t, n = f.t, f.n
    half = 11.0 + 0.8 * t["brow_thickness"]
    y = -11.4 - 1.5 * t["brow_height"] - 2.2 * n["brow_raise"]
    part = f.around((f.plan.eye_x, y), (half + 2, 10.0))
    across, off, side = part.cut(f.surface.spots)
    across -= f.plan.eye_x + 0.4
    across *= 1 / half
    bow = across - 0.25
    bow *= bow
    bow *= -(2.0 + 1.5 * t["brow_arch"])
    off += bow
    off += across * (0.4 + 1.2 * t["brow_tilt"] + 0.8 * n["frown"])
    side *= 0.7 * t["asymmetry"]
    off += side
    off -= y + 0.32 * n["frown"]
    thick = (1.75 + 0.75 * t["brow_thickness"]) * 0.75
    band = np.abs(off, out=off)
    band *= -0.75
    band += thick + 0.25
    np.abs(across, out=bow)
    bow *= -4.5
    bow += 4.5
    rise(across)
    across *= 0.42 * thick
    band -= across
    cover = fade(band)
    cover *= fade(bow)
    cover *= np.minimum(0.78 + 0.2 * t["brow_thickness"] + 0.1 * n["makeup"], 1.0)
    planes = part.open(f.albedo)
    paint(planes, cover, mix(mix(f.hair, DARK, 0.45), f.skin, 0.08))
    part.put(f.albedo, planes)


def draw_nose(f: Sitters) -> None:
    """Nostrils, wings and the shade below the tip; the shape itself is in the depth."""
    t = f.t
    y, wing = f.plan.nose_y, f.plan.nose_wing
    f.darken((0.0, y + 6.0), (wing + 4.0, 5.0), 0.34)
    f.darken((f.plan.eye_x * 0.36, -1.0), (4.2, 8.0), 0.10 + 0.07 * t["nose_bridge"])
    f.darken((wing + 0.6, y + 1.8), (2.6, 4.6), 0.42)
    x = wing * 0.44
    part = f.around((x, y + 4.0), (4.0, 3.4))
    dx, dy = part.cut(f.surface.spots[:2])
    dx -= x
    dx *= 1 / (1.9 + 0.35 * t["nose_width"])
    dy -= y + 4.2
    dy += dx * 0.35
    dx *= dx
    dy *= dy
    dx += dy
    hole = fade(1.9 - 1.4 * np.sqrt(dx))
    hole *= 0.8
    planes = part.open(f.albedo)
    paint(planes, hole, tint(f.skin, 0.14, 0.07, 0.07))
    part.put(f.albedo, planes)


def draw_mouth(f: Sitters) -> None:
    """Lips, the line between them, and teeth when the mouth is open."""
    t, n = f.t, f.n
    half, my, lift = f.plan.mouth_half, f.plan.mouth_y, f.plan.corner_lift
    smile = np.maximum(n["smile"], 0)
    f.darken((0.0, my + 8.5), (half * 0.8, 3.6), 0.22)
    f.darken((half + 1.0, my - lift), (3.0, 2.6), 0.28 + 0.1 * smile)
    gap = 6.5 * n["mouth_open"] + 1.2 * np.maximum(smile - 0.45, 0)
    part = f.around((0.0, my + gap * 0.5), (half + 3, 9.0 + gap))
    edge, y, side = part.cut(f.surface.spots)
    planes = part.open(f.albedo)
    edge *= 1 / half
    bow = edge * edge
    # y is measured from the line between the lips
    y += bow * lift
    y -= my
    side *= edge
    side *= 0.8 * t["asymmetry"]
    y -= side
    full = rise(np.subtract(1, bow, out=bow))
    dip = rise(1 - edge * 4.5)
    dip *= 0.10 + 0.3 * t["cupids_bow"]
    upper = full * (1.25 - 0.25 * full)
    upper -= dip
    upper *= 2.7 + 1.2 * t["upper_lip"]
    upper += y
    lower = full * (0.55 + 0.45 * full)
    lower *= 3.7 + 1.4 * t["lower_lip"]
    opening = gap * full
    below = y - opening
    lower -= below
    lips = lip_color(t, f.skin, n["makeup"])
    end = fade(7.6 - edge * 7)
    paint(planes, fade(np.minimum(upper, -y) * 0.8 + 0.42) * (0.9 * end), tint(lips, 0.80, 0.76, 0.76))
    paint(planes, fade(np.minimum(below, lower) * 0.8 + 0.42) * (0.85 * end), tint(lips, 1.08, 1.06, 1.06))
    if (gap > 0).any():
        _draw_teeth(planes, (y, below), opening, gap, (edge, end))
    seam = fade(0.95 - 0.85 * np.abs(y, out=y))
    seam *= end
    seam *= -(0.62 - 0.27 * (gap > 0.3))
    seam += 1
    planes *= seam
    part.put(f.albedo, planes)


def _draw_teeth(
    planes: Floats, lips: tuple[Floats, Floats], opening: Floats, gap: Floats, sides: tuple[Floats, Floats]
) -> None:
    """The dark of an open mouth and the upper teeth in it."""
    y, below = lips
    edge, end = sides
    ajar = (gap * 4).clip(0, 1)
    hole = fade(np.minimum(y, -below) * 1.1 + 0.4) * (ajar * end)
    paint(planes, hole, _MOUTH)
    opening *= 0.55
    teeth = fade(np.minimum(y + 0.2, 0.75 + opening - y))
    teeth *= hole
    teeth *= fade((0.86 - edge) * 6)
    paint(planes, teeth, _TEETH)
