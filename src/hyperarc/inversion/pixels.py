"""Pictures as a model sees them, and as people do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from hyperarc.contract import Contract


@dataclass(frozen=True, eq=False)
class Bounds:
    """Smallest and largest value of a pixel as a model sees it, [3, 1, 1] each."""

    low: Tensor
    high: Tensor


def bounds_of(contract: Contract, device: torch.device | str = "cpu") -> Bounds:
    """Where black and white lie under a contract.

    Example:
        >>> from hyperarc.contract import Contract
        >>> bounds_of(Contract()).low.flatten().tolist(), bounds_of(Contract()).high.flatten().tolist()
        ([-1.0, -1.0, -1.0], [1.0, 1.0, 1.0])
    """
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (contract.mean, contract.std))
    return Bounds(-mean / std, (255.0 - mean) / std)


def to_pixels(images: Tensor, contract: Contract) -> npt.NDArray[np.uint8]:
    """uint8 RGB pictures [N, H, W, 3] of what a model sees, [N, 3, H, W]; the way back of the encoder's input.

    Example:
        >>> from hyperarc.contract import Contract
        >>> to_pixels(torch.zeros(1, 3, 2, 2), Contract())[0, 0, 0].tolist()
        [128, 128, 128]
    """
    mean = torch.tensor(contract.mean, device=images.device)[:, None, None]
    std = torch.tensor(contract.std, device=images.device)[:, None, None]
    levels = images.detach().float() * std + mean
    if contract.color == "bgr":
        levels = levels.flip(1)
    return levels.add_(0.5).clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
