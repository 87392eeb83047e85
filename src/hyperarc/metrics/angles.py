"""Angles on the hypersphere: between embeddings, within and between people, and to class centers.

Radians go in and out of every function; fields and arguments in degrees say so in their names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import FloatArray, IntArray, as_array, embedding_matrix, score_vector
from hyperarc.metrics.searches import COSINES_AT_A_TIME


def angle(a: Any, b: Any) -> FloatArray:
    """Angle between vectors along the last axis, in radians 0..pi.

    2 atan2(|a - b|, |a + b|) of the unit vectors: unlike arccos of a dot product it keeps its precision at 0
    and pi and never leaves its domain.

    Args:
        a, b: [n, d] (or [d] for one pair), any non-zero length.

    Raises:
        DataError: shapes that differ, zero vectors, NaN or infinity.

    Example:
        >>> float(np.rad2deg(angle([[1.0, 0.0]], [[0.0, 2.0]]))[0])
        90.0
    """
    left, right = np.atleast_2d(as_array(a, "a")), np.atleast_2d(as_array(b, "b"))
    if left.shape != right.shape:
        raise DataError(f"a has shape {left.shape}, b {right.shape}; expected the same")
    left = embedding_matrix(left.astype(np.float64), "a")
    right = embedding_matrix(right.astype(np.float64), "b")
    apart, together = np.linalg.norm(left - right, axis=1), np.linalg.norm(left + right, axis=1)
    return np.asarray(2.0 * np.arctan2(apart, together), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class AngleHistogram:
    """Shares of pairs per bin of angle.

    Attributes:
        edges_deg: [bins + 1] in degrees, 0..180.
        genuine, impostor: [bins] shares, each list summing to 1.
    """

    edges_deg: FloatArray
    genuine: FloatArray
    impostor: FloatArray


def angle_histogram(genuine: Any, impostor: Any, bins: int = 180) -> AngleHistogram:
    """Histogram of genuine and impostor angles (radians in) over 0..180 degrees in equal bins.

    Raises:
        DataError: an empty list, a non-finite angle, an angle outside 0..pi (degrees given by mistake).

    Example:
        >>> angle_histogram([0.1, 0.2], [1.5], bins=2).genuine.tolist()
        [1.0, 0.0]
    """
    edges = np.linspace(0.0, 180.0, bins + 1)
    shares = []
    for name, angles in (("genuine", genuine), ("impostor", impostor)):
        radians = score_vector(angles, name)
        if radians.min() < 0.0 or radians.max() > np.pi + 1e-9:
            raise DataError(f"{name} angles reach {radians.max():.4g}, expected radians in 0..pi")
        counts, _ = np.histogram(np.minimum(np.rad2deg(radians), 180.0), bins=edges)
        shares.append(counts / radians.size)
    return AngleHistogram(edges, shares[0], shares[1])


@dataclass(frozen=True)
class AngleStatistics:
    """Mean angles in degrees, as in Table 3 of the ArcFace paper.

    Attributes:
        intra_deg: mean over faces of the angle to the embedding center of their person.
        inter_deg: mean over people of the angle to the nearest other embedding center.
        w_ec_deg: mean over people of the angle between class center W and embedding center; None without W.
        w_inter_deg: mean over people of the angle between W and its nearest other W; None without W.
        people, faces: how many were measured.
        single_face_people: people with one face, whose intra angle is 0 by construction (they are included).
        intra_several_deg: as ``intra_deg``, without the faces of those people; None where nobody has two faces.
    """

    intra_deg: float
    inter_deg: float
    w_ec_deg: float | None
    w_inter_deg: float | None
    people: int
    faces: int
    single_face_people: int
    intra_several_deg: float | None


def embedding_centers(embeddings: Any, labels: Any) -> tuple[FloatArray, IntArray]:
    """Normalised mean of the normalised embeddings of each person, and the row of its center for each face.

    Args:
        embeddings: [n, d]; labels: [n], any comparable values; centers follow the sorted distinct labels.

    Example:
        >>> centers, row = embedding_centers([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]], ["b", "a", "b"])
        >>> centers.tolist(), row.tolist()
        ([[0.0, 1.0], [1.0, 0.0]], [1, 0, 1])
    """
    units = embedding_matrix(embeddings, "embeddings")
    names = as_array(labels, "labels")
    if names.shape != (units.shape[0],):
        raise DataError(f"labels should have shape ({units.shape[0]},), got {names.shape}")
    people, row = np.unique(names, return_inverse=True)
    sums = np.zeros((people.size, units.shape[1]))
    np.add.at(sums, row, units)
    return np.asarray(embedding_matrix(sums, "sums of embeddings"), dtype=np.float64), row.astype(np.int64)


def angle_statistics(embeddings: Any, labels: Any, weight: Any = None) -> AngleStatistics:
    """Intra, inter, W-EC and W-Inter angles of a set of faces (ArcFace paper, Table 3).

    A face contributes to the center of its own person. The inter angles are means of minima, not global
    minima.

    Args:
        embeddings: [n, d]; labels: [n].
        weight: class centers [people, d] in the order of the sorted distinct labels, or None.

    Raises:
        DataError: fewer than two people, shapes that differ, zero or non-finite rows.

    Example:
        >>> round(angle_statistics([[1.0, 0.0], [0.0, 1.0]], [0, 1]).inter_deg, 9)
        90.0
    """
    centers, row = embedding_centers(embeddings, labels)
    if centers.shape[0] < 2:
        raise DataError("all faces have one label, expected at least two people")
    own = angle(as_array(embeddings, "embeddings"), centers[row])
    w_ec = w_inter = None
    if weight is not None:
        class_centers = embedding_matrix(weight, "weight")
        w_ec = mean_deg(angle(class_centers, centers))
        w_inter = mean_deg(nearest_others(class_centers).radians)
    counts = np.bincount(row)
    several = counts[row] > 1
    return AngleStatistics(
        intra_deg=mean_deg(own),
        inter_deg=mean_deg(nearest_others(centers).radians),
        w_ec_deg=w_ec,
        w_inter_deg=w_inter,
        people=centers.shape[0],
        faces=row.size,
        single_face_people=int((counts == 1).sum()),
        intra_several_deg=mean_deg(own[several]) if several.any() else None,
    )


def mean_deg(radians: FloatArray) -> float:
    """Mean of angles in radians, in degrees."""
    return float(np.rad2deg(radians.mean()))


@dataclass(frozen=True, eq=False)
class NearestOthers:
    """For each row [n] the nearest other row, and the angle to it in radians."""

    rows: IntArray
    radians: FloatArray


def nearest_others(units: Any) -> NearestOthers:
    """The nearest other vector of each, of at least two.

    n^2 d work, at most 2^24 cosines (128 MB in float64) at a time. Those of float32 vectors are float32, which can
    choose another of two that are nearly as near; the angle to the chosen one is that of float64.

    Args:
        units: [n, d] of unit length.

    Example:
        >>> nearest_others(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])).rows.tolist()
        [1, 0, 1]
    """
    count = len(units)
    if count < 2:
        raise DataError(f"expected at least two vectors, got {count}")
    rows, radians = np.empty(count, np.int64), np.empty(count)
    step = max(1, COSINES_AT_A_TIME // count)
    for start in range(0, count, step):
        part = slice(start, start + step)
        cosines = units[part] @ units.T
        own = np.arange(len(cosines))
        cosines[own, start + own] = -np.inf
        rows[part] = cosines.argmax(axis=1)
        radians[part] = angle(units[part], units[rows[part]])
    return NearestOthers(rows, radians)
