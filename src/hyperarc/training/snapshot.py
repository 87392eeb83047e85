"""A training state as named tensors and numbers, and back: what checkpoints write and read.

Tensors that hold something of every class are cut where centers are: each process has those of its own classes. Their
slots in the optimizer are cut alike, and every process has a random state of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hyperarc.errors import CheckpointError
from hyperarc.training.state import TrainingState

RANDOM = "random."


def _modules(state: TrainingState) -> dict[str, torch.nn.Module]:
    modules: dict[str, torch.nn.Module] = {"backbone": state.backbone, "head": state.head}
    return modules if state.ema is None else modules | {"ema": state.ema}


def take(state: TrainingState) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Every tensor of a state by name, on the CPU, and its numbers."""
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


def put_back(state: TrainingState, tensors: Mapping[str, Tensor], numbers: dict[str, Any], path: Path) -> None:
    """Make a state what :func:`take` told, of the classes that are held here; ``path`` is for messages."""
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
    if "random" in parts:
        torch.set_rng_state(parts["random"]["cpu"])
        if "cuda" in parts["random"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(parts["random"]["cuda"])
    state.cpu_s, state.wall_s = numbers["cpu_s"], numbers["wall_s"]


class CutNames:
    """Which names of a state's tensors are cut by class.

    Args:
        state: with the head whose centers are cut, or whole.
    """

    def __init__(self, state: TrainingState) -> None:
        self.cut = state.head.centers.cut
        self._head = {f"head.{name}" for name in state.head.sharded}
        parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
        held = dict(state.head.named_parameters())
        cut = {id(held[name]) for name in state.head.sharded if name in held}
        self._slots = tuple(f"optimizer.{i}." for i, p in enumerate(parameters) if id(p) in cut)

    def __call__(self, name: str, shape: tuple[int, ...]) -> bool:
        """Whether the tensor of this name is cut; counts that an optimizer keeps of a weight have no classes."""
        return name in self._head or (name.startswith(self._slots) and len(shape) > 0 if self._slots else False)


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Give every slot the memory layout of its parameter, as before the save.

    The fused optimizers walk both in memory order: a contiguous momentum of a channels_last weight would be scrambled.
    """
    for parameter, slots in optimizer.state.items():
        for key, value in slots.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                slots[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
