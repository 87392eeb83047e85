"""A run that is killed and resumed ends as one that never stopped; what cannot be resumed changes nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

import hyperarc.training.checkpoint as checkpoint_module
from hyperarc.commands.show import Show
from hyperarc.commands.train import Start, Trained, train
from hyperarc.data.adaptive_order import AdaptiveOrder
from hyperarc.errors import CheckpointError, HyperArcError
from hyperarc.heads.head import create_head
from hyperarc.recipe import Recipe
from hyperarc.recipe.file import load_recipe
from hyperarc.training.checkpoint import Checkpoints, recipe_digest
from hyperarc.training.hardware import choose_hardware
from hyperarc.training.state import TrainingState, make_state
from hyperarc.training.watch import read_log

TINY = """
name: tiny
data: {drawn: {people: 8, faces_per_person: 6}}
backbone: {name: iresnet_tiny, embedding_dim: 16, arguments: {dropout: 0.2}}
head: {margin: arcface, arguments: {scale: 16, margin: 0.3}, sample_rate: 0.6}
schedule: {kind: cosine, epochs: 3, warmup_epochs: 0.3}
training: {batch_size: 8, threads: 1, precision: fp32, ema: 0.9, checkpoint_every: 2}
"""
TOTAL = 18
DEADLINE_S = 300.0  # of anything a test waits for; only a failing test comes near

# Runs the command line, and sends itself a signal as soon as the log line of a step stands in the file.
SIGNAL_AT_STEP = """
import os, sys
from hyperarc.training.watch import JsonLog
number, step = int(sys.argv.pop(1)), int(sys.argv.pop(1))
write = JsonLog.__call__
def write_and_signal(self, row):
    write(self, row)
    if row["step"] == step:
        os.kill(os.getpid(), number)
