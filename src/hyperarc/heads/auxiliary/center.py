"""Center loss: running centers in Euclidean space that pull their samples.

Wen, Zhang, Li, Qiao: "A Discriminative Feature Learning Approach for Deep Face Recognition", ECCV 2016, eq. 2 to 4.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hyperarc.errors import HyperArcError
from hyperarc.heads.auxiliary.auxiliary import Auxiliary, auxiliaries
from hyperarc.heads.shard import Cut, Shard


@auxiliaries.register("center")
class Center(Auxiliary):
    """sum of ||x_i - c_{y_i}||^2 / (2N) on raw embeddings; weight (the paper's lambda) 0.003.

    Use it beside the plain softmax, whose embeddings keep their norm.

    The centers are no parameters: in training mode each batch moves them by alpha times
    sum_{i: y_i = j} (c_j - x_i) / (1 + n_j), n_j the class's count in the batch.

    Args:
        alpha: 0.5.

    Attributes:
        centers: buffer [C, d], or of the classes held here, from 0.

    Example:
        >>> from hyperarc.heads.shard import Cut, Shard
        >>> center = Center(alpha=1.0)
        >>> center.for_classes(Cut.of(2), 2)
        >>> unused = Shard.whole(torch.zeros(2, 1, 2))
        >>> float(center(torch.tensor([[2.0, 0.0]]), torch.tensor([1]), unused)), center.centers.tolist()
        (2.0, [[0.0, 0.0], [1.0, 0.0]])
    """

    default_weight = 0.003
    sharded = ("centers",)

    def __init__(self, *, alpha: float = 0.5, **rest: Any) -> None:
        super().__init__(**rest)
        if not 0.0 <= alpha <= 1.0:
            raise HyperArcError(f"alpha must be in [0, 1], got {alpha}")
        self.alpha = alpha
        self.cut = Cut.of(0)
        self.centers: Tensor
        self.register_buffer("centers", torch.zeros(0, 0))

    def for_classes(self, cut: Cut, embedding_dim: int) -> None:
        self.cut = cut
        self.centers = torch.zeros(cut.last - cut.first, embedding_dim)

    def forward(self, embeddings: Tensor, labels: Tensor, centers: Shard) -> Tensor:
        own = self.cut.ask(labels, lambda _, places: self.centers[places], self.centers[:0])
        loss = (embeddings - own.to(embeddings.dtype)).square().sum() / (2 * len(labels))
        if self.training:
            self._move(embeddings.detach(), labels)
        return loss

    def _move(self, embeddings: Tensor, labels: Tensor) -> None:
        places = self.cut.local(labels)
        rows, places = embeddings[places >= 0].to(self.centers.dtype), places[places >= 0]
        difference = torch.zeros_like(self.centers).index_add_(0, places, self.centers[places] - rows)
        counts = torch.bincount(places, minlength=len(self.centers)).to(self.centers.dtype)
        self.centers -= self.alpha * difference / (1.0 + counts)[:, None]
