"""``hyperarc import``: an ONNX file of somebody's becomes an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from hyperarc.artifact import save_onnx_artifact
from hyperarc.artifact.onnx_backbone import OnnxBackbone
from hyperarc.artifact.onnx_graph import read_graph
from hyperarc.commands.show import Show
from hyperarc.contract import CONVENTIONS, Contract
from hyperarc.encoder import Encoder
from hyperarc.errors import ArtifactError, UsageError, unknown_name
from hyperarc.faces.template import TEMPLATES
from hyperarc.files import require_absent

_TOLERANCE = 0.01  # of an embedding's length; half precision and other kernels stay far below


@dataclass(frozen=True)
class Stated:
    """What the user says of a model, as the file does not.

    Attributes:
        like: name of :data:`hyperarc.contract.CONVENTIONS`, or None.
        pixels: fields of the contract that go before the convention's; None where not given.
        size: height and width of the crops, None where the graph says it.
        output: name of the output to take, or None.
        card: source and licence.
    """

    like: str | None = None
    pixels: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int | None, int | None] = (None, None)
    output: str | None = None
    card: Mapping[str, str] = field(default_factory=dict)


def import_onnx(path: Path, target: Path, stated: Stated, show: Show) -> dict[str, Any]:
    """Make the artifact ``target`` of an ONNX file; the contract and what the checks found.

    Raises:
        HyperArcError: color order, mean and std are not all stated.
        ArtifactError: the file is not what :class:`OnnxBackbone` takes, or embeds senselessly.
    """
    require_absent(target)
    pixels = _pixels(stated)
    original = graph = read_graph(path)
    backbone = OnnxBackbone(graph, size=_size(stated.size), output=stated.output)
    if len(graph.outputs) > 1:
        graph = graph.only(backbone.output)
        backbone = OnnxBackbone(graph, size=(backbone.height, backbone.width))
    contract = _contract(backbone, pixels, path)
    show.note(f"{path.name}: {graph.facts()['producer']}, opset {graph.facts()['opset']}, output {backbone.output}")
    difference = _try_out(backbone, contract, path)
    facts = {"source": path.name, "licence": "unknown", **stated.card, "source_sha256": original.sha256}
    facts |= {"sha256": graph.sha256, "output": backbone.output, **graph.facts()}
    contract = save_onnx_artifact(target, graph, contract, facts)
    checks = {"batch_difference": difference}
    return {"artifact": str(target), "digest": contract.digest, "contract": contract.model_dump(), **facts} | checks


def _pixels(stated: Stated) -> dict[str, Any]:
    """Fields of the contract as stated, the user's own before the convention's; nothing of it is guessed."""
    if stated.like is not None and stated.like not in CONVENTIONS:
        raise unknown_name("convention", stated.like, CONVENTIONS)
    convention = CONVENTIONS[stated.like] if stated.like else {}
    pixels = {**convention, **{name: value for name, value in stated.pixels.items() if value is not None}}
    missing = [name for name in ("color", "mean", "std") if name not in pixels]
    if missing:
        raise UsageError(
            f"an ONNX file does not say how it wants its pixels; not stated: {', '.join(missing)}",
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


def _contract(backbone: OnnxBackbone, pixels: Mapping[str, Any], path: Path) -> Contract:
    template = pixels.get("template") or _template(backbone)
    if template not in TEMPLATES:
        raise unknown_name("template", template, TEMPLATES)
    size = {"height": backbone.height, "width": backbone.width, "embedding_dim": backbone.embedding_dim}
    try:
        contract = Contract.model_validate({**pixels, "template": template, **size})
    except ValidationError as error:
        problem = error.errors()[0]
        raise UsageError(f"--{problem['loc'][0]}: {problem['msg']}", where=path) from None
    if not np.isfinite([*contract.mean, *contract.std]).all() or min(contract.std) <= 0:
        raise UsageError(f"expected finite means and positive stds, got {contract.mean}, {contract.std}", where=path)
    return contract


def _template(backbone: OnnxBackbone) -> str:
    """The template whose crops have the graph's shape."""
    for name, template in TEMPLATES.items():
        if backbone.height * template.width == backbone.width * template.height:
            return name
    raise UsageError(
        f"no template has the shape {backbone.width}x{backbone.height}", mend=f"give --template {'|'.join(TEMPLATES)}"
    )


def _try_out(backbone: OnnxBackbone, contract: Contract, path: Path) -> float:
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
