"""Writing ``train.rec``, ``train.idx`` and ``property`` as InsightFace's tools do; pictures are copied, not encoded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.data.formats.face_writer import Packed, Place
from hyperarc.data.formats.growing_file import GrowingFile
from hyperarc.data.formats.recordio import chunks, packed
from hyperarc.data.formats.records import EXACT
from hyperarc.data.manifest import Manifest
from hyperarc.errors import DataError


class RecordWriter:
    """Appends records to a new ``train.rec``, and their places to ``train.idx``.

    Args:
        folder: where the two files are made.
        sizes: bytes of both that stay, from an earlier start; what stands beyond is overwritten.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with RecordWriter(folder) as writer:
        ...     writer.add(1, 0.0, b"a picture file")
        ...     writer.add(0, (2.0, 2.0), b"", id2=1)
        >>> (folder / "train.idx").read_text()
        '1\\t0\\n0\\t48\\n'
    """

    def __init__(self, folder: Path, sizes: tuple[int, int] = (0, 0)) -> None:
        self._records = GrowingFile(folder / "train.rec", sizes[0])
        self._index = GrowingFile(folder / "train.idx", sizes[1])

    def add(self, key: int, label: float | Sequence[float], payload: bytes, *, id2: int = 0) -> None:
        """Append one record; a sequence becomes a label vector. :class:`DataError` when it is too long."""
        record = chunks(packed(label, key, payload, id2=id2))
        self._index.add(f"{key}\t{self._records.size}\n".encode())
        self._records.add(record)

    def flush(self) -> tuple[int, int]:
        """Hand everything to the system; how long both files are."""
        return self._records.flush(), self._index.flush()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._records.close()
        self._index.close()


class RecordSetWriter:
    """Adds faces to the folder ``content``: train.rec, train.idx, property and people.txt, as InsightFace's sets are.

    People are classes in the order of their labels; people.txt holds their names, one a line.

    Args:
        place: where.
        kept: the faces that are added, all of them.
        size: width and height of the pictures in pixels, for ``property``.
        flat: every record a face, keys from 0 on, as readers of the DALI kind want it. Otherwise grouped by person,
            with records that say so, as InsightFace's own sets; faces must come in the order of their labels then.
    """

    other_ending: str | None = ""  # records have no names
    may_pause = True

    def __init__(self, place: Place, kept: Manifest, size: tuple[int, int], *, flat: bool) -> None:
        self._folder, self._kept, self._size, self._flat = place.content, kept, size, flat
        self._folder.mkdir(exist_ok=True)
        self._faces: int = place.state.get("faces", 0)
        self._writer = RecordWriter(self._folder, (place.state.get("records", 0), place.state.get("index", 0)))

    def add(self, face: Packed) -> None:
        """Append a face."""
        self._writer.add(self._faces if self._flat else self._faces + 1, float(face.row.label), face.data)
        self._faces += 1

    def pause(self) -> dict[str, Any]:
        """Where both files end."""
        records, index = self._writer.flush()
        return {"records": records, "index": index, "faces": self._faces}

    def finish(self) -> None:
        """Append the records of people, and write the small files."""
        with self._writer:
            if not self._flat:
                _add_groups(self._writer, np.bincount(self._kept.labels))
        people, (width, height) = self._kept.people, self._size
        (self._folder / "property").write_text(f"{len(people)},{height},{width}\n", encoding="ascii")
        names = "".join(f"{person}\n" for person in people)
        (self._folder / "people.txt").write_text(names, encoding="utf-8", newline="")


def require_countable(faces: int, people: int, *, flat: bool, where: object) -> None:
    """Raise :class:`DataError` unless float32, in which a ``.rec`` counts, can count them."""
    counted = people if flat else people + faces + 1
    if counted > EXACT:
        what = "people" if flat else "faces and people"
        mend = "split it" if flat else "split it, or write it flat"
        raise DataError(f"a .rec counts up to {EXACT} {what}, got {counted}", where=where, mend=mend)


def _add_groups(writer: RecordWriter, counts: npt.NDArray[np.int64]) -> None:
    """A record for each person with the range of the person's records, and the one that says where they begin."""
    ends = 1 + np.cumsum(counts)
    after_faces = int(ends[-1])
    for person, (count, end) in enumerate(zip(counts.tolist(), ends.tolist(), strict=True)):
        writer.add(after_faces + person, (float(end - count), float(end)), b"")
    writer.add(0, (float(after_faces), float(after_faces + len(counts))), b"", id2=1)
