"""What a sweep is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from hyperarc.errors import HyperArcError
from hyperarc.heads.sweep.precision import EXACT, Precision
from hyperarc.margins.margin import NegativeMap


@dataclass(frozen=True)
class Plan:
    """One sweep of rows x_i over centers w_j.

    Attributes:
        scale: s in exp(s * negative(c_ij)).
        negative_map: elementwise map of the negatives' cosines, with its ``slope``, or None for the identity.
        normalize_centers: c_ij = <x_i, w_j / ||w_j||>; False takes <x_i, w_j>.
        bias: [C] added to every c_ij, or None.
        offset: b [] of the binary losses, which ask for n_i = sum_{j != y} softplus(s * negative(c_ij) + b) instead.
        top_k: how many nearest negatives are asked for, with gradient.
        rescale: called with target [N] and log_sum [N] at ``scale``, answers the scale to go on with (AdaCos); None
            keeps ``scale``.
        memory_mb: what the chunked sweep may hold beside its inputs and results, in MiB.
        foreign: whether a label may be -1, its class not being among these: all of them are then negatives of that row,
            and its target is 0.
        precision: dtypes of its products and of what it keeps.
        update: called in backward with first and last class of a block and the gradient [w, K, d] of its centers, a
            buffer; it changes the centers, which then get no gradient. None hands the whole gradient back.
    """

    scale: float | Tensor = 1.0
    negative_map: NegativeMap | None = None
    normalize_centers: bool = True
    bias: Tensor | None = None
    offset: Tensor | None = None
    top_k: int = 0
    rescale: Callable[[Tensor, Tensor], Tensor] | None = None
    memory_mb: float = 64.0
    foreign: bool = False
    precision: Precision = EXACT
    update: Callable[[int, int, Tensor], None] | None = None

    def __post_init__(self) -> None:
        if self.bias is not None and self.normalize_centers:
            raise HyperArcError("a bias goes with centers that keep their length: set normalize_centers=False")


@dataclass
class Skipped:
    """What backward left out, known once it has run.

    Attributes:
        share: of the N x C cosines, those whose part in the gradients is lost in rounding; None before backward.
    """

    share: float | None = None


@dataclass(frozen=True)
class Swept:
    """What one sweep knows of every row.

    Attributes:
        target: [N] c_iy of the true class (the largest of its K sub-centers); differentiable.
        log_sum: [N] n_i = log sum_{j != y} exp(s * negative(c_ij)); differentiable. -inf where no negative exists.
            With ``offset`` the sum of its binary losses.
        nearest: [N] max_{j != y} c_ij before ``negative``; detached.
        nearest_class: [N] its class; detached.
        nearest_k: [N, min(top_k, C - 1)] the largest c_ij, j != y, falling; differentiable. None unless asked for. With
            ``foreign`` [N, min(top_k, C)], -inf where there are fewer.
        nearest_k_class: their classes, detached. None unless asked for.
        skipped: of a sweep that leaves out what does not count, how much; filled by backward.
    """

    target: Tensor
    log_sum: Tensor
    nearest: Tensor
    nearest_class: Tensor
    nearest_k: Tensor | None = None
    nearest_k_class: Tensor | None = None
    skipped: Skipped | None = None
