"""Wrong labels put in on purpose, with the truth kept, so that cleaning can be judged.

Three kinds, as they occur in faces gathered from the web: *flips* (closed-set noise: a face under the name of another
person of the set), *strangers* (open-set noise: a face of somebody who has no name in the set) and *conflicts* (one
person under two names).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hyperarc.data.manifest import Manifest
from hyperarc.data.truth import CONFLICT, FLIP, STRANGER, Truth
from hyperarc.errors import DataError
from hyperarc.recipe import Noise

Labels = npt.NDArray[np.int64]
Names = npt.NDArray[np.object_]


def flip_labels(
    labels: npt.NDArray[np.integer], rate: float, rng: np.random.Generator, *, together: int = 1
) -> tuple[Labels, npt.NDArray[np.bool_]]:
    """Give a share of the rows the label of another person of the same set (closed-set noise).

    Args:
        labels: [N] whole numbers.
        rate: share of rows to change, 0..1; exactly ``round(rate * N)`` rows change.
        rng: where the draws come from.
        together: so many rows of one person (where they have as many) get the same wrong label.

    Returns:
        New labels [N] int64, and which rows changed [N] bool. Each wrong label is equally likely.

    Example:
        >>> new, wrong = flip_labels(np.repeat(np.arange(5), 4), 0.25, np.random.default_rng(0))
        >>> int(wrong.sum()), bool((new[wrong] != np.repeat(np.arange(5), 4)[wrong]).all())
        (5, True)
    """
    old = _checked(labels, rate)
    order, run = runs_of(old, together, rng)
    count = round(rate * len(old))
    wrong = np.zeros(len(old), np.bool_)
    wrong[order[:count]] = True
    return _flipped(old, order[:count], run[:count], rng), wrong


def split_conflicts(
    labels: npt.NDArray[np.integer], rate: float, rng: np.random.Generator
) -> tuple[Labels, dict[int, int]]:
    """Cut a share of the people in two: about half of such a person's faces get a label of their own.

    Args:
        labels: [N] whole numbers.
        rate: share, 0..1, of the people with two or more faces (one face cannot be cut); exactly
            ``round(rate * that number)`` people are cut.
        rng: where the draws come from.

    Returns:
        New labels [N] int64, and for every new label the person it was cut from. New labels follow the largest
        old one without gaps.

    Example:
        >>> new, origin = split_conflicts(np.repeat(np.arange(4), 6), 0.5, np.random.default_rng(0))
        >>> sorted(origin), len(np.unique(new))
        ([4, 5], 6)
    """
    old = _checked(labels, rate)
    names, counts = np.unique(old, return_counts=True)
    able = names[counts >= 2]
    chosen = np.sort(rng.permutation(able)[: round(rate * len(able))])
    new = old.copy()
    origin: dict[int, int] = {}
    following = int(names.max()) + 1
    for label, person in enumerate(chosen.tolist(), start=following):
        rows = np.flatnonzero(old == person)
        new[rng.permutation(rows)[: len(rows) // 2]] = label
        origin[label] = person
    return new, origin


def runs_of(
    labels: npt.NDArray[np.integer], together: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """All rows in random order, in runs of ``together`` rows of one label: the rows [N], and the run of each [N].

    The last run of a label is shorter where its rows do not divide evenly.

    Example:
        >>> order, run = runs_of(np.array([0, 0, 0, 1, 1, 1]), 2, np.random.default_rng(1))
        >>> run.tolist(), np.repeat([0, 1], 3)[order].tolist()
        ([0, 1, 1, 2, 3, 3], [0, 1, 1, 1, 0, 0])
    """
    if together < 1:
        raise DataError(f"expected at least 1 face together, got {together}")
    order = rng.permutation(len(labels)).astype(np.int64)
    if together == 1:
        return order, np.arange(len(order))
    order = order[np.argsort(labels[order], kind="stable")]
    starts = np.flatnonzero(np.diff(labels[order], prepend=labels[order[:1]] - 1))
    within = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    run = np.cumsum(within % together == 0) - 1
    shuffled = np.argsort(rng.permutation(run[-1] + 1)[run], kind="stable")
    return order[shuffled], np.cumsum(np.diff(run[shuffled], prepend=-1) != 0) - 1


def add_noise(manifest: Manifest, noise: Noise, strangers: Manifest | None = None) -> tuple[Manifest, Truth]:
    """A manifest with wrong names put in, and the truth of each of its rows.

    Flips and strangers are exactly ``round(rate * N)`` of the N kept rows each, drawn without overlap. A stranger takes
    the place of a face, so that everybody has as many faces under their name as before. Conflicts are cut afterwards:
    half of what stands under a name gets another, ``ann (2)``. Faces that are left out stay as they are.

    Args:
        manifest: the faces.
        noise: rates and seed.
        strangers: faces of people who do not stand in the set; needed when strangers are asked for.

    Returns:
        A manifest with as many rows, labelled anew, and the truth, row by row.

    Raises:
        DataError: too few strangers, or fewer than two people to flip labels between.

    Example:
        >>> from hyperarc.data.manifest import manifest_of
        >>> clean = manifest_of(["a/1", "a/2", "b/1", "b/2"], ["a", "a", "b", "b"], source="x")
        >>> noisy, truth = add_noise(clean, Noise(flips=0.5, seed=1))
        >>> [(row.face, row.person, kind) for row, kind in zip(noisy.rows, truth.kinds) if kind]
        [('a/1', 'b', 'flip'), ('a/2', 'b', 'flip')]
    """
    kept = np.flatnonzero(manifest.keep)
    rng = np.random.default_rng([noise.seed, 11])
    start = manifest.relabelled()
    labels, names = start.labels.copy(), list(start.people)
    true: Names = np.array(start.people, dtype=object)[labels]
    kinds: Names = np.full(len(start), "", dtype=object)
    flips, count = round(noise.flips * len(kept)), round(noise.strangers * len(kept))
    if len(kept):
        order, run = runs_of(labels[kept], noise.together, rng)
        flipped, replaced = kept[order[:flips]], kept[order[flips : flips + count]]
        labels[flipped] = _flipped(labels[kept], order[:flips], run[:flips], rng)[order[:flips]]
        kinds[flipped], kinds[replaced] = FLIP, STRANGER
        if count:
            start, true[replaced] = _with_strangers(start, replaced, strangers, rng, noise.together)
        if noise.conflicts:
            new, origin = split_conflicts(labels[kept], noise.conflicts, rng)
            moved = kept[new != labels[kept]]
            kinds[moved] = np.where(kinds[moved] == "", CONFLICT, kinds[moved])
            labels[kept] = new
            names += _second_names([names[person] for person in origin.values()], set(names))
    persons = pa.DictionaryArray.from_arrays(pa.array(labels.astype(np.int32)), pa.array(names, pa.string()))
    return start.with_columns(person=persons).relabelled(), Truth(true, kinds)


def _flipped(old: Labels, rows: Labels, run: Labels, rng: np.random.Generator) -> Labels:
    """The labels with those of some rows changed to another person's, one for each run."""
    names, place = np.unique(old, return_inverse=True)
    if not len(rows):
        return old.copy()
    if len(names) < 2:
        raise DataError(
            f"expected two or more people to flip labels between, got {len(names)}", mend="set the rate to 0"
        )
    step = rng.integers(1, len(names), size=int(run.max()) + 1)[run]
    new = old.copy()
    new[rows] = names[(place[rows] + step) % len(names)]
    return new


