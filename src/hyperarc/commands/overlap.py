"""``hyperarc overlap``: people of a test set found among those to train on, and marked."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from hyperarc.commands.comparison import Compared, Comparison, compare
from hyperarc.commands.overlap_marks import marked, unmarked, write_table
from hyperarc.commands.overlap_report import how_found, report_overlap
from hyperarc.commands.show import Show
from hyperarc.data.face_set import MANIFEST, FaceSet, open_faces
from hyperarc.errors import DataError

FILES = {"manifest": "faces.parquet", "table": "overlap.csv", "report": "report.html"}


def find_overlap(train: Path, test: Path, comparison: Comparison, out: Path | None, show: Show) -> dict[str, Any]:
    """Compare two sets, write manifest, table and report, and return the facts.

    Marks of an earlier comparison with the same test set are made anew, as another limit finds others.
    """
    ours, theirs = open_faces(train), open_faces(test)
    start = ours.with_manifest(unmarked(ours.manifest, theirs.name))
    compared = compare(start, theirs, comparison, show)
    folder = out or folder_of(compared.train.faces, compared.test.faces)
    after = marked(compared)
    told = _facts(compared, int((compared.train.faces.manifest.keep & ~after.keep).sum()))
    after.write(folder / FILES["manifest"])
    write_table(compared, folder / FILES["table"])
    report_overlap(compared, told, folder / FILES["report"])
    return told | {name: str(folder / file) for name, file in FILES.items()}


def undo_overlap(train: Path, test: Path, out: Path | None) -> dict[str, Any]:
    """Take back the marks in the manifest ``train`` that name ``test``; write it there or to ``out``; the facts."""
    if train.suffix != MANIFEST:
        raise DataError("expected a manifest with marks to take back", where=train, mend="give faces.parquet")
    faces, others = open_faces(train), open_faces(test)
    after = unmarked(faces.manifest, others.name)
    path = train if out is None else out / FILES["manifest"]
    after.write(path)
    back = int((after.keep & ~faces.manifest.keep).sum())
    told = {"train": faces.name, "test": others.name, "faces": len(faces), "faces_taken_back": back}
    return told | {"manifest": str(path)}


def folder_of(train: FaceSet, test: FaceSet) -> Path:
    """Where files go when nobody says where."""
    return Path("runs") / re.sub(r"[^\w.+-]+", "-", f"overlap-{train.name}-{test.name}")


def closing_line(told: dict[str, Any]) -> str:
    """The facts in words."""
    how = how_found(told)
    line = f"{told['people_found']:,} of {told['people']:,} people of {told['train']} stand in {told['test']}"
    line += (f" ({how})" if how else "") + f": {told['faces_left_out']:,} of {told['faces']:,} faces left out"
    if told["limit_cosine"] is None:
        return line
    expected = told["false_matches_expected"]
    false = "" if expected is None else f", {expected:.2g} of them expected to reach it though they are two"
    return f"{line}\nlimit cosine {told['limit_cosine']:.3f}: {told['comparisons']:,} pairs of people compared{false}"


def _facts(compared: Compared, left_out: int) -> dict[str, Any]:
    verdicts = [compared.verdict(person) for person in compared.found]
    ours, theirs, result = compared.train, compared.test, compared.result
    return {
        "train": ours.faces.name,
        "test": theirs.faces.name,
        "people": len(ours),
        "test_people": len(theirs),
        "people_found": len(verdicts),
        "by_faces_and_names": verdicts.count("looks like and named like"),
        "by_faces_alone": verdicts.count("looks like"),
        "by_names_alone": verdicts.count("named like"),
        "faces": len(ours.faces),
        "faces_left_out": left_out,
        "faces_embedded": ours.embedded + theirs.embedded,
        "limit_cosine": _number(result.limit),
        "false_matches_expected": _number(result.false_matches),
        "comparisons": int(result.counts.sum()),
        "findings": [str(found) for found in (*ours.findings, *theirs.findings)],
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
