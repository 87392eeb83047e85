"""Faces in a folder of person folders."""

from __future__ import annotations

import os
from pathlib import Path

from hyperarc.data.formats.layout import EXTENSIONS, Layout, is_hidden, read_inside
from hyperarc.data.manifest import Manifest
from hyperarc.errors import DataError, nearest_names
from hyperarc.faces.image import DEFAULT_LIMITS, ImageLimits, Pixels, decode


class FolderSource:
    """A folder of person folders, at any depth: the person is the path of the folder that holds the pictures.

    Links to folders are followed; one that leads to a folder seen before is skipped and told of.

    Args:
        root: the folder.
        name: short name of the source; default the folder's name.
        limits: of each picture.
        loose: person of the pictures outside a person folder; by default they are skipped.
        endings: of the files that are taken; default the usual ones of pictures.

    Raises:
        DataError: the folder is missing; ``scan`` raises it when the folder holds no person folders with
            pictures.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> (root / "ann").mkdir(); Image.new("RGB", (112, 112)).save(root / "ann" / "1.png")
        >>> FolderSource(root).scan().people
        ('ann',)
    """

    def __init__(
        self,
        root: str | Path,
        *,
        name: str | None = None,
        limits: ImageLimits = DEFAULT_LIMITS,
        loose: str | None = None,
        endings: tuple[str, ...] = EXTENSIONS,
    ) -> None:
        self.root = Path(root).absolute()
        self.name = name or self.root.name
        self.limits = limits
        self.loose, self.endings = loose, endings
        if not self.root.is_dir():
            raise missing(self.root, "a folder of person folders")

    def scan(self) -> Manifest:
        """All faces, with findings: skipped files and people without faces."""
        layout = Layout(self.name, str(self.root), self.loose, self.endings)
        seen: set[tuple[int, int]] = set()
        waiting = [""]
        while waiting:
            inside = waiting.pop()
            state = os.stat(self.root / inside)
            if (state.st_dev, state.st_ino) in seen:
                layout.skip("links to folders seen before skipped", inside)
                continue
            seen.add((state.st_dev, state.st_ino))
            layout.add_folder(inside)
            waiting += self._list(inside, layout)
        return layout.manifest()

    def read(self, face: str) -> bytes:
        """The picture file of ``face``; :class:`DataError` when it is missing or outside the folder."""
        return read_inside(self.root, face, self.limits)

    def image(self, face: str) -> Pixels:
        """The picture of ``face``: uint8 [H, W, 3], RGB."""
        return decode(self.read(face), where=self.root / face, limits=self.limits)

    def _list(self, inside: str, layout: Layout) -> list[str]:
        folders = []
        try:
            with os.scandir(self.root / inside) as entries:
                for entry in sorted(entries, key=lambda e: e.name, reverse=True):
                    path = f"{inside}/{entry.name}" if inside else entry.name
                    if entry.is_dir() and not is_hidden(path):
                        folders.append(path)
                    elif entry.is_file():
                        layout.add(path)
                    else:
                        layout.skip("broken links and hidden folders skipped", path)
        except OSError as error:
            layout.unlisted(inside, error.strerror or "unknown")
        return folders


def missing(place: Path, what: str) -> DataError:
    """The error of a place where nothing is: the nearest names beside it, or what there is."""
    lost = place.absolute()
    while not lost.parent.is_dir():
        lost = lost.parent  # name what is beside the first part of the path that is missing
    parent = lost.parent
    try:
        beside = sorted(entry.name for entry in os.scandir(parent))
    except OSError:
        beside = []
    near = nearest_names(lost.name, beside)
    if near:
        mend = "did you mean " + " or ".join(repr(str(parent / n)) for n in near) + "?"
    else:
        mend = f"{parent} holds: {', '.join(beside[:8]) or 'nothing'}"
    return DataError(f"expected {what}, got nothing there", where=place, mend=mend)
