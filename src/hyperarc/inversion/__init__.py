"""From an embedding back to a face, by the gradients and the BatchNorm statistics of a trained model alone."""

from hyperarc.inversion.batch_norm import BatchNormPrior
from hyperarc.inversion.goals import ClassGoal, EmbeddingGoal, Goal
from hyperarc.inversion.inversion import Inversion
from hyperarc.inversion.leakage import Leakage, Photos, Share, Usefulness, leakage, usefulness
from hyperarc.inversion.pixels import to_pixels
from hyperarc.inversion.priors import (
    Priors,
    image_norm,
    out_of_range,
    shortness,
    total_variation,
    usual_length,
)
from hyperarc.inversion.protection import Noise, Plain, Protection, Rotation, Signs, Truncation, recover_rotation
from hyperarc.inversion.search import Search
from hyperarc.inversion.synthesis import NewTargets, arc, nearest_arcs, new_targets, turned

__all__ = [
    "BatchNormPrior",
    "ClassGoal",
    "EmbeddingGoal",
    "Goal",
    "Inversion",
    "Leakage",
    "NewTargets",
    "Noise",
    "Photos",
    "Plain",
    "Priors",
    "Protection",
    "Rotation",
    "Search",
    "Share",
    "Signs",
    "Truncation",
    "Usefulness",
    "arc",
    "image_norm",
    "leakage",
    "nearest_arcs",
    "new_targets",
    "out_of_range",
    "recover_rotation",
    "shortness",
    "to_pixels",
    "total_variation",
    "turned",
    "usefulness",
    "usual_length",
]
