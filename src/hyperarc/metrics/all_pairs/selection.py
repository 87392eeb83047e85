"""Which numbers of a matrix lie where: NumPy on the CPU, where it is several times faster than torch, else torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hyperarc.metrics.inputs import FloatArray, IntArray


def count_above(raw: Tensor, most: float) -> int:
    """How many numbers lie above ``most``.

    Example:
        >>> count_above(torch.tensor([[0.1, 0.5], [0.7, 0.2]]), 0.3)
        2
    """
    if raw.device.type == "cpu":
        return int(np.count_nonzero(raw.numpy() > _limit(raw, most)))
    return int(torch.count_nonzero(raw > _limit(raw, most)))


def places_between(raw: Tensor, least: float, most: float) -> tuple[IntArray, IntArray]:
    """Rows and columns of the numbers from ``least`` to ``most``, both included.

    Example:
        >>> r, c = places_between(torch.tensor([[0.1, 0.5], [0.7, 0.2]]), 0.2, 0.6)
        >>> r.tolist(), c.tolist()
        ([0, 1], [1, 1])
    """
    numbers: Any = raw.numpy() if raw.device.type == "cpu" else raw
    there = numbers >= _limit(raw, least)
    if math.isfinite(most):
        there &= numbers <= _limit(raw, most)
    flat = (
        np.flatnonzero(there) if raw.device.type == "cpu" else torch.nonzero(there.reshape(-1)).view(-1).cpu().numpy()
    )
    r, c = np.divmod(flat, raw.shape[1])
    return r, c


def row_tops(raw: Tensor) -> FloatArray:
    """Largest number of each row."""
    tops = raw.numpy().max(axis=1) if raw.device.type == "cpu" else raw.amax(1).cpu().numpy()
    return np.asarray(tops, dtype=np.float64)


def places_above_limits(raw: Tensor, rows: IntArray, limits: FloatArray) -> tuple[IntArray, IntArray]:
    """Places, in some rows, of the numbers not below the row's limit."""
    if raw.device.type == "cpu":
        r, c = np.nonzero(raw.numpy()[rows] >= limits.astype(np.float32)[:, None])
    else:
        chosen = raw[torch.from_numpy(rows).to(raw.device)]
        there = chosen >= torch.from_numpy(limits).float().to(raw.device)[:, None]
        r, c = torch.nonzero(there).cpu().numpy().T
    return rows[r], c


def _limit(raw: Tensor, limit: float) -> Any:
    """The limit in the matrix's own kind of number, so that comparing converts nothing; off by less than SLACK."""
    if raw.is_floating_point():
        return np.float32(limit) if raw.device.type == "cpu" else limit
    return math.floor(limit)
