"""Pure numbers: verification, identification, intervals, calibration, angles. Only numpy is needed."""

from hyperarc.metrics.angles import (
    AngleHistogram,
    AngleStatistics,
    angle,
    angle_histogram,
    angle_statistics,
    embedding_centers,
)
from hyperarc.metrics.bootstrap import Bootstrap, PeoplePairs, bootstrap_kfold, bootstrap_people
from hyperarc.metrics.calibration import (
    IsotonicMap,
    LogisticMap,
    ProbabilityMap,
    fit_isotonic,
    fit_logistic,
    probability_map,
)
from hyperarc.metrics.identification import nearest_rows, rank1
from hyperarc.metrics.intervals import Interval, clopper_pearson, effective_trials
from hyperarc.metrics.kfold import (
    KFold,
    ValAtFar,
    contiguous_folds,
    kfold_accuracy,
    pair_distances,
    val_and_far,
    val_at_far,
)
from hyperarc.metrics.rejection import ErrorReject, error_reject
from hyperarc.metrics.retrieval import average_precision, mean_average_precision
from hyperarc.metrics.scoring_rules import brier, calibration_error, cllr, log_loss
from hyperarc.metrics.searches import (
    InsightFaceTpir,
    Searches,
    Tpir,
    cmc,
    insightface_tpir,
    search_gallery,
    tpir_at_fpir,
)
from hyperarc.metrics.thresholds import OperatingPoint, operating_point, pairs_needed
from hyperarc.metrics.verification import (
    Det,
    Roc,
    auc,
    det,
    eer,
    points_at_nearest_far,
    roc,
    tar_at_far,
    tar_at_nearest_far,
    threshold_at_far,
)

__all__ = [
    "AngleHistogram",
    "AngleStatistics",
    "Bootstrap",
    "Det",
    "ErrorReject",
    "InsightFaceTpir",
    "Interval",
    "IsotonicMap",
    "KFold",
    "LogisticMap",
    "OperatingPoint",
    "PeoplePairs",
    "ProbabilityMap",
    "Roc",
    "Searches",
    "Tpir",
    "ValAtFar",
    "angle",
    "angle_histogram",
    "angle_statistics",
    "auc",
    "average_precision",
    "bootstrap_kfold",
    "bootstrap_people",
    "brier",
    "calibration_error",
    "cllr",
    "clopper_pearson",
    "cmc",
    "contiguous_folds",
    "det",
    "eer",
    "effective_trials",
    "embedding_centers",
    "error_reject",
    "fit_isotonic",
    "fit_logistic",
    "insightface_tpir",
    "kfold_accuracy",
    "log_loss",
    "mean_average_precision",
    "nearest_rows",
    "operating_point",
    "pair_distances",
    "pairs_needed",
    "points_at_nearest_far",
    "probability_map",
    "rank1",
    "roc",
    "search_gallery",
    "tar_at_far",
    "tar_at_nearest_far",
    "threshold_at_far",
    "tpir_at_fpir",
    "val_and_far",
    "val_at_far",
]
