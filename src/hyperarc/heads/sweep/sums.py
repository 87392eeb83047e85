"""What a sweep sums over the negatives of every row, and how a block's logits become their shares of it.

Both kinds turn logits [N, w] in place into numbers that are, times a factor of their row, the derivatives of the sum.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LOG2_E = math.log2(math.e)


class LogSum:
    """n_i = log sum_j exp(logit_ij), in base 2, where a processor's exponential is fastest.

    A block's logits become exponentials relative to a shift of their row: the largest so far, or none at all where
    logits are bounded so that no sum of exponentials leaves the range of fp32.
    """

    unit = LOG2_E  # logits are expected in units of log 2: natural ones times this

    def __init__(self, rows: Tensor, bounded: bool) -> None:
        self.bounded = bounded
        self.sum = rows.new_zeros(len(rows))
        self.shift = rows.new_full((len(rows),), torch.finfo(rows.dtype).min)

    def add(self, logit: Tensor) -> Tensor | None:
        """Turn a block's logits into exponentials, add them up, and answer their shift [N], None for none."""
        if not self.bounded:
            self._raise(torch.maximum(self.shift, logit.amax(dim=1).to(self.shift.dtype)))
            logit.sub_(self.shift[:, None])
        self.sum += logit.exp2_().sum(dim=1, dtype=self.sum.dtype)
        return None if self.bounded else self.shift

    def add_rescaled(self, exponential: Tensor, shift: Tensor, ratio: Tensor) -> Tensor:
        """The same for exponentials that another sum made of logits that are now ``ratio`` times as large."""
        self._raise((shift * ratio).clamp_min(torch.finfo(shift.dtype).min))  # the least: of a row without negatives
        self.sum += exponential.log2_().mul_(ratio).exp2_().sum(dim=1, dtype=self.sum.dtype)
        return self.shift

    def value(self) -> Tensor:
        """n [N], natural; -inf of no negatives."""
        return (self.sum.log2() if self.bounded else self.sum.log2() + self.shift) / LOG2_E

    def shares(self, logit: Tensor, log_sum: Tensor) -> Tensor | None:
        """Turn a block's logits into exponentials once the sum is known, and answer their shift."""
        if self.bounded:
            logit.exp2_()
            return None
        total = (log_sum * LOG2_E).clamp_min(torch.finfo(log_sum.dtype).min)  # a row without any negative
        logit.sub_(total[:, None]).exp2_()
        return total

    def factor(self, log_sum: Tensor, shift: Tensor | None) -> Tensor:
        """[N] what makes shares of exponentials with this shift."""
        total = log_sum * LOG2_E
        exponent = -total if shift is None else shift - total
        return exponent.exp2_().masked_fill_(log_sum == -torch.inf, 0.0)

    def _raise(self, shift: Tensor) -> None:
        self.sum *= (self.shift - shift).exp2_()
        self.shift = shift


class SoftplusSum:
    """n_i = sum_j softplus(logit_ij + b) of the binary losses, which judge every class by itself."""

    unit = 1.0

    def __init__(self, rows: Tensor, offset: Tensor) -> None:
        self.offset = offset
        self.sum = rows.new_zeros(len(rows))
        self.slope = rows.new_zeros(len(rows))

    def add(self, logit: Tensor) -> None:
        """Add a block's logits up and turn them into their shares."""
        logit.add_(self.offset)
        self.sum -= F.logsigmoid(-logit).sum(dim=1, dtype=self.sum.dtype)  # softplus, exact beyond 20 too
        self.slope += logit.sigmoid_().sum(dim=1, dtype=self.sum.dtype)

    def value(self) -> Tensor:
        """n [N]; ``slope`` is then d n / d b."""
        return self.sum

    def shares(self, logit: Tensor, log_sum: Tensor) -> None:
        """Turn a block's logits into their shares."""
        logit.add_(self.offset).sigmoid_()

    def factor(self, log_sum: Tensor, shift: Tensor | None) -> Tensor:
        """[N] ones: the shares are what they are."""
        return torch.ones_like(log_sum)
