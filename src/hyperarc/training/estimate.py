"""What a training will hold in memory, told before its first step."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from hyperarc.artifact import build_backbone, build_head
from hyperarc.backbones import create_backbone
from hyperarc.heads.sweep import Plan, choose_precision, held_bytes, resolve
from hyperarc.recipe import Recipe
from hyperarc.recipe.sections import Backbone

_NUMBER = 4  # bytes: weights, gradients and states are fp32
_LOOKED_AT = 64  # faces; what more of them hold is in proportion
_FEW = 10_000  # people; a head of so many knows which sweep goes with its margin


@dataclass(frozen=True)
class Load:
    """What is estimated for.

    Attributes:
        people: C.
        processes: among which faces and centers are dealt out.
        dtype: of the backbone under autocast.
        device: "cpu" or "cuda"; decides which sweep, its precision, and what allocators leave unused.
    """

    people: int
    processes: int = 1
    dtype: torch.dtype = torch.float32
    device: str = "cpu"


@dataclass(frozen=True)
class Estimate:
    """Bytes of the process that holds most.

    Attributes:
        backbone: weights, buffers, gradients and optimizer state; ``ema`` the averaged copy.
        activations: the most that forward and backward of the backbone hold.
        centers: class centers with gradient and optimizer state, and what stands beside each class.
        sampled: copies of the centers that a step sweeps over, where it does not sweep over all.
        sweep: what the sweep that this device would run holds, chunked or fused; embeddings of all processes.
        holes: what allocators and convolutions need beside the tensors: a third of the activations, and three quarters
            where the heap is kept on a CPU (measured there: 21 and 75 % with iresnet18, 28 and 44 % with mbf).
    """

    backbone: int
    ema: int
    activations: int
    centers: int
    sampled: int
    sweep: int
    holes: int

    @property
    def total(self) -> int:
        """All of it. Not in it: Python and its libraries, the loader's cache, a teacher."""
        return sum(vars(self).values())

    def rows(self) -> list[tuple[str, int]]:
        """Each part by name, and their sum."""
        return [(name, value) for name, value in vars(self).items() if value] + [("total", self.total)]


