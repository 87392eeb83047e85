"""Where each face of tar shards lies, and whose it is: made by walking through the headers, or read from a file.

``hyperarc pack`` writes the index beside the shards that it makes, as ``index.parquet``, so that shards far away need
no walk: shard, face, offset and size in bytes, person, and landmarks and color where they are known.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hyperarc.data.findings import Finding, finding
from hyperarc.data.formats.byte_file import Bytes
from hyperarc.data.formats.layout import EXTENSIONS, is_hidden, is_text_path, leads_outside
from hyperarc.data.formats.sample_labels import KINDS, LONGEST, Label, label_columns, read_label
from hyperarc.data.formats.tar_members import FILE, FOLDER, NO_END, Member, members
from hyperarc.data.parquet import SCHEMA
from hyperarc.errors import DataError

INDEX = "index.parquet"
_METADATA = b"hyperarc_shards"
_EXTRA = ("landmarks", "color")


class TarIndex(NamedTuple):
    """All faces of some shards. ``table`` has the columns shard (number of it), face, offset, size, person, and perhaps
    landmarks and color; ``sizes`` are those that an index file tells of shards, in bytes."""

    table: pa.Table
    findings: tuple[Finding, ...] = ()
    sizes: Mapping[str, int] = MappingProxyType({})


def walk_shards(shards: Sequence[Bytes], prefixes: Sequence[str], source: str) -> TarIndex:
    """Walk through the headers of every shard.

    Args:
        shards: the tars.
        prefixes: what goes before the names of the members of each, to make the keys of faces differ.
        source: short name, for findings.

    Raises:
        DataError: a damaged shard, a member that leads outside, a label that cannot be read, no faces.
    """
    skipped: dict[str, list[str]] = {}
    tables = [
        _walk(shard, number, prefix, skipped)
        for number, (shard, prefix) in enumerate(zip(shards, prefixes, strict=True))
    ]
    found = tuple(finding(what, names, source=source) for what, names in sorted(skipped.items()))
    table = pa.concat_tables([t for t in tables if len(t)] or tables[:1], promote_options="default").combine_chunks()
    if not len(table):
        told = "; ".join(map(str, found)) or "nothing in it"
        got = f"expected pictures with a .cls or .json beside them, or in person folders; got none: {told}"
        raise DataError(got, where=shards[0].where)
    if "color" in table.column_names:
        table = table.set_column(table.column_names.index("color"), "color", table["color"].fill_null("rgb"))
    return TarIndex(table, found)


def write_index(index: TarIndex, sizes: Mapping[str, int], path: Path) -> None:
    """Write the index of shards of these names and sizes in bytes."""
    described = index.table.replace_schema_metadata({_METADATA: json.dumps(dict(sizes)).encode()})
    pq.write_table(described, path, compression="zstd")


def read_index(file: Any, shards: Mapping[str, int | None]) -> TarIndex | None:
    """An index that fits shards of these names and sizes, in their order; None when it is of others.

    Args:
        file: path, or an Arrow buffer.
        shards: name and size in bytes of each shard; of shards without a size, that of the index counts.

    Raises:
        DataError: it says that a face lies outside its shard.
    """
    try:
        table = pq.read_table(file, use_threads=False)
        listed: Any = json.loads((table.schema.metadata or {})[_METADATA])
        sizes = {name: _listed_size(listed.get(name), size) for name, size in shards.items()}
        table.validate(full=True)
        table = _typed(table)
    except (pa.ArrowException, OSError, ValueError, KeyError, AttributeError):
        return None
    wanted = {name: number for number, name in enumerate(shards)}
    number_of = np.array([wanted.get(name, -1) for name in listed], np.int64)
    shard, offset, size = (np.asarray(table[name].to_numpy(), np.int64) for name in ("shard", "offset", "size"))
    if len(shard) and not 0 <= shard.min() <= shard.max() < len(number_of):
        return None
    shard = number_of[shard]
    ends = np.array([*sizes.values(), 0], np.int64)[shard]  # of shards that are not wanted, -1, the last: 0
    inside = (offset >= 0) & (size >= 0) & (offset <= ends - size)
    if (~inside & (shard >= 0)).any():
        raise DataError("says that a face lies outside its shard", where=INDEX, mend="remove it, or pack again")
    table = table.set_column(table.column_names.index("shard"), "shard", pa.array(shard)).filter(pa.array(shard >= 0))
    return TarIndex(table.replace_schema_metadata().combine_chunks(), (), sizes) if len(table) else None


def _listed_size(listed: Any, known: int | None) -> int:
    """A shard's size, if the index says the same; else a ValueError."""
    if not isinstance(listed, int) or not 0 <= listed < 2**62 or known not in (None, listed):
        raise ValueError("of other shards")
    return listed


