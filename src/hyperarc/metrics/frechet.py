"""The Frechet distance between two clouds of embeddings, taken for normal distributions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import FloatArray, as_array, embedding_matrix


@dataclass(frozen=True)
class Frechet:
    """A Frechet distance and what it was computed of.

    Attributes:
        distance: ``means + covariances``; 0 for equal clouds.
        means: ||mu_a - mu_b||^2.
        covariances: Tr(S_a + S_b - 2 (S_a S_b)^{1/2}).
        samples: how many embeddings either side had. Few of them bias the distance upward: with no more than the
            embedding has dimensions, covariances are not even of full rank. Compare distances of equal counts alone.
    """

    distance: float
    means: float
    covariances: float
    samples: tuple[int, int]


def frechet_distance(a: Any, b: Any, *, unit: bool = True) -> Frechet:
    """||mu_a - mu_b||^2 + Tr(S_a + S_b - 2 (S_a S_b)^{1/2}) of embeddings, S divided by n - 1.

    The distance of Dowson and Landau (1982) that FID (Heusel et al., NeurIPS 2017) takes between features of an
    Inception network; in the embedding space of a face model it is no FID and must not be compared with one. The trace
    of the root is the nuclear norm of A B^T, where A and B are the centered rows over sqrt(n - 1): no root is taken of
    a matrix, so that singular covariances are no trouble.

    Args:
        a, b: [n, d] and [m, d]; of any length.
        unit: whether rows are L2-normalised first, as embeddings of a face model are; FID takes features as they are.

    Raises:
        DataError: fewer than two embeddings on a side; NaN, infinity or zero vectors, by row; different dimensions.

    Example:
        >>> quarter, half = [[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, 1.0]]
        >>> frechet_distance(quarter, quarter).distance, round(frechet_distance(quarter, half).distance, 3)
        (0.0, 3.0)
    """
    rows_of = embedding_matrix if unit else _features
    left, right = (rows_of(rows, name).astype(np.float64) for rows, name in ((a, "a"), (b, "b")))
    if left.shape[1] != right.shape[1]:
        raise DataError(f"a has embeddings of {left.shape[1]} values, b of {right.shape[1]}; expected the same")
    if min(len(left), len(right)) < 2:
        raise DataError(f"a covariance needs at least 2 embeddings, got {len(left)} and {len(right)}")
    means = float(np.square(left.mean(axis=0) - right.mean(axis=0)).sum())
    rooted_left, rooted_right = _centered(left), _centered(right)
    shared = float(np.linalg.norm(rooted_left @ rooted_right.T, ord="nuc"))
    covariances = float(np.square(rooted_left).sum() + np.square(rooted_right).sum()) - 2.0 * shared
    covariances = max(0.0, covariances)  # equal clouds differ by rounding
    return Frechet(means + covariances, means, covariances, (len(left), len(right)))


def _features(value: Any, name: str) -> FloatArray:
    """Finite rows as they are; a row of zeros is one, too."""
    rows: FloatArray = as_array(value, name).astype(np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise DataError(f"{name} should be [faces, dimension] with at least one face, got shape {rows.shape}")
    if not np.isfinite(rows).all():
        row = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise DataError(f"{name} holds a NaN or infinity in row {row}")
    return rows


def _centered(rows: FloatArray) -> FloatArray:
    """A matrix A [at most d, d] whose A^T A is the covariance of the rows."""
    centered: FloatArray = (rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1)
    return np.asarray(np.linalg.qr(centered, mode="r")) if len(rows) > rows.shape[1] else centered
