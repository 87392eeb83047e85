"""Long work that survives being stopped at any time: it goes on where it was, and ends with the same bytes.

What is being made for ``TARGET`` stands in the hidden folder ``.TARGET.unfinished`` beside it, together with the plan
it follows. Whoever starts the same work again finds the finished parts there. When all is done the content is renamed
to ``TARGET``, so that nobody ever sees half of it under its name.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hyperarc.errors import HyperArcError
from hyperarc.files import flush, flush_folder, require_absent, why_unwritten, write_beside

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_PLAN, _LOCK, _CONTENT, _PARTS = "plan.json", "lock", "content", "parts"


class Unfinished:
    """The work folder of one target; made by :func:`continue_work`.

    Attributes:
        content: where to make the file or folder that becomes the target.
        resumed: whether parts of an earlier start were found.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.content = folder / _CONTENT
        self._parts = folder / _PARTS
        self._parts.mkdir(exist_ok=True)
        self.resumed = self.begun

    @property
    def begun(self) -> bool:
        """Whether there are parts or content."""
        return self.content.exists() or any(self._parts.iterdir())

    def part(self, name: str) -> Path:
        """The path of a part; a part that exists is whole."""
        return self._parts / name

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a path to write a part to; it gets its name when the block ends well.

        What stands in ``content`` by then reaches the disk first: a part vouches for it.
        """
        if hasattr(os, "sync"):
            os.sync()
        with write_beside(self.part(name)) as beside:
            yield beside


@contextmanager
def continue_work(target: Path, plan: Mapping[str, Any]) -> Iterator[Unfinished]:
    """Begin the work for ``target``, or go on with it; when the block ends well, the content becomes the target.

    When the block fails or the process is killed, the work folder stays for the next start.

    Args:
        target: file or folder that must not exist yet.
        plan: plain values on which the result depends: inputs and options. Parts made after another plan, or by another
            version of HyperArc, are not used.

    Raises:
        HyperArcError: the target exists, the parts belong to another plan, another process is at it, or it cannot be
            written.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "squares.txt"
        >>> with continue_work(target, {"upto": 3}) as work:
        ...     _ = work.content.write_text("0 1 4")
        >>> target.read_text()
        '0 1 4'
    """
    target = Path(target)
    require_absent(target)
    folder = target.with_name(f".{target.name}.unfinished")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder, target):
            require_absent(target)  # another process may have finished it just now
            _require_same_plan(folder, target, {**plan, "hyperarc": version("hyperarc")})
            work = Unfinished(folder)
            try:
                yield work
            except BaseException:
                if not work.begun:  # nothing worth going on from
                    shutil.rmtree(folder, ignore_errors=True)
                raise
            flush(work.content)
            os.replace(work.content, target)
            flush_folder(target.parent)
        shutil.rmtree(folder, ignore_errors=True)  # Windows removes no file that is open, as the lock was
    except OSError as error:
        raise HyperArcError(
            f"could not be written: {why_unwritten(error)}", where=target, mend="start again; finished parts are kept"
        ) from error


def _require_same_plan(folder: Path, target: Path, plan: Mapping[str, Any]) -> None:
    path, text = folder / _PLAN, json.dumps(plan, indent=1, sort_keys=True, default=str) + "\n"
    if not path.exists():
        with write_beside(path) as beside:
            beside.write_text(text, encoding="utf-8")
        return
    before = path.read_text(encoding="utf-8", errors="replace")
    if before != text:
        raise HyperArcError(
            f"unfinished work on it was begun otherwise: {difference(before, text)}",
            where=target,
            mend=f"start it as before, or remove {folder} to begin anew",
        )


def difference(before: str, now: str) -> str:
    """What two plans, as JSON, differ in, in words; at most three of the values.

    Example:
        >>> difference('{"seed": 0}', '{"seed": 1}')
        'seed was 0, is 1'
    """
    try:
        old, new = _flat(json.loads(before)), _flat(json.loads(now))
        both = sorted({*old} & {*new})  # first what was changed, then what only one of them knows
        keys = [key for key in (*both, *sorted({*old} ^ {*new})) if old.get(key) != new.get(key)]
        return ", ".join(f"{key} was {old.get(key)}, is {new.get(key)}" for key in keys[:3])
    except (ValueError, AttributeError, TypeError):
        return "its plan cannot be read"


def _flat(plan: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"cutting": {"size": 112}}`` as ``{"cutting.size": 112}``."""
    flat: dict[str, Any] = {}
    for key, value in plan.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


@contextmanager
def _locked(folder: Path, target: Path) -> Iterator[None]:
    """One process at a time, where the system has locks on files; a process that is killed leaves none behind."""
    with open(folder / _LOCK, "w") as lock:
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            busy = "another process is at work on it"
            raise HyperArcError(busy, where=target, mend="wait for it or stop it") from None
        yield
