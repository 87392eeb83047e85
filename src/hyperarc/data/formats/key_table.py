"""Keys of faces looked up by name, without a Python object for each of millions."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


class KeyTable:
    """Where each key stands in a column of different keys: a binary search in sorted order, 8 bytes a key.

    Example:
        >>> KeyTable(pa.array(["b/1", "a/1"], pa.large_string())).find("a/1")
        1
    """

    def __init__(self, keys: pa.Array) -> None:
        self.keys = keys
        self._order: npt.NDArray[np.uint64] = np.asarray(pc.sort_indices(keys).to_numpy())
        self._sorted = keys.take(pa.array(self._order))

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, key: str) -> int | None:
        """The row of a key, or None."""
        try:
            wanted = key.encode()
        except UnicodeEncodeError:
            return None
        # Arrow sorts by bytes; so does Python, but only of bytes
        at = bisect_left(range(len(self.keys)), wanted, key=lambda i: self._sorted[i].as_buffer().to_pybytes())
        found = at < len(self.keys) and self._sorted[at].as_py() == key
        return int(self._order[at]) if found else None

    def rows(self, keys: pa.Array) -> npt.NDArray[np.int64]:
        """The rows of many keys; -1 for those that are not there."""
        found = pc.index_in(keys, value_set=self.keys)
        return np.asarray(pc.fill_null(found, -1).to_numpy(zero_copy_only=False), np.int64)
