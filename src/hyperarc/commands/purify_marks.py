"""Noise marked in a manifest, proposals applied, and both taken back."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hyperarc.commands.decisions import Decisions
from hyperarc.commands.polling import PolledFaces
from hyperarc.data.findings import finding
from hyperarc.data.manifest import Manifest
from hyperarc.data.marks import JOINT, RENAMED, add_by_group, changed_reasons, kind_of
from hyperarc.files import write_beside
from hyperarc.purification.proposals import Proposal

KIND = "noise"
_EMPTY = "people whose faces are all noise"
_DECIDED = 181  # follows the degrees
_WAS = f"{RENAMED}: was "
_COLUMNS = ("kind", "person", "other", "sub_center", "faces", "cosine", "applied")


def marked(manifest: Manifest, faces: PolledFaces, dropped: npt.NDArray[np.bool_], angle: float) -> Manifest:
    """The manifest with the dropped faces [N] left out, and people left empty told of.

    The reason is the angle, or somebody's decision where the face lies within ``angle`` (radians).
    """
    groups = np.full(len(manifest), -1, np.int64)
    degrees = np.rint(np.degrees(faces.polled.angles)).astype(np.int64)
    groups[faces.rows[dropped]] = np.where(faces.polled.kept(angle), _DECIDED, degrees)[dropped]
    reasons = [[f"{KIND}: {whole} deg from the dominant center"] for whole in range(_DECIDED)]
    reasons.append([f"{KIND}: decided"])
    after = manifest.with_columns(
        reason=add_by_group(manifest.table["reason"].chunk(0), groups, reasons),
        keep=pa.array(manifest.keep & (groups < 0), pa.bool_()),
    )
    empty = left_empty(faces, dropped)
    return after.described(findings=(*manifest.findings, *([finding(_EMPTY, empty)] if empty else [])))


def left_empty(faces: PolledFaces, dropped: npt.NDArray[np.bool_]) -> list[str]:
    """People of whom every face was dropped."""
    had = np.bincount(faces.labels, minlength=len(faces.people)) > 0
    has = np.bincount(faces.labels[~dropped], minlength=len(faces.people)) > 0
    return [faces.people[person] for person in np.flatnonzero(had & ~has).tolist()]


def applied(
    manifest: Manifest, faces: PolledFaces, proposals: Sequence[Proposal], angle: float
) -> Manifest:
    """A marked manifest with the faces of proposals kept under their new names, each with a note of its old one.

    Who is moved to somebody who is merged gets the name that remains.
    """
    column = manifest.table["person"].chunk(0)
    names, codes = column.dictionary.to_pylist(), column.indices.to_numpy().copy()
    groups = np.full(len(manifest), -1, np.int64)
    notes: dict[str, int] = {}
    label_of = _names_in(manifest, faces)
    going = {one.person: one.other for one in proposals if one.kind == "merge"}
    taken = set(names)
    for proposal in proposals:
        rows = faces.rows[proposal.chosen(faces.polled, faces.places(proposal.person), angle)]
        other = going.get(proposal.other, proposal.other)
        name = label_of[other] if other >= 0 else _own_name(label_of[proposal.person], taken)
        taken.add(name)
        for row in rows.tolist():
            how = f"{proposal.kind}, cosine {proposal.cosine:.2f}"
            groups[row] = notes.setdefault(f"{_WAS}{_escaped(names[codes[row]])}; {how}", len(notes))
        codes[rows] = len(names)
        names.append(name)
    renamed = groups >= 0
    reasons, free = changed_reasons(manifest.table["reason"].chunk(0), _without_noise, renamed)
    return manifest.with_columns(
        person=pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names, pa.string())).cast(pa.string()),
        reason=add_by_group(reasons.dictionary_encode(), groups, [[note] for note in notes]),
        keep=pa.array(np.where(renamed, free, manifest.keep), pa.bool_()),
    ).relabelled()


def unmarked(manifest: Manifest) -> Manifest:
    """The manifest without marks of noise, everybody under the name of before; other marks stay."""
    noted: list[str] = manifest.table["reason"].chunk(0).dictionary.to_pylist()
    codes = manifest.table["reason"].chunk(0).indices.to_numpy()
    before = np.array([_old_name(text) for text in noted], dtype=object)[codes]
    renamed: npt.NDArray[np.bool_] = before != ""
    persons = np.where(renamed, before, manifest.column("person"))
    reasons, free = changed_reasons(manifest.table["reason"].chunk(0), _as_before, ~manifest.keep | renamed)
    told = tuple(found for found in manifest.findings if found.what != _EMPTY)
    after = manifest.with_columns(
        person=pa.array(persons.tolist(), pa.string()),
        reason=reasons,
        keep=pa.array(manifest.keep | free, pa.bool_()),
    )
    return after.relabelled().described(findings=told)


def looked_at_again(manifest: Manifest, rows: npt.NDArray[np.bool_]) -> Manifest:
    """The manifest without marks of noise in these rows, bool [N]; names and other marks stay."""
    reasons, free = changed_reasons(manifest.table["reason"].chunk(0), _without_noise, rows & ~manifest.keep)
    return manifest.with_columns(reason=reasons, keep=pa.array(manifest.keep | (rows & free), pa.bool_()))


def write_proposals(faces: PolledFaces, proposals: Sequence[Proposal], decisions: Decisions, path: Path) -> None:
    """All proposals as CSV."""
    with write_beside(path) as beside, open(beside, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for one in proposals:
            other = faces.people[one.other] if one.other >= 0 else ""
            place = str(one.sub_center) if one.sub_center >= 0 else ""
            is_applied = "yes" if decisions.accepts(one, faces.people) else "no"
            writer.writerow(
                [one.kind, faces.people[one.person], other, place, one.faces, f"{one.cosine:.4f}", is_applied]
            )


def _names_in(manifest: Manifest, faces: PolledFaces) -> dict[int, str]:
    """What the manifest calls the people of the artifact."""
    labels, first = np.unique(faces.labels, return_index=True)
    names = manifest.take(faces.rows[first]).column("person").tolist()
    return dict(zip(labels.tolist(), names, strict=True))


def _own_name(name: str, taken: set[str]) -> str:
    number = 2
    while f"{name} ({number})" in taken:
        number += 1
    return f"{name} ({number})"


def _without_noise(reasons: str) -> str:
    return JOINT.join(reason for reason in reasons.split(JOINT) if kind_of(reason) != KIND)


def _as_before(reasons: str) -> str:
    return JOINT.join(reason for reason in reasons.split(JOINT) if kind_of(reason) not in (KIND, RENAMED))


def _old_name(reasons: str) -> str:
    """The name that a note tells of, the oldest where there are several, or ""."""
    for reason in reasons.split(JOINT):
        if reason.startswith(_WAS):
            return reason.removeprefix(_WAS).rpartition("; ")[0].replace("%7C", "|").replace("%25", "%")
    return ""


def _escaped(name: str) -> str:
    """The name without the sign that joins reasons."""
    return name.replace("%", "%25").replace("|", "%7C")
