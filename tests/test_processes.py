"""Trainings of several processes: steps, checkpoints on other numbers of them, artifacts, and what can go wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from hyperarc.artifact import Card, open_artifact, save_artifact
from hyperarc.backbones import create_backbone
from hyperarc.commands.judgement import embed_protocol, judge_all
from hyperarc.commands.show import Show
from hyperarc.contract import Contract
from hyperarc.encoder import Encoder
from hyperarc.errors import CheckpointError, HyperArcError, RecipeError
from hyperarc.heads.head import create_head
from hyperarc.parallel import agreed, share, together
from hyperarc.protocols.protocol import open_protocol
from hyperarc.recipe import Evaluation, Recipe, Training
from hyperarc.recipe.file import parse_recipe
from hyperarc.training.checkpoint import Checkpoints
from hyperarc.training.distributed import average_buffers, held_back, over_processes
from hyperarc.training.hardware import choose_hardware
from hyperarc.training.optimizer import clip, share_overflow
from hyperarc.training.processes import (
    Launch,
    joined,
    require_batches,
    require_same,
    require_shared_folder,
)
from hyperarc.training.state import TrainingState, make_state

TEXT = """
name: toy
data: {drawn: {people: 7}}
backbone: {name: iresnet_tiny, embedding_dim: 6}
head:
  {margin: arcface, arguments: {scale: 16, margin: 0.3}, sub_centers: 2, auxiliary: {center: {}}}
