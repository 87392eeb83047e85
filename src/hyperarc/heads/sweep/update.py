"""The step of the centers inside the backward pass, so that their gradient is never whole."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.sgd import sgd

from hyperarc.errors import HyperArcError


class UpdateInBackward:
    """SGD with momentum and weight decay on the centers, block by block, while the sweep goes through them backwards.

    It takes rate, momentum and decay from the optimizer's group that holds the centers, and keeps the momentum where
    the optimizer would, so schedules and checkpoints know nothing of it. Steps over all classes end where
    ``optimizer.step()`` would. Of a step over some classes only these move: others keep their momentum and do not decay
    in it, as in arcface_torch's Partial FC. There is no limit on the norm of the gradient, which is known only when
    the last center has moved; it is told in ``norm``.

    Args:
        optimizer: torch's SGD over a head's parameters and others.
        weight: Parameter [C, K, d], the head's centers.

    Errors: HyperArcError where the optimizer is not SGD, dampens, or does not hold ``weight``.

    Example:
        >>> import hyperarc
        >>> head = hyperarc.create_head("arcface", num_classes=10, embedding_dim=4)
        >>> optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)
        >>> head.update = UpdateInBackward(optimizer, head.centers.weight)
        >>> before = head.centers.weight.clone()
        >>> head(torch.randn(8, 4), torch.arange(8)).loss.backward()
        >>> head.centers.weight.grad is None, bool((head.centers.weight != before).any())
        (True, True)
    """

    def __init__(self, optimizer: torch.optim.Optimizer, weight: nn.Parameter) -> None:
        if not isinstance(optimizer, torch.optim.SGD):
            raise HyperArcError(
                f"update in backward expects SGD, got {type(optimizer).__name__}", mend="use optimizer.name=sgd"
            )
        groups = [g for g in optimizer.param_groups if any(weight is one for one in g["params"])]
        if not groups:
            raise HyperArcError("update in backward expects an optimizer that holds the centers")
        if groups[0]["dampening"]:
            raise HyperArcError("update in backward expects SGD without dampening")
        self.optimizer, self.group = optimizer, groups[0]
        self.weight = weight
        self.squared_norm = torch.zeros(())

    @property
    def norm(self) -> Tensor:
        """Norm of the gradient that the last backward pass used up."""
        return self.squared_norm.sqrt()

    def of(self, classes: Tensor | None) -> Callable[[int, int, Tensor], None]:
        """What a sweep over ``classes`` [S], None for all, calls for each of its blocks."""
        self.squared_norm = torch.zeros((), device=self.weight.device)

        def update(first: int, last: int, gradient: Tensor) -> None:
            self.squared_norm += torch.linalg.vector_norm(gradient).square()
            momentum = self._momentum()
            whole = [self.weight.detach()] if momentum is None else [self.weight.detach(), momentum]
            if classes is None:
                self._step([one[first:last] for one in whole], gradient)
                return
            part = classes[first:last]
            taken = [one[part] for one in whole]
            self._step(taken, gradient)
            for one, new in zip(whole, taken, strict=True):
                one.index_copy_(0, part, new)

        return update

    def _momentum(self) -> Tensor | None:
        """The centers' momentum, zeros before the first step; None without momentum."""
        if not self.group["momentum"]:
            return None
        slots = self.optimizer.state[self.weight]
        if slots.get("momentum_buffer") is None:
            slots["momentum_buffer"] = torch.zeros_like(self.weight)
        buffer: Tensor = slots["momentum_buffer"]
        return buffer

    def _step(self, tensors: list[Tensor], gradient: Tensor) -> None:
        weight, *momentum = tensors
        chosen = {name: self.group[name] for name in ("weight_decay", "momentum", "lr", "nesterov", "maximize")}
        sgd(
            [weight],
            [gradient.to(weight.dtype)],
            [momentum[0] if momentum else None],
            dampening=0.0,
            fused=self.group["fused"],
            foreach=False,
            **chosen,
        )
