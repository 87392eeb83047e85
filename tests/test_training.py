"""Schedule, optimizer, loop, log and trackers, on toys that train in milliseconds."""

from __future__ import annotations

import copy
import json
import math
import os
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hyperarc.contract import Contract
from hyperarc.data.loader import Batch, Loader
from hyperarc.data.order import BatchOrder
from hyperarc.data.sources import ArraySource
from hyperarc.encoder import model_input
from hyperarc.errors import HyperArcError, RecipeError, TrainingError
from hyperarc.heads.head import create_head
from hyperarc.recipe import Optimizer, Recipe, Schedule, Training
from hyperarc.recipe.file import parse_recipe
from hyperarc.training.checkpoint import Checkpoints
from hyperarc.training.hardware import choose_dtype, choose_hardware
from hyperarc.training.loop import Plan, train
from hyperarc.training.optimizer import clip, make_optimizer, set_rate
from hyperarc.training.schedule import rate_factor
from hyperarc.training.state import TrainingState, make_state
from hyperarc.training.watch import JsonLog, Row, open_watchers, read_log

SIZE, PEOPLE, FACES, BATCH = 16, 4, 24, 8
FIELDS = {
    "step",
    "loss",
    "target_angle_deg",
    "nearest_negative_angle_deg",
    "accuracy",
    "learning_rate",
    "gradient_norm",
    "head_gradient_norm",
    "faces_per_s",
    "cpu_s",
}


def plain_toy() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(48, 8))


def norm_toy() -> nn.Module:
    torch.manual_seed(1)
    convolutions = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.PReLU(8))
    return nn.Sequential(convolutions, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(32, 8))


def recipe_of(**sections: dict[str, Any]) -> Recipe:
    content: dict[str, Any] = {
        "name": "toy",
        "data": {"drawn": {"people": PEOPLE}},
        "head": {"margin": "arcface", "arguments": {"scale": 8.0, "margin": 0.2}},
        "schedule": {"kind": "constant", "epochs": 2},
        "training": {"batch_size": BATCH, "threads": 1, "precision": "fp32", "checkpoint_every": 1000},
    }
    for name, section in sections.items():
        content[name] = {**content.get(name, {}), **section}
    return parse_recipe(content, where="test")


class Rows(list[Row]):
    """A watcher that keeps what it is told, and may act on it."""

    def __init__(self, act: Callable[[Row], None] | None = None) -> None:
        super().__init__()
        self.act = act

    def __call__(self, row: Row) -> None:
        self.append(row)
        if self.act is not None:
            self.act(row)

    def close(self) -> None:
        pass


class Toy:
    """A recipe with all that the loop needs, in one folder."""

    def __init__(self, folder: Path, recipe: Recipe, backbone: nn.Module | None = None) -> None:
        rng = np.random.default_rng(0)
        persons = [f"person{i % PEOPLE}" for i in range(FACES)]
        images = rng.integers(0, 256, (FACES, SIZE, SIZE, 3), dtype=np.uint8)
        self.source = ArraySource(images, persons, name="noise")
        self.manifest = self.source.scan()
        self.recipe = recipe
        self.hardware = choose_hardware(recipe.training)
        head = create_head(
            recipe.head.margin,
            num_classes=PEOPLE,
            embedding_dim=8,
            seed=2,
            sample_rate=recipe.head.sample_rate,
            **recipe.head.arguments,
        )
        self.state: TrainingState = make_state(recipe, backbone or plain_toy(), head, self.hardware)
        self.checkpoints = Checkpoints(folder / "checkpoints", recipe, recipe.training.keep_checkpoints)
        self.order = BatchOrder(FACES, recipe.training.batch_size, recipe.seed)
        self.total, self.rate = rate_factor(recipe.schedule, self.order.batches_per_epoch)

    def batches(self) -> Loader:
        return Loader(
            self.source, self.manifest, self.order, start_step=self.state.step, stop_step=self.total, size=SIZE
        )

    def run(
        self, act: Callable[[Row], None] | None = None, evaluate: Callable[[int], None] | None = None, every: int = 0
    ) -> tuple[bool, Rows]:
        rows = Rows(act)

        def faces_of(batch: Batch) -> list[str]:
            return self.manifest.faces(batch.rows)

        plan = Plan(self.recipe, Contract(embedding_dim=8), self.hardware, self.total, self.rate, faces_of)
        if evaluate is not None:
            plan = Plan(*(getattr(plan, n) for n in list(Plan.__dataclass_fields__)[:6]), evaluate, every)
        return train(self.state, plan, self.batches(), [rows], self.checkpoints), rows

    def weights(self) -> dict[str, torch.Tensor]:
        parts = {"backbone": self.state.backbone, "head": self.state.head}
        if self.state.ema is not None:
            parts["ema"] = self.state.ema
        return {f"{p}.{k}": v.clone() for p, m in parts.items() for k, v in m.state_dict().items()}


