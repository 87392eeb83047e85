"""The optimizer that owns backbone and head, and the clipping of their gradients."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from hyperarc.parallel import collective_device, largest, summed, world_size
from hyperarc.recipe import Optimizer


def make_optimizer(recipe: Optimizer, backbone: nn.Module, head: nn.Module) -> torch.optim.Optimizer:
    """SGD or AdamW over both, fused where torch offers it (on CPU 6 times the default's speed).

    Learned margins never decay. Every group keeps its factor on the scheduled rate as ``rate``.
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
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.nesterov, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the scheduled rate, times each group's own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate"]


def clip(module: nn.Module, limit: float, sharded: Collection[str] = ()) -> Tensor:
    """Scale the module's gradients to at most ``limit`` in norm; the norm they had.

    Args:
        module: with gradients.
        limit: of the norm.
        sharded: names of parameters that are cut over the processes; the norm is that of all parts.
    """
    found = [(name in sharded, p) for name, p in module.named_parameters() if p.requires_grad and p.grad is not None]
    if world_size() == 1 or not sharded:
        return nn.utils.clip_grad_norm_([p for _, p in found], limit)
    zero = torch.zeros((), device=collective_device(), dtype=next(module.parameters()).dtype)
    of_all, of_part = (sum((_square(p) for cut, p in found if cut is mine), zero) for mine in (False, True))
    norm = (of_all + summed(of_part)).sqrt()
    for _, p in found:
        assert p.grad is not None
        p.grad.mul_((limit / (norm + 1e-6)).clamp(max=1.0).to(p.grad))  # as clip_grad_norm_
    return norm


def share_overflow(module: nn.Module, sharded: Collection[str]) -> None:
    """Make a gradient that overflowed in one process's part overflow in all, so that all skip the step (fp16)."""
    cut = [p.grad for name, p in module.named_parameters() if name in sharded and p.grad is not None]
    finite = torch.stack([grad.isfinite().all() for grad in cut]).all() if cut else torch.ones((), dtype=torch.bool)
    if world_size() > 1 and bool(largest((~finite).float().to(collective_device()))):
        for p in module.parameters():
            if p.grad is not None:
                p.grad.fill_(torch.inf)


def _square(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    square: Tensor = parameter.grad.norm().square()
    return square
