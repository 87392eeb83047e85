"""What an auxiliary loss answers, and the registry that finds its file."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from hyperarc.errors import HyperArcError
from hyperarc.heads.shard import Cut, Shard
from hyperarc.registry import Registry

auxiliaries: Registry[type[Auxiliary]] = Registry("auxiliary loss", "hyperarc.heads.auxiliary")


class Auxiliary(nn.Module):
    """Base of the losses that are added to a head's own.

    Args:
        weight: factor on the loss when it is added.
    """

    default_weight = 1.0

    def __init__(self, *, weight: float | None = None) -> None:
        super().__init__()
        self.weight = self.default_weight if weight is None else weight
        if self.weight < 0:
            raise HyperArcError(f"weight must not be negative, got {weight}")

    sharded: tuple[str, ...] = ()
    """Parameters and buffers that hold something of every class of this process's cut, the class first."""

    def for_classes(self, cut: Cut, embedding_dim: int) -> None:
        """Make what depends on the classes held here; called once, before the first batch."""

    def forward(self, embeddings: Tensor, labels: Tensor, centers: Shard) -> Tensor:
        """The unweighted loss of raw embeddings [N, d] and labels [N] of the whole batch, and of raw centers.

        Several processes must come to the same: what each computes of its own centers alone is
        :func:`~hyperarc.parallel.summed`, from what is :func:`~hyperarc.parallel.spread`.
        """
        raise TypeError(f"{type(self).__name__} does not say what its loss is")


def auxiliary_names() -> list[str]:
    """Names of all auxiliary losses, sorted.

    Example:
        >>> auxiliary_names()
        ['center', 'inter', 'intra', 'triplet']
    """
    return auxiliaries.names()


def create_auxiliary(name: str, **arguments: Any) -> Auxiliary:
    """Build the auxiliary loss called ``name``; an unknown name or argument names the nearest known ones.

    Example:
        >>> create_auxiliary("triplet", margin=0.2).margin
        0.2
    """
    auxiliaries.check_arguments(name, Auxiliary, arguments)
    return auxiliaries.get(name)(**arguments)
