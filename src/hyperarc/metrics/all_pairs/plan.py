"""Where thresholds are to be expected: windows of scores, read off a sample."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from hyperarc.metrics.all_pairs.layout import Layout
from hyperarc.metrics.all_pairs.sample import Sample, draw_sample
from hyperarc.metrics.all_pairs.wanted import Wanted
from hyperarc.metrics.inputs import FloatArray
from hyperarc.metrics.verification import accepts_allowed

FEW = 1 << 22  # pairs: up to here all are scored exactly, and no plan is needed
BINS = 2000
VERSION = 2


@dataclass(frozen=True)
class Window:
    """Scores from ``low`` up to, but not including, ``high``."""

    low: float
    high: float


EVERYTHING = Window(-math.inf, math.inf)


@dataclass(frozen=True)
class Plan:
    """What one sweep counts, and of what; equal for all its shards.

    Attributes:
        digest: of embeddings, labels, ids, question and windows; empty where no file is written.
        wanted: the question.
        windows: rising, apart.
        genuine, impostors: pairs.
        cells, probes, gallery: how many; no gallery is 0.
        sampled: impostor pairs of the sample in ``BINS`` equal bins over -1..1.
    """

    digest: str
    wanted: Wanted
    windows: tuple[Window, ...]
    genuine: int
    impostors: int
    cells: int
    probes: int
    gallery: int
    sampled: tuple[int, ...]

    def to_json(self) -> str:
        """As text."""
        return json.dumps({**self.__dict__, "wanted": self.wanted.__dict__, "windows": self._edges()})

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """From text."""
        read = json.loads(text)
        wanted = Wanted(**{**read["wanted"], "fars": tuple(read["wanted"]["fars"])})
        windows = tuple(Window(*edges) for edges in read["windows"])
        return cls(**{**read, "wanted": wanted, "windows": windows, "sampled": tuple(read["sampled"])})

    def share_near(self, low: float, high: float = math.inf) -> float:
        """Share of the sampled impostors from ``low`` to ``high``; 1 where nothing was sampled."""
        edges, counts = sampled_edges(), np.asarray(self.sampled)
        found = counts[(edges[1:] > low) & (edges[:-1] < high)].sum()
        return float(found) / int(counts.sum()) if counts.any() else 1.0

    def _edges(self) -> list[list[float]]:
        return [[window.low, window.high] for window in self.windows]


def make_plan(layout: Layout, wanted: Wanted, *, with_digest: bool) -> Plan:
    """The plan of these pairs; the same on every machine."""
    sample = draw_sample(layout, max(wanted.fars, default=0.0))
    counts, _ = np.histogram(sample.rising, BINS, (-1.0, 1.0))
    windows: tuple[Window, ...] = (EVERYTHING,)
    if layout.impostors > FEW and sample.rising.size:
        # the highest score that is rejected, whose rank is one beyond what is accepted
        ranks = [accepts_allowed(layout.impostors, far) + 1 for far in wanted.fars]
        found = [_around(sample, rank / layout.impostors, wanted.caution) for rank in ranks]
        if wanted.hardest:
            share = min(1.0, wanted.hardest / layout.impostors)
            found.append(Window(_around(sample, share, wanted.caution).low, math.inf))
        windows = _apart(found) if found else ()
    gallery = 0 if layout.gallery is None else len(layout.gallery)
    plan = Plan("", wanted, windows, layout.genuine, layout.impostors, len(layout.cells), len(layout.probes), gallery,
                tuple(counts.tolist()))  # fmt: skip
    return Plan(**{**plan.__dict__, "digest": _digest(layout, plan)}) if with_digest else plan


def _digest(layout: Layout, plan: Plan) -> str:
    whole = blake2b(f"{VERSION} {plan.to_json()} {layout.block}".encode(), digest_size=16)
    for side in (layout.probes, layout.gallery):
        if side is not None:
            whole.update(side.vectors.digest().encode())
            for numbers in (side.labels, side.ids):
                whole.update(b"none" if numbers is None else np.ascontiguousarray(numbers, dtype="<i8").data)
    return whole.hexdigest()


def _around(sample: Sample, share: float, caution: float) -> Window:
    """Where the score that ``share`` of the impostors reach must lie, by all that the sample tells."""
    rank = share * sample.rising.size
    spread = caution * (5.0 * sample.rank_error(rank) + 10.0)
    low, high = sample.ranked(rank + spread), sample.ranked(rank - spread)
    # windows end at fp32 scores, which is what is compared with them
    return Window(float(np.nextafter(np.float32(low), np.float32(-2))), high)


def _apart(windows: list[Window]) -> tuple[Window, ...]:
    """Rising windows; those that meet are joined."""
    found: list[Window] = []
    for window in sorted(windows, key=lambda window: (window.low, window.high)):
        if found and window.low <= found[-1].high:
            found[-1] = Window(found[-1].low, max(found[-1].high, window.high))
        else:
            found.append(window)
    return tuple(found)


def sampled_edges() -> FloatArray:
    """Edges of the bins of ``Plan.sampled``."""
    return np.linspace(-1.0, 1.0, BINS + 1)
