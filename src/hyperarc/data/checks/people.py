"""People with too few faces, and labels that do not fit the people."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from hyperarc.data.findings import Finding, finding
from hyperarc.data.manifest import Manifest


def faces_of_few(labels: npt.NDArray[np.int64], keep: npt.NDArray[np.bool_], minimum: int) -> npt.NDArray[np.bool_]:
    """The kept faces, as a mask, of labels that have fewer than ``minimum`` kept ones.

    Example:
        >>> faces_of_few(np.array([0, 0, 5, 5]), np.array([True, True, True, False]), 2).tolist()
        [False, False, True, False]
    """
    _, number = np.unique(labels, return_inverse=True)
    counts = np.bincount(number[keep], minlength=int(number.max(initial=0)) + 1)
    return np.asarray(keep & (counts[number] < minimum))


def label_findings(manifest: Manifest) -> list[Finding]:
    """Labels that no face has though larger ones exist, people with several labels, labels of several people.

    Example:
        >>> import pyarrow as pa
        >>> from hyperarc.data.manifest import manifest_of
        >>> gap = manifest_of(["a/1", "b/1"], ["a", "b"], source="x").with_columns(label=pa.array([0, 4]))
        >>> [str(found) for found in label_findings(gap)]
        ["3 labels without faces: '1 to 3'"]
    """
    labels = np.unique(manifest.labels)
    edges = np.concatenate([[-1], labels])
    gaps = [(a + 1, b - 1) for a, b in pairwise(edges.tolist()) if b - a > 1]
    found = []
    if gaps:
        names = tuple(f"{a} to {b}" if a < b else f"{a}" for a, b in gaps)
        found.append(Finding("labels without faces", sum(b - a + 1 for a, b in gaps), names[:100]))
    people = manifest.table["person"].chunk(0)
    names_of: list[str] = people.dictionary.to_pylist()
    codes = people.indices.to_numpy().astype(np.int64)
    pairs = np.unique(np.stack([codes, manifest.labels], axis=1), axis=0)
    several_labels = [names_of[code] for code in _repeated(pairs[:, 0])]
    several_people = [str(label) for label in _repeated(pairs[:, 1])]
    named = (("people with several labels", several_labels), ("labels of several people", several_people))
    return found + [finding(what, names) for what, names in named if names]


def _repeated(values: npt.NDArray[np.int64]) -> list[int]:
    distinct, counts = np.unique(values, return_counts=True)
    return [int(value) for value in distinct[counts > 1]]
