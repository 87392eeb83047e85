"""Class centers: the weights W [C, K, d] of a head, and which of them a step looks at."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperarc.errors import HyperArcError

CENTER_STD = 0.01  # N(0, 0.01^2) as insightface, CurricularFace and ElasticFace


class Centers(nn.Module):
    """K sub-centers for each of C classes.

    Args:
        num_classes: C.
        embedding_dim: d.
        sub_centers: K; a class's cosine is the largest over its K sub-centers (sub-center ArcFace, arXiv 1801.07698v4,
            section 3.2).
        sample_rate: share of the classes that a training step sweeps over: the batch's own and random others (Partial
            FC, arXiv 2203.15565). 1 sweeps over all. In eval mode all classes are swept.
        bias: whether every class has a learned bias [C].
        seed: of the initial centers and of the sampling.

    Attributes:
        weight: Parameter [C, K, d].
        sampling_state: state of the sampling's random generator, saved with the head so that a resumed run samples on.
    """

    def __init__(
        self,
        num_classes: int,
        embedding_dim: int,
        *,
        sub_centers: int = 1,
        sample_rate: float = 1.0,
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

    def sample(self, labels: Tensor) -> Tensor | None:
        """Sorted classes [S] that this training step sweeps over, or None for all.

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
