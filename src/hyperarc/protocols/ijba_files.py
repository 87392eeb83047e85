"""The files of IJB-A as NIST publishes them: ten splits, each with lists of templates, and pairs of templates.

``IJB-A_11_sets/splitN`` holds ``train_N.csv``, ``verify_metadata_N.csv`` and ``verify_comparisons_N.csv``;
``IJB-A_1N_sets/splitN`` holds ``train_N.csv``, ``search_gallery_N.csv`` and ``search_probe_N.csv``. All but the
comparisons have a header and a row for each face of each template: TEMPLATE_ID, SUBJECT_ID, FILE (``img/533.JPG``,
``frame/28337_00300.png``), MEDIA_ID (the photo or the video), SIGHTING_ID (the face in its picture), FRAME, the box
FACE_X, FACE_Y, FACE_WIDTH, FACE_HEIGHT, and points and attributes that may be empty. The comparisons have no header,
and two template numbers in a row. A number may mean another template in another split. The lists of training faces
are not read: nothing is trained on them here.

This rests on the lists of split 1 themselves, and on how Bob's ``bob.db.ijba`` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import IntArray
from hyperarc.protocols.ijb_files import Subjects, TemplateFaces, TemplatePairs, owners_of, require_rows
from hyperarc.protocols.pair_lists import face_key
from hyperarc.protocols.text_table import read_header, read_table

_NUMBERS = ("TEMPLATE_ID", "SUBJECT_ID", "MEDIA_ID", "SIGHTING_ID")
_COLUMNS = ("TEMPLATE_ID", "SUBJECT_ID", "FILE", "MEDIA_ID", "SIGHTING_ID")
_SPLIT = re.compile(r"split(\d+)")
NamedBy = Literal["file", "sighting"]


@dataclass(frozen=True, eq=False)
class ListedFaces:
    """The rows of one list.

    Attributes:
        where: file, for errors.
        files: [n] keys of the pictures.
        templates, subjects, media, sightings: [n] numbers.
    """

    where: str
    files: tuple[str, ...]
    templates: IntArray
    subjects: IntArray
    media: IntArray
    sightings: IntArray

    def __len__(self) -> int:
        return len(self.files)

    def owners(self) -> Subjects:
        """Whose each template is; :class:`DataError` names a row whose template has two subjects."""
        return owners_of(self.templates, self.subjects, self.where)


def split_folders(sets: Path) -> list[tuple[int, Path]]:
    """Number and folder of every split in ``IJB-A_11_sets`` or ``IJB-A_1N_sets``.

    Raises:
        DataError: no split, or one is missing between the others.
    """
    folders = sets.iterdir() if sets.is_dir() else ()
    found = sorted((int(match[1]), path) for path in folders if (match := _SPLIT.fullmatch(path.name)))
    numbers = [number for number, _ in found]
    if numbers != list(range(1, len(found) + 1)) or not found:
        there = ", ".join(map(str, numbers)) or "none"
        raise DataError(f"expected the folders split1, split2, ... without gaps, got {there}", where=sets)
    return found


def read_listed(path: Path) -> ListedFaces:
    """A list of templates; its columns are found by their names, others are not looked at.

    Raises:
        DataError: a missing file or column, a cell that is no number; with the row.
    """
    header = read_header(path)
    missing = [name for name in _COLUMNS if name not in header]
    if missing:
        raise DataError(f"expected the columns {', '.join(_COLUMNS)}; missing: {', '.join(missing)}", where=f"{path}:1")
    last = max(header.index(name) for name in _COLUMNS)
    kinds: dict[str, type] = {name: int if name in _NUMBERS else str for name in header[: last + 1]}
    columns = dict(zip(kinds, read_table(path, kinds, delimiter=",", header=True), strict=True))
    files = tuple(face_key(str(file)) for file in columns["FILE"])
    return ListedFaces(str(path), files, *(cast(IntArray, columns[name]) for name in _NUMBERS))


def read_comparisons(path: Path, owners: Subjects) -> TemplatePairs:
    """Pairs of templates; those of one subject are genuine.

    Raises:
        DataError: as :func:`read_table`; a template that has no faces, pairs of one kind alone.
    """
    first, second = (
        cast(IntArray, column)
        for column in read_table(path, {"template": int, "other template": int}, delimiter=",")
    )
    for column in (first, second):
        require_rows(np.isin(column, owners.templates), column, "template {} has no faces", path)
    one, other = (owners.subjects[np.searchsorted(owners.templates, column)] for column in (first, second))
    same = one == other
    if same.all() or not same.any():
        kind = "one subject" if same.all() else "two subjects"
        raise DataError(f"every pair is of {kind}; genuine and impostor pairs are needed", where=path)
    return TemplatePairs(first, second, same, str(path))


def members_of(listed: ListedFaces, named_by: NamedBy, shared: frozenset[str]) -> TemplateFaces:
    """Which faces make up which template.

    Args:
        listed: the rows; named_by: what the crops are named after, their pictures or their sightings.
        shared: pictures that show several subjects. Nobody can tell whose face a crop named after such a picture is, so
            there is none: the face is absent.
    """
    rows = zip(listed.files, listed.subjects.tolist(), listed.sightings.tolist(), strict=True)
    if named_by == "sighting":
        faces = tuple(str(sighting) for _, _, sighting in rows)
    else:
        faces = tuple(f"{file} of subject {subject}" if file in shared else file for file, subject, _ in rows)
    return TemplateFaces(faces, listed.templates, listed.media, None, listed.where)


def gallery_and_probes(gallery: ListedFaces, probes: ListedFaces) -> tuple[ListedFaces, Subjects, Subjects]:
    """Both lists of a split as one, and whose their templates are.

    Their numbers may meet, so template t of the gallery becomes 2 t, and template t of the probes 2 t + 1.

    Raises:
        DataError: a template of two subjects; probes that all have a mate in the gallery, or none of which has.
    """
    sides = []
    for place, listed in enumerate((gallery, probes)):
        owners = listed.owners()
        sides.append(Subjects(2 * owners.templates + place, owners.subjects, owners.where))
    mated = np.isin(sides[1].subjects, sides[0].subjects)
    if mated.all() or not mated.any():
        kind = "every" if mated.all() else "no"
        raise DataError(f"{kind} probe has a mate in the gallery; some should, and some not", where=probes.where)
    both = (gallery, probes)
    joined = ListedFaces(
        f"{gallery.where} and {Path(probes.where).name}",
        gallery.files + probes.files,
        np.concatenate([2 * gallery.templates, 2 * probes.templates + 1]),
        *(np.concatenate([getattr(one, name) for one in both]) for name in ("subjects", "media", "sightings")),
    )
    return joined, sides[0], sides[1]


def shared_pictures(lists: Sequence[ListedFaces]) -> frozenset[str]:
    """Pictures in which the lists mark more than one subject."""
    subject_of: dict[str, int] = {}
    shared = set()
    for listed in lists:
        for file, subject in zip(listed.files, listed.subjects.tolist(), strict=True):
            if subject_of.setdefault(file, subject) != subject:
                shared.add(file)
    return frozenset(shared)
