"""Faces in tar files, read in place: shards in the layout of WebDataset, or plain tars of person folders."""

from __future__ import annotations

import posixpath
import re
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hyperarc.data.findings import finding
from hyperarc.data.formats.byte_file import Bytes, LocalBytes
from hyperarc.data.formats.face_list import listed_manifest
from hyperarc.data.formats.http_bytes import BlockCache, HttpBytes, RemoteLimits, as_text, fetched, is_url, shown
from hyperarc.data.formats.key_table import KeyTable
from hyperarc.data.formats.layout import Place
from hyperarc.data.formats.list_columns import ListColumns
from hyperarc.data.formats.tar_index import INDEX, TarIndex, read_index, shard_numbers, walk_shards
from hyperarc.data.manifest import About, Manifest
from hyperarc.errors import DataError
from hyperarc.faces.image import DEFAULT_LIMITS, ImageLimits, Pixels, decode

Numbers = npt.NDArray[np.int64]

ENDING = ".tar"
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_SHARDS = 1_000_000
_MOST_OPEN = 128
_LONGEST_INDEX = 2**32


class TarSource:
    """Tar files of faces: one, a folder of shards, or a pattern such as ``shards-{000000..000009}.tar``.

    The path may be an ``http`` or ``https`` address: shards in an object store are read by range requests, in blocks
    that are kept for a while.

    Whose a picture ``key.jpg`` is, is said by ``key.json`` (``person``, or ``label``) or ``key.cls`` beside it, else by
    the folder it lies in. The headers are walked through once, here, unless ``index.parquet`` beside several shards
    fits them; a face is then one positioned read. Links, devices and sparse files are skipped, counted and named.

    Args:
        path: as above. A face's key is the name of its member; of several shards the shard's name goes before it.
        name: short name of the source; default the name of the file, folder or pattern.
        limits: of each picture.
        remote: how shards far away are read: cache, timeout, tries.

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

    def __init__(
        self,
        path: str | Path,
        *,
        name: str | None = None,
        limits: ImageLimits = DEFAULT_LIMITS,
        remote: RemoteLimits | None = None,
    ) -> None:
        text = as_text(path)
        self.path = shown(text) if is_url(text) else str(Path(text).absolute())
        self.name = name or _short_name(self.path)
        self.limits = limits
        index, self._shards = _open_far(text, self.name, remote) if is_url(text) else _open_here(self.path, self.name)
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

    def places(self, faces: pa.Array) -> tuple[Numbers, Numbers]:
        """The shard of each face, and where in it the face lies."""
        rows = self._table.rows(faces)
        return self._shard[rows], self._offset[rows]

    def _where(self, face: str) -> Place:
        return Place(self.path, face)

    def _listed(self, index: TarIndex) -> ListColumns:
        columns = {name: index.table[name].combine_chunks() for name in index.table.column_names}
        columns = {n: c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for n, c in columns.items()}
        extra = {name: columns[name] for name in ("landmarks", "color") if name in columns}
        return ListColumns(columns["face"], columns["person"], extra, partial(_row_name, self.path))


def _open_here(path: str, source: str) -> tuple[TarIndex, list[Bytes]]:
    names = shard_paths(path)
    shards = [LocalBytes(Path(name), keep_open=len(names) <= _MOST_OPEN) for name in names]
    if len(names) == 1 and not Path(path).is_dir():
        return walk_shards(shards, [""], source), list(shards)
    beside = Path(names[0]).parent / INDEX
    sizes = {Path(name).name: shard.size for name, shard in zip(names, shards, strict=True)}
    index = read_index(beside, sizes) if beside.is_file() else None
    if index is None:
        index = walk_shards(shards, [Path(name).stem + "/" for name in names], source)
        if beside.is_file():
            told = finding("indexes beside the shards not used: of other shards", [str(beside)], source=source)
            index = index._replace(findings=(told, *index.findings))
    return index, list(shards)


def _open_far(url: str, source: str, limits: RemoteLimits | None) -> tuple[TarIndex, list[Bytes]]:
    """Shards of a web server: by the index beside them if there is one, for a walk reads them all."""
    limits = limits or RemoteLimits()
    cache = BlockCache(limits.cache_bytes)
    urls = {posixpath.basename(urlsplit(one).path): one for one in shard_paths(url)}
    index = None
    if len(urls) > 1:
        parts = urlsplit(next(iter(urls.values())))
        beside = parts._replace(path=posixpath.join(posixpath.dirname(parts.path), INDEX))
        data = fetched(HttpBytes(urlunsplit(beside), BlockCache(0), limits=limits), _LONGEST_INDEX)
        index = None if data is None else read_index(pa.BufferReader(data), dict.fromkeys(urls))
    sizes = index.sizes if index else {}
    shards = [HttpBytes(one, cache, sizes.get(name), limits) for name, one in urls.items()]
    if index is None:
        prefixes = [name.removesuffix(ENDING) + "/" if len(urls) > 1 else "" for name in urls]
        index = walk_shards(shards, prefixes, source)
        walked = finding("shards without a fitting index read through once", list(urls), source=source)
        index = index._replace(findings=(walked, *index.findings))
    return index, list(shards)


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
    if is_url(path) or not Path(path).is_dir():
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
    plain = _BRACES.sub("", posixpath.basename(path))
    return plain.removesuffix(ENDING).rstrip("-_.") or posixpath.basename(posixpath.dirname(path)) or "shards"


def _row_name(path: str, row: int) -> str:
    return f"{path}: face {row + 1}"

