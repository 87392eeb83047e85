"""What ``hyperarc invert`` aims at: classes of a head, photos, or embeddings."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from hyperarc.artifact import Artifact
from hyperarc.commands.aligned import warn_unaligned
from hyperarc.commands.show import Show
from hyperarc.contract import require_same
from hyperarc.data.crops import cut, read_crops
from hyperarc.data.face_set import FaceSet, open_faces
from hyperarc.data.findings import finding
from hyperarc.data.formats.embedding_files import ARRAY, table_beside
from hyperarc.data.formats.layout import EXTENSIONS
from hyperarc.data.formats.stored_embeddings import read_embeddings
from hyperarc.data.photos import LOOSE
from hyperarc.data.sources import ArraySource, FolderSource, open_source
from hyperarc.encoder import Encoder
from hyperarc.errors import ArtifactError, DataError, UsageError, unknown_name
from hyperarc.faces.image import decode
from hyperarc.heads.head import Head
from hyperarc.inversion import ClassGoal, EmbeddingGoal, Goal

CLASSES, PHOTOS, EMBEDDINGS = "classes", "photos", "embeddings"
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_LONGEST = 80  # letters of a file's name


@dataclass(frozen=True)
class Choice:
    """What is asked for: one of the three.

    Attributes:
        classes: "all", or numbers, ranges and names parted by commas.
        photos: a picture, or what :func:`open_faces` opens.
        embeddings: what ``hyperarc embed`` wrote, or a .npy [N, d].
        limit: at most so many, evenly spread over all.
    """

    classes: str | None = None
    photos: str | None = None
    embeddings: Path | None = None
    limit: int | None = None


@dataclass(frozen=True, eq=False)
class Targets:
    """Targets by row.

    Attributes:
        kind: "classes", "photos" or "embeddings".
        names: of the files that the faces go to, all different.
        people: who each is, as far as anybody knows.
        labels: [N] classes of ``head``, or None; vectors: [N, d] embeddings, or None.
        head: that knows the classes.
        photos: the faces that the embeddings are of, row by row, or None.
    """

    kind: str
    names: tuple[str, ...]
    people: tuple[str, ...]
    labels: npt.NDArray[np.int64] | None = None
    vectors: npt.NDArray[np.float32] | None = None
    head: Head | None = None
    photos: FaceSet | None = None

    def __len__(self) -> int:
        return len(self.names)

    def goal(self, rows: npt.NDArray[np.int64] | None = None) -> Goal:
        """Of some of the targets; None: of all."""
        chosen = np.arange(len(self)) if rows is None else rows
        if self.labels is not None:
            assert self.head is not None
            return ClassGoal(self.head, self.labels[chosen])
        assert self.vectors is not None
        return EmbeddingGoal(self.vectors[chosen])

    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of names, targets and class centers."""
        content = hashlib.sha256("\n".join((self.kind, *self.names)).encode())
        centers = None if self.head is None else self.head.centers.weight.detach().float().numpy(force=True)
        for part in (self.labels, self.vectors, centers):
            content.update(b"" if part is None else np.ascontiguousarray(part).tobytes())
        return content.hexdigest()[:16]


def open_targets(artifact: Artifact, encoder: Encoder, choice: Choice, show: Show) -> Targets:
    """The targets that were asked for.

    Raises:
        UsageError: none or several kinds are asked for. UnknownNameError: a person whom the head does not know.
        ArtifactError: classes of an artifact without a head. ContractError: embeddings of another model.
        DataError: no faces, embeddings that are zero or NaN (by row) or of another dimension.
    """
    given = [kind for kind in (CLASSES, PHOTOS, EMBEDDINGS) if getattr(choice, kind) is not None]
    if len(given) != 1:
        told = " and ".join(f"--{kind}" for kind in given) or "none"
        raise UsageError(f"expected one of --classes, --photos and --embeddings, got {told}")
    if choice.limit is not None and choice.limit < 1:
        raise UsageError(f"expected a limit of at least 1, got {choice.limit}")
    if choice.classes is not None:
        return _classes(artifact, choice.classes, choice.limit)
    if choice.photos is not None:
        return _photos(choice.photos, encoder, choice.limit, show)
    assert choice.embeddings is not None
    return _embeddings(choice.embeddings, encoder, choice.limit, show)


def class_labels(text: str, people: Sequence[str]) -> list[int]:
    """Places in ``people`` of the classes named: "all", names, numbers or ranges; a name goes before a number.

    Raises:
        UnknownNameError: a name that nobody bears. UsageError: a number that no class has.

    Example:
        >>> class_labels("bob,0,2-3", ["ann", "bob", "cy", "dan"])
        [1, 0, 2, 3]
    """
    if text == "all":
        return list(range(len(people)))
    known = {name: label for label, name in enumerate(people)}
    labels: list[int] = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        numbers = _RANGE.fullmatch(word)
        if word in known:
            labels.append(known[word])
        elif numbers is None:
            raise unknown_name("person", word, people)
        else:
            first, last = int(numbers[1]), int(numbers[2] or numbers[1])
            if not first <= last < len(people):
                raise UsageError(f"expected classes from 0 to {len(people) - 1}, got {word}", where="--classes")
            labels += range(first, last + 1)
    if not labels:
        raise UsageError("expected classes, got none", where="--classes", mend="say all, 0,3,7-12, or names")
    return list(dict.fromkeys(labels))