optimizer: {lr: 0.05, momentum: 0.9, clip_norm: 2.0}
training: {batch_size: 12, precision: fp32, channels_last: false, sync_batchnorm: true, keep_heap: false, ema: 0.9}
"""
ROWS, PEOPLE = 12, 7
PATIENCE = timedelta(minutes=15)  # where a machine is busy; a process that fails ends all at once
LEGS = ((2, 0, 3), (1, 3, 5), (3, 5, 8))  # a run of 8 steps: processes, first step, last step


def recipe(optimizer: str = "sgd") -> Recipe:
    chosen = {"sgd": "name: sgd, lr: 0.05", "adamw": "name: adamw, lr: 0.01"}[optimizer]
    return parse_recipe(yaml.safe_load(TEXT.replace("lr: 0.05", chosen)), where="test")


def toy_state(content: Recipe) -> TrainingState:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(10, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 6)).double()
    arguments: dict[str, Any] = {**content.head.arguments, "sub_centers": 2, "auxiliary": {"center": {}}}
    sharded = dist.is_initialized()
    head = create_head("arcface", num_classes=PEOPLE, embedding_dim=6, seed=1, sharded=sharded, **arguments).double()
    return make_state(content, backbone, head, choose_hardware(content.training))


def steps(state: TrainingState, content: Recipe, last: int, parts: int = 1) -> None:
    """What the loop does of a batch, in float64: every process its rows, in parts."""
    state.backbone.train()
    state.head.train()
    forward = over_processes(state.backbone, "cpu")
    world, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    while state.step < last:
        draw = torch.Generator().manual_seed(state.step)
        faces = torch.randn(ROWS, 10, generator=draw, dtype=torch.float64)
        labels = torch.randint(PEOPLE, (ROWS,), generator=draw)
        state.optimizer.zero_grad()
        for number in range(parts):
            place = share(ROWS // parts, rank, world)  # the rows of every part are the same for any number of processes
            rows = slice(number * ROWS // parts + place.start, number * ROWS // parts + place.stop)
            with held_back(forward, number == parts - 1):
                (state.head(forward(faces[rows]), labels[rows]).loss / parts).backward()
        clip(state.backbone, content.optimizer.clip_norm)
        clip(state.head, content.optimizer.clip_norm)
        state.optimizer.step()
        average_buffers(state.backbone)
        assert state.ema is not None
        state.ema.update_parameters(state.backbone)
        state.step += 1


def content_of(state: TrainingState) -> dict[str, Tensor]:
    """Weights and slots, those that are cut under ``cut.``."""
    found = {f"backbone.{name}": value for name, value in state.backbone.state_dict().items()}
    assert state.ema is not None
    found |= {f"ema.{name}": value for name, value in state.ema.state_dict().items()}
    for name, value in state.head.state_dict().items():
        found[f"cut.{name}" if name in state.head.sharded else name] = value
    for name, slot in state.optimizer.state[state.head.centers.weight].items():
        if isinstance(slot, Tensor):
            found[f"cut.{name}" if slot.ndim else f"slot.{name}"] = slot
    return {name: value.detach().clone() for name, value in found.items()}


@contextmanager
def group(folder: Path, name: str, rank: int, world: int) -> Iterator[None]:
    meet = f"file://{folder}/meet-{name}"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=world, timeout=PATIENCE)
    yield
    dist.barrier()
    dist.destroy_process_group()


def work(rank: int, place: str) -> None:
    folder = Path(place)
    torch.set_num_threads(1)
    for kind in ("sgd", "adamw"):
        content = recipe(kind)
        for leg, (world, first, last) in enumerate(LEGS):
            if rank < world:
                if world == 1:
                    run_leg(folder / kind, content, leg, first, last)
                else:
                    with group(folder, f"{kind}{leg}", rank, world):
                        run_leg(folder / kind, content, leg, first, last)
            wait_for(folder / kind / f"done-{leg}", made=rank == 0)
    with group(folder, "parts", rank, 3):
        torch.save(fully_sharded(), folder / f"fsdp-{rank}.pt")
        state = toy_state(recipe())
        steps(state, recipe(), 2, parts=2)
        torch.save(content_of(state), folder / f"parts-{rank}.pt")
        torch.save(judged(), folder / f"judged-{rank}.pt")
        torch.save(refusals(folder, rank), folder / f"refusals-{rank}.pt")


def fully_sharded() -> dict[str, Tensor]:
    """Gradients of a backbone under FSDP2 and of the head's centers; without processes, of the backbone as it is."""
    torch.manual_seed(0)
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    backbone = create_backbone("iresnet_tiny", embedding_dim=6, dropout=0.0).double().eval()
    head = create_head("cosface", num_classes=PEOPLE, embedding_dim=6, scale=8.0, sharded=world > 1).double()
    faces = torch.randn(6, 3, 112, 112, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    if world > 1:
        for part in (*(m for name, m in backbone.named_children() if name.startswith("layer")), backbone):
            fully_shard(part, mesh=init_device_mesh("cpu", (world,))).set_gradient_divide_factor(1.0)
    rows = share(6, rank, world)
    head(backbone(faces[rows]), torch.arange(6)[rows]).loss.backward()
    found = {name: p.grad for name, p in backbone.named_parameters() if p.grad is not None}
    whole = {name: g.full_tensor() if isinstance(g, DTensor) else g for name, g in found.items()}
    return whole | {"cut.centers": head.centers.weight.grad}


def judged() -> dict[str, Any]:
    """What an evaluation comes to here, and how many faces this process embedded for it."""
    torch.manual_seed(0)
    seen: list[int] = []
    backbone, evaluation = create_backbone("iresnet_tiny", embedding_dim=6), Evaluation(protocol="drawn", people=3)
    backbone.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    encoder = Encoder(backbone, Contract(embedding_dim=6))
    embedded = embed_protocol(encoder, open_protocol(evaluation), Show(quiet=True)).embedded
    faces = sum(seen)
    names = [judgement.result.name for judgement in judge_all(encoder, [evaluation], Show(quiet=True))]
    return {"vectors": torch.from_numpy(embedded.vectors), "faces": faces, "judged": names}


def wait_for(mark: Path, made: bool) -> None:
    if made:
        mark.touch()
    while not mark.exists():
        time.sleep(0.02)


def run_leg(folder: Path, content: Recipe, leg: int, first: int, last: int) -> None:
    rank = dist.get_rank() if dist.is_initialized() else 0
    state, checkpoints = toy_state(content), Checkpoints(folder, content, keep=9)
    if first:
        newest = checkpoints.latest()
        assert newest is not None
        checkpoints.load(newest, state)
        assert state.step == first
    steps(state, content, last)
    checkpoints.save(state)
    torch.save(content_of(state), folder / f"leg-{leg}-{rank}.pt")
    save_artifact(folder / f"artifact-{leg}", state.judged_backbone(), state.head, content, [*"abcdefg"], Card())


def refusals(folder: Path, rank: int) -> dict[str, str]:
    """What the three processes say of what one of them finds wrong."""
    said = {}

    def attempt(name: str, act: Any) -> None:
        try:
            act()
            said[name] = ""
        except HyperArcError as error:
            said[name] = str(error)

    attempt("same", lambda: require_same({"recipe": "a", "faces": "b"}))
    attempt("recipe", lambda: require_same({"recipe": "a" if rank != 1 else "z"}))
    attempt("folder", lambda: require_shared_folder(folder / "run"))
    attempt("folders", lambda: require_shared_folder(folder / f"run{rank // 2}"))
    attempt("trouble", lambda: together("a disk is full" if rank == 2 else None))
    attempt("batch", lambda: require_batches(Training(batch_size=8)))
    said["agreed"] = str(agreed(rank == 2, False))
    state = toy_state(recipe())
    state.head(torch.ones(2, 6, dtype=torch.float64), torch.tensor([rank, 0])).loss.backward()
    if rank == 1:
        assert state.head.centers.weight.grad is not None
        state.head.centers.weight.grad[0, 0, 0] = torch.nan
    share_overflow(state.head)
    said["overflow"] = str(not any(p.grad.isfinite().any() for p in state.head.parameters() if p.grad is not None))
    damaged = folder / "sgd" / "shard-00000008-1-of-3.safetensors"
    if rank == 0:
        tensors = load_file(damaged)
        about = {"format": "1", "step": "8", "sha256": "0"}
        save_file({name: value + 1 for name, value in tensors.items()}, damaged, metadata=about)
    dist.barrier()
    checkpoints = Checkpoints(folder / "sgd", recipe())
    attempt("damaged", lambda: checkpoints.load(folder / "sgd" / "step-00000008.safetensors", state))
    attempt("sound", lambda: checkpoints.load(folder / "sgd" / "step-00000005.safetensors", state))
    return said


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("sgd", "adamw"):
            (Path(folder) / kind).mkdir()
        mp.spawn(work, args=(folder,), nprocs=3)
        yield Path(folder)


def assert_equal(parts: list[dict[str, Tensor]], one: dict[str, Tensor]) -> None:
    for name, expected in one.items():
        values = [part[name] for part in parts]
        if name.startswith("cut."):
            torch.testing.assert_close(torch.cat(values), expected, rtol=1e-10, atol=1e-13, msg=name)
        else:
            assert all(torch.equal(value, values[0]) for value in values), f"{name} differs between the processes"
            torch.testing.assert_close(values[0], expected, rtol=1e-10, atol=1e-13, msg=name)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_run_on_two_then_one_then_three_processes_is_one_run(place: Path, kind: str) -> None:
    """Centers and their slots are cut anew; weights, momenta and running statistics are those of one process."""
    content = recipe(kind)
    state = toy_state(content)
    for leg, (world, _, last) in enumerate(LEGS):
        steps(state, content, last)
        parts = [torch.load(place / kind / f"leg-{leg}-{rank}.pt", weights_only=True) for rank in range(world)]
        assert_equal(parts, content_of(state))


def test_parts_of_a_batch_are_added_up_before_they_are_sent(place: Path) -> None:
    state = toy_state(recipe())
    steps(state, recipe(), 2, parts=2)
    assert_equal([torch.load(place / f"parts-{rank}.pt", weights_only=True) for rank in range(3)], content_of(state))


def test_a_backbone_under_fsdp(place: Path) -> None:
    """DTensors for weights, and gradients summed: no factor of the number of processes."""
    assert_equal([torch.load(place / f"fsdp-{rank}.pt", weights_only=True) for rank in range(3)], fully_sharded())


def test_an_evaluation_is_shared(place: Path) -> None:
    """Each process embeds a third of the faces; all know all embeddings, and the first judges."""
    parts, one = [torch.load(place / f"judged-{rank}.pt", weights_only=True) for rank in range(3)], judged()
    for part in parts:
        torch.testing.assert_close(part["vectors"], one["vectors"])
    assert sum(part["faces"] for part in parts) == one["faces"]
    assert max(part["faces"] for part in parts) <= one["faces"] / 3 + 4
    assert [part["judged"] for part in parts] == [["drawn"], [], []]


def test_the_artifact_is_whole_whoever_trained(place: Path) -> None:
    for leg, (world, _, _) in enumerate(LEGS):
        parts = [torch.load(place / "sgd" / f"leg-{leg}-{rank}.pt", weights_only=True) for rank in range(world)]
        written = load_file(place / "sgd" / f"artifact-{leg}" / "head.safetensors")
        for name in ("centers.weight", "auxiliary.center.centers"):
            assert torch.equal(written[name], torch.cat([part[f"cut.{name}"] for part in parts]))
        assert torch.equal(written["centers.votes"], parts[0]["centers.votes"])


def test_shards_lie_beside_their_checkpoint_and_go_with_it(place: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in (place / "adamw").glob("s*.safetensors"))
    assert names == [
        "shard-00000003-0-of-2.safetensors", "shard-00000003-1-of-2.safetensors",
        "shard-00000008-0-of-3.safetensors", "shard-00000008-1-of-3.safetensors", "shard-00000008-2-of-3.safetensors",
        "step-00000003.safetensors", "step-00000005.safetensors", "step-00000008.safetensors",
    ]  # fmt: skip
    for path in (place / "adamw").glob("s*.safetensors"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = recipe("adamw")
    state, checkpoints = toy_state(content), Checkpoints(tmp_path, content, keep=2)
    checkpoints.load(tmp_path / "step-00000008.safetensors", state)
    state.step = 9
    checkpoints.save(state)
    assert [path.name[:14] for path in sorted(tmp_path.glob("shard-*"))] == ["shard-00000008"] * 3
    (tmp_path / "shard-00000008-2-of-3.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"8-2-of-3.* missing beside its checkpoint; resume from step-00000009"):
        checkpoints.load(tmp_path / "step-00000008.safetensors", state)


def test_what_processes_say_of_each_other(place: Path) -> None:
    said = [torch.load(place / f"refusals-{rank}.pt", weights_only=True) for rank in range(3)]
    assert {one["same"] for one in said} == {""}
    assert all("processes disagree on the recipe" in one["recipe"] for one in said)
    assert all("rank 0 differs from rank 1" in one["recipe"] for one in said)
    assert {one["folder"] for one in said} == {""}
    assert all("rank 2 does not see the run folder that rank 0 writes" in one["folders"] for one in said)
    assert [one["trouble"] for one in said] == ["process 2 of 3 could not go on; see its own message"] * 2 + [""]
    assert all("batch_size that 3 processes x 1 parts divide" in one["batch"] for one in said)
    assert {one["agreed"] for one in said} == {"(True, False)"}
    assert {one["overflow"] for one in said} == {"True"}
    assert "8-1-of-3.safetensors: damaged: its content does not match" in said[1]["damaged"]
    assert all("process 1 of 3 could not go on" in said[rank]["damaged"] for rank in (0, 2))
    assert {one["sound"] for one in said} == {""}


# ---- before the first step, in one process


def test_environment_of_torchrun() -> None:
    assert Launch.of_environment({}) == Launch()
    told = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "TORCHELASTIC_RESTART_COUNT": "2"}
    assert Launch.of_environment(told) == Launch(3, 4, 1, 2)
    with pytest.raises(HyperArcError, match="numbers from torchrun, got RANK=x, WORLD_SIZE=2, LOCAL_RANK=unset"):
        Launch.of_environment({"RANK": "x", "WORLD_SIZE": "2"})


def refused(training: Training, launch: Launch) -> str:
    with pytest.raises(HyperArcError) as caught, joined(training, launch):
        pytest.fail("they must not meet")
    return str(caught.value)


def test_backends_and_gpus_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert "which needs CUDA, and there is no CUDA device here; set training.backend=gloo" in refused(
        Training(backend="nccl"), Launch(0, 2)
    )
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    text = refused(Training(), Launch(3, 4, 3))
    assert "expected a GPU for each process, got 2 for local rank 3; start at most --nproc-per-node=2" in text
    with pytest.raises(RecipeError), joined(Training(), Launch(3, 4, 3)):
        pass


def test_an_interface_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "ib7")
    text = refused(Training(backend="gloo"), Launch(0, 2))
    assert text.startswith("GLOO_SOCKET_IFNAME names the network interface 'ib7', and there are ")


def test_a_meeting_point_out_of_reach_and_processes_that_do_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperarc.training.processes.MEET_S", 1.0)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    began = time.monotonic()
    text = refused(Training(backend="gloo"), Launch(1, 3))
    assert "could not reach the meeting point within 1 s" in text
    assert "rank 1 of 3 on " in text
    assert "MASTER_ADDR=127.0.0.1 MASTER_PORT=" in text
    text = refused(Training(backend="gloo"), Launch(0, 3))
    assert "could not reach" in text or "2 of 3 processes did not come within 1 s: rank 1, 2" in text
    assert time.monotonic() - began < 100  # and not the two minutes that processes usually have


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


# ---- the command, under torchrun

TINY = """
name: tiny
data: {drawn: {people: 8, faces_per_person: 6}, cache_mb: 0}
backbone: {name: iresnet_tiny, embedding_dim: 16, arguments: {dropout: 0.0}}
head: {margin: adaface, arguments: {scale: 16}}
schedule: {kind: constant, epochs: 2}
optimizer: {lr: 0.001}
training: {batch_size: 8, threads: 1, precision: fp32, checkpoint_every: 2, sync_batchnorm: true, keep_heap: false}
evaluation: [{protocol: drawn, people: 6}]
"""

# One of the processes is killed, once, right after a step.
KILLED = """
import os, signal, sys
from hyperarc.training import loop
step = loop._step
def step_or_die(state, plan, forward, batch, kept):
    row = step(state, plan, forward, batch, kept)
    if batch.step == 6 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    return row
loop._step = step_or_die
from hyperarc.cli import main
main()
"""


def torchrun(place: Path, *words: str, script: str = "from hyperarc.cli import main\nmain()") -> Any:
    (place / "start.py").write_text(script)
    (place / "tiny.yaml").write_text(TINY)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1"]
    command += [f"--master-port={free_port()}", "--", str(place / "start.py"), "train", str(place / "tiny.yaml")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *words], env=environment, capture_output=True, text=True, timeout=1500)


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_command_under_torchrun_and_a_process_that_is_killed(tmp_path: Path) -> None:
    """Two processes train as one does, within what float32 allows; with one killed, to the very same end."""
    done = torchrun(tmp_path, "--run", str(tmp_path / "two"), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["processes"] == 2
    assert (tmp_path / "two" / "report.html").is_file()
    alone = [sys.executable, "-m", "hyperarc", "train", str(tmp_path / "tiny.yaml"), "--run", str(tmp_path / "one")]
    subprocess.run([*alone, "--quiet"], check=True, capture_output=True, timeout=1500)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=2e-3)
    killed = torchrun(tmp_path, "--run", str(tmp_path / "killed"), script=KILLED)
    assert killed.returncode == 0, killed.stderr
    assert "resumed from step-00000006" in killed.stdout + killed.stderr
    assert losses(tmp_path / "killed") == losses(tmp_path / "two")
    for name in ("weights.safetensors", "head.safetensors"):
        paths = [tmp_path / run / "artifact" / name for run in ("killed", "two")]
        assert paths[0].read_bytes() == paths[1].read_bytes(), name
    assert open_artifact(tmp_path / "two" / "artifact").head().centers.weight.shape == (8, 1, 16)
