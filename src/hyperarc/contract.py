"""The input contract of an embedding: how a crop must look before a model may see it.

Two embeddings may only be compared when they were made under one contract. The digest of a contract follows every
embedding, gallery and calibration, and whoever compares checks it (:func:`require_same`).
"""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hyperarc.errors import ContractError


class Contract(BaseModel):
    """What a model expects of a crop, and what it returns.

    Attributes:
        height, width: crop size in pixels; 112 x 112 is the size of the ArcFace template.
        color: channel order the model was trained with. Faces are RGB everywhere in HyperArc; the encoder swaps
            channels for models that want BGR (AdaFace and MagFace releases do).
        mean, std: per channel, in grey levels 0..255: input = (pixel - mean) / std. The default is arcface_torch's
            (x / 255 - 0.5) / 0.5.
        template: name of the landmark template that crops are aligned to.
        embedding_dim: length of the returned vector.
        flip: "sum" adds the raw embeddings of a crop and its mirror image (the usual flip test), "none" does not.
        model: digest of the weights; embeddings of two models are never comparable.

    Example:
        >>> Contract(embedding_dim=128).digest == Contract(embedding_dim=128).digest
        True
        >>> Contract(color="bgr").digest == Contract().digest
        False
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(112, ge=16, le=1024)
    width: int = Field(112, ge=16, le=1024)
    color: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    std: tuple[float, float, float] = (127.5, 127.5, 127.5)
    template: str = "arcface_112"
    embedding_dim: int = Field(512, ge=1, le=65536)
    flip: Literal["sum", "none"] = "sum"
    model: str = ""

    @property
    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of all fields."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


CONVENTIONS: dict[str, dict[str, str | tuple[float, float, float]]] = {
    "arcface_torch": {"color": "rgb", "mean": (127.5, 127.5, 127.5), "std": (127.5, 127.5, 127.5)},
    "adaface": {"color": "bgr", "mean": (127.5, 127.5, 127.5), "std": (127.5, 127.5, 127.5)},
    "magface": {"color": "bgr", "mean": (0.0, 0.0, 0.0), "std": (255.0, 255.0, 255.0)},
    "npt": {"color": "rgb", "mean": (127.5, 127.5, 127.5), "std": (128.0, 128.0, 128.0)},
    "mxnet": {"color": "rgb", "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
    "imagenet": {"color": "rgb", "mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)},
}
"""Color order, mean and std that released models were trained with, by name, as the authors' code has them.

InsightFace's MXNet graphs subtract and scale in their first nodes, so they take raw pixels. ``imagenet`` is
(x / 255 - mean) / std with torchvision's mean (0.485, 0.456, 0.406) and std (0.229, 0.224, 0.225).
"""


def require_same(ours: Contract, theirs: Contract, *, where: object = None) -> None:
    """Raise :class:`ContractError` naming the differing fields unless both contracts are equal.

    Example:
        >>> require_same(Contract(), Contract())
    """
    if ours == theirs:
        return
    differing = [
        f"{name} {getattr(ours, name)!r} against {getattr(theirs, name)!r}"
        for name in Contract.model_fields
        if getattr(ours, name) != getattr(theirs, name)
    ]
    raise ContractError(
        f"embeddings of contract {theirs.digest} cannot be compared with those of contract {ours.digest} "
        f"({', '.join(differing)})",
        where=where,
        mend="embed both sides with the same artifact",
    )
