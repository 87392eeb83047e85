"""Necks: the last feature map ``[N, C, H, W]`` to an embedding ``[N, d]``.

A neck hands the backbone *named* modules and the backbone attaches them under those names, so that the
default necks keep the state-dict keys of the released weights (``bn2``, ``fc``, ``features``). Source:
arcface_torch ``iresnet.py`` and ``mobilefacenet.py`` (insightface 7fadd42); BN-Dropout-FC-BN is option E of
ArcFace, section 3.2.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from hyperarc.backbones.groupface import Assignment, GroupFace
from hyperarc.errors import HyperArcError, unknown_name


@dataclass(frozen=True)
class FeatureMap:
    """What a neck must know: the map it gets, ``[N, channels, side, side]``, and the embedding it makes."""

    channels: int
    side: int
    embedding_dim: int
    dropout: float = 0.0
    bn_eps: float = 1e-5


@dataclass(frozen=True)
class Neck:
    """Modules by attribute name, in order: ``early`` run in the trunk's type, ``late`` in full precision.

    With ``groups`` K > 0 it gives [N, d + K] in training mode: the logits of K groups beside the embedding.
    """

    early: dict[str, nn.Module] = field(default_factory=dict)
    late: dict[str, nn.Module] = field(default_factory=dict)
    groups: int = 0


class Necked(nn.Module):
    """A backbone that takes square faces and ends in a neck.

    Subclasses call :meth:`attach` where the neck's keys belong in the state dict, :meth:`check_faces` and
    :meth:`embed` in ``forward``.
    """

    def __init__(self, input_size: int) -> None:
        super().__init__()
        if isinstance(input_size, bool) or not isinstance(input_size, int) or input_size < 16:
            raise HyperArcError(
                f"expected input_size to be an int of at least 16 px, got {input_size!r}", mend="112 is usual"
            )
        self.input_size = input_size

    def attach(self, neck: Neck) -> None:
        """Attach the neck's modules under their own names."""
        self._early, self._late = tuple(neck.early), tuple(neck.late)
        self.groups = neck.groups
        for name, module in (neck.early | neck.late).items():
            self.add_module(name, module)

    def check_faces(self, faces: Tensor) -> None:
        """:class:`HyperArcError` unless ``faces`` is ``[N, 3, input_size, input_size]``."""
        size = self.input_size
        if faces.dim() != 4 or tuple(faces.shape[1:]) != (3, size, size):
            raise HyperArcError(
                f"expected faces [N, 3, {size}, {size}], got {list(faces.shape)}",
                where=f"{type(self).__name__}.forward",
                mend=f"align or resize the faces to {size} px, or create the backbone with that input_size",
            )

    def embed(self, x: Tensor) -> Tensor:
        """Feature map ``[N, C, H, W]`` -> embedding ``[N, d]``; with groups in training mode ``[N, d + K]``."""
        for name in self._early:
            x = self.get_submodule(name)(x)
        return run_full_precision([self.get_submodule(name) for name in self._late], x)


def run_full_precision(modules: list[nn.Module], x: Tensor) -> Tensor:
    """``x`` through ``modules`` in their parameters' type, autocast off, as in the official ``fp16`` path."""
    if torch.is_autocast_enabled(x.device.type):
        with torch.autocast(x.device.type, enabled=False):
            return run_full_precision(modules, x)
    x = x.to(next(modules[0].parameters()).dtype)
    for module in modules:
        x = module(x)
    return x


def bn_dropout_fc_bn(shape: FeatureMap) -> Neck:
    """BN -> dropout -> FC over all C*H*W values -> BN whose weight stays 1: the default of the IResNets."""
    return Neck(early=_flat(shape), late=_fc_features(shape.channels * shape.side**2, shape))


def gap(shape: FeatureMap) -> Neck:
    """BN -> global average pool -> dropout -> FC over C values -> BN whose weight stays 1."""
    return Neck(
        early={
            "bn2": nn.BatchNorm2d(shape.channels, eps=shape.bn_eps),
            "pool": nn.AdaptiveAvgPool2d(1),
            "flatten": nn.Flatten(),
            "dropout": nn.Dropout(shape.dropout),
        },
        late=_fc_features(shape.channels, shape),
    )