def _with_strangers(
    manifest: Manifest, rows: Labels, strangers: Manifest | None, rng: np.random.Generator, together: int
) -> tuple[Manifest, Names]:
    """The manifest with the faces of some rows replaced by strangers, and who these are."""
    there = 0 if strangers is None else len(strangers)
    if strangers is None or there < len(rows):
        raise DataError(
            f"expected {len(rows)} faces of strangers, got {there}",
            mend="lower data.noise.strangers, or name more faces by data.noise.strangers_from",
        )
    order, _ = runs_of(strangers.labels, together, rng)
    table = pa.concat_tables([manifest.table, strangers.table])
    places = np.arange(len(manifest))
    places[rows] = len(manifest) + order[: len(rows)]
    about = {"sources": {**manifest.about.sources, **strangers.about.sources}}
    names: Names = np.array(strangers.take(order[: len(rows)]).column("person").tolist(), dtype=object)
    return Manifest(table.take(pa.array(places)), manifest.about).described(**about), names


def _second_names(names: list[str], taken: set[str]) -> list[str]:
    new = []
    for name in names:
        number = 2
        while f"{name} ({number})" in taken:
            number += 1
        new.append(f"{name} ({number})")
    return new


def _checked(labels: npt.NDArray[np.integer], rate: float) -> Labels:
    """The labels as int64, or a :class:`DataError`."""
    found = np.asarray(labels)
    if found.ndim != 1 or len(found) == 0 or not np.issubdtype(found.dtype, np.integer):
        raise DataError(f"expected labels as whole numbers [N], N >= 1, got {found.dtype} {list(found.shape)}")
    if not 0.0 <= rate <= 1.0:
        raise DataError(f"expected a rate from 0 to 1, got {rate}")
    return found.astype(np.int64)
