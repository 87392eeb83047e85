"""Which rows make up which batch: a pure function of (seed, step), so a run resumes anywhere exactly."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


@dataclass(frozen=True)
class BatchOrder:
    """Batches of row indices by global step number.

    Epoch ``e`` is the steps ``e * batches_per_epoch ... (e + 1) * batches_per_epoch - 1``. Each epoch visits
    every row at most once, in a permutation drawn from (seed, epoch); with ``drop_last`` the tail of ``count
    % batch_size`` rows waits for another epoch, without it the last batch is short. Nothing depends on
    earlier calls; the permutation of the latest epoch is kept (4 bytes a row) so that neighbouring steps cost
    nothing.

    Args:
        count: rows to order.
        batch_size: rows of one global batch (over all ranks).
        seed: of permutations and flips.
        drop_last: leave out the short batch at the end of an epoch.
        shuffle: False visits the rows as they lie, for passes that embed everything once.

    Raises:
        DataError: no rows, fewer rows than a batch, or a batch size below 1.

    Example:
        >>> order = BatchOrder(count=10, batch_size=4, seed=0)
        >>> order.batches_per_epoch, order.epoch(5), len(order.batch(5))
        (2, 2, 4)
    """

    count: int
    batch_size: int
    seed: int = 0
    drop_last: bool = True
    shuffle: bool = True
    _latest: dict[int, npt.NDArray[np.integer]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise DataError(f"expected a batch size of at least 1, got {self.batch_size}")
        if self.count < 1:
            raise DataError("expected faces to order, got none", mend="see the findings of the manifest")
        if self.seed < 0:
            raise DataError(f"expected a seed of 0 or more, got {self.seed}")
        if self.drop_last and self.count < self.batch_size:
            raise DataError(
                f"expected at least one batch of {self.batch_size} faces, got {self.count} faces",
                mend="use a smaller batch size or drop_last=False",
            )

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_latest": {}}

    @property
    def batches_per_epoch(self) -> int:
        """Steps of one epoch."""
        if self.drop_last:
            return self.count // self.batch_size
        return -(-self.count // self.batch_size)

    def epoch(self, step: int) -> int:
        """The epoch, from 0, that global step ``step`` belongs to."""
        if step < 0:
            raise DataError(f"expected a step of 0 or more, got {step}")
        return step // self.batches_per_epoch

    def batch(self, step: int) -> npt.NDArray[np.int64]:
        """Row indices of global step ``step``: int64 [batch_size], or fewer in a short last batch."""
        epoch = self.epoch(step)
        start = (step - epoch * self.batches_per_epoch) * self.batch_size
        stop = min(start + self.batch_size, self.count)
        if not self.shuffle:
            return np.arange(start, stop, dtype=np.int64)
        return self._permutation(epoch)[start:stop].astype(np.int64)

    def flips(self, step: int) -> npt.NDArray[np.bool_]:
        """Which faces of ``batch(step)`` are mirrored: bool, same length, each with probability 1/2.

        Drawn by hashing (seed, epoch, row), so a face is mirrored or not in an epoch whatever the batch size.

        Example:
            >>> bool(BatchOrder(8, 4, seed=3).flips(0).dtype == np.bool_)
            True
        """
        rows = self.batch(step).astype(np.uint64)
        # Epoch and seed are mixed in turn: a sum would give (seed, epoch) and (seed + 1, epoch - 1) the same
        # flips.
        stream = _mix(np.array([self.seed & _MASK], dtype=np.uint64))
        stream = _mix(stream + np.uint64(self.epoch(step)))
        return (_mix(rows + stream) >> np.uint64(63)).astype(np.bool_)

    def _permutation(self, epoch: int) -> npt.NDArray[np.integer]:
        kept = self._latest.get(epoch)
        if kept is None:
            kept = np.arange(self.count, dtype=np.int32 if self.count < 2**31 else np.int64)
            np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, epoch]))).shuffle(kept)
            self._latest.clear()
            self._latest[epoch] = kept
        return kept


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64: a step of the counter, then its finalizer; arithmetic is modulo 2^64 on purpose."""
    z = x + np.uint64(_GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
