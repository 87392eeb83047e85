"""The layout every folder and zip of faces follows: person folders, at any depth, that hold pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hyperarc.data.findings import Finding, finding
from hyperarc.data.manifest import About, Manifest, manifest_of
from hyperarc.errors import DataError
from hyperarc.faces.image import ImageLimits

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_UNLISTED = "folders that cannot be listed"
LAYOUT = "one folder per person with pictures in it: person/face.jpg"


@dataclass
class Layout:
    """Collects member paths (``/`` between parts) and sorts them into faces and findings.

    Args:
        source: short name of the source.
        where: its path, for errors.
        loose: person of the pictures outside a person folder; by default they are skipped.
        endings: of the files that are taken.

    Example:
        >>> layout = Layout("set", "set.zip")
        >>> for path in ("ann/1.JPG", "train/bob/1.png", "ann/notes.txt"):
        ...     layout.add(path)
        >>> layout.manifest().people
        ('ann', 'train/bob')
        >>> str(layout.manifest().findings[0])
        "set: 1 files of other kinds skipped: 'ann/notes.txt'"
    """

    source: str
    where: str
    loose: str | None = None
    endings: tuple[str, ...] = EXTENSIONS
    faces: list[str] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)
    skipped: dict[str, list[str]] = field(default_factory=dict)

    def add(self, path: str) -> None:
        """One file: a face, or skipped with its name kept."""
        person, _, name = path.rpartition("/")
        if not is_text_path(path):
            self.skip(
                "files with unreadable names skipped", path.encode("utf-8", "backslashreplace").decode()
            )
        elif is_hidden(path):
            self.skip("hidden files skipped", path)
        elif not name.lower().endswith(self.endings):
            self.skip("files of other kinds skipped", path)
        elif not person and self.loose is None:
            self.skip("pictures outside a person folder skipped", path)
        else:
            self.faces.append(path)

    def add_folder(self, path: str) -> None:
        """A folder; it is told of when no face turns up in it or below."""
        if path and not is_hidden(path):
            self.folders.add(path.encode("utf-8", "backslashreplace").decode())

    def unlisted(self, path: str, reason: str) -> None:
        """A folder that the system does not let be listed: whoever lies in it stays unknown."""
        self.folders -= {path, *_parents(path)}
        self.skip(f"{_UNLISTED} ({reason}) skipped", path)

    def skip(self, what: str, path: str) -> None:
        """Count and name a file that is no face."""
        self.skipped.setdefault(what, []).append(path)

    def manifest(self) -> Manifest:
        """The manifest of all faces, in sorted order of their paths.

        Raises:
            DataError: no faces at all, with what was expected and what was there.
        """
        if not self.faces:
            raise self._no_faces()
        faces = sorted(self.faces)
        about = About(self.source, sources={self.source: self.where}, findings=self._findings())
        persons = [face.rpartition("/")[0] or str(self.loose) for face in faces]
        return manifest_of(faces, persons, source=self.source, about=about)

    def _findings(self) -> tuple[Finding, ...]:
        found = [finding(what, names, source=self.source) for what, names in sorted(self.skipped.items())]
        empty = self.folders - set(_with_parents(self.faces))
        # Of nested empty folders only the innermost can have been meant as a person.
        outer = {parent for path in empty for parent in _parents(path)}
        people = empty - outer
        if people:
            found.append(finding("people without faces", people, source=self.source))
        return tuple(found)

    def _no_faces(self) -> DataError:
        loose = self.skipped.get("pictures outside a person folder skipped", [])
        if loose:
            got, mend = (
                f"{len(loose)} pictures directly at the top ({loose[0]!r})",
                "move them into person folders",
            )
        else:
            closed = sum(len(names) for what, names in self.skipped.items() if what.startswith(_UNLISTED))
            others = sum(len(names) for names in self.skipped.values()) - closed
            kinds = "/".join(extension[1:] for extension in EXTENSIONS)
            got = f"{len(self.folders)} folders and {others} other files, but no {kinds}"
            mend = "point to the folder, zip or .rec that holds the people"
            if closed:
                got, mend = f"{got}; {closed} folders cannot be listed", "see who may read them"
        return DataError(f"expected {LAYOUT}; got {got}", where=self.where, mend=mend)


def is_hidden(path: str) -> bool:
    """Whether some part of the path is a system's own: a leading dot, or a Mac's ``__MACOSX``."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def leads_outside(name: str) -> bool:
    """Whether a name from a file, taken as a path, is empty, absolute or goes up: nothing may be written there.

    Example:
        >>> leads_outside("ann/1.jpg"), leads_outside("../1.jpg"), leads_outside("C:\\\\1.jpg")
        (False, True, True)
    """
    parts = re.split(r"[/\\]", name)
    return ".." in parts or parts[0] == "" or re.match(r"[A-Za-z]:", name) is not None or "\0" in name


class Place(NamedTuple):
    """Where a face is, for errors; put into words only when there is one.

    Example:
        >>> str(Place("set.rec", "ann/1"))
        'set.rec:ann/1'
    """

    path: object
    face: str

    def __str__(self) -> str:
        return f"{self.path}:{self.face}"


def read_inside(root: Path, face: str, limits: ImageLimits) -> bytes:
    """The picture file ``face`` of a folder, up to one byte more than is accepted (decoding refuses it).

    Raises:
        DataError: missing, unreadable, or outside the folder.
    """
    path = root / face
    if ".." in Path(face).parts or Path(face).is_absolute():
        raise DataError("refused: the face key leads out of the folder", where=path)
    try:
        with open(path, "rb") as file:
            return file.read(limits.bytes + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read the face: {reason}", where=path, mend="scan again") from error


def is_text_path(path: str) -> bool:
    """Names that are no UTF-8 arrive with surrogates; no table can hold them."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in path


def _parents(path: str) -> Iterable[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _with_parents(faces: Iterable[str]) -> Iterable[str]:
    seen: set[str] = set()
    for face in faces:
        for parent in _parents(face):
            if parent in seen:
                break
            seen.add(parent)
    return seen
