"""MobileFaceNet: the paper's own, ``mobilefacenet`` (1.0 M parameters at 128 values), and arcface_torch's wider ones.

Paper: MobileFaceNets (Chen et al., 2018), Table 1. Source of ``mbf`` (2.1 M parameters) and ``mbf_large`` (6.3 M):
insightface 7fadd42, ``recognition/arcface_torch/backbones/mobilefacenet.py``; state-dict keys, their order and the
forward values are the same. The paper's network is the same code at scale 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from hyperarc.backbones.necks import FeatureMap, LinearBlock, Necked, build_neck, run_full_precision
from hyperarc.backbones.prelu import PReLU
from hyperarc.backbones.recompute import recomputed
from hyperarc.backbones.registry import BACKBONES


@dataclass(frozen=True)
class Depth:
    """Residual blocks of the four stages; ``scale`` times the paper's 64 and 128 channels."""

    blocks: tuple[int, int, int, int]
    scale: int


DEPTHS = {
    "mobilefacenet": Depth((1, 4, 6, 2), scale=1),
    "mbf": Depth((1, 4, 6, 2), scale=2),
    "mbf_large": Depth((2, 8, 12, 4), scale=4),
}


class ConvBlock(nn.Module):
    """Convolution, BatchNorm, PReLU: ``[N, C_in, H, W]`` -> ``[N, C_out, ceil(H / s), ceil(W / s)]``."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        groups: int = 1,
        bn_eps: float,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(
                channels_in,
                channels_out,
                kernel,
                stride=stride,
                padding=kernel // 2,
                groups=groups,
                bias=False,
            ),
            nn.BatchNorm2d(channels_out, eps=bn_eps),
            PReLU(channels_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class DepthWise(nn.Module):
    """Inverted bottleneck: 1x1 to ``expansion`` channels, depthwise 3x3 with stride, linear 1x1."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        expansion: int,
        *,
        stride: int,
        residual: bool,
        bn_eps: float,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.layers = nn.Sequential(
            ConvBlock(channels_in, expansion, bn_eps=bn_eps),
            ConvBlock(expansion, expansion, 3, stride=stride, groups=expansion, bn_eps=bn_eps),
            LinearBlock(expansion, channels_out, bn_eps=bn_eps),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return x + out if self.residual else out


class Residual(nn.Module):
    """``blocks`` residual :class:`DepthWise` blocks in a row; the shape stays."""

    def __init__(self, channels: int, blocks: int, expansion: int, bn_eps: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(DepthWise(channels, channels, expansion, stride=1, residual=True, bn_eps=bn_eps) for _ in range(blocks))
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class MobileFaceNet(Necked):
    """Faces ``[N, 3, S, S]`` -> embeddings ``[N, d]``.

    Weights come from torch's global random generator: kaiming normal, fan out, for convolutions and FC. Under
    autocast ``conv_sep`` and the neck's last modules run in float32, as in the official ``fp16`` path.

    Args:
        depth: blocks and scale, one of :data:`DEPTHS`.
        embedding_dim: d.
        input_size: S in pixels; another size at ``forward`` is an error.
        neck: ``"gdc"`` (official), or another of :mod:`hyperarc.backbones.necks`.
        dropout: probability in the neck; the official network has none.
        bn_eps: BatchNorm epsilon.
        checkpoint: keep only each stage's input for the backward pass: less memory, about a third more time.
        neck_arguments: the neck's own, such as ``groups=32`` of groupface.

    Raises:
        HyperArcError: input_size or dropout out of range; at ``forward``, faces of another shape.
        UnknownNameError: unknown neck or argument of a neck.

    Example:
        >>> import torch
        >>> MobileFaceNet(DEPTHS["mbf"], 64, input_size=32).eval()(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 64])
    """

    def __init__(
        self,
        depth: Depth,
        embedding_dim: int = 512,
        *,
        input_size: int = 112,
        neck: str = "gdc",
        dropout: float = 0.0,
        bn_eps: float = 1e-5,
        checkpoint: bool = False,
        **neck_arguments: Any,
    ) -> None:
        super().__init__(input_size)
        self.checkpoint = checkpoint
        narrow, wide = 64 * depth.scale, 128 * depth.scale
        first, second, third, fourth = depth.blocks
        shrink = partial(DepthWise, stride=2, residual=False, bn_eps=bn_eps)
        self.layers = nn.ModuleList(
            [
                ConvBlock(3, narrow, 3, stride=2, bn_eps=bn_eps),
                ConvBlock(narrow, narrow, 3, groups=64, bn_eps=bn_eps)
                if first == 1
                else Residual(narrow, first, 128, bn_eps),
                shrink(narrow, narrow, 128),
                Residual(narrow, second, 128, bn_eps),
                shrink(narrow, wide, 256),
                Residual(wide, third, 256, bn_eps),
                shrink(wide, wide, 512),
                Residual(wide, fourth, 256, bn_eps),
            ]
        )
        self.conv_sep = ConvBlock(wide, 512, bn_eps=bn_eps)
        side = -(-input_size // 16)
        self.attach(build_neck(neck, FeatureMap(512, side, embedding_dim, dropout, bn_eps), **neck_arguments))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, faces: Tensor) -> Tensor:
        self.check_faces(faces)
        x = faces
        for stage in self.layers:
            x = recomputed(stage, x) if self.checkpoint and self.training else stage(x)
        return self.embed(run_full_precision([self.conv_sep], x))


for _name, _depth in DEPTHS.items():
    BACKBONES.register(_name)(partial(MobileFaceNet, _depth))
