"""Which rows make up which batch: a pure function of (seed, step), so a run resumes anywhere exactly."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import Tensor

from hyperarc.errors import DataError

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1

Places = npt.NDArray[np.integer]


class Order(ABC):
    """Batches of row indices by global step number: what a loader asks.

    Epoch ``e`` is the steps ``e * batches_per_epoch ... (e + 1) * batches_per_epoch - 1``. The places of the latest
    epoch are kept, so that neighbouring steps cost nothing.

    Attributes:
        count: rows to order.
        batch_size: rows of one global batch (over all ranks).
        seed: of all that is drawn.
    """

    count: int
    batch_size: int
    seed: int
    _latest: dict[int, Places]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_latest": {}}

    @property
    @abstractmethod
    def batches_per_epoch(self) -> int:
        """Steps of one epoch."""

    @abstractmethod
    def _draw(self, epoch: int) -> Places:
        """The places of an epoch, in order: place % count is the row, place // count how often it came before."""

    @property
    def known_until(self) -> int:
        """The step before which batches are known; a loader asks for none beyond, however far it works ahead."""
        return sys.maxsize

    def epoch(self, step: int) -> int:
        """The epoch, from 0, that global step ``step`` belongs to."""
        if step < 0:
            raise DataError(f"expected a step of 0 or more, got {step}")
        return step // self.batches_per_epoch

    def batch(self, step: int) -> npt.NDArray[np.int64]:
        """Row indices of global step ``step``: int64 [batch_size], or fewer in a short last batch."""
        return self._places(step) % self.count

    def flips(self, step: int) -> npt.NDArray[np.bool_]:
        """Which faces of ``batch(step)`` are mirrored: bool, same length, each with probability 1/2.

        Drawn by hashing (seed, epoch, row), so a face is mirrored or not in an epoch whatever the batch size. A face
        that comes several times in an epoch is drawn for anew each time.

        Example:
            >>> bool(BatchOrder(8, 4, seed=3).flips(0).dtype == np.bool_)
            True
        """
        places = self._places(step).astype(np.uint64)
        # Epoch and seed are mixed in turn: a sum would give (seed, epoch) and (seed + 1, epoch - 1) the same flips.
        stream = _mix(np.array([self.seed & _MASK], dtype=np.uint64))
        stream = _mix(stream + np.uint64(self.epoch(step)))
        return (_mix(places + stream) >> np.uint64(63)).astype(np.bool_)

    def observe(  # noqa: B027  (most orders do not care)
        self, step: int, rows: npt.NDArray[np.int64], target: npt.NDArray[np.float32], nearest: npt.NDArray[np.float32]
    ) -> None:
        """Hear what the head said of the rows of a step.

        Args:
            step: global step.
            rows: of the global batch, all ranks' and all accumulation parts', int64 [N].
            target, nearest: cosine of each to its own center and to the nearest other one, float32 [N].
        """

    def state_dict(self) -> dict[str, Tensor]:
        """What later batches depend on beside the arguments; empty where they are functions of the step."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put back what :meth:`state_dict` gave; anything else is a KeyError or ValueError."""
        if state:
            raise ValueError(f"this order keeps nothing, got {', '.join(state)}")

    def _places(self, step: int) -> npt.NDArray[np.int64]:
        epoch = self.epoch(step)
        if epoch not in self._latest:
            drawn = self._draw(epoch)
            self._latest.clear()
            self._latest[epoch] = drawn
        start = (step - epoch * self.batches_per_epoch) * self.batch_size
        return self._latest[epoch][start : start + self.batch_size].astype(np.int64)


@dataclass(frozen=True)
class BatchOrder(Order):
    """Batches of row indices by global step number.

    Each epoch visits every row at most once, in a permutation drawn from (seed, epoch); with ``drop_last`` the tail of
    ``count % batch_size`` rows waits for another epoch, without it the last batch is short. Nothing depends on earlier
    calls.

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
    _latest: dict[int, Places] = field(default_factory=dict, init=False, repr=False, compare=False)

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
                mend="use a smaller training.batch_size",
            )

    @property
    def batches_per_epoch(self) -> int:
        """Steps of one epoch."""
        if self.drop_last:
            return self.count // self.batch_size
        return -(-self.count // self.batch_size)

    def _draw(self, epoch: int) -> Places:
        rows = np.arange(self.count, dtype=index_type(self.count))
        if self.shuffle:
            epoch_generator(self.seed, epoch).shuffle(rows)
        return rows


def epoch_generator(seed: int, epoch: int) -> np.random.Generator:
    """The random numbers of an epoch."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch])))


def index_type(stop: int) -> np.dtype[np.integer]:
    """The narrower of int32 and int64 that holds 0 ... stop - 1."""
    return np.dtype(np.int32 if stop <= 2**31 else np.int64)


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64: a step of the counter, then its finalizer; arithmetic is modulo 2^64 on purpose."""
    z = x + np.uint64(_GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
