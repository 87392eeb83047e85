"""The artifact: the folder that training leaves.

    weights.safetensors   the backbone
    contract.json         the input contract, with the digest of the weights
    recipe.yaml           the whole recipe, by which the backbone is built again
    card.md               data, counts, licence, metrics, seed and library versions
    head.safetensors      centers and margin state, kept for fine-tuning and purification
    people.txt            who the centers are, one person a line, in label order
    calibration.json      thresholds and probabilities, once ``hyperarc calibrate`` has measured them

One imported from a file of weights holds backbone.yaml instead of the recipe, and no head:

    backbone.yaml         the section ``backbone`` of a recipe that builds the network of these weights

One imported from an ONNX file holds model.onnx instead of the weights, and neither recipe nor head:

    model.onnx            the graph with its weights, in one file, with one output
    contract.json         the input contract as the user stated it, with the digest of model.onnx
    card.md               where the file came from, licence, SHA-256, opset, producer

Nothing in it is pickled, so that reading a stranger's artifact runs none of their code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from hyperarc.artifact.calibration import Calibration, read_calibration
from hyperarc.artifact.card import Card, card_text
from hyperarc.artifact.onnx_backbone import OnnxBackbone
from hyperarc.artifact.onnx_graph import parse_graph
from hyperarc.artifact.tensor_file import in_order, write_tensors
from hyperarc.backbones import create_backbone
from hyperarc.contract import Contract
from hyperarc.encoder import Encoder
from hyperarc.errors import ArtifactError
from hyperarc.files import write_beside
from hyperarc.heads.head import Head, create_head
from hyperarc.parallel import rank, stream
from hyperarc.recipe import Backbone, Recipe
from hyperarc.recipe.file import load_backbone, load_recipe

MODEL = "model.onnx"
NETWORK = "backbone.yaml"
_DIGITS = 16  # of a SHA-256 that a contract names


@dataclass(frozen=True)
class Artifact:
    """An opened artifact folder; built by :func:`open_artifact`.

    Attributes:
        path: the folder.
        contract: of the embeddings.
        recipe: it was trained by, or None when it was imported.
        network: the backbone that its weights are of, or None when it was imported from an ONNX file.
    """

    path: Path
    contract: Contract
    recipe: Recipe | None
    network: Backbone | None

    @property
    def backbone_name(self) -> str:
        """The backbone's, or model.onnx."""
        return MODEL if self.network is None else self.network.name

    def backbone(self) -> nn.Module:
        """The backbone with its trained weights, in eval mode."""
        if self.network is None:
            return self._onnx_backbone().eval()
        backbone = _build(self.network)
        _load(backbone, self.path / "weights.safetensors", self.contract.model)
        return backbone.eval()

    def require_recipe(self, what: str) -> Recipe:
        """The recipe, or :class:`ArtifactError` saying that ``what`` is not to be had of an imported artifact."""
        if self.recipe is None:
            raise self._only_embeds(f"that training left, with {what}", "recipe.yaml")
        return self.recipe

    def require_network(self, what: str) -> Backbone:
        """The backbone's section, or :class:`ArtifactError` saying that ``what`` is not to be had of an ONNX file."""
        if self.network is None:
            raise self._only_embeds(f"with {what}", "weights.safetensors")
        return self.network

    def head(self) -> Head:
        """The head with its trained centers and margin state."""
        recipe = self.require_recipe("a head (centers and margin state)")
        people = self.people()
        if len(people) < 2:
            raise ArtifactError(f"expected at least 2 people, got {len(people)}", where=self.path / "people.txt")
        head = build_head(recipe, len(people))
        _load(head, self.path / "head.safetensors")
        return head.eval()

    def load_head(self, head: Head) -> None:
        """Give a head of the same recipe and people the trained weights; one that holds some classes gets theirs."""
        path, cut = self.path / "head.safetensors", head.centers.cut
        try:
            with safe_open(path, framework="pt") as file:
                state = {
                    name: file.get_slice(name)[cut.first : cut.last] if name in head.sharded else file.get_tensor(name)
                    for name in file.keys()  # noqa: SIM118
                }
        except (SafetensorError, OSError) as error:
            raise ArtifactError(f"damaged: {error}", where=path, mend="copy it again from where it came") from error
        head.load_state_dict(state)

    def people(self) -> list[str]:
        """The persons of the centers, in label order."""
        return _text(self.path / "people.txt").splitlines()

    def calibration(self) -> Calibration:
        """Thresholds and probabilities as ``hyperarc calibrate`` measured them.

        Raises:
            ArtifactError: never calibrated, or the file is damaged. ContractError: it is of other embeddings.
        """
        return read_calibration(self.path, self.contract)

    def encoder(self, *, device: torch.device | str = "cpu", batch_size: int = 32) -> Encoder:
        """The backbone with its contract, ready to embed."""
        return Encoder(self.backbone(), self.contract, device=device, batch_size=batch_size)

    def _only_embeds(self, what: str, needed: str) -> ArtifactError:
        file = "an ONNX file" if self.network is None else "a file of weights"
        return ArtifactError(
            f"expected an artifact {what}; this one was imported from {file}, and embeds only",
            where=self.path,
            mend=f"embed and judge with it, or name an artifact that holds {needed}",
        )

    def _onnx_backbone(self) -> OnnxBackbone:
        path, contract = self.path / MODEL, self.contract
        graph = parse_graph(_content(path, contract.model), path)
        backbone = OnnxBackbone(graph, size=(contract.height, contract.width))
        if backbone.embedding_dim != contract.embedding_dim:
            raise ArtifactError(
                f"contract.json says {contract.embedding_dim} values an embedding, it returns {backbone.embedding_dim}",
                where=path,
                mend="import the ONNX file again",
            )
        return backbone


