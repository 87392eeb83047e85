"""What a sweep has counted so far: merged over shards and processes, kept in a file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.files import write_beside
from hyperarc.metrics.all_pairs.plan import Plan
from hyperarc.metrics.all_pairs.tally import Scores, Tally
from hyperarc.metrics.inputs import BoolArray, IntArray


class Extremes:
    """The pairs with the highest, or the lowest, scores; of equal scores the first by place.

    Args:
        most: how many are kept.
        lowest: whether the lowest count instead of the highest.
    """

    def __init__(self, most: int, *, lowest: bool = False) -> None:
        self.most, self.sign = most, (1.0 if lowest else -1.0)
        self.scores = np.empty(0, dtype=np.float32)
        self.places = np.empty((0, 3), dtype=np.int64)  # within, probe, other

    def add(self, scores: Scores, within: bool, probes: IntArray, others: IntArray) -> None:
        """Look at these pairs."""
        if self.most and scores.size:
            flags = np.full(scores.size, int(within), dtype=np.int64)
            self.join(scores, np.stack([flags, probes, others], axis=1))

    def join(self, scores: Scores, places: IntArray) -> None:
        """Look at pairs of which places are told in full."""
        if 0 < self.most == self.scores.size:
            worthy = self.sign * scores <= self.sign * self.scores[-1]
            scores, places = scores[worthy], places[worthy]
        scores, places = np.concatenate([self.scores, scores]), np.concatenate([self.places, places])
        best = np.lexsort((places[:, 2], places[:, 1], places[:, 0], self.sign * scores))[: self.most]
        self.scores, self.places = scores[best], places[best]


class Counts:
    """All counts of one plan.

    Args:
        plan: what is counted.
        shard: (which, of how many).
        note: of whoever asked.

    Attributes:
        done: [cells] flags.
        above: [windows] impostors at or above each window's end.
        inside: impostors in each window.
        genuine: all genuine scores.
        hardest, lowest: the pairs listed.
        mate, other: [probes] best genuine and best impostor score, -inf where there is none; empty unless asked for.
        alarm: [gallery] best impostor score, likewise.
    """

    def __init__(self, plan: Plan, shard: tuple[int, int] = (0, 1), note: str = "") -> None:
        self.plan, self.shard, self.note = plan, shard, note
        self.done: BoolArray = np.zeros(plan.cells, dtype=np.bool_)
        self.above: IntArray = np.zeros(len(plan.windows), dtype=np.int64)
        self.inside = [Tally() for _ in plan.windows]
        self.genuine = Tally()
        self.hardest = Extremes(plan.wanted.hardest)
        self.lowest = Extremes(plan.wanted.hardest, lowest=True)
        probes = plan.probes if plan.wanted.identification else 0
        gallery = plan.gallery if plan.wanted.identification else 0
        self.mate, self.other, self.alarm = (np.full(n, -np.inf, dtype=np.float32) for n in (probes, probes, gallery))

    def count(self, window: int, scores: Scores, sure: int = 0) -> None:
        """Count impostors for a window, and so many more that are sure to lie above it."""
        low, high = self.plan.windows[window].low, self.plan.windows[window].high
        self.above[window] += sure + np.count_nonzero(scores >= high)
        self.inside[window].add(scores[(scores >= low) & (scores < high)])

    def merge(self, more: Counts) -> None:
        """Count in what another shard counted."""
        self.done |= more.done
        self.above += more.above
        for mine, theirs in zip([self.genuine, *self.inside], [more.genuine, *more.inside], strict=True):
            mine.merge(theirs)
        self.hardest.join(more.hardest.scores, more.hardest.places)
        self.lowest.join(more.lowest.scores, more.lowest.places)
        for best in ("mate", "other", "alarm"):
            np.maximum(getattr(self, best), getattr(more, best), out=getattr(self, best))

    def to_bytes(self) -> bytes:
        """All of it, as the bytes of a .npz file."""
        arrays: dict[str, npt.NDArray[Any]] = {
            "plan": np.frombuffer(self.plan.to_json().encode(), dtype=np.uint8),
            "note": np.frombuffer(self.note.encode(), dtype=np.uint8),
            "shard": np.asarray(self.shard), "done": self.done, "above": self.above,
            "genuine_values": self.genuine.values, "genuine_counts": self.genuine.counts,
            "hardest_scores": self.hardest.scores, "hardest_places": self.hardest.places,
            "lowest_scores": self.lowest.scores, "lowest_places": self.lowest.places,
            "mate": self.mate, "other": self.other, "alarm": self.alarm,
        }  # fmt: skip
        for k, tally in enumerate(self.inside):
            arrays |= {f"values_{k}": tally.values, f"counts_{k}": tally.counts}
        with io.BytesIO() as buffer:
            np.savez(buffer, **arrays)  # type: ignore[arg-type]
            return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Counts:
        """What :meth:`to_bytes` gave; raises ValueError, KeyError or BadZipFile for anything else."""
        with np.load(io.BytesIO(content), allow_pickle=False) as read:
            plan, note = (read[name].tobytes().decode() for name in ("plan", "note"))
            counts = cls(Plan.from_json(plan), tuple(read["shard"].tolist()), note)
            counts.done, counts.above = read["done"], read["above"]
            counts.inside = [Tally(read[f"values_{k}"], read[f"counts_{k}"]) for k in range(len(counts.above))]
            counts.genuine = Tally(read["genuine_values"], read["genuine_counts"])
            counts.hardest.join(read["hardest_scores"], read["hardest_places"])
            counts.lowest.join(read["lowest_scores"], read["lowest_places"])
            counts.mate, counts.other, counts.alarm = read["mate"], read["other"], read["alarm"]
        return counts

    def save(self, file: Path) -> None:
        """Write the file whole, or leave what is there."""
        with write_beside(file) as beside:
            beside.write_bytes(self.to_bytes())


def load_counts(file: Path) -> Counts:
    """Read a counts file.

    Raises:
        DataError: the file is absent, damaged, or none of counts.
    """
    try:
        return Counts.from_bytes(file.read_bytes())
    except FileNotFoundError as error:
        raise DataError("no such counts file", where=file) from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"no counts file, or a damaged one ({error})", where=file, mend="count this shard anew"
        ) from error
