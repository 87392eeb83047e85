"""Class centers: the weights W [C, K, d] of a head, and which of them a step looks at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hyperarc.errors import HyperArcError
from hyperarc.heads.prototypes import create_prototypes

CENTER_STD = 0.01  # N(0, 0.01^2) as insightface, CurricularFace and ElasticFace
VOTE_MEMORY = 0.95  # of a class's earlier votes at each new one: about its last 20 faces count


class Centers(nn.Module):
    """K sub-centers for each of C classes.

    Args:
        num_classes: C.
        embedding_dim: d.
        sub_centers: K; a class's cosine is the largest over its K sub-centers (sub-center ArcFace, arXiv 1801.07698v4,
            section 3.2).
        sample_rate: share of the classes that a training step sweeps over: the batch's own and random others (Partial
            FC, arXiv 2203.15565). 1 sweeps over all. In eval mode all classes are swept.
        prototypes: arguments of :class:`~hyperarc.heads.prototypes.HardPrototypes`, which then chooses the classes that
            a training step sweeps over instead of chance; None leaves it out.
        bias: whether every class has a learned bias [C].
        seed: of the initial centers and of the sampling.

    Attributes:
        weight: Parameter [C, K, d].
        sampling_state: state of the sampling's random generator, saved with the head so that a resumed run samples on.
        prototypes: the queues of hard classes, or None.
        votes: [C, K] how often each sub-center was the nearest to a face of its class, of about the class's last 20
            faces seen in training; None for K = 1.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        *,
        sub_centers: int = 1,
        sample_rate: float = 1.0,
        prototypes: Mapping[str, Any] | None = None,
        bias: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("num_classes", num_classes, 2),
            ("embedding_dim", embedding_dim, 1),
            ("sub_centers", sub_centers, 1),
        ):
            if value < least:
                raise HyperArcError(f"{name} must be at least {least}, got {value}")
        if not 0.0 < sample_rate <= 1.0:
            raise HyperArcError(f"sample_rate must be in (0, 1], got {sample_rate}")
        generator = torch.Generator().manual_seed(seed)
        weight = torch.empty(num_classes, sub_centers, embedding_dim)
        self.weight = nn.Parameter(weight.normal_(0.0, CENTER_STD, generator=generator))
        self.bias = nn.Parameter(torch.zeros(num_classes)) if bias else None
        self.sample_rate = sample_rate
        self.sampling_state: Tensor
        self.register_buffer("sampling_state", generator.get_state())
        if prototypes is not None and sample_rate < 1.0:
            raise HyperArcError("prototypes choose the classes of a step: leave sample_rate at 1")
        self.prototypes = None if prototypes is None else create_prototypes(num_classes, **prototypes)
        self.votes: Tensor | None
        self.register_buffer("votes", torch.zeros(num_classes, sub_centers) if sub_centers > 1 else None)

    def select(self, labels: Tensor) -> Tensor | None:
        """Sorted classes [S] that this training step sweeps over, or None for all."""
        if self.prototypes is None or not self.training:
            return self.sample(labels)
        return self.prototypes.select(labels, self.weight.detach())

    def vote(self, labels: Tensor, winner: Tensor) -> None:
        """Count the nearest sub-center [N] of each face, given its label [N]."""
        if self.votes is None:
            return
        own, place = labels.unique(return_inverse=True)
        count = self.votes.new_zeros(len(own), self.votes.shape[1])
        count.index_put_((place, winner), count.new_ones(()), accumulate=True)
        self.votes[own] = self.votes[own] * VOTE_MEMORY ** count.sum(dim=1, keepdim=True) + count

    def dominant(self, classes: Tensor | None = None) -> Tensor:
        """The sub-center with most votes of the given classes [N], or of all [C]; the first on ties.

        Sub-center ArcFace (arXiv 1801.07698v4), section 3.2.
        """
        classes = torch.arange(len(self.weight), device=self.weight.device) if classes is None else classes
        return torch.zeros_like(classes) if self.votes is None else self.votes[classes].argmax(dim=1)

    def dominant_weight(self) -> Tensor:
        """[C, d] the dominant center of each class: what stays of the classifier without the others."""
        return self.weight.detach()[torch.arange(len(self.weight), device=self.weight.device), self.dominant()]

    @property
    def mined(self) -> int:
        """How many nearest negatives hard prototype mining wants to hear of."""
        return self.prototypes.queue if self.prototypes is not None and self.training else 0

    @property
    def swept(self) -> int:
        """How many classes a training step sweeps over; with prototypes, the last one did."""
        if self.prototypes is not None:
            return self.prototypes.selected
        return int(self.sample_rate * len(self.weight))

    def sample(self, labels: Tensor) -> Tensor | None:
        """Sorted classes [S], drawn at random, or None for all.

        S = int(sample_rate * C): the batch's classes and random others, or just the former where they are more.
        """
        if self.sample_rate == 1.0 or not self.training:
            return None
        generator = torch.Generator()
        generator.set_state(self.sampling_state.cpu())
        draw = torch.rand(len(self.weight), generator=generator).to(labels.device)
        self.sampling_state.copy_(generator.get_state())
        present = labels.unique()
        draw[present] = 2.0
        size = max(int(self.sample_rate * len(self.weight)), len(present))
        return draw.topk(size).indices.sort().values
