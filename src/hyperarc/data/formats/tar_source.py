"""Faces in tar files, read in place: shards in the layout of WebDataset, or plain tars of person folders."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pyarrow as pa

from hyperarc.data.findings import finding
from hyperarc.data.formats.byte_file import Bytes, LocalBytes
from hyperarc.data.formats.face_list import listed_manifest
from hyperarc.data.formats.key_table import KeyTable
from hyperarc.data.formats.layout import Place
from hyperarc.data.formats.list_columns import ListColumns
from hyperarc.data.formats.tar_index import INDEX, TarIndex, read_index, shard_numbers, walk_shards
from hyperarc.data.manifest import About, Manifest
from hyperarc.errors import DataError
from hyperarc.faces.image import DEFAULT_LIMITS, ImageLimits, Pixels, decode

ENDING = ".tar"
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 1_000_000
_MOST_OPEN = 128


class TarSource:
    """Tar files of faces: one, a folder of shards, or a pattern such as ``shards-{000000..000009}.tar``.

    Whose a picture ``key.jpg`` is, is said by ``key.json`` (``person``, or ``label``) or ``key.cls`` beside it, else by
    the folder it lies in. The headers are walked through once, here, unless ``index.parquet`` beside several shards
    fits them; a face is then one positioned read. Links, devices and sparse files are skipped, counted and named.

    Args:
        path: as above. A face's key is the name of its member; of several shards the shard's name goes before it.
        name: short name of the source; default the name of the file, folder or pattern.
        limits: of each picture.

    Raises:
        DataError: missing, damaged or compressed files, member names that lead outside, no faces.

    Example:
        >>> import io, tarfile, tempfile
        >>> path = Path(tempfile.mkdtemp()) / "set.tar"
        >>> with tarfile.open(path, "w") as tar:
        ...     for name, data in (("000/0.jpg", b"a picture file"), ("000/0.cls", b"42")):
        ...         member = tarfile.TarInfo(name); member.size = len(data)
        ...         tar.addfile(member, io.BytesIO(data))
        >>> source = TarSource(path)
        >>> source.scan().people, source.read("000/0.jpg")
        (('42',), b'a picture file')
    """

    def __init__(self, path: str | Path, *, name: str | None = None, limits: ImageLimits = DEFAULT_LIMITS) -> None:
        self.path = str(Path(path).absolute())
        self.name = name or _short_name(self.path)
        self.limits = limits
        names = shard_paths(self.path)
        few = len(names) <= _MOST_OPEN
        self._shards: list[Bytes] = [LocalBytes(Path(shard), keep_open=few) for shard in names]
        index = self._index(names)
        self._findings = index.findings
        self._columns = self._listed(index)
        self._table = KeyTable(self._columns.paths)
        self._shard, self._offset, self._size = shard_numbers(index)

    def scan(self) -> Manifest:
        """All faces in the order in which they lie, with findings."""
        about = About(self.name, sources={self.name: self.path})
        manifest = listed_manifest(self._columns, about, self.path)
        return manifest.described(findings=(*self._findings, *manifest.findings))

    def read(self, face: str) -> bytes:
        """The picture file of ``face``; :class:`DataError` when it is unknown or cut off."""
        row = self._table.find(face)
        if row is None:
            raise DataError("no such face in these shards", where=self._where(face), mend="scan them again")
        size = min(int(self._size[row]), self.limits.bytes + 1)  # decode refuses the one byte too many
        data: bytes = self._shards[self._shard[row]].read_at(int(self._offset[row]), size)
        if len(data) < size:
            raise DataError(f"cut off: expected {size} bytes, got {len(data)}", where=self._where(face))
        return data

    def image(self, face: str) -> Pixels:
        """The picture of ``face``: uint8 [H, W, 3], RGB."""
        return decode(self.read(face), where=self._where(face), limits=self.limits)

    def _where(self, face: str) -> Place:
        return Place(self.path, face)

    def _index(self, names: list[str]) -> TarIndex:
        beside = Path(names[0]).parent / INDEX
        several = len(names) > 1 or Path(self.path).is_dir()
        prefixes = [Path(name).stem + "/" if several else "" for name in names]
        sizes = {Path(name).name: shard.size for name, shard in zip(names, self._shards, strict=True)}
        if several and beside.is_file():
            index = read_index(beside, sizes)
            if index is not None:
                return index
            told = finding("indexes beside the shards not used: of other shards", [str(beside)], source=self.name)
            walked = walk_shards(self._shards, prefixes, self.name)
            return walked._replace(findings=(told, *walked.findings))
        return walk_shards(self._shards, prefixes, self.name)

    def _listed(self, index: TarIndex) -> ListColumns:
        columns = {name: index.table[name].combine_chunks() for name in index.table.column_names}
        columns = {n: c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for n, c in columns.items()}
        extra = {name: columns[name] for name in ("landmarks", "color") if name in columns}
        return ListColumns(columns["face"], columns["person"], extra, partial(_row_name, self.path))


def shard_paths(path: str) -> list[str]:
    """The shards that a path stands for: itself, those in a folder in sorted order, or the numbers of a pattern.

    Raises:
        DataError: a pattern that counts down or too far, or a folder without shards.

    Example:
        >>> shard_paths("faces-{08..10}.tar")
        ['faces-08.tar', 'faces-09.tar', 'faces-10.tar']
    """
    braces = _BRACES.search(path)
    if braces:
        first, last = braces.groups()
        if not 0 <= int(last) - int(first) < _MOST_SHARDS or len(last) > 18:
            raise DataError(f"expected at most {_MOST_SHARDS} shards, got {braces[0]}", where=path)
        numbers = (f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1))
        return [path[: braces.start()] + number + path[braces.end() :] for number in numbers]
    if not Path(path).is_dir():
        return [path]
    found = sorted(str(shard) for shard in Path(path).glob(f"*{ENDING}"))
    if not found:
        raise DataError(f"expected {ENDING} files, got none", where=path)
    return found


def is_pattern(path: str) -> bool:
    """Whether a path is a pattern of shards, such as ``faces-{00..10}.tar``."""
    return _BRACES.search(path) is not None


def is_tar(path: Path) -> bool:
    """Whether a file looks like a tar, packed or not: by its ending, or by the mark in its first header."""
    if path.name.endswith((ENDING, ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")):
        return True
    try:
        with open(path, "rb") as file:
            return file.read(512)[257:262] == b"ustar"
    except OSError:
        return False


def _short_name(path: str) -> str:
    plain = _BRACES.sub("", Path(path).name)
    return plain.removesuffix(ENDING).rstrip("-_.") or Path(path).parent.name


def _row_name(path: str, row: int) -> str:
    return f"{path}: face {row + 1}"