def file_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of files, all different on any disk, of any names.

    Example:
        >>> file_names(["ann/1", "Ann/1", "..", "né e"])
        ('ann-1', 'Ann-1-2', 'face', 'né-e')
    """
    taken: set[str] = set()
    found = []
    for name in names:
        short = re.sub(r"[^\w.+-]+", "-", name).strip(".-")[:_LONGEST] or "face"
        plain, number = short, 1
        while short.casefold() in taken:
            number += 1
            short = f"{plain}-{number}"
        taken.add(short.casefold())
        found.append(short)
    return tuple(found)


def _classes(artifact: Artifact, text: str, limit: int | None) -> Targets:
    if artifact.recipe is None or not (artifact.path / "head.safetensors").is_file():
        raise ArtifactError(
            "has no head, so there are no classes to invert",
            where=artifact.path,
            mend="invert photos or embeddings: --photos, --embeddings",
        )
    people = artifact.people()
    labels = np.array(class_labels(text, people), np.int64)
    labels = labels[spread(len(labels), limit)]
    names = tuple(people[label] for label in labels.tolist())
    return Targets(CLASSES, file_names(names), names, labels=labels, head=artifact.head())


def _photos(place: str, encoder: Encoder, limit: int | None, show: Show) -> Targets:
    faces, single = _open_photos(Path(place))
    for found in faces.manifest.findings:
        show.note(str(found))
    faces = faces.kept()
    if not len(faces):
        raise DataError("expected faces, all are marked to be left out", where=place)
    faces = faces.with_manifest(faces.manifest.take(spread(len(faces), limit)))
    warn_unaligned(faces, encoder.contract, show)
    vectors, rows = embed_rows(faces, np.arange(len(faces)), encoder, f"embedding {faces.name}", show)
    if not len(rows):
        raise DataError("none of the faces can be read", where=place)
    faces = faces.with_manifest(faces.manifest.take(rows))
    keys, persons = (faces.manifest.table[name].to_pylist() for name in ("face", "person"))
    names = [single or _stem(key) for key in keys]
    # of loose pictures nobody said that they show one person
    people = tuple(name if person == LOOSE else person for name, person in zip(names, persons, strict=True))
    return Targets(PHOTOS, file_names(names), people, vectors=vectors, photos=faces)


def _embeddings(path: Path, encoder: Encoder, limit: int | None, show: Show) -> Targets:
    if path.suffix == ARRAY and path.is_file() and not table_beside(path).exists():
        show.note(f"{path} does not say which model its embeddings are of; taken for this one's")
        vectors = _plain_array(path)
        names = [f"{row:0{len(str(len(vectors)))}d}" for row in range(len(vectors))]
        people = names
    else:
        stored = read_embeddings(path)
        require_same(encoder.contract, stored.contract, where=path)
        vectors = np.array(stored.vectors, np.float32)
        people = [stored.people[label] for label in stored.labels.tolist()]
        table = table_beside(path) if path.suffix == ARRAY else path
        names = [_stem(key) for key in pq.read_table(table, columns=["face"])["face"].to_pylist()]
    if vectors.shape[1] != encoder.contract.embedding_dim:
        raise DataError(
            f"expected embeddings of {encoder.contract.embedding_dim} values, as the model's, got {vectors.shape[1]}",
            where=path,
            mend="invert embeddings with the artifact that made them",
        )
    try:
        EmbeddingGoal(vectors)
    except DataError as error:
        raise DataError(str(error), where=path) from None
    rows = spread(len(vectors), limit)
    told = file_names([names[row] for row in rows.tolist()])
    return Targets(EMBEDDINGS, told, tuple(people[row] for row in rows.tolist()), vectors=vectors[rows])


def embed_rows(
    faces: FaceSet, rows: npt.NDArray[np.int64], encoder: Encoder, what: str, show: Show
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Embeddings [n, d] of rows of a face set, and the rows that could be read; a note tells of the others."""
    vectors = [np.zeros((0, encoder.contract.embedding_dim), np.float32)]
    readable: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    unreadable: list[str] = []
    batches = cut(np.asarray(rows, np.int64), encoder.batch_size)
    with show.progress(what) as tell, closing(read_crops(faces.reader, batches, encoder.contract, threads=2)) as read:
        for batch in read:
            vectors.append(encoder.embed(batch.crops).vectors)
            readable.append(batch.rows)
            unreadable += [faces.reader.where(row) for row in batch.unreadable]
            tell(sum(map(len, readable)) + len(unreadable), len(rows))
    if unreadable:
        show.note(str(finding("faces that cannot be read left out", unreadable)))
    return np.concatenate(vectors), np.concatenate(readable)


def _open_photos(place: Path) -> tuple[FaceSet, str]:
    """A folder with or without person folders, or whatever else holds faces; or one picture, with its name."""
    if place.is_file() and place.suffix.lower() in EXTENSIONS:
        picture = ArraySource(decode(place.read_bytes(), where=place)[None], [LOOSE], name=place.name)
        return FaceSet((picture,), picture.scan()), place.stem
    if place.is_dir() and isinstance(open_source(place), FolderSource):
        folder = FolderSource(place, loose=LOOSE)
        return FaceSet((folder,), folder.scan()), ""
    return open_faces(place), ""


def _plain_array(path: Path) -> npt.NDArray[np.float32]:
    try:
        array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"no array that can be read: {error}", where=path) from error
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise DataError(f"expected embeddings [N, d] of numbers, got {array.dtype} {list(array.shape)}", where=path)
    return np.asarray(array, np.float32)


def spread(count: int, limit: int | None) -> npt.NDArray[np.int64]:
    """At most so many of the places 0 .. count - 1, evenly spread over all.

    Example:
        >>> spread(9, 3).tolist(), spread(3, None).tolist()
        ([0, 4, 8], [0, 1, 2])
    """
    return np.linspace(0, count - 1, min(count, limit or count)).round().astype(np.int64)


def _stem(key: str) -> str:
    folder, _, file = key.rpartition("/")
    stem = file.rpartition(".")[0] if file.lower().endswith(EXTENSIONS) else file
    return f"{folder}/{stem}" if folder else stem
