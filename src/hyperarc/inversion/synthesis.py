"""Targets of people who do not exist: points of the sphere where training has put nobody, and the arcs between two."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hyperarc.errors import DataError
from hyperarc.geometry import unit

CROWDED = 0.05
"""Quantile of the arcs between people and their nearest others from which on a new one is far enough away. Own value:
the few nearest pairs may be one person under two names."""
_AT_A_TIME = 1024  # targets drawn together
_CENTERS_AT_A_TIME = 65536
_COSINES_AT_A_TIME = 1 << 24
_IDLE_ROUNDS = 64  # draws without anybody new after which the sphere counts as full
_OPPOSITE = 1e-6  # length of the sum of two unit vectors below which no arc is the shortest


@dataclass(frozen=True, eq=False)
class NewTargets:
    """People who do not exist.

    Attributes:
        vectors: float32 [N, d] of unit length.
        arcs_deg: [N] to the nearest center; nearest: [N] whose it is.
        least_arc_deg: that all of them keep, from centers and from one another.
        drawn: how many it took.
    """

    vectors: npt.NDArray[np.float32]
    arcs_deg: npt.NDArray[np.float64]
    nearest: npt.NDArray[np.int64]
    least_arc_deg: float
    drawn: int


def new_targets(centers: Any, count: int, least_arc_deg: float | None = None, seed: int = 0) -> NewTargets:
    """Draw people as the trained ones are spread, and keep those who are near to nobody.

    A target is a draw from the normal distribution with mean and covariance of the centers, scaled to unit length: it
    lies among the centers, in the directions in which people differ. It is rejected when a center, or another new one,
    is nearer than the least arc.

    Args:
        centers: [C, d] of at least two people, or [C, K, d] with sub-centers; of any length but 0.
        count: how many.
        least_arc_deg: the arc to keep; default the 5 % quantile of the arcs between people and their nearest others,
            see :data:`CROWDED`.
        seed: same centers, count and seed, same targets; more of them begin with the same ones.

    Raises:
        DataError: no such centers; a least arc beyond 0..180; the sphere is too full (how many found room is said).

    Example:
        >>> found = new_targets(torch.eye(8), 3, least_arc_deg=40)
        >>> found.vectors.shape, bool(found.arcs_deg.min() >= 40)
        ((3, 8), True)
    """
    people = _people(centers)
    if count < 1 or (least_arc_deg is not None and not 0 <= least_arc_deg < 180):
        raise DataError(f"expected at least one new person and an arc in 0..180, got {count} and {least_arc_deg}")
    least = _crowded_deg(people) if least_arc_deg is None else float(least_arc_deg)
    limit, points, owners = math.cos(math.radians(least)), people.flatten(0, 1), _owners(people)
    draw = _Draw(people.mean(dim=1), seed)
    kept, cosines, nearest = points[:0], torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
    drawn, idle = 0, 0
    while len(kept) < count and idle < _IDLE_ROUNDS:
        fresh = draw(_AT_A_TIME)
        cosine, place = _nearest(fresh, points)
        taken = _apart(fresh, torch.nonzero(cosine <= limit).flatten(), kept, limit, count - len(kept))
        drawn += _AT_A_TIME
        idle = 0 if len(taken) else idle + 1
        kept, cosines = torch.cat([kept, fresh[taken]]), torch.cat([cosines, cosine[taken]])
        nearest = torch.cat([nearest, owners[place[taken]]])
    if len(kept) < count:
        raise DataError(
            f"the sphere is too full: {len(kept):,} of {count:,} new people found room {least:.1f} degrees from the "
            f"{len(people):,} people and from one another, of {drawn:,} drawn",
            mend="ask for fewer, or for a smaller least arc",
        )
    arcs = np.degrees(np.arccos(cosines.clamp(-1, 1).numpy()))
    return NewTargets(kept.float().numpy(), arcs, nearest.numpy(), least, drawn)


def nearest_arcs(vectors: Any, centers: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """The arc in degrees [N] from each vector to the nearest center, and whose that is [N].

    Args:
        vectors: [N, d]; centers: [C, d], or [C, K, d] with sub-centers; of any length but 0.

    Raises:
        DataError: no such vectors or centers.

    Example:
        >>> [found.tolist() for found in nearest_arcs([[3.0, 0.0]], [[0.0, 1.0], [2.0, 0.0]])]
        [[0.0], [1]]
    """
    people, given = _people(centers), torch.as_tensor(np.asarray(vectors, np.float64))
    if given.ndim != 2 or given.shape[1] != people.shape[2]:
        raise DataError(f"expected vectors [N, {people.shape[2]}] as the centers, got {list(given.shape)}")
    cosines, places = _nearest(unit(given), people.flatten(0, 1))
    return np.degrees(np.arccos(cosines.clamp(-1, 1).numpy())), _owners(people)[places].numpy()


def arc(start: Any, end: Any, steps: int) -> Tensor:
    """Points on the shortest arc of the sphere between two targets, at equal angles.

    Spherical linear interpolation (Shoemake, SIGGRAPH 1985): (sin((1 - t) w) a + sin(t w) b) / sin(w), w being the
    angle between a and b.

    Args:
        start, end: [d] of any length but 0.
        steps: how many points, both ends included; at least 2.

    Returns:
        [steps, d] of unit length.

    Raises:
        DataError: vectors of other shapes, zero or NaN; fewer than 2 steps; opposite points, between which every great
            circle is as short as any other.

    Example:
        >>> [[round(value, 4) for value in point] for point in arc([1.0, 0.0], [0.0, 2.0], 3).tolist()]
        [[1.0, 0.0], [0.7071, 0.7071], [0.0, 1.0]]
    """
    ends = [torch.as_tensor(np.asarray(vector, np.float64)) for vector in (start, end)]
    if ends[0].ndim != 1 or ends[0].shape != ends[1].shape or steps < 2:
        shapes = [list(vector.shape) for vector in ends]
        raise DataError(f"expected two targets [d] and at least 2 steps, got {shapes} and {steps}")
    if not all(vector.isfinite().all() and vector.any() for vector in ends):
        raise DataError("one end of the arc is zero, NaN or infinite", mend="embed it again")
    a, b = map(unit, ends)
    if (a + b).norm() < _OPPOSITE:
        raise DataError("the two targets are opposite points, with no shortest arc between them", mend="take others")
    # half the angle by its tangent: exact for small angles too
    whole = 2 * torch.atan2((a - b).norm(), (a + b).norm())
    part = torch.linspace(0, 1, steps, dtype=torch.float64)[:, None]
    if whole < _OPPOSITE:
        return unit((1 - part) * a + part * b).float()
    return (((1 - part) * whole).sin() * a + (part * whole).sin() * b).div(whole.sin()).float()


def turned(vectors: Any, angle_deg: float, seed: int = 0) -> Tensor:
    """Unit vectors turned by an angle, each in a random direction: cos(angle) x + sin(angle) u, u normal to x.

    Args:
        vectors: [N, d] of any length but 0, d at least 2.
        angle_deg: 0..180.
        seed: of the directions.

    Raises:
        DataError: no such vectors or angle.

    Example:
        >>> turned([[2.0, 0.0]], 60).round(decimals=4)[0, 0].item()
        0.5
    """
    given = torch.as_tensor(np.asarray(vectors, np.float64))
    if given.ndim != 2 or given.shape[1] < 2 or not 0 <= angle_deg <= 180:
        raise DataError(f"expected vectors [N, d] and an angle in 0..180, got {list(given.shape)} and {angle_deg}")
    given = unit(given)
    generator = torch.Generator().manual_seed(seed)
    around = torch.randn(given.shape, generator=generator, dtype=torch.float64)
    around = unit(around - (around * given).sum(dim=1, keepdim=True) * given)
    angle = math.radians(angle_deg)
    return (math.cos(angle) * given + math.sin(angle) * around).float()


class _Draw:
    """Unit vectors from the normal distribution with mean and covariance of the centers."""

    def __init__(self, centers: Tensor, seed: int) -> None:
        self._mean = centers.mean(dim=0)
        values, axes = torch.linalg.eigh(torch.cov(centers.T))
        self._spread = values.clamp_min(0).sqrt()[:, None] * axes.T
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, count: int) -> Tensor:
        normal = torch.randn(count, len(self._mean), generator=self._generator, dtype=torch.float64)
        return unit(self._mean + normal @ self._spread)


def _people(centers: Any) -> Tensor:
    """Unit centers [C, K, d] in float64."""
    given = centers.detach().cpu() if isinstance(centers, Tensor) else np.asarray(centers)
    people = torch.as_tensor(given).to(torch.float64)
    people = people[:, None] if people.ndim == 2 else people
    if people.ndim != 3 or len(people) < 2 or 0 in people.shape:
        raise DataError(f"expected centers [C, d] or [C, K, d] of at least two people, got {list(people.shape)}")
    if not (people.isfinite().all() and people.any(dim=-1).all()):
        raise DataError("a center is zero, NaN or infinite")
    return unit(people)


def _crowded_deg(people: Tensor) -> float:
    """The default least arc."""
    points, owners = people.flatten(0, 1), _owners(people)
    best = torch.empty(len(points), dtype=points.dtype)
    step = max(1, _COSINES_AT_A_TIME // len(points))
    for start in range(0, len(points), step):
        part = slice(start, start + step)
        cosines = points[part] @ points.T
        best[part] = cosines.masked_fill(owners[part, None] == owners, -1.0).max(dim=1).values
    of_people = best.view(len(people), -1).max(dim=1).values
    return float(torch.rad2deg(torch.quantile(of_people.clamp(-1, 1).arccos(), CROWDED)))


def _owners(people: Tensor) -> Tensor:
    """Whose each of the flattened centers is."""
    return torch.arange(len(people)).repeat_interleave(people.shape[1])


def _nearest(vectors: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """The largest cosine [N] of each vector, and to which point [N]."""
    best = torch.full((len(vectors),), -2.0, dtype=vectors.dtype)
    place = torch.zeros(len(vectors), dtype=torch.int64)
    for start in range(0, len(points), _CENTERS_AT_A_TIME):
        cosine, at = (vectors @ points[start : start + _CENTERS_AT_A_TIME].T).max(dim=1)
        better = cosine > best
        best, place = torch.where(better, cosine, best), torch.where(better, at + start, place)
    return best, place


def _apart(fresh: Tensor, rows: Tensor, kept: Tensor, limit: float, most: int) -> list[int]:
    """The first of the rows that are far enough from those kept and from one another."""
    if len(kept) and len(rows):
        rows = rows[_nearest(fresh[rows], kept)[0] <= limit]
    taken: list[int] = []
    for row in rows.tolist():
        if len(taken) == most:
            break
        if not taken or float((fresh[taken] @ fresh[row]).max()) <= limit:
            taken.append(row)
    return taken
