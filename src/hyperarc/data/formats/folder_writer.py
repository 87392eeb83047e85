"""Writing faces as person folders, with a list of them if asked."""

from __future__ import annotations

import csv
import io
from typing import Any

from hyperarc.data.formats.face_writer import Packed, Place
from hyperarc.data.formats.growing_file import GrowingFile

LIST = "faces.csv"
_POINTS = [f"{axis}{n}" for n in range(1, 6) for axis in "xy"]


class FolderWriter:
    """Adds faces to the folder ``content``: ``person/name.ext``.

    Args:
        place: where.
        listed: also write ``faces.csv`` with path, person, width, height, color and landmarks.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> folder = Path(tempfile.mkdtemp())
        >>> writer = FolderWriter(Place(folder / "faces", folder, {}))
        >>> writer.add(Packed("ann/1.jpg", b"a picture file", None)); writer.finish()
        >>> (folder / "faces" / "ann" / "1.jpg").read_bytes()
        b'a picture file'
    """

    other_ending: str | None = None
    may_pause = True

    def __init__(self, place: Place, *, listed: bool = False) -> None:
        self._folder = place.content
        self._folder.mkdir(exist_ok=True)
        size = place.state.get("list", 0)
        self._list = GrowingFile(self._folder / LIST, size) if listed else None
        if self._list and not size:
            self._list.add(_line(["path", "person", "width", "height", "color", *_POINTS]))

    def add(self, face: Packed) -> None:
        """Write a face as a file."""
        path = self._folder / face.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(face.data)
        if self._list:
            row = face.row
            points = [""] * 10 if row.landmarks is None else row.landmarks.ravel().tolist()
            self._list.add(_line([face.name, row.person, row.width or "", row.height or "", row.color, *points]))

    def pause(self) -> dict[str, Any]:
        """Where the list ends; files are whole already."""
        return {"list": self._list.flush()} if self._list else {}

    def finish(self) -> None:
        """Close the list."""
        if self._list:
            self._list.close()


def _line(values: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()
