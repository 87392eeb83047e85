"""What every number checks before it counts: finite, non-empty, matching shapes.

A metric that quietly accepts a NaN returns a plausible number, so each check names the row that broke it.
Arrays may be numpy arrays, nested lists or torch tensors on any device (torch itself is not imported).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


def as_array(value: Any, name: str) -> npt.NDArray[Any]:
    """``value`` as a numpy array; torch tensors are detached and brought to the CPU first.

    Example:
        >>> as_array([1, 2], "scores").tolist()
        [1, 2]
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if value.is_floating_point():
            value = value.double()  # numpy knows no bfloat16
        value = value.numpy()
    try:
        return np.asarray(value)
    except ValueError as error:
        raise DataError(f"{name} is not an array ({error})", mend="give rows of equal length") from error


def score_vector(value: Any, name: str) -> FloatArray:
    """Scores as float64 [n], at least one, all finite; :class:`DataError` otherwise.

    Example:
        >>> score_vector([0.5, 1], "genuine").tolist()
        [0.5, 1.0]
    """
    scores = as_array(value, name)
    if scores.ndim != 1:
        raise DataError(f"{name} should be one list of scores, got shape {scores.shape}")
    if scores.size == 0:
        raise DataError(f"{name} is empty, expected at least one score", mend="check the labels of the pairs")
    if scores.dtype.kind not in "fiub":
        raise DataError(f"{name} should hold numbers, got {scores.dtype}")
    scores = scores.astype(np.float64)
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise DataError(f"{name} holds {scores[row]} at row {row}, expected finite scores")
    return scores


def embedding_matrix(
    value: Any, name: str, *, ignore: BoolArray | None = None, first_row: int = 0
) -> npt.NDArray[np.floating[Any]]:
    """Embeddings [n, d] scaled to unit length; float32 stays float32, anything else becomes float64.

    Rows flagged in ``ignore`` come back as zeros whatever they held. Elsewhere a zero row has no direction,
    so it is an error, as are NaN, infinity, an empty matrix or another number of dimensions. Errors count rows from
    ``first_row``.

    Example:
        >>> embedding_matrix([[3.0, 4.0]], "probes").tolist()
        [[0.6, 0.8]]
    """
    raw = as_array(value, name)
    if raw.ndim != 2 or 0 in raw.shape:
        raise DataError(f"{name} should be [faces, dimension] with at least one face, got shape {raw.shape}")
    if raw.dtype.kind not in "fiub":
        raise DataError(f"{name} should hold numbers, got {raw.dtype}")
    matrix: npt.NDArray[np.floating[Any]] = raw.astype(np.float32 if raw.dtype == np.float32 else np.float64)
    if ignore is not None:
        matrix[ignore] = 0.0
    # Dividing by the largest entry first keeps the square of a huge or tiny row from overflowing or
    # vanishing.
    largest = np.abs(matrix).max(axis=1, keepdims=True)
    if not np.isfinite(largest).all():
        row = first_row + int(np.flatnonzero(~np.isfinite(largest[:, 0]))[0])
        raise DataError(f"{name} holds a NaN or infinity in row {row}", mend="find out which face gave it")
    zero = largest[:, 0] == 0.0
    unexpected = zero if ignore is None else zero & ~ignore
    if unexpected.any():
        row = first_row + int(np.flatnonzero(unexpected)[0])
        raise DataError(
            f"{name} is a zero vector in row {row}: it has no direction",
            mend="if no face was found there, say so in `absent`",
        )
    largest[zero] = 1.0
    matrix /= largest
    norm = np.linalg.norm(matrix, axis=1, keepdims=True)
    norm[zero] = 1.0
    matrix /= norm
    return matrix


def bool_vector(value: Any, name: str, length: int) -> BoolArray:
    """Flags as bool [length]; 0 and 1 are accepted, any other number is a :class:`DataError`.

    Example:
        >>> bool_vector([1, 0], "same", 2).tolist()
        [True, False]
    """
    flags = as_array(value, name)
    if flags.shape != (length,):
        raise DataError(f"{name} should have shape ({length},), one flag a pair, got {flags.shape}")
    if flags.dtype != np.bool_ and not np.isin(flags, (0, 1)).all():
        row = int(np.flatnonzero(~np.isin(flags, (0, 1)))[0])
        raise DataError(f"{name} holds {flags[row]!r} at row {row}, expected 0 or 1")
    return flags.astype(np.bool_)


def label_numbers(**named: Any) -> tuple[IntArray, ...]:
    """Labels of several lists as whole numbers from 0, equal where the labels are; shapes are kept.

    Example:
        >>> [numbers.tolist() for numbers in label_numbers(probes=["b", "a"], gallery=["b", "c"])]
        [[1, 0], [1, 2]]
    """
    lists = {name: as_array(labels, name) for name, labels in named.items()}
    kinds = {name: "numbers" if labels.dtype.kind in "iufb" else "names" for name, labels in lists.items()}
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{name} hold {kind}" for name, kind in kinds.items())
        raise DataError(f"{told}; expected one kind of label")
    _, numbers = np.unique(np.concatenate([labels.ravel() for labels in lists.values()]), return_inverse=True)
    ends = np.cumsum([labels.size for labels in lists.values()])[:-1]
    parts = np.split(numbers.astype(np.int64), ends)
    return tuple(part.reshape(labels.shape) for part, labels in zip(parts, lists.values(), strict=True))
