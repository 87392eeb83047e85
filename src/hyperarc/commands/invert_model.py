"""The model that is inverted, and what it runs on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hyperarc.artifact import MODEL as MODEL_FILE
from hyperarc.artifact import Artifact, open_artifact
from hyperarc.commands.invert_search import How
from hyperarc.encoder import Encoder
from hyperarc.errors import ArtifactError, UsageError
from hyperarc.training.hardware import choose_dtype, keep_freed_memory


@dataclass(frozen=True)
class Machine:
    """What it runs on: device, CPU threads (0: all), "fp32", "bf16" or "auto" for what the hardware is fast in."""

    device: str = "cpu"
    threads: int = 0
    precision: str = "auto"


def open_model(place: Path, machine: Machine) -> tuple[Artifact, Encoder]:
    """An artifact and its encoder.

    Raises:
        ArtifactError: no gradients flow through it.
    """
    artifact = open_artifact(place)
    if artifact.backbone_name == MODEL_FILE:
        raise ArtifactError(
            "was imported from an ONNX file: ONNX Runtime returns no gradients, and BatchNorm is folded away in most "
            "graphs, so nothing guides an inversion",
            where=place,
            mend="invert an artifact that holds weights.safetensors; this one can judge (--judge)",
        )
    if machine.threads:
        torch.set_num_threads(machine.threads)
    model = artifact.encoder(device=machine.device)
    if model.device.type == "cpu":
        keep_freed_memory()
    return artifact, model


def with_precision(how: How, machine: Machine, model: Encoder) -> How:
    """The settings with the precision that the machine is asked for."""
    if machine.precision not in ("auto", "fp32", "bf16"):
        raise UsageError(f"expected precision auto, fp32 or bf16, got {machine.precision}")
    bf16 = choose_dtype(machine.precision, model.device.type) == torch.bfloat16
    return replace(how, search=replace(how.search, precision="bf16" if bf16 else "fp32"))


def name_of(artifact: Path) -> str:
    """What to call an artifact by its place: that of the run that it lies in."""
    place = artifact.absolute()
    return place.parent.name if place.name == "artifact" else place.name
