"""Backbones: faces ``[N, 3, 112, 112]`` to raw (un-normalized) embeddings ``[N, embedding_dim]``.

One file per family; each declares its names in :data:`hyperarc.backbones.registry.BACKBONES`.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from hyperarc.backbones.registry import BACKBONES
from hyperarc.errors import HyperArcError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

__all__ = ["backbone_names", "create_backbone"]


def backbone_names() -> list[str]:
    """All backbone names, sorted.

    Example:
        >>> "iresnet50" in backbone_names()
        True
    """
    return BACKBONES.names()


def create_backbone(name: str, embedding_dim: int = 512, **args: Any) -> nn.Module:
    """A freshly initialised backbone, ``[N, 3, 112, 112]`` -> ``[N, embedding_dim]``.

    The weights come from torch's global random generator: call ``torch.manual_seed`` first to repeat them.

    Args:
        name: one of :func:`backbone_names`.
        embedding_dim: length d of an embedding.
        args: arguments of that backbone, such as ``input_size=112``, ``neck="gap"``, ``dropout=0.4``,
            ``bn_eps=2e-5`` (weights from MXNet), ``checkpoint=True`` (less memory, more time), and those of its neck.

    Raises:
        UnknownNameError: unknown ``name`` or argument; the message names the nearest known ones.
        HyperArcError: an argument whose value cannot be used.

    Example:
        >>> import torch
        >>> backbone = create_backbone("iresnet_tiny", embedding_dim=128).eval()
        >>> backbone(torch.zeros(2, 3, 112, 112)).shape
        torch.Size([2, 128])
    """
    build = BACKBONES.get(name)
    known = _arguments(build, args)
    for key in args:
        if key not in known:
            raise unknown_name("argument", key, known, where=f"backbone {name}")
    if isinstance(embedding_dim, bool) or not isinstance(embedding_dim, int) or embedding_dim < 1:
        raise HyperArcError(
            f"expected embedding_dim to be a positive int, got {embedding_dim!r}",
            where=f"backbone {name}",
            mend="512 is usual",
        )
    return build(embedding_dim, **args)


def _arguments(build: Callable[..., nn.Module], given: dict[str, Any]) -> list[str]:
    """Names of the arguments that a backbone takes besides its dimension, those of the given neck included."""
    parameters = inspect.signature(build).parameters
    known = [name for name in parameters if name not in ("embedding_dim", "neck_arguments")]
    if "neck_arguments" in parameters:
        from hyperarc.backbones.necks import neck_arguments

        known += neck_arguments(given.get("neck", parameters["neck"].default))
    return known
