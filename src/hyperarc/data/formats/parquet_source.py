"""Faces inside Parquet files, in the layout of Hugging Face's data sets, read by row group."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hyperarc.data.formats.face_list import OUTSIDE, listed_manifest, person_names
from hyperarc.data.formats.key_table import KeyTable
from hyperarc.data.formats.layout import Place
from hyperarc.data.formats.list_columns import ListColumns, whole
from hyperarc.data.formats.parquet_file import open_parquet, picture_column, picture_leaf, read_columns, reading
from hyperarc.data.manifest import About, Manifest
from hyperarc.errors import DataError
from hyperarc.faces.image import DEFAULT_LIMITS, ImageLimits, Pixels, decode
from hyperarc.files import stamp

ENDING = ".parquet"
_DIGITS = 8
_GROUP_LIMIT = 2**30  # bytes of pictures in a row group
_CACHE = 2**28  # bytes of row groups kept


class ParquetSource:
    """A Parquet file, or a folder of them, with picture files inside and a column of people.

    Pictures are a column of bytes, or a struct of ``bytes`` and ``path`` as Hugging Face's data sets have it; people
    are texts, or numbers that the file may give names. A face's key is its path where the file has them and all
    differ, else its person and row. A row group is read as a whole; the latest ones are kept, up to 256 MiB. Reading in
    the order of the rows is cheap therefore, and in random order dear, the more so the larger the row groups.

    Args:
        path: the file, or a folder with ``.parquet`` files alone, taken in sorted order.
        name: short name of the source; default the name of the file or folder.
        limits: of each picture.

    Raises:
        DataError: missing or damaged, no column of pictures or of people, a row group larger than 1 GiB.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "faces.parquet"
        >>> pq.write_table(pa.table({"image": [b"a picture file"], "label": [7]}), path)
        >>> source = ParquetSource(path)
        >>> source.scan().row(0).face, source.read("7/00000000")
        ('7/00000000', b'a picture file')
    """

    def __init__(self, path: str | Path, *, name: str | None = None, limits: ImageLimits = DEFAULT_LIMITS) -> None:
        self.path = Path(path).absolute()
        self.name = name or self.path.stem
        self.limits = limits
        self._paths = sorted(self.path.glob(f"*{ENDING}")) if self.path.is_dir() else [self.path]
        if not self._paths:
            raise DataError(f"expected {ENDING} files, got none", where=self.path)
        self._lock = threading.Lock()
        self._files: dict[int, pq.ParquetFile] = {}
        self._groups: OrderedDict[int, pa.Array] = OrderedDict()
        self._stamps: list[tuple[int, int]] = []
        self._leaves: list[str] = []
        self._ends: npt.NDArray[np.int64] = np.zeros(0, np.int64)  # row after the last one of each row group
        self._file_of: list[tuple[int, int]] = []  # file and number of each row group in it
        columns = [self._read_file(number, file) for number, file in enumerate(self._paths)]
        ends = np.cumsum([len(part.paths) for part in columns])
        self._columns = _keyed(columns)._replace(row_name=partial(_row_name, self._paths, ends.tolist()))
        self._table = KeyTable(self._columns.paths)

    def scan(self) -> Manifest:
        """All rows in their order, with findings."""
        about = About(self.name, sources={self.name: str(self.path)})
        return listed_manifest(self._columns, about, self.path)

    def read(self, face: str) -> bytes:
        """The picture file of ``face``; :class:`DataError` when it is unknown, absent or damaged."""
        row = self._table.find(face)
        if row is None:
            raise DataError("no such face in this file", where=self._where(face), mend="scan it again")
        group = int(np.searchsorted(self._ends, row, side="right"))
        with self._lock:
            pictures = self._pictures(group)
        first = self._ends[group - 1] if group else 0
        data: bytes | None = pictures[row - int(first)].as_py()
        if data is None:
            raise DataError("its row holds no picture, only its path perhaps", where=self._where(face))
        return data

    def image(self, face: str) -> Pixels:
        """The picture of ``face``: uint8 [H, W, 3], RGB."""
        return decode(self.read(face), where=self._where(face), limits=self.limits)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_lock": None, "_files": {}, "_groups": OrderedDict()}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def places(self, faces: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The file of each face, and its row."""
        rows = self._table.rows(faces)
        numbers = np.array([number for number, _ in self._file_of], np.int64)
        return numbers[np.searchsorted(self._ends, rows, side="right")], rows

    def _where(self, face: str) -> Place:
        return Place(self.path, face)

    def _read_file(self, number: int, path: Path) -> ListColumns:
        with open_parquet(path) as file:
            schema = file.schema_arrow
            column = picture_column(schema)
            if column is None:
                raise DataError(f"expected a column of pictures, got {', '.join(schema.names)[:200]}", where=path)
            self._stamps.append(_stamp(path))
            self._leaves.append(picture_leaf(schema, column))
            with reading(path):
                sizes = [_group_size(file.metadata.row_group(i), self._leaves[-1]) for i in range(file.num_row_groups)]
                counts = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            if max(sizes, default=0) > _GROUP_LIMIT:
                raise DataError(
                    f"expected row groups of at most {_GROUP_LIMIT} bytes, got {max(sizes)}",
                    where=path,
                    mend="write it again with smaller row groups",
                )
            first = int(self._ends[-1]) if len(self._ends) else 0
            self._ends = np.concatenate([self._ends, first + np.cumsum(np.array(counts, np.int64))])
            self._file_of += [(number, i) for i in range(len(counts))]
            paths = self._leaves[-1].removesuffix("bytes") + "path" if self._leaves[-1] != column else None
            has_paths = paths is not None and schema.field(column).type.get_field_index("path") >= 0
            columns = read_columns(file, path, paths if has_paths else None)
        return columns._replace(persons=person_names(columns.persons, columns.row_name))

    def _pictures(self, group: int) -> pa.Array:
        """The pictures of a row group; the latest are kept, so that a row's neighbors cost nothing."""
        if group not in self._groups:
            number, inside = self._file_of[group]
            path = self._paths[number]
            if number not in self._files:
                if _stamp(path) != self._stamps[number]:
                    raise DataError("the file changed since it was scanned", where=path, mend="start again")
                self._files[number] = open_parquet(path)
            with reading(path):
                table = self._files[number].read_row_group(inside, columns=[self._leaves[number]], use_threads=False)
                column = whole(table.column(0))
            if len(column) != self._ends[group] - (self._ends[group - 1] if group else 0):
                raise DataError("unreadable Parquet file: a row group is cut short", where=path, mend="copy it again")
            self._groups[group] = column.field(0) if pa.types.is_struct(column.type) else column
            while len(self._groups) > 1 and sum(kept.nbytes for kept in self._groups.values()) > _CACHE:
                self._groups.popitem(last=False)
        self._groups.move_to_end(group)
        return self._groups[group]


