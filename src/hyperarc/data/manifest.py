"""The table of faces: one row a face, in one Parquet file.

========== ============ =============================================================================
face       string       key of the face inside its source (the member path), unique there
source     string       short name of the source
person     string       who it is
label      int64        class index, 0 .. people - 1
landmarks  float32 [10] x1 y1 ... x5 y5 in pixels, null when unknown
width      int32        pixels, 0 when unknown
height     int32        pixels, 0 when unknown
color      string       rgb; bgr when red and blue are exchanged in the file, and are put right on reading
keep       bool         False: left out of training
reason     string       why, several joined by `` | ``; empty when kept, but for the note ``renamed: was ann; ...``
========== ============ =============================================================================

A manifest never changes: marking and relabelling return a new one that shares the columns left alone. Faces
of 40 million rows stay Arrow buffers, not Python objects, so worker processes share them without copying.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hyperarc.data.findings import Finding
from hyperarc.data.marks import adding, changed_reasons, taking_back
from hyperarc.data.parquet import SCHEMA, color_column, conform, points_of, read_table, values_of, write_table
from hyperarc.data.row import About, Keys, Row
from hyperarc.errors import DataError

__all__ = ["About", "Keys", "Manifest", "Row", "manifest_of", "read_manifest"]

_MOST_LABEL = 2**31 - 1


class Manifest:
    """The table of faces; see the module for its columns.

    Args:
        table: an Arrow table with all the columns; other string encodings are converted.
        about: name, licence, sources and findings.

    Raises:
        DataError: a column is missing or has another type.

    Example:
        >>> from hyperarc.data.sources import ArraySource
        >>> crops = np.zeros((3, 112, 112, 3), np.uint8)
        >>> manifest = ArraySource(crops, ["ann", "bob", "ann"]).scan()
        >>> manifest.num_people, manifest.labels.tolist(), manifest.class_counts().tolist()
        (2, [0, 1, 0], [2, 1])
    """

    def __init__(self, table: pa.Table, about: About | None = None, *, where: object = None) -> None:
        self.table = conform(table, where=where)
        self.about = about or About()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __repr__(self) -> str:
        kept = int(self.keep.sum())
        return f"Manifest({self.about.name!r}, faces={len(self)}, kept={kept}, people={self.num_people})"

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What making this manifest left out or merged; ``str()`` of each is one line."""
        return self.about.findings

    @property
    def rows(self) -> Iterator[Row]:
        """All rows in order, made one at a time."""
        for batch in self.table.to_batches(max_chunksize=4096):
            points, known = points_of(batch.column("landmarks"))
            columns = {name: values_of(batch.column(name)) for name in Row._fields if name != "landmarks"}
            columns["landmarks"] = [one if there else None for one, there in zip(points, known, strict=True)]
            yield from map(Row._make, zip(*(columns[name] for name in Row._fields), strict=True))

    def row(self, index: int) -> Row:
        """Row ``index``, from 0."""
        return next(self.take(np.array([index])).rows)

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class indices, int64 [rows]."""
        return np.asarray(self.table["label"].to_numpy(), dtype=np.int64)

    @cached_property
    def keep(self) -> npt.NDArray[np.bool_]:
        """Which rows are kept, bool [rows]."""
        return np.asarray(self.table["keep"].to_numpy(), dtype=np.bool_)

    @cached_property
    def people(self) -> tuple[str, ...]:
        """Distinct people, sorted."""
        return tuple(sorted(pc.unique(self.table["person"]).to_pylist()))

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Short names of the sources of these rows, sorted."""
        return tuple(sorted(pc.unique(self.table["source"]).to_pylist()))

    @property
    def num_people(self) -> int:
        """Number of distinct people, counted from the rows."""
        return len(self.people)

    @cached_property
    def landmarks(self) -> npt.NDArray[np.float32]:
        """float32 [rows, 5, 2] in pixels; NaN where unknown."""
        return points_of(self.table["landmarks"].chunk(0))[0]

    @cached_property
    def source_codes(self) -> npt.NDArray[np.int32]:
        """Source of each row, int32 [rows]: an index into the dictionary of the ``source`` column."""
        return np.asarray(self.table["source"].chunk(0).indices.to_numpy(), dtype=np.int32)

    @cached_property
    def swapped(self) -> npt.NDArray[np.bool_]:
        """Whose files have red and blue exchanged, bool [rows]."""
        return np.asarray(pc.equal(self.table["color"].cast(pa.string()), "bgr").to_numpy(), dtype=np.bool_)

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column of numbers as an array, such as ``width``."""
        return np.asarray(self.table[name].to_numpy())

    @cached_property
    def keys(self) -> Keys:
        """Face keys by row, without the rest of the table."""
        return Keys(self.table["face"].chunk(0))

    def faces(self, rows: npt.NDArray[np.integer]) -> list[str]:
        """Keys of the given rows, in their order."""
        return self.keys(rows)

    def class_counts(self) -> npt.NDArray[np.int64]:
        """Faces of each label, int64 [largest label + 1], counted from the rows."""
        self.check_labels(_MOST_LABEL)
        return np.bincount(self.labels).astype(np.int64)

    def check_labels(self, num_classes: int) -> None:
        """Raise :class:`DataError`, naming a face, unless all labels lie in 0 .. num_classes - 1."""
        wrong = np.flatnonzero((self.labels < 0) | (self.labels >= num_classes))
        if wrong.size:
            row = self.row(int(wrong[0]))
            raise DataError(
                f"expected labels 0..{num_classes - 1} of {num_classes} classes, got {row.label} "
                f"for face {row.face!r} of person {row.person!r}, and {wrong.size - 1} more such faces",
                where=self.about.name or row.source,
                mend="relabel the manifest (Manifest.relabelled) or raise the class count",
            )

    def require_people(self, minimum: int = 2) -> None:
        """Raise :class:`DataError` unless the kept rows hold at least ``minimum`` people."""
        people = self.kept().people
        if len(people) < minimum:
            raise DataError(
                f"expected faces of at least {minimum} people, got {', '.join(people) or 'none'}",
                where=self.about.name or None,
                mend="a margin compares people: give one folder per person",
            )

    def take(self, rows: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Manifest:
        """The given rows (indices, or a mask of all rows) as a manifest; labels stay as they are."""
        chosen = np.asarray(rows)
        indices = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        return Manifest(self.table.take(pa.array(indices.astype(np.int64))), self.about)

    def kept(self) -> Manifest:
        """Only the kept rows; labels stay as they are (see :meth:`relabelled`)."""
        return self if bool(self.keep.all()) else self.take(self.keep)

    def mark(self, rows: npt.ArrayLike, reason: str) -> Manifest:
        """Leave rows out: keep False, with the reason added.

        Args:
            rows: row indices, or a mask of all rows.
            reason: ``"kind"`` or ``"kind: detail"``; :meth:`unmark` finds it by either.
        """
        chosen = np.asarray(rows)
        if chosen.dtype != np.bool_:
            mask = np.zeros(len(self), np.bool_)
            mask[chosen.astype(np.int64)] = True
            chosen = mask
        if not reason.strip():
            raise DataError("expected a reason for leaving faces out, got an empty one")
        return self._with_reasons(adding(reason), chosen)

    def unmark(self, reason: str | None = None) -> Manifest:
        """Undo :meth:`mark`: take back one reason (or its kind), or all; rows without reasons are kept."""
        return self._with_reasons(taking_back(reason), ~self.keep)

    def _with_reasons(self, change: Callable[[str], str], rows: npt.NDArray[np.bool_]) -> Manifest:
        reasons, keep = changed_reasons(self.table["reason"].chunk(0), change, rows)
        return self.with_columns(reason=reasons, keep=pa.array(np.where(rows, keep, self.keep), pa.bool_()))

    def recolored(self, rows: npt.NDArray[np.bool_], color: Literal["rgb", "bgr"]) -> Manifest:
        """The rows of the mask said to be written in this color order; see the column ``color``."""
        colors = np.where(rows, color == "bgr", self.swapped)
        return self.with_columns(color=color_column(colors))

    def with_columns(self, **columns: Any) -> Manifest:
        """The same rows with some columns replaced by arrays of the same length."""
        table = self.table
        for name, values in columns.items():
            table = table.set_column(table.schema.get_field_index(name), name, values)
        return Manifest(table, self.about)

    def relabelled(self) -> Manifest:
        """Labels 0 .. people - 1, in sorted order of the people of these rows."""
        column = self.table["person"].chunk(0)
        position = {person: label for label, person in enumerate(self.people)}
        # The dictionary may still hold people whose rows are gone; no row carries their code.
        table = np.array([position.get(p, -1) for p in column.dictionary.to_pylist()], np.int64)
        codes = column.indices.to_numpy(zero_copy_only=False)
        return self.with_columns(label=pa.array(table[codes] if len(self) else np.zeros(0, np.int64)))

    def described(self, **changes: Any) -> Manifest:
        """The same rows with other ``name``, ``licence``, ``sources`` or ``findings``."""
        return Manifest(self.table, replace(self.about, **changes))

    def write(self, path: str | Path) -> None:
        """Write one Parquet file, beside and then renamed: a crash leaves the old file or the new one."""
        write_table(self.table, self.about.encoded(), Path(path))


def read_manifest(path: str | Path) -> Manifest:
    """Read what :meth:`Manifest.write` wrote, or any Parquet file with these columns.

    Args:
        path: Parquet file; it is memory-mapped while it is read.

    Raises:
        DataError: missing or damaged file, or a column missing or of another type, by name.
    """
    table, about = read_table(Path(path))
    try:
        decoded = About.decoded(about)
    except (TypeError, ValueError) as error:
        raise DataError(f"unreadable metadata: {error}", where=path, mend="scan the data again") from error
    return Manifest(table, decoded, where=path)


def manifest_of(
    faces: Sequence[str],
    persons: Sequence[str],
    *,
    source: str,
    about: About | None = None,
    size: tuple[int, int] = (0, 0),
) -> Manifest:
    """A manifest over one source, all rows kept, labelled in sorted person order.

    Args:
        faces, persons: key and person of each row.
        source: short name of the source.
        about: name, licence, sources, findings.
        size: width and height of every face, 0 when unknown.

    Example:
        >>> manifest_of(["a/1.png", "b/1.png"], ["a", "b"], source="drawn").labels.tolist()
        [0, 1]
    """
    count = len(faces)
    table = pa.table(
        {
            "face": pa.array(faces, pa.large_string()),
            "source": pa.array([source], pa.string()).take(pa.array(np.zeros(count, np.int64))),
            "person": pa.array(persons, pa.large_string()),
            "label": pa.array(np.zeros(count, np.int64)),
            "landmarks": pa.nulls(count, SCHEMA.field("landmarks").type),
            "width": pa.array(np.full(count, size[0], np.int32)),
            "height": pa.array(np.full(count, size[1], np.int32)),
            "color": color_column(np.zeros(count, np.bool_)),
            "keep": pa.array(np.ones(count, np.bool_)),
            "reason": pa.array([""], pa.string()).take(pa.array(np.zeros(count, np.int64))),
        }
    )
    return Manifest(table, about).relabelled()
