"""Writing a zip of faces: stored, as pictures do not shrink, and the same bytes for the same faces.

The directory at the end of a zip names every member. While faces are added its entries go to a second file, so that
memory stays small and the work can go on after a kill.
"""

from __future__ import annotations

import shutil
import struct
import zlib
from typing import Any

from hyperarc.data.formats.face_writer import Packed, Place
from hyperarc.data.formats.growing_file import GrowingFile

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_64 = struct.Struct("<4sIQI")
_PLAIN, _LARGE = 20, 45  # versions of the format needed: usual, and with 64-bit numbers
_UNIX = 3 << 8
_UTF_8 = 0x800
_EPOCH = 0x21  # 1980-01-01, the first day that a zip knows
_RIGHTS = 0o100644 << 16
_MOST, _MOST_MEMBERS = 0xFFFFFFFF, 0xFFFF


class ZipWriter:
    """Adds faces to ``content``, a zip of ``person/name.ext``.

    Example:
        >>> import tempfile, zipfile
        >>> from pathlib import Path
        >>> folder = Path(tempfile.mkdtemp())
        >>> writer = ZipWriter(Place(folder / "set.zip", folder, {}))
        >>> writer.add(Packed("ann/1.jpg", b"a picture file", None))
        >>> writer.finish()
        >>> zipfile.ZipFile(folder / "set.zip").read("ann/1.jpg")
        b'a picture file'
    """

    other_ending: str | None = None
    may_pause = True

    def __init__(self, place: Place) -> None:
        state = place.state
        self._zip = GrowingFile(place.content, state.get("size", 0))
        self._listed = place.scratch / "directory"
        self._directory = GrowingFile(self._listed, state.get("directory", 0))
        self._members: int = state.get("members", 0)

    def add(self, face: Packed) -> None:
        """Append a face."""
        name, size, at = face.name.encode(), len(face.data), self._zip.size
        facts = (_UTF_8, 0, 0, _EPOCH, zlib.crc32(face.data), size, size, len(name))
        self._zip.add(_LOCAL.pack(b"PK\x03\x04", _PLAIN, *facts, 0) + name + face.data)
        far = struct.pack("<2HQ", 1, 8, at) if at >= _MOST else b""
        version = _LARGE if far else _PLAIN
        head = _CENTRAL.pack(
            *(b"PK\x01\x02", _UNIX | version, version, *facts, len(far), 0, 0, 0, _RIGHTS, min(at, _MOST))
        )
        self._directory.add(head + name + far)
        self._members += 1

    def pause(self) -> dict[str, Any]:
        """Where both files end."""
        return {"size": self._zip.flush(), "directory": self._directory.flush(), "members": self._members}

    def finish(self) -> None:
        """Append the directory and the record of its place."""
        start, size, members = self._zip.size, self._directory.size, self._members
        self._directory.close()
        self._zip.close()
        with open(self._listed, "rb") as directory, open(self._zip.path, "ab") as end:
            shutil.copyfileobj(directory, end, 2**20)
            if max(start, size) >= _MOST or members >= _MOST_MEMBERS:
                facts = (members, members, size, start)
                end.write(_END_64.pack(b"PK\x06\x06", _END_64.size - 12, _UNIX | _LARGE, _LARGE, 0, 0, *facts))
                end.write(_LOCATOR_64.pack(b"PK\x06\x07", 0, start + size, 1))
            few = min(members, _MOST_MEMBERS)
            end.write(_END.pack(b"PK\x05\x06", 0, 0, few, few, min(size, _MOST), min(start, _MOST), 0))