def estimate(recipe: Recipe, load: Load) -> Estimate:
    """What training ``recipe`` holds in each process.

    Example:
        >>> from hyperarc.recipe import Data, DrawnData
        >>> recipe = Recipe(name="mine", data=Data(drawn=DrawnData(people=10)))
        >>> one, eight = (estimate(recipe, Load(1_000_000, processes)).centers for processes in (1, 8))
        >>> one, one // eight  # weights, gradient and momentum, 4 bytes a value
        (6144000000, 8)
    """
    states = {"sgd": int(recipe.optimizer.momentum > 0), "adamw": 2}[recipe.optimizer.name]
    trunk = _backbone_bytes(recipe)
    held = -(-load.people // load.processes)
    centers, sampled, swept = _center_bytes(recipe, load.people, held, states)
    batch = recipe.training.batch_size // recipe.training.accumulate
    activations = _activation_bytes(recipe, -(-batch // load.processes), load.dtype)
    return Estimate(
        backbone=trunk * (2 + states),
        ema=trunk if recipe.training.ema is not None else 0,
        activations=activations,
        centers=centers,
        sampled=sampled,
        sweep=_sweep_bytes(recipe, batch, swept, load),
        holes=activations * 3 // 4 if recipe.training.keep_heap and load.device == "cpu" else activations // 3,
    )


def _backbone_bytes(recipe: Recipe) -> int:
    with torch.device("meta"):
        backbone = build_backbone(recipe)
    return sum(one.numel() * one.element_size() for one in (*backbone.parameters(), *backbone.buffers()))


def _center_bytes(recipe: Recipe, people: int, held: int, states: int) -> tuple[int, int, int]:
    """Bytes of the centers held, bytes of sampled copies, and how many classes a step sweeps over."""
    head, k, d = recipe.head, recipe.head.sub_centers, recipe.backbone.embedding_dim
    gradient = not recipe.optimizer.update_in_backward
    centers = held * k * d * _NUMBER * (1 + states + gradient)
    centers += people * k * _NUMBER if k > 1 else 0  # votes
    centers += people * _NUMBER * (2 + states) if head.margin == "adaptiveface" else 0
    centers += held * d * _NUMBER * (2 + states) if "center" in head.auxiliary else 0
    if head.prototypes is not None:
        centers += people * head.prototypes.queue * 8
        swept = min(held, recipe.training.batch_size * (1 + head.prototypes.queue))
    else:
        swept = max(1, int(head.sample_rate * held))
    sampled = 0 if swept == held else swept * k * d * _NUMBER * (1 + gradient)
    return centers, sampled, swept


def sweep_of(recipe: Recipe, load: Load) -> tuple[str, Plan]:
    """Which sweep a step of training runs, and what it is asked.

    Example:
        >>> from hyperarc.recipe import Data, DrawnData
        >>> sweep_of(Recipe(name="mine", data=Data(drawn=DrawnData())), Load(1000))[0]
        'chunked'
    """
    head = build_head(recipe, min(load.people, _FEW))
    plan = head.plan(torch.zeros(2), torch.ones(2))
    plan = replace(plan, precision=choose_precision(recipe.head.precision, load.device), foreign=load.processes > 1)
    if recipe.optimizer.update_in_backward:
        plan = replace(plan, update=lambda first, last, gradient: None)
    return resolve(recipe.head.sweep, load.device, plan), plan


def _sweep_bytes(recipe: Recipe, batch: int, swept: int, load: Load) -> int:
    sweep, plan = sweep_of(recipe, load)
    with torch.device("meta"):
        rows = torch.empty(batch, recipe.backbone.embedding_dim)
        weight = torch.empty(swept, recipe.head.sub_centers, recipe.backbone.embedding_dim)
    return held_bytes(sweep, rows, weight, plan) + 2 * rows.numel() * _NUMBER


def _activation_bytes(recipe: Recipe, batch: int, dtype: torch.dtype) -> int:
    """The most that a step of the backbone holds beside weights and gradients."""
    rows = max(2, min(batch, _LOOKED_AT))
    return _peak(recipe.backbone.model_dump_json(), rows, dtype) * batch // rows


@cache
def _peak(section: str, rows: int, dtype: torch.dtype) -> int:
    """The same for so few faces, and the backbone of a recipe's section in JSON.

    Forward and backward are gone through with tensors that have shapes and no numbers.
    """
    chosen = Backbone.model_validate_json(section)
    with FakeTensorMode():
        backbone = create_backbone(chosen.name, embedding_dim=chosen.embedding_dim, **chosen.arguments).train()
        faces = torch.empty(rows, 3, 112, 112)
        for parameter in backbone.parameters():
            parameter.grad = torch.empty_like(parameter)
        with _Live() as live:
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                embeddings = backbone(faces)
            embeddings.float().sum().backward()
    peak: int = live.peak
    return peak


class _Live(TorchDispatchMode):
    """Counts the bytes of all tensors made inside that are still alive, and the most there were at a time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes, self.peak = 0, 0
        self._seen: Any = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {id(one.untyped_storage()) for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, torch.Tensor) and id(one.untyped_storage()) not in known:
                self._count(one.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._seen:
            return
        self._seen[storage] = True
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._free, storage.nbytes())

    def _free(self, freed: int) -> None:
        self.bytes -= freed


def relieved(recipe: Recipe, load: Load) -> Iterator[tuple[str, Recipe, Load]]:
    """Single changes that may lower what a process holds, with what they make of recipe and load, mildest first."""
    training, optimizer, head = recipe.training, recipe.optimizer, recipe.head
    if training.keep_heap and load.device == "cpu":
        changed_training = training.model_copy(update={"keep_heap": False})
        yield "training.keep_heap=false", recipe.model_copy(update={"training": changed_training}), load
    if not optimizer.update_in_backward and optimizer.name == "sgd" and training.accumulate == 1:
        changed = optimizer.model_copy(update={"update_in_backward": True})
        yield "optimizer.update_in_backward=true", recipe.model_copy(update={"optimizer": changed}), load
    if recipe.backbone.name.startswith("iresnet") and not recipe.backbone.arguments.get("checkpoint"):
        arguments = {**recipe.backbone.arguments, "checkpoint": True}
        changed_backbone = recipe.backbone.model_copy(update={"arguments": arguments})
        yield "backbone.arguments.checkpoint=true", recipe.model_copy(update={"backbone": changed_backbone}), load
    # sampled centers are copies: all of them take none, and fewer take less
    for rate in () if head.sample_rate == 1 else (1.0, *(r for r in (0.5, 0.2, 0.1) if r < head.sample_rate)):
        changed_head = head.model_copy(update={"sample_rate": rate})
        yield f"head.sample_rate={rate:g}", recipe.model_copy(update={"head": changed_head}), load
    for parts in (training.accumulate * 2**n for n in range(1, 5)):
        if training.batch_size % (parts * load.processes) == 0 and training.batch_size > parts * load.processes:
            changed_training = training.model_copy(update={"accumulate": parts})
            yield f"training.accumulate={parts}", recipe.model_copy(update={"training": changed_training}), load
    for processes in (load.processes * 2**n for n in range(1, 11)):
        if training.batch_size % (processes * training.accumulate) == 0:
            yield f"{processes} processes", recipe, replace(load, processes=processes)
