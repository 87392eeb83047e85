"""``hyperarc count``: TAR at FAR over all pairs of files of embeddings; in one run, in processes, or in shards."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hyperarc.commands.count_report import report_counts
from hyperarc.commands.show import Show
from hyperarc.errors import DataError, UsageError
from hyperarc.metrics import clopper_pearson
from hyperarc.metrics.all_pairs import (
    AllPairs,
    Execution,
    MissedWindowError,
    ScoredPair,
    Wanted,
    count_pairs,
    count_shard,
    merge_counts,
)
from hyperarc.metrics.thresholds import OperatingPoint
from hyperarc.parallel import rank, torchrun_group, world_size
from hyperarc.protocols.counted_sides import CountedSide, labeled_sides, open_side

ENDING = ".npz"


@dataclass(frozen=True)
class Sides:
    """What is compared.

    Attributes:
        probes, gallery: files of embeddings; without a gallery the probes are compared among themselves.
        people: a list for each side that needs one, rows ``path person``.
    """

    probes: Path
    gallery: Path | None = None
    people: tuple[Path | None, Path | None] = (None, None)

    def opened(self) -> list[CountedSide]:
        """Both sides, or the one there is."""
        given = zip((self.probes, self.gallery), self.people, strict=True)
        return [open_side(path, people) for path, people in given if path is not None]


def count(sides: Sides, wanted: Wanted, execution: Execution, out: Path, show: Show) -> dict[str, Any] | None:
    """Count all pairs, write the page ``out``, and return the facts; of several processes the first does so.

    Killed and started again it goes on where it was, from ``execution.counts_file`` or, where that is None, a file
    beside ``out`` that is removed at the end.
    """
    begun = time.monotonic()
    with torchrun_group(str(execution.device)) as device:
        opened = sides.opened()
        beside = out.with_name(f".{out.stem}.unfinished{ENDING}")
        file = Path(execution.counts_file or beside)
        found = _run(opened, wanted, replace(execution, device=device, counts_file=file), show)
        processes, first = world_size(), rank() == 0
    if execution.counts_file is None:
        for part in out.parent.glob(f"{beside.stem}*{ENDING}"):
            part.unlink(missing_ok=True)  # on every machine, perhaps by another process already
    if not first:
        return None
    told = facts(found, opened) | {"device": device, "processes": processes}
    return _reported(told | {"seconds": round(time.monotonic() - begun, 1)}, found, out)


def count_one_shard(
    sides: Sides, shard: tuple[int, int], wanted: Wanted, execution: Execution, show: Show
) -> dict[str, Any]:
    """Count a shard into its file, going on where it was."""
    opened = sides.opened()
    probes, *others = labeled_sides(opened)
    with show.progress(f"counting shard {shard[0] + 1}/{shard[1]}") as tell:
        going = replace(execution, note=_note(opened), progress=lambda p: tell(p.pairs_done, p.pairs_total))
        count_shard(shard, probes, others[0] if others else None, wanted, going)
    return {"shard": f"{shard[0] + 1}/{shard[1]}", "counts": str(execution.counts_file)}


def merge(files: Sequence[Path], out: Path) -> dict[str, Any]:
    """The result of all shards; the embeddings are not needed, so pairs are told by their rows."""
    try:
        found = merge_counts(files)
    except MissedWindowError as error:
        raise DataError(str(error), mend="count all shards anew with --caution 64") from error
    return _reported(facts(found, None) | {"shards": len(files)}, found, out)


def parse_shard(text: str) -> tuple[int, int]:
    """Which shard of how many, from 0.

    Raises:
        UsageError: another form, a shard that does not exist.

    Example:
        >>> parse_shard("3/8")
        (2, 8)
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    which, shards = map(int, found.groups()) if found else (0, 0)
    if not 1 <= which <= shards:
        raise UsageError(f"expected a shard such as 3/8, counted from 1, got {text!r}")
    return which - 1, shards


