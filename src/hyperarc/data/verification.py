"""Reading every face once before training, so that training meets no surprise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from hyperarc.data.face_set import FaceReader
from hyperarc.data.findings import Finding, finding
from hyperarc.data.manifest import Manifest
from hyperarc.data.marks import kind_of
from hyperarc.data.sources import Source
from hyperarc.errors import DataError

Progress = Callable[[int, int], None]
UNREADABLE = "unreadable"
WRONG_SIZE = "wrong size"
_CHUNK = 256


def verify_faces(
    sources: Source | Sequence[Source],
    manifest: Manifest,
    *,
    size: int | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> Manifest:
    """Decode every kept face; mark those that cannot be, and note the size of those that can.

    Args:
        sources: that hold the faces of the manifest.
        manifest: what to verify; rows already left out are not read.
        size: when given, faces of another size than size x size are marked too.
        threads: that decode at a time (decoders run outside Python's lock for most of their time).
        progress: called now and then with (faces done, faces in all).

    Returns:
        The manifest with ``keep=False`` and reason ``"unreadable: ..."`` or ``"wrong size: ..."`` on bad
        rows, ``width`` and ``height`` filled in, and a finding for each kind; ``unmark("unreadable")`` takes
        it back.

    Example:
        >>> from hyperarc.data.sources import ArraySource
        >>> source = ArraySource(np.zeros((2, 96, 96, 3), np.uint8), ["a", "b"])
        >>> str(verify_faces(source, source.scan(), size=112).findings[0])
        "2 faces of the wrong size left out: 'array:a/0000000', 'array:b/0000001'"
    """
    reader = FaceReader(sources, manifest)
    rows = np.flatnonzero(manifest.keep)
    size_of = {"width": manifest.column("width").copy(), "height": manifest.column("height").copy()}
    bad: dict[str, list[int]] = {}
    bad_names: dict[str, list[str]] = {UNREADABLE: [], WRONG_SIZE: []}

    def look(row: int) -> tuple[int, str, tuple[int, int]]:
        return row, *_verdict(reader, row, size)

    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            for row, reason, (width, height) in pool.map(look, part.tolist()):
                size_of["width"][row], size_of["height"][row] = width, height
                if reason:
                    bad.setdefault(reason, []).append(row)
                    bad_names[kind_of(reason)].append(reader.where(row))
            if progress:
                progress(min(start + _CHUNK, len(rows)), len(rows))
    verified = manifest.with_columns(**{name: pa.array(values) for name, values in size_of.items()})
    for reason, which in bad.items():
        verified = verified.mark(which, reason)
    return verified.described(findings=(*manifest.findings, *_findings(bad_names)))


def _findings(names: dict[str, list[str]]) -> list[Finding]:
    kinds = ((UNREADABLE, "unreadable faces left out"), (WRONG_SIZE, "faces of the wrong size left out"))
    return [finding(what, names[kind]) for kind, what in kinds if names[kind]]


def _verdict(reader: FaceReader, row: int, size: int | None) -> tuple[str, tuple[int, int]]:
    """Why the face is bad (empty when it is good), and its width and height (0 when unreadable)."""
    try:
        height, width = reader.image(row).shape[:2]
    except DataError as error:
        return f"{UNREADABLE}: {error}", (0, 0)
    if size is not None and (height, width) != (size, size):
        return f"{WRONG_SIZE}: {width}x{height} instead of {size}x{size}", (width, height)
    return "", (width, height)