def assert_same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


# ---- schedule


@pytest.mark.parametrize("case", ["lrpoly_nowarm", "lrpoly_warm", "lrpoly_pow2"])
def test_polynomial_schedule_is_arcface_torchs(shared: Path, case: str) -> None:
    index = json.loads((shared / "golden" / "index.json").read_text())
    hyper = next(c["hyper"] for c in index["cases"] + index["other"] if c["id"] == case)
    with np.load(shared / "golden" / f"{case}.npz", allow_pickle=False) as file:
        golden = file["lr"]
    schedule = Schedule(
        kind="polynomial", epochs=hyper["total_iters"], warmup_epochs=hyper["warmup_iters"], power=hyper["power"]
    )
    total, factor = rate_factor(schedule, steps_per_epoch=1)
    assert total == hyper["total_iters"]
    ours = [hyper["base_lr"] * factor(step) for step in range(len(golden))]
    np.testing.assert_allclose(ours[1:], golden[1:], rtol=1e-12, atol=1e-17)
    # arcface_torch takes its very first step at the full rate, even with a warm-up; we do not (schedule.py says so)
    assert golden[0] == hyper["base_lr"]
    assert ours[0] == pytest.approx(golden[1] if hyper["warmup_iters"] else golden[0])


def test_step_schedule_by_hand() -> None:
    total, factor = rate_factor(Schedule(kind="step", epochs=4, milestones=(1, 2.5), factor=0.1), steps_per_epoch=4)
    assert total == 16
    expected = [1.0] * 4 + [0.1] * 6 + [0.01] * 6
    assert [factor(step) for step in range(16)] == pytest.approx(expected)


def test_cosine_schedule_by_hand() -> None:
    total, factor = rate_factor(Schedule(kind="cosine", epochs=2, warmup_epochs=0.5), steps_per_epoch=4)
    assert total == 8
    expected = [0.5, 0.5, *(0.5 * (1 + math.cos(math.pi * k / 6)) for k in range(7)), 0.0]
    assert [factor(step) for step in range(10)] == pytest.approx(expected)


def test_constant_schedule_with_warm_up_by_hand() -> None:
    _, factor = rate_factor(Schedule(kind="constant", epochs=2, warmup_epochs=1), steps_per_epoch=4)
    assert [factor(step) for step in range(6)] == pytest.approx([0.25, 0.25, 0.5, 0.75, 1.0, 1.0])


def test_a_part_of_an_epoch_is_at_least_one_step() -> None:
    assert rate_factor(Schedule(epochs=0.01), steps_per_epoch=10)[0] == 1
    assert rate_factor(Schedule(epochs=0.25), steps_per_epoch=10)[0] == 2


# ---- optimizer


def test_all_in_one_group_when_norms_decay() -> None:
    backbone, head = norm_toy(), create_head("arcface", num_classes=4, embedding_dim=8)
    optimizer = make_optimizer(Optimizer(weight_decay=0.1, backbone_lr_factor=0.5), backbone, head)
    assert [(g["weight_decay"], g["rate"], len(g["params"])) for g in optimizer.param_groups] == [
        (0.1, 0.5, 7),
        (0.1, 1.0, 1),
    ]
    set_rate(optimizer, 0.2)
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.2]


def test_norms_biases_and_slopes_do_not_decay_when_told_so() -> None:
    backbone, head = norm_toy(), create_head("softmax", num_classes=4, embedding_dim=8, bias=True)
    for parameter in backbone[3].parameters():
        parameter.requires_grad = False
    optimizer = make_optimizer(Optimizer(decay_norms=False), backbone, head)
    groups = [(g["weight_decay"], sorted(p.ndim for p in g["params"])) for g in optimizer.param_groups]
    assert groups == [(5e-4, [4]), (0.0, [1, 1, 1, 1]), (5e-4, [3]), (0.0, [1])]


