"""Where thresholds are to be expected: windows of scores, read off a sample.

All pairs of a few thousand random faces are scored exactly, so every machine makes the same plan.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import torch

from hyperarc.metrics.all_pairs.layout import Layout, Side
from hyperarc.metrics.all_pairs.scores import exact_scores
from hyperarc.metrics.all_pairs.tally import Scores
from hyperarc.metrics.all_pairs.wanted import Wanted
from hyperarc.metrics.inputs import FloatArray, IntArray
from hyperarc.metrics.verification import accepts_allowed

FEW = 1 << 22  # pairs: up to here all are scored exactly, and no plan is needed
SAMPLED = 1 << 24  # pairs, at most
LEAST_SAMPLED = 1 << 16
GROUPS = 8
BINS = 2000
VERSION = 1


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
        cells, probes: how many.
        sampled: impostor pairs of the sample in ``BINS`` equal bins over -1..1.
    """

    digest: str
    wanted: Wanted
    windows: tuple[Window, ...]
    genuine: int
    impostors: int
    cells: int
    probes: int
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

    def _edges(self) -> list[list[float]]:
        return [[window.low, window.high] for window in self.windows]


def make_plan(layout: Layout, wanted: Wanted, *, with_digest: bool) -> Plan:
    """The plan of these pairs; the same on every machine."""
    sample, groups = _sample(layout, max(wanted.fars, default=0.0))
    counts, _ = np.histogram(sample, BINS, (-1.0, 1.0))
    windows: tuple[Window, ...] = (EVERYTHING,)
    if layout.impostors > FEW and sample.size:
        found = [_window(layout, wanted, sample, groups, far) for far in wanted.fars]
        if wanted.hardest:
            share = min(1.0, wanted.hardest / layout.impostors)
            found.append(Window(_around(sample, groups, share, wanted.caution).low, math.inf))
        windows = _apart(found) if found else ()
    plan = Plan("", wanted, windows, layout.genuine, layout.impostors, len(layout.cells), len(layout.probes),
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


def _window(layout: Layout, wanted: Wanted, sample: Scores, groups: list[Scores], far: float) -> Window:
    rank = accepts_allowed(layout.impostors, far) + 1  # of the highest score that is rejected
    return _around(sample, groups, rank / layout.impostors, wanted.caution)


def _around(sample: Scores, groups: list[Scores], share: float, caution: float) -> Window:
    """Where the score that ``share`` of the impostors reach must lie, by all that the sample tells.

    Five standard deviations of the number of pairs above it, were pairs independent; and as pairs that share faces are
    not, five standard errors of the score in groups that share none. ``sample`` and ``groups`` rise.
    """
    rank = share * sample.size
    spread = caution * (5.0 * math.sqrt(rank) + 10.0)
    low, high = _ranked(sample, rank + spread), _ranked(sample, rank - spread)
    if share * min(group.size for group in groups) >= 1.0:
        error = float(np.std([_ranked(group, share * group.size) for group in groups])) / math.sqrt(len(groups))
        middle = _ranked(sample, rank)
        low, high = min(low, middle - 5.0 * caution * error), max(high, middle + 5.0 * caution * error)
    # windows end at fp32 scores, which is what is compared with them
    return Window(float(np.nextafter(np.float32(low), np.float32(-2))), float(np.float32(high)))


def _ranked(rising: Scores, rank: float) -> float:
    """The score that stands at ``rank``, counted from 1 at the largest; infinities beyond the ends."""
    place = rising.size - math.floor(rank)
    if place >= rising.size:
        return math.inf
    return float(rising[place]) if place >= 0 else -math.inf


def _apart(windows: list[Window]) -> tuple[Window, ...]:
    """Rising windows; those that meet are joined."""
    found: list[Window] = []
    for window in sorted(windows, key=lambda window: (window.low, window.high)):
        if found and window.low <= found[-1].high:
            found[-1] = Window(found[-1].low, max(found[-1].high, window.high))
        else:
            found.append(window)
    return tuple(found)


def _worth_sampling(pairs: int, share: float) -> int:
    """How many pairs to sample so that sampling m of them and scoring what lies in the windows cost least together.

    With ``share`` of all n pairs above the lowest threshold about 10 n sqrt(share / m) pairs lie in its window, and at
    least 10 n / m in the highest one (ten times as many are scored where the product is int8); a pair in a window takes
    some four times as long as one of the sample.
    """
    balanced: float = max((20.0 * pairs * math.sqrt(share)) ** (2 / 3), math.sqrt(400.0 * pairs))
    return int(min(SAMPLED, max(LEAST_SAMPLED, balanced)))


def _sample(layout: Layout, share: float) -> tuple[Scores, list[Scores]]:
    """Exact scores of impostor pairs of random faces, rising: all, and in groups that share no face."""
    generator = np.random.default_rng(0)
    wanted = _worth_sampling(layout.pairs, share)
    rows = _some(len(layout.probes), math.isqrt(wanted), generator)
    weights = {within: len(layout.columns(within)) / (2 if within else 1) for within in layout.withins}
    scores = []
    for within, weight in weights.items():
        side = layout.columns(within)
        share = wanted // rows.size * weight / sum(weights.values())
        columns = _some(len(side), max(1, round(share)), generator)
        scores.append(_matrix(layout.probes, side, rows, columns))
    matrix = np.concatenate(scores, axis=1)
    matrix = matrix[:, generator.permutation(matrix.shape[1])]
    parts = zip(np.array_split(matrix, GROUPS), range(GROUPS), strict=True)
    groups = [_known(np.array_split(part, GROUPS, axis=1)[k]) for part, k in parts]
    return _known(matrix), groups


def _some(count: int, wanted: int, generator: np.random.Generator) -> IntArray:
    return np.asarray(generator.choice(count, min(count, wanted), replace=False), dtype=np.int64)


def _known(matrix: npt.NDArray[np.float32]) -> Scores:
    return np.sort(matrix[~np.isnan(matrix)])


def _matrix(probes: Side, side: Side, rows: IntArray, columns: IntArray) -> npt.NDArray[np.float32]:
    """Scores of all of these pairs; NaN for those that are no impostors."""
    left, right = (torch.from_numpy(s.vectors.picked(places)) for s, places in ((probes, rows), (side, columns)))
    scores = np.empty((rows.size, columns.size), dtype=np.float32)
    across = np.arange(columns.size)
    for start in range(0, rows.size, 256):
        part = left[start : start + 256]
        r, c = np.repeat(np.arange(len(part)), columns.size), np.tile(across, len(part))
        scores[start : start + 256] = exact_scores(part, right, r, c).reshape(len(part), columns.size)
    scores[probes.labels[rows][:, None] == side.labels[columns]] = np.nan
    if probes.ids is not None and side.ids is not None:
        scores[probes.ids[rows][:, None] == side.ids[columns]] = np.nan
    return scores


def sampled_edges() -> FloatArray:
    """Edges of the bins of ``Plan.sampled``."""
    return np.linspace(-1.0, 1.0, BINS + 1)
