"""How a chunked sweep is cut into blocks, and what memory it then holds."""

from __future__ import annotations

from dataclasses import dataclass

WORKING_MB = 4.0  # at most: what fits the caches is worked on fastest, and the rest of the memory is for keeping
ALIGNED = 32  # classes: rows of a block then begin where cache lines do, and products are up to a seventh faster
_MIB = 2**20


@dataclass(frozen=True)
class SweepSize:
    """What decides how much a chunked sweep holds.

    Attributes:
        rows, classes, dim, sub_centers: N, C, d and K; of a sampled sweep, C is the number of classes swept.
        memory_mb: what the sweep may hold, MiB.
        number_bytes: size of a number of the rows, 4 for fp32.
        product_bytes, kept_bytes: size of a number in products and of a kept exponential, 2 for bf16.
        maps_negatives: whether the margin changes the negatives' cosines, which needs room for what comes between.
        updates: whether the centers are updated in backward, which needs room for a block's gradient.
    """

    rows: int
    classes: int
    dim: int
    sub_centers: int = 1
    memory_mb: float = 64.0
    number_bytes: int = 4
    product_bytes: int = 4
    kept_bytes: int = 4
    maps_negatives: bool = False
    updates: bool = False


@dataclass(frozen=True)
class Footprint:
    """What a chunked sweep holds beside its inputs and its results, bytes.

    Attributes:
        width: classes of a block.
        kept_blocks: how many blocks' exponentials are kept from forward to backward; the others are made again.
        working: what one block in work takes.
        kept: what the kept blocks take.
        fixed: what is held whatever ``memory_mb``: rows of the products, lengths of the centers.
    """

    width: int
    kept_blocks: int
    working: int
    kept: int
    fixed: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.working + self.kept + self.fixed


def footprint(size: SweepSize) -> Footprint:
    """The blocks of a sweep, and what it holds at the most.

    ``memory_mb`` is shared between the block in work, which gets at most half and at most 4 MiB (8 with sub-centers or
    a map of the negatives), and the exponentials kept for backward. A block is never less than one class.

    Example:
        >>> held = footprint(SweepSize(rows=512, classes=100_000, dim=512, memory_mb=176))
        >>> held.total < 200e6, held.kept_blocks * held.width > 80_000
        (True, True)
    """
    allowed = int(size.memory_mb * _MIB)
    fixed = _fixed_bytes(size)
    per_class = _working_bytes_per_class(size)
    # where a class takes more room, blocks of few classes would make for slow products
    most = WORKING_MB * (2 if size.sub_centers > 1 or size.maps_negatives else 1)
    room = max(0, min((allowed - fixed) // 2, int(most * _MIB)))
    width = max(1, room // per_class)
    width = min(size.classes, width if width < ALIGNED else width - width % ALIGNED)
    kept_block = width * size.rows * (size.kept_bytes + (size.sub_centers > 1))
    blocks = -(-size.classes // width)
    kept_blocks = min(blocks, max(0, allowed - fixed - width * per_class) // kept_block)
    kept = min(kept_blocks * kept_block, size.classes * kept_block // width)
    return Footprint(width, kept_blocks, width * per_class, kept, fixed)


def _fixed_bytes(size: SweepSize) -> int:
    """Rows in products and scaled by their share, what comes back to them, own centers, and 1 / ||w||."""
    of_rows = size.rows * size.dim * (2 * size.product_bytes + (2 + size.sub_centers) * size.number_bytes)
    return of_rows + size.classes * size.sub_centers * size.number_bytes


def _working_bytes_per_class(size: SweepSize) -> int:
    """A class's share of the block in work."""
    k = size.sub_centers
    planes = size.rows * (k * size.product_bytes + (4 * size.number_bytes if k > 1 else 0))
    between = size.rows * size.number_bytes * 6 if size.maps_negatives else size.rows * size.number_bytes // 8
    centers = k * size.dim * (size.number_bytes * (1 + size.updates))
    if size.product_bytes < size.number_bytes:
        centers += 2 * k * size.dim * size.product_bytes
    return int(planes + between + centers)
