"""HyperArc: margin-based face recognition.

Importing this package loads neither torch nor numpy; what is named here is imported when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hyperarc import metrics
    from hyperarc.artifact import load_encoder, open_artifact
    from hyperarc.backbones import backbone_names, create_backbone
    from hyperarc.contract import Contract
    from hyperarc.encoder import Embeddings, Encoder
    from hyperarc.errors import HyperArcError
    from hyperarc.faces.alignment import align
    from hyperarc.faces.detection import detect
    from hyperarc.faces.face import Face
    from hyperarc.heads.head import create_head
    from hyperarc.margins import margin_names
    from hyperarc.protocols.protocol import protocol_names
    from hyperarc.recipe.file import load_recipe, recipe_names

__version__ = "0.1.0"

_HOMES = {
    "Contract": "hyperarc.contract",
    "Embeddings": "hyperarc.encoder",
    "Encoder": "hyperarc.encoder",
    "Face": "hyperarc.faces.face",
    "HyperArcError": "hyperarc.errors",
    "align": "hyperarc.faces.alignment",
    "backbone_names": "hyperarc.backbones",
    "create_backbone": "hyperarc.backbones",
    "create_head": "hyperarc.heads.head",
    "detect": "hyperarc.faces.detection",
    "load_encoder": "hyperarc.artifact",
    "load_recipe": "hyperarc.recipe.file",
    "margin_names": "hyperarc.margins",
    "metrics": "hyperarc.metrics",
    "open_artifact": "hyperarc.artifact",
    "protocol_names": "hyperarc.protocols.protocol",
    "recipe_names": "hyperarc.recipe.file",
}

__all__ = [
    "Contract",
    "Embeddings",
    "Encoder",
    "Face",
    "HyperArcError",
    "__version__",
    "align",
    "backbone_names",
    "create_backbone",
    "create_head",
    "detect",
    "load_encoder",
    "load_recipe",
    "margin_names",
    "metrics",
    "open_artifact",
    "protocol_names",
    "recipe_names",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hyperarc' has no attribute {name!r}")
    home = importlib.import_module(_HOMES[name])
    return home if _HOMES[name].endswith(f".{name}") else getattr(home, name)


def __dir__() -> list[str]:
    return __all__
