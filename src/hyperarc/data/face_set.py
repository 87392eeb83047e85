"""Faces by row: a manifest together with the sources that hold its pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hyperarc.data.formats.http_bytes import is_url
from hyperarc.data.formats.parquet_file import holds_faces
from hyperarc.data.manifest import Manifest, read_manifest
from hyperarc.data.sources import Source, is_there, open_source
from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels

MANIFEST = ".parquet"


class FaceReader:
    """Reads the faces of a manifest; small enough to be sent to worker processes.

    Args:
        sources: that hold the faces.
        manifest: which face each row is, and in which color order its file was written.

    Raises:
        DataError: two sources of one name, or a source of the manifest is not among them.

    Example:
        >>> from hyperarc.data.sources import ArraySource
        >>> blue = np.zeros((1, 4, 4, 3), np.uint8); blue[..., 2] = 255
        >>> source = ArraySource(blue, ["ann"])
        >>> manifest = source.scan().recolored(np.array([True]), "bgr")
        >>> FaceReader([source], manifest).image(0)[0, 0].tolist()
        [255, 0, 0]
    """

    def __init__(self, sources: Source | Sequence[Source], manifest: Manifest) -> None:
        self._sources = _by_code([sources] if isinstance(sources, Source) else list(sources), manifest)
        self._codes = manifest.source_codes
        self._swapped = manifest.swapped
        self._keys = manifest.keys

    def __len__(self) -> int:
        return len(self._codes)

    def key(self, row: int) -> str:
        """The key of the face inside its source."""
        return self._keys(np.array([row]))[0]

    def source(self, row: int) -> Source:
        """The source that holds the face."""
        return self._sources[int(self._codes[row])]

    def where(self, row: int) -> str:
        """What to call the face in an error: ``source:key``."""
        return f"{self.source(row).name}:{self.key(row)}"

    def read(self, row: int) -> bytes:
        """The picture file as it is, exchanged colors included."""
        return self.source(row).read(self.key(row))

    def image(self, row: int) -> Pixels:
        """The picture: uint8 [H, W, 3], RGB, exchanged colors put right."""
        picture = self.source(row).image(self.key(row))
        return picture[..., ::-1] if self._swapped[row] else picture


@dataclass(frozen=True)
class FaceSet:
    """A manifest and the sources that hold its faces.

    Attributes:
        sources: every source that the manifest names.
        manifest: the table of faces, with marks and color orders.

    Example:
        >>> from hyperarc.data.sources import ArraySource
        >>> source = ArraySource(np.zeros((2, 112, 112, 3), np.uint8), ["ann", "bob"])
        >>> faces = FaceSet((source,), source.scan())
        >>> len(faces), faces.image(1).shape
        (2, (112, 112, 3))
    """

    sources: tuple[Source, ...]
    manifest: Manifest

    def __len__(self) -> int:
        return len(self.manifest)

    @property
    def name(self) -> str:
        """Of the data set; where it has none, the names of its sources."""
        return self.manifest.about.name or "+".join(source.name for source in self.sources)

    @cached_property
    def reader(self) -> FaceReader:
        """Reads faces by row."""
        return FaceReader(self.sources, self.manifest)

    def read(self, row: int) -> bytes:
        """The picture file of a row."""
        return self.reader.read(row)

    def image(self, row: int) -> Pixels:
        """The picture of a row: uint8 [H, W, 3], RGB."""
        return self.reader.image(row)

    def with_manifest(self, manifest: Manifest) -> FaceSet:
        """The same sources under another manifest, such as one with more marks."""
        return FaceSet(self.sources, manifest)

    def kept(self) -> FaceSet:
        """Only the faces that are not left out."""
        return self.with_manifest(self.manifest.kept())

    def state(self) -> dict[str, Any]:
        """What tells these faces from others, and from themselves after a change: for the plan of unfinished work.

        Returns:
            Digests of the manifest and of size and time of change of the files, and where the sources are.
        """
        files = hashlib.sha256()
        for source in self.sources:
            for path in _files_of(source, self.manifest):
                files.update(f"{path.name}:{_stamp_of(path)};".encode())
        return {
            "faces": digest_of(self.manifest),
            "files": files.hexdigest()[:16],
            "sources": dict(self.manifest.about.sources),
        }


Faces = Path | FaceSet
"""Where faces are, or a set of them that is open already."""


def open_faces(path: str | Path | FaceSet, *, name: str | None = None, remote: bool = False) -> FaceSet:
    """The faces at ``path``: whatever :func:`open_source` opens, or a manifest with its marks.

    A manifest says where its sources were. One that is gone from there is looked for beside the manifest, so that a
    folder with both can be moved.

    Args:
        path: what :func:`open_source` opens, or a manifest (``.parquet``); a set that is open already is returned.
        name: short name of the source; a manifest has names of its own.
        remote: whether a manifest may name addresses to read from; a given address is read from in any case.

    Raises:
        DataError: nothing there, no faces in it, or a source of the manifest is gone.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "ann").mkdir(); Image.new("RGB", (112, 112)).save(folder / "ann" / "1.png")
        >>> open_faces(folder).manifest.mark([0], "doubtful").write(folder / "faces.parquet")
        >>> open_faces(folder / "faces.parquet").manifest.row(0).reason
        'doubtful'
    """
    if isinstance(path, FaceSet):
        return path
    place = Path(path)
    if place.suffix == MANIFEST and place.is_file() and not holds_faces(place):
        manifest = read_manifest(place)
        places = manifest.about.sources
        return FaceSet(tuple(_again(name, places, place, remote) for name in manifest.sources), manifest)
    source = open_source(path, name=name)
    return FaceSet((source,), source.scan())


def digest_of(manifest: Manifest) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the faces: sources, keys, labels and colors.

    Example:
        >>> from hyperarc.data.manifest import manifest_of
        >>> one, two = manifest_of(["a/1"], ["a"], source="x"), manifest_of(["a/2"], ["a"], source="x")
        >>> digest_of(one) == digest_of(two)
        False
    """
    content = hashlib.sha256()
    for start in range(0, len(manifest), 65536):
        rows = np.arange(start, min(start + 65536, len(manifest)))
        content.update("\n".join(manifest.faces(rows)).encode())
        content.update(manifest.labels[rows].tobytes() + manifest.source_codes[rows].tobytes())
    if manifest.swapped.any():
        content.update(manifest.swapped.tobytes())
    return content.hexdigest()[:16]


