"""Copies of pictures: which ones are superfluous, and which stand under two people."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hyperarc.data.checks.picture_hash import Int8s, near_pairs

Ints = npt.NDArray[np.int64]


def first_of_equals(digests: npt.NDArray[np.uint64], labels: npt.ArrayLike) -> Ints:
    """For each picture the first one of the same label that is equal to it, itself if none is: int64 [N].

    Example:
        >>> first_of_equals(np.array([7, 7, 9, 7], np.uint64), [0, 1, 0, 0]).tolist()
        [0, 1, 2, 0]
    """
    owners = np.asarray(labels, dtype=np.int64)
    order = np.lexsort((owners, digests))  # stable: of equals the first row comes first
    new = np.ones(len(order), np.bool_)
    new[1:] = (np.diff(owners[order]) != 0) | (digests[order][1:] != digests[order][:-1])
    first = np.empty(len(order), np.int64)
    first[order] = order[np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))]
    return first


def equals_of_others(digests: npt.NDArray[np.uint64], labels: npt.ArrayLike) -> tuple[Ints, Ints]:
    """Pictures that stand under two labels, and for each of them an equal one under another label.

    Example:
        >>> [rows.tolist() for rows in equals_of_others(np.array([7, 7, 9, 7], np.uint64), [0, 1, 0, 0])]
        [[0, 1, 3], [1, 0, 1]]
    """
    owners = np.asarray(labels, dtype=np.int64)
    order = np.lexsort((owners, digests))
    _, start, group, counts = np.unique(digests[order], return_index=True, return_inverse=True, return_counts=True)
    # Sorted by label inside a group: the two ends differ exactly when some labels do.
    low, high = order[start][group], order[start + counts - 1][group]
    mixed = owners[low] != owners[high]
    other = np.where(owners[order] == owners[low], high, low)
    rows, others = order[mixed], other[mixed]
    ascending = np.argsort(rows)
    return rows[ascending], others[ascending]


def linked_groups(first: Ints, second: Ints) -> dict[int, list[int]]:
    """Rows that pairs link, directly or by others: the smallest row of each group with all its rows, ascending.

    Example:
        >>> linked_groups(np.array([4, 1, 7]), np.array([9, 4, 8]))
        {1: [1, 4, 9], 7: [7, 8]}
    """
    parent: dict[int, int] = {}

    def root(row: int) -> int:
        while (above := parent.setdefault(row, row)) != row:
            parent[row] = parent[above]
            row = above
        return row

    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    groups: dict[int, list[int]] = {}
    for row in sorted(parent):
        groups.setdefault(root(row), []).append(row)
    return groups


def superfluous(
    digests: npt.NDArray[np.uint64], descriptors: Int8s, labels: npt.ArrayLike
) -> npt.NDArray[np.bool_]:
    """Pictures that are equal, or nearly, to an earlier one of the same label: bool [N].

    Args:
        digests: uint64 [N] of the pixels; descriptors: int8 [N, 256], see :mod:`hyperarc.data.checks.picture_hash`.
        labels: [N].

    Example:
        >>> none = np.zeros((4, 256), np.int8)
        >>> superfluous(np.array([7, 7, 9, 7], np.uint64), none, [0, 1, 0, 0]).tolist()
        [False, False, False, True]
    """
    owners = np.asarray(labels, dtype=np.int64)
    equal = first_of_equals(digests, owners)
    near = near_pairs(descriptors)
    own = owners[near.first] == owners[near.second]
    copies = equal != np.arange(len(owners))
    for first, *others in linked_groups(near.first[own], near.second[own]).values():
        copies[others] = True
        copies[first] |= equal[first] != first
    return np.asarray(copies)
