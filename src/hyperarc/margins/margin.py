"""What a margin answers, and the registry that finds its file.

With unit embeddings x_i, unit class centers w_j, label y and cosine c_ij = <x_i, w_j>, every loss of the family is

    t_i = s * target(c_iy)                                  the true class
    n_i = log sum_{j != y} exp(s * negative(c_ij))          all others, one sweep
    loss_i = softplus(n_i - t_i)                            cross-entropy of the margin softmax

A margin chooses ``target``, for some papers also ``negative`` and a ``penalty``, rarely the ``loss`` itself. A margin
with an ``offset`` b judges every class by itself, as binary losses do: n_i = sum_{j != y} softplus(s * negative(c_ij)
+ b). It knows nothing of ranks, chunks, sampling, sub-centers or precision: the head takes care of those.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperarc.errors import HyperArcError
from hyperarc.registry import Registry

margins: Registry[type[Margin]] = Registry("margin", "hyperarc.margins")
M = TypeVar("M", bound="type[Margin]")


class Margin(nn.Module):
    """Base of all margins; by itself the normalized softmax.

    Args:
        scale: s, the radius of the hypersphere that logits live on.
        inter_class_filter: tau in cosine; negatives above it count as cosine 0 and get no gradient (Partial FC,
            arXiv 2203.15565: robust against people who appear under two labels). None switches it off.

    Subclasses override :meth:`target`, and if the paper asks for it :meth:`threshold` with :meth:`negative`,
    :meth:`penalty`, :meth:`observe`, :meth:`rescale`, :meth:`offset` or :meth:`loss`. Running state lives in
    registered buffers.
    """

    normalizes_embeddings = True  # cosine = <x / ||x||, w>; the original A-Softmax keeps the length of x
    normalizes_centers = True  # the plain softmax keeps the length of w as well
    rescales = False  # whether :meth:`rescale` must hear of the batch before it is used (AdaCos)
    top_k = 0  # how many nearest negatives :meth:`loss` asks for (NPT-Loss)
    scale: Tensor | float

    def __init__(self, *, scale: float = 64.0, inter_class_filter: float | None = None) -> None:
        super().__init__()
        self.scale = positive("scale", scale)
        if inter_class_filter is not None and not -1.0 <= inter_class_filter <= 1.0:
            raise HyperArcError(f"inter_class_filter is a cosine in [-1, 1], got {inter_class_filter}")
        self.inter_class_filter = inter_class_filter

    def for_classes(self, num_classes: int) -> None:
        """Make what depends on the number of classes; called once, before the first batch."""

    def observe(self, cosine: Tensor, norm: Tensor) -> None:
        """Update running state from the batch's target cosines [N] and norms [N], before they are used."""

    def rescale(self, cosine: Tensor, log_sum: Tensor) -> None:
        """Choose the scale from the batch's target cosines [N] and n_i [N] at the scale as it was."""

    def target(self, cosine: Tensor, norm: Tensor, labels: Tensor) -> Tensor:
        """The margined target cosine [N] of the true cosines [N], embedding norms [N] and labels [N]."""
        return cosine

    def threshold(self, cosine: Tensor, norm: Tensor) -> Tensor | None:
        """One number per row [N] that :meth:`negative` compares with, or None when it needs none."""
        return None

    def negative(self, cosine: Tensor, threshold: Tensor | None) -> Tensor:
        """The elementwise map of negative cosines [N, C], given the threshold as [N, 1]."""
        return cosine

    def negative_slope(self, cosine: Tensor, threshold: Tensor | None) -> Tensor | None:
        """The derivative of :meth:`negative`, for speed; None lets autograd find it."""
        return None

    def negative_form(self) -> NegativeForm | None:
        """:meth:`negative` in numbers, for sweeps that do not call Python; None where it has no such form."""
        return None

    def offset(self) -> Tensor | None:
        """b [], learned or not, of a loss that judges every class by itself; None for the softmax."""
        return None

    def loss(self, logit: Tensor, log_sum: Tensor, nearest: Tensor | None) -> Tensor:
        """Loss [N] of the margined target logits t [N], n [N] and the ``top_k`` nearest negatives' cosines [N, k].

        softplus(n - t) is the cross-entropy of the margined logits, -log(e^t / (e^t + e^n)).
        """
        return F.softplus(log_sum - logit)

    def penalty(self, norm: Tensor) -> Tensor | None:
        """A scalar added to the mean loss, or None."""
        return None

    def negative_map(self, cosine: Tensor, norm: Tensor) -> NegativeMap | None:
        """What the sweep does to every negative cosine of these rows, or None for nothing."""
        keeps = type(self).negative is Margin.negative
        if keeps and self.inter_class_filter is None:
            return None
        threshold = None if keeps else self.threshold(cosine.detach(), norm.detach())
        tau: Tensor | float | None = self.inter_class_filter
        if tau is not None and not self.normalizes_embeddings:
            tau = tau * norm.detach()[:, None]  # the sweep then holds ||x|| cos(theta)
        return NegativeMap(self, None if threshold is None else threshold[:, None], tau)


