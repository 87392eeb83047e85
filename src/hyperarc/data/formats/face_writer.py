"""What every writer of packed faces does: add faces one by one, pause where it could be killed, finish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from hyperarc.data.row import Row
from hyperarc.errors import UsageError


class Packed(NamedTuple):
    """A face on its way into a file: its name ``person/name.ext``, the picture file, its row in the manifest."""

    name: str
    data: bytes
    row: Row


@dataclass(frozen=True)
class Place:
    """Where a writer works.

    Attributes:
        content: the file or folder to make.
        scratch: folder for what is needed on the way; it is gone in the end.
        state: what :meth:`FaceWriter.pause` gave before a kill, empty at first.
    """

    content: Path
    scratch: Path
    state: Mapping[str, Any]


class FaceWriter(Protocol):
    """Writes faces in the order in which they are added; the same faces give the same bytes, pauses or not.

    Attributes:
        other_ending: ending of files that are no picture of a known kind, None where they cannot be written.
    """

    other_ending: str | None

    def add(self, face: Packed) -> None:
        """Append a face."""

    @property
    def may_pause(self) -> bool:
        """Whether all faces added so far can be kept."""

    def pause(self) -> dict[str, Any]:
        """Hand all that was added to the system; what to go on from, as plain JSON types."""

    def finish(self) -> None:
        """Complete and close the file or folder."""


@dataclass(frozen=True)
class ShardLimits:
    """When a shard is full: at so many faces, or so many bytes. None of both: there is one file."""

    faces: int | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        if any(limit is not None and limit < 1 for limit in (self.faces, self.bytes)):
            raise UsageError(f"expected shards of at least one face and one byte, got {self.faces} and {self.bytes}")

    def __bool__(self) -> bool:
        return self.faces is not None or self.bytes is not None

    def full(self, faces: int, size: int, more: int) -> bool:
        """Whether a shard of so many faces and bytes has no room for ``more`` bytes; an empty one always has.

        Example:
            >>> limits = ShardLimits(faces=2, bytes=100)
            >>> limits.full(2, 10, 10), limits.full(1, 95, 10), limits.full(0, 0, 1000)
            (True, True, False)
        """
        by_count = self.faces is not None and faces >= self.faces
        by_size = self.bytes is not None and size + more > self.bytes
        return faces > 0 and (by_count or by_size)
