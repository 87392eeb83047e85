"""Marks on the people found in a test set, how they are taken back, and the table of everybody."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from hyperarc.commands.comparison import Compared
from hyperarc.data.findings import finding
from hyperarc.data.manifest import Manifest
from hyperarc.data.marks import JOINT, add_by_group, changed_reasons, kind_of
from hyperarc.files import write_beside
from hyperarc.purification.people import Match

KIND = "overlap"
_COLUMNS = ("person", "faces", "nearest", "cosine", "namesake", "name_likeness", "namesake_cosine", "verdict")


def marked(compared: Compared) -> Manifest:
    """The manifest of the set to train on with every face of the people found marked, those left out before too."""
    manifest, found = compared.train.faces.manifest, compared.found
    groups = np.full(len(compared.train.names), -1, np.int64)
    groups[found] = np.arange(len(found))
    rows = groups[compared.train.labels]
    reasons = [list(_reasons(compared, person)) for person in found]
    names = [compared.train.names[person] for person in found]
    told = finding(_finding_of(compared.test.faces.name), names)
    after = manifest.with_columns(
        reason=add_by_group(manifest.table["reason"].chunk(0), rows, reasons),
        keep=pa.array(manifest.keep & (rows < 0), pa.bool_()),
    )
    return after.described(findings=(*manifest.findings, *([told] if found else [])))


def unmarked(manifest: Manifest, test: str) -> Manifest:
    """The manifest without the marks that name this test set; a face without other reasons is kept again."""

    def ours(reason: str) -> bool:
        return kind_of(reason) == KIND and reason.partition(" (cosine ")[0].endswith(_of(test))

    def change(reasons: str) -> str:
        return JOINT.join(reason for reason in reasons.split(JOINT) if not ours(reason))

    reasons, free = changed_reasons(manifest.table["reason"].chunk(0), change, ~manifest.keep)
    told = tuple(found for found in manifest.findings if found.what != _finding_of(test))
    keep = pa.array(manifest.keep | free, pa.bool_())
    return manifest.with_columns(reason=reasons, keep=keep).described(findings=told)


def write_table(compared: Compared, path: Path) -> None:
    """Everybody to train on, with the nearest person of the test set, the namesake and the verdict, as CSV."""
    counts = np.bincount(compared.train.labels, minlength=len(compared.train.names)).tolist()
    with write_beside(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for person, name in enumerate(compared.train.names):
            if name:
                writer.writerow([name, counts[person], *_cells(compared, person)])


def namesake_of(matches: list[Match]) -> Match | None:
    """The match whose name is most alike; of equal ones that which looks most alike."""
    named = [match for match in matches if match.likeness > 0.0]
    return max(named, key=lambda match: (match.likeness, match.cosine), default=None)


def _reasons(compared: Compared, person: int) -> Iterator[str]:
    for match in compared.by_person[person]:
        who = compared.test.names[match.second] + _of(compared.test.faces.name)
        if match.looks_alike:
            yield f"{KIND}: looks like {who} (cosine {match.cosine:.2f})"
        if match.likeness > 0.0:
            yield f"{KIND}: named like {who}"


def _of(test: str) -> str:
    return f" of {test}".replace("|", "/")


def _finding_of(test: str) -> str:
    return f"people found in {test}, left out"


def _cells(compared: Compared, person: int) -> list[str]:
    matches = compared.by_person.get(person, [])
    nearest, namesake = matches[:1], namesake_of(matches)
    embedded = bool(nearest) and not math.isnan(nearest[0].cosine)
    cells = [compared.test.names[nearest[0].second], _rounded(nearest[0].cosine)] if embedded else ["", ""]
    if namesake:
        cells += [compared.test.names[namesake.second], f"{namesake.likeness:.2f}", _rounded(namesake.cosine)]
    else:
        cells += ["", "", ""]
    return [*cells, compared.verdict(person)]


def _rounded(cosine: float) -> str:
    return "" if math.isnan(cosine) else f"{cosine:.4f}"
