"""Colors of skin, hair and eyes as linear light (square of the 0..1 picture value), arrays [3, B, 1, 1]."""

from __future__ import annotations

import numpy as np

from hyperarc.data.drawn.head import Floats, Knobs, fade


def linear(*stops: tuple[float, float, float]) -> Floats:
    """sRGB-like colors 0..255 as linear light, [stops, 3]."""
    return (np.array(stops, dtype=np.float32) / 255) ** 2


def constant(red: float, green: float, blue: float) -> Floats:
    """One linear color for all faces, [3, 1, 1, 1]."""
    return np.array([red, green, blue], dtype=np.float32)[:, None, None, None]


_THIRDS = constant(0, 4, 2)  # where red, green and blue lie on the circle of hues, in sixths
DARK: Floats = linear((30, 20, 20)).T[:, :, None, None]
_SKIN = linear((250, 216, 196), (240, 196, 168), (220, 168, 132), (182, 124, 86), (134, 88, 60), (88, 56, 40))
_HAIR = linear((226, 194, 134), (168, 122, 76), (104, 70, 46), (58, 40, 32), (26, 23, 24))
_RED_HAIR, _GREY_HAIR = constant(0.414, 0.0797, 0.0138), constant(0.591, 0.579, 0.567)
_LIPSTICK = constant(0.476, 0.0246, 0.0517)
_IRIS = linear((112, 156, 196), (128, 158, 150), (128, 138, 84), (134, 96, 52), (86, 52, 30), (44, 28, 22))


def mix(first: Floats, second: Floats, share: Floats | float) -> Floats:
    """``share`` of the second color in the first."""
    return first + (second - first) * share


def tint(color: Floats, *factors: Floats | float) -> Floats:
    """A color times a factor for each of red, green, blue."""
    tinted = np.empty((3, *color.shape[1:]), dtype=np.float32)
    for plane, source, factor in zip(tinted, color, factors, strict=True):
        np.multiply(source, factor, out=plane)
    return tinted


def hue(turn: Floats, saturation: Floats | float, value: Floats | float) -> Floats:
    """Colors from hue (turns), saturation and value, 0..1."""
    pale = np.abs((turn * 6 + _THIRDS) % 6 - 3)
    pale -= 1
    fade(pale)
    pale -= 1
    pale *= saturation
    pale += 1
    pale *= value
    pale *= pale
    return pale


def _along(stops: Floats, share: Floats) -> Floats:
    place = share.ravel().clip(0, 1) * (len(stops) - 1)
    first = np.minimum(place.astype(np.intp), len(stops) - 2)
    rest = (place - first)[:, None].astype(np.float32)
    return _standing(stops[first] + (stops[first + 1] - stops[first]) * rest)


def _standing(colors: Floats) -> Floats:
    """[B, 3] to [3, B, 1, 1], contiguous: the planes painted with it take over its memory order."""
    return np.ascontiguousarray(colors.T)[:, :, None, None]


def skin_color(t: Knobs) -> Floats:
    """Base color of the skin."""
    warm = t["skin_undertone"]
    return tint(_along(_SKIN, t["skin_melanin"]), 1 - 0.05 * warm, 1 + 0.06 * warm, 1 - 0.20 * warm)


def hair_color(t: Knobs) -> Floats:
    """Natural hair color, grey coming with age."""
    color = mix(_along(_HAIR, t["hair_melanin"]), _RED_HAIR, 0.8 * t["hair_red"])
    return mix(color, _GREY_HAIR, 0.9 * ((t["age"] - 0.62) * 2.6).clip(0, 1))


def iris_color(t: Knobs) -> Floats:
    """Iris color."""
    return _along(_IRIS, t["eye_color"])


def lip_color(t: Knobs, skin: Floats, makeup: Floats) -> Floats:
    """Lips: redder skin, toward lipstick with makeup."""
    dark = t["skin_melanin"]
    return mix(tint(skin, 0.80, 0.50 + 0.08 * dark, 0.52 + 0.1 * dark), _LIPSTICK, 0.75 * makeup)
