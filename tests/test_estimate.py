"""The estimate of a training's memory: hand-computed parts, laws, and what the command tells."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from hyperarc.backbones import create_backbone
from hyperarc.recipe import Data, DrawnData, Recipe
from hyperarc.recipe.sections import Backbone, HeadSection, Optimizer, Training
from hyperarc.training.estimate import Estimate, Load, estimate, relieved

DRAWN = Data(drawn=DrawnData(people=10))


def recipe(**sections: Any) -> Recipe:
    small = Backbone(name="iresnet_tiny", embedding_dim=64)
    return Recipe(**{"name": "mine", "data": DRAWN, "backbone": small, **sections})


def test_centers_by_hand() -> None:
    people = 100_000
    held = {
        "plain": (recipe(), 1, 12 * people * 64),
        "four processes": (recipe(), 4, 12 * people * 64 // 4),
        "no momentum": (recipe(optimizer=Optimizer(momentum=0)), 1, 8 * people * 64),
        "AdamW": (recipe(optimizer=Optimizer(name="adamw")), 1, 16 * people * 64),
        "in backward": (recipe(optimizer=Optimizer(update_in_backward=True)), 1, 8 * people * 64),
        "sub-centers": (recipe(head=HeadSection(sub_centers=3)), 1, 3 * 12 * people * 64 + 3 * 4 * people),
        "margins": (recipe(head=HeadSection(margin="adaptiveface")), 1, 12 * people * 64 + 12 * people),
    }
    for name, (content, processes, expected) in held.items():
        assert estimate(content, Load(people, processes)).centers == expected, name


def test_sampled_centers_are_copies() -> None:
    found = estimate(recipe(head=HeadSection(sample_rate=0.1)), Load(100_000))
    assert found.sampled == 10_000 * 64 * 4 * 2
    assert estimate(recipe(), Load(100_000)).sampled == 0


def test_backbone_is_that_of_its_weights() -> None:
    backbone = create_backbone("iresnet_tiny", embedding_dim=64)
    own = sum(one.numel() * one.element_size() for one in (*backbone.parameters(), *backbone.buffers()))
    found = estimate(recipe(training=Training(ema=0.99)), Load(100))
    assert (found.backbone, found.ema) == (3 * own, own)


def test_activations_by_hand() -> None:
    """More faces hold more, in proportion; half as many bytes a number hold about half as much."""
    sizes = {b: estimate(recipe(training=Training(batch_size=b)), Load(100)).activations for b in (32, 64, 256)}
    assert sizes[64] == pytest.approx(2 * sizes[32], rel=0.02)
    assert sizes[256] == 4 * sizes[64]
    content = recipe(training=Training(batch_size=64))
    assert estimate(content, Load(100, 2)).activations == pytest.approx(sizes[32], rel=0.02)
    halved = estimate(content, Load(100, dtype=torch.bfloat16)).activations
    assert 0.4 < halved / sizes[64] < 0.7
    # the first convolution alone keeps its input and its output
    assert sizes[64] > 64 * 4 * (3 * 112 * 112 + 16 * 56 * 56)


def test_recomputing_holds_less() -> None:
    plain, less = (
        estimate(recipe(backbone=Backbone(name="iresnet34", arguments={"checkpoint": on})), Load(100)).activations
        for on in (False, True)
    )
    assert less < 0.7 * plain


def test_parts_add_up() -> None:
    found = estimate(recipe(), Load(1000))
    assert isinstance(found, Estimate)
    assert found.rows()[-1] == ("total", sum(value for name, value in found.rows()[:-1]))


def test_every_change_lowers_the_whole() -> None:
    content, load = recipe(head=HeadSection(sample_rate=0.5)), Load(1_000_000)
    whole = estimate(content, load).total
    changes = {change: estimate(other, elsewhere).total for change, other, elsewhere in relieved(content, load)}
    assert {"optimizer.update_in_backward=true", "training.accumulate=2", "2 processes"} <= changes.keys()
    assert all(total < whole for total in changes.values()), changes


def test_command(run: Any) -> None:
    ran = run("train", "demo", "--estimate", "--people", 1_000_000, "--memory-gb", 1, "--json", "--quiet")
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["people"] == 1_000_000
    assert not told["fits"]
    assert told["bytes"]["total"] > told["limit_bytes"]
    assert {change["fits"] for change in told["changes"]} == {True, False}
    ran = run("train", "demo", "--estimate", "--people", 100)
    assert ran.code == 0
    assert "fits into" in ran.out
    assert "in all, a process" in ran.out


def test_people_are_counted_from_the_data(run: Any) -> None:
    few = ("data.drawn.people=12", "data.drawn.faces_per_person=2")
    ran = run("train", "demo", *few, "--estimate", "--json", "--quiet")
    assert json.loads(ran.out)["people"] == 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--processes", 7, "--people", 10), "cannot be shared by 7 processes"),
        (("--people", 1), "expected at least 2 people"),
        (("--people", 10, "--memory-gb", 0), "expected GiB above 0"),
    ],
)
def test_bad_plans(words: tuple[Any, ...], message: str, run: Any) -> None:
    ran = run("train", "demo", "--estimate", *words)
    assert ran.code == 2
    assert message in ran.err