@pytest.mark.parametrize("nesterov", [False, True])
def test_fused_sgd_is_plain_sgd(nesterov: bool) -> None:
    fused_module, plain_module = norm_toy(), norm_toy()
    head = create_head("arcface", num_classes=4, embedding_dim=8)
    recipe = Optimizer(lr=0.1, weight_decay=0.01, nesterov=nesterov)
    fused = make_optimizer(recipe, fused_module, head)
    plain = torch.optim.SGD(
        plain_module.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=nesterov, foreach=False
    )
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        for one, two in zip(fused_module.parameters(), plain_module.parameters(), strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            two.grad = one.grad.clone()
        fused.step()
        plain.step()
    for one, two in zip(fused_module.parameters(), plain_module.parameters(), strict=True):
        torch.testing.assert_close(one, two)


def test_adamw() -> None:
    optimizer = make_optimizer(Optimizer(name="adamw", momentum=0.8), norm_toy(), create_head("cosface", **DIMS))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.999)


DIMS = {"num_classes": 4, "embedding_dim": 8}


def test_clip_scales_the_gradient_to_the_limit() -> None:
    module = nn.Linear(3, 2, bias=False)
    module.weight.grad = torch.full((2, 3), 2.0)
    norm = clip(module, 1.0)
    assert float(norm) == pytest.approx(math.sqrt(24))
    assert float(module.weight.grad.norm()) == pytest.approx(1.0, rel=1e-4)
    assert float(clip(module, 5.0)) == pytest.approx(1.0, rel=1e-4)
    assert float(module.weight.grad.norm()) == pytest.approx(1.0, rel=1e-4)


def test_the_loop_clips_backbone_and_head_apart(tmp_path: Path) -> None:
    toy = Toy(tmp_path, recipe_of(optimizer={"clip_norm": 0.01, "lr": 1.0, "momentum": 0, "weight_decay": 0}))
    before = toy.weights()
    toy.total = 1
    _, rows = toy.run()
    assert rows[0]["gradient_norm"] > 0.01
    assert rows[0]["head_gradient_norm"] > 0.01
    for part in ("backbone", "head"):
        moved = [(toy.weights()[k] - v).double().square().sum() for k, v in before.items() if f"{part}." in k]
        moved = [m for m in moved if m > 0]
        assert float(sum(moved)) ** 0.5 == pytest.approx(0.01, rel=1e-3)


# ---- loop


def test_log_rows_hold_the_documented_fields(tmp_path: Path) -> None:
    toy = Toy(tmp_path, recipe_of(schedule={"kind": "cosine", "epochs": 2}))
    finished, rows = toy.run()
    assert finished
    assert toy.state.step == toy.total == 6
    assert [row["step"] for row in rows] == list(range(6))
    for row in rows:
        assert set(row) - {"expected_first_loss"} == FIELDS
        assert all(math.isfinite(float(value)) for value in row.values())
        assert row["learning_rate"] == pytest.approx(0.1 * toy.rate(int(row["step"])))
    assert float(rows[0]["expected_first_loss"]) == pytest.approx(toy.state.head.expected_first_loss(), abs=1e-2)
    assert toy.state.wall_s > 0


def test_the_first_step_by_hand(tmp_path: Path) -> None:
    toy = Toy(tmp_path, recipe_of(optimizer={"lr": 0.5, "weight_decay": 0.01, "clip_norm": 1e6}))
    toy.total = 1
    backbone, head = copy.deepcopy(toy.state.backbone), copy.deepcopy(toy.state.head)
    batch = next(iter(toy.batches()))
    _, rows = toy.run()
    pixels = (batch.images.float() - 127.5) / 127.5
    out = head(backbone(pixels), batch.labels)
    out.loss.backward()
    assert rows[0]["loss"] == pytest.approx(float(out.loss.detach()), rel=1e-5)
    assert rows[0]["target_angle_deg"] == pytest.approx(float(out.target_cosine.acos().rad2deg().mean()), rel=1e-5)
    for old, new in ((backbone, toy.state.backbone), (head, toy.state.head)):
        for one, two in zip(old.parameters(), new.parameters(), strict=True):
            assert one.grad is not None
            torch.testing.assert_close(two, one - 0.5 * (one.grad + 0.01 * one))


