"""The card of an artifact: what a reader must know before using it; YAML for programs, then text for people."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import yaml

from hyperarc.artifact.calibration import Calibration
from hyperarc.contract import Contract
from hyperarc.files import write_beside
from hyperarc.recipe import Recipe

_HEADING = "## Calibration"
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


def card_text(recipe: Recipe, contract: Contract, card: Card) -> str:
    """The card of an artifact that training leaves."""
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
    rows = "\n".join(f"| {name} | {value} |" for name, value in card.metrics.items())
    return (
        f"{_front(facts)}\n# {recipe.name}\n\n{recipe.description.strip()}\n\n"
        f"A {recipe.backbone.name} trained with {recipe.head.margin}; contract `{contract.digest}`.\n\n"
        f"| metric | value |\n|---|---|\n{rows}\n\n"
        f"Licence of the data: {card.data.get('licence', 'unknown')}. "
        "Judge the model on your own people before you rely on it.\n"
    )


def imported_card_text(name: str, contract: Contract, facts: Mapping[str, object]) -> str:
    """The card of an imported artifact; ``facts`` holds at least source and licence."""
    front = _front({"name": name, "contract": contract.digest, **facts})
    return (
        f"{front}\n# {name}\n\nImported from {facts['source']}; contract `{contract.digest}`. "
        "Color order, mean, std and template are what the importer stated; a wrong one costs accuracy quietly.\n\n"
        f"Licence: {facts['licence']}. Judge the model on your own people before you rely on it.\n"
    )


def write_calibrated_card(path: Path, calibration: Calibration) -> None:
    """Add the thresholds to the card, in place of those that an earlier calibration left there; no card, no section."""
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8")
    text = re.sub(rf"\n{_HEADING}\n.*?(?=\n## |\Z)", "", text, flags=re.DOTALL).rstrip("\n")
    with write_beside(path) as beside:
        beside.write_text(f"{text}\n\n{_calibration_text(calibration)}", encoding="utf-8")


def _calibration_text(calibration: Calibration) -> str:
    told = calibration.conditions
    rows = "".join(
        f"| {one.target:g} | {one.threshold.cosine:.4f} | {one.threshold.angle_deg:.2f}° | "
        f"{one.far.text(percent=False)} | {one.tar.text()} | {one.standing} |\n"
        for one in calibration.fars
        if one.supported and one.threshold is not None
    )
    return (
        f"{_HEADING}\n\nBy {told.get('list')} on {told.get('data')}, thresholds from {told.get('thresholds_from')}; "
        "`calibration.json` holds all of it. Intervals (95 %) take people as the unit. Thresholds hold for faces like "
        "these, not for others.\n\n"
        f"| FAR | cosine | angle | FAR reached | TAR | |\n|---|---|---|---|---|---|\n{rows}"
    )


def _front(facts: Mapping[str, object]) -> str:
    content = yaml.safe_dump(json.loads(json.dumps(facts)), sort_keys=False, allow_unicode=True)
    return f"---\n{content}---\n"
