"""From an embedding back to a face, by the gradients and the BatchNorm statistics of a trained model alone."""

from hyperarc.inversion.batch_norm import BatchNormPrior
from hyperarc.inversion.goals import ClassGoal, EmbeddingGoal, Goal
from hyperarc.inversion.inversion import Inversion
from hyperarc.inversion.pixels import to_pixels
from hyperarc.inversion.priors import (
    Priors,
    image_norm,
    out_of_range,
    shortness,
    total_variation,
    usual_length,
)
from hyperarc.inversion.search import Search

__all__ = [
    "BatchNormPrior",
    "ClassGoal",
    "EmbeddingGoal",
    "Goal",
    "Inversion",
    "Priors",
    "Search",
    "image_norm",
    "out_of_range",
    "shortness",
    "to_pixels",
    "total_variation",
    "usual_length",
]
