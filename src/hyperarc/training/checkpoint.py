"""Checkpoints: one safetensors file a step, written beside and renamed, read without unpickling.

A checkpoint holds every tensor and number of a :class:`~hyperarc.training.state.TrainingState` and torch's random
state, so that a run killed at any step and resumed ends with the same weights as one that was never stopped.

Several processes write ``shard-00001000-0-of-2.safetensors`` and so on first, each what it has alone: its classes'
centers and their momentum, its random state. A run goes on with any number of processes: each reads the rows of its own
classes from the shards that hold them. (torch.distributed.checkpoint would read its own table of contents by unpickling
it, which runs what a stranger wrote there.)
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from hyperarc.errors import CheckpointError
from hyperarc.files import write_beside
from hyperarc.parallel import everyones, rank, together, world_size
from hyperarc.recipe import Noise, Recipe, Sampler
from hyperarc.training.saved import FORMAT, Saved, belongs_to, digest_of, shard_path
from hyperarc.training.snapshot import RANDOM, CutNames, put_back, take
from hyperarc.training.state import TrainingState


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
        """Write the state of this step; drop the oldest beyond ``keep``, and those of later, abandoned steps.

        Several processes write what each has alone first, and then the first of them all else, which makes it whole.
        """
        path = self.folder / f"step-{state.step:08d}.safetensors"
        tensors, numbers = take(state)
        shards = []
        if world_size() > 1:
            is_cut = CutNames(state)
            own = {k: v for k, v in tensors.items() if k.startswith(RANDOM) or is_cut(k, v.shape)}
            tensors = {k: v for k, v in tensors.items() if k not in own}
            if rank() == 0:
                path.unlink(missing_ok=True)  # of an abandoned run that came this far: its shards are written over
            together()
            about = {"format": FORMAT, "step": str(state.step), "sha256": digest_of(own)}
            with write_beside(shard_path(path, rank(), world_size())) as beside:
                _write(own, beside, about)
            shards = [words.hex() for words in everyones(bytes.fromhex(about["sha256"]))]
        if rank() == 0:
            about = {
                "format": FORMAT,
                "step": str(state.step),
                "recipe": recipe_digest(self.recipe),
                "data": self.data,
                "teacher": self.teacher,
                "numbers": json.dumps(numbers),
                "sha256": digest_of(tensors),
            }
            with write_beside(path) as beside:
                _write(tensors, beside, about | ({"shards": json.dumps(shards)} if shards else {}))
            self._tidy(path, len(shards))
        together()
        return path

    def paths(self) -> list[Path]:
        """Checkpoints there are, oldest first; each may have shards beside it."""
        return sorted(self.folder.glob("step-*.safetensors"))

    def latest(self) -> Path | None:
        """The newest checkpoint, if there is one."""
        paths = self.paths()
        return paths[-1] if paths else None

    def load(self, path: Path, state: TrainingState) -> None:
        """Put the run back to where ``path`` was saved; a damaged or foreign file changes nothing."""
        try:
            saved = Saved.open(path)
            self._require_ours(saved)
            saved.require_sound()
        except CheckpointError as error:
            together(problem=str(error))
            raise
        together()
        tensors = saved.read(CutNames(state))
        put_back(state, tensors, json.loads(saved.about["numbers"]), path)
        state.step = int(saved.about["step"])
        if RANDOM + "cpu" not in tensors:  # a process more than there were
            torch.manual_seed(torch.initial_seed() + state.step)

    def _require_ours(self, saved: Saved) -> None:
        about, path = saved.about, saved.path
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
    def _tidy(self, newest: Path, shards: int) -> None:
        """Remove what is not kept, and what a killed process left half-written."""
        kept = [path for path in self.paths() if path <= newest][-self.keep :]
        beside = [path for path in self.folder.glob("shard-*") if not belongs_to(path, kept)]
        now = self.folder.glob(f"shard-{newest.stem[5:]}-*")
        beside += [path for path in now if not path.stem.endswith(f"-of-{shards}")]
        for path in [*self.paths(), *beside, *self.folder.glob(".s*.partial"), *self.folder.glob(".tmp*")]:
            if path not in kept:
                path.unlink(missing_ok=True)


def recipe_digest(recipe: Recipe) -> str:
    """Digest of what must not change between two sittings: all but the evaluations, trackers and upkeep."""
    content = recipe.model_dump(mode="json", exclude={"evaluation", "description"})
    upkeep = {"checkpoint_every", "checkpoint_every_s", "keep_checkpoints", "keep_heap"}
    upkeep |= {"evaluate_every_epochs", "trackers", "backend", "timeout_s"}
    content["training"] = {k: v for k, v in content["training"].items() if k not in upkeep}
    newer = ("head", "auxiliary"), ("head", "prototypes"), ("head", "trimming"), ("training", "sync_batchnorm")
    for section, later in newer:
        if not content[section][later]:  # older checkpoints know nothing of them
            del content[section][later]
    content["head"]["memory_mb"] = 64.0  # says how and not what; the default was this once
    for choice in ("precision", "sweep"):
        if content["head"][choice] == "auto":
            del content["head"][choice]
    if not recipe.optimizer.update_in_backward:
        del content["optimizer"]["update_in_backward"]
    if recipe.data.sampler == Sampler():
        del content["data"]["sampler"]  # nor of this
    elif recipe.data.sampler.shards is None:
        del content["data"]["sampler"]["shards"]
    else:
        chosen = content["data"]["sampler"]["shards"]
        content["data"]["sampler"]["shards"] = {k: v for k, v in chosen.items() if k == "window" or v != 1}
    del content["data"]["augmentation"]["preset"]  # the sections say all
    if not recipe.data.augmentation.steps():
        del content["data"]["augmentation"]
    if recipe.data.noise == Noise():
        del content["data"]["noise"]
    if recipe.data.drawn is not None:  # where noise had its keys once
        content["data"]["drawn"] |= {"flip_rate": 0.0, "conflict_rate": 0.0}
        if not recipe.data.drawn.low_quality:
            del content["data"]["drawn"]["low_quality"]
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
