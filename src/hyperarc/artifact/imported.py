"""Artifacts of other people's models: an ONNX graph, or weights that fit one of our backbones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml
from safetensors.torch import save
from torch import Tensor

from hyperarc.artifact.artifact import MODEL, NETWORK, weights_digest
from hyperarc.artifact.card import imported_card_text
from hyperarc.artifact.onnx_graph import OnnxGraph
from hyperarc.contract import Contract
from hyperarc.files import write_beside
from hyperarc.recipe import Backbone
from hyperarc.recipe.dialect import YamlDumper

Facts = Mapping[str, object]


def save_onnx_artifact(path: Path, graph: OnnxGraph, contract: Contract, facts: Facts) -> Contract:
    """Write an artifact folder of an ONNX graph, whole or not at all; returns the contract with the graph's digest.

    Args:
        path: the folder.
        graph: with one output that may be the embedding.
        contract: its input, as stated; ``model`` is filled in.
        facts: name -> plain value for the card: source, licence, opset ...
    """
    return _save(path, {MODEL: graph.content}, graph.content, contract, facts)


def save_weights_artifact(
    path: Path, network: Backbone, state: Mapping[str, Tensor], contract: Contract, facts: Facts
) -> Contract:
    """Write an artifact folder of weights, whole or not at all; returns the contract with their digest.

    Args:
        path: the folder.
        network: the backbone that they are of.
        state: its whole state dict.
        contract: its input, as stated; ``model`` is filled in.
        facts: name -> plain value for the card: source, licence ...
    """
    weights = save({name: tensor.contiguous() for name, tensor in state.items()})
    section = yaml.dump({"backbone": network.model_dump(mode="json")}, Dumper=YamlDumper, sort_keys=False)
    return _save(path, {"weights.safetensors": weights, NETWORK: section.encode()}, weights, contract, facts)


def _save(path: Path, files: Mapping[str, bytes], model: bytes, contract: Contract, facts: Facts) -> Contract:
    contract = contract.model_copy(update={"model": weights_digest(model)})
    with write_beside(path) as folder:
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        (folder / "contract.json").write_text(contract.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / "card.md").write_text(imported_card_text(path.name, contract, facts), encoding="utf-8")
    return contract
