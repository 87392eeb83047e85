"""Where faces come from: folders, zips, tars, ``.rec`` files, lists and arrays, all read through one protocol.

A source names its faces by key, scans itself into a manifest, and reads one face by key. Sources pickle, and
work in forked and spawned worker processes: files are opened again in each process.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from hyperarc.data.combination import combine
from hyperarc.data.formats.face_list import ListSource
from hyperarc.data.formats.folder_source import FolderSource, missing
from hyperarc.data.formats.http_bytes import as_text, is_url
from hyperarc.data.formats.layout import LAYOUT, is_hidden
from hyperarc.data.formats.parquet_file import is_manifest, is_parquet, open_parquet, picture_column
from hyperarc.data.formats.parquet_source import ParquetSource
from hyperarc.data.formats.records import RECORDS, RecordSource
from hyperarc.data.formats.split_records import SplitRecordSource
from hyperarc.data.formats.tar_source import TarSource, is_pattern, is_tar, shard_paths
from hyperarc.data.formats.text_list import is_text
from hyperarc.data.formats.zip_source import ZipLimits, ZipSource
from hyperarc.data.manifest import About, Manifest, manifest_of
from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels

__all__ = [
    "ArraySource",
    "FolderSource",
    "ListSource",
    "ParquetSource",
    "RecordSource",
    "Source",
    "SplitRecordSource",
    "TarSource",
    "ZipLimits",
    "ZipSource",
    "combine",
    "open_source",
]


@runtime_checkable
class Source(Protocol):
    """What the loader asks of a source of faces.

    Attributes:
        name: short name, unique among the sources of one run; the ``source`` column of manifests.
    """

    name: str

    def scan(self) -> Manifest:
        """All faces, labelled in sorted order of people; what was skipped is in ``Manifest.findings``."""

    def read(self, face: str) -> bytes:
        """The picture file of one face."""

    def image(self, face: str) -> Pixels:
        """The picture of one face: uint8 [H, W, 3], RGB."""


class ArraySource:
    """Faces in memory: nothing is encoded or decoded. Drawn faces use it.

    Args:
        images: uint8 [N, H, W, 3], RGB. Not copied; keys are ``person/0000000`` with the row in the array.
        persons: who each is, N strings.
        name: short name of the source.

    Raises:
        DataError: another shape or dtype, or another number of persons.

    Example:
        >>> ArraySource(np.zeros((2, 112, 112, 3), np.uint8), ["bob", "ann"]).scan().labels.tolist()
        [1, 0]
    """

    def __init__(self, images: Pixels, persons: Sequence[str], *, name: str = "array") -> None:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise DataError(
                f"expected uint8 [N, H, W, 3], got {images.dtype} {list(images.shape)}",
                where=name,
                mend="give RGB crops, channels last",
            )
        if len(persons) != len(images):
            raise DataError(f"expected {len(images)} persons, one a face, got {len(persons)}", where=name)
        self.images = images
        self.persons: npt.NDArray[np.str_] = np.asarray(persons, dtype=np.str_)
        self.name = name

    def scan(self) -> Manifest:
        """All faces in the order of the array."""
        persons: list[str] = self.persons.tolist()
        if not persons:
            raise DataError("expected faces, got an empty array", where=self.name)
        faces = [f"{person}/{row:07d}" for row, person in enumerate(persons)]
        height, width = self.images.shape[1:3]
        about = About(self.name, sources={self.name: f"array of {len(faces)} faces"})
        return manifest_of(faces, persons, source=self.name, about=about, size=(width, height))

    def read(self, face: str) -> bytes:
        """The face as a PNG file."""
        buffer = io.BytesIO()
        Image.fromarray(self.image(face)).save(buffer, "PNG")
        return buffer.getvalue()

    def image(self, face: str) -> Pixels:
        """The face: uint8 [H, W, 3], RGB; a view of the array."""
        person, _, row = face.rpartition("/")
        index = int(row) if row.isdecimal() else -1
        if not 0 <= index < len(self.images) or self.persons[index] != person:
            raise DataError("no such face in this array", where=f"{self.name}:{face}", mend="scan it again")
        picture: Pixels = self.images[index]
        return picture


def open_source(path: str | Path, *, name: str | None = None) -> Source:
    """The source that fits what lies at ``path``, seen from its content.

    Args:
        path: a folder of person folders, a zip or tar of them, a folder or pattern of tar shards, a ``.rec`` or a
            folder that holds ``train.rec``, a Parquet file (or a folder of them) with pictures, or a list of faces.
            ``LIST@FOLDER`` names the folder that the paths of a list start from. An ``http`` or ``https`` address of
            a tar, or a pattern of addresses, is read from there.
        name: short name of the source; default from the path.

    Raises:
        DataError: nothing there (with the nearest names beside it), or none of these.

    Example:
        >>> try:
        ...     open_source("nowhere/fases")
        ... except DataError as error:
        ...     print(str(error).split(";")[0])
        nowhere/fases: expected a folder, zip, tar, .rec or list of faces, got nothing there
    """
    if is_url(as_text(path)):
        return TarSource(as_text(path), name=name)
    place = Path(path)
    if (place / RECORDS).is_file() or (place.suffix == ".rec" and place.is_file()):
        return RecordSource(place, name=name)
    if place.is_dir():
        return _open_folder(place, name)
    if not place.exists():
        if is_pattern(str(path)):
            return TarSource(place, name=name)
        if is_there(path):
            before, _, root = str(path).rpartition("@")
            return ListSource(before, root, name=name)
        raise missing(place, "a folder, zip, tar, .rec or list of faces")
    if zipfile.is_zipfile(place):
        return ZipSource(place, name=name)
    if is_parquet(place):
        return _open_parquet(place, name)
    if is_tar(place):
        return TarSource(place, name=name)
    if is_text(place):
        return ListSource(place, name=name)
    raise DataError(
        f"expected a .rec, a list, or a folder or zip with {LAYOUT}; got a file that is none of them",
        where=place,
        mend="give the folder, or copy the file again if this should be one of them",
    )


def is_there(path: str | Path) -> bool:
    """Whether something lies at what :func:`open_source` takes, be it ``LIST@FOLDER``.

    Example:
        >>> is_there("nowhere/fases")
        False
    """
    listed = Path(str(path).rpartition("@")[0] or ".").is_file()
    return Path(path).exists() or listed or (is_pattern(str(path)) and Path(shard_paths(str(path))[0]).exists())


def _open_folder(folder: Path, name: str | None) -> Source:
    """A folder of people, or of shards where there are shards and no folders."""
    if any(entry.is_dir() and not is_hidden(entry.name) for entry in os.scandir(folder)):
        return FolderSource(folder, name=name)
    tar, parquet, records = (min(folder.glob(f"*.{kind}"), default=None) for kind in ("tar", "parquet", "rec"))
    if records is not None:
        return SplitRecordSource(folder, name=name)
    if tar is not None:
        return TarSource(folder, name=name)
    if parquet is not None and is_parquet(parquet):
        with open_parquet(parquet) as file:
            if picture_column(file.schema_arrow) is not None:
                return ParquetSource(folder, name=name)
    return FolderSource(folder, name=name)


def _open_parquet(path: Path, name: str | None) -> Source:
    with open_parquet(path) as file:
        schema = file.schema_arrow
    if is_manifest(schema):
        raise DataError(
            "expected faces, got a manifest, which says where faces are", where=path, mend="open it with open_faces"
        )
    return ListSource(path, name=name) if picture_column(schema) is None else ParquetSource(path, name=name)
