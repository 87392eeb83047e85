"""Thresholds and probabilities from scored pairs: what ``hyperarc calibrate`` computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from hyperarc.artifact.calibrated import CalibratedFar, CalibratedRate, MapScores, Threshold
from hyperarc.artifact.calibration import Calibration
from hyperarc.contract import Contract
from hyperarc.errors import UsageError, unknown_name
from hyperarc.metrics import (
    AcceptRates,
    HeldOut,
    OperatingPoint,
    PeoplePairs,
    accept_rates,
    best_accuracy_cut,
    deal_people,
    equal_error_cut,
    fit_isotonic,
    fit_logistic,
    hold_out,
    operating_point,
    roc,
)
from hyperarc.metrics.all_pairs import LabeledEmbeddings, Wanted, accept_rates_of_all, count_pairs
from hyperarc.metrics.inputs import FloatArray
from hyperarc.protocols.people_pairs import ScoredPeople
from hyperarc.protocols.result import Conditions, ScoredPair

FARS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
MAPS = {"isotonic": fit_isotonic, "logistic": fit_logistic}
MOST_FARS, HARDEST = 64, 16
FEW_PEOPLE = 100
_FEW_PAIRS, _MUCH = 1000, 0.2
_ANGLES, _BESIDE_DEG = 81, 3.0  # at which the curve is drawn: so many, and so far beyond the outermost thresholds


@dataclass(frozen=True)
class Asked:
    """What a calibration shall hold.

    Attributes:
        fars: false accept rates, each above 0 and below 1 (default 1e-1 to 1e-6).
        kind: of the probability map, ``isotonic`` (default; bends with the data) or ``logistic`` (two parameters).
        prior: share of genuine pairs assumed where probabilities are used (default 0.5, which favors neither).
        seed: of the folds that people are dealt into.

    Raises:
        UsageError: a rate or the prior outside its range, no rate, too many, another kind of map.
    """

    fars: Sequence[float] = FARS
    kind: str = "isotonic"
    prior: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in MAPS:
            raise unknown_name("map", self.kind, MAPS)
        if not 0.0 < self.prior < 1.0:
            raise UsageError(f"a prior should lie between 0 and 1, got {self.prior!r}")
        for far in self.fars:
            if not 0.0 < far < 1.0:
                raise UsageError(f"far should lie between 0 and 1, got {far!r}", mend="1e-4 is one in 10,000")
        object.__setattr__(self, "fars", tuple(sorted({float(far) for far in self.fars}, reverse=True)))
        if not 0 < len(self.fars) <= MOST_FARS:
            raise UsageError(f"expected 1 to {MOST_FARS} rates, got {len(self.fars)}")


@dataclass(frozen=True, eq=False)
class Everyone:
    """All faces of a set, where every pair of them counts for the thresholds.

    Attributes:
        faces: with their people as labels; keys: [faces] what they are called.
        tell: called with faces done and faces in all.
    """

    faces: LabeledEmbeddings
    keys: Sequence[str]
    tell: Callable[[int, int], None] | None = None


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A calibration with what a page about it shows.

    Attributes:
        calibration: for the artifact.
        warnings: what to know before relying on it.
        angles_deg: [m] thresholds of ``rates``, falling from lax to strict; rates: FAR and TAR there.
        held_out: the map's ratios on people that it was not fitted on.
        pairs: whose scores the map was fitted on.
        hardest: impostor pairs most alike among those that the thresholds come from.
    """

    calibration: Calibration
    warnings: tuple[str, ...]
    angles_deg: FloatArray
    rates: AcceptRates
    held_out: HeldOut
    pairs: PeoplePairs
    hardest: tuple[ScoredPair, ...]


def calibrate(
    scored: ScoredPeople, asked: Asked, contract: Contract, conditions: Conditions, everyone: Everyone | None = None
) -> Calibrated:
    """Thresholds at the rates asked for, and a map from cosines to probabilities.

    Thresholds follow the rule of :func:`hyperarc.metrics.tar_at_far`: the laxest with at most the FAR asked for.
    Intervals are Clopper and Pearson's for the independent trials that the pairs are worth
    (:func:`hyperarc.metrics.effective_trials`). EER, best accuracy and map come from the scored pairs in any case.

    Args:
        scored: pairs with both faces present.
        asked: rates and map.
        contract: of the embeddings.
        conditions: stated in the calibration, beside its own counts.
        everyone: takes the thresholds from all pairs of these faces.

    Raises:
        DataError: pairs of one class, too few people, genuine scores lower than impostor scores (logistic map).
    """
    pairs = scored.people_pairs()
    curve = roc(pairs.genuine, pairs.impostor)
    equal, best = equal_error_cut(curve), best_accuracy_cut(curve)
    fit = partial(MAPS[asked.kind], prior=asked.prior)
    held_out = hold_out(pairs, deal_people(pairs, scored.folds(), asked.seed), fit)
    points, hardest = _points(scored, pairs, asked, everyone)
    angles_deg = _angles([*(point.threshold for point in points), equal.threshold])
    every = np.append([point.threshold for point in points], np.cos(np.deg2rad(angles_deg)))
    if everyone is None:
        rates = accept_rates(pairs, every)
    else:
        rates = accept_rates_of_all(everyone.faces, every, everyone.tell)
    worths = zip(points, rates.far.worth.tolist(), rates.tar.worth.tolist(), strict=False)
    fars = tuple(CalibratedFar.of(point, far_worth, tar_worth) for point, far_worth, tar_worth in worths)
    calibration = Calibration(
        contract=contract.digest,
        fars=fars,
        equal_error=CalibratedRate(rate=equal.rate, threshold=Threshold.at(equal.threshold)),
        best_accuracy=CalibratedRate(rate=best.rate, threshold=Threshold.at(best.threshold)),
        probability_map=fit(pairs.genuine, pairs.impostor),
        scores=MapScores(
            cllr=held_out.cllr,
            brier=held_out.brier,
            calibration_error=held_out.calibration_error,
            prior=held_out.prior,
            genuine_pairs=held_out.genuine.size,
            impostor_pairs=held_out.impostor.size,
            folds=held_out.folds,
        ),
        conditions={**conditions, **_counts(scored, pairs, everyone)},
    )
    drawn = AcceptRates(*(one.at(slice(len(fars), None)) for one in rates))
    warnings = _warnings(calibration, scored, pairs, everyone)
    return Calibrated(calibration, warnings, angles_deg, drawn, held_out, pairs, hardest)


