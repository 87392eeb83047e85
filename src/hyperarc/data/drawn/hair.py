"""Hair: a second, wider lathe around the skull, cut along a hairline that runs all around the head."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperarc.data.drawn.colors import hue, mix
from hyperarc.data.drawn.head import HEIGHTS, Floats, Knobs, Lathe, Pose, fade
from hyperarc.data.drawn.skin import grain_tile
from hyperarc.data.drawn.surface import entries, see_lathe

# place around the head: 0 the middle of the forehead, +-1 the sides, +-2 the back
_AROUND: Floats = np.linspace(-2, 2, 513, dtype=np.float32)


@dataclass(frozen=True)
class Style:
    """The hair of pictures: lengths in units, shares in [0, 1]; each [B, 1, 1], the color [3, B, 1, 1]."""

    hairline: Floats
    side: Floats
    nape: Floats
    volume: Floats
    fringe: Floats
    part: Floats
    curl: Floats
    color: Floats


@dataclass(frozen=True)
class Hair:
    """Hair as seen: cover before and behind the head, a soft cover for depth, depth, color planes."""

    front: Floats
    behind: Floats
    soft: Floats
    w: Floats
    albedo: Floats


def style_hair(t: Knobs, n: Knobs, natural: Floats) -> Style:
    """The people's usual hair, changed by the pictures' nuisances."""
    length = (t["hair_length"] + n["hair_change"]).clip(0, 1)
    down = -14.0 + 130.0 * np.maximum(length - 0.22, 0)
    some = np.minimum(length * 3, 1)
    full = 1.2 + 4.0 * np.minimum(length * 2.5, 1) + 3.0 * n["hair_volume"]
    return Style(
        hairline=-38.5 - 3.0 * t["hairline"] - 4.0 * np.maximum(t["hairline"], 0),
        side=np.maximum(-3.0 + 12.0 * some, down),
        nape=np.maximum(26.0, down),
        volume=full + 4.0 * t["hair_curl"] * some,
        fringe=n["fringe"] * np.minimum(length * 4, 1),
        part=n["part"],
        curl=t["hair_curl"],
        color=mix(natural, hue(n["dye_hue"], 0.75, 0.45 + 0.4 * n["dye_hue"]), 0.85 * n["dye"]),
    )


@functools.cache
def _hang() -> Floats:
    return np.asarray(np.clip((HEIGHTS - 10) / 60, 0, 1), dtype=np.float32)


def hair_lathe(head: Lathe, style: Style) -> Lathe:
    """The outer skin of the hair: the skull grown by the volume, hanging straight down below the ears."""
    volume = style.volume[:, :, 0]
    up2 = (HEIGHTS * (-1 / (64.0 + volume))).clip(0, 1)
    up2 *= up2
    a = np.sqrt(np.maximum(1 - up2 * (0.55 + 0.45 * up2), 0))
    a *= head.slice_at(0.0)[0][:, :, 0] + volume + (0.9 * volume) * _hang()
    a *= up2 < 1
    b = np.sqrt(np.maximum(1 - up2 * (0.75 + 0.25 * up2 * up2 * up2), 0))
    b *= 46.0 + 0.7 * volume
    b -= 4 * _hang()
    c = np.full_like(a, -46.0)
    c -= 2 * up2
    return Lathe(a, b, c, head.rows)


def hairline(style: Style) -> Floats:
    """Height y [B, 513] at which the hair ends, over the way around the head; hair lies above (smaller y)."""
    start, side, nape, volume, fringe, part = (
        value[:, :, 0] for value in (style.hairline, style.side, style.nape, style.volume, style.fringe, style.part)
    )
    far = np.abs(_AROUND)
    off = _AROUND - part
    from_part = np.minimum(np.abs(off) * 1.4, 1)
    front = start + 5.0 * far * far + 9.0 * np.minimum(volume / 7, 1) * (from_part * from_part)
    combed = (0.8 + 0.2 * np.tanh(3 * off)) * (0.35 + 0.65 * from_part)
    front += fringe * (-13.0 - start) * np.maximum(1 - far**6, 0) * combed
    to_side = ((far - 0.72) / 0.17).clip(0, 1)
    front += (side - front) * (to_side * to_side * (3 - 2 * to_side))
    front += (nape - side) * ((far - 1.12) / 0.2).clip(0, 1)
    return np.asarray(front)


def _around(u: Floats, ahead: Floats, pose: Pose, width: Floats) -> Floats:
    """Place around the head, -2..2, of points at depth ``ahead``."""
    around = u * (pose.cos_yaw / width)
    around -= ahead * (pose.sin_yaw / width)
    around.clip(-1, 1, out=around)
    depth = ahead * pose.cos_yaw
    depth += u * pose.sin_yaw
    turn = around * 1e6
    turn.clip(-1, 1, out=turn)
    turn -= around
    turn *= 2
    turn *= depth < -46.5
    around += turn
    return around


def see_hair(head: Lathe, style: Style, pose: Pose, sight: tuple[Floats, Floats], ahead: Floats) -> Hair:
    """Cut the hair's shell along the hairline and comb it; ``ahead`` is the depth of the head below."""
    u, v = sight
    shell = see_lathe(hair_lathe(head, style), pose, u, v, ahead)
    y, ahead = shell.y, shell.ahead
    table, width = hairline(style), 39.0 + style.volume
    offset = np.arange(0, table.size, len(_AROUND), dtype=np.int32)[:, None, None]
    around = _around(u, ahead, pose, width)
    # locks hang from the temples back toward the ears and forward again at the jaw
    hang = y - 10.0
    hang *= 1 / 26
    hang *= hang
    hang += 1
    np.divide(-16.5, hang, out=hang)
    hang += 128
    left = _look_up(table, around, hang, offset)
    left -= y
    strands = _strands(y, around, style.curl)
    # where the ray leaves the shell on the far side, hair hangs behind face and neck
    inside = shell.inside
    inside *= -2
    inside += ahead
    hang *= 0.96
    far = _look_up(table, _around(u, inside, pose, width), hang, offset)
    far -= y
    far *= 0.5
    behind = fade(far)
    behind *= shell.cover
    soft = left * 0.12
    soft += 0.5
    left += (strands - 0.5) * (5.0 + 6.0 * style.curl)
    left *= 0.4
    left += 0.5
    front = fade(left)
    front *= shell.cover
    _shine(strands, y, style.part)
    ahead *= pose.cos_pitch
    ahead -= y * pose.sin_pitch
    return Hair(front, behind, fade(soft), ahead, strands * style.color)


def _shine(strands: Floats, y: Floats, part: Floats) -> None:
    """Brighten a band of the strands around the crown, in place."""
    band = y + (40 + 6 * np.sin(part * 5))
    np.abs(band, out=band)
    band *= -0.05
    band += 1.8
    strands *= band.clip(1.1, 2, out=band)
    strands += 0.45


def _look_up(table: Floats, around: Floats, gain: Floats, offset: npt.NDArray[np.int32]) -> Floats:
    place = around * gain
    place += 256
    at = place.astype(np.int32)
    at += offset
    return np.asarray(table.take(entries(at)))


def _strands(y: Floats, around: Floats, curl: Floats) -> Floats:
    """Lightness of single strands, [0, 1], waved by ``curl``."""
    wave = y * (0.22 + 0.25 * curl)
    wave += around * 5
    np.sin(wave, out=wave)
    wave *= 1.5 + 7.0 * curl
    wave += around * 95
    wave += 400
    at = wave.astype(np.int32)
    at &= 255
    at <<= 8
    np.multiply(y, 0.9 + 0.6 * curl, out=wave)
    wave += 500
    along = wave.astype(np.int32)
    along &= 255
    at |= along
    return np.asarray(grain_tile().ravel().take(entries(at)))