def gdc(shape: FeatureMap) -> Neck:
    """Depthwise conv of the whole map (MobileFaceNets, section 3.1) -> BN -> dropout -> FC, no bias -> BN."""
    return Neck(late={"features": GDC(shape)})


def groupface(
    shape: FeatureMap,
    *,
    groups: int = 32,
    shared_dim: int = 4096,
    assignment: Assignment = "soft",
    hidden_dim: int = 256,
) -> Neck:
    """BN -> dropout -> :class:`~hyperarc.backbones.groupface.GroupFace`, whose arguments are the neck's own."""
    network = GroupFace(
        shape.channels * shape.side**2,
        shape.embedding_dim,
        groups=groups,
        shared_dim=shared_dim,
        assignment=assignment,
        hidden_dim=hidden_dim,
        bn_eps=shape.bn_eps,
    )
    return Neck(_flat(shape), {"features": network}, groups)


class LinearBlock(nn.Module):
    """Convolution and BatchNorm without activation, ``[N, C_in, H, W]`` -> ``[N, C_out, H', W']``."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int = 1, *, groups: int = 1, bn_eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, kernel, groups=groups, bias=False),
            nn.BatchNorm2d(channels_out, eps=bn_eps),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class GDC(nn.Module):
    """The ``features`` of arcface_torch's MobileFaceNet: ``[N, C, H, W]`` -> ``[N, d]``."""

    def __init__(self, shape: FeatureMap) -> None:
        super().__init__()
        channels = shape.channels
        self.layers = nn.Sequential(
            LinearBlock(channels, channels, shape.side, groups=channels, bn_eps=shape.bn_eps),
            nn.Sequential(nn.Flatten(), nn.Dropout(shape.dropout)),
            nn.Linear(channels, shape.embedding_dim, bias=False),
            nn.BatchNorm1d(shape.embedding_dim, eps=shape.bn_eps),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


NECKS: dict[str, Callable[..., Neck]] = {
    "bn_dropout_fc_bn": bn_dropout_fc_bn,
    "gap": gap,
    "gdc": gdc,
    "groupface": groupface,
}


def neck_arguments(name: str) -> list[str]:
    """Arguments of its own that the neck called ``name`` takes; :class:`UnknownNameError` for an unknown one.

    Example:
        >>> neck_arguments("gap"), neck_arguments("groupface")[:2]
        ([], ['groups', 'shared_dim'])
    """
    if name not in NECKS:
        raise unknown_name("neck", name, NECKS)
    return list(inspect.signature(NECKS[name]).parameters)[1:]


def build_neck(name: str, shape: FeatureMap, **arguments: Any) -> Neck:
    """The neck called ``name`` for a feature map of ``shape``, with the neck's own ``arguments``.

    Raises:
        UnknownNameError: unknown ``name`` or argument.
        HyperArcError: dropout outside [0, 1), or an argument out of range.

    Example:
        >>> list(build_neck("bn_dropout_fc_bn", FeatureMap(8, 7, 16)).late)
        ['fc', 'features']
    """
    known = neck_arguments(name)
    for argument in arguments:
        if argument not in known:
            raise unknown_name(f"argument of neck {name!r}:", argument, known)
    if not 0.0 <= shape.dropout < 1.0:
        raise HyperArcError(f"expected dropout in [0, 1), got {shape.dropout!r}")
    return NECKS[name](shape, **arguments)


def _flat(shape: FeatureMap) -> dict[str, nn.Module]:
    return {
        "bn2": nn.BatchNorm2d(shape.channels, eps=shape.bn_eps),
        "flatten": nn.Flatten(),
        "dropout": nn.Dropout(shape.dropout),
    }


def _fc_features(width: int, shape: FeatureMap) -> dict[str, nn.Module]:
    features = nn.BatchNorm1d(shape.embedding_dim, eps=shape.bn_eps)
    features.weight.requires_grad = False
    return {"fc": nn.Linear(width, shape.embedding_dim), "features": features}
