"""Clean faces and noise as a mixture of two distributions of angles, for where noise is no hill of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float64]

_APART = 2.0  # Ashman's D: above it two distributions are told apart
_FEWEST = 50  # faces of either kind: with less there is nothing to fit
_STEPS = 500
_STILL = 1e-6  # of a share, between two steps


@dataclass(frozen=True)
class Mixture:
    """Clean faces, lognormal, and noise, normal.

    Attributes:
        noise: share of the faces.
        clean_deg, noise_deg: means.
        apart: Ashman's D between the two.
        angle_deg: from which on noise is likelier.
    """

    noise: float
    clean_deg: float
    noise_deg: float
    apart: float
    angle_deg: float


def fit_mixture(counts: npt.ArrayLike) -> Mixture | None:
    """Clean faces and noise in a histogram of angles to the dominant centers, or None where they are not two.

    Faces of one person gather about an angle that few come below, with a tail of hard ones above: a lognormal
    distribution. Noise is spread widely about larger angles: a normal one. Both are fitted by expectation
    maximization, and parted where a face is as likely the one as the other. They are two when Ashman's
    D = sqrt(2) |m1 - m2| / sqrt(s1^2 + s2^2) is above 2 (Ashman, Bird, Zepf, Astron. J. 108, 1994). The hard faces of
    a clean set do not reach that.

    Args:
        counts: [181] faces by whole degrees, 0..180.

    Example:
        >>> random = np.random.default_rng(0)
        >>> clean, noise = random.lognormal(3.3, 0.2, 7000), random.normal(75, 22, 3000)
        >>> def count(angles):
        ...     return np.bincount(np.rint(np.clip(angles, 0, 180)).astype(int), minlength=181)
        >>> found = fit_mixture(count(np.append(clean, noise)))
        >>> 0.27 < found.noise < 0.33, 38 < found.angle_deg < 48
        (True, True)
        >>> fit_mixture(count(clean)) is None
        True
    """
    faces = np.asarray(counts, np.float64)
    degrees = np.maximum(np.arange(len(faces), dtype=np.float64), 0.5)  # the lowest bin ends at half a degree
    place = np.cumsum(faces) / faces.sum()
    noise = np.where(place > 0.7, 0.9, 0.1)  # to begin with
    before = -1.0
    for _ in range(_STEPS):
        share = float((noise * faces).sum() / faces.sum())
        if min(share, 1 - share) * faces.sum() < _FEWEST:
            return None
        logs, log_spread = _fitted(np.log(degrees), (1 - noise) * faces)
        far, spread = _fitted(degrees, noise * faces)
        clean_part = (1 - share) * _normal(np.log(degrees), logs, log_spread) / degrees
        noise_part = share * _normal(degrees, far, spread)
        noise = noise_part / np.maximum(clean_part + noise_part, 1e-300)
        if abs(share - before) < _STILL:
            break
        before = share
    near = float(np.exp(logs + log_spread**2 / 2))
    near_spread = near * float(np.sqrt(np.expm1(log_spread**2)))
    apart = float(np.sqrt(2) * (far - near) / np.hypot(spread, near_spread))
    likelier_clean = np.flatnonzero((noise < 0.5) & (degrees < far))
    if apart <= _APART or not len(likelier_clean):
        return None
    return Mixture(share, near, far, apart, float(likelier_clean[-1] + 1))


def _fitted(values: _Floats, weights: _Floats) -> tuple[float, float]:
    """Mean and standard deviation, which is never 0, so that no bin is a distribution."""
    mean = float(np.average(values, weights=weights))
    deviation = float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))
    return mean, max(deviation, 1e-2)


def _normal(values: _Floats, mean: float, deviation: float) -> _Floats:
    z = (values - mean) / deviation
    return np.asarray(np.exp(-0.5 * z * z) / (deviation * np.sqrt(2 * np.pi)))
