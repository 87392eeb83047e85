"""IResNet: the improved residual network of ArcFace (section 3.2), as arcface_torch writes it.

Source: insightface 7fadd42, ``recognition/arcface_torch/backbones/iresnet.py``; state-dict keys, their order
and the forward values are the same, so released weights load as they are. ``iresnet_tiny`` is ours: the same
blocks, small enough to train on a laptop's CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from hyperarc.backbones.necks import FeatureMap, Necked, build_neck
from hyperarc.backbones.prelu import PReLU
from hyperarc.backbones.recompute import recomputed
from hyperarc.backbones.registry import BACKBONES
from hyperarc.errors import HyperArcError


@dataclass(frozen=True)
class Depth:
    """Blocks and channels of the four stages, and the stride of the first convolution."""

    blocks: tuple[int, int, int, int]
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    stem_stride: int = 1


DEPTHS = {
    "iresnet18": Depth((2, 2, 2, 2)),
    "iresnet34": Depth((3, 4, 6, 3)),
    "iresnet50": Depth((3, 4, 14, 3)),
    "iresnet100": Depth((3, 13, 30, 3)),
    "iresnet200": Depth((6, 26, 60, 6)),
    "iresnet_tiny": Depth((1, 1, 1, 1), widths=(16, 32, 64, 128), stem_stride=2),
    "iresnet_small": Depth((1, 1, 1, 1), widths=(32, 64, 128, 256), stem_stride=2),
}


class IBasicBlock(nn.Module):
    """BN -> conv 3x3 -> BN -> PReLU -> conv 3x3, stride s -> BN, plus shortcut; no activation after the sum.

    ``[N, C_in, H, W]`` -> ``[N, C_out, ceil(H / s), ceil(W / s)]``.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, bn_eps: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in, eps=bn_eps)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out, eps=bn_eps)
        self.prelu = PReLU(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out, eps=bn_eps)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels_out, eps=bn_eps),
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return out + shortcut


class IResNet(Necked):
    """Faces ``[N, 3, S, S]`` -> embeddings ``[N, d]``.

    Weights come from torch's global random generator: convolutions N(0, 0.1^2), BatchNorm 1 and 0, FC torch's
    own; ``features.weight`` is 1 and frozen. Under autocast the trunk runs in the autocast type, ``fc`` and
    ``features`` in float32.

    Args:
        depth: blocks, widths and stem stride, one of :data:`DEPTHS`.
        embedding_dim: d.
        input_size: S in pixels; another size at ``forward`` is an error.
        neck: ``"bn_dropout_fc_bn"``, ``"gap"``, ``"gdc"`` or ``"groupface"`` (:mod:`hyperarc.backbones.necks`).
        dropout: probability in the neck; MXNet's option E had 0.4.
        bn_eps: BatchNorm epsilon; weights from MXNet need 2e-5.
        stem_stride: stride of the first convolution in place of the depth's own; 4 in place of 2 makes
            ``iresnet_tiny`` nearly five times as fast on a CPU and blind to details of a few pixels.
        checkpoint: keep only each stage's input for the backward pass: less memory, about a third more time.
        neck_arguments: the neck's own, such as ``groups=32`` of groupface.

    Raises:
        HyperArcError: input_size, stem_stride or dropout out of range; at ``forward``, faces of another shape.
        UnknownNameError: unknown neck or argument of a neck.

    Example:
        >>> import torch
        >>> IResNet(DEPTHS["iresnet_tiny"], 64, input_size=64).eval()(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 64])
    """

    def __init__(
        self,
        depth: Depth,
        embedding_dim: int = 512,
        *,
        input_size: int = 112,
        neck: str = "bn_dropout_fc_bn",
        dropout: float = 0.0,
        bn_eps: float = 1e-5,
        stem_stride: int | None = None,
        checkpoint: bool = False,
        **neck_arguments: Any,
    ) -> None:
        super().__init__(input_size)
        stem_stride = depth.stem_stride if stem_stride is None else stem_stride
        if stem_stride not in (1, 2, 4):
            raise HyperArcError(f"expected a stem_stride of 1, 2 or 4, got {stem_stride!r}")
        self.checkpoint = checkpoint
        widths = depth.widths
        self.conv1 = nn.Conv2d(3, widths[0], 3, stride=stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0], eps=bn_eps)
        self.prelu = PReLU(widths[0])
        channels = (widths[0], *widths)
        for i, blocks in enumerate(depth.blocks):
            first = IBasicBlock(channels[i], channels[i + 1], 2, bn_eps)
            rest = [IBasicBlock(channels[i + 1], channels[i + 1], 1, bn_eps) for _ in range(blocks - 1)]
            self.add_module(f"layer{i + 1}", nn.Sequential(first, *rest))
        side = -(-input_size // (16 * stem_stride))
        self.attach(build_neck(neck, FeatureMap(widths[-1], side, embedding_dim, dropout, bn_eps), **neck_arguments))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.1)

    def forward(self, faces: Tensor) -> Tensor:
        self.check_faces(faces)
        x = self.prelu(self.bn1(self.conv1(faces)))
        for i in range(1, 5):
            stage = self.get_submodule(f"layer{i}")
            x = recomputed(stage, x) if self.checkpoint and self.training else stage(x)
        return self.embed(x)


for _name, _depth in DEPTHS.items():
    BACKBONES.register(_name)(partial(IResNet, _depth))
