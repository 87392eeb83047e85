"""Drawn faces: as many people as wanted, any pose, light and fault, with the truth known.

A renderer of 112 x 112 RGB faces for tests, demos and studies that need no photographs. A person is a row of
identity parameters (:data:`IDENTITY_NAMES`), a picture of the person a row of nuisances
(:data:`NUISANCE_NAMES`); crops are aligned to the ArcFace template as a detector's would be.
Pictures are the same for the same seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from hyperarc.data.drawn.batches import Progress, draw_batches
from hyperarc.data.drawn.scene import NUISANCES, Floats, scene_gate, scene_rows, scene_uniforms
from hyperarc.data.drawn.traits import TRAITS, sample_traits
from hyperarc.errors import DataError

IDENTITY_NAMES: tuple[str, ...] = tuple(TRAITS)
"""Identity parameters in column order; meaning and range of each in ``traits.TRAITS``."""

NUISANCE_NAMES: tuple[str, ...] = tuple(NUISANCES)
"""Nuisances in column order; meaning and range of each in ``scene.NUISANCES``."""


_HIGHEST = {
    "yaw_deg": 65.0,
    "yaw_from_deg": 65.0,
    "pitch_deg": 30.0,
    "roll_deg": 30.0,
    "shift_px": 8.0,
    "zoom": 0.2,
    "blur_px": 4.0,
    "lowest_px": 112.0,
    "lowest_quality": 95.0,
    "noise": 0.2,
}
_LOWEST = {"blur_px": 0.1, "lowest_px": 8.0, "lowest_quality": 5.0}
_BAD_CAMERA = {
    "blur": 1.0,
    "blur_px": 4.0,
    "low_resolution": 1.0,
    "lowest_px": 8.0,
    "jpeg": 1.0,
    "lowest_quality": 5.0,
    "noise": 0.2,
}


@dataclass(frozen=True)
class Conditions:
    """How hard the pictures are: limits (``_deg``, ``_px``), strengths 0..1, and shares of the pictures 0..1.

    ``low_quality_share`` of the pictures are taken with the camera of :meth:`low_quality`, all else as it is.

    Example:
        >>> Conditions.frontal().yaw_deg, Conditions(mask=0.5).mask
        (10.0, 0.5)
    """

    yaw_deg: float = 60.0
    yaw_from_deg: float = 0.0
    pitch_deg: float = 22.0
    roll_deg: float = 10.0
    shift_px: float = 1.5
    zoom: float = 0.05
    light: float = 1.0
    expression: float = 1.0
    age_lines: float = 0.6
    makeup: float = 0.2
    shaven: float = 0.5
    hair_change: float = 0.6
    dye: float = 0.1
    glasses: float = 0.18
    sunglasses: float = 0.06
    mask: float = 0.06
    background: float = 1.0
    blur: float = 0.2
    blur_px: float = 1.5
    low_resolution: float = 0.2
    lowest_px: float = 28.0
    jpeg: float = 0.4
    lowest_quality: float = 20.0
    noise: float = 0.03
    low_quality_share: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            high = _HIGHEST.get(field.name, 1.0)
            low = _LOWEST.get(field.name, 0.0)
            if not low <= value <= high:
                raise DataError(f"expected {low} to {high}, got {value}", where=f"Conditions.{field.name}")
        if self.yaw_from_deg > self.yaw_deg:
            raise DataError(f"expected yaw_from_deg <= yaw_deg, got {self.yaw_from_deg} > {self.yaw_deg}")

    @classmethod
    def neutral(cls) -> Conditions:
        """A studio: straight, soft light, no expression, plain background, perfect camera."""
        off = {f.name: 0.0 for f in fields(cls) if f.name not in _LOWEST}
        return cls(**off)

    @classmethod
    def frontal(cls) -> Conditions:
        """The default, within 10 degrees of straight."""
        return cls(yaw_deg=10.0, pitch_deg=8.0)

    @classmethod
    def profile(cls) -> Conditions:
        """The default, turned 40 to 60 degrees to either side."""
        return cls(yaw_from_deg=40.0)

    @classmethod
    def low_quality(cls) -> Conditions:
        """The default through a bad camera: every picture blurred, small and compressed."""
        return cls(**_BAD_CAMERA)


@dataclass(frozen=True)
class DrawnFaces:
    """Pictures with their truth.

    Images uint8 [N, 112, 112, 3] RGB; landmarks float32 [N, 5, 2] in px (eyes, nose tip, mouth corners, picture left
    first); identities [N, P] and nuisances [N, Q] float32.
    """

    images: npt.NDArray[np.uint8]
    landmarks: Floats
    identities: Floats
    nuisances: Floats


@dataclass(frozen=True)
class DrawnSet:
    """A labeled set of N drawn faces: ``labels`` [N] int64 is the person, the rest as of :class:`DrawnFaces`."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    landmarks: Floats
    nuisances: Floats
    identities: Floats


def draw_people(count: int, seed: int) -> Floats:
    """Identity parameters [count, P] float32 of ``count`` people; person i is the same at any ``count``.

    Example:
        >>> bool((draw_people(9, seed=1)[:4] == draw_people(4, seed=1)).all())
        True
    """
    _at_least(count, 1, "count")
    return sample_traits(count, np.random.default_rng([seed, 1]))


def draw_nuisances(count: int, rng: np.random.Generator, conditions: Conditions | None = None) -> Floats:
    """Nuisances [count, Q] float32 under ``conditions`` (default :class:`Conditions`).

    Example:
        >>> rows = draw_nuisances(100, np.random.default_rng(0), Conditions.frontal())
        >>> bool(np.abs(np.degrees(rows[:, NUISANCE_NAMES.index("yaw")])).max() <= 10)
        True
    """
    _at_least(count, 1, "count")
    return _under(scene_uniforms(count, rng), conditions or Conditions())