def _files_of(source: Source, manifest: Manifest) -> Iterator[Path]:
    """The files of a source on this machine: its pictures, or the file or folder of files that holds them."""
    root, path = getattr(source, "root", None), getattr(source, "path", None)
    place = None if path is None else Path(path)
    if root is not None:
        rows = np.flatnonzero(manifest.column("source") == source.name)
        for start in range(0, len(rows), 65536):
            yield from (Path(root) / key for key in manifest.faces(rows[start : start + 65536]))
    elif place is None:  # in memory
        return
    elif place.is_dir():
        yield from sorted(path for path in place.iterdir() if path.is_file())
    elif place.is_file():
        yield place


def _stamp_of(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except OSError:  # whoever reads it says so
        return None
    return state.st_size, state.st_mtime_ns


def _again(name: str, places: Mapping[str, str], manifest: Path, remote: bool) -> Source:
    if name not in places:
        raise DataError(f"does not say where its source {name!r} is", where=manifest, mend="scan the data again")
    place = places[name]
    for candidate in (place, str(manifest.absolute().parent / Path(place).name)):
        if is_there(candidate) or (remote and is_url(candidate)):
            return open_source(candidate, name=name)
    mend = "put it back, or beside the manifest"
    if is_url(place):  # a file that was handed on must not make this machine reach out
        raise DataError(
            f"its source {name!r} is far away: {place}", where=manifest, mend=f"{mend}, or open_faces(..., remote=True)"
        )
    raise DataError(f"its source {name!r} is gone: {place}", where=manifest, mend=mend)


def _by_code(sources: list[Source], manifest: Manifest) -> list[Source]:
    """The sources in the order of the manifest's source codes (its ``source`` dictionary)."""
    known = {source.name: source for source in sources}
    if len(known) != len(sources):
        raise DataError(f"expected sources of different names, got {sorted(s.name for s in sources)}")
    missing = [name for name in manifest.sources if name not in known]
    if missing:
        raise DataError(
            f"the manifest holds faces of source {missing[0]!r}, given were only {', '.join(sorted(known))}",
            mend=f"open it with name={missing[0]!r}",
        )
    # A name in the dictionary that no row uses any more needs no source; any one stands in for it.
    dictionary = manifest.table["source"].chunk(0).dictionary.to_pylist()
    return [known.get(name, sources[0]) for name in dictionary]
