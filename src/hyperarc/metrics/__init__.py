"""Pure numbers: verification, k-fold accuracy, identification, angles. Only numpy is needed."""

from hyperarc.metrics.angles import (
    AngleHistogram,
    AngleStatistics,
    angle,
    angle_histogram,
    angle_statistics,
    embedding_centers,
)
from hyperarc.metrics.identification import nearest_rows, rank1
from hyperarc.metrics.kfold import (
    KFold,
    ValAtFar,
    contiguous_folds,
    kfold_accuracy,
    pair_distances,
    val_and_far,
    val_at_far,
)
from hyperarc.metrics.verification import Det, Roc, auc, det, eer, roc, tar_at_far, threshold_at_far

__all__ = [
    "AngleHistogram",
    "AngleStatistics",
    "Det",
    "KFold",
    "Roc",
    "ValAtFar",
    "angle",
    "angle_histogram",
    "angle_statistics",
    "auc",
    "contiguous_folds",
    "det",
    "eer",
    "embedding_centers",
    "kfold_accuracy",
    "nearest_rows",
    "pair_distances",
    "rank1",
    "roc",
    "tar_at_far",
    "threshold_at_far",
    "val_and_far",
    "val_at_far",
]
