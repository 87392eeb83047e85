"""Writing tar shards of faces in the layout of WebDataset, the same bytes for the same faces.

Each face is two members, ``person/name.jpg`` and ``person/name.json`` with ``label``, ``person``, and landmarks and
color where they are known. Times, owners and rights are always the same.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

from hyperarc.data.formats.byte_file import LocalBytes
from hyperarc.data.formats.face_writer import Packed, Place, ShardLimits
from hyperarc.data.formats.growing_file import GrowingFile
from hyperarc.data.formats.tar_index import INDEX, walk_shards, write_index
from hyperarc.data.formats.tar_members import BLOCK
from hyperarc.data.parquet import COLORS

_RECORD = 20 * BLOCK  # a tar is filled up to a multiple of it
_RIGHTS = 0o644


class TarWriter:
    """Adds faces to ``content``: one tar, or with limits a folder of shards ``000000.tar`` ... and ``index.parquet``.

    Example:
        >>> import tempfile
        >>> from hyperarc.data.row import Row
        >>> folder = Path(tempfile.mkdtemp())
        >>> writer = TarWriter(Place(folder / "set.tar", folder, {}), ShardLimits())
        >>> row = Row("ann/1.jpg", "set", "ann", 0, None, 112, 112, "rgb", True, "")
        >>> writer.add(Packed("ann/1.jpg", b"a picture file", row)); writer.finish()
        >>> tarfile.open(folder / "set.tar").getnames()
        ['ann/1.jpg', 'ann/1.json']
    """

    other_ending: str | None = None
    may_pause = True

    def __init__(self, place: Place, limits: ShardLimits) -> None:
        self._content, self._limits = place.content, limits
        self._number: int = place.state.get("shard", 0)
        self._faces: int = place.state.get("faces", 0)
        self._file = GrowingFile(self._path(), place.state.get("size", 0))

    def add(self, face: Packed) -> None:
        """Append a face; a full shard is closed before."""
        stem = face.name.rpartition(".")[0]
        members = _member(face.name, face.data) + _member(f"{stem}.json", _label(face))
        if self._limits.full(self._faces, self._file.size, len(members) + 2 * BLOCK):
            self._close()
            self._number, self._faces = self._number + 1, 0
            self._file = GrowingFile(self._path())
        self._file.add(members)
        self._faces += 1

    def pause(self) -> dict[str, Any]:
        """Which shard is being written, and where it ends."""
        return {"shard": self._number, "faces": self._faces, "size": self._file.flush()}

    def finish(self) -> None:
        """Close the last shard and write the index."""
        self._close()
        if self._limits:
            shards = [LocalBytes(self._path(n), keep_open=False) for n in range(self._number + 1)]
            index = walk_shards(shards, [shard.path.stem + "/" for shard in shards], "")
            write_index(index, {shard.path.name: shard.size for shard in shards}, self._content / INDEX)

    def _path(self, number: int | None = None) -> Path:
        number = self._number if number is None else number
        return self._content / f"{number:06d}.tar" if self._limits else self._content

    def _close(self) -> None:
        end = self._file.size + 2 * BLOCK
        self._file.add(bytes(2 * BLOCK + -end % _RECORD))
        self._file.close()


def _member(name: str, data: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), _RIGHTS
    return info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % BLOCK)


def _label(face: Packed) -> bytes:
    content: dict[str, Any] = {"label": face.row.label, "person": face.row.person}
    if face.row.landmarks is not None:
        content["landmarks"] = face.row.landmarks.ravel().tolist()
    if face.row.color != COLORS[0]:
        content["color"] = face.row.color
    return json.dumps(content, ensure_ascii=False).encode()
