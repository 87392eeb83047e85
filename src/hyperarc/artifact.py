"""The artifact: the folder that training leaves.

    weights.safetensors   the backbone
    contract.json         the input contract, with the digest of the weights
    recipe.yaml           the whole recipe, by which the backbone is built again
    card.md               data, counts, licence, metrics, seed and library versions
    head.safetensors      centers and margin state, kept for fine-tuning and purification
    people.txt            who the centers are, one person a line, in label order

Nothing in it is pickled, so that reading a stranger's artifact runs none of their code.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import torch
import yaml
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from hyperarc.backbones import create_backbone
from hyperarc.contract import Contract
from hyperarc.encoder import Encoder
from hyperarc.errors import ArtifactError
from hyperarc.files import write_beside
from hyperarc.heads.head import Head, create_head
from hyperarc.recipe import Recipe
from hyperarc.recipe_file import load_recipe

LIBRARIES = ("hyperarc", "torch", "numpy", "safetensors", "pillow")


@dataclass(frozen=True)
class Card:
    """What a reader must know before using the weights.

    Attributes:
        data: name -> plain value: sources, people, faces, licence ...
        training: name -> plain value: steps, epochs, seconds, device, seed ...
        metrics: name -> text, each with its conditions.
    """

    data: Mapping[str, object] = field(default_factory=dict)
    training: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Artifact:
    """An opened artifact folder; built by :func:`open_artifact`."""

    path: Path
    contract: Contract
    recipe: Recipe

    def backbone(self) -> nn.Module:
        """The backbone with its trained weights, in eval mode."""
        backbone = build_backbone(self.recipe)
        _load(backbone, self.path / "weights.safetensors", self.contract.model)
        return backbone.eval()

    def head(self) -> Head:
        """The head with its trained centers and margin state."""
        people = self.people()
        if len(people) < 2:
            raise ArtifactError(f"expected at least 2 people, got {len(people)}", where=self.path / "people.txt")
        head = build_head(self.recipe, len(people))
        _load(head, self.path / "head.safetensors")
        return head.eval()

    def people(self) -> list[str]:
        """The persons of the centers, in label order."""
        return _text(self.path / "people.txt").splitlines()

    def encoder(self, *, device: torch.device | str = "cpu", batch_size: int = 32) -> Encoder:
        """The backbone with its contract, ready to embed."""
        return Encoder(self.backbone(), self.contract, device=device, batch_size=batch_size)


def build_backbone(recipe: Recipe) -> nn.Module:
    """The recipe's backbone with fresh weights."""
    section = recipe.backbone
    return create_backbone(section.name, embedding_dim=section.embedding_dim, **section.arguments)


def build_head(recipe: Recipe, people: int) -> Head:
    """The recipe's head for so many people, with fresh centers."""
    section = recipe.head
    return create_head(
        section.margin,
        num_classes=people,
        embedding_dim=recipe.backbone.embedding_dim,
        sub_centers=section.sub_centers,
        sample_rate=section.sample_rate,
        prototypes=None if section.prototypes is None else section.prototypes.model_dump(),
        seed=recipe.seed,
        memory_mb=section.memory_mb,
        auxiliary=section.auxiliary,
        **section.arguments,
    )


def save_artifact(
    path: Path, backbone: nn.Module, head: Head, recipe: Recipe, people: Sequence[str], card: Card
) -> Contract:
    """Write an artifact folder, whole or not at all, and return its contract."""
    weights = save(_state(backbone))
    contract = _contract(weights, recipe)
    with write_beside(path) as folder:
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(weights)
        (folder / "head.safetensors").write_bytes(save(_state(head)))
        (folder / "contract.json").write_text(contract.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        (folder / "people.txt").write_text("".join(f"{' '.join(p.split())}\n" for p in people), encoding="utf-8")
        (folder / "card.md").write_text(_card_text(recipe, contract, card), encoding="utf-8")
    return contract


def contract_of(backbone: nn.Module, recipe: Recipe) -> Contract:
    """The contract that an artifact of this backbone, as it stands, would have."""
    return _contract(save(_state(backbone)), recipe)


def open_artifact(path: Path | str) -> Artifact:
    """Open an artifact folder; what is missing or damaged is named."""
    path = Path(path)
    if not path.is_dir():
        raise ArtifactError("no such artifact folder", where=path, mend="give the folder that holds contract.json")
    try:
        contract = Contract.model_validate_json(_text(path / "contract.json"))
    except ValidationError as error:
        raise ArtifactError(f"not a contract: {error.errors()[0]['msg']}", where=path / "contract.json") from None
    recipe = path / "recipe.yaml"
    if not recipe.is_file():
        raise ArtifactError("missing from the artifact", where=recipe)
    return Artifact(path, contract, load_recipe(str(recipe)))


def load_encoder(path: Path | str, *, device: torch.device | str = "cpu", batch_size: int = 32) -> Encoder:
    """The encoder of the artifact at ``path``.

    Example (needs an artifact, such as ``hyperarc demo`` leaves):
        >>> encoder = load_encoder("runs/demo/arcface/artifact")  # doctest: +SKIP
        >>> encoder.embed(faces).vectors  # doctest: +SKIP
    """
    return open_artifact(path).encoder(device=device, batch_size=batch_size)


def _contract(weights: bytes, recipe: Recipe) -> Contract:
    return Contract(embedding_dim=recipe.backbone.embedding_dim, model=_weights_digest(weights))


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}


def _load(module: nn.Module, path: Path, digest: str = "") -> None:
    if not path.is_file():
        raise ArtifactError("missing from the artifact", where=path)
    content = path.read_bytes()
    if digest and _weights_digest(content) != digest:
        raise ArtifactError(
            "damaged or foreign: these are not the weights that contract.json names",
            where=path,
            mend="copy the whole artifact again from where it came",
        )
    try:
        module.load_state_dict(load(content))
    except SafetensorError as error:
        raise ArtifactError(f"damaged: {error}", where=path, mend="copy it again from where it came") from error
    except RuntimeError as error:
        raise ArtifactError(f"does not fit the recipe: {' '.join(str(error).split())[:500]}", where=path) from error


def _weights_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ArtifactError("missing from the artifact", where=path) from None
    except UnicodeDecodeError as error:
        raise ArtifactError("not a text file", where=path) from error


def _card_text(recipe: Recipe, contract: Contract, card: Card) -> str:
    facts = {
        "name": recipe.name,
        "contract": contract.digest,
        "margin": recipe.head.margin,
        "backbone": recipe.backbone.name,
        "seed": recipe.seed,
        "data": dict(card.data),
        "training": dict(card.training),
        "metrics": dict(card.metrics),
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in LIBRARIES},
    }
    front = yaml.safe_dump(json.loads(json.dumps(facts)), sort_keys=False, allow_unicode=True)
    rows = "\n".join(f"| {name} | {value} |" for name, value in card.metrics.items())
    return (
        f"---\n{front}---\n\n# {recipe.name}\n\n{recipe.description.strip()}\n\n"
        f"A {recipe.backbone.name} trained with {recipe.head.margin}; contract `{contract.digest}`.\n\n"
        f"| metric | value |\n|---|---|\n{rows}\n\n"
        f"Licence of the data: {card.data.get('licence', 'unknown')}. "
        "Judge the model on your own people before you rely on it.\n"
    )
