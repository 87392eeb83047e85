"""In which numbers a sweep multiplies, and in which it keeps what it has computed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hyperarc.errors import unknown_name

PRECISIONS = ("fp32", "bf16", "auto")


@dataclass(frozen=True)
class Precision:
    """dtypes of a sweep.

    Attributes:
        product: of both sides of its three products, which add up in fp32; None is that of the rows.
        kept: of the exponentials kept from forward to backward; None is that of the rows.
    """

    product: torch.dtype | None = None
    kept: torch.dtype | None = None

    def __str__(self) -> str:
        """In words, for logs."""
        product, kept = (str(dtype).removeprefix("torch.") for dtype in self.resolved(torch.float32))
        return f"products in {product}, exponentials kept in {kept}"

    def resolved(self, dtype: torch.dtype) -> tuple[torch.dtype, torch.dtype]:
        """Product and kept dtype for rows of ``dtype``; float64 stays exact."""
        if dtype == torch.float64:
            return dtype, dtype
        return self.product or dtype, self.kept or dtype


EXACT = Precision()
"""Everything in the rows' own dtype."""


def has_bf16(device: str) -> bool:
    """Whether ``device`` ("cpu", "cuda") multiplies bf16 natively: AMX or AVX512-BF16, or a GPU that does.

    A GPU that is not here, for which memory is estimated, counts as one that does.

    Example:
        >>> has_bf16("cpu") in (True, False)
        True
    """
    if device == "cuda":
        return not torch.cuda.is_available() or bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose_precision(name: str, device: str) -> Precision:
    """What ``name`` means on ``device``.

    ``fp32`` is exact. ``bf16`` keeps exponentials in bf16, two bytes instead of four, and multiplies in bf16 where the
    hardware does so natively; elsewhere products stay in fp32, as emulated ones are slower. ``auto`` is bf16 where the
    hardware has it, fp32 elsewhere.

    Errors: UnknownNameError for another name.

    Example:
        >>> choose_precision("fp32", "cpu")
        Precision(product=None, kept=None)
    """
    if name not in PRECISIONS:
        raise unknown_name("precision of the head", name, PRECISIONS)
    native = has_bf16(device)
    if name == "fp32" or (name == "auto" and not native):
        return EXACT
    return Precision(torch.bfloat16 if native else None, torch.bfloat16)