def draw_faces(identities: npt.NDArray[np.floating], nuisances: npt.NDArray[np.floating], seed: int = 0) -> DrawnFaces:
    """Draw one face per row of identities [N, P] and nuisances [N, Q].

    A face depends on its own two rows and the seed (background shapes, sensor noise) only, not on the batch.

    Example:
        >>> people = draw_people(2, seed=0)
        >>> draw_faces(people, draw_nuisances(2, np.random.default_rng(0))).images.shape
        (2, 112, 112, 3)
    """
    who = _rows(identities, len(IDENTITY_NAMES), "identities")
    how = _rows(nuisances, len(NUISANCE_NAMES), "nuisances")
    if len(who) != len(how):
        raise DataError(f"expected as many identities as nuisances, got {len(who)} and {len(how)}")
    return DrawnFaces(*draw_batches(who, how, seed, None), who, how)


def class_sizes(people: int, faces_per_person: float, tail_exponent: float, seed: int) -> npt.NDArray[np.int64]:
    """Faces of each person [people]: the k-th largest in proportion to k^-tail_exponent, at least one each.

    The total is ``round(people * faces_per_person)`` exactly; which person is how large is drawn by ``seed``.

    Example:
        >>> sorted(class_sizes(4, 10, 1.0, seed=0).tolist(), reverse=True)
        [19, 10, 6, 5]
    """
    _at_least(people, 1, "people")
    _at_least(faces_per_person, 1, "faces_per_person")
    _at_least(tail_exponent, 0, "tail_exponent")
    spare = round(people * faces_per_person) - people
    weights = np.arange(1, people + 1, dtype=np.float64) ** -tail_exponent
    # one face each first, so that the tail never empties; the rest by largest remainder
    wanted = np.maximum(weights / weights.sum() * (spare + people) - 1, 0)
    wanted *= spare / max(float(wanted.sum()), 1e-12)
    sizes = np.floor(wanted).astype(np.int64)
    order = np.argsort(-(wanted - sizes), kind="stable")
    sizes[order[: spare - int(sizes.sum())]] += 1
    return np.asarray(np.random.default_rng([seed, 2]).permutation(sizes + 1), dtype=np.int64)


def draw_set(
    people: int,
    faces_per_person: float,
    seed: int = 0,
    conditions: Conditions | None = None,
    *,
    tail_exponent: float = 0.0,
    progress: Progress | None = None,
) -> DrawnSet:
    """Draw a labeled set in memory: rows in order of person, then of picture.

    Picture i of person p depends on (seed, p, i) and the conditions only. ``progress`` is called with (faces done,
    faces in all) every few batches and at the end. :func:`hyperarc.data.noise.add_noise` puts in wrong labels.

    Example:
        >>> small = draw_set(3, 4, seed=0)
        >>> small.images.shape, small.labels[-1]
        ((12, 112, 112, 3), np.int64(2))
    """
    sizes = class_sizes(people, faces_per_person, tail_exponent, seed)
    owners = np.repeat(np.arange(people, dtype=np.int64), sizes)
    who = draw_people(people, seed)
    how = set_nuisances(sizes, seed, conditions)
    images, landmarks = draw_batches(who[owners], how, seed, progress)
    return DrawnSet(images, owners, landmarks, how, who)


def draw_chunks(
    identities: npt.NDArray[np.floating], nuisances: npt.NDArray[np.floating], seed: int = 0, chunk: int = 256
) -> Iterator[DrawnFaces]:
    """:func:`draw_faces` in pieces of ``chunk`` rows, for sets larger than memory.

    Example:
        >>> rows = draw_nuisances(5, np.random.default_rng(0))
        >>> [len(piece.images) for piece in draw_chunks(draw_people(5, 0), rows, chunk=2)]
        [2, 2, 1]
    """
    _at_least(chunk, 1, "chunk")
    for start in range(0, len(identities), chunk):
        yield draw_faces(identities[start : start + chunk], nuisances[start : start + chunk], seed)


def set_nuisances(sizes: npt.NDArray[np.integer], seed: int, conditions: Conditions | None = None) -> Floats:
    """Nuisances of a whole set [sum(sizes), Q], ``sizes[p]`` rows for person p, as :func:`draw_set` has them.

    Example:
        >>> set_nuisances(np.array([2, 1]), seed=0).shape == (3, len(NUISANCE_NAMES))
        True
    """
    draws = [
        scene_uniforms(1, np.random.default_rng([seed, 4, person, index]))
        for person, size in enumerate(np.asarray(sizes).tolist())
        for index in range(size)
    ]
    return _under(np.concatenate(draws), conditions or Conditions())


def _under(draws: Floats, conditions: Conditions) -> Floats:
    """Nuisances [count, Q] of draws; a share of the rows, the same for the same draws, through a bad camera."""
    rows = scene_rows(draws, asdict(conditions))
    bad = scene_rows(draws, asdict(replace(conditions, **_BAD_CAMERA)))
    return np.where(scene_gate(draws)[:, None] < conditions.low_quality_share, bad, rows)


def _rows(values: npt.NDArray[np.floating], width: int, name: str) -> Floats:
    found = np.asarray(values, dtype=np.float32)
    if found.ndim != 2 or len(found) < 1 or found.shape[1] != width:
        raise DataError(f"expected {name} [N, {width}] with N >= 1, got {list(found.shape)}")
    if not np.isfinite(found).all():
        raise DataError(f"expected finite {name}, got NaN or infinity")
    return found


def _at_least(value: float, low: float, name: str) -> None:
    if not value >= low:
        raise DataError(f"expected {name} >= {low}, got {value}")
