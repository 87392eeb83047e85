"""Faces in several ``.rec`` files, as MXNet's im2rec writes them with ``--num-parts``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hyperarc.data.formats.layout import Place
from hyperarc.data.formats.recordio import RecordLimits
from hyperarc.data.formats.records import RecordSource
from hyperarc.data.manifest import About, Manifest, manifest_of
from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels


class SplitRecordSource:
    """A folder of ``.rec`` files that belong together, each with its ``.idx`` if there is one.

    Class indices mean the same person in all of them; ``property`` and ``people.txt`` of the folder are of all. A
    face's key is the name of its file, and in it the one of :class:`RecordSource`: ``train.part001/00000042/00000123``.

    Args:
        path: the folder.
        name: short name of the source; default the folder's.
        limits: of each file.

    Raises:
        DataError: no ``.rec`` in it, or a damaged one; ``scan`` raises it when there are no faces.

    Example:
        >>> import tempfile
        >>> from hyperarc.data.formats.record_writer import RecordWriter
        >>> folder = Path(tempfile.mkdtemp())
        >>> for part, label in (("a", 3.0), ("b", 4.0)):
        ...     with RecordWriter(folder) as writer:
        ...         writer.add(0, label, b"a picture file")
        ...     for kind in ("rec", "idx"):
        ...         _ = (folder / f"train.{kind}").rename(folder / f"{part}.{kind}")
        >>> SplitRecordSource(folder).scan().column("face").tolist()
        ['a/00000003/00000000', 'b/00000004/00000000']
    """

    def __init__(self, path: str | Path, *, name: str | None = None, limits: RecordLimits | None = None) -> None:
        self.path = Path(path).absolute()
        self.name = name or self.path.name
        files = sorted(self.path.glob("*.rec"))
        if not files:
            raise DataError("expected .rec files, got none", where=self.path)
        self._parts = {file.stem: RecordSource(file, limits=limits) for file in files}

    def scan(self) -> Manifest:
        """All faces, file by file, with findings."""
        listed = {stem: part.listed() for stem, part in self._parts.items()}
        findings = tuple(
            replace(finding, what=f"{finding.what} in {stem}", source=self.name)
            for stem, (_, _, found) in listed.items()
            for finding in found
        )
        names = [
            pc.binary_join_element_wise(pa.scalar(stem, pa.large_string()), keys, pa.scalar("/", pa.large_string()))
            for stem, (keys, _, _) in listed.items()
        ]
        labels = np.concatenate([labels for _, labels, _ in listed.values()])
        if not len(labels):
            told = "; ".join(map(str, findings))
            raise DataError(f"expected faces, got {len(names)} files and none: {told}", where=self.path)
        first = next(iter(self._parts.values()))
        findings += tuple(replace(finding, source=self.name) for finding in first.contradictions(labels))
        about = About(self.name, sources={self.name: str(self.path)}, findings=findings)
        return manifest_of(pa.concat_arrays(names), first.persons(labels), source=self.name, about=about)

    def read(self, face: str) -> bytes:
        """The picture file of ``face``; :class:`DataError` when it is unknown or damaged."""
        return self._part(face).read(face.partition("/")[2])

    def image(self, face: str) -> Pixels:
        """The picture of ``face``: uint8 [H, W, 3], RGB."""
        return self._part(face).image(face.partition("/")[2])

    def _part(self, face: str) -> RecordSource:
        part = self._parts.get(face.partition("/")[0])
        if part is None:
            raise DataError("no such file of records", where=Place(self.path, face), mend="scan them again")
        return part
