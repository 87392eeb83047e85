"""``hyperarc embed``: crops become a file of embeddings, in parts that survive a kill."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperarc.artifact import open_artifact
from hyperarc.commands.aligned import warn_unaligned
from hyperarc.commands.show import Show
from hyperarc.data.crops import CropBatch, Rows, cut, read_crops
from hyperarc.data.face_set import FaceSet, open_faces
from hyperarc.data.findings import finding
from hyperarc.data.formats.embedding_files import ARRAY, PARQUET, Part, table_beside, write_array, write_parquet
from hyperarc.encoder import Encoder
from hyperarc.errors import DataError, UsageError
from hyperarc.files import flush, require_absent
from hyperarc.unfinished import Unfinished, continue_work


@dataclass(frozen=True)
class Job:
    """How to embed.

    Attributes:
        artifact: folder of the model.
        device: it runs on.
        batch_size: faces per forward pass.
        workers: threads that decode while the model works.
        part_rows: faces that are kept together; a kill loses no more than one part.
    """

    artifact: Path
    device: str = "cpu"
    batch_size: int = 32
    workers: int = 2
    part_rows: int = 4096


@dataclass(frozen=True, eq=False)
class _Work:
    """What is embedded, by what, and where the parts lie."""

    faces: FaceSet
    encoder: Encoder
    job: Job
    unfinished: Unfinished

    def parts(self) -> list[Rows]:
        """Rows of each part, the same at every start."""
        return cut(np.arange(len(self.faces), dtype=np.int64), self.job.part_rows)

    def path(self, part: Rows) -> Path:
        return self.unfinished.part(_name(part))


def embed(data: Path, out: Path, job: Job, show: Show) -> dict[str, Any]:
    """Embed the kept faces of ``data`` into the file ``out``; the facts of what was done.

    Raises:
        UsageError: ``out`` is neither .parquet nor .npy.
        DataError: a face has another size than the contract's, none can be read, or an embedding is not finite.
        HyperArcError: ``out`` exists, or unfinished work on it was begun otherwise.
    """
    begun = time.monotonic()
    if out.suffix not in (PARQUET, ARRAY):
        raise UsageError(f"expected the name of a {PARQUET} or {ARRAY}", where=out, mend=f"call it {out.name}{PARQUET}")
    opened = open_faces(data)
    for found in opened.manifest.findings:
        show.note(str(found))
    faces = opened.kept()
    if not len(faces):
        raise DataError("expected faces, got none that is kept", where=data)
    encoder = open_artifact(job.artifact).encoder(device=job.device, batch_size=job.batch_size)
    warn_unaligned(faces, encoder.contract, show)
    with continue_work(out, _plan(faces, encoder, job)) as unfinished:
        work = _Work(faces, encoder, job, unfinished)
        todo = [part for part in work.parts() if not work.path(part).exists()]
        resumed = len(todo) < len(work.parts())
        if out.suffix == ARRAY and not resumed:
            require_absent(table_beside(out))
        if resumed:
            show.note(f"going on: {len(faces) - sum(map(len, todo))} of {len(faces)} faces are embedded")
        with show.progress(f"embedding {faces.name}") as tell:
            _embed_parts(work, todo, tell)
        left_out = _left_out(work)
        _assemble(work, out, len(faces) - len(left_out), show)
    if left_out:
        show.note(str(finding("faces that cannot be read left out", [entry["face"] for entry in left_out])))
    facts: dict[str, Any] = {"target": str(out), "data": faces.name, "faces": len(faces) - len(left_out)}
    facts |= {"embedding_dim": encoder.contract.embedding_dim, "contract": encoder.contract.digest}
    facts |= {"flip": encoder.contract.flip, "device": str(encoder.device), "resumed": resumed}
    facts |= {"left_out": left_out, "findings": [str(found) for found in opened.manifest.findings]}
    return facts | {"seconds": round(time.monotonic() - begun, 1)}


def _plan(faces: FaceSet, encoder: Encoder, job: Job) -> dict[str, Any]:
    """All that the embeddings depend on; batches too, as sums of another length may round otherwise."""
    return {
        "contract": encoder.contract.digest,
        **faces.state(),
        "device": str(encoder.device),
        "batch_size": job.batch_size,
        "part_rows": job.part_rows,
    }


def _name(part: Rows) -> str:
    return f"{part[0]:012d}.npz"


def _embed_parts(work: _Work, todo: list[Rows], tell: Callable[[int, int], None]) -> None:
    total = len(work.faces)
    done = total - sum(map(len, todo))
    tell(done, total)
    cuts = [cut(part, work.job.batch_size) for part in todo]
    batches = (batch for part in cuts for batch in part)
    contract, threads = work.encoder.contract, work.job.workers
    with closing(read_crops(work.faces.reader, batches, contract, threads=threads)) as read:
        for part, pieces in zip(todo, cuts, strict=True):
            rows: list[Rows] = []
            vectors: list[NDArray[np.float32]] = []
            left_out: dict[int, DataError] = {}
            for batch in islice(read, len(pieces)):
                rows.append(batch.rows)
                vectors.append(_embed_batch(work, batch))
                left_out |= batch.unreadable
                done += len(batch.rows) + len(batch.unreadable)
                tell(done, total)
            _keep(work, part, np.concatenate(rows), np.concatenate(vectors), left_out)


def _embed_batch(work: _Work, batch: CropBatch) -> NDArray[np.float32]:
    vectors = work.encoder.embed(batch.crops).vectors
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        where = work.faces.reader.where(int(batch.rows[bad[0]]))
        raise DataError("its embedding is NaN or infinite", where=where, mend="check the model, or mark the face")
    return vectors


def _keep(
    work: _Work, part: Rows, rows: Rows, vectors: NDArray[np.float32], left_out: dict[int, DataError]
) -> None:
    entries = [{"face": work.faces.reader.where(row), "reason": str(error)} for row, error in left_out.items()]
    with work.unfinished.writing(_name(part)) as path, open(path, "wb") as file:
        np.savez(file, rows=rows, vectors=vectors, left_out=np.array(json.dumps(entries)))


def _left_out(work: _Work) -> list[dict[str, str]]:
    entries: list[dict[str, str]] = []
    for part in work.parts():
        with np.load(work.path(part), allow_pickle=False) as kept:
            entries += json.loads(str(kept["left_out"]))
    return entries


def _assemble(work: _Work, out: Path, rows: int, show: Show) -> None:
    if not rows:
        mend = f"see that their files are there, then remove {work.unfinished.folder}"
        raise DataError("none of the faces can be read", where=work.faces.name, mend=mend)
    contract, content = work.encoder.contract, work.unfinished.content
    with show.progress(f"writing {out.name}") as tell:
        if out.suffix == PARQUET:
            write_parquet(content, _kept_parts(work, tell), contract)
        else:
            table = work.unfinished.folder / "faces"
            write_array(content, table, _kept_parts(work, tell), rows, contract)
            flush(table)
            os.replace(table, table_beside(out))  # made again after a kill, as the array is named last


def _kept_parts(work: _Work, tell: Callable[[int, int], None]) -> Iterator[Part]:
    parts = work.parts()
    for number, part in enumerate(parts, start=1):
        with np.load(work.path(part), allow_pickle=False) as kept:
            rows, vectors = kept["rows"], kept["vectors"]
        if len(rows):
            yield work.faces.manifest.take(rows), vectors
        tell(number, len(parts))
