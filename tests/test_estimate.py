"""The estimate of a training's memory: hand-computed parts, laws, and what the command tells."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from hyperarc.backbones import create_backbone
from hyperarc.heads.sweep import Plan, Precision, SweepSize, footprint
from hyperarc.heads.sweep.fused_memory import fused_footprint
from hyperarc.recipe import Data, DrawnData, Recipe
from hyperarc.recipe.sections import Backbone, HeadSection, Optimizer, Training
from hyperarc.training.estimate import Estimate, Load, estimate, relieved, sweep_of

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


def test_activations_are_what_torch_takes() -> None:
    """Of real numbers, by torch's profiler: forward and backward beside weights, gradients and the batch."""
    content = recipe(training=Training(batch_size=8))
    backbone = create_backbone("iresnet_tiny", embedding_dim=64).train()
    faces = torch.randn(8, 3, 112, 112)
    backbone(faces).sum().backward()  # gradients stand
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        backbone(faces).sum().backward()
    held = peak = 0
    for event in profiler.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    assert estimate(content, Load(100)).activations == pytest.approx(peak, rel=0.15)


def test_holes_are_larger_where_the_heap_is_kept() -> None:
    kept, freed = (estimate(recipe(training=Training(keep_heap=on)), Load(100)) for on in (True, False))
    assert (kept.holes, freed.holes) == (kept.activations * 3 // 4, kept.activations // 3)
    assert estimate(recipe(), Load(100, device="cuda")).holes == freed.holes


def test_the_sweep_is_the_one_that_would_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU with Triton the fused, and the chunked for a margin that the kernels do not know."""
    monkeypatch.setattr("hyperarc.heads.sweep.choice.can_fuse", lambda device: True)
    people, fused, binary = 1_000_000, recipe(), recipe(head=HeadSection(margin="sphereface2"))
    gpu = Load(people, device="cuda")
    assert [sweep_of(*one)[0] for one in ((fused, Load(people)), (fused, gpu), (binary, gpu))] == [
        "chunked", "fused", "chunked",
    ]  # fmt: skip
    with torch.device("meta"):
        rows, weight = torch.empty(128, 64), torch.empty(people, 1, 64)
    bf16 = Precision(torch.bfloat16, torch.bfloat16)
    assert estimate(fused, gpu).sweep == fused_footprint(rows, weight, Plan(memory_mb=176, precision=bf16)) + 65_536
    chunked = SweepSize(128, people, 64, memory_mb=176, product_bytes=2, kept_bytes=2, maps_negatives=True)
    assert estimate(binary, gpu).sweep == footprint(chunked).total + 65_536


def test_margins_that_map_negatives_take_more() -> None:
    """Blocks of the chunked sweep are twice as large; of few people all of it shows."""
    plain, mapped = (
        estimate(recipe(head=HeadSection(margin=name, memory_mb=16)), Load(20_000)).sweep
        for name in ("arcface", "curricularface")
    )
    assert mapped > plain


def test_parts_add_up() -> None:
    found = estimate(recipe(), Load(1000))
    assert isinstance(found, Estimate)
    assert found.rows()[-1] == ("total", sum(value for name, value in found.rows()[:-1]))


def test_every_change_lowers_the_whole() -> None:
    content, load = recipe(head=HeadSection(sample_rate=0.5)), Load(1_000_000)
    whole = estimate(content, load).total
    changes = {change: estimate(other, elsewhere).total for change, other, elsewhere in relieved(content, load)}
    told = {"training.keep_heap=false", "optimizer.update_in_backward=true", "training.accumulate=2", "2 processes"}
    assert told <= changes.keys()
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


def test_a_gpu_that_is_not_here(run: Any) -> None:
    """In bf16, as a GPU does; nothing of it needs one."""
    ran = run("train", "demo", "--estimate", "--people", 9_000_000, "--device", "cuda", "--memory-gb", 2)
    assert ran.code == 0, ran.err
    assert "backbone in bfloat16 on cuda" in ran.out
    assert "does not fit into 2.0 GiB" in ran.out
    assert "sample_rate below 1 saves time and no memory" in ran.out


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
        (("--people", 10, "--memory-gb", 8, "--device", "gpu"), "expected device cpu or cuda, got gpu"),
    ],
)
def test_bad_plans(words: tuple[Any, ...], message: str, run: Any) -> None:
    ran = run("train", "demo", "--estimate", *words)
    assert ran.code == 2
    assert message in ran.err