def facts(found: AllPairs, opened: Sequence[CountedSide] | None) -> dict[str, Any]:
    """The result as plain values for JSON; without the sides, pairs are told by row."""
    return {
        **json.loads(found.note or "{}"),
        "genuine_pairs": found.genuine_pairs,
        "impostor_pairs": found.impostor_pairs,
        "points": [_point(point, supported=point.target not in found.unsupported) for point in found.points],
        "hardest_impostor": [_pair(pair, opened) for pair in found.hardest],
        "hardest_genuine": [_pair(pair, opened) for pair in found.lowest],
    }


def closing_line(told: dict[str, Any]) -> str:
    """The facts in words."""
    lines = [f"{told['genuine_pairs']:,} genuine and {told['impostor_pairs']:,} impostor pairs, all counted"]
    for point in told["points"]:
        few = "" if point["supported"] else "  too few impostor pairs for this FAR"
        threshold = "none" if point["threshold"] is None else f"{point['threshold']:.4f}"
        lines.append(
            f"TAR {100 * point['tar']:.2f} % at FAR {point['far']:g}  "
            f"({point['false_accepts']:,} false accepts, threshold {threshold}){few}"
        )
    return "\n".join([*lines, f"report {told['report']}"])


def _run(opened: list[CountedSide], wanted: Wanted, execution: Execution, show: Show) -> AllPairs:
    probes, *others = labeled_sides(opened)
    if Path(execution.counts_file or "").exists():
        show.note(f"going on with {execution.counts_file}")
    with show.progress("counting pairs") as tell:
        going = replace(execution, note=_note(opened), progress=lambda p: tell(p.pairs_done, p.pairs_total))
        return count_pairs(probes, others[0] if others else None, wanted, going)


def _note(opened: Sequence[CountedSide]) -> str:
    """Conditions, kept with the counts so that shards can be merged without the embeddings."""
    told: dict[str, Any] = {}
    for name, side in zip(("embeddings", "gallery"), opened, strict=False):
        told |= {name: side.path.name, f"{name}_faces": len(side)}
        told |= {f"{name}_people": side.people, f"{name}_strangers": side.strangers}
    contract = opened[0].contract
    told["flip"] = "not stated" if contract is None else contract.flip
    return json.dumps(told | {"contract": "not stated" if contract is None else contract.digest})


def _point(point: OperatingPoint, *, supported: bool) -> dict[str, Any]:
    ends = {
        name: [float(end) for end in clopper_pearson(*counts)]
        for name, counts in (
            ("tar_interval", (point.true_accepts, point.genuine_pairs)),
            ("far_interval", (point.false_accepts, point.impostor_pairs)),
        )
    }
    finite = bool(np.isfinite(point.threshold))
    return {
        "far": point.target,
        "supported": supported,
        "tar": point.tar,
        "tar_interval": ends["tar_interval"],
        "threshold": point.threshold if finite else None,
        "angle_deg": _degrees(point.threshold) if finite else None,
        "false_accepts": point.false_accepts,
        "true_accepts": point.true_accepts,
        "measured_far": point.far,
        "far_interval": ends["far_interval"],
        "pairs_to_measure": point.pairs_to_measure,
    }


def _pair(pair: ScoredPair, opened: Sequence[CountedSide] | None) -> dict[str, Any]:
    if opened is None:
        where = "the embeddings" if pair.within else "the other side"
        names = [f"row {pair.probe} of the embeddings", f"row {pair.other} of {where}"]
    else:
        names = [opened[0].face(pair.probe), opened[0 if pair.within else -1].face(pair.other)]
    return {"cosine": pair.score, "angle_deg": _degrees(pair.score), "faces": names}


def _degrees(cosine: float) -> float:
    return float(np.rad2deg(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _reported(told: dict[str, Any], found: AllPairs, out: Path) -> dict[str, Any]:
    return told | {"report": str(report_counts(told, found, out))}