JsonLog.__call__ = write_and_signal
from hyperarc.cli import main
main()
"""


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def recipe(recipe_path: Path) -> Recipe:
    return load_recipe(str(recipe_path))


@pytest.fixture(scope="module")
def unbroken(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was never stopped."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    assert finish(recipe, folder).finished
    return folder


def finish(recipe: Recipe, folder: Path, resume: str | None = None) -> Trained:
    return train(recipe, folder, Start(resume=resume), Show(quiet=True))


def command(recipe_path: Path, folder: Path) -> list[str]:
    return ["train", str(recipe_path), "--run", str(folder), "--resume", "auto", "--quiet"]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def signalled(recipe_path: Path, folder: Path, number: signal.Signals, step: int) -> subprocess.CompletedProcess[str]:
    """The train command in its own process, which gets a signal right after ``step``."""
    script = [sys.executable, "-c", SIGNAL_AT_STEP, str(int(number)), str(step)]
    return subprocess.run(
        [*script, *command(recipe_path, folder)], env=environment(), capture_output=True, text=True, timeout=DEADLINE_S
    )


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def assert_same_end(folder: Path, unbroken: Path) -> None:
    for name in ("weights.safetensors", "head.safetensors", "contract.json", "people.txt", "recipe.yaml"):
        assert (folder / "artifact" / name).read_bytes() == (unbroken / "artifact" / name).read_bytes(), name
    rows, expected = read_log(folder / "log.jsonl"), read_log(unbroken / "log.jsonl")
    assert [row["step"] for row in rows] == list(range(TOTAL))
    assert [row["loss"] for row in rows] == [row["loss"] for row in expected]
    assert not [p for p in folder.rglob("*") if p.name.startswith(".") or "partial" in p.name]


# ---- killed and resumed


def test_killed_from_outside_and_resumed(recipe_path: Path, recipe: Recipe, unbroken: Path, tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "run" / "log.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "hyperarc", *command(recipe_path, folder)], env=environment(), stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + DEADLINE_S
    while not log.exists() or log.read_bytes().count(b"\n") < 3:
        assert process.poll() is None, process.stderr.read() if process.stderr else b""
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    assert process.wait(DEADLINE_S) == -signal.SIGKILL
    assert not (folder / "artifact").exists()
    finish(recipe, folder, "auto")
    assert_same_end(folder, unbroken)


def test_killed_at_three_steps_of_one_run(recipe_path: Path, recipe: Recipe, unbroken: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    for step in (0, 5, 11):  # before the first checkpoint, between two, and just before one is written
        done = signalled(recipe_path, folder, signal.SIGKILL, step)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert read_log(folder / "log.jsonl")[-1]["step"] == step
        newest = Checkpoints(folder / "checkpoints", recipe).latest()
        assert (newest and newest.stem) == (f"step-{step // 2 * 2:08d}" if step else None)
    # as a kill in the midst of writing leaves them
    (folder / "checkpoints" / ".step-00000012.safetensors.4711.partial").write_bytes(b"half")
    (folder / "checkpoints" / ".tmpAbCdEf").write_bytes(b"half")
    finish(recipe, folder, "auto")
    assert_same_end(folder, unbroken)


@pytest.mark.parametrize(("number", "step"), [(signal.SIGINT, 2), (signal.SIGTERM, 6)])
def test_stopped_politely_and_resumed(
    recipe_path: Path, recipe: Recipe, unbroken: Path, tmp_path: Path, number: signal.Signals, step: int
) -> None:
    folder = tmp_path / "run"
    done = signalled(recipe_path, folder, number, step)
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    newest = Checkpoints(folder / "checkpoints", recipe).latest()
    assert newest is not None
    assert newest.stem == f"step-{step + 1:08d}"  # saved at once, though no checkpoint was due
    finish(recipe, folder, "auto")
    assert_same_end(folder, unbroken)


def test_resuming_a_finished_run_changes_nothing_that_counts(recipe: Recipe, unbroken: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    before = content(folder)
    assert finish(recipe, folder, "auto").finished
    after = content(folder)
    assert after.keys() == before.keys()
    assert [name for name in before if before[name] != after[name]] in ([], ["artifact/card.md"])
    assert_same_end(folder, unbroken)


def test_resumed_from_a_named_checkpoint(recipe: Recipe, unbroken: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    older, newest = Checkpoints(folder / "checkpoints", recipe).paths()
    renamed = older.rename(tmp_path / "a name of my own.safetensors")
    newest.unlink()
    finish(recipe, folder, str(renamed))
    assert_same_end(folder, unbroken)


# ---- samplers


@pytest.fixture(scope="module")
def adaptive_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("adaptive") / "tiny.yaml"
    path.write_text(TINY.replace("data: {", "data: {sampler: {adaptive: {warmup_epochs: 0}}, workers: 2, "))
    return path


@pytest.fixture(scope="module")
def adaptive_unbroken(adaptive_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adaptive") / "run"
    assert finish(load_recipe(str(adaptive_path)), folder).finished
    return folder


def test_an_adaptive_run_killed_and_resumed(adaptive_path: Path, adaptive_unbroken: Path, tmp_path: Path) -> None:
    folder, recipe = tmp_path / "run", load_recipe(str(adaptive_path))
    for step in (8, 12):  # in the midst of an epoch between two checkpoints, and at the beginning of one
        done = signalled(adaptive_path, folder, signal.SIGKILL, step)
        assert done.returncode == -signal.SIGKILL, done.stderr
    finish(recipe, folder, "auto")
    assert_same_end(folder, adaptive_unbroken)
    kept, expected = (
        load_file(Checkpoints(f / "checkpoints", recipe).paths()[-1]) for f in (folder, adaptive_unbroken)
    )
    for name in ("order.weights", "order.began", "order.epoch"):
        assert torch.equal(kept[name], expected[name])
    assert len(expected["order.weights"].unique()) > 3  # it did learn
    assert int(expected["order.epoch"]) == 3


def test_workers_change_no_adaptive_run(adaptive_path: Path, adaptive_unbroken: Path, tmp_path: Path) -> None:
    alone = load_recipe(str(adaptive_path), ["data.workers=0"])
    finish(alone, tmp_path / "run")
    for name in ("weights.safetensors", "head.safetensors"):
        assert (tmp_path / "run/artifact" / name).read_bytes() == (adaptive_unbroken / "artifact" / name).read_bytes()


def test_a_checkpoint_without_the_weights_of_an_adaptive_run(adaptive_path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(adaptive_path))
    state = toy_state(recipe)
    state.order = AdaptiveOrder(48, 8)
    path = Checkpoints(tmp_path, recipe).save(state)
    state.order = AdaptiveOrder(47, 8)
    with pytest.raises(CheckpointError, match="does not fit this run: could not broadcast"):
        Checkpoints(tmp_path, recipe).load(path, state)
    state.order = None
    path = Checkpoints(tmp_path, recipe).save(state)
    state.order = AdaptiveOrder(48, 8)
    with pytest.raises(CheckpointError, match="does not fit this run: 'weights'"):
        Checkpoints(tmp_path, recipe).load(path, state)


# ---- what cannot be resumed


@pytest.fixture
def stopped(unbroken: Path, tmp_path: Path) -> Path:
    """A run folder as a stop leaves it: no artifact yet."""
    folder = tmp_path / "stopped"
    shutil.copytree(unbroken, folder)
    shutil.rmtree(folder / "artifact")
    return folder


def refused(recipe: Recipe, folder: Path, resume: str | None, kind: type[HyperArcError] = CheckpointError) -> str:
    """The error's text; nothing on disk may have changed."""
    before = content(folder)
    with pytest.raises(kind) as caught:
        finish(recipe, folder, resume)
    assert content(folder) == before
    return str(caught.value)


