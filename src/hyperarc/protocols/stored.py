"""Stored embeddings in place of a model: files of one contract, in which protocols look their faces up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from hyperarc.contract import Contract
from hyperarc.data.combination import combine
from hyperarc.data.face_set import FaceSet
from hyperarc.data.formats.embedding_source import EmbeddingFile
from hyperarc.errors import DataError, UsageError
from hyperarc.metrics.inputs import IntArray
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.face_rows import rows_by_key


@dataclass(frozen=True, eq=False)
class Stored:
    """Files of embeddings that were made under one contract, and so by one model.

    Attributes:
        files: at least one; contract: of all of them.
    """

    files: tuple[EmbeddingFile, ...]
    contract: Contract

    @property
    def name(self) -> str:
        """Names of the files without their endings."""
        return ", ".join(file.path.stem for file in self.files)

    @cached_property
    def faces(self) -> FaceSet:
        """The faces of all files; they have no pictures."""
        if len(self.files) == 1:
            return FaceSet(self.files, self.files[0].scan())
        return FaceSet(self.files, combine(self.files, lambda _, person: person))

    def find(self, asked: Sequence[str], protocol: str) -> Found:
        """Where the faces that a protocol asks for are; those that no file has are absent.

        Args:
            asked: keys, each once; protocol: its name, for errors.

        Raises:
            DataError: no file has any of them, two files have one, or a file has two.
        """
        rows = [rows_by_key(FaceSet((file,), file.scan()), asked) for file in self.files]
        home: dict[str, int] = {}
        for number, known in enumerate(rows):
            for key in asked:
                if key in known and home.setdefault(key, number) != number:
                    both = " and ".join(self.files[place].path.name for place in (home[key], number))
                    raise DataError(f"two files hold {key}: {both}", where=protocol, mend="give one of them")
        if not home:
            raise DataError(
                f"none of the {len(asked)} faces of {protocol} is there, such as {next(iter(asked), 'none')}",
                where=self.name,
                mend="give the embeddings of the protocol's faces",
            )
        parts = []
        for number in sorted(set(home.values())):
            keys = [key for key in asked if home.get(key) == number]
            parts.append((self.files[number], keys, np.array([rows[number][key] for key in keys], np.int64)))
        return Found(tuple(parts), self.contract)


@dataclass(frozen=True, eq=False)
class Found:
    """Faces of one protocol in files of embeddings.

    Attributes:
        parts: of each file that has any, the file, the keys and their rows.
        contract: of the files.
    """

    parts: tuple[tuple[EmbeddingFile, list[str], IntArray], ...]
    contract: Contract

    @property
    def files(self) -> str:
        """Names of the files, as a condition."""
        return ", ".join(file.path.name for file, _, _ in self.parts)

    def embedded(self) -> Embedded:
        """The embeddings; :class:`DataError` for one that is zero, NaN or infinite (file, row and face are named)."""
        keys = tuple(key for _, some, _ in self.parts for key in some)
        vectors = np.concatenate([file.vectors(rows) for file, _, rows in self.parts])
        data = "+".join(dict.fromkeys(file.scan().about.name for file, _, _ in self.parts))
        return Embedded(keys, vectors, self.contract, data)


def open_embeddings(paths: Sequence[str | Path]) -> tuple[Stored, ...]:
    """Files of embeddings as ``hyperarc embed`` writes them, put together by contract and never mixed across.

    Args:
        paths: ``.parquet``, or ``.npy`` with its table of faces beside it.

    Raises:
        DataError: as :class:`EmbeddingFile`. UsageError: one file twice.

    Example (needs files that ``hyperarc embed`` wrote):
        >>> (model,) = open_embeddings(["lfw-r50.parquet", "cfp-r50.parquet"])  # doctest: +SKIP
    """
    places = [Path(path).resolve() for path in paths]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise UsageError("this file is given twice", where=twice)
    stems = [place.stem for place in places]
    files: dict[str, list[EmbeddingFile]] = {}
    for path, place in zip(paths, places, strict=True):
        name = place.stem if stems.count(place.stem) == 1 else str(path)
        opened = EmbeddingFile(path, name=name)
        files.setdefault(opened.contract.digest, []).append(opened)
    return tuple(Stored(tuple(some), some[0].contract) for some in files.values())
