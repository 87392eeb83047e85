"""How good an aligned crop is, and why: size, sharpness, pose and light, each measured by a plain formula.

What is measured is what the picture and the five points show; nothing is learned. The limits are HyperArc's own; set
them to your photos.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels
from hyperarc.faces.template import TEMPLATES, Floats, five_points, open_template, residual_px, similarity

# How far the points lie before the eyes, in px of the template: nose tip 4.01 cm and corners of the mouth 0.82 cm in
# MediaPipe's canonical face model, whose eyes are 6.30 cm apart where the template's are 35.24 px apart.
_DEPTHS_PX = (0.0, 0.0, 22.4, 4.6, 4.6)
_LUMA = np.array([0.299, 0.587, 0.114])
_CALM, _AGAIN, _EDGES = 1.0, 2.0, 0.2  # of blur_px: blurs in px of a crop of 112, share of the edges
_FLAT = 1e-4  # squared slopes up to here, (grey levels / px)^2, are those of rounding
_BLACK, _WHITE = 4, 251

Floats32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class QualityLimits:
    """Values beyond which a crop is doubtful; fields are those of :class:`Quality`.

    A shorter embedding than ``norm`` is doubtful. It has no limit of its own, as every model has norms of its own, and
    of many they say nothing of quality: read it off the norms of faces that you know (``hyperarc embed``).

    Example:
        >>> QualityLimits(yaw_deg=30.0).yaw_deg
        30.0
    """

    source_px: float = 40.0
    residual_px: float = 10.0
    yaw_deg: float = 45.0
    pitch_deg: float = 30.0
    roll_deg: float = 45.0
    blur_px: float = 2.5
    darkest: float = 35.0
    brightest: float = 230.0
    clipped: float = 0.25
    side_difference: float = 0.3
    norm: float = 0.0


@dataclass(frozen=True)
class Quality:
    """Measures of a crop. Pixels are px of a crop 112 high; grey levels are luma (ITU-R BT.601) of the inner face.

    Attributes:
        source_px: height in px of what the crop shows of its photo; below 112 the crop was enlarged.
        residual_px: how far the five points stay from the template, root mean square.
        yaw_deg, pitch_deg, roll_deg: head turned toward the right of the picture, bowed, tilted clockwise in the photo.
        blur_px: sigma of the blur at the strongest edges.
        brightness: mean grey level, 0 to 255. Skin tells in it as well as light, so the limits are wide.
        clipped: share of grey levels up to 4 or from 251 on.
        side_difference: (right - left) / (right + left) of the mean grey levels of both halves, -1 to 1.
        norm: length of the crop's embedding, None where none was given.
        score: 2^-r^2 for the worst ratio r of a measure to its limit, so 0.5 at a limit and 1 for nothing at all.
        reasons: what is beyond its limit, in words; empty exactly when the score is 0.5 or more.
    """

    source_px: float
    residual_px: float
    yaw_deg: float
    pitch_deg: float
    roll_deg: float
    blur_px: float
    brightness: float
    clipped: float
    side_difference: float
    norm: float | None
    score: float
    reasons: tuple[str, ...]


def assess_quality(
    face: Pixels,
    landmarks: npt.ArrayLike,
    limits: QualityLimits | None = None,
    *,
    template: str = "arcface_112",
    norm: float | None = None,
) -> Quality:
    """Measure an aligned crop.

    Args:
        face: uint8 [height, width, 3], RGB, aligned to the template at any size.
        landmarks: [5, 2] or [68, 2] in px of the photo that the crop was made from.
        limits: default :class:`QualityLimits`.
        template: name of the template.
        norm: length of the crop's raw embedding, a measure of quality for MagFace, AdaFace and some others.

    Raises:
        DataError: the crop has not the shape of the template, the landmarks are none, or the norm is no length.

    Example:
        >>> from hyperarc.faces.alignment import align
        >>> photo, points = np.full((64, 64, 3), 20, np.uint8), TEMPLATES["arcface_112"].points / 2
        >>> photo[:, 28:] = 30
        >>> quality = assess_quality(align(photo, points), points)
        >>> quality.source_px, round(quality.score, 2), quality.reasons
        (56.0, 0.43, ('dark: mean grey level 25, at least 35',))
    """
    shape = open_template(template, len(face))
    if face.dtype != np.uint8 or face.shape != (shape.height, shape.width, 3):
        raise DataError(f"expected a crop uint8 [{shape.height}, {shape.width}, 3], got {face.dtype} {face.shape}")
    if norm is not None and not 0 <= norm < math.inf:
        raise DataError(f"expected the length of an embedding, got {norm}")
    matrix = similarity(landmarks, template)
    luma = face @ _LUMA
    inner = inner_face(template, len(face))
    middle = shape.points[2, 0]
    columns = np.arange(shape.width)
    left, right = (float(luma[inner & half].mean()) for half in (columns < middle, columns > middle))
    yaw, pitch, roll = pose_deg(landmarks).tolist()
    measures = {
        "source_px": round(112 / math.hypot(*matrix[:, 0]), 6),
        "residual_px": float(residual_px(landmarks, template)),
        "yaw_deg": yaw,
        "pitch_deg": pitch,
        "roll_deg": roll,
        "blur_px": blur_px(face, template),
        "brightness": float(luma[inner].mean()),
        "clipped": float(((luma <= _BLACK) | (luma >= _WHITE))[inner].mean()),
        "side_difference": (right - left) / max(right + left, 1.0),
    }
    limits = limits or QualityLimits()
    ratios = _ratios(measures, limits)
    if norm is not None and limits.norm:
        ratios[f"embedding of length {norm:.1f}, at least {limits.norm:g}"] = limits.norm / max(norm, 1e-6)
    score, reasons = 2.0 ** -(max(ratios.values()) ** 2), tuple(text for text, r in ratios.items() if r > 1)
    return Quality(**measures, norm=norm, score=score, reasons=reasons)


def _ratios(m: dict[str, float], most: QualityLimits) -> dict[str, float]:
    """Each measure over its limit, by the words for what is wrong when it is above 1."""
    yaw, pitch, roll, side = (abs(m[name]) for name in ("yaw_deg", "pitch_deg", "roll_deg", "side_difference"))
    middle, half = (most.brightest + most.darkest) / 2, (most.brightest - most.darkest) / 2
    dark, grey = m["brightness"] < middle, f"mean grey level {m['brightness']:.0f}"
    light = f"dark: {grey}, at least {most.darkest:g}" if dark else f"bright: {grey}, at most {most.brightest:g}"
    return {
        f"small: {m['source_px']:.0f} px of the photo, at least {most.source_px:g}": most.source_px / m["source_px"],
        f"landmarks {m['residual_px']:.1f} px off, at most {most.residual_px:g}": m["residual_px"] / most.residual_px,
        f"turned by {yaw:.0f} degrees, at most {most.yaw_deg:g}": yaw / most.yaw_deg,
        f"{'bowed' if m['pitch_deg'] > 0 else 'raised'} by {pitch:.0f} degrees, at most {most.pitch_deg:g}": pitch
        / most.pitch_deg,
        f"tilted by {roll:.0f} degrees, at most {most.roll_deg:g}": roll / most.roll_deg,
        f"blurred by {m['blur_px']:.1f} px, at most {most.blur_px:g}": m["blur_px"] / most.blur_px,
        light: abs(m["brightness"] - middle) / half,
        f"{100 * m['clipped']:.0f} % black or white, at most {100 * most.clipped:g}": m["clipped"] / most.clipped,
        f"sides differ by {100 * side:.0f} %, at most {100 * most.side_difference:g}": side / most.side_difference,
    }


def pose_deg(landmarks: npt.ArrayLike) -> Floats:
    """Yaw, pitch and roll [..., 3] in degrees from the five points; all 0 where they lie as in the template.

    Weak perspective: the points are taken for a scaled orthographic view of the template's, with the nose tip 22.4 px
    and the corners of the mouth 4.6 px before the eyes. The least-squares 2 x 3 map from that model to the points is
    brought to the nearest map of orthonormal rows (by its singular value decomposition), which is the rotation.
    Accurate to some degrees, as noses differ; pitch less than yaw.

    Returns:
        Yaw toward the right of the picture, pitch down (bowed), roll clockwise, each within -180 to 180.

    Example:
        >>> pose_deg(TEMPLATES["arcface_112"].points * 3 + 40).round(6).tolist()
        [0.0, 0.0, 0.0]
    """
    points = five_points(landmarks)
    model = np.column_stack([TEMPLATES["arcface_112"].points, _DEPTHS_PX])
    onto = np.linalg.pinv(model - model.mean(0)) @ (points - points.mean(-2, keepdims=True))
    u, _, vt = np.linalg.svd(onto.swapaxes(-1, -2), full_matrices=False)
    rows = u @ vt
    ahead = np.cross(rows[..., 0, :], rows[..., 1, :])
    yaw, roll = np.arctan2(-ahead[..., 0], ahead[..., 2]), np.arctan2(-rows[..., 0, 1], rows[..., 1, 1])
    pitch = np.arcsin((-ahead[..., 1]).clip(-1, 1))
    return np.asarray(np.degrees(np.stack([yaw, pitch, roll], axis=-1)) + 0.0, dtype=np.float64)


def blur_px(face: Pixels, template: str = "arcface_112") -> float:
    """Sigma of the Gaussian blur that the strongest edges of the inner face have, in px of a crop 112 high.

    Zhuo and Sim, "Defocus map estimation from a single image", Pattern Recognition 2011: blurring an edge of blur s
    again by s0 lowers its gradient by R = sqrt(s^2 + s0^2) / s, so s = s0 / sqrt(R^2 - 1). Here s0 is 2 px, and R the
    median over the strongest fifth of the edges, which are the ridges of the gradient. Noise is calmed by a blur of
    1 px first, whose square is taken off.

    Returns:
        Below 1 for edges as sharp as pixels are; infinity for a crop of one color.

    Example:
        >>> edge = np.full((112, 112, 3), 50, np.uint8)
        >>> edge[:, 60:] = 200
        >>> blur_px(edge) < 1
        True
    """
    view = _blur_view(template, len(face))
    luma: Floats32 = face[view.rows, view.columns].astype(np.float32) @ _LUMA.astype(np.float32)
    calm, blurred = (np.asarray(down @ luma @ across, dtype=np.float32) for down, across in (view.calm, view.again))
    slopes = np.zeros_like(calm)
    slopes[1:-1, 1:-1] = _squares(calm[2:, 1:-1] - calm[:-2, 1:-1], calm[1:-1, 2:] - calm[1:-1, :-2])
    ridges = np.flatnonzero(view.inner & _ridges(slopes))
    if not ridges.size:
        return math.inf
    squares = slopes.ravel()[ridges]
    few = math.ceil(_EDGES * ridges.size)
    strong = np.argpartition(squares, -few)[-few:]
    at, below, values = ridges[strong], calm.shape[1], blurred.ravel()
    after = _squares(values[at + below] - values[at - below], values[at + 1] - values[at - 1])
    falls = np.sort(squares[strong] / np.maximum(after, 1e-9))
    fall_squared = float(falls[(few - 1) // 2] + falls[few // 2]) / 2
    return math.sqrt(max(_AGAIN**2 / max(fall_squared - 1, 1e-3) - _CALM**2, 0.0))


@functools.cache
def inner_face(template: str, size: int) -> npt.NDArray[np.bool_]:
    """An ellipse around the nose tip, 0.8 and 1 distances of the eyes in half width and half height."""
    shape = open_template(template, size)
    reach = float(np.linalg.norm(shape.points[1] - shape.points[0]))
    y, x = np.mgrid[: shape.height, : shape.width]
    across, down = (x - shape.points[2, 0]) / (0.8 * reach), (y - shape.points[2, 1]) / reach
    return np.asarray(across**2 + down**2 <= 1)


class _BlurView(NamedTuple):
    """What of a crop the blur is measured on, and the blurs of that part that give the inner face and 2 px around."""

    rows: slice
    columns: slice
    calm: tuple[Floats32, Floats32]
    again: tuple[Floats32, Floats32]
    inner: npt.NDArray[np.bool_]


@functools.cache
def _blur_view(template: str, size: int) -> _BlurView:
    """Whatever lies outside the reach of both blurs is never looked at."""
    inner, ratio = inner_face(template, size), size / 112
    box = [(line.min(), line.max() + 1) for line in np.nonzero(inner)]
    reach = math.ceil(3 * _CALM * ratio) + math.ceil(3 * _AGAIN * ratio) + 2
    seen = [slice(max(a - reach, 0), min(b + reach, side)) for (a, b), side in zip(box, inner.shape, strict=True)]

    def blurs(again: bool) -> tuple[Floats32, Floats32]:
        matrices = []
        for (low, high), part, side in zip(box, seen, inner.shape, strict=True):
            matrix = _gaussian(side, _CALM * ratio)
            matrix = _gaussian(side, _AGAIN * ratio) @ matrix if again else matrix
            matrices.append(matrix[low - 2 : high + 2, part].astype(np.float32))
        return matrices[0], np.ascontiguousarray(matrices[1].T)

    around = np.pad(inner[tuple(slice(*ends) for ends in box)], 2)
    return _BlurView(seen[0], seen[1], blurs(False), blurs(True), around)


def _squares(down: Floats32, across: Floats32) -> Floats32:
    """Squared gradients from differences over 2 px."""
    down *= down
    across *= across
    down += across
    down *= 0.25
    return down


def _ridges(plane: Floats32) -> npt.NDArray[np.bool_]:
    """Where a plane is higher than on the two sides, across or down; never at its border."""
    middle = plane[1:-1, 1:-1]
    across = (middle > plane[1:-1, :-2]) & (middle >= plane[1:-1, 2:])
    down = (middle > plane[:-2, 1:-1]) & (middle >= plane[2:, 1:-1])
    ridges = np.zeros(plane.shape, np.bool_)
    ridges[1:-1, 1:-1] = (across | down) & (middle > _FLAT)
    return ridges


@functools.cache
def _gaussian(size: int, sigma_px: float) -> Floats:
    """The matrix [size, size] that blurs a column."""
    reach = math.ceil(3 * sigma_px)
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (steps / sigma_px) ** 2)
    matrix = np.zeros((size, size))
    rows = np.arange(size)[:, None]
    np.add.at(matrix, (rows, (rows + steps).clip(0, size - 1)), weights / weights.sum())
    return matrix
