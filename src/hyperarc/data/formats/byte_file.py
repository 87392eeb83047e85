"""Bytes of a file by position: read in any number of threads and processes, and noticed when they change."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from hyperarc.errors import DataError
from hyperarc.files import stamp

# Leaves the position in the file alone, so that threads and forked processes may share it; not everywhere there.
_PREAD: Callable[[int, int, int], bytes] | None = getattr(os, "pread", None)


class Bytes(Protocol):
    """A file, here or elsewhere, that is read by position.

    Attributes:
        size: in bytes, as it was when it was first looked at.
        where: what to call it in errors.
    """

    @property
    def size(self) -> int: ...

    @property
    def where(self) -> str: ...

    def read_at(self, offset: int, count: int) -> bytes:
        """The bytes from ``offset`` on, fewer than ``count`` at the end."""


class LocalBytes:
    """A file on this machine, opened when it is first read, and again in each process.

    Unlike a memory map it never ends the process when the file is cut off meanwhile: less is read, and the reader says
    so.

    Args:
        path: the file.
        keep_open: False opens it for every read, for those who have more files than a process may keep open.

    Raises:
        DataError: missing, or changed since this object was made.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "digits"
        >>> _ = path.write_bytes(b"0123456789")
        >>> LocalBytes(path).read_at(8, 4)
        b'89'
    """

    def __init__(self, path: Path, *, keep_open: bool = True) -> None:
        self.path = path
        self.keep_open = keep_open
        self._lock = threading.Lock()
        self._file: Any = None
        self._stamp: tuple[int, int] | None = None
        self._open().close()

    @property
    def size(self) -> int:
        """In bytes."""
        return self._stamp[0] if self._stamp else 0

    @property
    def where(self) -> str:
        """The path."""
        return str(self.path)

    def read_at(self, offset: int, count: int) -> bytes:
        """The bytes from ``offset`` on, fewer than ``count`` at the end."""
        try:
            if self._file is not None and _PREAD is not None:
                return _PREAD(self._file.fileno(), count, offset)
            with self._lock:
                file = self._file or self._open()
                file.seek(offset)
                data: bytes = file.read(count)
                self._file = file if self.keep_open else file.close()
                return data
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=self.path) from error

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_file": None, "_lock": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def _open(self) -> Any:
        try:
            file = open(self.path, "rb", buffering=0)  # noqa: SIM115 (lives as long as this object)
        except OSError as error:
            raise DataError(f"cannot be opened: {error.strerror}", where=self.path) from error
        seen = stamp(file.fileno())
        if self._stamp not in (None, seen):
            file.close()
            raise DataError("changed since it was scanned", where=self.path, mend="start again")
        self._stamp = seen
        return file
