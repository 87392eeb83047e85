"""Small-loss trimming: the faces of a batch with the largest loss are taken for noise and left out of the mean.

Networks learn clean labels before they learn wrong ones, so that early on a large loss points to a wrong label.
Co-teaching (Han, Yao, Yu, Niu, Xu, Hu, Tsang, Sugiyama, NeurIPS 2018, arXiv 1804.06872) lets two networks choose small
losses for each other, as Co-mining (Wang, Wang, Wang, Shi, Mei, ICCV 2019) does for faces; one network that chooses for
itself is iterative trimmed loss minimization (Shen, Sanghavi, ICML 2019, arXiv 1810.11874). Here it is the latter with
the former's schedule.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperarc.errors import HyperArcError


class Trimming(nn.Module):
    """The mean of the smallest losses of a batch.

    Of step T the share R(T) = 1 - min(T / T_k, 1) * tau is kept (Co-teaching, Algorithm 1 and section 4).

    Args:
        share: tau, the share that is left out in the end; the paper takes the share of noise.
        ramp_steps: T_k, over which it rises from 0; the paper takes 10 epochs.

    Attributes:
        step: buffer [], training steps so far.

    Example:
        >>> trimming = Trimming(share=0.5, ramp_steps=1)
        >>> loss = torch.tensor([1.0, 9.0, 3.0, 7.0])
        >>> [trimming(loss).item() for _ in range(2)]
        [5.0, 2.0]
    """

    step: Tensor

    def __init__(self, *, share: float = 0.2, ramp_steps: int = 1000) -> None:
        super().__init__()
        if not 0.0 < share < 1.0:
            raise HyperArcError(f"trimming.share must lie between 0 and 1, got {share}")
        if ramp_steps < 0:
            raise HyperArcError(f"trimming.ramp_steps must be at least 0, got {ramp_steps}")
        self.share = share
        self.ramp_steps = ramp_steps
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, loss: Tensor) -> Tensor:
        """The mean of those losses [N] that are kept, at least one; of all in eval mode."""
        if not self.training:
            return loss.mean()
        risen = min(int(self.step) / self.ramp_steps, 1.0) if self.ramp_steps else 1.0
        self.step += 1
        kept = max(1, round((1.0 - risen * self.share) * len(loss)))
        return loss.topk(kept, largest=False).values.mean()
