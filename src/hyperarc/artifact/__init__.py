"""The artifact: the folder that training leaves, or that an imported ONNX file becomes."""

from hyperarc.artifact.artifact import (
    MODEL,
    Artifact,
    build_backbone,
    build_head,
    contract_of,
    load_encoder,
    open_artifact,
    save_artifact,
    save_onnx_artifact,
)
from hyperarc.artifact.calibration import CALIBRATION, Calibration
from hyperarc.artifact.card import LIBRARIES, Card

__all__ = [
    "CALIBRATION",
    "LIBRARIES",
    "MODEL",
    "Artifact",
    "Calibration",
    "Card",
    "build_backbone",
    "build_head",
    "contract_of",
    "load_encoder",
    "open_artifact",
    "save_artifact",
    "save_onnx_artifact",
]
