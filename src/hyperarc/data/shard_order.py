"""An order that reads nearly as faces lie: shards in random order, faces shuffled among their neighbors."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hyperarc.data.face_set import FaceSet
from hyperarc.data.order import Order, Places, epoch_generator, index_type
from hyperarc.errors import DataError

Numbers = npt.NDArray[np.int64]


class ShardOrder(Order):
    """Batches for shards that are read from far away or from slow disks: every face at most once an epoch.

    A function of (seed, step) alone, as :class:`~hyperarc.data.order.BatchOrder` is. In each epoch the shards are put
    into random order, one after the other with their faces as they lie. In this stream the face at place i gets the key
    i + window x u, with u drawn evenly from 0 to 1, and faces come in the order of their keys: none moves by as much as
    ``window`` places, and shards run into each other. So at any time faces are read from a stretch of fewer than two
    windows.

    Args:
        shards: the shard of each row, any whole numbers [N].
        places: where a row lies in its shard, rising [N].
        batch_size: rows of one global batch (over all ranks).
        window: in faces; 1 keeps the order within shards.
        seed: of permutations and flips.

    Raises:
        DataError: no rows, fewer rows than a batch, or a window or batch size below 1.

    Example:
        >>> order = ShardOrder(np.repeat([7, 9], 4), np.arange(8), batch_size=4, window=1)
        >>> sorted(order.batch(0).tolist()) in ([0, 1, 2, 3], [4, 5, 6, 7])
        True
    """

    def __init__(self, shards: Numbers, places: Numbers, batch_size: int, window: int, seed: int = 0) -> None:
        self.count, self.batch_size, self.window, self.seed = len(shards), batch_size, window, seed
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
        drawn: Places = self._rows[stream[np.argsort(keys, kind="stable")]]
        return drawn


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
