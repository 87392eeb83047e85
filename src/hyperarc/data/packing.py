"""Faces from any source into one file or folder of another kind; picture files are copied, never encoded again.

The work can be killed at any time: started again it goes on, and ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from hyperarc.data.face_set import FaceSet
from hyperarc.data.findings import Finding, finding
from hyperarc.data.formats.face_writer import FaceWriter, Packed, Place, ShardLimits
from hyperarc.data.formats.folder_writer import FolderWriter
from hyperarc.data.formats.member_names import member_stems
from hyperarc.data.formats.parquet_writer import ParquetWriter
from hyperarc.data.formats.record_writer import RecordSetWriter, require_countable
from hyperarc.data.formats.tar_writer import TarWriter
from hyperarc.data.formats.zip_writer import ZipWriter
from hyperarc.data.manifest import Manifest, read_manifest
from hyperarc.data.order import epoch_generator
from hyperarc.data.verification import Progress, verify_faces
from hyperarc.errors import DataError, UnknownNameError, UsageError
from hyperarc.faces.image import file_ending
from hyperarc.unfinished import Unfinished, continue_work

KINDS = ("rec", "zip", "tar", "parquet", "folder", "list")
SHARDED = ("tar", "parquet")
PAUSE_EVERY_S = 5.0
_CHUNK = 256
_MANIFEST, _PROGRESS = "manifest.parquet", "progress.json"
_KEEPS = {"tar": ("landmarks", "color"), "parquet": ("landmarks", "color"), "list": ("landmarks", "color")}

Stage = Callable[[str], AbstractContextManager[Progress]]


@dataclass(frozen=True)
class Packing:
    """How to pack.

    Attributes:
        kind: rec (train.rec and what belongs to it), zip, tar, parquet, folder, or list (a folder with ``faces.csv``).
        shards: of tar and parquet; without limits there is one file.
        flat: of rec: every record a face.
        shuffle: seed of a random order of the faces, not for rec; None keeps the order of the manifest.
        verify: decode every face before, leave out those that cannot be read, and learn their sizes (rec needs them).
    """

    kind: str
    shards: ShardLimits = field(default_factory=ShardLimits)
    flat: bool = False
    shuffle: int | None = None
    verify: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownNameError(f"expected {', '.join(KINDS)}, got {self.kind!r}")
        if self.shards and self.kind not in SHARDED:
            raise UsageError(f"expected shards of {' or '.join(SHARDED)}, got {self.kind}", mend="leave the limits out")
        if self.kind == "rec" and (self.shuffle is not None or not self.verify):
            raise UsageError("a .rec is written person by person, of verified faces", mend="shuffle when training")
        if self.flat and self.kind != "rec":
            raise UsageError(f"only a .rec can be flat, got {self.kind}", mend="leave flat out")


class Done(NamedTuple):
    """What was packed: the faces, and what was left out or could not be kept."""

    manifest: Manifest
    findings: tuple[Finding, ...]


def pack(faces: FaceSet, target: Path, packing: Packing, stage: Stage = lambda what: nullcontext(_silent)) -> Done:
    """Pack the kept faces of a set.

    Args:
        faces: any source's; rows left out in the manifest are not written.
        target: file or folder that must not exist. It appears when it is complete; until then the work stands in the
            hidden folder ``.TARGET.unfinished`` beside it.
        packing: how.
        stage: called with what begins now; gives what is told (faces done, faces in all).

    Raises:
        DataError: no faces, faces of several sizes or too many of them for a ``.rec``, names that cannot be written.
        HyperArcError: the target exists, or earlier work on it was begun otherwise.

    Example:
        >>> import tempfile
        >>> from hyperarc.data.face_set import open_faces
        >>> from hyperarc.data.sources import ArraySource
        >>> source = ArraySource(np.zeros((2, 112, 112, 3), np.uint8), ["ann", "bob"])
        >>> target = Path(tempfile.mkdtemp()) / "faces.zip"
        >>> len(pack(FaceSet((source,), source.scan()), target, Packing("zip")).manifest)
        2
        >>> open_faces(target).manifest.people
        ('ann', 'bob')
    """
    plan = {**asdict(packing), **faces.state(), "manifest": _digest(faces.manifest)}
    with continue_work(target, plan) as work:
        kept, findings = _prepared(faces, packing, work, stage)
        writer_of = _writer_of(kept, packing)
        stems = member_stems(kept, dots=packing.kind != "tar")
        with stage("packing") as tell:
            odd = _write(FaceSet(faces.sources, kept), stems, writer_of, work, tell)
    what = "faces whose file is no JPEG, PNG, WebP or BMP skipped"
    skipped = (finding(what, kept.faces(np.array(odd)), source=kept.about.name),) if odd else ()
    return Done(kept.take(np.setdiff1d(np.arange(len(kept)), odd)), (*findings, *skipped))


def _prepared(
    faces: FaceSet, packing: Packing, work: Unfinished, stage: Stage
) -> tuple[Manifest, tuple[Finding, ...]]:
    """The faces to write in their order; verified once, however often the work is started."""
    if work.part(_MANIFEST).exists():
        manifest = read_manifest(work.part(_MANIFEST))
    else:
        manifest = faces.manifest.described(findings=(*faces.manifest.findings, *_left_out(faces.manifest)))
        if packing.verify:
            with stage("verifying faces") as tell:
                manifest = verify_faces(faces.sources, manifest, progress=tell)
    kept = manifest.kept().relabelled()
    if not len(kept):
        raise DataError("expected faces, got none that can be read", where=faces.name)
    _require_fit(kept, packing)
    if not work.part(_MANIFEST).exists():
        with work.writing(_MANIFEST) as path:
            manifest.write(path)
    order = np.arange(len(kept))
    if packing.kind == "rec":
        order = np.argsort(kept.labels, kind="stable")
    elif packing.shuffle is not None:
        order = epoch_generator(packing.shuffle, 0).permutation(len(kept))
    return kept.take(order), (*manifest.findings, *_not_kept(kept, packing.kind))


def _require_fit(kept: Manifest, packing: Packing) -> None:
    if packing.kind == "rec":
        require_countable(len(kept), kept.num_people, flat=packing.flat, where=kept.about.name)
        one_size(kept)
    member_stems(kept, dots=packing.kind != "tar")


def one_size(kept: Manifest) -> tuple[int, int]:
    """Width and height that all faces share, as ``property`` knows only one."""
    sizes = np.stack([kept.column("width"), kept.column("height")], axis=1)
    other = np.flatnonzero((sizes != sizes[0]).any(axis=1))
    if len(other):
        row = kept.row(int(other[0]))
        raise DataError(
            f"expected faces of one size, {sizes[0][0]}x{sizes[0][1]}, got {row.width}x{row.height}",
            where=f"{row.source}:{row.face}",
            mend="align the faces to one size first",
        )
    return int(sizes[0][0]), int(sizes[0][1])


def _writer_of(kept: Manifest, packing: Packing) -> Callable[[Place], FaceWriter]:
    if packing.kind == "rec":
        return partial(RecordSetWriter, kept=kept, size=one_size(kept), flat=packing.flat)
    if packing.kind == "tar":
        return partial(TarWriter, limits=packing.shards)
    if packing.kind == "parquet":
        return partial(ParquetWriter, limits=packing.shards, extra=_known(kept))
    return ZipWriter if packing.kind == "zip" else partial(FolderWriter, listed=packing.kind == "list")


def _write(
    faces: FaceSet, stems: pa.Array, writer_of: Callable[[Place], FaceWriter], work: Unfinished, tell: Progress
) -> list[int]:
    """Write all faces from where the work stopped; rows that hold no picture for a folder of faces."""
    count, last = len(faces), time.monotonic()
    state: dict[str, Any] = {"row": 0, "odd": [], "writer": {}}
    if work.part(_PROGRESS).exists():
        state = json.loads(work.part(_PROGRESS).read_text())
    odd: list[int] = state["odd"]
    writer = writer_of(Place(work.content, work.folder, state["writer"]))
    for start in range(state["row"], count, _CHUNK):
        rows = range(start, min(start + _CHUNK, count))
        names = stems.slice(start, len(rows)).to_pylist()
        for index, name, row in zip(rows, names, faces.manifest.take(np.array(rows)).rows, strict=True):
            data = faces.read(index)
            ending = file_ending(data) or writer.other_ending
            if ending is None:
                odd.append(index)
            else:
                writer.add(Packed(name + ending, data, row))
            if time.monotonic() - last > PAUSE_EVERY_S and writer.may_pause:
                paused = {"row": index + 1, "odd": odd, "writer": writer.pause()}
                with work.writing(_PROGRESS) as path:
                    path.write_text(json.dumps(paused))
                last = time.monotonic()
        tell(rows[-1] + 1, count)
    if len(odd) == count:
        raise DataError("expected pictures, got other content alone", where=faces.name)
    writer.finish()
    return odd


def _digest(manifest: Manifest) -> str:
    """Of what decides what is written beside the faces themselves: people, marks, sizes and landmarks, row by row."""
    content = hashlib.sha256()
    content.update("\n".join((*manifest.people, *manifest.sources)).encode())
    for column in (manifest.keep, manifest.column("width"), manifest.column("height"), manifest.landmarks):
        content.update(np.ascontiguousarray(column).data)
    return content.hexdigest()[:16]


def _left_out(manifest: Manifest) -> tuple[Finding, ...]:
    out = np.flatnonzero(~manifest.keep)
    return (finding("faces left out by their marks", manifest.faces(out)),) if len(out) else ()


def _known(kept: Manifest) -> tuple[str, ...]:
    """What the manifest knows beyond people."""
    known = {"landmarks": kept.table["landmarks"].null_count < len(kept), "color": bool(kept.swapped.any())}
    return tuple(name for name, there in known.items() if there)


def _not_kept(kept: Manifest, kind: str) -> tuple[Finding, ...]:
    """What the manifest knows and files of this kind have no place for."""
    lost = [name for name in _known(kept) if name not in _KEEPS.get(kind, ())]
    counts = {"landmarks": len(kept) - kept.table["landmarks"].null_count, "color": int(kept.swapped.sum())}
    told = {"landmarks": "landmarks", "color": "colors, which are exchanged,"}
    return tuple(Finding(f"faces whose {told[name]} the {kind} does not tell", counts[name]) for name in lost)


def _silent(done: int, total: int) -> None:
    """Nobody is told."""
