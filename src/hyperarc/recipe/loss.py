"""The head section of a recipe: the loss, its centers, and which of them and of the faces a step looks at."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from hyperarc.recipe.frozen import Frozen


class Prototypes(Frozen):
    """Hard prototype mining (AdaptiveFace): a step sweeps over the batch's people and those easily taken for them."""

    queue: int = Field(16, ge=1, description="k, hard people kept for each; at most all others")
    threshold: float = Field(-1.0, ge=-1, lt=1, description="h, cosine that an entry must exceed; -1 keeps all")
    threshold_end: float | None = Field(None, ge=-1, lt=1, description="where h goes; the larger, the harder")
    threshold_steps: int = Field(0, ge=0, description="steps that h takes to go there")
    refresh_every: int | None = Field(0, ge=0, description="steps between searches for neighbors; 0 once; none never")


class Trimming(Frozen):
    """Small-loss trimming: the largest losses of a batch are taken for noise and left out (Co-teaching's schedule)."""

    share: float = Field(0.2, gt=0, lt=1, description="tau, left out in the end; the share of noise")
    ramp_steps: int = Field(1000, ge=0, description="T_k, steps over which the share rises from 0")


class HeadSection(Frozen):
    """The loss."""

    margin: str = Field("arcface", description="one of hyperarc.margin_names(), or groupface")
    arguments: dict[str, Any] = Field(default_factory=dict, description="the margin's own, such as scale and margin")
    auxiliary: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="losses to add, such as {triplet: {weight: 0.1}}"
    )
    sub_centers: int = Field(1, ge=1, description="centers per person")
    sample_rate: float = Field(1.0, gt=0, le=1, description="share of people swept in a step (Partial FC)")
    prototypes: Prototypes | None = Field(None, description="sweep over hard people only; none sweeps over all")
    trimming: Trimming | None = Field(None, description="leave the largest losses of a batch out; none keeps all")
    sweep: Literal["auto", "chunked", "fused"] = Field("auto", description="fused is for GPUs; auto takes it there")
    memory_mb: float = Field(176.0, gt=0, description="what the sweep may hold, MiB; the more, the less is made twice")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="of the sweep: fp32 is exact; bf16 also halves what is kept; auto is bf16 where hardware is"
    )