def test_a_truncated_checkpoint(recipe: Recipe, stopped: Path) -> None:
    newest = Checkpoints(stopped / "checkpoints", recipe).paths()[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    text = refused(recipe, stopped, "auto")
    assert str(newest) in text
    assert "damaged" in text
    assert "resume from" in text


def test_a_checkpoint_cut_within_its_header(recipe: Recipe, stopped: Path) -> None:
    newest = Checkpoints(stopped / "checkpoints", recipe).paths()[-1]
    for size in (0, 5, 40):
        newest.write_bytes(newest.read_bytes()[:size])
        assert "damaged" in refused(recipe, stopped, str(newest))


def test_flipped_bytes(recipe: Recipe, stopped: Path) -> None:
    older, newest = Checkpoints(stopped / "checkpoints", recipe).paths()
    damaged = bytearray(newest.read_bytes())
    damaged[-1000] ^= 0xFF
    newest.write_bytes(damaged)
    text = refused(recipe, stopped, "auto")
    assert "damaged: its content does not match its digest" in text
    assert f"resume from {older.name} instead" in text
    older.unlink()
    assert "no other checkpoint is left; start again" in refused(recipe, stopped, "auto")


def test_a_checkpoint_of_another_recipe(recipe_path: Path, stopped: Path) -> None:
    for change in ("optimizer.lr=0.2", "head.margin=cosface", "seed=1", "data.drawn.seed=1"):
        other = load_recipe(str(recipe_path), [change])
        assert "belongs to a run with another recipe" in refused(other, stopped, "auto")


def test_upkeep_may_change_between_sittings(recipe_path: Path, recipe: Recipe) -> None:
    changes = ["training.checkpoint_every=7", "evaluation=[{protocol: drawn}]", "data.workers=2", "description=new"]
    assert recipe_digest(load_recipe(str(recipe_path), changes)) == recipe_digest(recipe)


def test_recipes_of_older_checkpoints_keep_their_digest(recipe_path: Path, recipe: Recipe) -> None:
    assert recipe_digest(recipe) == "bfa261767ab114c9"  # before there were samplers
    for sampler, digest in (("people.faces_per_person=2", "d6a4462d06dd283c"), ("adaptive={}", "a97c8a211eb78c46")):
        assert recipe_digest(load_recipe(str(recipe_path), [f"data.sampler.{sampler}"])) == digest  # before shards
    for sampler in ("people.faces_per_person=2", "adaptive={}", "adaptive.floor=0.1", "shards={}"):
        assert recipe_digest(load_recipe(str(recipe_path), [f"data.sampler.{sampler}"])) != recipe_digest(recipe)


def test_a_missing_checkpoint(recipe: Recipe, stopped: Path) -> None:
    assert "no such checkpoint" in refused(recipe, stopped, str(stopped / "absent.safetensors"))
    assert "no such checkpoint" in refused(recipe, stopped, str(stopped / "checkpoints"))


def test_a_missing_checkpoint_of_a_new_folder_makes_no_folder(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        finish(recipe, tmp_path / "run", "nowhere.safetensors")
    assert not (tmp_path / "run").exists()


def test_other_peoples_safetensors(recipe: Recipe, stopped: Path) -> None:
    other = stopped / "other.safetensors"
    for about in (None, {"format": "pt"}, {"format": "1"}, {"format": "1", "numbers": "{}", "sha256": ""}):
        save_file({"weight": torch.zeros(2)}, other, metadata=about)
        assert "not a checkpoint of this version" in refused(recipe, stopped, str(other))


def test_a_data_set_that_changed(recipe: Recipe, tmp_path: Path) -> None:
    state = toy_state(recipe)
    path = Checkpoints(tmp_path, recipe).save(state)
    more = toy_state(recipe, people=9)
    with pytest.raises(CheckpointError, match=r"step-00000000\.safetensors: does not fit this run: .*size mismatch"):
        Checkpoints(tmp_path, recipe).load(path, more)


def test_a_new_run_in_a_used_folder(recipe: Recipe, stopped: Path) -> None:
    text = refused(recipe, stopped, None)
    assert "this folder already holds a run; continue it with --resume auto, or name another --run" in text
    assert str(stopped) in text


# ---- saving


def toy_state(recipe: Recipe, people: int = 8) -> TrainingState:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.LazyLinear(16))
    backbone(torch.zeros(1, 3, 8, 8))
    head = create_head("arcface", num_classes=people, embedding_dim=16)
    state = make_state(recipe, backbone, head, choose_hardware(recipe.training))
    head(backbone(torch.randn(2, 3, 8, 8)), torch.tensor([0, 1])).loss.backward()
    state.optimizer.step()
    return state


def test_keep_checkpoints(recipe: Recipe, tmp_path: Path) -> None:
    state, checkpoints = toy_state(recipe), Checkpoints(tmp_path, recipe, keep=3)
    assert checkpoints.latest() is None
    for state.step in range(1, 6):
        checkpoints.save(state)
    assert [path.stem for path in checkpoints.paths()] == ["step-00000003", "step-00000004", "step-00000005"]


def test_going_back_drops_the_abandoned_steps_and_not_the_new_one(recipe: Recipe, tmp_path: Path) -> None:
    state, checkpoints = toy_state(recipe), Checkpoints(tmp_path, recipe, keep=2)
    for state.step in (4, 6):
        checkpoints.save(state)
    checkpoints.load(tmp_path / "step-00000004.safetensors", state)
    state.step = 5
    checkpoints.save(state)
    assert [path.stem for path in checkpoints.paths()] == ["step-00000004", "step-00000005"]


def test_slots_keep_the_layout_of_their_weights(recipe: Recipe, tmp_path: Path) -> None:
    state, again = toy_state(recipe), toy_state(recipe)
    path = Checkpoints(tmp_path, recipe).save(state)
    Checkpoints(tmp_path, recipe).load(path, again)
    for parameter, other in zip(state.backbone.parameters(), again.backbone.parameters(), strict=True):
        kept, loaded = state.optimizer.state[parameter], again.optimizer.state[other]
        assert kept["momentum_buffer"].stride() == loaded["momentum_buffer"].stride()
        assert torch.equal(kept["momentum_buffer"], loaded["momentum_buffer"])


def test_a_checkpoint_is_read_without_unpickling(unbroken: Path, recipe: Recipe) -> None:
    newest = Checkpoints(unbroken / "checkpoints", recipe).paths()[-1]
    tensors = load_file(newest)
    assert {name.split(".")[0] for name in tensors} == {"backbone", "head", "ema", "optimizer", "random"}
    size = int.from_bytes(newest.read_bytes()[:8], "little")
    about = json.loads(newest.read_bytes()[8 : 8 + size])["__metadata__"]
    assert about["step"] == str(TOTAL)
    assert about["recipe"] == recipe_digest(recipe)


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
    ids=["OSError", "SafetensorError"],
)
def test_a_full_disk_leaves_the_old_checkpoint(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    state, checkpoints = toy_state(recipe), Checkpoints(tmp_path, recipe, keep=1)
    checkpoints.save(state)
    before = content(tmp_path)

    def half_written(tensors: Any, path: Path, metadata: Any) -> None:
        Path(path).write_bytes(b"half")
        raise failure

    monkeypatch.setattr(checkpoint_module, "save_file", half_written)
    state.step = 1
    with pytest.raises(HyperArcError, match=r"step-00000001.*could not be written: the disk is full; free some space"):
        checkpoints.save(state)
    assert content(tmp_path) == before
    monkeypatch.undo()
    checkpoints.load(tmp_path / "step-00000000.safetensors", state)


def test_another_failure_to_save_is_told_as_it_is(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise SafetensorError("I/O error: Permission denied (os error 13)")

    monkeypatch.setattr(checkpoint_module, "save_file", refuse)
    with pytest.raises(HyperArcError, match=r"could not be written: Permission denied$"):
        Checkpoints(tmp_path, recipe).save(toy_state(recipe))

    def unknown(*_: Any, **__: Any) -> None:
        raise SafetensorError("something else")

    monkeypatch.setattr(checkpoint_module, "save_file", unknown)
    with pytest.raises(SafetensorError):
        Checkpoints(tmp_path, recipe).save(toy_state(recipe))


def test_a_disk_that_is_really_full(recipe: Recipe, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not permitted: {mounted.stderr.decode().strip()}")
    try:
        state, checkpoints = toy_state(recipe), Checkpoints(disk / "checkpoints", recipe)
        checkpoints.save(state)
        before = content(disk)
        (disk / "filler").write_bytes(bytes(2**20 - sum(map(len, before.values())) - 16 * 4096))
        big = toy_state(recipe, people=20_000)
        big.step = 1
        with pytest.raises(HyperArcError, match="could not be written: the disk is full; free some space"):
            checkpoints.save(big)
        (disk / "filler").unlink()
        assert content(disk) == before
        checkpoints.load(disk / "checkpoints" / "step-00000000.safetensors", state)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_in_the_midst_of_a_run_can_be_resumed(
    recipe: Recipe, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    save, calls = checkpoint_module.save_file, []

    def full_at_third(*arguments: Any, **named: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(*arguments, **named)

    monkeypatch.setattr(checkpoint_module, "save_file", full_at_third)
    with pytest.raises(HyperArcError, match="the disk is full"):
        finish(recipe, folder)
    assert [p.stem for p in Checkpoints(folder / "checkpoints", recipe).paths()] == ["step-00000002", "step-00000004"]
    monkeypatch.undo()
    finish(recipe, folder, "auto")
    assert_same_end(folder, unbroken)


def test_a_checkpoint_of_other_faces(recipe: Recipe, stopped: Path) -> None:
    checkpoints = Checkpoints(stopped / "checkpoints", recipe)
    newest = checkpoints.latest()
    assert newest is not None
    checkpoints.data = "0123456789abcdef"
    with pytest.raises(CheckpointError, match="was trained on other faces than the recipe finds now"):
        checkpoints.load(newest, None)  # type: ignore[arg-type]  # refused before the state is touched
