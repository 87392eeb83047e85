"""What an inversion aims at: the class that a head knows, or an embedding."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from hyperarc.errors import DataError
from hyperarc.geometry import unit
from hyperarc.heads.head import Head


class Goal(Protocol):
    """One target for each picture of a batch."""

    def __len__(self) -> int:
        """How many targets."""

    def loss(self, embeddings: Tensor) -> Tensor:
        """How far raw embeddings [N, d] are from the targets, a scalar."""

    def cosine(self, embeddings: Tensor) -> Tensor:
        """[N] cosines to the targets: the score by which tries are compared."""

    def to(self, device: torch.device) -> Goal:
        """The same on a device."""


class ClassGoal:
    """Classes of a trained head (closed set): the head's own margin loss (ArcFace paper, section 3.3).

    Args:
        head: trained; its state is not changed.
        labels: [N] of the people to show.

    Raises:
        DataError: a label that the head does not know.
    """

    def __init__(self, head: Head, labels: Any) -> None:
        self.head = head.eval().requires_grad_(False)
        self.labels = torch.as_tensor(np.asarray(labels, np.int64))
        classes = len(head.centers.weight)
        wrong = (self.labels < 0) | (self.labels >= classes)
        if self.labels.ndim != 1 or not len(self.labels) or wrong.any():
            got = self.labels[wrong][:3].tolist() if self.labels.ndim == 1 else list(self.labels.shape)
            raise DataError(f"expected labels of the {classes} people that the head knows, got {got}")

    def __len__(self) -> int:
        return len(self.labels)

    def loss(self, embeddings: Tensor) -> Tensor:
        """The head's loss."""
        loss: Tensor = self.head(embeddings, self.labels).loss
        return loss

    def cosine(self, embeddings: Tensor) -> Tensor:
        """To the own center, the nearest one of several."""
        cosine: Tensor = self.head(embeddings, self.labels).target_cosine
        return cosine

    def to(self, device: torch.device) -> ClassGoal:
        """The head and the labels on a device."""
        self.head.to(device)
        self.labels = self.labels.to(device)
        return self


class EmbeddingGoal:
    """Embeddings (open set): the mean over the batch of ||f/|f| - t/|t|||^2.

    The paper says "L2 distance" and leaves open whether it is squared or of unit vectors; of unit vectors squared it is
    2 - 2 cos, the distance by which faces are verified.

    Args:
        targets: [N, d] of any length but 0.

    Raises:
        DataError: no matrix; NaN, infinity or zero vectors, by row.

    Example:
        >>> goal = EmbeddingGoal([[2.0, 0.0], [0.0, 1.0]])
        >>> float(goal.loss(torch.tensor([[1.0, 0.0], [1.0, 0.0]]))), goal.cosine(torch.eye(2)).tolist()
        (1.0, [1.0, 1.0])
    """

    def __init__(self, targets: Any) -> None:
        vectors = torch.as_tensor(np.asarray(targets, np.float32))
        if vectors.ndim != 2 or 0 in vectors.shape:
            raise DataError(f"expected embeddings [N, d] to invert, got {list(vectors.shape)}")
        usable = vectors.isfinite().all(dim=1) & (vectors != 0).any(dim=1)
        if not usable.all():
            row = int((~usable).nonzero()[0, 0])
            raise DataError("a target is zero, NaN or infinite", where=f"embedding row {row}", mend="embed it again")
        self.targets = unit(vectors)

    def __len__(self) -> int:
        return len(self.targets)

    def loss(self, embeddings: Tensor) -> Tensor:
        """Mean squared distance of unit vectors."""
        return (unit(embeddings) - self.targets).square().sum(dim=1).mean()

    def cosine(self, embeddings: Tensor) -> Tensor:
        """To the targets."""
        return (unit(embeddings.detach()) * self.targets).sum(dim=1)

    def to(self, device: torch.device) -> EmbeddingGoal:
        """The targets on a device."""
        self.targets = self.targets.to(device)
        return self
