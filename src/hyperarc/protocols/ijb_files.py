"""The files of IJB-B and IJB-C as InsightFace publishes them: templates, pairs of templates, galleries and probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import BoolArray, FloatArray, IntArray
from hyperarc.protocols.pair_lists import face_key
from hyperarc.protocols.text_table import read_table

_POINTS = {f"{axis}{point}": float for point in range(1, 6) for axis in "xy"}


@dataclass(frozen=True, eq=False)
class TemplateFaces:
    """Which faces make up which template.

    Attributes:
        faces: [n] keys, each in one or several templates.
        templates, media: [n] numbers; faces of one medium (a video) in one template are averaged first.
        quality: [n] detector scores, or None.
        where: file, for errors.
    """

    faces: tuple[str, ...]
    templates: IntArray
    media: IntArray
    quality: FloatArray | None
    where: str


@dataclass(frozen=True, eq=False)
class TemplatePairs:
    """Pairs of templates [p] by number, and whether they are of one person."""

    first: IntArray
    second: IntArray
    same: BoolArray
    where: str


@dataclass(frozen=True, eq=False)
class Subjects:
    """Templates [t] of a gallery or of probes, each once, rising, and whose they are."""

    templates: IntArray
    subjects: IntArray
    where: str


def read_templates(meta: Path, name: str) -> TemplateFaces:
    """``NAME_face_tid_mid.txt`` (rows ``image template medium``) with the scores of ``NAME_name_5pts_score.txt``.

    Raises:
        DataError: as :func:`read_table`; the two files name other images, an image twice in a template.
    """
    path = meta / f"{name}_face_tid_mid.txt"
    images, templates, media = read_table(path, {"image": str, "template": int, "medium": int})
    names, _, quality = read_landmarks(meta, name)
    faces = tuple(map(face_key, images))
    if faces != names:
        row = next((row for row, pair in enumerate(zip(faces, names, strict=False)) if len(set(pair)) > 1), 0)
        raise DataError(
            f"does not name the images of {name}_name_5pts_score.txt in the same order", where=f"{path}:{row + 1}"
        )
    _require_once(faces, cast(IntArray, templates), path)
    return TemplateFaces(faces, cast(IntArray, templates), cast(IntArray, media), quality, str(path))


def read_landmarks(meta: Path, name: str) -> tuple[tuple[str, ...], npt.NDArray[np.float32], FloatArray]:
    """``NAME_name_5pts_score.txt``: keys [n], points [n, 5, 2] in px, detector scores [n]."""
    path = meta / f"{name}_name_5pts_score.txt"
    images, *numbers = read_table(path, {"image": str, **_POINTS, "score": float})
    points = np.stack(cast(list[FloatArray], numbers[:-1]), axis=1).reshape(-1, 5, 2).astype(np.float32)
    quality = cast(FloatArray, numbers[-1])
    bad = np.flatnonzero(~(np.isfinite(points).all(axis=(1, 2)) & np.isfinite(quality)))
    if len(bad):
        raise DataError("holds a NaN or infinity", where=f"{path}:{bad[0] + 1}")
    return tuple(map(face_key, images)), points, quality


def read_template_pairs(meta: Path, name: str, known: IntArray) -> TemplatePairs:
    """``NAME_template_pair_label.txt``: rows ``template template label``, label 1 for one person.

    Raises:
        DataError: as :func:`read_table`; a label other than 0 and 1, labels of one class, a template that is not in
            ``known`` or is paired with itself.
    """
    path = meta / f"{name}_template_pair_label.txt"
    first, second, label = (
        cast(IntArray, column) for column in read_table(path, {"template": int, "other template": int, "label": int})
    )
    require_rows(np.isin(label, (0, 1)), label, "label should be 0 or 1, got {}", path)
    for column in (first, second):
        require_rows(np.isin(column, known), column, "template {} has no faces", path)
    require_rows(first != second, first, "template {} is paired with itself", path)
    if label.min() == label.max():
        raise DataError(f"every pair has label {label[0]}; genuine and impostor pairs are needed", where=path)
    return TemplatePairs(first, second, label == 1, str(path))


def read_subjects(path: Path, known: IntArray) -> Subjects:
    """A gallery or the probes: CSV with a header, template and subject in the first two columns, one row an image.

    Raises:
        DataError: as :func:`read_table`; a template of two subjects, a template not in ``known``.
    """
    columns = read_table(path, {"template": int, "subject": int}, delimiter=",", header=True)
    templates, subjects = (cast(IntArray, column) for column in columns)
    found = owners_of(templates, subjects, path)
    require_rows(np.isin(templates, known), templates, "template {} has no faces", path, header=1)
    return found


def owners_of(templates: IntArray, subjects: IntArray, where: Path | str) -> Subjects:
    """Whose each template is, of rows below a header; :class:`DataError` names the row of one that has two subjects."""
    unique, first, place = np.unique(templates, return_index=True, return_inverse=True)
    require_rows(subjects == subjects[first][place], templates, "template {} has two subjects", where, header=1)
    return Subjects(unique, subjects[first], str(where))


def read_galleries(meta: Path, name: str, galleries: Sequence[str], known: IntArray) -> dict[str, Subjects]:
    """The galleries by name; errors as :func:`read_subjects`, and a template that stands in two of them."""
    found = {one: read_subjects(meta / f"{name}_1N_gallery_{one}.csv", known) for one in galleries}
    seen = np.empty(0, np.int64)
    for gallery in found.values():
        twice = np.intersect1d(seen, gallery.templates)
        if len(twice):
            raise DataError(f"template {twice[0]} stands in another gallery too", where=gallery.where)
        seen = np.concatenate([seen, gallery.templates])
    return found


def _require_once(faces: Sequence[str], templates: IntArray, path: Path) -> None:
    """No image twice in one template, where it would count double."""
    _, number = np.unique(np.asarray(faces), return_inverse=True)
    key = number.astype(np.int64) * (int(templates.max()) + 1) + templates
    _, first = np.unique(key, return_index=True)
    if len(first) < len(key):
        row = int(np.setdiff1d(np.arange(len(key)), first)[0])
        raise DataError(f"{faces[row]} stands twice in template {templates[row]}", where=f"{path}:{row + 1}")


def require_rows(good: BoolArray, values: IntArray, message: str, path: Path | str, header: int = 0) -> None:
    """:class:`DataError` with the first row that is not good, and its value in the message."""
    bad = np.flatnonzero(~good)
    if len(bad):
        row = int(bad[0])
        raise DataError(message.format(values[row]), where=f"{path}:{row + 1 + header}")
