"""Pairs of rows that lie nearly in one direction, among all pairs and without holding all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import embedding_matrix

Progress = Callable[[int, int], None]
NEAR_COPY = 0.95
BLOCK = 2048  # rows: 16 MiB of cosines at a time


@dataclass(frozen=True, eq=False)
class RowPairs:
    """Pairs of rows, nearest first.

    Attributes:
        first, second: int64 [M], first < second in each pair.
        cosines: float32 [M].
        count: how many pairs there are; more than M where only the nearest were asked for.
    """

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    cosines: npt.NDArray[np.float32]
    count: int

    def __len__(self) -> int:
        return len(self.first)


def near_copies(
    vectors: npt.ArrayLike,
    cosine: float = NEAR_COPY,
    *,
    most: int = 100_000,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> RowPairs:
    """All pairs of rows whose cosine reaches a limit: exact, block by block.

    N rows of dimension d take N^2 d additions and the memory of the vectors and of one block of cosines.

    Args:
        vectors: embeddings [N, d] of any length but 0.
        cosine: smallest cosine of a pair, in -1..1. The default, 0.95, is measured with MobileFaceNet on LFW:
            95 % of copies at half the size, at JPEG quality 50, cut 5 % tighter, 20 % brighter or mirrored (with flip
            "sum") reach it, half of those shifted by 2 px, few at JPEG quality 20; and so do 10 of the 65 million pairs
            of 11,450 different pictures.
        most: pairs kept, the nearest ones; all are counted.
        device: where the blocks are multiplied.
        progress: called with (blocks done, blocks in all).

    Raises:
        DataError: no embeddings, one that has no direction, a limit out of range.

    Example:
        >>> pairs = near_copies([[1, 0], [0, 1], [2, 0.01]], 0.99)
        >>> pairs.first.tolist(), pairs.second.tolist(), pairs.count
        ([0], [2], 1)
    """
    return unit_pairs(torch.from_numpy(embedding_matrix(vectors, "vectors")).to(device), cosine, most, progress)


def unit_pairs(unit: Tensor, cosine: float, most: int, progress: Progress | None = None) -> RowPairs:
    """:func:`near_copies` of rows [N, d] that are of unit length, or zeros, already."""
    if not -1.0 <= cosine <= 1.0 or most < 1:
        raise DataError(f"expected a cosine in -1..1 and at least one pair to keep, got {cosine} and {most}")
    blocks = block_places(len(unit))
    found = _none()
    count = 0
    for done, (rows, columns) in enumerate(blocks, 1):
        cosines = unit[rows] @ unit[columns].T
        reached = cosines >= cosine
        first, second = (reached.triu(1) if rows == columns else reached).nonzero(as_tuple=True)
        if len(first):
            count += len(first)
            new = (first + rows.start).cpu(), (second + columns.start).cpu(), cosines[first, second].float().cpu()
            joint = tuple(torch.cat(two) for two in zip(found, new, strict=True))
            found = _nearest(joint, most) if len(joint[0]) > 2 * most else joint
        if progress is not None:
            progress(done, len(blocks))
    first, second, cosines = _nearest(found, most)
    return RowPairs(first.numpy(), second.numpy(), cosines.clamp(-1.0, 1.0).numpy(), count)


def block_places(rows: int) -> list[tuple[slice, slice]]:
    """The blocks of all pairs of so many rows on and above the diagonal, as (rows, columns).

    Example:
        >>> block_places(5)
        [(slice(0, 5, None), slice(0, 5, None))]
    """
    parts = [slice(start, min(start + BLOCK, rows)) for start in range(0, rows, BLOCK)]
    return [(part, other) for place, part in enumerate(parts) for other in parts[place:]]


def _none() -> tuple[Tensor, ...]:
    return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), torch.zeros(0)


def _nearest(pairs: tuple[Tensor, ...], most: int) -> tuple[Tensor, ...]:
    """The nearest pairs; those of one cosine in the order of their rows, so that the answer is always the same."""
    first, second, cosines = (part.numpy() for part in pairs)
    order = torch.from_numpy(np.lexsort((second, first, -cosines))[:most])
    return tuple(part[order] for part in pairs)
