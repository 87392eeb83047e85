"""Every shipped recipe of a loss builds, and makes three real steps on drawn faces with a small backbone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from hyperarc.commands.train import new_state
from hyperarc.contract import Contract
from hyperarc.data.drawn.source import drawn_source
from hyperarc.data.loader import Loader
from hyperarc.data.training_set import TrainingSet
from hyperarc.heads.head import structures
from hyperarc.margins import margin_names
from hyperarc.recipe import DrawnData, Recipe
from hyperarc.recipe.file import load_recipe, recipe_names
from hyperarc.training.checkpoint import Checkpoints
from hyperarc.training.hardware import choose_hardware
from hyperarc.training.loop import Plan, train
from hyperarc.training.watch import Row

LOSSES = [name for name in recipe_names() if name.startswith("casia_r50_")]
SMALL = [
    "data.sources=[]",
    "data.drawn={people: 8, faces_per_person: 3}",
    "backbone.name=iresnet_tiny",
    "backbone.embedding_dim=16",
    "training.batch_size=8",
    "training.precision=fp32",
    "optimizer.lr=0.01",
]


class Rows:
    def __init__(self) -> None:
        self.rows: list[Row] = []

    def __call__(self, row: Row) -> None:
        self.rows.append(row)

    def close(self) -> None:
        """Nothing to close."""


def three_steps(recipe: Recipe, folder: Path) -> list[Row]:
    source = drawn_source(DrawnData(people=8, faces_per_person=3))
    hardware = choose_hardware(recipe.training)
    state = new_state(recipe, 8, hardware)
    faces = TrainingSet((source,), source.scan(), source.scan())
    state.order = faces.order(recipe.data.sampler, recipe.training.batch_size, recipe.seed)
    loader = Loader(source, faces.kept, state.order, stop_step=3)
    plan = Plan(recipe, Contract(embedding_dim=16), hardware, 10, lambda step: 1.0, lambda batch: ["faces"])
    rows = Rows()
    assert train(state, plan, loader, [rows], Checkpoints(folder, recipe))
    return rows.rows


@pytest.mark.parametrize("name", LOSSES)
def test_three_steps(name: str, tmp_path: Path) -> None:
    rows = three_steps(load_recipe(name, SMALL), tmp_path)
    assert len(rows) == 3
    assert all(math.isfinite(float(row["loss"])) and float(row["gradient_norm"]) > 0 for row in rows)


def test_every_loss_has_a_recipe() -> None:
    used = {load_recipe(name).head.margin for name in LOSSES}
    assert used == {*margin_names(), *structures.names()}


@pytest.mark.parametrize("name", LOSSES)
def test_names_and_sources(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.backbone.name == "iresnet50"
    assert len(recipe.description) > 40, "say where the numbers come from"
