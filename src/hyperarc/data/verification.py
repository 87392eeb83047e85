"""Reading every face once before training, so that training meets no surprise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from hyperarc.data.findings import Finding, finding
from hyperarc.data.manifest import Manifest
from hyperarc.data.sources import Source
from hyperarc.errors import DataError

Progress = Callable[[int, int], None]
UNREADABLE = "unreadable"
WRONG_SIZE = "wrong size"
_CHUNK = 256


def sources_by_name(sources: Source | Sequence[Source], manifest: Manifest) -> list[Source]:
    """The sources in the order of the manifest's source codes (its ``source`` dictionary).

    Raises:
        DataError: two sources of one name, or a source of the manifest is not among them.
    """
    given = [sources] if isinstance(sources, Source) else list(sources)
    known = {source.name: source for source in given}
    if len(known) != len(given):
        raise DataError(f"expected sources of different names, got {sorted(s.name for s in given)}")
    missing = [name for name in manifest.sources if name not in known]
    if missing:
        raise DataError(
            f"the manifest holds faces of source {missing[0]!r}, given were only {', '.join(sorted(known))}",
            mend=f"open it with name={missing[0]!r}",
        )
    # A name in the dictionary that no row uses any more needs no source; any one stands in for it.
    dictionary = manifest.table["source"].chunk(0).dictionary.to_pylist()
    return [known.get(name, given[0]) for name in dictionary]


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
        "2 faces of the wrong size left out: 'array: a/0000000', 'array: b/0000001'"
    """
    by_code = sources_by_name(sources, manifest)
    codes = manifest.source_codes
    rows = np.flatnonzero(manifest.keep)
    size_of = {"width": manifest.column("width").copy(), "height": manifest.column("height").copy()}
    bad: dict[str, list[int]] = {}
    bad_names: dict[str, list[str]] = {UNREADABLE: [], WRONG_SIZE: []}

    def look(item: tuple[int, str]) -> tuple[int, str, str, tuple[int, int]]:
        row, face = item
        reason, pixels = _verdict(by_code[codes[row]], face, size)
        return row, face, reason, pixels

    with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            for row, face, reason, (width, height) in pool.map(
                look, zip(part.tolist(), manifest.faces(part), strict=True)
            ):
                size_of["width"][row], size_of["height"][row] = width, height
                if reason:
                    bad.setdefault(reason, []).append(row)
                    bad_names[reason.split(":")[0]].append(f"{by_code[codes[row]].name}: {face}")
            if progress:
                progress(min(start + _CHUNK, len(rows)), len(rows))
    verified = manifest.with_columns(**{name: pa.array(values) for name, values in size_of.items()})
    for reason, which in bad.items():
        verified = verified.mark(which, reason)
    return verified.described(findings=(*manifest.findings, *_findings(bad_names)))


def _findings(names: dict[str, list[str]]) -> list[Finding]:
    kinds = ((UNREADABLE, "unreadable faces left out"), (WRONG_SIZE, "faces of the wrong size left out"))
    return [finding(what, names[kind]) for kind, what in kinds if names[kind]]


def _verdict(source: Source, face: str, size: int | None) -> tuple[str, tuple[int, int]]:
    """Why the face is bad (empty when it is good), and its width and height (0 when unreadable)."""
    try:
        height, width = source.image(face).shape[:2]
    except DataError as error:
        return f"{UNREADABLE}: {error}", (0, 0)
    if size is not None and (height, width) != (size, size):
        return f"{WRONG_SIZE}: {width}x{height} instead of {size}x{size}", (width, height)
    return "", (width, height)
