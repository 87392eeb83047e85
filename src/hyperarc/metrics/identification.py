"""Identification numbers: whose face is it, among a gallery of known people?"""

from __future__ import annotations

from typing import Any

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import IntArray, as_array, embedding_matrix


def nearest_rows(probes: Any, gallery: Any, block: int = 65536) -> IntArray:
    """Row of the gallery with the largest cosine for each probe; of equal cosines the first row.

    Never holds more than 1024 x ``block`` cosines, so galleries of millions fit.

    Args:
        probes: [n, d]; gallery: [m, d]; any scale, both are L2-normalised here.
        block: gallery rows compared at a time.

    Raises:
        DataError: an empty side, dimensions that differ, zero or non-finite rows.

    Example:
        >>> nearest_rows([[0.0, 1.0]], [[1.0, 0.0], [0.2, 1.0]]).tolist()
        [1]
    """
    asked, known = embedding_matrix(probes, "probes"), embedding_matrix(gallery, "gallery")
    if asked.shape[1] != known.shape[1]:
        raise DataError(f"probes have dimension {asked.shape[1]}, the gallery {known.shape[1]}")
    best = np.full(asked.shape[0], -np.inf)
    rows = np.zeros(asked.shape[0], dtype=np.int64)
    for start in range(0, asked.shape[0], 1024):
        part = slice(start, start + 1024)
        for first in range(0, known.shape[0], block):
            cosines = asked[part] @ known[first : first + block].T
            row = cosines.argmax(axis=1)
            cosine = cosines[np.arange(row.size), row]
            better = cosine > best[part]
            best[part][better] = cosine[better]
            rows[part][better] = first + row[better]
    return rows


def rank1(probes: Any, gallery: Any, probe_labels: Any, gallery_labels: Any, *, block: int = 65536) -> float:
    """Share of probes whose nearest gallery face, by cosine, bears their label.

    Several gallery faces may share a label. A probe whose label is not in the gallery counts as a miss; of
    equal cosines the first gallery row decides.

    Args:
        probes: [n, d]; gallery: [m, d]; labels [n] and [m], whole numbers or names.
        block: gallery rows compared at a time.

    Raises:
        DataError: an empty side, shapes that differ, zero or non-finite rows (named).

    Example:
        >>> rank1([[1.0, 0.1], [0.1, 1.0]], [[1.0, 0.0], [0.0, 1.0]], [7, 8], [7, 9])
        0.5
    """
    asked, known = as_array(probe_labels, "probe_labels"), as_array(gallery_labels, "gallery_labels")
    rows = nearest_rows(probes, gallery, block)
    for name, labels, count in (
        ("probe_labels", asked, rows.size),
        ("gallery_labels", known, as_array(gallery, "gallery").shape[0]),
    ):
        if labels.shape != (count,):
            raise DataError(f"{name} should have shape ({count},), one label a face, got {labels.shape}")
    return float(np.mean(known[rows] == asked))
