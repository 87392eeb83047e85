"""Faces in InsightFace's ``train.rec``, with ``train.idx`` and ``property`` beside it.

Two layouts are told apart by record 0. In the grouped one it has a label vector (a, b) and no payload: records 1 to
a - 1 are faces, and records a to b - 1 say of each person from which to which record the person's faces stand. The
faces' own labels say as much, and are what is gone by. In the flat layout every record is a face.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hyperarc.data.findings import Finding
from hyperarc.data.formats.layout import Place
from hyperarc.data.formats.record_index import found, read_index, read_people, read_property, rebuild_index
from hyperarc.data.formats.recordio import DAMAGED, OUTSIDE, SOUND, Heads, Record, RecordFile, RecordLimits
from hyperarc.data.manifest import About, Manifest, manifest_of
from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels, decode

RECORDS = "train.rec"
EXACT = 2**24  # float32, in which the files count, tells whole numbers apart up to here
_DIGITS = 8  # of EXACT, so that names sort as numbers do


class RecordSource:
    """A ``.rec``, read in place: nothing is unpacked to disk, and payloads are handed on as they are.

    A face's key is its person and the key of its record, ``00000042/00000123``. People are called by their class
    index, or by the names in ``people.txt`` where ``hyperarc pack`` has left one. Of label vectors the first number
    is the class index. A missing ``.idx`` is rebuilt by walking through the file.

    Args:
        path: the ``.rec``, or the folder that holds ``train.rec``.
        name: short name of the source; default the name of the file, or for ``train.rec`` that of its folder.
        limits: refused beyond these.

    Raises:
        DataError: missing or damaged files; ``scan`` raises it when there is no face in it. Single records that are
            damaged do not: they are skipped, counted and named in ``Manifest.findings``.

    Example:
        >>> import tempfile
        >>> from hyperarc.data.formats.record_writer import RecordWriter
        >>> folder = Path(tempfile.mkdtemp())
        >>> with RecordWriter(folder) as writer:
        ...     writer.add(0, 3.0, b"a picture file")
        >>> source = RecordSource(folder)
        >>> source.scan().row(0).face, source.read("00000003/00000000")
        ('00000003/00000000', b'a picture file')
    """

    def __init__(self, path: str | Path, *, name: str | None = None, limits: RecordLimits | None = None) -> None:
        path = Path(path).absolute()
        self.path = path / RECORDS if path.is_dir() else path
        self.name = name or (self.path.parent.name if self.path.name == RECORDS else self.path.stem)
        self.limits = limits or RecordLimits()
        self._file = RecordFile(self.path, self.limits)
        index = self.path.with_suffix(".idx")
        self._index = read_index(index, self.limits.records) if index.exists() else rebuild_index(self._file)
        self._first = int(self._index.keys[0])
        self._property = read_property(self.path.with_name("property"))
        people = read_people(self.path.with_name("people.txt"))
        self._people = None if people is None else pa.array(people, pa.large_string())

    def scan(self) -> Manifest:
        """All faces in the order of their keys, with findings: skipped records, classes without faces."""
        names, labels, findings = self.listed()
        if not len(names):
            told = "; ".join(map(str, findings))
            raise DataError(
                f"expected faces, got {len(self._index.keys)} records and none: {told}", where=self.path
            )
        findings += self.contradictions(labels)
        told_of = tuple(replace(finding, source=self.name) for finding in findings)
        about = About(self.name, sources={self.name: str(self.path)}, findings=told_of)
        return manifest_of(names, self.persons(labels), source=self.name, about=about)

    def listed(self) -> tuple[pa.Array, npt.NDArray[np.int64], tuple[Finding, ...]]:
        """Keys and class indices of all faces, and what was skipped."""
        keys = self._index.keys
        heads = self._file.heads(self._index.offsets)
        wanted, findings = self._wanted(heads)
        sound = wanted & (heads.problem == SOUND)
        full = sound & (heads.payload > 0)
        with np.errstate(invalid="ignore"):
            labels = np.where(np.isfinite(heads.label), heads.label, -1.0).astype(np.int64)
        faces = full & (labels >= 0) & (labels < EXACT) & (labels == heads.label)
        findings = self._index.findings + findings
        findings += found("records outside the file skipped", keys[wanted & (heads.problem == OUTSIDE)])
        findings += found("damaged records skipped", keys[wanted & (heads.problem == DAMAGED)])
        findings += found("records without a picture skipped", keys[sound & ~full])
        findings += found("records whose label is no class index skipped", keys[full & ~faces])
        persons = self.persons(labels[faces])
        numbers = pc.utf8_lpad(pa.array(keys[faces]).cast(pa.large_string()), _DIGITS, "0")
        names = pc.binary_join_element_wise(persons, numbers, pa.scalar("/", pa.large_string()))
        return names, labels[faces], findings

    def read(self, face: str) -> bytes:
        """The picture file of ``face``; :class:`DataError` when it is unknown or damaged."""
        person, _, number = face.rpartition("/")
        key = int(number) if number.isdecimal() and len(number) <= 19 else -1  # of 64 bits
        row = self._row(min(key, 2**63 - 1))
        if row is None:
            raise DataError("no such face in these records", where=self._where(face), mend="scan them again")
        record: Record = self._file.record(int(self._index.offsets[row]), Place(self.path, face))
        label = record.label[0]
        if not 0 <= label < EXACT or self._person(int(label)) != person:
            raise DataError(f"the record is of class {label:g}", where=self._where(face), mend="scan them again")
        return record.payload

    def image(self, face: str) -> Pixels:
        """The picture of ``face``: uint8 [H, W, 3], RGB."""
        return decode(self.read(face), where=self._where(face), limits=self.limits.image)

    def _row(self, key: int) -> int | None:
        """Where a key stands in the index: at its own place, less the first key, unless some are missing."""
        keys = self._index.keys
        row = key - self._first
        if not (0 <= row < len(keys) and keys[row] == key):
            row = int(np.searchsorted(keys, key))
        return row if row < len(keys) and keys[row] == key else None

    def _where(self, face: str) -> Place:
        return Place(self.path, face)

    def _wanted(self, heads: Heads) -> tuple[npt.NDArray[np.bool_], tuple[Finding, ...]]:
        """Which records ought to be faces, and what the grouped layout promises but the index lacks."""
        keys = self._index.keys
        vector = (heads.problem == SOUND) & (heads.flag > 0) & (heads.payload == 0)
        if keys[0] != 0 or not vector[0]:
            return np.ones(len(keys), np.bool_), ()
        end = float(heads.label[0])
        if not 1 <= end < 2**63:
            raise DataError(
                f"expected record 0 to say where the faces end, got {end:g}",
                where=self.path,
                mend="copy or pack the records again",
            )
        if end >= EXACT:  # rounded: only what stands in the other records says which are people's
            return (keys > 0) & ~vector, ()
        wanted = (keys > 0) & (keys < end)
        missing = np.setdiff1d(np.arange(1, int(end)), keys[wanted], assume_unique=True)
        return wanted, found("records that are missing in the index", missing)

    def _person(self, label: int) -> str:
        if self._people is None:
            return f"{label:0{_DIGITS}d}"
        return str(self._people[label]) if label < len(self._people) else ""

    def persons(self, labels: npt.NDArray[np.int64]) -> pa.Array:
        """What the people of these class indices are called."""
        if self._people is None:
            return pc.utf8_lpad(pa.array(labels).cast(pa.large_string()), _DIGITS, "0")
        if len(labels) and labels.max() >= len(self._people):
            raise DataError(
                f"people.txt names {len(self._people)} classes, but there is a class {labels.max()}",
                where=self.path,
                mend="correct or remove people.txt",
            )
        return self._people.take(pa.array(labels))

    def contradictions(self, labels: npt.NDArray[np.int64]) -> tuple[Finding, ...]:
        """Where the labels of all faces and ``property`` do not agree."""
        if self._property is None:
            return ()
        classes = self._property.classes
        present = np.unique(labels)
        absent = np.setdiff1d(np.arange(min(classes, EXACT)), present, assume_unique=True)
        beyond = present[present >= classes]
        return found("classes without faces", absent) + found(f"classes beyond the {classes} of property", beyond)
