"""How the kernels of the fused sweep are cut and started: tiles, grids, and what one batch gives to all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import triton
from torch import Tensor

import hyperarc.heads.sweep.fused_kernels as kernels
from hyperarc.heads.sweep.fused_memory import INTERPRETED, PART, SHARE_ROWS
from hyperarc.heads.sweep.plan import Plan
from hyperarc.heads.sweep.sums import LOG2_E

_ABOUT = ["rows_about", "DIM", "SUB", "PRECISION"]


def _tuned(kernel: Any, tiles: list[tuple[int, int, int, int, int]], key: list[str]) -> Any:
    """The kernel with the fastest of some (rows, classes, depth, warps, stages), measured once for each ``key``."""
    tiles = [(16, 16, 16, 4, 1)] if INTERPRETED else tiles
    configs = [
        triton.Config({"ROWS": r, "CLASSES": c, "DEPTH": d}, num_warps=w, num_stages=s) for r, c, d, w, s in tiles
    ]
    return triton.autotune(configs=configs, key=key)(kernel)


_OF_COSINES = [(128, 128, 64, 8, 3), (128, 64, 64, 4, 3), (64, 128, 64, 4, 3), (64, 64, 32, 4, 3), (128, 64, 64, 8, 3)]
_SUM = _tuned(kernels.sum_negatives, _OF_COSINES, [*_ABOUT, "classes_about", "TOP", "MAPS"])
_SHARES = _tuned(kernels.fill_shares, [one for one in _OF_COSINES if one[0] == 128], [*_ABOUT, "MAPS"])
_OF_GRADIENTS = [(64, 128, 128, 8, 3), (64, 128, 64, 4, 3), (64, 64, 128, 4, 3), (32, 128, 64, 4, 3)]
_CENTERS = _tuned(kernels.move_centers, _OF_GRADIENTS, _ABOUT)
_ROWS = _tuned(kernels.move_rows, [(c, r, d, w, s) for r, c, d, w, s in _OF_GRADIENTS], _ABOUT)


@dataclass(frozen=True)
class Batch:
    """What all kernels are given.

    Attributes:
        rows: [N, d] in the products' dtype.
        weight: [C, K, d].
        inverse: [C, K] 1 / ||w||, or None where centers keep their length.
        labels: [N].
        scale: [] s.
        plan: of the sweep.
    """

    rows: Tensor
    weight: Tensor
    inverse: Tensor | None
    labels: Tensor
    scale: Tensor
    plan: Plan
    args: tuple[Tensor, ...] = field(init=False)
    sizes: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        count, like = len(self.rows), self.weight
        threshold, tau, form = _negatives(self.plan, count, like)
        inverse = like if self.inverse is None else self.inverse
        scale = (self.scale * LOG2_E).float().reshape(1)
        given = (self.rows, self.weight, inverse, self.labels.to(torch.int32).contiguous(), scale, threshold, tau, form)
        object.__setattr__(self, "args", given)
        exact = self.rows.dtype != torch.float32 or torch.get_float32_matmul_precision() == "highest"
        sizes = {
            "DIM": like.shape[2],
            "SUB": like.shape[1],
            "PRECISION": "ieee" if exact else "tf32",
            "rows_about": triton.next_power_of_2(count),
        }
        object.__setattr__(self, "sizes", sizes)

    @property
    def kind(self) -> dict[str, Any]:
        """Which of a kernel's variants."""
        return {"UNIT": self.inverse is not None, **self.sizes}


