"""Ranked lists: average precision among the first k, as video search (iQIYI-VID) is judged by."""

from __future__ import annotations

from typing import Any

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import FloatArray, as_array, bool_vector, score_vector


def average_precision(scores: Any, relevant: Any, k: int = 100) -> float:
    """Average precision of one query among its first ``k`` items, ranked by falling score.

    AP@k = 1 / min(P, k) sum_{i <= k} prec(i) rel(i), with P relevant items in the whole list and prec(i) the share of
    relevant ones among the first i (iQIYI-VID, Liu et al. 2018, with k = 100). Dividing by min(P, k) lets a perfect
    list reach 1; the challenge's own kit is not public, so this division is stated here rather than taken from it.
    Equal scores: the items that are not relevant stand first, so a constant score earns nothing.

    Args:
        scores: [items], larger is more alike.
        relevant: [items] bool, at least one True.
        k: items looked at (default 100).

    Raises:
        DataError: nothing relevant, lengths that differ, non-finite scores, ``k`` below 1.

    Example:
        >>> average_precision([0.9, 0.8, 0.7], [True, False, True], k=3)
        0.8333333333333333
    """
    if k < 1:
        raise DataError(f"k should be at least 1, got {k}")
    ranked = score_vector(scores, "scores")
    wanted = bool_vector(relevant, "relevant", ranked.size)
    positives = int(wanted.sum())
    if not positives:
        raise DataError("no item is relevant, so precision has no meaning", mend="leave this query out")
    if k < ranked.size:
        last = np.partition(ranked, ranked.size - k)[ranked.size - k]
        near = ranked >= last  # at least k items, more where the last score is shared
        ranked, wanted = ranked[near], wanted[near]
    hits = wanted[np.lexsort((wanted, -ranked))[:k]]
    precision = np.cumsum(hits) / np.arange(1, hits.size + 1)
    return float((precision * hits).sum() / min(positives, k))


def mean_average_precision(scores: Any, relevant: Any, k: int = 100) -> float:
    """Mean of :func:`average_precision` over queries: mAP@100 of iQIYI-VID, one query per identity.

    Rows are handled one at a time, so ``scores`` may be a memory map.

    Args:
        scores: [queries, items]; relevant: [queries, items] bool, at least one True in each row.
        k: items looked at per query (default 100).

    Raises:
        DataError: a query with nothing relevant (its row is named), shapes that differ, non-finite scores.

    Example:
        >>> mean_average_precision([[0.9, 0.1], [0.9, 0.1]], [[True, False], [False, True]])
        0.75
    """
    table, wanted = as_array(scores, "scores"), as_array(relevant, "relevant")
    if table.ndim != 2 or table.shape != wanted.shape or not table.shape[0]:
        raise DataError(f"scores and relevant should both be [queries, items], got {table.shape} and {wanted.shape}")
    precisions: FloatArray = np.empty(table.shape[0])
    for row in range(table.shape[0]):
        try:
            precisions[row] = average_precision(table[row], wanted[row], k)
        except DataError as error:
            raise DataError(str(error), where=f"query {row}") from error
    return float(precisions.mean())
