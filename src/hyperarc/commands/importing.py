"""``hyperarc import``: somebody's ONNX file, or weights that fit one of our backbones, become an artifact."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn

from hyperarc.artifact import save_onnx_artifact, save_weights_artifact
from hyperarc.artifact.onnx_backbone import OnnxBackbone
from hyperarc.artifact.onnx_graph import read_graph
from hyperarc.artifact.state_file import SUFFIXES, read_state
from hyperarc.backbones import create_backbone
from hyperarc.backbones.released import fit_released
from hyperarc.commands.show import Show
from hyperarc.contract import CONVENTIONS, Contract
from hyperarc.encoder import Encoder
from hyperarc.errors import ArtifactError, UsageError, unknown_name
from hyperarc.faces.template import TEMPLATES
from hyperarc.files import require_absent
from hyperarc.recipe import Backbone

_TOLERANCE = 0.01  # of an embedding's length; half precision and other kernels stay far below


@dataclass(frozen=True)
class Stated:
    """What the user says of a model, as the file does not.

    Attributes:
        like: name of :data:`hyperarc.contract.CONVENTIONS`, or None.
        pixels: fields of the contract that go before the convention's; None where not given.
        size: height and width of the crops, None where the graph says it; of weights None is 112.
        output: of an ONNX file, name of the output to take, or None.
        backbone: of a file of weights, its name, or None for whichever fits.
        card: source and licence.
    """

    like: str | None = None
    pixels: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int | None, int | None] = (None, None)
    output: str | None = None
    backbone: str | None = None
    card: Mapping[str, str] = field(default_factory=dict)


def import_model(path: Path, target: Path, stated: Stated, show: Show) -> dict[str, Any]:
    """Make the artifact ``target`` of an ONNX file, or by its suffix of a file of weights; contract, facts and checks.

    Raises:
        HyperArcError: color order, mean and std are not all stated.
        ArtifactError: the file is not what :class:`OnnxBackbone` takes, or weights that no backbone fits, or it embeds
            senselessly.
    """
    require_absent(target)
    pixels = _pixels(stated)
    make = _import_weights if path.suffix.lower() in SUFFIXES else _import_onnx
    contract, facts, difference = make(path, target, stated, pixels, show)
    contents = {"digest": contract.digest, "contract": contract.model_dump()}
    return {"artifact": str(target), **contents, **facts, "batch_difference": difference}


_Imported = tuple[Contract, dict[str, Any], float]


def _import_onnx(path: Path, target: Path, stated: Stated, pixels: Mapping[str, Any], show: Show) -> _Imported:
    if stated.backbone is not None:
        raise UsageError("--backbone goes with weights; an ONNX file holds its network", where=path)
    original = graph = read_graph(path)
    backbone = OnnxBackbone(graph, size=_size(stated.size), output=stated.output)
    if len(graph.outputs) > 1:
        graph = graph.only(backbone.output)
        backbone = OnnxBackbone(graph, size=(backbone.height, backbone.width))
    contract = _contract((backbone.height, backbone.width), backbone.embedding_dim, pixels, path)
    show.note(f"{path.name}: {graph.facts()['producer']}, opset {graph.facts()['opset']}, output {backbone.output}")
    difference = _try_out(backbone, contract, path)
    facts = {"source": path.name, "licence": "unknown", **stated.card, "source_sha256": original.sha256}
    facts |= {"sha256": graph.sha256, "output": backbone.output, **graph.facts()}
    return save_onnx_artifact(target, graph, contract, facts), facts, difference


def _import_weights(path: Path, target: Path, stated: Stated, pixels: Mapping[str, Any], show: Show) -> _Imported:
    if stated.output is not None:
        raise UsageError("--output goes with an ONNX file; a backbone has one", where=path)
    height, width = _size(stated.size) or (112, 112)
    if height != width:
        raise UsageError(f"backbones take square crops, --height and --width say {width}x{height}", where=path)
    arguments = {} if height == 112 else {"input_size": height}
    state = read_state(path)
    try:
        released = fit_released(state, stated.backbone, **arguments)
    except ArtifactError as error:
        raise ArtifactError(str(error), where=path) from None
    show.note(f"{path.name}: {released.backbone}, named as by {released.dialect}")
    if released.left_out:
        show.note(f"left out, as no part of the backbone: {', '.join(released.left_out)}")
    contract = _contract((height, width), released.embedding_dim, pixels, path)
    network = Backbone(name=released.backbone, embedding_dim=released.embedding_dim, arguments=arguments)
    backbone = create_backbone(network.name, network.embedding_dim, **arguments)
    backbone.load_state_dict(released.state)
    difference = _try_out(backbone.eval(), contract, path)
    facts: dict[str, Any] = {"source": path.name, "licence": "unknown", **stated.card, "source_sha256": _sha256(path)}
    facts |= {"backbone": network.name, "named_as": released.dialect, "left_out": list(released.left_out)}
    return save_weights_artifact(target, network, released.state, contract, facts), facts, difference


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pixels(stated: Stated) -> dict[str, Any]:
    """Fields of the contract as stated, the user's own before the convention's; nothing of it is guessed."""
    if stated.like is not None and stated.like not in CONVENTIONS:
        raise unknown_name("convention", stated.like, CONVENTIONS)
    convention = CONVENTIONS[stated.like] if stated.like else {}
    pixels = {**convention, **{name: value for name, value in stated.pixels.items() if value is not None}}
    missing = [name for name in ("color", "mean", "std") if name not in pixels]
    if missing:
        raise UsageError(
            f"a file of a model does not say how it wants its pixels; not stated: {', '.join(missing)}",
            mend=f"give --like {'|'.join(CONVENTIONS)}, or --color, --mean and --std as its authors trained it",
        )
    return pixels


def _size(size: tuple[int | None, int | None]) -> tuple[int, int] | None:
    height, width = size
    if height is None and width is None:
        return None
    if height is None or width is None:
        raise UsageError("expected both or neither of --height and --width")
    return height, width


def _contract(size: tuple[int, int], embedding_dim: int, pixels: Mapping[str, Any], path: Path) -> Contract:
    template = pixels.get("template") or _template(*size)
    if template not in TEMPLATES:
        raise unknown_name("template", template, TEMPLATES)
    shape = {"height": size[0], "width": size[1], "embedding_dim": embedding_dim}
    try:
        contract = Contract.model_validate({**pixels, "template": template, **shape})
    except ValidationError as error:
        problem = error.errors()[0]
        raise UsageError(f"--{problem['loc'][0]}: {problem['msg']}", where=path) from None
    if not np.isfinite([*contract.mean, *contract.std]).all() or min(contract.std) <= 0:
        raise UsageError(f"expected finite means and positive stds, got {contract.mean}, {contract.std}", where=path)
    return contract


def _template(height: int, width: int) -> str:
    """The template whose crops have this shape."""
    for name, template in TEMPLATES.items():
        if height * template.width == width * template.height:
            return name
    raise UsageError(
        f"no template has the shape {width}x{height}", mend=f"give --template {'|'.join(TEMPLATES)}"
    )


def _try_out(backbone: nn.Module, contract: Contract, path: Path) -> float:
    """Embed flat and random crops, together and one by one; the largest relative difference between both ways."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (3, contract.height, contract.width, 3), dtype=np.uint8)
    flat = np.stack([np.full_like(noise[0], level) for level in (0, 127, 255)])
    crops = np.concatenate([flat, noise])
    together = Encoder(backbone, contract, batch_size=len(crops)).embed(crops).vectors
    alone = Encoder(backbone, contract, batch_size=1).embed(crops).vectors
    _require_finite(np.concatenate([together, alone]), path)
    lengths = np.linalg.norm(alone, axis=1)
    if not lengths[3:].all() or np.allclose(alone[3], alone[4], rtol=1e-3, atol=1e-3 * lengths[3]):
        raise ArtifactError("random pictures get zero or equal embeddings: this is no model of faces", where=path)
    difference = float((np.linalg.norm(together - alone, axis=1) / np.maximum(lengths, lengths[3:].min())).max())
    if difference > _TOLERANCE:
        raise ArtifactError(
            f"embeddings depend on the rest of the batch: alone and among {len(crops)} they differ by {difference:.1%}",
            where=path,
            mend="export the model in eval mode",
        )
    return difference


def _require_finite(vectors: NDArray[np.float32], path: Path) -> None:
    if not np.isfinite(vectors).all():
        raise ArtifactError(
            "flat or random pictures get embeddings that are NaN or infinite", where=path, mend="check mean and std"
        )
