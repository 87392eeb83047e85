"""Checkpoints: one safetensors file a step, written beside and renamed, read without unpickling.

A checkpoint holds every tensor and number of a :class:`~hyperarc.training.state.TrainingState` and torch's random
state, so that a run killed at any step and resumed ends with the same weights as one that was never stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hyperarc.errors import CheckpointError
from hyperarc.files import write_beside
from hyperarc.recipe import Noise, Recipe, Sampler
from hyperarc.training.state import TrainingState

FORMAT = "1"


class Checkpoints:
    """The checkpoint folder of one run.

    Args:
        folder: where ``step-00001000.safetensors`` files go.
        recipe: of the run; a checkpoint of another recipe is refused.
        keep: how many of the last are kept.

    Attributes:
        data: digest of the faces trained on, once they are known; a checkpoint made on others is refused.
        teacher: digest of the teacher, if there is one; a checkpoint of another's student is refused.
    """

    def __init__(self, folder: Path, recipe: Recipe, keep: int = 2) -> None:
        self.folder = folder
        self.recipe = recipe
        self.keep = keep
        self.data = ""
        self.teacher = ""

    def save(self, state: TrainingState) -> Path:
        """Write the state of this step; drop the oldest beyond ``keep``, and those of later, abandoned steps."""
        path = self.folder / f"step-{state.step:08d}.safetensors"
        tensors, numbers = _gather(state)
        about = {
            "format": FORMAT,
            "step": str(state.step),
            "recipe": recipe_digest(self.recipe),
            "data": self.data,
            "teacher": self.teacher,
            "numbers": json.dumps(numbers),
            "sha256": _digest(tensors),
        }
        with write_beside(path) as beside:
            _write(tensors, beside, about)
        self._tidy(path)
        return path

    def paths(self) -> list[Path]:
        """Checkpoints there are, oldest first."""
        return sorted(self.folder.glob("step-*.safetensors"))

    def latest(self) -> Path | None:
        """The newest checkpoint, if there is one."""
        paths = self.paths()
        return paths[-1] if paths else None

    def load(self, path: Path, state: TrainingState) -> None:
        """Put the run back to where ``path`` was saved; a damaged or foreign file changes nothing."""
        tensors, about = _read(path)
        if about.get("format") != FORMAT or not {"step", "recipe", "numbers", "sha256"} <= about.keys():
            raise CheckpointError("not a checkpoint of this version of HyperArc", where=path)
        if about["recipe"] != recipe_digest(self.recipe):
            raise CheckpointError(
                "belongs to a run with another recipe",
                where=path,
                mend="resume with the recipe saved beside it, or start a new run with another name",
            )
        if self.data and about.get("data", self.data) not in ("", self.data):
            raise CheckpointError(
                "was trained on other faces than the recipe finds now",
                where=path,
                mend="bring the faces back as manifest.parquet beside it lists them, or start a new run",
            )
        if about.get("teacher", "") != self.teacher:
            raise CheckpointError(
                "was taught by another teacher than the recipe names now",
                where=path,
                mend="bring the teacher's artifact back, or start a new run",
            )
        if about["sha256"] != _digest(tensors):
            raise CheckpointError(
                "damaged: its content does not match its digest", where=path, mend=self._other(path)
            )
        _scatter(state, tensors, json.loads(about["numbers"]), path)
        state.step = int(about["step"])

    def _tidy(self, newest: Path) -> None:
        """Remove what is not kept, and what a killed process left half-written."""
        kept = [path for path in self.paths() if path <= newest][-self.keep :]
        for path in [*self.paths(), *self.folder.glob(".step-*.partial"), *self.folder.glob(".tmp*")]:
            if path not in kept:
                path.unlink(missing_ok=True)

    def _other(self, path: Path) -> str:
        others = [p.name for p in self.paths() if p != path]
        return f"resume from {others[-1]} instead" if others else "no other checkpoint is left; start again"


def recipe_digest(recipe: Recipe) -> str:
    """Digest of what must not change between two sittings: all but the evaluations, trackers and upkeep."""
    content = recipe.model_dump(mode="json", exclude={"evaluation", "description"})
    upkeep = {"checkpoint_every", "checkpoint_every_s", "keep_checkpoints", "keep_heap"}
    upkeep |= {"evaluate_every_epochs", "trackers"}
    content["training"] = {k: v for k, v in content["training"].items() if k not in upkeep}
    for later in ("auxiliary", "prototypes", "trimming"):  # older checkpoints know nothing of them
        if not content["head"][later]:
            del content["head"][later]
    if recipe.head.precision == "auto":
        del content["head"]["precision"]
    if not recipe.optimizer.update_in_backward:
        del content["optimizer"]["update_in_backward"]
    if recipe.data.sampler == Sampler():
        del content["data"]["sampler"]  # nor of this
    elif recipe.data.sampler.shards is None:
        del content["data"]["sampler"]["shards"]
    del content["data"]["augmentation"]["preset"]  # the sections say all
    if not recipe.data.augmentation.steps():
        del content["data"]["augmentation"]
    if recipe.data.noise == Noise():
        del content["data"]["noise"]
    if recipe.data.drawn is not None:  # where noise had its keys once
        content["data"]["drawn"] |= {"flip_rate": 0.0, "conflict_rate": 0.0}
    del content["data"]["manifest"]  # it may move: its faces stand in the checkpoint beside
    if recipe.distillation is None:
        del content["distillation"]
    else:
        del content["distillation"]["teacher"]  # it may move: what it is stands in the checkpoint beside
    content["data"] = {k: v for k, v in content["data"].items() if k not in ("workers", "cache_mb", "licence")}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _write(tensors: dict[str, Tensor], path: Path, about: dict[str, str]) -> None:
    try:
        save_file(tensors, path, metadata=about)
    except SafetensorError as error:  # how safetensors passes on what the system said
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise CheckpointError("no such checkpoint", where=path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"damaged: {error}", where=path, mend="resume from an older one beside it") from error


def _modules(state: TrainingState) -> dict[str, torch.nn.Module]:
    modules: dict[str, torch.nn.Module] = {"backbone": state.backbone, "head": state.head}
    return modules if state.ema is None else modules | {"ema": state.ema}


def _gather(state: TrainingState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors = {f"{part}.{k}": v for part, module in _modules(state).items() for k, v in module.state_dict().items()}
    numbers: dict[str, Any] = {"cpu_s": state.cpu_s, "wall_s": state.wall_s, "optimizer": {}}
    for index, slots in state.optimizer.state_dict()["state"].items():
        for key, value in slots.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            else:
                numbers["optimizer"].setdefault(str(index), {})[key] = value
    if state.scaler.is_enabled():
        numbers["scaler"] = state.scaler.state_dict()
    if state.order is not None:
        tensors |= {f"order.{key}": value for key, value in state.order.state_dict().items()}
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    # clone: safetensors refuses tensors that share memory, and channels_last ones
    return {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}, numbers


def _scatter(state: TrainingState, tensors: Mapping[str, Tensor], numbers: dict[str, Any], path: Path) -> None:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, key = name.partition(".")
        parts.setdefault(part, {})[key] = tensor
    try:
        for part, module in _modules(state).items():
            module.load_state_dict(parts[part])
        content = state.optimizer.state_dict()
        slots: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in numbers["optimizer"].items()}
        for name, tensor in parts.get("optimizer", {}).items():
            index, _, key = name.partition(".")
            slots.setdefault(int(index), {})[key] = tensor
        state.optimizer.load_state_dict(content | {"state": slots})
        _lay_out(state.optimizer)
        if state.order is not None:
            state.order.load_state_dict(parts.get("order", {}))
    except (KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"does not fit this run: {reason}", where=path) from error
    if "scaler" in numbers:
        state.scaler.load_state_dict(numbers["scaler"])
    torch.set_rng_state(parts["random"]["cpu"])
    if "cuda" in parts["random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(parts["random"]["cuda"])
    state.cpu_s, state.wall_s = numbers["cpu_s"], numbers["wall_s"]


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Give every slot the memory layout of its parameter, as before the save.

    The fused optimizers walk both in memory order: a contiguous momentum of a channels_last weight would be scrambled.
    """
    for parameter, slots in optimizer.state.items():
        for key, value in slots.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                slots[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
