"""Two people under one name: the faces of each person cut in two, and how far the two halves lie apart.

Sub-centers part two people as long as the network learns. A network that is trained already, or one whose sub-centers
all went to one place, has a single center between the two, and no face of either lies far from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FEWEST_PEOPLE = 10  # to know what is usual
_STEPS = 30
_FAR = 5.0  # deviations below the median cosine of two halves
_POSES = 0.5  # cosine from which on halves may be two poses or ages of one person

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Halves:
    """The faces of some people, cut in two.

    Attributes:
        second: bool [N] faces of the smaller half of their person.
        counts: int64 [P] faces of the smaller half.
        cosines: float32 [P] between the centers of the two halves; NaN of people with too few faces.
        alike: float32 [P] mean cosine between two faces of the smaller half.
    """

    second: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.int64]
    cosines: npt.NDArray[np.float32]
    alike: npt.NDArray[np.float32]


def cut_in_halves(
    unit: Floats, labels: npt.NDArray[np.integer], people: int, copies: npt.NDArray[np.bool_], fewest: int
) -> Halves:
    """Cut the faces of each person in two by 2-means on the sphere, begun along their first principal axis.

    Args:
        unit: [N, d] unit embeddings.
        labels: [N], 0 .. P - 1; people: P.
        copies: [N] faces that are put into a half but do not count.
        fewest: faces of a half; who has no two such halves is not cut.

    Example:
        >>> faces = np.eye(2)[[0, 0, 1, 0]]
        >>> halves = cut_in_halves(faces, np.zeros(4, int), 1, np.zeros(4, bool), fewest=1)
        >>> halves.second.tolist(), halves.counts.tolist(), halves.cosines.tolist()
        ([False, False, True, False], [1], [0.0])
    """
    second, counts = np.zeros(len(unit), np.bool_), np.zeros(people, np.int64)
    cosines, alike = np.full(people, np.nan, np.float32), np.full(people, np.nan, np.float32)
    for person in np.unique(labels).tolist():
        places = np.flatnonzero(labels == person)
        faces, counted = unit[places], ~copies[places]
        if counted.sum() < 2 * fewest:
            continue
        side = _two_means(faces, counted)
        sizes = np.bincount(side[counted], minlength=2)
        small = int(sizes.argmin())
        if sizes[small] < fewest:
            continue
        sums = np.stack([faces[counted & (side == half)].sum(axis=0) for half in (0, 1)])
        lengths = np.linalg.norm(sums, axis=1)
        second[places], counts[person] = side == small, sizes[small]
        cosines[person] = sums[0] @ sums[1] / max(float(lengths[0] * lengths[1]), 1e-30)
        alike[person] = (lengths[small] ** 2 - sizes[small]) / max(1, sizes[small] * (sizes[small] - 1))
    return Halves(second, counts, cosines, alike)


def unusually_far(cosines: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """[P] whose halves lie much further apart than is usual: 5 robust deviations below the median (1.4826 MAD).

    Nobody's that lie within 60 degrees, as two poses or ages of one person may, and nobody's among fewer than 10
    people.

    Example:
        >>> unusually_far(np.append(np.linspace(0.85, 0.95, 20), 0.3)).nonzero()[0].tolist()
        [20]
    """
    known = cosines[np.isfinite(cosines)]
    if len(known) < FEWEST_PEOPLE:
        return np.zeros(len(cosines), np.bool_)
    usual = float(np.median(known))
    spread = 1.4826 * float(np.median(np.abs(known - usual)))
    return np.asarray(np.nan_to_num(cosines, nan=1.0) < min(_POSES, usual - _FAR * spread))


def _two_means(faces: Floats, counted: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """0 or 1 of each face."""
    apart = faces - faces[counted].mean(axis=0)
    axis = apart[counted][np.square(apart[counted]).sum(axis=1).argmax()]
    for _ in range(_STEPS):  # power iteration for the first principal axis
        axis = apart[counted].T @ (apart[counted] @ axis)
        axis = axis / max(float(np.linalg.norm(axis)), 1e-30)
    side = (apart @ axis > 0).astype(np.int64)
    for _ in range(_STEPS):
        if not 0 < side[counted].sum() < counted.sum():
            break
        centers = np.stack([faces[counted & (side == half)].mean(axis=0) for half in (0, 1)])
        centers /= np.maximum(np.linalg.norm(centers, axis=1, keepdims=True), 1e-30)
        moved = (faces @ centers.T).argmax(axis=1)
        if (moved == side).all():
            break
        side = moved
    return np.asarray(side, dtype=np.int64)
