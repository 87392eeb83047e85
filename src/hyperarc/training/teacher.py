"""The teacher of a run: an artifact that says what it makes of every batch, beside the labels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from hyperarc.artifact import MODEL, Artifact, open_artifact
from hyperarc.contract import Contract
from hyperarc.encoder import model_input
from hyperarc.errors import ContractError, RecipeError
from hyperarc.heads.distillation import class_divergence, embedding_distance
from hyperarc.heads.head import Head
from hyperarc.heads.output import HeadOutput
from hyperarc.parallel import gather
from hyperarc.recipe import Distillation, Recipe
from hyperarc.recipe.file import expand_path
from hyperarc.training.hardware import Hardware


@dataclass(frozen=True)
class Teacher:
    """A trained backbone with its centers, in eval mode and without gradients; built by :func:`open_teacher`.

    Attributes:
        section: of the recipe.
        artifact: where it comes from; its contract says how it wants its faces.
        backbone: crops to embeddings.
        centers: [C, K, d], or None when class similarities have no weight.
        hardware: of the run; the teacher computes in the student's precision.
        memory_mb: what the comparison of class similarities may hold.
        digest: of weights, contract and centers; a checkpoint remembers it.
    """

    section: Distillation
    artifact: Artifact
    backbone: nn.Module
    centers: Tensor | None
    hardware: Hardware
    memory_mb: float
    digest: str

    def __call__(self, out: HeadOutput, images: Tensor, embeddings: Tensor, head: Head) -> HeadOutput:
        """What the student's head said of a batch, with the distance to the teacher added.

        Args:
            out: of ``head``.
            images: uint8 RGB crops [N, 3, H, W] that the student saw.
            embeddings: the student's, raw; values after the first d are not looked at (the logits of groups).
            head: the student's.
        """
        own = head.centers.weight
        embeddings, _ = gather(embeddings[:, : own.shape[2]])
        theirs, _ = gather(self.embed(images))
        loss, values = out.loss, dict(out.auxiliary)
        if self.section.embedding_weight:
            distance = embedding_distance(embeddings, theirs)
            loss = loss + self.section.embedding_weight * distance
            values["embedding_distance"] = distance.detach()
        if self.centers is not None:
            cut = head.centers.cut
            divergence = class_divergence(
                (embeddings, own),
                (theirs, self.centers[cut.first : cut.last].to(own.device)),
                scale=self.section.class_scale,
                memory_mb=self.memory_mb,
                sharded=not cut.whole,
            )
            loss = loss + self.section.class_weight * divergence
            values["class_divergence"] = divergence.detach()
        return replace(out, loss=loss, auxiliary=values)

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Raw embeddings [N, d] of uint8 RGB crops [N, 3, H, W], under the teacher's own contract."""
        device, dtype = self.hardware.device, self.hardware.dtype
        inputs = model_input(images, self.artifact.contract, device, channels_last=True)
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            embeddings: Tensor = self.backbone(inputs)
        return embeddings.float()

    def require_people(self, people: Sequence[str]) -> None:
        """:class:`RecipeError` unless ``people`` are the teacher's, as far as class similarities are compared."""
        if self.centers is None:
            return
        theirs = self.artifact.people()
        if theirs == list(people):
            return
        at = next((i for i, pair in enumerate(zip(theirs, people, strict=False)) if pair[0] != pair[1]), None)
        first = "" if at is None else f"; the first to differ is {at}: {people[at]!r}, the teacher's is {theirs[at]!r}"
        raise RecipeError(
            f"class similarities need the teacher's {len(theirs)} people in the same order, got {len(people)}{first}",
            where=self.artifact.path / "people.txt",
            mend="train on the data of the teacher, or set distillation.class_weight=0",
        )


def open_teacher(recipe: Recipe, student: Contract, hardware: Hardware) -> Teacher | None:
    """The teacher that a recipe names, or None.

    Raises:
        ArtifactError: it is missing or damaged.
        ContractError: its crops are of another size or alignment than the student's.
        RecipeError: its embeddings have another length than the student's.
    """
    section = recipe.distillation
    if section is None:
        return None
    artifact = open_artifact(expand_path(section.teacher))
    _require_same_crops(artifact, student)
    if section.embedding_weight and artifact.contract.embedding_dim != student.embedding_dim:
        raise RecipeError(
            f"the teacher's embeddings have {artifact.contract.embedding_dim} values, "
            f"the student's {student.embedding_dim}",
            where=artifact.path,
            mend=f"set backbone.embedding_dim={artifact.contract.embedding_dim}, or distillation.embedding_weight=0",
        )
    backbone = artifact.backbone().requires_grad_(False).to(hardware.device)
    centers = None
    if section.class_weight:
        centers = artifact.head().centers.weight.detach().to(hardware.device)
    layout = torch.channels_last if recipe.training.channels_last else torch.contiguous_format
    backbone = backbone.to(memory_format=layout)  # type: ignore[call-overload]
    return Teacher(section, artifact, backbone, centers, hardware, recipe.head.memory_mb, _digest(artifact))


def _require_same_crops(artifact: Artifact, student: Contract) -> None:
    """Color order, mean and std may differ, they are applied to the same crops; size and alignment may not."""
    fields = ("height", "width", "template")
    differing = [
        f"{name} {getattr(artifact.contract, name)!r} against {getattr(student, name)!r}"
        for name in fields
        if getattr(artifact.contract, name) != getattr(student, name)
    ]
    if differing:
        raise ContractError(
            f"the teacher takes other crops than the student: {', '.join(differing)}",
            where=artifact.path,
            mend="choose a teacher of the same crops",
        )


def _digest(artifact: Artifact) -> str:
    content = hashlib.sha256()
    for name in ("weights.safetensors", "contract.json", "head.safetensors"):
        path = artifact.path / name
        content.update(name.encode() + (path.read_bytes() if path.is_file() else b""))
    if artifact.network is None:
        content.update((artifact.path / MODEL).read_bytes())
    return content.hexdigest()[:16]
