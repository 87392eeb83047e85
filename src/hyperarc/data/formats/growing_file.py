"""A file that is only added to, and that goes on where it was known to be whole."""

from __future__ import annotations

import os
from pathlib import Path

_BUFFER = 2**20


class GrowingFile:
    """Opened for adding behind its first ``size`` bytes; whatever stood beyond them is cut off.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "log"
        >>> _ = path.write_bytes(b"whole, half")
        >>> file = GrowingFile(path, 6)
        >>> file.add(b" again"); file.close(); path.read_bytes()
        b'whole, again'
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if size == 0:
            path.write_bytes(b"")
        os.truncate(path, size)
        self._file = open(path, "ab", buffering=_BUFFER)  # noqa: SIM115 (closed by close)
        self.path = path
        self.size = size

    def add(self, data: bytes) -> None:
        """Append."""
        self._file.write(data)
        self.size += len(data)

    def flush(self) -> int:
        """Hand everything to the system, so that a kill of this process takes nothing back; the size."""
        self._file.flush()
        return self.size

    def close(self) -> None:
        """No more is added."""
        self._file.close()
