"""``hyperarc check``: what is wrong with a set of faces, as table, contact sheets and marks in the manifest."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hyperarc.commands.aligned import doubt_alignment
from hyperarc.commands.check_people import Artifact, compare_faces, twin_text
from hyperarc.commands.show import Show
from hyperarc.contract import Contract
from hyperarc.data.checks.faults import Fault, FaultLimits, find_faults
from hyperarc.data.checks.kinds import FEW, KINDS, SWAPPED, kind_names
from hyperarc.data.checks.marks import taken_back, with_marks, without_marks
from hyperarc.data.checks.people import faces_of_few, label_findings
from hyperarc.data.checks.statistics import FaceStatistics, measure_faces
from hyperarc.data.face_set import MANIFEST, FaceSet, open_faces
from hyperarc.data.findings import Finding
from hyperarc.data.manifest import Manifest
from hyperarc.errors import DataError
from hyperarc.files import write_beside
from hyperarc.purification.people import Match

FILES = {"manifest": "faces.parquet", "table": "findings.csv", "report": "report.html"}
_MOST_THREADS = 8
_COLUMNS = ("kind", "source", "face", "person", "detail", "other_face", "other_person", "left_out")


@dataclass(frozen=True)
class CheckOptions:
    """What to check for.

    Attributes:
        limits: beyond what a face is told of.
        min_faces: people with fewer kept faces are left out.
        leave_out: kinds of faults that are marked besides those that always are.
        artifact: whose embeddings find more copies, and people under two labels; None compares pixels and names.
    """

    limits: FaultLimits = field(default_factory=FaultLimits)
    min_faces: int = 2
    leave_out: Sequence[str] = ()
    artifact: Artifact | None = None

    @property
    def marking(self) -> list[str]:
        """All kinds that are marked."""
        named = kind_names(self.leave_out)
        return [name for name, kind in KINDS.items() if kind.left_out or name in named]


@dataclass(frozen=True, eq=False)
class Checked:
    """What a check came to.

    Attributes:
        faces: with the manifest that has the new marks and color orders.
        measured: of every face that was looked at.
        faults: of faces, kind by kind.
        findings: about people and labels, and what the scan told of.
        shares: of exchanged files by source; only of those whose colors could be judged.
        twins: people who are probably one.
        options: what was asked.
    """

    faces: FaceSet
    measured: FaceStatistics
    faults: Sequence[Fault]
    findings: Sequence[Finding]
    shares: dict[str, float]
    twins: Sequence[Match]
    options: CheckOptions

    @property
    def counts(self) -> dict[str, int]:
        """Faces of each kind, in the order of the kinds; those without any are left out."""
        counted = Counter(fault.kind for fault in self.faults)
        return {kind: counted[kind] for kind in KINDS if counted[kind]}


def check(data: Path, options: CheckOptions, out: Path | None, show: Show) -> dict[str, Any]:
    """Check faces, write manifest, table and report, and return the facts."""
    from hyperarc.commands.check_report import report_check

    marking = options.marking  # an unknown kind is told of before the work
    faces = open_faces(data)
    checked = check_faces(faces, options, show)
    folder = out or Path("runs") / f"check-{faces.name.replace('/', '-')}"
    after = checked.faces.manifest
    after.write(folder / FILES["manifest"])
    write_table(checked, marking, folder / FILES["table"])
    with show.progress("drawing the report") as tell:
        report_check(checked, folder / FILES["report"], tell)
    told = {
        "data": faces.name,
        "faces": len(faces),
        "people": after.num_people,
        "looked_at": len(checked.measured),
        "found": checked.counts,
        "left_out": int((faces.manifest.keep & ~after.keep).sum()),
        "kept": int(after.keep.sum()),
        "colors_put_right": checked.counts.get(SWAPPED, 0),
        "same_people": len(checked.twins),
        "findings": [str(found) for found in checked.findings],
    }
    return told | {name: str(folder / file) for name, file in FILES.items()}


def check_faces(faces: FaceSet, options: CheckOptions, show: Show) -> Checked:
    """Look at every face that is kept; marks of an earlier check are made anew, marks of other origin stay."""
    start = without_marks(faces.manifest)
    rows = np.flatnonzero(start.keep).astype(np.int64)
    if not len(rows):
        raise DataError("expected faces to check, got none that are kept", where=faces.name)
    reader = faces.with_manifest(start).reader
    with show.progress("looking at faces") as tell:
        measured = measure_faces(reader, rows, threads=min(os.cpu_count() or 1, _MOST_THREADS), progress=tell)
    with show.progress("searching for copies") as tell:
        faults, shares = find_faults(start, measured, options.limits, tell)
    sources = start.table["source"].chunk(0).dictionary.to_pylist()
    seen = _with_sizes_and_colors(start, measured, faults)
    alike = compare_faces(faces.with_manifest(seen), measured, faults, options.artifact, show)
    faults += alike.faults
    after = with_marks(seen, faults, options.marking)
    few = _few(after, options.min_faces)
    doubt = doubt_alignment(faces.with_manifest(after), Contract())
    findings = (*([doubt] if doubt else []), *label_findings(start), *alike.findings, *start.findings)
    return Checked(
        faces.with_manifest(with_marks(after, few, options.marking)),
        measured,
        [*faults, *few],
        findings,
        shares={sources[code]: share for code, share in shares.items()},
        twins=alike.matches,
        options=options,
    )


def undo_check(data: Path, kind: str, out: Path | None) -> dict[str, Any]:
    """Take back what a check did because of a kind; write the manifest there or to ``out``, and return the facts."""
    if data.suffix != MANIFEST:
        raise DataError("expected a manifest with marks to take back", where=data, mend="give faces.parquet")
    faces = open_faces(data)
    after, changed = taken_back(faces.manifest, kind)
    path = data if out is None else out / FILES["manifest"]
    after.write(path)
    told = {"data": faces.name, "kind": kind, "faces": len(faces), "changed": changed}
    return told | {"kept": int(after.keep.sum()), "manifest": str(path)}


def write_table(checked: Checked, marking: Sequence[str], path: Path) -> None:
    """Every fault of every face as CSV."""
    manifest = checked.faces.manifest
    rows = np.array([fault.row for fault in checked.faults], np.int64)
    others = np.array([fault.other for fault in checked.faults], np.int64)
    named, compared = manifest.take(rows).table, manifest.take(np.maximum(others, 0)).table
    columns = [named[name].to_pylist() for name in ("source", "face", "person")]
    beside_them = [compared[name].to_pylist() for name in ("face", "person")]
    with write_beside(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for fault, *face, other, person in zip(checked.faults, *columns, *beside_them, strict=True):
            compared_with = [other, person] if fault.other >= 0 else ["", ""]
            left_out = "yes" if fault.kind in marking else "no"
            writer.writerow([fault.kind, *face, fault.detail, *compared_with, left_out])
        for match in checked.twins:
            one, other = (manifest.people[person] for person in (match.first, match.second))
            writer.writerow(["same person", "", "", one, twin_text(match), "", other, "no"])


def closing_line(told: dict[str, Any]) -> str:
    """The facts in words."""
    lines = [f"{kind:12} {count:,}" for kind, count in told["found"].items()] or ["nothing found"]
    lines += [f"{'same people':12} {told['same_people']:,}"] if told["same_people"] else []
    lines.append(f"{told['left_out']:,} of {told['faces']:,} faces left out; {told['kept']:,} kept")
    return "\n".join([*lines, *(f"{name:8} {told[name]}" for name in FILES)])


def _with_sizes_and_colors(manifest: Manifest, measured: FaceStatistics, faults: Sequence[Fault]) -> Manifest:
    sizes = {}
    for name in ("width", "height"):
        sizes[name] = manifest.column(name).copy()
        sizes[name][measured.rows] = getattr(measured, name)
    swapped = manifest.swapped.copy()
    swapped[[fault.row for fault in faults if fault.kind == SWAPPED]] ^= True  # of those read as BGR before, too
    sized = manifest.with_columns(**{name: pa.array(values, pa.int32()) for name, values in sizes.items()})
    return sized.recolored(swapped, "bgr").recolored(~swapped, "rgb")


def _few(manifest: Manifest, minimum: int) -> list[Fault]:
    rows = np.flatnonzero(faces_of_few(manifest.labels, manifest.keep, minimum))
    labels, counts = np.unique(manifest.labels[rows], return_counts=True)
    of_label = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    texts = [f"{of_label[label]} of {minimum} faces" for label in manifest.labels[rows].tolist()]
    return [Fault(FEW, row, text) for row, text in zip(rows.tolist(), texts, strict=True)]