def _keyed(parts: list[ListColumns]) -> ListColumns:
    """All files as one, with a key for every row."""
    paths = pa.concat_arrays([part.paths for part in parts])
    persons = pa.concat_arrays([part.persons for part in parts])
    extra = {
        name: pa.concat_arrays([part.extra[name] for part in parts])
        for name in parts[0].extra
        if all(name in part.extra for part in parts)
    }
    outside = pc.any(pc.match_substring_regex(pc.fill_null(paths, ""), OUTSIDE)).as_py()
    if outside or len(pc.unique(paths)) < len(paths):
        numbers = pc.utf8_lpad(pa.array(np.arange(len(paths))).cast(pa.large_string()), _DIGITS, "0")
        paths = pc.binary_join_element_wise(persons, numbers, pa.scalar("/", pa.large_string()))
    return ListColumns(paths, persons, extra, parts[0].row_name)


def _row_name(paths: list[Path], ends: list[int], row: int) -> str:
    number = bisect_right(ends, row)
    return f"{paths[number]}: row {row + 1 - (ends[number - 1] if number else 0)}"


def _group_size(group: pq.RowGroupMetaData, leaf: str) -> int:
    sizes = (group.column(i) for i in range(group.num_columns))
    return sum(column.total_uncompressed_size for column in sizes if column.path_in_schema == leaf)


def _stamp(path: Path) -> tuple[int, int]:
    with open(path, "rb") as file:
        return stamp(file.fileno())
