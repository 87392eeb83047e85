"""What a study of splits asks of a trained model besides how it verifies people whom it never saw."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from scipy.stats import spearmanr

from hyperarc.artifact import open_artifact
from hyperarc.data.drawn import (
    NUISANCE_NAMES,
    Conditions,
    class_sizes,
    draw_faces,
    draw_nuisances,
    draw_people,
    set_nuisances,
)
from hyperarc.data.drawn.source import FACES_TO_JUDGE, drawn_source
from hyperarc.encoder import Encoder
from hyperarc.geometry import unit
from hyperarc.recipe import DrawnData, Recipe

FRESH = 6  # new faces of each trained person
HEAD, TAIL = 0.1, 0.5  # shares of the people, those with the most and the fewest faces
BATCHES = 50  # over which the classes swept are averaged

Counts = NDArray[np.int64]


def measure_tail(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """New faces of the trained people found by the nearest center, learned margins, classes swept, faces asked for.

    ``head`` are the tenth of the people with the most faces, ``tail`` the half with the fewest.
    """
    drawn = recipe.data.drawn
    assert drawn is not None
    artifact = open_artifact(folder / "artifact")
    people = np.array([int(name.removeprefix("person")) for name in artifact.people()])
    faces = class_sizes(drawn.people, drawn.faces_per_person, drawn.tail_exponent, drawn.seed)[people]
    groups = groups_of(faces)
    head = artifact.head()
    vectors = torch.from_numpy(artifact.encoder().embed(fresh_faces(drawn.people, drawn.seed)).vectors)
    labels = np.argsort(people)[np.repeat(np.arange(drawn.people), FRESH)]
    found = (unit(vectors) @ unit(head.centers.weight[:, 0]).T).argmax(dim=1).numpy() == labels
    measures: dict[str, Any] = {name: float(found[group[labels]].mean()) for name, group in groups.items()}
    if isinstance(margins := getattr(head.margin, "margins", None), torch.Tensor):
        learned = margins.detach().double().numpy()
        measures["margins"] = {"faces": faces.tolist(), "learned": learned.round(4).tolist()}
        measures["margin_means"] = {name: float(learned[group].mean()) for name, group in groups.items()}
        measures["margin_by_faces"] = rank_correlation(learned, faces)
    if head.centers.prototypes is not None:
        rng, owners = np.random.default_rng(0), np.repeat(np.arange(len(faces)), faces)
        batches = [torch.from_numpy(rng.choice(owners, recipe.training.batch_size)) for _ in range(BATCHES)]
        swept = [len(head.centers.prototypes.select(batch, head.centers.shard())) for batch in batches]
        measures["swept"] = float(np.mean(swept)) / len(faces)
        measures["own"] = float(np.mean([len(batch.unique()) for batch in batches])) / len(faces)
    if recipe.data.sampler.adaptive is not None:
        measures["weights"] = asked_for(folder, faces, groups)
    return measures


def groups_of(faces: Counts) -> dict[str, NDArray[np.bool_]]:
    """Head, middle and tail of the people, by their number of faces."""
    place = np.empty(len(faces))
    place[np.argsort(-faces, kind="stable")] = (np.arange(len(faces)) + 0.5) / len(faces)
    head, tail = place < HEAD, place > 1 - TAIL
    return {"head": head, "middle": ~(head | tail), "tail": tail}


@lru_cache(maxsize=1)
def fresh_faces(people: int, seed: int) -> NDArray[np.uint8]:
    """Faces of the people of a drawn set that are not in the set, person by person."""
    scenes = draw_nuisances(people * FRESH, np.random.default_rng([seed, 9]))
    return draw_faces(np.repeat(draw_people(people, seed), FRESH, axis=0), scenes, seed).images


def asked_for(folder: Path, faces: Counts, groups: dict[str, NDArray[np.bool_]]) -> dict[str, float]:
    """Share of the draws that adaptive sampling gave each group in the end, over the group's share of the faces."""
    newest = max((folder / "checkpoints").glob("step-*.safetensors"))
    with safe_open(newest, framework="np") as file:
        weights = file.get_tensor("order.weights")
    owners = np.repeat(np.arange(len(faces)), faces)
    return {name: float(weights[group[owners]].mean() / weights.mean()) for name, group in groups.items()}


def measure_quality(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """How the norm of an embedding follows the quality of the picture, on the people whom the model is judged by.

    ``shorter`` is the share of scenes whose picture by the bad camera has the shorter norm: a half by chance. The
    others are rank correlations of the norm among the bad camera's pictures: with their resolution, and with sharpness
    (the less blur the larger).
    """
    encoder = open_artifact(folder / "artifact").encoder()
    usual, poor = (_norms(encoder, recipe, share) for share in (0.0, 1.0))
    judged = recipe.evaluation[0]
    scenes = set_nuisances(np.full(judged.people, FACES_TO_JUDGE), judged.seed, Conditions(low_quality_share=1.0))
    of = {name: scenes[:, column] for column, name in enumerate(NUISANCE_NAMES)}
    return {
        "shorter": float((poor < usual).mean()),
        "by_resolution": rank_correlation(poor, of["resolution_px"]),
        "by_sharpness": rank_correlation(poor, -of["blur_px"]),
        "norms": {"usual": float(usual.mean()), "poor": float(poor.mean())},
    }


def _norms(encoder: Encoder, recipe: Recipe, low_quality: float) -> NDArray[np.float32]:
    judged = recipe.evaluation[0]
    wanted = {"people": judged.people, "faces_per_person": FACES_TO_JUDGE, "seed": judged.seed}
    source = drawn_source(DrawnData(**wanted, low_quality=low_quality))
    return encoder.embed(source.images).norms


def rank_correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Spearman's; 0 where one of the two does not vary."""
    return float(spearmanr(one, other).statistic) if np.ptp(one) and np.ptp(other) else 0.0
