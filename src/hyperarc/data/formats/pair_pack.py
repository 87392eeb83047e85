"""Verification packs such as ``lfw.bin``: the pictures of pairs of faces, and which pairs are of one person.

Such a file is a pickle of (pictures, same): a list of 2 P picture files, where pair k is pictures 2k and 2k + 1, and
a list of P bools. Pickles run whatever their author likes when Python's own reader opens them; here they are read by
:mod:`hyperarc.data.formats.plain_pickle`, which runs nothing.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperarc.data.formats.plain_pickle import PlainArray, read_plain_pickle
from hyperarc.data.manifest import About, Manifest, manifest_of
from hyperarc.errors import DataError
from hyperarc.faces.image import DEFAULT_LIMITS, ImageLimits, Pixels, decode
from hyperarc.files import write_beside

_PROTOCOL = 4  # the newest that every Python 3 in use reads
_FIRST, _SECOND = "first", "second"


@dataclass(frozen=True)
class PackLimits:
    """What a pack may hold before it is refused.

    Attributes:
        bytes: size of the file, which is read into memory; default 4 GiB.
        pairs: number of pairs; default one million.
        image: limits of each picture.
    """

    bytes: int = 4 * 2**30
    pairs: int = 1_000_000
    image: ImageLimits = DEFAULT_LIMITS


class PairPack:
    """A verification pack, in memory: a source of faces that knows its pairs.

    The keys of pair k are ``0000000k/first`` and ``0000000k/second``. Packs do not say who the people are, so the
    "person" of a face is its pair.

    Args:
        path: the ``.bin``.
        name: short name; default the name of the file without ``.bin``.
        limits: refused beyond these.

    Attributes:
        first, second: keys of either face of each pair; same: whether they are of one person.

    Raises:
        DataError: missing, damaged, of another content, or a pickle that asks for anything but plain content.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "tiny.bin"
        >>> write_pair_pack(path, [b"one", b"two"], [True])
        >>> pack = PairPack(path)
        >>> pack.first, pack.second, pack.same, pack.read("00000000/second")
        (('00000000/first',), ('00000000/second',), (True,), b'two')
    """

    def __init__(self, path: str | Path, *, name: str | None = None, limits: PackLimits | None = None) -> None:
        self.path = Path(path).absolute()
        self.name = name or self.path.stem
        self.limits = limits or PackLimits()
        self._pictures, self.same = self._content()
        self.first = tuple(f"{pair:08d}/{_FIRST}" for pair in range(len(self.same)))
        self.second = tuple(f"{pair:08d}/{_SECOND}" for pair in range(len(self.same)))

    def scan(self) -> Manifest:
        """All faces in the order of the file."""
        faces = [key for pair in zip(self.first, self.second, strict=True) for key in pair]
        about = About(self.name, sources={self.name: str(self.path)})
        return manifest_of(faces, [face.partition("/")[0] for face in faces], source=self.name, about=about)

    def read(self, face: str) -> bytes:
        """The picture file of ``face``."""
        pair, _, side = face.partition("/")
        row = int(pair) if pair.isdecimal() and len(pair) < 19 else -1
        if not 0 <= row < len(self.same) or side not in (_FIRST, _SECOND):
            raise DataError("no such face in this pack", where=self._where(face), mend="scan it again")
        return self._pictures[2 * row + (side == _SECOND)]

    def image(self, face: str) -> Pixels:
        """The picture of ``face``: uint8 [H, W, 3], RGB."""
        return decode(self.read(face), where=self._where(face), limits=self.limits.image)

    def _where(self, face: str) -> str:
        return f"{self.path}:{face}"

    def _content(self) -> tuple[list[bytes], tuple[bool, ...]]:
        try:
            with open(self.path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                data = file.read(min(size, self.limits.bytes) + 1)  # room is taken for as much as is asked for
        except OSError as error:
            mend = "a folder or zip of faces needs a list of pairs beside it" if self.path.is_dir() else None
            raise DataError(f"cannot read the pack: {error.strerror}", where=self.path, mend=mend) from error
        if len(data) > self.limits.bytes:
            raise DataError(f"expected at most {self.limits.bytes} bytes, got more", where=self.path)
        content = read_plain_pickle(data, self.path)
        if not isinstance(content, list | tuple) or len(content) != 2:
            raise self._unfit("expected a pickle of two lists: pictures, and same or not")
        pictures, same = map(_plain, content)
        if not isinstance(pictures, list | tuple) or not isinstance(same, list | tuple | bytes):
            raise self._unfit("expected a pickle of two lists: pictures, and same or not")
        if len(pictures) != 2 * len(same) or not 1 <= len(same) <= self.limits.pairs:
            raise self._unfit(
                f"expected 1 to {self.limits.pairs} pairs, two pictures each, got {len(pictures)} pictures "
                f"and {len(same)} pairs"
            )
        pictures = list(map(_plain, pictures))
        for row, picture in enumerate(pictures):
            if not isinstance(picture, bytes):
                raise self._unfit(f"expected bytes as picture {row}, got {type(picture).__name__}")
        for row, flag in enumerate(same):
            if not isinstance(flag, int) or flag not in (0, 1):
                raise self._unfit(f"expected True or False for pair {row}, got {type(flag).__name__}")
        return pictures, tuple(map(bool, same))

    def _unfit(self, what: str) -> DataError:
        return DataError(what, where=self.path, mend="give a verification pack such as lfw.bin")


def write_pair_pack(path: Path, pictures: Iterable[bytes], same: Sequence[bool]) -> None:
    """Write a pack, whole or not at all; a picture that recurs is stored once.

    Args:
        path: of the ``.bin``; what stands there is replaced.
        pictures: 2 P picture files; same: P flags.

    Raises:
        DataError: other than two pictures a pair.
    """
    stored: dict[bytes, bytes] = {}
    content = [stored.setdefault(picture, picture) for picture in pictures]
    if len(content) != 2 * len(same) or not content:
        raise DataError(f"expected two pictures a pair, got {len(content)} for {len(same)} pairs", where=path)
    with write_beside(path) as beside, open(beside, "wb") as file:
        pickle.dump((content, [bool(flag) for flag in same]), file, protocol=_PROTOCOL)


def _plain(value: Any) -> Any:
    return value.content if isinstance(value, PlainArray) else value
