"""Recipes: everything a training run depends on, in one validated YAML file."""

from hyperarc.recipe.sections import (
    AdaptiveSampler,
    Data,
    Distillation,
    DrawnData,
    Evaluation,
    Noise,
    Optimizer,
    PeopleTable,
    Recipe,
    Sampler,
    Schedule,
    ShardSampler,
    SourceData,
    Training,
)

__all__ = [
    "AdaptiveSampler",
    "Data",
    "Distillation",
    "DrawnData",
    "Evaluation",
    "Noise",
    "Optimizer",
    "PeopleTable",
    "Recipe",
    "Sampler",
    "Schedule",
    "ShardSampler",
    "SourceData",
    "Training",
]