@dataclass(frozen=True)
class NegativeForm:
    """A ``negative`` that is square c^2 + linear c + constant above the threshold, and max(c, floor) up to it.

    ``above`` is the threshold of margins whose :meth:`Margin.threshold` gives none.
    """

    square: Tensor | float = 0.0
    linear: Tensor | float = 1.0
    constant: Tensor | float = 0.0
    floor: float = -math.inf
    above: float = math.inf


@dataclass(frozen=True)
class NegativeMap:
    """A margin's ``negative`` for the rows of one batch, after the inter-class filter; value and derivative."""

    margin: Margin
    threshold: Tensor | None
    tau: Tensor | float | None

    def __call__(self, cosine: Tensor) -> Tensor:
        """negative(c) [N, C]."""
        kept = cosine if self.tau is None else cosine.masked_fill(cosine > self.tau, 0.0)
        return self.margin.negative(kept, self.threshold)

    def slope(self, cosine: Tensor) -> Tensor:
        """d negative / d c [N, C]."""
        kept = cosine if self.tau is None else cosine.masked_fill(cosine > self.tau, 0.0)
        slope = self.margin.negative_slope(kept, self.threshold)
        if slope is None:
            with torch.enable_grad():
                leaf = kept.detach().requires_grad_()
                (slope,) = torch.autograd.grad(self.margin.negative(leaf, self.threshold).sum(), leaf)
        return slope if self.tau is None else slope.masked_fill(cosine > self.tau, 0.0)

    def form(self) -> NegativeForm | None:
        """What it is in numbers, before the filter; None of a margin that does not say, or not of its own ``negative``.

        Example:
            >>> create_margin("curricularface").negative_map(torch.ones(2), torch.ones(2)).form().square
            1.0
        """
        kinds, names = type(self.margin).__mro__, ("negative_form", "negative")
        said, used = (next(kind for kind in kinds if name in vars(kind)) for name in names)
        if used is Margin:
            return NegativeForm()
        return self.margin.negative_form() if said is used else None


def register(name: str) -> Callable[[M], M]:
    """Declare a margin class under the name that recipes and :func:`hyperarc.create_head` use."""

    def declare(cls: M) -> M:
        margins.register(name)(cls)
        return cls

    return declare


def margin_names() -> list[str]:
    """Names of all margins, sorted.

    Example:
        >>> "arcface" in margin_names()
        True
    """
    return margins.names()


def create_margin(name: str, **arguments: Any) -> Margin:
    """Build the margin called ``name``; an unknown name or argument names the nearest known ones.

    Example:
        >>> create_margin("cosface", margin=0.4).margin
        0.4
    """
    margins.check_arguments(name, Margin, arguments)
    return margins.get(name)(**arguments)


def positive(name: str, value: float) -> float:
    """``value`` as a float, or an error unless it is a positive finite number."""
    if not (value > 0 and torch.isfinite(torch.tensor(float(value)))):
        raise HyperArcError(f"{name} must be positive and finite, got {value}")
    return float(value)
