"""Matrix products that sort out pairs: fast, in low precision, with a bound on how far a score may be off.

A product works on lowered vectors x', y' (rounded to bf16 or to whole numbers). By Cauchy and Schwarz

    |x.y - x'.y'| = |(x - x').y + x'.(y - y')| <= |x - x'| |y| + |x'| |y - y'|,

and the lengths on the right are measured, so the bound holds for any vectors. What the product itself rounds comes on
top: nothing for whole numbers; d u / (1 - d u) |x'| |y'| for fp32 sums in any order (Higham 2002, section 3.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

UNIT = 1.0 + 1e-6  # longest length of a unit vector in fp32
AT_A_TIME = 512  # vectors that stay in the cache while they are rounded
SLACK = 1e-6  # for thresholds turned into the product's own units


@dataclass(frozen=True, eq=False)
class Lowered:
    """Vectors as a product wants them.

    Attributes:
        values: the numbers, as the product keeps them.
        step: what one unit of them is worth.
        residual: length of the longest of what was rounded off the vectors.
    """

    values: Any
    step: float
    residual: float


class Fp32:
    """The product in fp32.

    Example:
        >>> eye = torch.eye(2)
        >>> product = Fp32(torch.device("cpu"))
        >>> product.multiply(product.rows(eye[:1]), product.columns(eye)).tolist()
        [[1.0, 0.0]]
    """

    name = "fp32"
    rounding = 2.0**-24  # of every sum
    last_rounding = 0.0  # of the result

    def __init__(self, device: torch.device) -> None:
        self.setting = "medium" if device.type == "cpu" and _medium_is_fp32() else "highest"

    def rows(self, unit: Tensor) -> Lowered:
        """Unit vectors [n, d] for the left side."""
        return Lowered(unit, 1.0, 0.0)

    def columns(self, unit: Tensor) -> Lowered:
        """Unit vectors [m, d] for the right side."""
        return self.rows(unit)

    def multiply(self, rows: Lowered, columns: Lowered) -> Tensor:
        """Products of all rows with all columns, fp32 or int32; times both steps they are about the scores."""
        with _matmul_setting(self.setting):
            return torch.mm(rows.values, columns.values.T)

    def bound(self, rows: Lowered, columns: Lowered, dim: int) -> float:
        """How far a score may lie from what ``multiply`` gives, times both steps."""
        sums = dim * self.rounding / (1.0 - dim * self.rounding)
        left, right = UNIT + rows.residual, UNIT + columns.residual  # longest lowered vectors
        lowering = rows.residual * UNIT + left * columns.residual
        return lowering + (sums + self.last_rounding) * left * right + SLACK


class Bf16(Fp32):
    """The product of vectors rounded to bf16, summed in fp32; on the CPU the result is rounded too."""

    name = "bf16"
    # tensor cores cut off instead of rounding (Fasi et al., Numerical behavior of NVIDIA tensor cores, 2021)
    rounding = 2.0**-22

    def __init__(self, device: torch.device) -> None:
        version = tuple(int(part) for part in torch.__version__.split(".")[:2])
        self.wide = device.type == "cuda" and version >= (2, 8)  # the result in fp32
        self.last_rounding = 0.0 if self.wide else 2.0**-8

    def rows(self, unit: Tensor) -> Lowered:
        """Unit vectors [n, d] rounded to bf16."""
        values = unit.bfloat16()
        parts = zip(unit.split(AT_A_TIME), values.split(AT_A_TIME), strict=True)
        return Lowered(values, 1.0, max(_residual(true, kept.float(), 1.0) for true, kept in parts))

    def multiply(self, rows: Lowered, columns: Lowered) -> Tensor:
        """Products of all rows with all columns, fp32."""
        if self.wide:
            return torch.mm(rows.values, columns.values.T, out_dtype=torch.float32)
        return torch.mm(rows.values, columns.values.T).float()


class Int8(Fp32):
    """The product of vectors rounded to whole numbers in -127..127, summed exactly."""

    name = "int8"
    rounding = 0.0

    def __init__(self, device: torch.device) -> None:
        pass

    def rows(self, unit: Tensor) -> Lowered:
        """Unit vectors [n, d] in steps of their largest entry / 127, padded with zeros to a multiple of 8."""
        whole = _whole(unit, 127)
        return replace(whole, values=torch.nn.functional.pad(whole.values, (0, -unit.shape[1] % 8)))

    def columns(self, unit: Tensor) -> Lowered:
        """As the rows, with zero vectors up to a multiple of 8, which the device's product wants."""
        right = self.rows(unit)
        padded = torch.nn.functional.pad(right.values, (0, 0, 0, -len(unit) % 8))
        return replace(right, values=(padded.T, len(unit)))

    def multiply(self, rows: Lowered, columns: Lowered) -> Tensor:
        """Products of all rows with all columns, int32."""
        right, count = columns.values
        left = rows.values
        height = len(left)
        left = torch.nn.functional.pad(left, (0, 0, 0, max(0, 17 - height)))  # cuBLAS takes 17 rows and more
        return torch._int_mm(left, right)[:height, :count]


