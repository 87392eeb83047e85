"""Counting all pairs: in one process, in several, or in shards on many machines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from hyperarc.errors import DataError, HyperArcError
from hyperarc.metrics.all_pairs.choice import choose_product
from hyperarc.metrics.all_pairs.counts import Counts, load_counts
from hyperarc.metrics.all_pairs.layout import Layout
from hyperarc.metrics.all_pairs.plan import make_plan
from hyperarc.metrics.all_pairs.result import AllPairs, MissedWindowError, resolve
from hyperarc.metrics.all_pairs.sweep import Sweep
from hyperarc.metrics.all_pairs.vectors import LabeledEmbeddings
from hyperarc.metrics.all_pairs.wanted import Execution, PairProgress, Wanted
from hyperarc.parallel import gather, rank, world_size

MORE_CAUTION = 64.0


def count_pairs(
    probes: LabeledEmbeddings,
    gallery: LabeledEmbeddings | None = None,
    wanted: Wanted | None = None,
    execution: Execution | None = None,
) -> AllPairs:
    """TAR at FAR, exactly, over all pairs of probes with a gallery, or of probes among themselves.

    Equal to sorting the scores of all pairs (the rule is that of :func:`hyperarc.metrics.tar_at_far`), which are never
    held: a fast matrix product, of which the largest error is known, tells on which side of a threshold nearly every
    pair lies; the few others are scored exactly. A score is the dot product of two unit vectors (made in fp64, rounded
    to fp32) without any error inside, rounded to fp32; so the result does not depend on device, precision, blocks or
    number of processes. Inside a process group every process counts its share, and all get the result.

    Args:
        probes, gallery: embeddings with labels, perhaps larger than memory.
        wanted: rates and lists; see :class:`Wanted` for the defaults.
        execution: device, precision, memory, resuming; see :class:`Execution`.

    Raises:
        DataError: NaN, infinity or zero vectors (named), labels of another length, no genuine or no impostor pair, a
            counts file of something else.
        HyperArcError: too little memory allowed, no such device.

    Example:
        >>> faces = LabeledEmbeddings([[1.0, 0.1], [1.0, 0.0], [0.1, 1.0], [0.0, 1.0]], ["a", "a", "b", "b"])
        >>> point = count_pairs(faces, wanted=Wanted(fars=(0.25,))).points[0]
        >>> point.tar, point.false_accepts, point.impostor_pairs
        (1.0, 1, 4)
    """
    wanted, execution = wanted or Wanted(), execution or Execution()
    layout = Layout(probes, gallery, wanted.among_probes)
    shard = (rank(), world_size())
    file = Path(execution.counts_file) if execution.counts_file else None
    if file and shard[1] > 1:
        file = file.with_name(f"{file.stem}.{shard[0]}-of-{shard[1]}{file.suffix}")
    while True:
        plan = make_plan(layout, wanted, with_digest=file is not None)
        counts = _gathered(_sweep(layout, Counts(plan, shard, execution.note), file, execution), execution)
        try:
            return resolve(counts)
        except MissedWindowError:
            wanted = replace(wanted, caution=MORE_CAUTION * wanted.caution)
            file = file and file.with_name(f"{file.stem}.again{file.suffix}")


def count_shard(
    shard: tuple[int, int],
    probes: LabeledEmbeddings,
    gallery: LabeledEmbeddings | None = None,
    wanted: Wanted | None = None,
    execution: Execution | None = None,
) -> None:
    """Count one of several shards into ``execution.counts_file``; a run that was stopped goes on where it was.

    Shards may be counted on different machines, devices and precisions. :func:`merge_counts` makes one result of them.

    Args:
        shard: (which, of how many), counted from 0.
        probes, gallery, wanted, execution: as for :func:`count_pairs`; the same for all shards.

    Raises:
        DataError: as :func:`count_pairs`; no counts file named, a shard that does not exist.
    """
    wanted, execution = wanted or Wanted(), execution or Execution()
    if execution.counts_file is None:
        raise DataError("a shard is counted into a file", mend="give Execution(counts_file=...)")
    if not 0 <= shard[0] < shard[1]:
        raise DataError(f"there is no shard {shard[0]} of {shard[1]}", mend="they are counted from 0")
    layout = Layout(probes, gallery, wanted.among_probes)
    plan = make_plan(layout, wanted, with_digest=True)
    _sweep(layout, Counts(plan, shard, execution.note), Path(execution.counts_file), execution)


def merge_counts(files: Sequence[str | Path]) -> AllPairs:
    """The result of all shards; the embeddings are not needed.

    Raises:
        DataError: a file is absent, damaged, unfinished, or of other embeddings, labels or rates; a shard is missing or
            there twice. The file is named.
    """
    if not files:
        raise DataError("no counts files", mend="give those of all shards")
    merged: Counts | None = None
    seen: dict[int, Path] = {}
    for file in map(Path, files):
        counts = load_counts(file)
        if merged and (counts.plan != merged.plan or counts.shard[1] != merged.shard[1]):
            raise DataError(f"was counted of something else than {files[0]}", where=file)
        done, own = int(counts.done.sum()), len(_own_cells(counts))
        if done < own:
            raise DataError(f"is not finished: {done} of {own} cells", where=file, mend="let it go on")
        if counts.shard[0] in seen:
            raise DataError(f"is the same shard as {seen[counts.shard[0]]}", where=file)
        seen[counts.shard[0]] = file
        if merged:
            merged.merge(counts)
        else:
            merged = counts
    assert merged is not None
    missing = sorted(set(range(merged.shard[1])) - set(seen))
    if missing:
        told = ", ".join(f"{k + 1}/{merged.shard[1]}" for k in missing)
        raise DataError(f"shards are missing: {told}", mend="count them, too")
    return resolve(merged)


def _own_cells(counts: Counts) -> range:
    index, shards = counts.shard
    return range(index * counts.plan.cells // shards, (index + 1) * counts.plan.cells // shards)


def _resumed(counts: Counts, file: Path | None) -> Counts:
    """The counts in the file, if there are any."""
    if file is None or not file.exists():
        return counts
    found = load_counts(file)
    if found.plan != counts.plan or found.shard != counts.shard:
        raise DataError(
            "holds counts of other embeddings, labels, rates or another shard",
            where=file, mend="name another file, or remove this one",
        )  # fmt: skip
    return found


def _sweep(layout: Layout, counts: Counts, file: Path | None, execution: Execution) -> Counts:
    """Count this shard's cells, saving from time to time."""
    counts = _resumed(counts, file)
    device = _usable(execution.device)
    product = choose_product(execution.precision, device, layout, counts.plan)
    sweep = Sweep(layout, counts, product, device, execution.memory_mb)
    cells = _own_cells(counts)
    sizes = {index: layout.size(layout.cells[index]) for index in cells}
    before = sum(size for index, size in sizes.items() if counts.done[index])
    pairs, total = before, sum(sizes.values())
    began = told = saved = time.monotonic()
    for index in cells:
        if counts.done[index]:
            continue
        sweep.count(index)
        pairs += sizes[index]
        now = time.monotonic()
        if execution.progress and (now - told >= 1.0 or pairs == total):
            seconds = now - began
            execution.progress(PairProgress(pairs, total, seconds, (pairs - before) / max(seconds, 1e-9)))
            told = now
        if file and (now - saved >= execution.save_every_s):
            counts.save(file)
            saved = time.monotonic()
    if file:
        counts.save(file)
    return counts


def _usable(device: str | torch.device) -> torch.device:
    try:
        torch.empty(1, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        why = str(error).splitlines()[0]
        raise HyperArcError(f"the device cannot be used: {why}", where=f"device {device}", mend="use cpu") from error


def _gathered(counts: Counts, execution: Execution) -> Counts:
    """The counts of all processes."""
    if world_size() == 1:
        return counts
    content = torch.frombuffer(bytearray(counts.to_bytes()), dtype=torch.uint8)
    device = torch.device(execution.device)
    sizes, _ = gather(torch.tensor([content.numel()], device=device))
    whole, _ = gather(content.to(device))
    parts = whole.cpu().split(sizes.tolist())
    merged = Counts.from_bytes(parts[0].numpy().tobytes())
    for part in parts[1:]:
        merged.merge(Counts.from_bytes(part.numpy().tobytes()))
    return merged
