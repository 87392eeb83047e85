"""What is known of noisy faces: who is on each, and what is wrong with its name. One Parquet file beside a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hyperarc.data.manifest import Manifest
from hyperarc.errors import DataError
from hyperarc.files import write_beside

FLIP, STRANGER, CONFLICT = "flip", "stranger", "conflict"
_COLUMNS = ("source", "face", "person", "true_person", "noise")


@dataclass(frozen=True, eq=False)
class Truth:
    """The truth of the rows of a manifest.

    Attributes:
        persons: [rows] who is on the face.
        kinds: [rows] "flip", "stranger", "conflict", or "" where the name is right.

    Example:
        >>> Truth(np.array(["ann", "bob"], object), np.array(["", "flip"], object)).wrong.tolist()
        [False, True]
    """

    persons: npt.NDArray[np.object_]
    kinds: npt.NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def wrong(self) -> npt.NDArray[np.bool_]:
        """Rows that do not show whose name they bear: flips and strangers. The second name of a person is right."""
        return np.asarray((self.kinds == FLIP) | (self.kinds == STRANGER), dtype=np.bool_)

    def write(self, manifest: Manifest, path: Path) -> None:
        """Write the truth of the manifest's rows: source, face, person as named, true person, kind of noise."""
        columns = [manifest.table[name] for name in _COLUMNS[:3]]
        columns += [pa.array(self.persons.tolist(), pa.string()), pa.array(self.kinds.tolist(), pa.string())]
        with write_beside(path) as beside:
            pq.write_table(pa.table(dict(zip(_COLUMNS, columns, strict=True))), beside, compression="zstd")


def read_truth(path: Path, manifest: Manifest) -> Truth:
    """The truth of the manifest's rows out of a file that holds them, in any order.

    Raises:
        DataError: missing or damaged file, or a face of the manifest that it does not know.
    """
    try:
        table = pq.read_table(path, columns=list(_COLUMNS))
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DataError(f"cannot read the truth about these faces: {error}", where=path) from error
    known = {key: row for row, key in enumerate(zip(*(table[name].to_pylist() for name in _COLUMNS[:2]), strict=True))}
    keys = zip(manifest.column("source").tolist(), manifest.column("face").tolist(), strict=True)
    try:
        rows = np.array([known[key] for key in keys], np.int64)
    except KeyError as error:
        raise DataError(f"does not know the face {':'.join(error.args[0])}", where=path) from None
    persons, kinds = (np.array(table[name].to_pylist(), dtype=object)[rows] for name in _COLUMNS[3:])
    return Truth(persons, kinds)
