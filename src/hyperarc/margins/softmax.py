"""Softmax: the plain linear classifier, z = W x + b, on embeddings and centers of any length."""

from __future__ import annotations

from hyperarc.errors import HyperArcError
from hyperarc.margins.margin import Margin, register


@register("softmax")
class Softmax(Margin):
    """Target <x, w_y> (+ b_y), nothing normalized and no scale.

    Use it as the baseline of the family, and as the start of trainings that a margin makes too hard at first.

    Args:
        bias: add a learned bias per class; insightface's MXNet baseline trains with and without.

    Example:
        >>> import torch
        >>> Softmax().target(torch.tensor([7.0]), torch.ones(1), torch.zeros(1, dtype=torch.long)).tolist()
        [7.0]
    """

    normalizes_embeddings = False
    normalizes_centers = False

    def __init__(self, *, bias: bool = False, inter_class_filter: float | None = None) -> None:
        super().__init__(scale=1.0)
        if inter_class_filter is not None:
            raise HyperArcError("inter_class_filter compares cosines, which the plain softmax does not have")
        self.bias = bias
