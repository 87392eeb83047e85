"""Every pair of two sets of faces, counted. The one place where protocols meet the all-pairs engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.metrics.all_pairs import AllPairs, Execution, LabeledEmbeddings, Wanted
from hyperarc.metrics.all_pairs import count_pairs as count_labeled
from hyperarc.metrics.inputs import IntArray


@dataclass(frozen=True, eq=False)
class Side:
    """Unit embeddings [n, d] and whose they are [n]; people below 0 are nobody's, each another stranger."""

    units: npt.NDArray[np.float32]
    people: IntArray

    def __len__(self) -> int:
        return len(self.people)


def count_pairs(first: Side, second: Side, wanted: Wanted, device: str = "cpu") -> AllPairs:
    """Verification, and where ``wanted`` identification, over all pairs of two sets; their scores are never held.

    Args:
        first: compared with ``second``, and with itself as ``wanted.among_probes`` says.
        second: perhaps empty.
        wanted: rates above 0 and below 1; every pair counts once, no face with itself.
        device: where matrices are multiplied (default the CPU); it changes no number.

    Raises:
        DataError: no genuine or no impostor pair.

    Example:
        >>> faces = Side(np.array([[1, 0], [1, 0], [0, 1]], np.float32), np.array([0, 0, 1]))
        >>> nobody = Side(np.empty((0, 2), np.float32), np.array([], np.int64))
        >>> counted = count_pairs(faces, nobody, Wanted(fars=(1e-3,), among_probes="all"))
        >>> counted.points[0].tar, counted.unsupported, counted.genuine_pairs, counted.impostor_pairs
        (1.0, (0.001,), 1, 2)
    """
    among_themselves = not len(second) and wanted.among_probes == "all"
    if not len(first) or not (len(second) or among_themselves):
        raise DataError(
            f"there is no pair of {len(first)} and {len(second)} faces",
            mend="check the list, and which faces are absent",
        )
    probes, gallery = _labeled(first, 0), _labeled(second, len(first))
    execution = Execution(device="cpu" if device == "not stated" else device)
    return count_labeled(probes, None if among_themselves else gallery, wanted, execution)


def _labeled(side: Side, before: int) -> LabeledEmbeddings:
    """Strangers get a label that nobody else has, on either side."""
    strangers = -1 - before - np.arange(len(side))
    return LabeledEmbeddings(side.units, np.where(side.people < 0, strangers, side.people))