def _typed(table: pa.Table) -> pa.Table:
    """The columns in their types; a missing one is a KeyError, nulls where none belong a ValueError."""
    wanted = {"face": pa.large_string(), "person": pa.large_string(), "color": pa.large_string()}
    wanted |= {name: pa.int64() for name in ("shard", "offset", "size")} | {"landmarks": SCHEMA.field("landmarks").type}
    names = [name for name in wanted if name not in _EXTRA or name in table.column_names]
    columns = {name: table[name].cast(wanted[name]) for name in names}
    if any(column.null_count for name, column in columns.items() if name != "landmarks"):
        raise ValueError("nulls")
    return pa.table(columns, metadata=table.schema.metadata)


@dataclass
class _Shard:
    """What is met on the way through a shard; labels need not stand beside their pictures."""

    pictures: list[Member] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    labels: dict[str, tuple[int, Label]] = field(default_factory=dict)


def _walk(file: Bytes, number: int, prefix: str, skipped: dict[str, list[str]]) -> pa.Table:
    shard = _Shard()
    for member in members(file):
        _sort(member, file, shard, skipped)
    rows: dict[str, tuple[Member, Label]] = {}
    for member, key in zip(shard.pictures, shard.keys, strict=True):
        label = shard.labels.get(key, (0, Label()))[1]
        if not (label.person or posixpath.dirname(key)):
            skipped.setdefault("pictures without a label or a person folder skipped", []).append(member.name)
            continue
        if rows.pop(member.name, None):  # as in tar itself, what was added later counts
            skipped.setdefault("members skipped for a later one of their name", []).append(member.name)
        rows[member.name] = member, label
    pictures = [member for member, _ in rows.values()]
    labels = [label for _, label in rows.values()]
    columns = {
        "face": pa.array([prefix + member.name for member in pictures], pa.large_string()),
        "person": pa.array(
            [lab.person or posixpath.dirname(m.name) for m, lab in zip(pictures, labels, strict=True)],
            pa.large_string(),
        ),
        "shard": pa.array(np.full(len(rows), number, np.int64)),
        "offset": pa.array([member.offset for member in pictures], pa.int64()),
        "size": pa.array([member.size for member in pictures], pa.int64()),
    }
    return pa.table({**columns, **label_columns(labels)})


def _sort(member: Member, file: Bytes, shard: _Shard, skipped: dict[str, list[str]]) -> None:
    if member.kind == NO_END:
        skipped.setdefault("shards without an end mark, which may be cut off", []).append(file.where)
    if member.kind in (NO_END, FOLDER):
        return
    name = member.name.removeprefix("./")

    def skip(what: str) -> None:
        skipped.setdefault(what, []).append(name.encode("utf-8", "backslashreplace").decode())

    if leads_outside(name):
        mend = "do not trust this file; pack it again from its folder"
        raise DataError(f"refused: the member name {name!r} leads out of the tar", where=file.where, mend=mend)
    folder, base = posixpath.split(name)
    stem, _, kind = base.partition(".")
    key, ending = posixpath.join(folder, stem), posixpath.splitext(base)[1].lower()
    if member.kind != FILE:
        skip(f"{member.kind}s skipped")
    elif not is_text_path(name):
        skip("files with unreadable names skipped")
    elif is_hidden(name):
        skip("hidden files skipped")
    elif ending in EXTENSIONS:
        shard.pictures.append(member._replace(name=name))
        shard.keys.append(key)
    elif f".{kind.lower()}" in KINDS and member.size <= LONGEST:
        rank = KINDS.index(f".{kind.lower()}")
        if key not in shard.labels or rank < shard.labels[key][0]:
            label = read_label(KINDS[rank], file.read_at(member.offset, member.size), f"{file.where}:{name}")
            if label != Label():
                shard.labels[key] = rank, label
    else:
        skip("files of other kinds skipped")


def shard_numbers(index: TarIndex) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Shard, offset and size of each face."""
    columns = (np.asarray(index.table[name].to_numpy(), np.int64) for name in ("shard", "offset", "size"))
    shard, offset, size = columns
    return shard, offset, size
