"""The artifact: the folder that training leaves, or that somebody's ONNX file or weights become."""

from hyperarc.artifact.artifact import (
    MODEL,
    Artifact,
    build_backbone,
    build_head,
    contract_of,
    load_encoder,
    open_artifact,
    save_artifact,
)
from hyperarc.artifact.calibration import CALIBRATION, Calibration
from hyperarc.artifact.card import LIBRARIES, Card
from hyperarc.artifact.imported import save_onnx_artifact, save_weights_artifact

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
    "save_weights_artifact",
]
