"""Reasons for leaving a face out: several are joined in one column, each ``"kind"`` or ``"kind: detail"``.

``renamed: was ann; ...`` is a note, not a reason: it tells of a face that was given another name and leaves it in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

JOINT = " | "
RENAMED = "renamed"


def adding(reason: str) -> Callable[[str], str]:
    """What adds a reason to those that a face has.

    Example:
        >>> adding("tiny: 20 px")("blurred"), adding("blurred")("blurred")
        ('blurred | tiny: 20 px', 'blurred')
    """
    added = reason.replace("|", "/").strip()
    return lambda old: old if added in old.split(JOINT) else JOINT.join(filter(None, [old, added]))


def taking_back(reason: str | None) -> Callable[[str], str]:
    """What takes back one reason, all of its kind, or with None every one.

    Example:
        >>> taking_back("tiny")("blurred | tiny: 20 px")
        'blurred'
    """
    if reason is None:
        return lambda old: ""
    return lambda old: JOINT.join(r for r in old.split(JOINT) if reason not in (r, kind_of(r)))


def kind_of(reason: str) -> str:
    """The kind of a reason: what stands before its colon."""
    return reason.partition(":")[0]


def leaves_out(reasons: str) -> bool:
    """Whether any of the joined reasons leaves a face out.

    Example:
        >>> leaves_out("renamed: was ann; moved"), leaves_out("blurred | renamed: was ann; moved")
        (False, True)
    """
    return any(reason and kind_of(reason) != RENAMED for reason in reasons.split(JOINT))


def changed_reasons(
    column: pa.DictionaryArray, change: Callable[[str], str], rows: npt.NDArray[np.bool_]
) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """The reasons with those of the masked rows changed, and where none is left that leaves a face out."""
    old: list[str] = column.dictionary.to_pylist()
    codes = np.asarray(column.indices.to_numpy(zero_copy_only=False), dtype=np.int32)
    # One change per distinct reason, not per row; new reasons follow the old ones in the dictionary.
    codes = np.where(rows, codes + len(old), codes).astype(np.int32)
    every = old + [change(reason) for reason in old]
    free = np.array([not leaves_out(reasons) for reasons in every], np.bool_)[codes]
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(every, pa.string())).cast(pa.string()), free


def add_by_group(
    column: pa.DictionaryArray, groups: npt.NDArray[np.integer], added: Sequence[Sequence[str]]
) -> pa.Array:
    """The reasons with those of each row's group added, in one pass over the rows however many groups there are.

    Args:
        column: the reasons of all rows.
        groups: [rows], places in ``added``; -1 for rows that get nothing.
        added: reasons by group.

    Example:
        >>> reasons = pa.array(["", "blurred", ""]).dictionary_encode()
        >>> add_by_group(reasons, np.array([1, 1, -1]), [[], ["tiny: 20 px"]]).to_pylist()
        ['tiny: 20 px', 'blurred | tiny: 20 px', '']
    """
    old: list[str] = column.dictionary.to_pylist()
    codes = np.array(column.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
    rows = np.flatnonzero(groups >= 0)
    distinct, which = np.unique(codes[rows] * len(added) + groups[rows], return_inverse=True)
    new = []
    for code, group in (divmod(pair, len(added)) for pair in distinct.tolist()):
        text = old[code]
        for reason in added[group]:
            text = adding(reason)(text)
        new.append(text)
    codes[rows] = len(old) + which
    merged = pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(old + new, pa.string()))
    return merged.cast(pa.string())
