"""Normalized softmax (NormFace): the decision depends on angles only.

Wang, Xiang, Cheng, Yuille: "NormFace", ACM MM 2017, arXiv 1704.06369. The reference point of every margin.
"""

from __future__ import annotations

from hyperarc.margins.margin import Margin, register


@register("norm_softmax")
class NormSoftmax(Margin):
    """Target cos(theta_y), without a margin.

    Use it as the zero of every margin: what a margin gains is measured against it.

    Args:
        scale: s; 64 as for the margins. The journal version of ArcFace found 20 to be the best without a margin.

    Example:
        >>> import torch
        >>> NormSoftmax().target(torch.tensor([0.5]), torch.ones(1), torch.zeros(1, dtype=torch.long)).tolist()
        [0.5]
    """