def test_accumulating_is_the_same_as_one_batch_without_batch_norm(tmp_path: Path) -> None:
    whole = Toy(tmp_path / "1", recipe_of(training={"accumulate": 1}))
    parts = Toy(tmp_path / "2", recipe_of(training={"accumulate": 2}))
    _, one = whole.run()
    _, two = parts.run()
    for key in ("loss", "accuracy", "gradient_norm", "target_angle_deg"):
        assert [row[key] for row in two] == pytest.approx([row[key] for row in one], rel=1e-4), key
    for name, value in whole.weights().items():
        torch.testing.assert_close(parts.weights()[name], value)


def test_the_order_hears_of_every_part(tmp_path: Path) -> None:
    heard: list[tuple[Any, ...]] = []

    class Listening(BatchOrder):
        def observe(self, *told: Any) -> None:
            heard.append(told)

    toy = Toy(tmp_path, recipe_of(training={"accumulate": 2}))
    toy.order = toy.state.order = Listening(FACES, BATCH, toy.recipe.seed)
    _, rows = toy.run()
    assert [told[0] for told in heard] == list(range(toy.total))
    for (step, faces, target, nearest), row in zip(heard, rows, strict=True):
        assert faces.tolist() == toy.order.batch(step).tolist()
        assert target.dtype == nearest.dtype == np.float32
        assert len(target) == len(nearest) == BATCH
        assert np.rad2deg(np.arccos(target)).mean() == pytest.approx(row["target_angle_deg"], rel=1e-5)
        assert np.rad2deg(np.arccos(nearest)).mean() == pytest.approx(row["nearest_negative_angle_deg"], rel=1e-5)
        assert (target > nearest).mean() == pytest.approx(row["accuracy"])


def test_ema_by_hand(tmp_path: Path) -> None:
    toy = Toy(tmp_path, recipe_of(training={"ema": 0.75}), norm_toy())
    course: list[dict[str, torch.Tensor]] = []
    toy.run(lambda row: course.append({k: v.clone() for k, v in toy.state.backbone.state_dict().items()}))
    average = course[0]
    for state in course[1:]:
        average = {
            k: 0.75 * v + 0.25 * state[k] if v.is_floating_point() else state[k] for k, v in average.items()
        }
    judged = toy.state.judged_backbone().state_dict()
    for name, value in average.items():
        if value.is_floating_point():
            torch.testing.assert_close(judged[name], value)
    assert toy.state.judged_backbone() is not toy.state.backbone
    assert Toy(tmp_path, recipe_of()).state.ema is None


def test_a_non_finite_loss_stops_the_run_and_names_all_there_is_to_know(tmp_path: Path) -> None:
    toy = Toy(tmp_path, recipe_of(optimizer={"lr": 1e38}, training={"checkpoint_every": 1}))
    with pytest.raises(TrainingError) as caught:
        toy.run()
    text = str(caught.value)
    good = toy.checkpoints.latest()
    assert good is not None
    assert text.startswith(f"step {toy.state.step}: loss nan")
    assert "at learning rate 1e+38" in text
    batch = toy.manifest.faces(toy.order.batch(toy.state.step))
    assert all(face in text for face in batch)
    assert f"last good checkpoint: {good}" in text
    assert "lower optimizer.lr" in text
    other = Toy(tmp_path, toy.recipe)
    other.checkpoints.load(good, other.state)
    assert other.state.step == toy.state.step


def test_a_non_finite_first_loss_says_that_nothing_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Toy(tmp_path, recipe_of(training={"batch_size": 12}))
    monkeypatch.setattr(type(toy.state.head.margin), "target", lambda self, cosine, *_: cosine * float("nan"))
    before = toy.weights()
    with pytest.raises(TrainingError, match=r"and 4 more; no checkpoint was saved yet; lower optimizer\.lr"):
        toy.run()
    assert_same(toy.weights(), before)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_frozen_batchnorm_keeps_its_running_statistics(tmp_path: Path) -> None:
    for frozen in (True, False):
        toy = Toy(tmp_path, recipe_of(training={"freeze_batchnorm": frozen}), norm_toy())
        norm = toy.state.backbone.get_submodule("0.1")
        before = {k: v.clone() for k, v in norm.state_dict().items()}

        def evaluate(step: int, toy: Toy = toy) -> None:  # leaves the modes as an evaluation may
            toy.state.backbone.eval()
            toy.state.backbone.train()

        toy.run(evaluate=evaluate, every=2)
        same = {k: torch.equal(v, norm.state_dict()[k]) for k, v in before.items()}
        assert not same["weight"]
        assert same["running_mean"] == same["running_var"] == same["num_batches_tracked"] == frozen


