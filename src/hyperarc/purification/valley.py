"""The angle that parts clean faces from noise, read off the angles themselves: the valley between two hills."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.purification.mixture import fit_mixture
from hyperarc.purification.sub_centers import ANGLE_DEG

_WIDTHS_DEG = np.arange(1.0, 10.25, 0.5)
_LEAST_HILL = 0.02  # of the higher hill
_DEEPEST = 0.8  # of the lower hill: a valley that is shallower is none
_SURE = 3.0  # standard deviations that the lower hill must rise above the valley


@dataclass(frozen=True)
class Valley:
    """Where to cut.

    Attributes:
        angle_deg: of the valley; 75 where there is none.
        hills_deg: of the hills that were found.
        why: in words.
    """

    angle_deg: float
    hills_deg: tuple[float, ...]
    why: str

    @property
    def found(self) -> bool:
        """Whether clean faces and noise were told apart."""
        return len(self.hills_deg) == 2


def find_valley(angles_deg: npt.ArrayLike) -> Valley:
    """The valley between clean faces and noise in the angles to the dominant centers.

    Angles are counted by the degree and smoothed by a Gaussian, 1 degree wide at first and wider by half a degree until
    no more than two hills remain (Silverman's test of modes, J. R. Statist. Soc. B 43, 1981, with a width of at most 10
    degrees). A hill counts when it is at least a fiftieth as high as the highest. Of two hills the lower must rise
    above the valley by 3 standard deviations of such counts, and the valley lie below 0.8 of it. Where there is no such
    valley, noise may still be a long slope beside the hill of the clean faces: then the two are parted as a mixture of
    distributions (:func:`fit_mixture`). Otherwise the faces are one hill, such as those of a clean set, and the angle
    is 75 degrees, which the paper found best.

    Args:
        angles_deg: [N] of all faces, 0..180.

    Raises:
        DataError: no angles, or some that are none.

    Example:
        >>> random = np.random.default_rng(0)
        >>> clean, noise = random.normal(40, 8, 7000), random.normal(88, 5, 3000)
        >>> valley = find_valley(np.concatenate([clean, noise]))
        >>> valley.found, 65 < valley.angle_deg < 75
        (True, True)
        >>> find_valley(clean).angle_deg
        75.0
        >>> slope = abs(random.normal(62, 20, 3000))
        >>> find_valley(np.concatenate([random.normal(28, 6, 5000), slope])).why
        'no valley; clean faces about 29 and 39 % noise about 60 part there'
    """
    angles = np.asarray(angles_deg, np.float64).ravel()
    if not len(angles) or not np.isfinite(angles).all() or angles.min() < 0 or angles.max() > 180:
        raise DataError("expected angles of faces, 0..180 degrees, at least one")
    counts = np.histogram(angles, np.arange(182) - 0.5)[0].astype(np.float64)
    for width in _WIDTHS_DEG.tolist():
        smooth = _smoothed(counts, width)
        hills = _hills(smooth)
        if len(hills) <= 2:
            break
    if len(hills) == 2 and (valley := _between(smooth, hills, width)) is not None:
        why = f"valley between hills at {hills[0]} and {hills[1]}"
        return Valley(float(valley), (float(hills[0]), float(hills[1])), why)
    if (two := fit_mixture(counts)) is not None:
        apart = f"clean faces about {two.clean_deg:.0f} and {two.noise:.0%} noise about {two.noise_deg:.0f} part there"
        return Valley(two.angle_deg, (two.clean_deg, two.noise_deg), f"no valley; {apart.replace('%', ' %')}")
    one = f"the angles are one hill, at {int(smooth.argmax())}" if len(hills) <= 2 else "the angles have many hills"
    return Valley(ANGLE_DEG, (float(smooth.argmax()),), f"{one}: no valley to cut at, {ANGLE_DEG:g} is taken")


def _smoothed(counts: npt.NDArray[np.float64], width: float) -> npt.NDArray[np.float64]:
    reach = np.arange(-40, 41)
    kernel = np.exp(-0.5 * (reach / width) ** 2)
    return np.convolve(counts, kernel / kernel.sum(), mode="same")


def _hills(smooth: npt.NDArray[np.float64]) -> list[int]:
    """Degrees of the local maxima that are high enough."""
    before, after = np.append(0.0, smooth[:-1]), np.append(smooth[1:], 0.0)
    tops = np.flatnonzero((smooth > before) & (smooth >= after) & (smooth >= _LEAST_HILL * smooth.max()))
    return [int(top) for top in tops]


def _between(smooth: npt.NDArray[np.float64], hills: list[int], width: float) -> int | None:
    """The degree of the valley between two hills, or None where it is too shallow to be sure of."""
    first, second = hills
    low = smooth[first : second + 1].min()
    middle = np.flatnonzero(smooth[first : second + 1] <= low * (1 + 1e-9)) + first
    height = min(smooth[first], smooth[second])
    # the variance of Poisson counts under a Gaussian of this width is their mean / (2 width sqrt(pi))
    spread = np.sqrt((height + low) / (2 * width * np.sqrt(np.pi)))
    deep = low < _DEEPEST * height and height - low > _SURE * spread
    return int(middle[len(middle) // 2]) if deep else None