class OffsetInt8(Int8):
    """int8 for processors that multiply unsigned by signed bytes, by oneDNN.

    AVX2, and AVX-512 without VNNI, add two neighboring products in 16 bits. These hold 2 x 127 x 127 but not
    2 x 255 x 127, so both sides have fewer levels: -90..90, stored with 90 added, which oneDNN takes off again, and
    -91..91; 2 x 180 x 91 is 32,760.
    """

    def rows(self, unit: Tensor) -> Lowered:
        """Unit vectors [n, d] in steps of their largest entry / 90, with 90 added."""
        return _whole(unit, 90, added=90)

    def columns(self, unit: Tensor) -> Lowered:
        """Unit vectors [m, d] in steps of their largest entry / 91, packed by oneDNN."""
        whole = _whole(unit, 91)
        return replace(whole, values=torch.ops.onednn.qlinear_prepack(whole.values, [1024, unit.shape[1]]))

    def multiply(self, rows: Lowered, columns: Lowered) -> Tensor:
        """Products of all rows with all columns: whole numbers below 2^24 (d up to 1024), exact in fp32."""
        one, zero = torch.ones(1), torch.zeros(1, dtype=torch.int64)
        result: Tensor = torch.ops.onednn.qlinear_pointwise(
            rows.values, 1.0, 90, columns.values, one, zero, None, 1.0, 0, torch.float32, "none", [], "none"
        )
        return result


def _whole(unit: Tensor, levels: int, added: int = 0) -> Lowered:
    """Whole numbers from -levels to levels, as signed bytes or, with something ``added``, unsigned ones."""
    low, high = torch.aminmax(unit)
    step = max(-float(low), float(high)) / levels
    values = torch.empty(unit.shape, dtype=torch.uint8 if added else torch.int8, device=unit.device)
    residual = 0.0
    for true, kept in zip(unit.split(AT_A_TIME), values.split(AT_A_TIME), strict=True):
        whole = (true / step).round_().clamp_(-levels, levels)
        residual = max(residual, _residual(true, whole, step))
        kept.copy_(whole.add_(added))
    return Lowered(values, step, residual)


def _residual(unit: Tensor, values: Tensor, step: float) -> float:
    """Largest distance of a vector from what stands for it, or a little more.

    Measured in fp32: an entry, at most 1, loses less than 2^-22 to rounding, and the length of d of them at most
    d 2^-23 of itself (Higham 2002, section 3.1); both are added.
    """
    dim = unit.shape[1]
    longest = float(torch.sub(unit, values, alpha=step).norm(dim=1).max())
    return longest * (1.0 + dim * 2.0**-23) + math.sqrt(dim) * 2.0**-22


@contextmanager
def _matmul_setting(name: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def _medium_is_fp32() -> bool:
    """Whether torch's "medium" products, twice as fast with AVX-512 on AMD processors, really are fp32 here.

    With AMX they are made in bf16, with an error of 1e-3.
    """
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(256, 512, generator=generator)) for _ in range(2))
    with _matmul_setting("medium"):
        off = (torch.mm(a, b.T).double() - a.double() @ b.double().T).abs().max()
    return float(off) < 1e-5
