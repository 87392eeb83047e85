"""What a head says of one batch."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from hyperarc.heads.sweep.plan import Skipped


@dataclass(frozen=True)
class HeadOutput:
    """What a head says of one batch.

    Attributes:
        loss: scalar, mean over the batch, penalty included.
        target_cosine: [N] cosine to the true center, without margin, detached.
        nearest_negative_cosine: [N] largest cosine to any other center, without margin, detached.
        accuracy: share of rows nearer to their own center than to any other, without margin.
        auxiliary: name -> unweighted value of each auxiliary loss, detached.
        dominant_share: with sub-centers, share of rows nearest to their class's dominant one; else None.
        skipped: of the fused sweep, how much of the gradients' work was lost in rounding anyway; filled by backward.
    """

    loss: Tensor
    target_cosine: Tensor
    nearest_negative_cosine: Tensor
    accuracy: Tensor
    auxiliary: dict[str, Tensor] = field(default_factory=dict)
    dominant_share: Tensor | None = None
    skipped: Skipped | None = None
