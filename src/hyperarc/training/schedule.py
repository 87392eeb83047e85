"""Learning rate over steps, as a pure function of the step: nothing to save, nothing to get out of step."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable

from hyperarc.recipe import Schedule


def rate_factor(schedule: Schedule, steps_per_epoch: int) -> tuple[int, Callable[[int], float]]:
    """Total number of steps, and step -> factor on the peak rate.

    Warm-up is linear from 0 at step 0; since a rate of 0 would waste the first step, step 0 takes the rate of step 1.
    (arcface_torch takes its first step at the full rate instead; from step 1 on the polynomial is the same.)

    Example:
        >>> total, factor = rate_factor(Schedule(kind="polynomial", epochs=2, warmup_epochs=0.5), steps_per_epoch=10)
        >>> total, factor(0), factor(5), factor(20)
        (20, 0.2, 1.0, 0.0)
    """
    total = max(1, round(schedule.epochs * steps_per_epoch))
    warmup = round(schedule.warmup_epochs * steps_per_epoch)
    milestones = [round(epoch * steps_per_epoch) for epoch in schedule.milestones]

    def factor(step: int) -> float:
        if step < warmup:
            return max(step, 1) / warmup
        done = min(1.0, (step - warmup) / max(1, total - warmup))
        if schedule.kind == "polynomial":
            return float((1.0 - done) ** schedule.power)
        if schedule.kind == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * done))
        if schedule.kind == "step":
            return float(schedule.factor ** bisect_right(milestones, step))
        return 1.0

    return total, factor
