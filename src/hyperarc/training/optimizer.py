"""The optimizer that owns backbone and head, and the clipping of their gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperarc.heads.head import Head
from hyperarc.heads.sweep import UpdateInBackward
from hyperarc.recipe import Optimizer


def make_optimizer(recipe: Optimizer, backbone: nn.Module, head: Head) -> torch.optim.Optimizer:
    """SGD or AdamW over both, fused where torch offers it (on CPU 6 times the default's speed).

    Learned margins never decay. Every group keeps its factor on the scheduled rate as ``rate``. Where the recipe asks
    for it, the centers move in the backward pass.
    """
    groups = []
    for module, rate in ((backbone, recipe.backbone_lr_factor), (head, 1.0)):
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                # learned margins are no weights: decay would pull them to 0
                spared = name.startswith("margin.") or (parameter.ndim <= 1 and not recipe.decay_norms)
                (plain if spared else decayed).append(parameter)
        for parameters, decay in ((decayed, recipe.weight_decay), (plain, 0.0)):
            if parameters:
                groups.append({"params": parameters, "weight_decay": decay, "rate": rate})
    if recipe.name == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=(recipe.momentum, 0.999), fused=True)
    sgd = torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=True)
    if recipe.update_in_backward:
        head.update = UpdateInBackward(sgd, head.centers.weight)
    return sgd


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the scheduled rate, times each group's own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate"]


def clip(module: nn.Module, limit: float) -> Tensor:
    """Scale the module's gradients to at most ``limit`` in norm; the norm they had.

    The gradient of centers that moved in backward counts in the norm told, and is not scaled.
    """
    norm = nn.utils.clip_grad_norm_([p for p in module.parameters() if p.requires_grad], limit)
    if isinstance(module, Head) and module.update is not None:
        return torch.hypot(norm.to(module.update.norm), module.update.norm)
    return norm
