"""The registry that every backbone file declares itself in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hyperarc.registry import Registry

if TYPE_CHECKING:
    from torch import nn

BACKBONES: Registry[Callable[..., nn.Module]] = Registry("backbone", "hyperarc.backbones")
"""Name -> ``(embedding_dim, **args) -> nn.Module``, which maps ``[N, 3, S, S]`` to ``[N, embedding_dim]``."""
