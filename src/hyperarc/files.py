"""Files that are whole or not there: written beside their place, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hyperarc.errors import HyperArcError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_MANY = 100  # files: beyond, one flush of the whole system costs less than one of each


@contextmanager
def write_beside(path: Path) -> Iterator[Path]:
    """Yield a fresh path beside ``path``; rename it there on success, remove it on failure.

    The yielded path may become a file or a folder; an existing folder at ``path`` is replaced. A full disk becomes a
    :class:`HyperArcError` and leaves what stood at ``path`` untouched.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with write_beside(target) as beside:
        ...     _ = beside.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(beside)
        yield beside
        flush(beside)
        if path.is_dir():
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            _remove(old)
            path.rename(old)
            beside.rename(path)
            _remove(old)
        else:
            os.replace(beside, path)
        flush_folder(path.parent)
    except OSError as error:
        _remove(beside)
        mend = "free some space; nothing was half-written" if error.errno in _FULL else None
        raise HyperArcError(f"could not be written: {why_unwritten(error)}", where=path, mend=mend) from error
    except BaseException:
        _remove(beside)
        raise


def require_absent(path: Path) -> None:
    """Raise :class:`HyperArcError` where something stands already, be it a link to nothing.

    Example:
        >>> require_absent(Path("nowhere/faces.zip"))
    """
    if os.path.lexists(path):
        mend = "remove it or name another place"
        raise HyperArcError("refused to overwrite what stands there", where=path, mend=mend)


def why_unwritten(error: OSError) -> str:
    """Why the system refused to write, in words."""
    return "the disk is full" if error.errno in _FULL else (error.strerror or str(error))


def stamp(descriptor: int) -> tuple[int, int]:
    """Size and time of change of an open file: whoever opens it again can tell whether it is still the same."""
    state = os.fstat(descriptor)
    return state.st_size, state.st_mtime_ns


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def flush_folder(folder: Path) -> None:
    """Make a rename in it reach the disk, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def flush(path: Path) -> None:
    """Make a file, or all files of a folder, reach the disk."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    if len(files) > _MANY and hasattr(os, "sync"):
        os.sync()
        return
    for file in files:
        with open(file, "rb+") as handle:
            os.fsync(handle.fileno())