def test_the_head_alone_learns_where_the_backbone_has_no_rate(tmp_path: Path) -> None:
    recipe = recipe_of(optimizer={"backbone_lr_factor": 0.0}, training={"freeze_batchnorm": True})
    toy = Toy(tmp_path, recipe, norm_toy())
    backbone = {name: value.clone() for name, value in toy.state.backbone.state_dict().items()}
    centers = toy.state.head.centers.weight.detach().clone()
    toy.run()
    assert_same(toy.state.backbone.state_dict(), backbone)
    assert not torch.equal(toy.state.head.centers.weight, centers)
    assert all(parameter.grad is None for parameter in toy.state.backbone.parameters())


def test_evaluations_come_when_asked_and_change_nothing(tmp_path: Path) -> None:
    seen: list[int] = []
    toy = Toy(tmp_path / "1", recipe_of(), norm_toy())
    toy.run(evaluate=seen.append, every=2)
    assert seen[:2] == [2, 4]
    plain = Toy(tmp_path / "2", recipe_of(), norm_toy())
    plain.run()
    assert_same(toy.weights(), plain.weights())


@pytest.mark.skipif(torch.cuda.is_available(), reason="fp16 is fine on this machine's GPU")
def test_fp16_is_refused_on_a_cpu() -> None:
    with pytest.raises(RecipeError, match=r"fp16 is slower than fp32 on a CPU.*use precision: auto"):
        choose_hardware(Training(precision="fp16"))


def test_hardware_says_what_was_chosen() -> None:
    facts = choose_hardware(Training(precision="bf16", threads=1)).facts()
    assert facts["dtype"] == "bfloat16"
    assert facts["threads"] == 1
    assert choose_hardware(Training(threads=1)).facts()["dtype"] in ("float32", "bfloat16")