def _points(
    scored: ScoredPeople, pairs: PeoplePairs, asked: Asked, everyone: Everyone | None
) -> tuple[Sequence[OperatingPoint], tuple[ScoredPair, ...]]:
    """The thresholds asked for, and the impostor pairs that are hardest on them."""
    if everyone is None:
        return [operating_point(pairs.genuine, pairs.impostor, far) for far in asked.fars], scored.hardest(HARDEST)
    found = count_pairs(everyone.faces, wanted=Wanted(fars=tuple(asked.fars), hardest=HARDEST))
    keys = everyone.keys
    hardest = tuple(
        ScoredPair(place, keys[one.probe], keys[one.other], False, one.score) for place, one in enumerate(found.hardest)
    )
    return found.points, hardest


def _angles(thresholds: Sequence[float]) -> FloatArray:
    """Angles in degrees from a little beyond the laxest threshold to a little beyond the strictest."""
    shown = np.rad2deg(np.arccos(np.clip([t for t in thresholds if math.isfinite(t)], -1.0, 1.0)))
    return np.linspace(min(180.0, shown.max() + _BESIDE_DEG), max(0.0, shown.min() - _BESIDE_DEG), _ANGLES)


def _counts(scored: ScoredPeople, pairs: PeoplePairs, everyone: Everyone | None) -> Conditions:
    counts: Conditions = {
        "pairs": len(scored.rows),
        "genuine_pairs": pairs.genuine.size,
        "impostor_pairs": pairs.impostor.size,
        "people": pairs.people,
        "people_told_by": "genuine pairs alone" if scored.contradictions else "the data",
        "absent_faces": len(scored.absent_faces),
        "pairs_left_out": len(scored.pairs) - len(scored.rows),
        "thresholds_from": "these pairs",
    }
    if everyone is None:
        return counts
    _, sizes = np.unique(everyone.faces.labels, return_counts=True)
    return counts | {"thresholds_from": "all pairs of the faces", "faces": int(sizes.sum()), "faces_people": sizes.size}


def _warnings(
    calibration: Calibration, scored: ScoredPeople, pairs: PeoplePairs, everyone: Everyone | None
) -> tuple[str, ...]:
    """What to know before relying on the calibration."""
    genuine_of, people = np.bincount(pairs.genuine_people), pairs.people
    if everyone is not None:
        _, sizes = np.unique(everyone.faces.labels, return_counts=True)
        genuine_of, people = sizes * (sizes - 1) // 2, sizes.size
    found = [_too_small(one, people, everyone is not None) for one in calibration.fars if not one.supported]
    if people < FEW_PEOPLE:
        found.append(f"only {people} people: intervals of fewer than {FEW_PEOPLE} are themselves uncertain")
    most = genuine_of.max() / genuine_of.sum()
    if most > _MUCH:
        found.append(f"one person has {100 * most:.0f} % of the genuine pairs, so TAR is mostly that person's")
    if scored.contradictions:
        found.append(
            f"the data do not tell who the people are ({scored.contradictions:,} pairs contradict them): faces count "
            "as of different people unless genuine pairs link them, so intervals may be too narrow"
        )
    if scored.absent_faces:
        left_out = len(scored.pairs) - len(scored.rows)
        found.append(f"{len(scored.absent_faces):,} faces are absent; {left_out:,} pairs with them are left out")
    fewest = min(pairs.genuine.size, pairs.impostor.size)
    if calibration.probability_map.kind == "isotonic" and fewest < _FEW_PAIRS:
        found.append(f"the map rests on {fewest:,} pairs of a kind; below {_FEW_PAIRS:,} --map logistic is steadier")
    return tuple(found)


def _too_small(one: CalibratedFar, people: int, all_pairs: bool) -> str:
    """How many pairs, and about how many people, a rate would need; pairs of such sets are worth as much as here."""
    each = one.far.pairs / one.far.worth
    bound, measure = (math.ceil(needed * each) for needed in (one.pairs_to_bound, one.pairs_to_measure))
    more = bound / one.far.pairs
    needed = math.ceil(people * (math.sqrt(more) if all_pairs else more))
    return (
        f"FAR {one.target:g} is not supported by {one.far.pairs:,} impostor pairs of {people:,} people, worth "
        f"{one.far.worth:,.0f}: some {_rounded(bound):,} such pairs (about {_rounded(needed):,} people) would bound "
        f"it, {_rounded(measure):,} measure it"
    )


def _rounded(count: int) -> int:
    """Up to two digits, as estimates go.

    Example:
        >>> _rounded(123_456), _rounded(7)
        (130000, 7)
    """
    unit = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // unit) * unit
