"""Recipes: everything a training run depends on, in one validated YAML file."""

from hyperarc.recipe.sections import (
    AdaptiveSampler,
    Backbone,
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
    "Backbone",
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