@pytest.mark.parametrize(("device", "native", "dtype"), [
    ("cpu", True, torch.bfloat16), ("cpu", False, torch.float32), ("cuda", True, torch.bfloat16),
    ("cuda", False, torch.float32),
])  # fmt: skip
def test_auto_is_bf16_where_the_hardware_has_it(
    device: str, native: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emulated, as on GPUs before Ampere, it would be slower than fp32."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: native)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert choose_dtype("auto", device) == dtype
    assert [choose_dtype(name, device) for name in ("fp32", "bf16")] == [torch.float32, torch.bfloat16]


LOADS = """
import os, sys
class Watch:
    def find_spec(self, name, *rest):
        if name == "torch":
            print("torch loads with", os.environ.get("THP_MEM_ALLOC_ENABLE"))
sys.meta_path.insert(0, Watch())
from hyperarc.cli import main
sys.argv = ["hyperarc", "train", "demo", "--estimate", "--people", "10", "--json", "--quiet"]
main()
"""


@pytest.mark.parametrize(("chosen", "found"), [(None, "1"), ("0", "0")])
def test_huge_pages_are_switched_on_before_torch_loads(chosen: str | None, found: str) -> None:
    """Torch reads the switch once, when it is loaded; what the user has set stays."""
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    environment |= {} if chosen is None else {"THP_MEM_ALLOC_ENABLE": chosen}
    done = subprocess.run([sys.executable, "-c", LOADS], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == f"torch loads with {found}"


def test_bf16_trains(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "1", recipe_of(training={"precision": "bf16"}, schedule={"epochs": 8}), norm_toy())
    _, rows = toy.run()
    exact = Toy(tmp_path / "2", recipe_of(schedule={"epochs": 8}), norm_toy())
    _, exact_rows = exact.run()
    assert rows[0]["loss"] == pytest.approx(exact_rows[0]["loss"], rel=0.02)
    assert rows[0]["loss"] != exact_rows[0]["loss"]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert all(value.dtype != torch.bfloat16 for value in toy.weights().values())


def test_channels_last_changes_the_layout_and_not_the_result(tmp_path: Path) -> None:
    last = Toy(tmp_path / "1", recipe_of(training={"channels_last": True}), norm_toy())
    first = Toy(tmp_path / "2", recipe_of(training={"channels_last": False}), norm_toy())
    convolution = last.state.backbone.get_submodule("0.0").weight
    assert convolution.is_contiguous(memory_format=torch.channels_last)
    assert not convolution.is_contiguous()
    last.run()
    first.run()
    for name, value in first.weights().items():
        torch.testing.assert_close(last.weights()[name], value, rtol=1e-4, atol=1e-5)


def test_compile_wraps_the_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda module: compiled.append(module) or module)
    toy = Toy(tmp_path, recipe_of(training={"compile": True}))
    toy.run()
    assert compiled == [toy.state.backbone]


@pytest.mark.slow
def test_compiled_training_is_the_same(tmp_path: Path) -> None:
    compiled = Toy(tmp_path / "1", recipe_of(training={"compile": True}), norm_toy())
    plain = Toy(tmp_path / "2", recipe_of(), norm_toy())
    compiled.run()
    plain.run()
    for name, value in plain.weights().items():
        torch.testing.assert_close(compiled.weights()[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_step_saves_and_returns_false(tmp_path: Path, number: signal.Signals) -> None:
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    toy = Toy(tmp_path, recipe_of())
    finished, rows = toy.run(lambda row: os.kill(os.getpid(), number) if row["step"] == 2 else None)
    assert not finished
    assert len(rows) == toy.state.step == 3
    assert [path.name for path in toy.checkpoints.paths()] == ["step-00000003.safetensors"]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    def twice(row: Row) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Toy(tmp_path, recipe_of()).run(twice)


def test_the_loop_runs_outside_the_main_thread(tmp_path: Path) -> None:
    toy = Toy(tmp_path, recipe_of())
    thread = threading.Thread(target=toy.run)
    thread.start()
    thread.join(60)
    assert toy.state.step == toy.total


def test_when_checkpoints_are_saved(tmp_path: Path) -> None:
    by_step = Toy(tmp_path / "1", recipe_of(training={"checkpoint_every": 2, "keep_checkpoints": 9}))
    by_step.run()
    assert [path.stem for path in by_step.checkpoints.paths()] == ["step-00000002", "step-00000004", "step-00000006"]
    few = Toy(tmp_path / "2", recipe_of(training={"checkpoint_every": 1, "keep_checkpoints": 3}))
    few.run()
    assert [path.stem for path in few.checkpoints.paths()] == ["step-00000004", "step-00000005", "step-00000006"]
    by_time = Toy(tmp_path / "3", recipe_of(training={"checkpoint_every_s": 1e-9, "keep_checkpoints": 9}))
    by_time.run()
    assert len(by_time.checkpoints.paths()) == 6
    last = Toy(tmp_path / "4", recipe_of())
    last.run()
    assert [path.stem for path in last.checkpoints.paths()] == ["step-00000006"]


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"optimizer": {"nesterov": True, "weight_decay": 0.01}},
        {"optimizer": {"momentum": 0}},
        {"optimizer": {"name": "adamw", "lr": 0.01}},
        {"training": {"ema": 0.9, "channels_last": False}},
        {"head": {"sample_rate": 0.75}},
        {"schedule": {"kind": "cosine", "epochs": 2, "warmup_epochs": 1}},
    ],
    ids=str,
)
def test_resumed_is_unbroken(tmp_path: Path, sections: dict[str, Any]) -> None:
    training = {"checkpoint_every": 1, "keep_checkpoints": 9, **sections.get("training", {})}
    recipe = recipe_of(**{**sections, "training": training})
    unbroken = Toy(tmp_path / "unbroken", recipe, norm_toy())
    _, rows = unbroken.run()
    for step in (1, 4):
        resumed = Toy(tmp_path / f"resumed{step}", recipe, norm_toy())
        resumed.checkpoints.load(unbroken.checkpoints.folder / f"step-{step:08d}.safetensors", resumed.state)
        assert resumed.state.step == step
        _, again = resumed.run()
        assert [row["loss"] for row in again] == [row["loss"] for row in rows[step:]]
        assert_same(resumed.weights(), unbroken.weights())


