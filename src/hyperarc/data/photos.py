"""Photos and videos that faces are to be cut out of, and what the crops are to be called."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hyperarc.data.face_set import FaceSet, open_faces
from hyperarc.data.formats.layout import EXTENSIONS, leads_outside
from hyperarc.data.sources import FolderSource, open_source
from hyperarc.errors import DataError

LOOSE = "unknown"
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
PHOTOS = (*EXTENSIONS, ".gif", ".tif", ".tiff")


@dataclass(frozen=True)
class Photos:
    """Photos by row, with the name of each one's crops.

    Attributes:
        faces: the photos as a face set; persons are the folders they lie in, ``unknown`` for those in none.
        stems: of the crops' files, ``person/photo``, one a photo, all different.
    """

    faces: FaceSet
    stems: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.stems)

    def is_video(self, row: int) -> bool:
        """Whether it is a video, by its ending."""
        return self.faces.reader.key(row).lower().endswith(VIDEOS)

    def video(self, row: int) -> Path:
        """The file of a video."""
        source = self.faces.reader.source(row)
        if not isinstance(source, FolderSource):
            raise DataError("videos are read from folders alone", where=self.faces.reader.where(row), mend="unpack it")
        return source.root / self.faces.reader.key(row)

    def person(self, row: int) -> str:
        """Who it shows."""
        return str(self.faces.manifest.table["person"][row])


def open_photos(path: Path) -> Photos:
    """The photos and videos of a folder, or the pictures of whatever else :func:`open_faces` opens, such as a folder of
    tar shards; those marked to be left out are left out.

    Raises:
        DataError: nothing there, no pictures in it, or a name that would lead out of a folder.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "ann").mkdir()
        >>> for name in ("ann/1.png", "ann/1.jpg", "party.jpg"):
        ...     Image.new("RGB", (300, 200)).save(folder / name)
        >>> photos = open_photos(folder)
        >>> photos.stems, photos.person(2)
        (('ann/1.jpg', 'ann/1.png', 'unknown/party'), 'unknown')
    """
    if path.is_dir() and isinstance(open_source(path), FolderSource):
        source = FolderSource(path, loose=LOOSE, endings=PHOTOS + VIDEOS)
        faces = FaceSet((source,), source.scan())
    else:
        faces = open_faces(path).kept()
    if not len(faces):
        raise DataError("expected photos, all are marked to be left out", where=path)
    keys: list[str] = faces.manifest.table["face"].to_pylist()
    persons: list[str] = faces.manifest.table["person"].to_pylist()
    outside = [name for name in (*keys, *persons) if leads_outside(name)]
    if outside:
        raise DataError(f"refused: the name {outside[0]!r} leads out of a folder", where=path)
    return Photos(faces, _stems(keys, persons))


def _stems(keys: list[str], persons: list[str]) -> tuple[str, ...]:
    """The shortest names that are all different: without ending, with it, or with the folders around the photo.

    ``IMG.JPG`` and ``img.png`` are told apart by their endings: the disks of Windows and macOS take them for one name.
    """
    files = [key.rpartition("/")[2] for key in keys]
    short = [f"{person}/{_without_ending(file)}" for person, file in zip(persons, files, strict=True)]
    full = [f"{person}/{file}" for person, file in zip(persons, files, strict=True)]
    whole = [f"{person}/{key.replace('/', '+')}" for person, key in zip(persons, keys, strict=True)]
    short_times, full_times = Counter(map(str.casefold, short)), Counter(map(str.casefold, full))
    stems = tuple(
        a if short_times[a.casefold()] == 1 else b if full_times[b.casefold()] == 1 else c
        for a, b, c in zip(short, full, whole, strict=True)
    )
    twice = [stem for stem, times in Counter(stems).items() if times > 1]
    if twice:
        raise DataError(f"two photos would give crops of one name, {twice[0]!r}", mend="rename one of them")
    return stems


def _without_ending(file: str) -> str:
    return file.rpartition(".")[0] if file.lower().endswith(PHOTOS) else file
