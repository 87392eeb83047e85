"""Drawn faces as a source to train on, and as pairs to judge by."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from hyperarc.data.drawn import Conditions, draw_set
from hyperarc.data.sources import ArraySource
from hyperarc.recipe import DrawnData

FACES_TO_JUDGE = 8  # of each person: 28 genuine pairs to choose from
FOLDS = 10


@lru_cache(maxsize=3)  # of a comparison, whose runs train on, put in as strangers, and judge on the same sets
def drawn_source(recipe: DrawnData, name: str = "drawn", prefix: str = "person") -> ArraySource:
    """The faces that a recipe asks for; persons are named by a prefix and their label.

    Example:
        >>> drawn_source(DrawnData(people=2, faces_per_person=3)).scan().class_counts().tolist()
        [3, 3]
    """
    faces = draw_set(
        recipe.people,
        recipe.faces_per_person,
        seed=recipe.seed,
        conditions=Conditions(low_quality_share=recipe.low_quality),
        tail_exponent=recipe.tail_exponent,
    )
    return ArraySource(faces.images, [f"{prefix}{label:06d}" for label in faces.labels.tolist()], name=name)


def drawn_pairs(
    people: int, seed: int, low_quality: float = 0.0
) -> tuple[list[str], list[str], list[bool], ArraySource]:
    """Keys of first and second faces, "same person" flags, and the source that holds them.

    12 pairs a person, half of them genuine, mixed so that each of 10 contiguous folds holds as many of either kind.
    All people are drawn from ``seed``, so that a seed never trained on gives people never seen. A share ``low_quality``
    of the same scenes is taken with a bad camera; pairs stay the same.

    Example:
        >>> first, second, same, source = drawn_pairs(people=10, seed=1)
        >>> len(same), sum(same)
        (120, 60)
    """
    wanted = DrawnData(people=people, faces_per_person=FACES_TO_JUDGE, seed=seed, low_quality=low_quality)
    source = drawn_source(wanted)
    keys = np.array(source.scan().column("face").tolist()).reshape(people, FACES_TO_JUDGE)
    rng = np.random.default_rng([seed, 77])
    first: list[str] = []
    second: list[str] = []
    same: list[bool] = []
    for person in rng.permutation(people).tolist():
        for _ in range(6):
            one, two = rng.choice(FACES_TO_JUDGE, 2, replace=False)
            other = (person + rng.integers(1, people)) % people
            first += [str(keys[person, one]), str(keys[person, one])]
            second += [str(keys[person, two]), str(keys[other, rng.integers(FACES_TO_JUDGE)])]
            same += [True, False]
    return first, second, same, source