def test_dropout_draws_on_after_a_resume(tmp_path: Path) -> None:
    def dropping() -> nn.Module:
        return nn.Sequential(plain_toy(), nn.Dropout(0.5))

    recipe = recipe_of(training={"checkpoint_every": 2, "keep_checkpoints": 9})
    unbroken = Toy(tmp_path / "1", recipe, dropping())
    unbroken.run()
    resumed = Toy(tmp_path / "2", recipe, dropping())
    torch.rand(5)
    resumed.checkpoints.load(unbroken.checkpoints.folder / "step-00000004.safetensors", resumed.state)
    resumed.run()
    assert_same(resumed.weights(), unbroken.weights())


# ---- what goes into the model


@pytest.mark.parametrize("channels_last", [True, False])
def test_model_input_by_hand(channels_last: bool) -> None:
    faces = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    contract = Contract(color="bgr", mean=(1, 2, 3), std=(4, 5, 6))
    ours = model_input(faces, contract, "cpu", channels_last)
    mean, std = torch.tensor([1.0, 2, 3])[:, None, None], torch.tensor([4.0, 5, 6])[:, None, None]
    torch.testing.assert_close(ours, (faces.float().flip(1) - mean) / std)


# ---- log and trackers


def test_the_log_drops_rows_that_will_come_again_and_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "run" / "log.jsonl"
    log = JsonLog(path, step=0)
    for step in range(5):
        log({"step": step, "loss": 1.0})
    log.close()
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"step": 5, "lo')
    assert [row["step"] for row in read_log(path)] == [0, 1, 2, 3, 4]
    log = JsonLog(path, step=3)
    assert [row["step"] for row in read_log(path)] == [0, 1, 2]
    log({"step": 3, "loss": 2.0})
    assert read_log(path)[-1] == {"step": 3, "loss": 2.0}  # each line is there as soon as it was written
    log.close()


def test_a_full_disk_under_the_log_is_one_clear_error(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    log = JsonLog(tmp_path / "log.jsonl", step=0)
    log.close()
    log._file = open(full, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
    with pytest.raises(HyperArcError, match=r"log\.jsonl: could not be written: No space left on device"):
        log({"step": 0})
    log.close()


@pytest.mark.parametrize(("tracker", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_missing_tracker_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(HyperArcError, match=rf"tracker {tracker} is not installed; pip install 'hyperarc\[track\]'"):
        open_watchers(tmp_path, recipe_of(training={"trackers": [tracker]}), 0)


def test_wandb_is_told_of_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []

    class FakeRun:
        def log(self, row: dict[str, Any], step: int) -> None:
            said.append((step, row))

        def finish(self) -> None:
            said.append("finished")

    def init(**arguments: Any) -> FakeRun:
        said.append(arguments)
        return FakeRun()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    log, tracker = open_watchers(tmp_path, recipe_of(training={"trackers": ["wandb"]}), 0)
    tracker({"step": 3, "loss": 1.0})
    tracker.close()
    log.close()
    assert said[0]["config"]["name"] == "toy"
    assert said[1:] == [(3, {"step": 3, "loss": 1.0}), "finished"]


def test_tensorboard_is_told_of_every_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []

    class FakeWriter:
        def __init__(self, **arguments: Any) -> None:
            said.append(arguments["log_dir"])

        def add_text(self, name: str, text: str) -> None:
            said.append(name)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            said.append((name, value, step))

        def close(self) -> None:
            said.append("closed")

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=FakeWriter))
    log, tracker = open_watchers(tmp_path, recipe_of(training={"trackers": ["tensorboard"]}), 0)
    tracker({"step": 3, "loss": 1.0, "note": "words"})
    tracker.close()
    log.close()
    assert said == [str(tmp_path / "tensorboard"), "recipe", ("loss", 1.0, 3), "closed"]


def test_tensorboard_writes_its_files(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'hyperarc[track]'")
    log, tracker = open_watchers(tmp_path, recipe_of(training={"trackers": ["tensorboard"]}), 0)
    tracker({"step": 0, "loss": 1.0})
    tracker.close()
    log.close()
    assert list((tmp_path / "tensorboard").iterdir())


def test_learned_margins_do_not_decay() -> None:
    head = create_head("adaptiveface", num_classes=5, embedding_dim=4)
    optimizer = make_optimizer(Optimizer(weight_decay=0.1), torch.nn.Linear(2, 2), head)
    decay_of = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay_of[id(head.margin.margins)] == 0.0
    assert decay_of[id(head.centers.weight)] == 0.1
