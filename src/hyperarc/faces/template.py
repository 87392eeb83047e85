"""The five points of a face, the template they are aligned to, and the similarity between both.

Points are (x, y) in px, pixel centers at whole numbers, in the order left eye, right eye, nose tip, left and right
corner of the mouth; left is the left of the picture. All arithmetic is float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError, unknown_name

Floats = npt.NDArray[np.float64]

_FIVE_OF_68 = ((36, 39), (42, 45), (30, 30), (48, 48), (54, 54))


@dataclass(frozen=True, eq=False)
class Template:
    """Where the five points of an aligned face lie.

    Attributes:
        points: float64 [5, 2] in px.
        height, width: of the crop in px.

    Example:
        >>> TEMPLATES["arcface_112"].scaled(224).points[2].round(2).tolist()
        [112.05, 143.47]
    """

    points: Floats
    height: int
    width: int

    def scaled(self, size: int) -> Template:
        """The same template for crops ``size`` px high; points are multiplied, as in the released code."""
        if not 16 <= size <= 1024:
            raise DataError(f"expected a crop size of 16 to 1024 px, got {size}")
        ratio = size / self.height
        return Template(self.points * ratio, size, round(self.width * ratio))


def _template(width: int, *points: tuple[float, float]) -> Template:
    # through float32, as the released code holds them
    return Template(np.array(points, dtype=np.float32).astype(np.float64), 112, width)


TEMPLATES = {
    "arcface_112": _template(
        112, (38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)
    ),
    "sphereface_112x96": _template(
        96, (30.2946, 51.6963), (65.5318, 51.5014), (48.0252, 71.7366), (33.5493, 92.3655), (62.7299, 92.2041)
    ),
}
"""Templates by name: of ArcFace, 112 x 112, and of SphereFace and CosFace, 112 high and 96 wide."""


def open_template(name: str, size: int = 112) -> Template:
    """A template of :data:`TEMPLATES` for crops ``size`` px high.

    Example:
        >>> open_template("sphereface_112x96").width
        96
    """
    if name not in TEMPLATES:
        raise unknown_name("template", name, TEMPLATES)
    return TEMPLATES[name] if size == 112 else TEMPLATES[name].scaled(size)


def five_points(landmarks: npt.ArrayLike) -> Floats:
    """Landmarks [..., 5, 2] as float64; of 68 points (the iBUG scheme, from 0) the five that a template has.

    An eye is the mean of its corners, 36 and 39, 42 and 45; the nose tip is 30, the corners of the mouth are 48 and 54.

    Raises:
        DataError: no numbers, neither 5 nor 68 points, or a coordinate that is not finite.

    Example:
        >>> five_points(np.arange(136).reshape(68, 2))[0].tolist()
        [75.0, 76.0]
    """
    try:
        points = np.asarray(landmarks, dtype=np.float64)
    except (TypeError, ValueError):
        what = "expected landmarks [..., 5, 2] or [..., 68, 2], got what is no array of numbers"
        raise DataError(what, mend="of a Face give its landmarks") from None
    if points.ndim < 2 or points.shape[-2:] not in ((5, 2), (68, 2)):
        raise DataError(f"expected landmarks [..., 5, 2] or [..., 68, 2], got {list(points.shape)}")
    if not np.isfinite(points).all():
        raise DataError("expected finite landmarks, got NaN or infinity", mend="leave faces without landmarks out")
    if points.shape[-2] == 68:
        points = points[..., np.array(_FIVE_OF_68), :].mean(-2)
    return points


def similarity(landmarks: npt.ArrayLike, template: str = "arcface_112", size: int = 112) -> Floats:
    """Matrices [..., 2, 3] that take photo px to crop px with the least squared error at the five points.

    Umeyama (1991) in the plane, without reflection. With points as complex numbers p (photo) and q (template), less
    their means, it is q = a p + b with a = sum(conj(p) q) / sum(|p|^2): |a| is the scale, its angle the rotation.

    Raises:
        DataError: all points of a face in one place, or a cloud of points that no similarity fits at all.

    Example:
        >>> similarity(TEMPLATES["arcface_112"].points / 2 + 10).round(6).tolist()
        [[2.0, -0.0, -20.0], [0.0, 2.0, -20.0]]
    """
    p = five_points(landmarks) @ (1, 1j)
    q = open_template(template, size).points @ (1, 1j)
    p_mean, q_mean = p.mean(-1, keepdims=True), q.mean()
    spread = (np.abs(p - p_mean) ** 2).sum(-1)
    a = (np.conj(p - p_mean) * (q - q_mean)).sum(-1) / np.maximum(spread, 1e-300)
    if not (np.abs(a) * np.sqrt(spread) > 1e-6 * size).all():
        raise DataError(
            "expected landmarks of a face, got points that fit the template at no scale, or lie in one place",
            mend="check their order: eyes, nose tip, corners of the mouth, left in the picture first",
        )
    b = q_mean - a * p_mean[..., 0]
    return np.stack([np.stack([a.real, -a.imag, b.real], -1), np.stack([a.imag, a.real, b.imag], -1)], -2)


def residual_px(landmarks: npt.ArrayLike, template: str = "arcface_112") -> Floats:
    """How far the five points stay from the template after the fit: root mean square distance [...], template px.

    It tells doubtful crops. Frontal faces of a detector mostly have 2 to 4 px, profiles 5 to 10; mirrored or exchanged
    points have above 15.

    Example:
        >>> mirrored = TEMPLATES["arcface_112"].points * (-1, 1)
        >>> round(float(residual_px(mirrored)), 1)
        22.6
    """
    points, wanted = five_points(landmarks), open_template(template).points
    matrix = similarity(points, template)
    fitted = points @ matrix[..., :2].swapaxes(-1, -2) + matrix[..., None, :, 2]
    return np.asarray(np.sqrt(((fitted - wanted) ** 2).sum(-1).mean(-1)), dtype=np.float64)
