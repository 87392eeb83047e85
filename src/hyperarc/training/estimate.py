"""What a training will hold in memory, told before its first step."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from hyperarc.artifact import build_backbone
from hyperarc.heads.sweep import SweepSize, choose_precision, footprint
from hyperarc.recipe import Recipe

_NUMBER = 4  # bytes: weights, gradients and states are fp32
_LOOKED_AT = 64  # faces; what more of them hold is in proportion


@dataclass(frozen=True)
class Load:
    """What is estimated for.

    Attributes:
        people: C.
        processes: among which faces and centers are dealt out.
        dtype: of the backbone under autocast.
        device: "cpu" or "cuda"; decides the sweep's precision.
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
        sweep: blocks, exponentials and rows of the sweep; embeddings of all processes.
        holes: what allocators and convolutions need beside the tensors, a quarter of the activations (measured on a
            CPU: 14 % with iresnet18, 16 % with mbf, 38 % with iresnet_small).
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
        sweep=_sweep_bytes(recipe, batch, swept, load.device),
        holes=activations // 4,
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


def _sweep_bytes(recipe: Recipe, batch: int, swept: int, device: str) -> int:
    d, precision = recipe.backbone.embedding_dim, choose_precision(recipe.head.precision, device)
    product, kept = precision.resolved(torch.float32)
    size = SweepSize(
        rows=batch,
        classes=swept,
        dim=d,
        sub_centers=recipe.head.sub_centers,
        memory_mb=recipe.head.memory_mb,
        product_bytes=product.itemsize,
        kept_bytes=kept.itemsize,
        updates=recipe.optimizer.update_in_backward,
    )
    return footprint(size).total + 2 * batch * d * _NUMBER


def _activation_bytes(recipe: Recipe, batch: int, dtype: torch.dtype) -> int:
    """The most that a step of the backbone holds beside weights and gradients.

    Forward and backward are gone through with tensors that have shapes and no numbers.
    """
    rows = max(2, min(batch, _LOOKED_AT))
    with FakeTensorMode():
        backbone = build_backbone(recipe).train()
        faces = torch.empty(rows, 3, 112, 112)
        for parameter in backbone.parameters():
            parameter.grad = torch.empty_like(parameter)
        with _Live() as live:
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                embeddings = backbone(faces)
            embeddings.float().sum().backward()
    peak: int = live.peak * batch // rows
    return peak


class _Live(TorchDispatchMode):
    """Counts the bytes of all tensors made inside that are still alive, and the most there were at a time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.peak = 0
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
