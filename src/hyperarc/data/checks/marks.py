"""Marks of a check on a manifest: made in one pass over its rows, and taken back by kind."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import pyarrow as pa

from hyperarc.data.checks.faults import Fault
from hyperarc.data.checks.kinds import ALL, KINDS, MARKING, SWAPPED, kind_names
from hyperarc.data.findings import finding
from hyperarc.data.manifest import Manifest
from hyperarc.data.marks import JOINT, add_by_group, changed_reasons, kind_of
from hyperarc.errors import DataError


def with_marks(manifest: Manifest, faults: Iterable[Fault], kinds: Collection[str]) -> Manifest:
    """The manifest with the faces that have a fault of these kinds left out, as ``kind: detail``.

    Example:
        >>> from hyperarc.data.manifest import manifest_of
        >>> marked = with_marks(manifest_of(["a/1"], ["a"], source="x"), [Fault("gray", 0, "it is")], ["gray"])
        >>> marked.row(0).reason, [str(found) for found in marked.findings]
        ('gray: it is', ["1 gray, left out: 'a/1'"])
    """
    chosen = [fault for fault in faults if fault.kind in kinds]
    if not chosen:
        return manifest
    reasons: dict[int, list[str]] = {}
    rows_of: dict[str, list[int]] = {}
    for fault in chosen:
        reasons.setdefault(fault.row, []).append(f"{fault.kind}: {fault.detail}")
        rows_of.setdefault(fault.kind, []).append(fault.row)
    groups = np.full(len(manifest), -1, np.int64)
    groups[list(reasons)] = np.arange(len(reasons))
    names = {kind: manifest.faces(np.array(rows)) for kind, rows in rows_of.items()}
    told = [finding(f"{KINDS[kind].title.lower()}, left out", names[kind]) for kind in KINDS if kind in names]
    column = add_by_group(manifest.table["reason"].chunk(0), groups, list(reasons.values()))
    marked = manifest.with_columns(reason=column, keep=pa.array(manifest.keep & (groups < 0), pa.bool_()))
    return marked.described(findings=(*manifest.findings, *told))


def without_marks(manifest: Manifest, kinds: Collection[str] = MARKING) -> Manifest:
    """The manifest without the marks of these kinds; a face without other reasons is kept again.

    Example:
        >>> from hyperarc.data.manifest import manifest_of
        >>> marked = manifest_of(["a/1"], ["a"], source="x").mark([0], "gray: it is").mark([0], "overlap")
        >>> without_marks(marked).row(0).reason
        'overlap'
    """

    def change(reasons: str) -> str:
        return JOINT.join(reason for reason in reasons.split(JOINT) if kind_of(reason) not in kinds)

    reasons, free = changed_reasons(manifest.table["reason"].chunk(0), change, ~manifest.keep)
    told = {f"{KINDS[kind].title.lower()}, left out" for kind in kinds}
    findings = tuple(found for found in manifest.findings if found.what not in told)
    keep = pa.array(manifest.keep | free, pa.bool_())
    return manifest.with_columns(reason=reasons, keep=keep).described(findings=findings)


def taken_back(manifest: Manifest, kind: str) -> tuple[Manifest, int]:
    """The manifest without what a check did because of a kind, or of ``"all"``, and how many rows that changes.

    ``"swapped"`` says of every file that it is RGB again. Marks of other origin stay.

    Raises:
        UnknownNameError: no such kind. DataError: it changes nothing.

    Example:
        >>> from hyperarc.data.manifest import manifest_of
        >>> marked = manifest_of(["a/1", "b/1"], ["a", "b"], source="x").mark([0], "gray")
        >>> taken_back(marked, "gray")[0].keep.tolist()
        [True, True]
    """
    [name] = kind_names([kind], among=[*KINDS, ALL])
    after = without_marks(manifest, MARKING if name == ALL else [name])
    if name in (ALL, SWAPPED):
        after = after.recolored(after.swapped, "rgb")
    changed = (manifest.column("reason") != after.column("reason")) | (manifest.swapped != after.swapped)
    if not changed.any():
        raise DataError(f"no face is marked {name!r}", where=manifest.about.name or None)
    return after, int(changed.sum())
