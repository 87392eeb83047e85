"""``hyperarc train --estimate``: what a training will hold in memory, and what would make it fit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch

from hyperarc.commands.show import Show
from hyperarc.data.training_set import open_training_set
from hyperarc.errors import UsageError
from hyperarc.recipe import Recipe
from hyperarc.training.estimate import Load, estimate, relieved, sweep_of
from hyperarc.training.hardware import choose_dtype, choose_hardware
from hyperarc.training.processes import Launch

_GIB = 2**30


@dataclass(frozen=True)
class Planned:
    """What to estimate for, as far as it is known.

    Attributes:
        people: number of people; None counts those of the recipe's data.
        processes: that train together; None takes torchrun's, or one.
        memory_gb: GiB that one process may hold; None takes all that this GPU or machine has.
        device: "cpu" or "cuda", which need not be here; None takes what training here would.
    """

    people: int | None = None
    processes: int | None = None
    memory_gb: float | None = None
    device: str | None = None


def estimate_training(recipe: Recipe, planned: Planned, show: Show) -> dict[str, Any]:
    """The estimate, and the changes after which it fits, as plain values.

    Raises:
        UsageError: fewer than two people, no process, a batch that the processes cannot share, another device, or a
            GPU that is not here and of unknown size.
    """
    device = planned.device or choose_hardware(recipe.training).device
    limit = _limit(planned, device)
    people = planned.people or _count(recipe, show)
    processes = planned.processes or Launch.of_environment().world_size
    if people < 2 or processes < 1:
        raise UsageError(f"expected at least 2 people and 1 process, got {people} and {processes}")
    if recipe.training.batch_size % (processes * recipe.training.accumulate):
        raise UsageError(
            f"training.batch_size {recipe.training.batch_size} in {recipe.training.accumulate} parts cannot be shared "
            f"by {processes} processes",
            mend="choose a batch size that is a multiple of both",
        )
    load = Load(people, processes, choose_dtype(recipe.training.precision, device), device)
    found = estimate(recipe, load)
    return {
        "recipe": recipe.name,
        "people": people,
        "processes": processes,
        "device": device,
        "dtype": str(load.dtype).removeprefix("torch."),
        "sweep": sweep_of(recipe, load)[0],
        "sample_rate": recipe.head.sample_rate,
        "bytes": dict(found.rows()),
        "limit_bytes": limit,
        "fits": found.total <= limit,
        "changes": [] if found.total <= limit else _changes(recipe, load, limit),
    }


def _changes(recipe: Recipe, load: Load, limit: int) -> list[dict[str, Any]]:
    """Of every kind of change the mildest after which it fits, or else the strongest; those that fit first."""
    best: dict[str, dict[str, Any]] = {}
    for change, other, elsewhere in relieved(recipe, load):
        kind = change.partition("=")[0] if "=" in change else "processes"
        if kind not in best or not best[kind]["fits"]:
            total = estimate(other, elsewhere).total
            best[kind] = {"change": change, "bytes": total, "fits": total <= limit}
    return sorted(best.values(), key=lambda one: not one["fits"])


def estimate_text(told: dict[str, Any]) -> str:
    """The estimate in words."""
    many = "1 process" if told["processes"] == 1 else f"{told['processes']} processes"
    lines = [f"{told['recipe']}: {told['people']:,} people, {many}, backbone in {told['dtype']} on {told['device']}"]
    names = {**_NAMES, "sweep": f"the {told['sweep']} sweep"}
    lines += [f"  {names[name]:<44} {value / _GIB:9.2f} GiB" for name, value in told["bytes"].items()]
    verdict = "fits into" if told["fits"] else "does not fit into"
    lines.append(f"{verdict} {told['limit_bytes'] / _GIB:.1f} GiB a process")
    if told["changes"]:
        lines.append("with one change:")
        if told["sample_rate"] == 1:
            lines.append("  head.sample_rate below 1 saves time and no memory: sampled centers are copies")
        for option in told["changes"]:
            word = "fits" if option["fits"] else "does not fit"
            lines.append(f"  {option['change']:<44} {option['bytes'] / _GIB:9.2f} GiB  {word}")
    return "\n".join(lines)


_NAMES = {
    "backbone": "backbone: weights, gradients, optimizer",
    "ema": "averaged copy of the backbone",
    "activations": "activations",
    "centers": "centers: weights, gradient, optimizer",
    "sampled": "copies of the centers sampled for a step",
    "holes": "left unused by the allocator, convolutions",
    "total": "in all, a process",
}


def _count(recipe: Recipe, show: Show) -> int:
    data = recipe.data.model_copy(update={"verify": False})
    with show.progress("counting people") as progress:
        return open_training_set(data, progress).kept.num_people


def _limit(planned: Planned, device: str) -> int:
    if device not in ("cpu", "cuda"):
        raise UsageError(f"expected device cpu or cuda, got {device}")
    if planned.memory_gb is not None:
        if planned.memory_gb <= 0:
            raise UsageError(f"expected GiB above 0, got {planned.memory_gb}")
        return int(planned.memory_gb * _GIB)
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("there is no GPU here whose memory is known", mend="give --memory-gb, of one GPU")
    if device == "cuda":
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