def build_backbone(recipe: Recipe) -> nn.Module:
    """The recipe's backbone with fresh weights."""
    return _build(recipe.backbone)


def build_head(recipe: Recipe, people: int, *, sharded: bool = False) -> Head:
    """The recipe's head for so many people, with fresh centers; with ``sharded`` those of this process alone."""
    section = recipe.head
    return create_head(
        section.margin,
        num_classes=people,
        embedding_dim=recipe.backbone.embedding_dim,
        seed=recipe.seed,
        sharded=sharded,
        **section.model_dump(exclude={"margin", "arguments"}),
        **section.arguments,
    )


def save_artifact(
    path: Path, backbone: nn.Module, head: Head, recipe: Recipe, people: Sequence[str], card: Card
) -> Contract:
    """Write an artifact folder, whole or not at all, and return its contract.

    Of several processes the first writes; the others, which call this too, send it the rows of their classes.
    """
    weights = save(_state(backbone))
    contract = _contract(weights, recipe)
    if rank() > 0:
        for _ in _head_blocks(head):
            pass
        return contract
    with write_beside(path) as folder:
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(weights)
        write_tensors(folder / "head.safetensors", _head_shapes(head), _head_blocks(head))
        (folder / "contract.json").write_text(contract.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        (folder / "people.txt").write_text("".join(f"{' '.join(p.split())}\n" for p in people), encoding="utf-8")
        (folder / "card.md").write_text(card_text(recipe, contract, card), encoding="utf-8")
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
    if recipe.is_file():
        loaded = load_recipe(str(recipe))
        return Artifact(path, contract, loaded, loaded.backbone)
    if (path / NETWORK).is_file():
        return Artifact(path, contract, None, load_backbone(path / NETWORK))
    if not (path / MODEL).is_file():
        raise ArtifactError("missing from the artifact", where=recipe)
    return Artifact(path, contract, None, None)


def load_encoder(path: Path | str, *, device: torch.device | str = "cpu", batch_size: int = 32) -> Encoder:
    """The encoder of the artifact at ``path``.

    Example (needs an artifact, such as ``hyperarc demo`` leaves):
        >>> encoder = load_encoder("runs/demo/arcface/artifact")  # doctest: +SKIP
        >>> encoder.embed(faces).vectors  # doctest: +SKIP
    """
    return open_artifact(path).encoder(device=device, batch_size=batch_size)


def weights_digest(content: bytes) -> str:
    """Digest of the weights that a contract names: the first digits of the SHA-256 of the file's bytes."""
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def _build(section: Backbone) -> nn.Module:
    return create_backbone(section.name, embedding_dim=section.embedding_dim, **section.arguments)


def _contract(weights: bytes, recipe: Recipe) -> Contract:
    return Contract(embedding_dim=recipe.backbone.embedding_dim, model=weights_digest(weights))


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}


def _head_shapes(head: Head) -> dict[str, Tensor]:
    """The tensors of a whole head without their contents."""
    shapes = {name: tensor.to("meta") for name, tensor in head.state_dict().items()}
    classes = head.centers.cut.classes
    return shapes | {n: shapes[n].new_empty(classes, *shapes[n].shape[1:]) for n in head.sharded & shapes.keys()}


def _head_blocks(head: Head) -> Iterator[Tensor]:
    """The contents of a whole head's tensors, block by block, in the order of :func:`write_tensors`."""
    state, shared = head.state_dict(), not head.centers.cut.whole
    for name in in_order(state):
        if shared and name in head.sharded:
            yield from stream(state[name])
        elif rank() == 0:
            yield state[name].detach().cpu()


def _content(path: Path, digest: str = "") -> bytes:
    if not path.is_file():
        raise ArtifactError("missing from the artifact", where=path)
    content = path.read_bytes()
    if digest and weights_digest(content) != digest:
        raise ArtifactError(
            "damaged or foreign: these are not the weights that contract.json names",
            where=path,
            mend="copy the whole artifact again from where it came",
        )
    return content


def _load(module: nn.Module, path: Path, digest: str = "") -> None:
    content = _content(path, digest)
    try:
        module.load_state_dict(load(content))
    except SafetensorError as error:
        raise ArtifactError(f"damaged: {error}", where=path, mend="copy it again from where it came") from error
    except RuntimeError as error:
        raise ArtifactError(f"does not fit the recipe: {' '.join(str(error).split())[:500]}", where=path) from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ArtifactError("missing from the artifact", where=path) from None
    except UnicodeDecodeError as error:
        raise ArtifactError("not a text file", where=path) from error
