"""``hyperarc align``: photos and videos become a folder of aligned crops, a manifest, a table and a report."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
from PIL import Image

from hyperarc.commands.align_report import write_align_report
from hyperarc.commands.align_table import NO_FACE, TABLE, crop_record, crops_of, facts_of, manifest_of_crops
from hyperarc.commands.show import Show
from hyperarc.data.photos import Photos, open_photos
from hyperarc.errors import DataError, unknown_name
from hyperarc.faces.aligned import ALIGNED_PX
from hyperarc.faces.choice import POLICIES
from hyperarc.faces.cutting import Cutting, cut_faces
from hyperarc.faces.detection import open_detector
from hyperarc.faces.face import Detector
from hyperarc.faces.image import Pixels
from hyperarc.faces.model_file import sha256_of
from hyperarc.faces.template import open_template
from hyperarc.unfinished import Unfinished, continue_work

ENDINGS: dict[str, dict[str, Any]] = {
    "jpg": {"format": "JPEG", "quality": 95, "subsampling": 0},
    "png": {"format": "PNG"},
    "webp": {"format": "WEBP", "lossless": True},
}
_CHUNK = 128  # photos: what a stop throws away at most


@dataclass(frozen=True)
class Alignment:
    """What the command is asked for.

    Attributes:
        cutting: which faces, how large, what is doubtful.
        detector: name or ONNX file.
        every_s: seconds between the frames of a video that are looked at.
        ending: of the crops' files, one of :data:`ENDINGS`; png and webp lose nothing.
        leave_out_doubtful: whether the manifest leaves doubtful crops out.
        threads: photos looked at at a time.
    """

    cutting: Cutting = field(default_factory=Cutting)
    detector: str = "yunet"
    every_s: float = 1.0
    ending: str = "jpg"
    leave_out_doubtful: bool = False
    threads: int = 2


def align(source: Path, target: Path, asked: Alignment, show: Show) -> dict[str, Any]:
    """Cut the faces of all photos at ``source`` into the new folder ``target``; the facts of what was done."""
    for kind, name, known in (
        ("policy", asked.cutting.policy, POLICIES),
        ("kind of picture", asked.ending, ENDINGS),
    ):
        if name not in known:
            raise unknown_name(kind, name, known)
    open_template(asked.cutting.template, asked.cutting.size)
    photos = open_photos(source)
    detector = open_detector(asked.detector)
    with continue_work(target, _plan(photos, detector, asked)) as work:
        if work.resumed:
            show.note("going on with what an earlier start has left")
        work.content.mkdir(exist_ok=True)
        table = _cut_all(photos, detector, asked, work, show)
        manifest = manifest_of_crops(table, target, asked.cutting, leave_out_doubtful=asked.leave_out_doubtful)
        scan = photos.faces.manifest.findings
        manifest = manifest.described(findings=(*scan, *manifest.findings))
        facts = facts_of(table, manifest)
        notes = [*map(str, manifest.findings), *_seeming_aligned(photos, table, asked.cutting)]
        manifest.write(work.content / "faces.parquet")
        pcsv.write_csv(table.drop_columns(["crop_landmarks"]), work.content / "align.csv")
        with show.progress("report"):
            write_align_report(photos, table, facts, notes, work.content)
    for note in notes:
        show.note(note)
    if not facts["faces"]:
        what = f"no face found in any of {len(photos)} photos"
        raise DataError(what, where=source, mend=f"look at them in {target / 'report.html'}")
    return {"target": str(target), **facts, "notes": notes}


def _cut_all(photos: Photos, detector: Detector, asked: Alignment, work: Unfinished, show: Show) -> pa.Table:
    parts = []
    with show.progress("aligning") as tell, ThreadPoolExecutor(max(1, asked.threads)) as pool:
        for start in range(0, len(photos), _CHUNK):
            rows = range(start, min(start + _CHUNK, len(photos)))
            name = f"{start:09d}.parquet"
            if not work.part(name).exists():
                records: list[dict[str, Any]] = []
                looks = pool.map(lambda row: _look(photos, row, detector, asked, work.content), rows)
                for done, found in enumerate(looks, start=start + 1):
                    records += found
                    tell(done, len(photos))
                with work.writing(name) as path:
                    pq.write_table(pa.Table.from_pylist(records, TABLE), path)
            tell(rows.stop, len(photos))
            parts.append(pq.read_table(work.part(name), schema=TABLE))
    return pa.concat_tables(parts)


def _look(photos: Photos, row: int, detector: Detector, asked: Alignment, folder: Path) -> list[dict[str, Any]]:
    """One photo or video: its crops are written, with a record for each, or one that says why there is none."""
    records: list[dict[str, Any]] = []
    photo = {"photo": photos.faces.reader.key(row), "person": photos.person(row), "found": 0, "doubts": ""}
    pictures = enumerate(_pictures(photos, row, asked.every_s))
    while True:
        try:  # only what is wrong with the photo is recorded; a detector that fails ends the work, to be gone on with
            number, (time_s, picture) = next(pictures)
        except StopIteration:
            return records or [photo | {"problem": NO_FACE}]
        except DataError as error:
            return [*records, photo | {"problem": f"unreadable: {error}"}]
        cut = cut_faces(picture, detector, asked.cutting)
        stem = photos.stems[row] + ("" if time_s is None else f"+{number:06d}")
        for place, crop in enumerate(cut.crops):
            face = f"{stem}+{place}.{asked.ending}" if asked.cutting.policy == "all" else f"{stem}.{asked.ending}"
            _write(crop.pixels, folder / face, ENDINGS[asked.ending])
            names = {"time_s": time_s, "face": face, "found": cut.found}
            records.append(photo | names | crop_record(crop, asked.cutting))
        records += [photo | {"time_s": time_s, "found": cut.found, "problem": problem} for problem in cut.problems]


def _pictures(photos: Photos, row: int, every_s: float) -> Iterator[tuple[float | None, Pixels]]:
    if not photos.is_video(row):
        yield None, photos.faces.image(row)
        return
    from hyperarc.faces.video import read_frames

    yield from read_frames(photos.video(row), every_s=every_s)


def _write(pixels: Pixels, path: Path, kind: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, **kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())


def _plan(photos: Photos, detector: Detector, asked: Alignment) -> dict[str, Any]:
    """All that the crops depend on; of a detector's name the file behind it, which may be another one tomorrow."""
    model = getattr(detector, "model", None)
    plan = asdict(asked) | photos.faces.state() | {"model": None if model is None else sha256_of(model)}
    plan.pop("threads")
    return plan


def _seeming_aligned(photos: Photos, table: pa.Table, cutting: Cutting) -> list[str]:
    """A note when the photos look as if they were aligned crops already: aligning twice only costs sharpness."""
    crops = crops_of(table)
    if not len(crops):
        return []
    row = photos.faces.manifest.table["face"].index(crops["photo"][0]).as_py()  # one that could be read
    height, width = photos.faces.image(row).shape[:2] if not photos.is_video(row) else (0, 0)
    template = open_template(cutting.template, cutting.size)
    misfit = float(np.median(crops["misfit_px"].to_numpy()))
    if (height, width) != (template.height, template.width) or misfit > ALIGNED_PX:
        return []
    return [
        f"these photos seem to be aligned to {cutting.template} already: they have its size, and their landmarks lie "
        f"{misfit:.1f} px from it (median); use them as they are, or align the photos that they were made from"
    ]
