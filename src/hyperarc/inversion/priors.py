"""What is known of pictures before a model is asked: its BatchNorm statistics, smoothness, size, range.

The first is Eq. 8 of the ArcFace paper (arXiv 1801.07698v4, section 3.3); the others, and the other way of comparing
statistics, are those of DeepInversion (Yin et al., CVPR 2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hyperarc.errors import HyperArcError
from hyperarc.inversion.pixels import Bounds

_GOOD = 1.2  # of the usual length: about the best tenth of faces


@dataclass(frozen=True)
class Priors:
    """Weights of the priors beside the goal; :meth:`paper` has those of the ArcFace paper (section 4.5).

    Attributes:
        batch_norm: lambda of the BatchNorm statistics (0.01; paper 0.05); 0 leaves them out.
        statistics: how they are compared: "paper" takes squared distances of means and of standard deviations,
            "deepinversion" distances of means and of variances.
        first_layer: factor on the first BatchNorm (10, as DeepInversion has it: it sets the colors; paper 1).
        neck: whether the BatchNorm1d of the neck counts too (no: the paper speaks of layers over batch and space).
        total_variation: weight of differences between neighbors (0.025 of "picture"; paper 1e-3 of "l2", in batches of
            256, which is as much as 0.016 of "picture").
        variation: "picture", "l2" or "l1"; see :func:`total_variation`.
        image_norm: weight of the length of the pictures (1e-4, as in the paper).
        length: weight of :func:`shortness` (1; paper 0): a face that is whole and in its place has a long embedding. It
            applies where the network ends with a BatchNorm, which knows how long embeddings usually are.
        out_of_range: weight of values that no pixel has (0; pictures are also cut to their range after each step).

    Raises:
        HyperArcError: a negative weight.

    Example:
        >>> Priors().batch_norm, Priors.paper().batch_norm
        (0.01, 0.05)
    """

    batch_norm: float = 0.01
    statistics: Literal["paper", "deepinversion"] = "paper"
    first_layer: float = 10.0
    neck: bool = False
    total_variation: float = 0.025
    variation: Literal["picture", "l2", "l1"] = "picture"
    image_norm: float = 1e-4
    length: float = 1.0
    out_of_range: float = 0.0

    def __post_init__(self) -> None:
        for name in ("batch_norm", "first_layer", "total_variation", "image_norm", "length", "out_of_range"):
            if not getattr(self, name) >= 0:
                raise HyperArcError(f"weight {name} of the priors should be 0 or more, got {getattr(self, name)}")

    @classmethod
    def paper(cls) -> Priors:
        """Those of the ArcFace paper, section 4.5."""
        return cls(batch_norm=0.05, first_layer=1.0, total_variation=1e-3, variation="l2", length=0.0)

    def of_images(self, images: Tensor, bounds: Bounds) -> Tensor:
        """The weighted priors of pictures themselves, a scalar; BatchNorm's is of the model."""
        total = images.new_zeros(())
        if self.total_variation:
            total = total + self.total_variation * total_variation(images, self.variation)
        if self.image_norm:
            total = total + self.image_norm * image_norm(images)
        if self.out_of_range:
            total = total + self.out_of_range * out_of_range(images, bounds)
        return total


def total_variation(images: Tensor, kind: Literal["picture", "l2", "l1"] = "l2") -> Tensor:
    """Differences between neighboring pixels, horizontal, vertical and on both diagonals: a scalar.

    As DeepInversion has them: "l2" is the sum of the four Frobenius norms over the whole batch, "l1" the sum of the
    four means of absolute differences. "picture" is the mean over the pictures of what "l2" makes of each, so that it
    weighs the same beside a mean over the batch, however large that is.

    Example:
        >>> float(total_variation(torch.ones(2, 3, 8, 8)))
        0.0
    """
    differences = (
        images[..., :, :-1] - images[..., :, 1:],
        images[..., :-1, :] - images[..., 1:, :],
        images[..., 1:, :-1] - images[..., :-1, 1:],
        images[..., :-1, :-1] - images[..., 1:, 1:],
    )
    if kind == "l1":
        return torch.stack([one.abs().mean() for one in differences]).sum()
    if kind == "picture":
        return torch.stack([torch.linalg.vector_norm(one.flatten(1), dim=1).mean() for one in differences]).sum()
    return torch.stack([torch.linalg.vector_norm(one) for one in differences]).sum()


def image_norm(images: Tensor) -> Tensor:
    """Mean length of the pictures [N, 3, H, W] as vectors, a scalar.

    Example:
        >>> float(image_norm(torch.ones(2, 3, 3, 1)))
        3.0
    """
    lengths: Tensor = torch.linalg.vector_norm(images.flatten(1), dim=1)
    return lengths.mean()


def usual_length(backbone: nn.Module, embedding_dim: int) -> float | None:
    """How long raw embeddings were in training, as the BatchNorm at the network's end tells; None without one.

    Its outputs have means beta and variances gamma^2, so the mean of the squared length is the sum of gamma^2 + beta^2.

    Example:
        >>> usual_length(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), 4)
        2.0
    """
    last = [module for module in backbone.modules() if not list(module.children())][-1]
    if not isinstance(last, nn.BatchNorm1d) or last.num_features != embedding_dim:
        return None
    gamma = torch.ones(embedding_dim) if last.weight is None else last.weight.detach()
    beta = torch.zeros(embedding_dim) if last.bias is None else last.bias.detach()
    return math.sqrt(float(gamma.double().square().sum() + beta.double().square().sum()))


def shortness(embeddings: Tensor, usual: float) -> Tensor:
    """Mean squared share that raw embeddings [N, d] lack of a good length, 1.2 times the usual one: a scalar.

    Networks give long embeddings to faces that they see well (MagFace, arXiv 2103.06627, section 3; Ranjan et al.,
    arXiv 1703.09507), short ones to halves of faces and to faces out of place.

    Example:
        >>> float(shortness(torch.tensor([[0.6, 0.0], [5.0, 0.0]]), usual=1.0))
        0.125
    """
    lengths: Tensor = torch.linalg.vector_norm(embeddings, dim=1)
    return (1 - lengths / (_GOOD * usual)).clamp(min=0).square().mean()


def out_of_range(images: Tensor, bounds: Bounds) -> Tensor:
    """Mean squared distance of the values to those that pixels have, a scalar.

    Example:
        >>> limits = torch.full((3, 1, 1), 1.0)
        >>> float(out_of_range(torch.full((1, 3, 2, 2), 3.0), Bounds(-limits, limits)))
        4.0
    """
    return (images - images.clamp(bounds.low, bounds.high)).square().mean()
