"""The table of ``hyperarc align``: one row a crop, and one for each photo without a crop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hyperarc.data.findings import Finding, finding
from hyperarc.data.manifest import About, Manifest, manifest_of
from hyperarc.data.marks import JOINT
from hyperarc.faces.cutting import Crop, Cutting, misfit_px
from hyperarc.faces.template import open_template

NO_FACE = "no face"
_BOX = ("left", "top", "right", "bottom")
_POINTS = tuple(f"{axis}{number}" for number in range(1, 6) for axis in "xy")
_MEASURES = ("source_px", "residual_px", "yaw_deg", "pitch_deg", "roll_deg", "blur_px", "brightness")

TABLE = pa.schema(
    [
        ("photo", pa.large_string()),
        ("person", pa.large_string()),
        ("time_s", pa.float64()),
        ("face", pa.large_string()),
        ("found", pa.int32()),
        ("rival", pa.float32()),
        ("score", pa.float32()),
        *((name, pa.float32()) for name in (*_BOX, *_POINTS, *_MEASURES)),
        ("misfit_px", pa.float32()),
        ("crop_landmarks", pa.list_(pa.float32(), 10)),
        ("doubts", pa.string()),
        ("problem", pa.large_string()),
    ]
)


def crop_record(crop: Crop, cutting: Cutting) -> dict[str, Any]:
    """What the table says of a crop, its names apart."""
    return {
        **dict(zip(_BOX, crop.face.box.tolist(), strict=True)),
        **dict(zip(_POINTS, crop.face.landmarks.ravel().tolist(), strict=True)),
        **{name: getattr(crop.quality, name) for name in _MEASURES},
        "score": crop.face.score,
        "rival": crop.rival,
        "misfit_px": float(misfit_px(crop.face.landmarks.astype(np.float64), cutting.template, cutting.size)),
        "crop_landmarks": crop.landmarks.ravel().tolist(),
        "doubts": JOINT.join(crop.doubts),
        "problem": "",
    }


def crops_of(table: pa.Table) -> pa.Table:
    """The rows that are crops, in the order of their names."""
    return table.filter(pc.is_valid(table["face"])).sort_by("face")


def manifest_of_crops(table: pa.Table, target: Path, cutting: Cutting, *, leave_out_doubtful: bool) -> Manifest:
    """The manifest of the folder of crops; landmarks are px of the crops."""
    rows = crops_of(table)
    template = open_template(cutting.template, cutting.size)
    about = About(target.name, sources={target.name: str(target.absolute())}, findings=_findings(table, target.name))
    faces, persons = rows["face"].to_pylist(), rows["person"].to_pylist()
    size = (template.width, template.height)
    manifest = manifest_of(faces, persons, source=target.name, about=about, size=size)
    manifest = manifest.with_columns(landmarks=rows["crop_landmarks"])
    for doubts in pc.unique(rows["doubts"]).to_pylist() if leave_out_doubtful else []:
        which = np.asarray(pc.equal(rows["doubts"], doubts))
        for reason in filter(None, doubts.split(JOINT)):
            manifest = manifest.mark(which, reason)
    return manifest


def facts_of(table: pa.Table, manifest: Manifest) -> dict[str, Any]:
    """Counts, and how far the landmarks stay from the template."""
    crops = crops_of(table)
    problems = table["problem"].to_pylist()
    residuals = crops["residual_px"].to_numpy()
    middle, high = np.quantile(residuals, (0.5, 0.99)).round(2).tolist() if len(crops) else (None, None)
    return {
        "photos": len(pc.unique(table["photo"])),
        "photos_with_faces": len(pc.unique(crops["photo"])),
        "faces": len(crops),
        "people": manifest.num_people,
        "doubtful": int(np.count_nonzero(crops["doubts"].to_numpy() != "")),
        "without_face": problems.count(NO_FACE),
        "unreadable": sum(1 for problem in problems if problem not in ("", NO_FACE)),
        "left_out": int((~manifest.keep).sum()),
        "residual_px": {"median": middle, "99 %": high},
    }


def _findings(table: pa.Table, name: str) -> tuple[Finding, ...]:
    pairs = list(zip(table["photo"].to_pylist(), table["problem"].to_pylist(), strict=True))
    missed = [photo for photo, problem in pairs if problem == NO_FACE]
    broken = [photo for photo, problem in pairs if problem not in ("", NO_FACE)]
    doubtful = table.filter(pc.not_equal(table["doubts"], ""))["face"].to_pylist()
    kinds = (("photos without a face", missed), ("unreadable photos", broken), ("doubtful crops", doubtful))
    return tuple(finding(what, names, source=name) for what, names in kinds if names)
