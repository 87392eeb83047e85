"""The optimizer that owns backbone and head, and the clipping of their gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyperarc.heads.head import Head
from hyperarc.heads.sweep import UpdateInBackward
from hyperarc.parallel import collective_device, largest, summed, world_size
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

    Of centers that are cut over processes, all parts count. The gradient of centers that moved in backward counts in
    the norm told, and is not scaled.
    """
    found = {name: p for name, p in module.named_parameters() if p.requires_grad and p.grad is not None}
    if not isinstance(module, Head):
        return nn.utils.clip_grad_norm_(found.values(), limit)
    moved = torch.zeros(()) if module.update is None else module.update.squared_norm
    if module.centers.cut.whole:
        return torch.hypot(nn.utils.clip_grad_norm_(found.values(), limit).to(moved), moved.sqrt())
    zero = moved.new_zeros((), dtype=module.centers.weight.dtype, device=collective_device())
    of_all, of_part = (
        sum((_square(p) for name, p in found.items() if (name in module.sharded) is cut), zero) for cut in (False, True)
    )
    moved, of_part = summed(torch.stack([moved.to(zero), of_part]))
    norm = (of_all + of_part).sqrt()
    for p in found.values():
        assert p.grad is not None
        p.grad.mul_((limit / (norm + 1e-6)).clamp(max=1.0).to(p.grad))  # as clip_grad_norm_
    return torch.hypot(norm, moved.sqrt())


def share_overflow(head: Head) -> None:
    """Make a gradient that overflowed in one process's part overflow in all, so that all skip the step (fp16)."""
    cut = [p.grad for name, p in head.named_parameters() if name in head.sharded and p.grad is not None]
    finite = torch.stack([grad.isfinite().all() for grad in cut]).all() if cut else torch.ones((), dtype=torch.bool)
    if world_size() > 1 and bool(largest((~finite).float().to(collective_device()))):
        for p in head.parameters():
            if p.grad is not None:
                p.grad.fill_(torch.inf)


def _square(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    square: Tensor = parameter.grad.norm().square()
    return square
