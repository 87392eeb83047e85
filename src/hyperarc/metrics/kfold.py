"""K-fold accuracy of pairs: the rule of LFW, CFP-FP, AgeDB-30, CALFW, CPLFW and YTF.

The distance of a pair is the squared Euclidean distance of its L2-normalised embeddings, 2 - 2 cos, in 0..4.
A pair is called "same" iff distance < threshold (strict). The threshold of a fold comes from the other folds
alone. Embeddings come as they are meant to be compared: with the flip test, already summed over a face and
its mirror.

Absent faces: a pair one of whose faces was not detected is flagged in ``absent``. Whatever its rows hold, it
is scored with cosine 0 (distance 2), stays in its fold, and is counted and listed in the result, so that a
detector that drops hard faces cannot raise the accuracy by dropping them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import BoolArray, FloatArray, IntArray, as_array, bool_vector, embedding_matrix

ABSENT_DISTANCE = 2.0


@dataclass(frozen=True, eq=False)
class KFold:
    """Accuracy over folds.

    Attributes:
        mean: mean of the fold accuracies, in 0..1.
        std: their population standard deviation (divisor: number of folds), as published tables use.
        fold_accuracies: [folds].
        thresholds: [folds] squared distances, each chosen on the other folds.
        grid, tpr, fpr: [400] tried thresholds and the rates there, averaged over the held-out folds as the
            released evaluation does; a fold without genuine (impostor) pairs counts as rate 0.
        pair_count: pairs judged, absent ones included.
        absent_pairs: rows of the absent pairs.
    """

    mean: float
    std: float
    fold_accuracies: FloatArray
    thresholds: FloatArray
    grid: FloatArray
    tpr: FloatArray
    fpr: FloatArray
    pair_count: int
    absent_pairs: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ValAtFar:
    """Validation rate at a false accept rate, over folds.

    Attributes:
        mean, std: validation rate (share of genuine pairs accepted), mean and population standard deviation
            over the folds that hold genuine pairs.
        far_mean: false accept rate measured on the held-out folds, over those that hold impostor pairs.
        target: false accept rate asked of the training folds.
        fold_val, fold_far, thresholds: [folds]; NaN where a fold has no pair of that kind.
    """

    mean: float
    std: float
    far_mean: float
    target: float
    fold_val: FloatArray
    fold_far: FloatArray
    thresholds: FloatArray


@dataclass(frozen=True, eq=False)
class Cells:
    """Pairs by the fold and the first grid threshold that accepts them.

    Attributes:
        cell: [pairs] fold * (thresholds + 1) + threshold; genuine: [pairs] bool.
        folds, thresholds: how many there are.
    """

    cell: IntArray
    genuine: BoolArray
    folds: int
    thresholds: int

    @classmethod
    def of(cls, distances: FloatArray, genuine: BoolArray, fold_of: IntArray, grid: FloatArray) -> Cells:
        """Of pairs with these distances [pairs], kinds and folds."""
        cell = fold_of * (grid.size + 1) + np.searchsorted(grid, distances, side="right")
        return cls(cell, genuine, int(fold_of.max()) + 1, grid.size)


@dataclass(frozen=True, eq=False)
class Accepted:
    """Per fold and grid threshold, how many genuine and impostor pairs have distance < threshold."""

    genuine: IntArray  # [folds, thresholds]
    impostor: IntArray  # [folds, thresholds]
    genuine_count: IntArray  # [folds]
    impostor_count: IntArray  # [folds]


def contiguous_folds(pair_count: int, folds: int) -> IntArray:
    """Fold index of each pair for blocks in file order; sizes differ by at most one, the first ones are
    larger.

    Raises:
        DataError: fewer than two folds, or fewer pairs than folds.

    Example:
        >>> contiguous_folds(5, 2).tolist()
        [0, 0, 0, 1, 1]
    """
    if folds < 2:
        raise DataError(f"expected at least 2 folds, got {folds}", mend="10 is the usual number")
    if pair_count < folds:
        raise DataError(f"{pair_count} pairs cannot fill {folds} folds", mend="use fewer folds or more pairs")
    sizes = np.full(folds, pair_count // folds, dtype=np.int64)
    sizes[: pair_count % folds] += 1
    return np.repeat(np.arange(folds, dtype=np.int64), sizes)


def fold_indices(folds: Any, pair_count: int) -> IntArray:
    """Fold index of each pair from a fold count (contiguous blocks) or from given indices 0..F-1.

    Example:
        >>> fold_indices([0, 1, 0], 3).tolist()
        [0, 1, 0]
    """
    given = as_array(folds, "folds")
    if given.dtype.kind not in "iu":
        raise DataError(f"folds should be a whole number or whole numbers, got {given.dtype}")
    if given.ndim == 0:
        return contiguous_folds(pair_count, int(given))
    if given.shape != (pair_count,):
        raise DataError(f"folds should have shape ({pair_count},), one index a pair, got {given.shape}")
    present = np.unique(given)
    if present.size < 2 or not np.array_equal(present, np.arange(present.size)):
        gaps = np.flatnonzero(present != np.arange(present.size))
        told = f"fold {gaps[0]} is empty" if gaps.size else "there is one fold alone"
        raise DataError(f"fold indices should cover 0..F-1 with F >= 2, got {present.tolist()[:12]}: {told}")
    return given.astype(np.int64)


def pair_distances(embeddings_a: Any, embeddings_b: Any, absent: Any = None) -> FloatArray:
    """Squared Euclidean distance of the normalised rows, float64 [pairs] in 0..4; absent pairs get 2.

    Example:
        >>> pair_distances([[2.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [3.0, 0.0]]).tolist()
        [2.0, 0.0]
    """
    left, right = as_array(embeddings_a, "embeddings_a"), as_array(embeddings_b, "embeddings_b")
    if left.shape != right.shape:
        raise DataError(f"embeddings_a has shape {left.shape}, embeddings_b {right.shape}; expected the same")
    count = left.shape[0] if left.ndim else 0
    gone = np.zeros(count, dtype=np.bool_) if absent is None else bool_vector(absent, "absent", count)
    left = embedding_matrix(np.asarray(left, dtype=np.float64), "embeddings_a", ignore=gone)
    right = embedding_matrix(np.asarray(right, dtype=np.float64), "embeddings_b", ignore=gone)
    distances = np.square(left - right).sum(axis=1)
    distances[gone] = ABSENT_DISTANCE
    return np.asarray(distances, dtype=np.float64)


def val_and_far(distances: Any, same: Any, threshold: float) -> tuple[float, float]:
    """Shares of genuine and of impostor pairs with distance < ``threshold``.

    Example:
        >>> val_and_far([0.2, 0.9, 1.5], [True, False, False], threshold=1.0)
        (1.0, 0.5)
    """
    measured = as_array(distances, "distances")
    labels = _both_classes(same, measured.shape[0])
    accepted = measured < threshold
    return float(accepted[labels].mean()), float(accepted[~labels].mean())


def kfold_accuracy(embeddings_a: Any, embeddings_b: Any, same: Any, folds: Any = 10, *, absent: Any = None) -> KFold:
    """Accuracy of "same person?" under the k-fold rule of LFW.

    Tries 0, 0.01, ..., 3.99; of the thresholds best on the other folds the first one is used.

    Args:
        embeddings_a, embeddings_b: [pairs, d], row i against row i; any scale, they are L2-normalised here.
        same: [pairs] bool, one person or two.
        folds: number of contiguous blocks in file order (default 10), or the fold index of each pair.
        absent: [pairs] bool, pairs with an undetected face; None means none. The rule stands above.

    Raises:
        DataError: NaN or infinity or an unflagged zero vector (its row is named), shapes that differ, labels
            of one class, fewer pairs than folds.

    Example:
        >>> a = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
        >>> b = [[1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [1.0, 0.0]]
        >>> kfold_accuracy(a, b, [True, False, True, False], folds=2).mean
        1.0
    """
    distances = pair_distances(embeddings_a, embeddings_b, absent)
    labels = _both_classes(same, distances.size)
    fold_of = fold_indices(folds, distances.size)
    grid = np.arange(0, 4, 0.01)
    accepted = count_accepted(Cells.of(distances, labels, fold_of, grid))
    accuracies, best = fold_accuracies(accepted)
    gone = () if absent is None else np.flatnonzero(bool_vector(absent, "absent", distances.size)).tolist()
    return KFold(
        mean=float(accuracies.mean()),
        std=float(accuracies.std()),
        fold_accuracies=accuracies,
        thresholds=grid[best],
        grid=grid,
        tpr=_share(accepted.genuine, accepted.genuine_count[:, None], 0.0).mean(axis=0),
        fpr=_share(accepted.impostor, accepted.impostor_count[:, None], 0.0).mean(axis=0),
        pair_count=distances.size,
        absent_pairs=tuple(gone),
    )


def val_at_far(
    embeddings_a: Any, embeddings_b: Any, same: Any, folds: Any = 10, *, far: float = 1e-3, absent: Any = None
) -> ValAtFar:
    """Validation rate where the training folds keep their false accept rate at or below ``far``.

    The threshold of a fold is the largest of 0, 0.001, ..., 3.999 whose false accept rate on the other folds
    is <= ``far``. The released code interpolates linearly instead, which a step function does not define.

    Args and errors as :func:`kfold_accuracy`; ``far`` is a share in 0..1.

    Example:
        >>> a = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
        >>> b = [[1.0, 0.1], [0.0, 1.0], [0.1, 1.0], [1.0, 0.0]]
        >>> val_at_far(a, b, [True, False, True, False], folds=2).mean
        1.0
    """
    if not 0.0 <= far <= 1.0:
        raise DataError(f"far should lie in 0..1, got {far!r}")
    distances = pair_distances(embeddings_a, embeddings_b, absent)
    labels = _both_classes(same, distances.size)
    grid = np.arange(0, 4, 0.001)
    accepted = count_accepted(Cells.of(distances, labels, fold_indices(folds, distances.size), grid))
    training = accepted.impostor.sum(axis=0) - accepted.impostor
    training_count = accepted.impostor_count.sum() - accepted.impostor_count
    if not training_count.all():
        raise DataError("all impostor pairs lie in one fold, so no threshold can be set without it")
    # FAR never falls along the grid and is 0 at threshold 0, so the allowed thresholds are a first stretch.
    last = (training / training_count[:, None] <= far).sum(axis=1) - 1
    rows = np.arange(last.size)
    fold_val = _share(accepted.genuine[rows, last], accepted.genuine_count, np.nan)
    fold_far = _share(accepted.impostor[rows, last], accepted.impostor_count, np.nan)
    return ValAtFar(
        mean=float(np.nanmean(fold_val)),
        std=float(np.nanstd(fold_val)),
        far_mean=float(np.nanmean(fold_far)),
        target=far,
        fold_val=fold_val,
        fold_far=fold_far,
        thresholds=grid[last],
    )


def fold_accuracies(accepted: Accepted) -> tuple[FloatArray, IntArray]:
    """Accuracy [folds] under the threshold that is best on the other folds, and its place in the grid [folds].

    The accuracy of a fold without pairs is NaN.
    """
    # Whole numbers of correct decisions, so that equal accuracies are equal exactly and "first" has a meaning.
    right = accepted.genuine + accepted.impostor_count[:, None] - accepted.impostor
    best = np.argmax(right.sum(axis=0) - right, axis=1)
    sizes = accepted.genuine_count + accepted.impostor_count
    return _share(right[np.arange(best.size), best], sizes, np.nan), best


def _both_classes(same: Any, pair_count: int) -> BoolArray:
    labels = bool_vector(same, "same", pair_count)
    if labels.all() or not labels.any():
        kind = "genuine" if labels.size and labels.all() else "impostor"
        raise DataError(f"all {labels.size} pairs are {kind}, expected genuine and impostor pairs")
    return labels


def count_accepted(cells: Cells, weights: IntArray | None = None) -> Accepted:
    """Counts for all folds and thresholds at once: a histogram over the grid, summed up along it.

    ``weights`` [pairs] says how often each pair counts; None is once each.
    """
    columns = cells.thresholds + 1

    def count(chosen: BoolArray) -> tuple[IntArray, IntArray]:
        times = None if weights is None else weights[chosen]
        table = np.bincount(cells.cell[chosen], times, cells.folds * columns).reshape(cells.folds, columns)
        return np.cumsum(table[:, :-1], axis=1), table.sum(axis=1)

    (genuine, genuine_count), (impostor, impostor_count) = count(cells.genuine), count(~cells.genuine)
    return Accepted(genuine, impostor, genuine_count, impostor_count)


def _share(part: IntArray, whole: IntArray, empty: float) -> FloatArray:
    """part / whole, and ``empty`` where whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, empty)
