"""All pairs, up to trillions: TAR at FAR exactly, without ever holding the matrix of scores. Needs torch."""

from hyperarc.metrics.all_pairs.count import count_pairs, count_shard, merge_counts
from hyperarc.metrics.all_pairs.people import accept_rates_of_all
from hyperarc.metrics.all_pairs.result import AllPairs, BestMatches, MissedWindowError, ScoredPair
from hyperarc.metrics.all_pairs.vectors import LabeledEmbeddings
from hyperarc.metrics.all_pairs.wanted import Execution, PairProgress, Wanted

__all__ = [
    "AllPairs",
    "BestMatches",
    "Execution",
    "LabeledEmbeddings",
    "MissedWindowError",
    "PairProgress",
    "ScoredPair",
    "Wanted",
    "accept_rates_of_all",
    "count_pairs",
    "count_shard",
    "merge_counts",
]
