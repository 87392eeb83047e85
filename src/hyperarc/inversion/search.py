"""How pictures are searched for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hyperarc.errors import HyperArcError


@dataclass(frozen=True)
class Search:
    """How pictures are searched for: from coarse to fine, so that each becomes one face in the middle.

    Convolutions hardly care where things are. Pictures that begin at full size soon show two halves of faces side by
    side, which the model likes as much as one; those that begin with 11 px do not. :meth:`paper` has the settings of
    the ArcFace paper (section 4.5), whose 20,000 steps are for a GPU.

    Attributes:
        iterations: Adam steps (1000; from 500 on faces are faces).
        rate: Adam's learning rate (0.1).
        betas: Adam's (0.9, 0.999).
        schedule: "constant" or "cosine" with ``warmup`` steps of rising rate (DeepInversion).
        warmup: steps of a cosine schedule (10).
        jitter_px: each step shifts the pictures by up to so many pixels, rolling over (4; DeepInversion: 30 of 224 px).
        flip: each step mirrors every second picture at random.
        resolutions: factors of the picture's size, gone through in equal shares of the iterations, smoothed in between;
            ``(1.0,)`` begins with all of it.
        same_start: all pictures begin as the same noise and are mirrored together, so that neighbors on an arc of
            targets stay alike.
        precision: "fp32", or "bf16" for the backbone's pass.
        seed: of the noise and of jitter and flip.

    Raises:
        HyperArcError: a value out of range.

    Example:
        >>> Search().resolutions[0], Search.paper(seed=3).rate
        (0.1, 0.25)
    """

    iterations: int = 1000
    rate: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: int = 10
    jitter_px: int = 4
    flip: bool = True
    resolutions: tuple[float, ...] = (0.1, 0.125, 0.18, 0.25, 0.35, 0.5, 1.0)
    same_start: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.rate <= 0 or self.jitter_px < 0 or self.warmup < 0:
            raise HyperArcError(
                f"expected at least 1 iteration, a positive rate, jitter and warm-up of 0 or more, got {self}"
            )
        if not self.resolutions or not all(0.1 <= factor <= 1.0 for factor in self.resolutions):
            raise HyperArcError(f"resolutions should lie between 0.1 and 1, got {self.resolutions}")
        if self.resolutions[-1] != 1.0:
            raise HyperArcError(f"the last of the resolutions should be 1, got {self.resolutions}")

    @classmethod
    def paper(cls, iterations: int = 20_000, seed: int = 0) -> Search:
        """As in the ArcFace paper, section 4.5: a constant rate of 0.25, neither jitter nor flips nor small sizes."""
        return cls(iterations, 0.25, schedule="constant", jitter_px=0, flip=False, resolutions=(1.0,), seed=seed)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step.

        Example:
            >>> Search.paper().rate_at(7), Search(iterations=200).rate_at(199) < 1e-3
            (0.25, True)
        """
        if self.schedule == "constant":
            return self.rate
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        through = (step - self.warmup) / max(1, self.iterations - self.warmup)
        return self.rate * 0.5 * (1 + math.cos(math.pi * through))

    def stage(self, step: int) -> int:
        """Which of the resolutions a step has."""
        return min(step * len(self.resolutions) // self.iterations, len(self.resolutions) - 1)
