"""From counts to rates: exact, or a plain word that another sweep is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.all_pairs.counts import Counts, Extremes
from hyperarc.metrics.all_pairs.plan import sampled_edges
from hyperarc.metrics.all_pairs.tally import Scores
from hyperarc.metrics.inputs import FloatArray, IntArray, score_vector
from hyperarc.metrics.thresholds import OperatingPoint, pairs_needed
from hyperarc.metrics.verification import accepts_allowed, highest_rejected


class MissedWindowError(DataError):
    """A threshold lies outside the windows that a sample foretold."""


@dataclass(frozen=True)
class ScoredPair:
    """A pair that is listed.

    Attributes:
        score: its cosine.
        probe: row of the probe.
        other: row of the other face, in the gallery or, where ``within``, among the probes.
    """

    score: float
    probe: int
    other: int
    within: bool


@dataclass(frozen=True, eq=False)
class BestMatches:
    """The best of either kind for every probe, and the best impostor for every face of the gallery.

    Attributes:
        mate: [probes] highest score with a face of the same label; -inf where there is none.
        other: [probes] highest score with a face of another label; -inf where there is none.
        alarm: [gallery] highest score with a probe of another label; -inf where there is none, empty without a gallery.
    """

    mate: Scores
    other: Scores
    alarm: Scores

    @property
    def mated(self) -> int:
        """How many probes have a mate."""
        return int(np.isfinite(self.mate).sum())

    @property
    def rank1(self) -> float:
        """Share of the probes that have a mate whose mate scores above everybody else; a tie is a miss."""
        mated = np.isfinite(self.mate)
        return float(np.mean(self.mate[mated] > self.other[mated])) if mated.any() else 0.0

    def tpir(self, fpir: float) -> float:
        """Share of mated probes whose mate comes first, above the threshold at which ``fpir`` of the searches without
        mates find somebody.

        Searched without mates are the faces of the gallery, among the probes, and probes that have no mate; without a
        gallery every probe, among the others. This is a reading of Trillion-Pairs' "identification TPR at FPR 1e-3",
        whose exact definition is not public.

        Raises:
            DataError: nobody can be searched without a mate.

        Example:
            >>> BestMatches(np.float32([0.9, 0.4]), np.float32([0.3, 0.2]), np.float32([0.5, 0.1])).tpir(0.5)
            1.0
        """
        mated = np.isfinite(self.mate)
        searches = np.concatenate([self.alarm, self.other[~mated]]) if self.alarm.size else self.other
        limit = highest_rejected(score_vector(searches[np.isfinite(searches)], "searches without mates"), fpir)
        found = (self.mate > self.other) & (self.mate > limit)
        return float(np.mean(found[mated])) if mated.any() else 0.0


@dataclass(frozen=True, eq=False)
class AllPairs:
    """What all pairs tell.

    Attributes:
        points: one for each rate that was asked for, in that order.
        unsupported: the rates below 1 / impostor pairs. Their points tell the TAR without any false accept, not the TAR
            at that rate.
        genuine_pairs, impostor_pairs: how many there are.
        edges: [bins + 1] over -1..1; genuine: [bins] all genuine pairs; sampled_impostors: [bins] a random sample.
        hardest, lowest: impostor pairs most alike and genuine pairs least alike, as many as were asked for.
        best: for every probe, where asked for.
        note: of ``Execution``.
    """

    points: tuple[OperatingPoint, ...]
    unsupported: tuple[float, ...]
    genuine_pairs: int
    impostor_pairs: int
    edges: FloatArray
    genuine: IntArray
    sampled_impostors: IntArray
    hardest: tuple[ScoredPair, ...]
    lowest: tuple[ScoredPair, ...]
    best: BestMatches | None
    note: str = ""

    def at(self, far: float) -> OperatingPoint:
        """The point of a rate that was asked for."""
        for point in self.points:
            if point.target == far:
                return point
        raise DataError(f"FAR {far:g} was not asked for", mend="give it in Wanted(fars=...)")


def resolve(counts: Counts) -> AllPairs:
    """The result of a finished sweep.

    Raises:
        MissedWindowError: a threshold lies outside the windows.
    """
    plan = counts.plan
    if counts.genuine.total != plan.genuine or not counts.done.all():
        raise DataError(f"{counts.genuine.total} of {plan.genuine} genuine pairs were counted")
    wanted = min(plan.wanted.hardest, plan.impostors)
    if counts.hardest.scores.size < wanted:
        raise MissedWindowError(f"only {counts.hardest.scores.size} of the {wanted} hardest pairs were kept")
    edges = sampled_edges()
    rows = np.clip(np.searchsorted(edges, counts.genuine.values, side="right") - 1, 0, edges.size - 2)
    genuine = np.zeros(edges.size - 1, dtype=np.int64)
    np.add.at(genuine, rows, counts.genuine.counts)
    return AllPairs(
        points=tuple(_point(counts, far) for far in plan.wanted.fars),
        unsupported=tuple(far for far in plan.wanted.fars if accepts_allowed(plan.impostors, far) == 0),
        genuine_pairs=plan.genuine,
        impostor_pairs=plan.impostors,
        edges=edges,
        genuine=genuine,
        sampled_impostors=np.asarray(plan.sampled, dtype=np.int64),
        hardest=_listed(counts.hardest),
        lowest=_listed(counts.lowest),
        best=BestMatches(counts.mate, counts.other, counts.alarm) if plan.wanted.identification else None,
        note=counts.note,
    )


def _point(counts: Counts, far: float) -> OperatingPoint:
    impostors, genuine = counts.plan.impostors, counts.genuine
    rank = accepts_allowed(impostors, far) + 1  # of the highest score that is rejected
    for window, above, inside in zip(counts.plan.windows, counts.above.tolist(), counts.inside, strict=True):
        if above < rank <= above + inside.total:
            rejected = inside.largest(rank - above)
            threshold = min(inside.least_above(rejected), genuine.least_above(rejected))
            if threshold >= window.high < math.inf:
                break  # an impostor just above the window may come first
            return OperatingPoint(
                target=far,
                threshold=threshold,
                false_accepts=above + inside.above(rejected),
                impostor_pairs=impostors,
                true_accepts=genuine.above(rejected),
                genuine_pairs=genuine.total,
                pairs_to_bound=pairs_needed(far, rule=3),
                pairs_to_measure=pairs_needed(far, rule=30),
            )
    raise MissedWindowError(
        f"the threshold of FAR {far:g} lies outside the window that a sample foretold",
        mend=f"count all shards once more with Wanted(caution={64 * counts.plan.wanted.caution:g})",
    )


def _listed(extremes: Extremes) -> tuple[ScoredPair, ...]:
    pairs = zip(extremes.scores.tolist(), extremes.places.tolist(), strict=True)
    return tuple(ScoredPair(score, probe, other, bool(within)) for score, (within, probe, other) in pairs)