def sum_negatives(batch: Batch, run: int, top: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of every run [R, N]: log2 of its sum; [R, N, top] its largest cosines and their classes."""
    (count, _), classes = batch.rows.shape, len(batch.weight)
    runs = -(-classes // run)
    mass = batch.weight.new_empty(runs, count)
    near = batch.weight.new_empty(runs, count, top)
    near_class = near.new_empty(near.shape, dtype=torch.int32)
    sizes = (count, classes, run)
    variant = {"TOP": top, "SLOTS": max(2, triton.next_power_of_2(top)), "MAPS": batch.plan.negative_map is not None}
    with torch.cuda.device_of(batch.rows):
        _SUM[_grid(lambda tile: _tiles(count, tile["ROWS"]) * runs)](
            *batch.args, mass, near, near_class, *sizes, **variant, **batch.kind,
            classes_about=triton.next_power_of_2(classes),
        )  # fmt: skip
    return mass, near, near_class


@dataclass(frozen=True)
class Shares:
    """Room for the shares [K, rows, classes] of a block, for what they have along the centers, and for parts of dx."""

    shares: Tensor
    along: Tensor
    parts: Tensor

    @staticmethod
    def room(batch: Batch, block: int) -> Shares:
        """For blocks of so many classes."""
        (count, dim), k = batch.rows.shape, batch.weight.shape[1]
        return Shares(
            batch.rows.new_empty(k * count * block),
            batch.weight.new_empty(_tiles(count, SHARE_ROWS) * k * block),
            batch.weight.new_empty(_tiles(block, PART) * count * dim),
        )


def gradients(
    batch: Batch, room: Shares, taken: Tensor, block: tuple[int, int], sums: tuple[Tensor, Tensor], part: Tensor
) -> Tensor:
    """Write the gradient of a block's centers into ``part`` [w, K, d]; answer that of the rows ``taken`` [n, d].

    Args:
        batch: as forward had it.
        room: buffers.
        taken: int32, which rows count in this block.
        block: first and last class.
        sums: log2 of each row's sum [N], and the factor [N] that its shares get.
        part: fp32, contiguous.
    """
    (first, last), count, dim, k = block, len(taken), batch.rows.shape[1], batch.weight.shape[1]
    width = last - first
    rows, weight, *_ = batch.args
    sizes, tiles, parts = (count, first, width, width), _tiles(count, SHARE_ROWS), _tiles(width, PART)
    out = room.parts[: parts * count * dim].view(parts, count, dim)
    with torch.cuda.device_of(rows):
        _SHARES[_grid(lambda tile: tiles * _tiles(width, tile["CLASSES"]))](
            *batch.args, taken, *sums, room.shares, room.along, *sizes,
            MAPS=batch.plan.negative_map is not None, **batch.kind,
        )  # fmt: skip
        _CENTERS[_grid(lambda tile: _tiles(width, tile["CLASSES"]) * k * _tiles(dim, tile["DEPTH"]))](
            room.shares, room.along, rows, weight, taken, part, *sizes, tiles, **batch.kind
        )
        _ROWS[_grid(lambda tile: parts * _tiles(count, tile["ROWS"]) * _tiles(dim, tile["DEPTH"]))](
            room.shares, weight, out, *sizes, PART, **batch.sizes
        )
    return out.sum(dim=0)


def _negatives(plan: Plan, count: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Threshold [N], filter [N] and coefficients [4] of the negatives' map; nothing where there is none."""
    if plan.negative_map is None:
        return like, like, like
    form, tau = plan.negative_map.form(), plan.negative_map.tau
    assert form is not None
    threshold = form.above if plan.negative_map.threshold is None else plan.negative_map.threshold[:, 0]
    numbers = (form.square, form.linear, form.constant, form.floor)
    coefficients = [torch.as_tensor(number, device=like.device).to(like).reshape(()) for number in numbers]
    rows = [torch.as_tensor(torch.inf if one is None else one, device=like.device) for one in (threshold, tau)]
    above, most = (one.to(like).reshape(-1).expand(count).contiguous() for one in rows)
    return above, most, torch.stack(coefficients)


def _tiles(size: int, of: int) -> int:
    return -(-size // of)


def _grid(programs: Callable[[dict[str, Any]], int]) -> Callable[[dict[str, Any]], tuple[int]]:
    return lambda tile: (programs(tile),)
