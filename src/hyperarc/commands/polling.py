"""Every face of a set embedded once and polled, person by person, in parts that survive a kill.

Embeddings live as long as their part. What stays is 23 bytes of each face (row, label, sub-center voted for, the angles
to it and to the dominant one, whether it is a copy, its half), and of each person K votes and K sums of embeddings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hyperarc.artifact import Artifact
from hyperarc.commands.aligned import warn_unaligned
from hyperarc.commands.people import PART, labels_by_name, whole_people
from hyperarc.commands.show import Show
from hyperarc.data.checks.copies import superfluous
from hyperarc.data.checks.measures import crop_of, small_of, thumbnails
from hyperarc.data.checks.picture_hash import describe
from hyperarc.data.checks.statistics import pixel_digest
from hyperarc.data.crops import CropBatch, Rows, cut, read_crops
from hyperarc.data.face_set import FaceSet
from hyperarc.data.findings import Finding, finding
from hyperarc.encoder import Encoder
from hyperarc.errors import DataError, HyperArcError
from hyperarc.files import flush
from hyperarc.purification.halves import Halves
from hyperarc.purification.sub_centers import Poll, poll
from hyperarc.unfinished import Unfinished, continue_work

_FACES, _PEOPLE, _PLAN = "faces.parquet", "people.npz", "plan.json"
_TELLING = ("contract", "centers", "faces", "files")  # what a finished poll must have in common with the one asked for
_HALVES = {"half_counts": np.int64, "half_cosines": np.float32, "half_alike": np.float32}
_OF_PEOPLE = {"votes": np.int64, "sums": np.float32, **_HALVES}  # numbers of each person
_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("face", pa.large_string()),
        ("person", pa.string()),
        ("row", pa.int64()),
        ("label", pa.int32()),
        ("sub_center", pa.int8()),
        ("angle_deg", pa.float32()),
        ("own_angle_deg", pa.float32()),
        ("copy", pa.bool_()),
        ("second_half", pa.bool_()),
    ]
)
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Polling:
    """How to poll: device, faces of a forward pass, threads that decode, and faces whose embeddings are held."""

    device: str = "cpu"
    batch_size: int = 32
    workers: int = 2
    part_faces: int = PART


@dataclass(frozen=True, eq=False)
class PolledFaces:
    """All faces that could be polled, person by person.

    Attributes:
        people: of the artifact, in the order of its centers.
        rows: int64 [N] of the manifest.
        labels: int32 [N] places in ``people``.
        polled: votes and angles.
        copies: bool [N] faces without a vote, as an equal one of the same person has it.
        findings: faces that could not be read, people whom the artifact does not know.
    """

    people: tuple[str, ...]
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    polled: Poll
    copies: npt.NDArray[np.bool_]
    findings: tuple[Finding, ...]

    def places(self, person: int) -> npt.NDArray[np.int64]:
        """The faces of a person: places in the arrays, which hold them person by person."""
        return np.arange(*np.searchsorted(self.labels, [person, person + 1]), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class _Work:
    """What is polled, by what, and where the parts lie."""

    faces: FaceSet
    labels: npt.NDArray[np.int64]
    encoder: Encoder
    centers: npt.NDArray[np.float32]
    polling: Polling
    unfinished: Unfinished

    @cached_property
    def parts(self) -> list[Rows]:
        """Rows of each part, person by person, the same at every start."""
        known = np.flatnonzero(self.labels >= 0)
        rows = known[np.argsort(self.labels[known], kind="stable")].astype(np.int64)
        return list(whole_people(rows, self.labels[rows], self.polling.part_faces))


def poll_faces(artifact: Artifact, faces: FaceSet, folder: Path, polling: Polling, show: Show) -> PolledFaces:
    """Poll the kept faces of a set, or read what an earlier start has polled.

    Args:
        artifact: with a head; its people are matched with those of the faces by name.
        faces: of the contract's size.
        folder: where the poll is kept: a table of the faces, and the votes of the people.
        polling: how.

    Raises:
        DataError: none of the people is known to the artifact, or none of the faces can be read.
        HyperArcError: the folder holds the poll of another artifact or of other faces.
    """
    kept = faces.kept()
    head = artifact.head()
    people = tuple(artifact.people())
    labels = labels_by_name(kept, people)
    if not (labels >= 0).any():
        names = ", ".join(map(repr, kept.manifest.people[:3]))
        raise DataError(
            f"expected faces of the artifact's {len(people)} people, got those of others, such as {names}",
            where=faces.name,
            mend="purify the faces that it was trained on, or others under the same names",
        )
    strangers = sorted(set(kept.manifest.column("person")[labels < 0].tolist()))
    centers = head.centers.weight.detach().float().numpy()
    digest = hashlib.sha256(np.ascontiguousarray(centers).tobytes()).hexdigest()[:16]
    plan = {"contract": artifact.contract.digest, "centers": digest, **kept.state()}
    if folder.exists():
        _require_same(folder, plan)
    else:
        encoder = artifact.encoder(device=polling.device, batch_size=polling.batch_size)
        warn_unaligned(kept, encoder.contract, show)
        whole = plan | {"device": polling.device, "batch_size": polling.batch_size, "part": polling.part_faces}
        with continue_work(folder, whole) as unfinished:
            work = _Work(kept, labels, encoder, centers, polling, unfinished)
            _poll_parts(work, show)
            _assemble(work, plan)
    read, left_out = _read(folder)
    told = [
        finding("faces that could not be read, not looked at", left_out),
        finding("people whom the artifact does not know, not looked at", strangers),
    ]
    rows = np.flatnonzero(faces.manifest.keep)[read["row"]]
    halves = Halves(*(read[name] for name in ("second_half", *_HALVES)))
    numbers = {name: read[name] for name in ("votes", "sums", "sub_centers", "angles", "own_angles")}
    polled = Poll(**numbers, halves=halves)
    found = tuple(one for one in told if one.count)
    return PolledFaces(people, rows, read["label"], polled, read["copy"], found)


def _require_same(folder: Path, plan: dict[str, Any]) -> None:
    try:
        before = json.loads((folder / _PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HyperArcError(f"cannot be read: {error}", where=folder, mend="remove it") from error
    differing = [key for key in _TELLING if before.get(key) != plan[key]]
    if differing:
        what = {"contract": "another artifact", "centers": "another artifact", "faces": "other faces"}
        raise HyperArcError(
            f"holds the angles of {what.get(differing[0], 'files that changed since')}: {differing[0]} was "
            f"{before.get(differing[0])}, is {plan[differing[0]]}",
            where=folder,
            mend="remove it, or name another folder",
        )


def _poll_parts(work: _Work, show: Show) -> None:
    todo = [part for part in work.parts if not work.unfinished.part(_name(part)).exists()]
    total = sum(map(len, work.parts))
    done = total - sum(map(len, todo))
    if done:
        show.note(f"going on: {done:,} of {total:,} faces are polled")
    with show.progress(f"embedding {work.faces.name}") as tell:
        for part in todo:
            before = done

            def advance(count: int, before: int = before) -> None:
                tell(before + count, total)

            arrays = _poll_part(work, part, advance)
            with work.unfinished.writing(_name(part)) as path, open(path, "wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
            done += len(part)


def _poll_part(work: _Work, part: Rows, advance: Callable[[int], None]) -> Arrays:
    polling, contract = work.polling, work.encoder.contract
    batches = cut(part, polling.batch_size)
    seen: list[Arrays] = []
    left_out: list[str] = []
    with closing(read_crops(work.faces.reader, batches, contract, threads=polling.workers)) as crops:
        for done, batch in enumerate(crops, 1):
            left_out += [work.faces.reader.where(row) for row in batch.unreadable]
            if len(batch.rows):
                seen.append(_look_at(work, batch))
            advance(min(done * polling.batch_size, len(part)))
    first, last = int(work.labels[part[0]]), int(work.labels[part[-1]])
    weight = work.centers[first : last + 1]
    told = {"first": np.array(first), "left_out": np.array(json.dumps(left_out))}
    if not seen:
        none, nan = np.zeros(0, np.float32), np.full(len(weight), np.nan, np.float32)
        votes, sums = np.zeros(weight.shape[:2], np.int64), np.zeros_like(weight)
        halves = Halves(none.astype(np.bool_), votes[:, 0], nan, nan)
        polled = Poll(votes, sums, none.astype(np.int8), none, none, halves)
        return told | {"row": np.zeros(0, np.int64), "copy": none.astype(np.bool_), **_arrays(polled)}
    faces = {name: np.concatenate([one[name] for one in seen]) for name in seen[0]}
    labels = work.labels[faces["rows"]] - first
    copies = superfluous(faces["digests"], faces["descriptors"], labels)
    return told | {"row": faces["rows"], "copy": copies, **_arrays(poll(faces["vectors"], labels, weight, copies))}


def _arrays(polled: Poll) -> Arrays:
    """All numbers of a poll by name."""
    halves = dict(zip(("second_half", *_HALVES), vars(polled.halves).values(), strict=True))
    return {name: value for name, value in vars(polled).items() if name != "halves"} | halves


def _look_at(work: _Work, batch: CropBatch) -> Arrays:
    vectors = work.encoder.embed(batch.crops).vectors
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        where = work.faces.reader.where(int(batch.rows[bad[0]]))
        raise DataError("its embedding is NaN or infinite", where=where, mend="check the model, or mark the face")
    small = np.stack([small_of(crop_of(crop)) for crop in batch.crops])
    digests = np.array([pixel_digest(crop) for crop in batch.crops], np.uint64)
    return {"rows": batch.rows, "vectors": vectors, "digests": digests, "descriptors": describe(thumbnails(small))}


def _assemble(work: _Work, plan: dict[str, Any]) -> None:
    content = work.unfinished.content
    content.mkdir(exist_ok=True)
    people, sub_centers, dimension = work.centers.shape
    shapes: dict[str, tuple[int, ...]] = {"votes": (people, sub_centers), "sums": (people, sub_centers, dimension)}
    found = {name: np.zeros(shapes.get(name, (people,)), kind) for name, kind in _OF_PEOPLE.items()}
    found["half_cosines"][:] = found["half_alike"][:] = np.nan  # of those who have no faces here
    left_out: list[str] = []
    with pq.ParquetWriter(content / _FACES, _SCHEMA, compression="zstd") as writer:
        for part in work.parts:
            with np.load(work.unfinished.part(_name(part)), allow_pickle=False) as kept:
                first, rows = int(kept["first"]), kept["row"]
                for name, values in found.items():
                    values[first : first + len(kept[name])] = kept[name]
                left_out += json.loads(str(kept["left_out"]))
                named = work.faces.manifest.take(rows).table
                columns = [named[name].cast(_SCHEMA.field(name).type) for name in ("source", "face", "person")]
                columns += [pa.array(rows), pa.array(work.labels[rows].astype(np.int32))]
                columns += [pa.array(kept["sub_centers"])]
                columns += [pa.array(np.degrees(kept[name]).astype(np.float32)) for name in ("angles", "own_angles")]
                columns += [pa.array(kept[name]) for name in ("copy", "second_half")]
                writer.write_table(pa.table(columns, schema=_SCHEMA))
    if not found["votes"].any():
        mend = f"see that their files are there, then remove {work.unfinished.folder}"
        raise DataError("none of the faces can be read", where=work.faces.name, mend=mend)
    with open(content / _PEOPLE, "wb") as file:
        np.savez(file, allow_pickle=False, **found, left_out=np.array(json.dumps(left_out)))
    (content / _PLAN).write_text(json.dumps(plan, indent=1, default=str) + "\n", encoding="utf-8")
    flush(content)


def _read(folder: Path) -> tuple[Arrays, list[str]]:
    try:
        with np.load(folder / _PEOPLE, allow_pickle=False) as kept:
            arrays: Arrays = {name: kept[name] for name in _OF_PEOPLE}
            left_out: list[str] = json.loads(str(kept["left_out"]))
        numbers = [name for name in _SCHEMA.names if name not in ("source", "face", "person")]
        table = pq.read_table(folder / _FACES, columns=numbers)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise HyperArcError(f"cannot be read: {error}", where=folder, mend="remove it and start again") from error
    arrays |= {name: table[name].to_numpy() for name in ("row", "label", "copy", "second_half")}
    arrays["sub_centers"] = table["sub_center"].to_numpy()
    arrays |= {f"{one}s": np.radians(table[f"{one}_deg"].to_numpy()) for one in ("angle", "own_angle")}
    return arrays, left_out


def _name(part: Rows) -> str:
    return f"{part[0]:012d}.npz"
