"""An order that reads nearly as faces lie: shards in random order, faces shuffled among their neighbors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hyperarc.data.face_set import FaceSet
from hyperarc.data.order import Order, Places, epoch_generator, index_type
from hyperarc.errors import DataError

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Streams:
    """Among whom the shards of an epoch are dealt out, so that not everybody reads them all.

    Attributes:
        parts: of a batch. A process reads a contiguous part of each, so of as many parts as processes each its own.
        turns: step t takes shards of turn t % turns. Of W workers each reads every W-th batch, so of W turns its own.
    """

    parts: int = 1
    turns: int = 1


class ShardOrder(Order):
    """Batches for shards that are read from far away or from slow disks: every face at most once an epoch.

    A function of (seed, step) alone, as :class:`~hyperarc.data.order.BatchOrder` is. In each epoch the shards are put
    into random order, one after the other with their faces as they lie. In this stream the face at place i gets the key
    i + window x u, with u drawn evenly from 0 to 1, and faces come in the order of their keys: none moves by as much as
    ``window`` places, and shards run into each other. So at any time faces are read from a stretch of fewer than two
    windows.

    With ``streams`` the stream of an epoch is cut into as many stretches of equal length as there are parts and turns,
    each shuffled for itself; a shard lies in two of them only where a cut goes through it.

    Args:
        shards: the shard of each row, any whole numbers [N].
        places: where a row lies in its shard, rising [N].
        batch_size: rows of one global batch (over all ranks).
        window: in faces; 1 keeps the order within shards.
        seed: of permutations and flips.
        streams: parts of a batch and turns of steps with shards of their own.

    Raises:
        DataError: no rows, fewer rows than a batch, a window or batch size below 1, or a batch that the parts cannot
            share.

    Example:
        >>> order = ShardOrder(np.repeat([7, 9], 4), np.arange(8), batch_size=4, window=1)
        >>> sorted(order.batch(0).tolist()) in ([0, 1, 2, 3], [4, 5, 6, 7])
        True
    """

    def __init__(
        self,
        shards: Numbers,
        places: Numbers,
        batch_size: int,
        window: int,
        seed: int = 0,
        streams: Streams = Streams(),
    ) -> None:
        self.count, self.batch_size, self.window, self.seed = len(shards), batch_size, window, seed
        self.streams = streams
        self._latest = {}
        if min(batch_size, window) < 1 or seed < 0:
            raise DataError(
                f"expected a batch size and a window of at least 1 and a seed of 0 or more, got {batch_size}, {window} "
                f"and {seed}"
            )
        if self.count < batch_size:
            raise DataError(
                f"expected at least one batch of {batch_size} faces, got {self.count} faces",
                mend="use a smaller batch size",
            )
        if streams.turns < 1 or streams.parts < 1 or batch_size % streams.parts:
            raise DataError(
                f"expected a batch that its parts share equally, got {batch_size} faces in {streams.parts} parts and "
                f"{streams.turns} turns",
                mend="make training.batch_size a multiple of data.sampler.shards.parts",
            )
        rows = np.lexsort((places, shards))
        ordered = shards[rows]
        self._rows: Places = rows.astype(index_type(self.count))  # shard by shard
        self._first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))  # place of each shard's first
        self._sizes = np.diff(self._first, append=self.count)

    @property
    def batches_per_epoch(self) -> int:
        """Steps of one epoch."""
        return self.count // self.batch_size

    def _draw(self, epoch: int) -> Places:
        rng = epoch_generator(self.seed, epoch)
        turn = rng.permutation(len(self._first))
        sizes = self._sizes[turn]
        began = np.cumsum(sizes) - sizes  # in the stream
        stream = np.arange(self.count) + np.repeat(self._first[turn] - began, sizes)
        keys = np.arange(self.count) + self.window * rng.random(self.count)
        drawn: Places = self._rows[stream[self._deal(keys)]]
        return drawn

    def _deal(self, keys: npt.NDArray[np.float64]) -> Numbers:
        """Places in the stream by their keys, dealt out to parts and turns; last what no batch is left for."""
        steps, (parts, turns) = self.batches_per_epoch, (self.streams.parts, self.streams.turns)
        dealt = np.empty((steps, parts, self.batch_size // parts), np.int64)
        begin = 0
        for turn, part in np.ndindex(turns, parts):
            mine = dealt[turn::turns, part]
            end = self.count if (turn, part) == (turns - 1, parts - 1) else begin + mine.size
            places = begin + np.argsort(keys[begin:end], kind="stable")
            mine[:] = places[: mine.size].reshape(mine.shape)
            rest = places[mine.size :]
            begin = end
        return np.concatenate([dealt.ravel(), rest])


@runtime_checkable
class Sharded(Protocol):
    """A source that knows in which file each face lies, and where in it."""

    def places(self, faces: pa.Array) -> tuple[Numbers, Numbers]:
        """File and place of each face."""


def places_of(faces: FaceSet, window: int) -> tuple[Numbers, Numbers]:
    """Shard and place of each face of a set, for :class:`ShardOrder`.

    Where a source lies in several files, these are the shards. Where it lies in one, or does not know, stretches of
    ``window`` faces are, in the order in which they lie or stand in the manifest: people stand together there, and the
    stretches mix them.
    """
    codes = faces.manifest.source_codes
    keys = faces.manifest.table["face"].chunk(0)
    shards, places = np.zeros(len(codes), np.int64), np.arange(len(codes))
    begin = 0
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        source = faces.reader.source(int(rows[0]))
        own = np.zeros(len(rows), np.int64)
        if isinstance(source, Sharded):
            own, places[rows] = source.places(keys.take(pa.array(rows)))
        if (own == own[0]).all():
            order = np.argsort(places[rows], kind="stable")
            own[order] = np.arange(len(rows)) // window
        shards[rows] = begin + own
        begin = int(shards[rows].max()) + 1
    return shards, places
