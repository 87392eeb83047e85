"""From the data section of a recipe to faces that can be trained on."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hyperarc.data.adaptive_order import AdaptiveOrder
from hyperarc.data.combination import PersonOf, combine
from hyperarc.data.drawn.source import drawn_source
from hyperarc.data.face_set import FaceSet, digest_of, open_faces
from hyperarc.data.findings import finding
from hyperarc.data.manifest import Manifest
from hyperarc.data.order import BatchOrder, Order
from hyperarc.data.people_order import PeopleOrder
from hyperarc.data.shard_order import ShardOrder, places_of
from hyperarc.data.sources import Source
from hyperarc.data.verification import verify_faces
from hyperarc.errors import DataError
from hyperarc.recipe import Data, PeopleTable, Sampler, SourceData
from hyperarc.recipe.file import expand_path

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TrainingSet:
    """Faces to train on.

    Attributes:
        sources: that hold the pictures.
        manifest: every face that was looked at, kept or not, with reasons.
        kept: the faces to train on, labels 0 .. people - 1.
    """

    sources: tuple[Source, ...]
    manifest: Manifest
    kept: Manifest

    def order(self, sampler: Sampler, batch_size: int, seed: int) -> Order:
        """The order of batches that a recipe asks for."""
        if sampler.people is not None:
            return PeopleOrder(self.kept.labels, batch_size, sampler.people.faces_per_person, seed)
        if sampler.adaptive is not None:
            return AdaptiveOrder(len(self.kept), batch_size, seed, sampler.adaptive)
        if sampler.shards is not None:
            shards, places = places_of(FaceSet(self.sources, self.kept), sampler.shards.window)
            return ShardOrder(shards, places, batch_size, sampler.shards.window, seed)
        return BatchOrder(len(self.kept), batch_size, seed)

    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the kept faces: sources, keys, labels and colors."""
        return digest_of(self.kept)


def open_training_set(recipe: Data, progress: Progress | None = None) -> TrainingSet:
    """Open or draw, scan, combine and verify the faces of a recipe.

    Args:
        recipe: the data section.
        progress: called with (faces done, faces in all) while faces are drawn or verified.

    Errors: missing sources, people tables that do not fit, fewer than two people left.
    """
    if recipe.drawn is not None:
        drawn = drawn_source(recipe.drawn)
        parts = [FaceSet((drawn,), drawn.scan())]
    else:
        parts = [_open(entry) for entry in recipe.sources]
    sources = tuple(source for part in parts for source in part.sources)
    person_of = None if recipe.people_table is None else read_people_table(recipe.people_table)
    if person_of is None and len(parts) == 1:
        manifest = parts[0].manifest
    else:
        manifest = combine([part.manifest for part in parts], person_of, licence=recipe.licence)
    if recipe.verify and recipe.drawn is None:
        manifest = verify_faces(sources, manifest, size=112, threads=2, progress=progress)
    manifest = _leave_out_rare(manifest, recipe.min_faces)
    kept = manifest.kept().relabelled()
    kept.require_people(2)
    return TrainingSet(sources, manifest, kept)


def read_people_table(table: PeopleTable) -> PersonOf:
    """A map from (source, person) to the person's name in the whole, or None for those left out.

    A person with a value above the limit in any row of a merged group is left out everywhere. The table may name a
    person by a longer path than the source does ("eval/ann" for "ann"). A person who does not stand in it is an error:
    keeping them would let test people slip into the training set unseen.
    """
    path = expand_path(table.path)
    group_of: dict[tuple[str, str], str] = {}
    left_out: set[str] = set()
    for row in _rows(path, table):
        source, person = row[table.source], row[table.person]
        group = row[table.merge_by] if table.merge_by else f"{source}/{person}"
        group_of[source, person] = group_of[source, person.rpartition("/")[2]] = group
        if any(_number(row[column], path, column) > limit for column, limit in table.leave_out_above.items()):
            left_out.add(group)

    def person_of(source: str, person: str) -> str | None:
        group = group_of.get((source, person))
        if group is None:
            raise DataError(f"person {person!r} of source {source!r} does not stand in the people table", where=path)
        return None if group in left_out else group

    return person_of


def _open(entry: SourceData) -> FaceSet:
    faces = open_faces(expand_path(entry.path))
    if entry.color == "rgb":
        return faces
    return faces.with_manifest(faces.manifest.recolored(np.ones(len(faces), np.bool_), entry.color))


def _leave_out_rare(manifest: Manifest, min_faces: int) -> Manifest:
    counts = np.bincount(manifest.labels[manifest.keep], minlength=int(manifest.labels.max()) + 1)
    rare = np.flatnonzero((counts > 0) & (counts < min_faces))
    if not len(rare):
        return manifest
    rows = np.isin(manifest.labels, rare)
    names = sorted(set(manifest.column("person")[rows].tolist()))
    marked = manifest.mark(rows & manifest.keep, f"fewer than {min_faces} faces of this person")
    told = finding(f"people with fewer than {min_faces} faces left out", names)
    return marked.described(findings=(*manifest.findings, told))


def _rows(path: Path, table: PeopleTable) -> list[dict[str, str]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            needed = [table.source, table.person, *table.leave_out_above, *([table.merge_by] if table.merge_by else [])]
            for column in needed:
                if column not in columns:
                    raise DataError(f"expected a column {column!r}, got {', '.join(columns)}", where=path)
            return list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read the people table: {error}", where=path) from error


def _number(text: str, path: Path, column: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):  # a short row ends in None
        raise DataError(f"expected a number in column {column!r}, got {text!r}", where=path) from None
