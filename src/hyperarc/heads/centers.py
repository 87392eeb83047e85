"""Class centers: the weights W [C, K, d] of a head, and which of them a step looks at."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hyperarc.errors import HyperArcError
from hyperarc.heads.prototypes import create_prototypes
from hyperarc.heads.shard import Cut, Shard

CENTER_STD = 0.01  # N(0, 0.01^2) as insightface, CurricularFace and ElasticFace
DRAWN_TOGETHER = 16384  # classes; each such block has a stream of its own, so that no process draws what it won't hold
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
        sharded: keep this process's classes alone, where several train together. Each starts as it would among all.

    Attributes:
        weight: Parameter [C, K, d], or of the classes held here.
        cut: which classes those are.
        sampling_state: state of the sampling's random generator, saved with the head so that a resumed run samples on.
        prototypes: the queues of hard classes, or None.
        votes: [C, K] how often each sub-center was the nearest to a face of its class, of about the class's last 20
            faces seen in training; None for K = 1.
    """

    sharded = ("weight", "bias")  # what is cut; all else is the same in all processes

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
        sharded: bool = False,
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
        self.cut = Cut.of(num_classes, sharded)
        generator = torch.Generator()
        self.weight = nn.Parameter(draw_centers(self.cut, (sub_centers, embedding_dim), seed, generator))
        self.bias = nn.Parameter(torch.zeros(len(self.weight))) if bias else None
        self.sample_rate = sample_rate
        self.sampling_state: Tensor
        self.register_buffer("sampling_state", generator.get_state())
        if prototypes is not None and sample_rate < 1.0:
            raise HyperArcError("prototypes choose the classes of a step: leave sample_rate at 1")
        self.prototypes = None if prototypes is None else create_prototypes(num_classes, **prototypes)
        self.votes: Tensor | None
        self.register_buffer("votes", torch.zeros(num_classes, sub_centers) if sub_centers > 1 else None)

    def select(self, labels: Tensor) -> Tensor | None:
        """Sorted classes [S] of those held here that this training step sweeps over, or None for all.

        Labels [N] are of the whole batch.
        """
        if self.prototypes is None or not self.training:
            return self.sample(labels)
        local = self.cut.local(self.prototypes.select(labels, self.shard().detach()))
        return local[local >= 0]

    def shard(self, dtype: torch.dtype | None = None) -> Shard:
        """The centers held here, with the classes that they are."""
        return Shard(self.weight.to(dtype or self.weight.dtype), self.cut)

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
        classes = torch.arange(self.cut.classes, device=self.weight.device) if classes is None else classes
        return torch.zeros_like(classes) if self.votes is None else self.votes[classes].argmax(dim=1)

    def dominant_weight(self) -> Tensor:
        """[C, d] the dominant center of each class held here: what stays of the classifier without the others."""
        places = torch.arange(len(self.weight), device=self.weight.device)
        return self.weight.detach()[places, self.dominant(places + self.cut.first)]

    @property
    def mined(self) -> int:
        """How many nearest negatives hard prototype mining wants to hear of."""
        return self.prototypes.queue if self.prototypes is not None and self.training else 0

    @property
    def swept(self) -> int:
        """How many classes a training step sweeps over; with prototypes, the last one did."""
        if self.prototypes is not None:
            return self.prototypes.selected
        return int(self.sample_rate * self.cut.classes)

    def sample(self, labels: Tensor) -> Tensor | None:
        """Sorted classes [S] of those held here, drawn at random, or None for all.

        S = int(sample_rate * C), C those held here: the batch's classes and random others, or just the former where
        they are more. Every process draws for itself, from a state that is the same in all.
        """
        if self.sample_rate == 1.0 or not self.training:
            return None
        generator = torch.Generator()
        generator.set_state(self.sampling_state.cpu())
        own = generator
        if not self.cut.whole:
            seed = int(torch.randint(2**62, (), generator=generator))
            own = torch.Generator().manual_seed(_stream(seed, self.cut.first))
        draw = torch.rand(len(self.weight), generator=own).to(labels.device)
        self.sampling_state.copy_(generator.get_state())
        present = self.cut.local(labels).unique()
        present = present[present >= 0]
        draw[present] = 2.0
        size = max(int(self.sample_rate * len(self.weight)), len(present))
        return draw.topk(size).indices.sort().values


def draw_centers(cut: Cut, shape: tuple[int, int], seed: int, generator: torch.Generator) -> Tensor:
    """Initial centers [last - first, K, d] of a cut, ~ N(0, 0.01^2); a class's do not depend on how classes are cut.

    Args:
        cut: which classes.
        shape: K and d.
        seed: of all classes.
        generator: drawn from for the first block of classes, and left as it stands then.
    """
    weight = torch.empty(cut.last - cut.first, *shape)
    for first in {0, *range(cut.first // DRAWN_TOGETHER * DRAWN_TOGETHER, cut.last, DRAWN_TOGETHER)}:
        stream = generator.manual_seed(seed) if first == 0 else torch.Generator().manual_seed(_stream(seed, first))
        last = min(first + DRAWN_TOGETHER, cut.classes)
        block = torch.empty(last - first, *shape).normal_(0.0, CENTER_STD, generator=stream)
        here = slice(max(first, cut.first), max(min(last, cut.last), cut.first))
        if here.start < here.stop:
            weight[here.start - cut.first : here.stop - cut.first] = block[here.start - first : here.stop - first]
    return weight


def _stream(seed: int, number: int) -> int:
    """The seed of stream ``number`` of a seed."""
    return int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:8], "little") >> 1
