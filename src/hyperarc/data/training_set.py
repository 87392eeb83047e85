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
from hyperarc.data.manifest import Manifest, read_manifest
from hyperarc.data.noise import add_noise
from hyperarc.data.order import BatchOrder, Order
from hyperarc.data.people_order import PeopleOrder
from hyperarc.data.shard_order import ShardOrder, Streams, places_of
from hyperarc.data.sources import ArraySource, Source
from hyperarc.data.truth import Truth
from hyperarc.data.verification import verify_faces
from hyperarc.errors import DataError
from hyperarc.recipe import Data, DrawnData, PeopleTable, Sampler, SourceData
from hyperarc.recipe.file import expand_path

Progress = Callable[[int, int], None]
_STRANGERS_SEED = 2_000_003  # added to that of the set, so that nobody drawn for the set is drawn again


@dataclass(frozen=True)
class TrainingSet:
    """Faces to train on.

    Attributes:
        sources: that hold the pictures.
        manifest: every face that was looked at, kept or not, with reasons.
        kept: the faces to train on, labels 0 .. people - 1.
        truth: of the manifest's rows, where noise was put in; else None.
    """

    sources: tuple[Source, ...]
    manifest: Manifest
    kept: Manifest
    truth: Truth | None = None

    def order(self, sampler: Sampler, batch_size: int, seed: int) -> Order:
        """The order of batches that a recipe asks for."""
        if sampler.people is not None:
            return PeopleOrder(self.kept.labels, batch_size, sampler.people.faces_per_person, seed)
        if sampler.adaptive is not None:
            return AdaptiveOrder(len(self.kept), batch_size, seed, sampler.adaptive)
        if sampler.shards is not None:
            chosen = sampler.shards
            shards, places = places_of(FaceSet(self.sources, self.kept), chosen.window)
            return ShardOrder(shards, places, batch_size, chosen.window, seed, Streams(chosen.parts, chosen.turns))
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
    parts = [_drawn(recipe.drawn)] if recipe.drawn is not None else [_open(one) for one in recipe.sources]
    person_of = None if recipe.people_table is None else read_people_table(recipe.people_table)
    strangers = _strangers(recipe, parts)
    sources = tuple(source for part in (*parts, *strangers) for source in part.sources)
    truth = None
    if recipe.manifest is not None:
        manifest = read_manifest(expand_path(recipe.manifest))
    else:
        manifest = parts[0].manifest
        if person_of is not None or len(parts) > 1:
            manifest = combine([part.manifest for part in parts], person_of, licence=recipe.licence)
        if recipe.noise.flips or recipe.noise.conflicts or strangers:
            others = [_apart_from(manifest, part.manifest, person_of) for part in strangers]
            manifest, truth = add_noise(manifest, recipe.noise, *others)
        if recipe.verify and not all(isinstance(source, ArraySource) for source in sources):
            manifest = verify_faces(sources, manifest, size=112, threads=2, progress=progress)
    manifest = _leave_out_rare(manifest, recipe.min_faces)
    kept = manifest.kept().relabelled()
    kept.require_people(2)
    return TrainingSet(sources, manifest, kept, truth)


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


def _drawn(recipe: DrawnData, *names: str) -> FaceSet:
    source = drawn_source(recipe, *names)
    return FaceSet((source,), source.scan())


def _strangers(recipe: Data, parts: list[FaceSet]) -> list[FaceSet]:
    """The faces of people who are not in the set: one face set where strangers are asked for, else none."""
    noise = recipe.noise
    if not noise.strangers:
        return []
    if noise.strangers_from is not None:
        return [_open(noise.strangers_from)]
    if recipe.drawn is None:
        raise DataError(
            "expected faces of people who are not in the set",
            where="data.noise.strangers_from",
            mend="name a folder, zip or manifest of them, or leave data.noise.strangers at 0",
        )
    people = max(2, -(-round(noise.strangers * len(parts[0])) // noise.together))
    wanted = {"people": people, "faces_per_person": noise.together, "seed": recipe.drawn.seed + _STRANGERS_SEED}
    return [_drawn(DrawnData(**wanted, low_quality=recipe.drawn.low_quality), "strangers", "stranger")]


def _apart_from(manifest: Manifest, strangers: Manifest, person_of: PersonOf | None) -> Manifest:
    """The kept faces of strangers, without people who stand in the set by the people table or by their names."""
    named = combine([strangers.kept()], person_of or (lambda _, person: person))
    known = set(manifest.people)
    rows = np.array([person not in known for person in named.column("person").tolist()], np.bool_)
    return named.take(rows)


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
