"""Several sources as one data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
import pyarrow as pa

from hyperarc.data.findings import finding
from hyperarc.data.manifest import About, Manifest
from hyperarc.errors import DataError

PersonOf = Callable[[str, str], str | None]


class Scanned(Protocol):
    """Anything that scans itself into a manifest."""

    def scan(self) -> Manifest:
        """All its faces."""


def combine(
    parts: Iterable[Manifest | Scanned],
    person_of: PersonOf | None = None,
    *,
    name: str = "",
    licence: str = "",
) -> Manifest:
    """One manifest over several, labelled anew in sorted order of people.

    Args:
        parts: manifests, or sources to scan. Source names must differ.
        person_of: (source name, person) to the person's name in the whole, the same name for people who
            recur, or None to leave the person out. By default nobody recurs: the name is ``source/person``.
        name, licence: of the whole.

    Returns:
        All rows, marks kept; people merged and left out are told in ``findings``.

    Raises:
        DataError: no parts, two parts of one source, or everybody left out.

    Example:
        >>> from hyperarc.data.sources import ArraySource
        >>> crops = np.zeros((2, 112, 112, 3), np.uint8)
        >>> one = ArraySource(crops, ["ann", "bob"], name="a")
        >>> two = ArraySource(crops, ["ann", "eve"], name="b")
        >>> combine([one, two], lambda source, person: person).people
        ('ann', 'bob', 'eve')
    """
    manifests = [part if isinstance(part, Manifest) else part.scan() for part in parts]
    if not manifests:
        raise DataError("expected manifests or sources to combine, got none")
    _require_distinct(manifests)
    naming = person_of or _apart
    tables, wholes, left_out = [], dict[str, set[str]](), []
    for manifest in manifests:
        table, names, gone = _renamed(manifest, naming)
        tables.append(table)
        left_out += gone
        for before, after in names:
            wholes.setdefault(after, set()).add(before)
    found = [f for manifest in manifests for f in manifest.findings]
    merged = [f"{whole} ({', '.join(sorted(of))})" for whole, of in wholes.items() if len(of) > 1]
    if merged:
        found.append(finding("people merged across sources", merged))
    if left_out:
        found.append(finding("people left out", left_out))
    if not wholes:
        raise DataError(
            f"expected people to remain, all {len(left_out)} were left out", mend="check person_of"
        )
    sources = {key: text for manifest in manifests for key, text in manifest.about.sources.items()}
    about = About(name or "+".join(sources), licence, sources, tuple(found))
    return Manifest(pa.concat_tables(tables), about).relabelled()


def _apart(source: str, person: str) -> str:
    return f"{source}/{person}"


def _require_distinct(manifests: list[Manifest]) -> None:
    seen: set[str] = set()
    for manifest in manifests:
        names = set(manifest.sources)
        if names & seen:
            raise DataError(
                f"expected sources of different names, got {sorted(names & seen)[0]!r} twice",
                mend="give one of them another name=",
            )
        seen |= names


def _renamed(manifest: Manifest, naming: PersonOf) -> tuple[pa.Table, list[tuple[str, str]], list[str]]:
    """The rows that remain under their new names, (source/person, new name) pairs, and who was left out."""
    people = manifest.table["person"].chunk(0)
    sources = manifest.table["source"].chunk(0)
    # Ask once per (source, person), not per row.
    pair = sources.indices.to_numpy().astype(np.int64) * len(people.dictionary) + people.indices.to_numpy()
    distinct, inverse = np.unique(pair, return_inverse=True)
    source_names, person_names = sources.dictionary.to_pylist(), people.dictionary.to_pylist()
    renamed: list[tuple[str, str]] = []
    gone: list[str] = []
    after: list[str | None] = []
    for code in distinct.tolist():
        source, person = source_names[code // len(person_names)], person_names[code % len(person_names)]
        whole = naming(source, person)
        after.append(whole)
        if whole is None:
            gone.append(f"{source}/{person}")
        else:
            renamed.append((f"{source}/{person}", whole))
    stays = np.array([whole is not None for whole in after], np.bool_)[inverse]
    persons = pa.DictionaryArray.from_arrays(
        pa.array(inverse.astype(np.int32)), pa.array([whole or "" for whole in after], pa.string())
    )
    return manifest.with_columns(person=persons).take(stays).table, renamed, gone
