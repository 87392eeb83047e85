"""Everything that moves while a run trains, and nothing else: what a checkpoint must hold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from hyperarc.backbones.sync_batchnorm import synchronize
from hyperarc.data.order import Order
from hyperarc.heads.head import Head
from hyperarc.recipe import Recipe
from hyperarc.training.hardware import Hardware
from hyperarc.training.optimizer import make_optimizer


@dataclass
class TrainingState:
    """A run between two steps.

    Attributes:
        backbone, head: the modules, on their device.
        optimizer: over both.
        ema: averaged copy of the backbone, or None.
        scaler: loss scaler, enabled for fp16 only.
        step: steps done.
        cpu_s: CPU seconds of this process inside steps, over all sittings.
        wall_s: seconds of training, over all sittings.
        order: of the batches, which hears of every step; None where batches come from elsewhere.
    """

    backbone: nn.Module
    head: Head
    optimizer: torch.optim.Optimizer
    ema: AveragedModel | None
    scaler: torch.amp.GradScaler
    step: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    order: Order | None = None

    def judged_backbone(self) -> nn.Module:
        """The backbone to evaluate and to keep: the averaged one where there is one."""
        return self.backbone if self.ema is None else self.ema.module


def make_state(recipe: Recipe, backbone: nn.Module, head: Head, hardware: Hardware) -> TrainingState:
    """The state before the first step."""
    layout = torch.channels_last if recipe.training.channels_last else torch.contiguous_format
    if recipe.training.sync_batchnorm:
        backbone = synchronize(backbone, hardware.device)
    backbone = backbone.to(hardware.device).to(memory_format=layout)  # type: ignore[call-overload]
    head = head.to(hardware.device)
    if recipe.optimizer.backbone_lr_factor == 0:
        backbone.requires_grad_(False)  # only the head learns; the backward pass ends at the embeddings
    ema = None
    if recipe.training.ema is not None:
        ema = AveragedModel(backbone, multi_avg_fn=get_ema_multi_avg_fn(recipe.training.ema), use_buffers=True)
    return TrainingState(
        backbone=backbone,
        head=head,
        optimizer=make_optimizer(recipe.optimizer, backbone, head),
        ema=ema,
        scaler=torch.amp.GradScaler(hardware.device, enabled=hardware.dtype == torch.float16),
    )
