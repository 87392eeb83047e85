"""Writing ``train.rec``, ``train.idx`` and ``property`` as InsightFace's tools do; pictures are copied, not encoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from hyperarc.data.face_set import FaceReader
from hyperarc.data.formats.layout import leads_outside
from hyperarc.data.formats.recordio import chunks, packed
from hyperarc.data.formats.records import EXACT
from hyperarc.data.manifest import Manifest
from hyperarc.data.sources import Source
from hyperarc.data.verification import Progress
from hyperarc.errors import DataError
from hyperarc.files import write_beside

_TOLD_EVERY = 256


class RecordWriter:
    """Appends records to a new ``train.rec``, and their places to ``train.idx``.

    Args:
        folder: where the two files are made; what stands there is overwritten.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with RecordWriter(folder) as writer:
        ...     writer.add(1, 0.0, b"a picture file")
        ...     writer.add(0, (2.0, 2.0), b"", id2=1)
        >>> (folder / "train.idx").read_text()
        '1\\t0\\n0\\t48\\n'
    """

    def __init__(self, folder: Path) -> None:
        self._records = open(folder / "train.rec", "wb")  # noqa: SIM115 (closed by __exit__)
        self._index = open(folder / "train.idx", "w", encoding="ascii", newline="")  # noqa: SIM115

    def add(self, key: int, label: float | Sequence[float], payload: bytes, *, id2: int = 0) -> None:
        """Append one record; a sequence becomes a label vector. :class:`DataError` when it is too long."""
        self._index.write(f"{key}\t{self._records.tell()}\n")
        self._records.write(chunks(packed(label, key, payload, id2=id2)))

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._records.close()
        self._index.close()


def write_records(
    sources: Source | Sequence[Source],
    manifest: Manifest,
    folder: Path,
    *,
    size: tuple[int, int],
    flat: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write the kept faces of a manifest as a folder with train.rec, train.idx, property and people.txt.

    People become classes in sorted order; people.txt holds their names, one a line. The folder appears when it is
    complete.

    Args:
        sources: that hold the faces of the manifest.
        manifest: rows left out are not written.
        folder: that is made.
        size: width and height of the pictures in pixels, for ``property``.
        flat: every record a face, keys from 0 on, as readers of the DALI kind want it. Otherwise grouped by person,
            with records that say so, as InsightFace's own sets.
        progress: called now and then with (faces done, faces in all).

    Raises:
        DataError: something stands at ``folder``, a face cannot be read, there are more people (grouped: records)
            than float32 can count (2^24), or a name holds a line break or
            would lead out of a folder.
    """
    if folder.exists():
        raise DataError("refused to overwrite what stands there", where=folder, mend="remove it or name another place")
    kept = manifest.kept().relabelled()
    reader, people = FaceReader(sources, kept), kept.people
    counted = len(people) if flat else len(people) + len(kept) + 1
    if counted > EXACT:
        what = "people" if flat else "faces and people"
        mend = "split it" if flat else "split it, or write it flat"
        raise DataError(f"a .rec counts up to {EXACT} {what}, got {counted}", where=folder, mend=mend)
    odd = [person for person in people if "\n" in person or leads_outside(person)]
    if odd:
        raise DataError(f"expected names of folders, got {odd[0]!r}", where=manifest.about.name, mend="rename it")
    order = np.argsort(kept.labels, kind="stable")
    first = 0 if flat else 1
    with write_beside(folder) as beside:
        beside.mkdir()
        with RecordWriter(beside) as writer:
            for start in range(0, len(order), _TOLD_EVERY):
                rows = order[start : start + _TOLD_EVERY]
                for key, row in enumerate(rows.tolist(), start=first + start):
                    writer.add(key, float(kept.labels[row]), reader.read(row))
                if progress:
                    progress(start + len(rows), len(order))
            if not flat:
                _add_groups(writer, np.bincount(kept.labels))
        (beside / "property").write_text(f"{len(people)},{size[1]},{size[0]}\n", encoding="ascii")
        (beside / "people.txt").write_text("".join(f"{p}\n" for p in people), encoding="utf-8", newline="")


def _add_groups(writer: RecordWriter, counts: npt.NDArray[np.int64]) -> None:
    """A record for each person with the range of the person's records, and the one that says where they begin."""
    ends = 1 + np.cumsum(counts)
    after_faces = int(ends[-1])
    for person, (count, end) in enumerate(zip(counts.tolist(), ends.tolist(), strict=True)):
        writer.add(after_faces + person, (float(end - count), float(end)), b"")
    writer.add(0, (float(after_faces), float(after_faces + len(counts))), b"", id2=1)
