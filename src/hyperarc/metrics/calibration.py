"""From cosines to P(one person | cosine): logistic and isotonic maps with a stated prior.

A map holds the log-likelihood ratio of a score, log p(score | one person) / p(score | two people), which says nothing
of how common genuine pairs are. The share of genuine pairs in the set it was fitted on (its prior) is taken out, the
prior of use is put in:

    log-odds(score; prior) = fitted log-odds(score) - logit(prior of the set) + logit(prior of use)

(Bruemmer and du Preez, "Application-independent evaluation of speaker detection", Computer Speech and Language 20,
2006). A pair list that is half genuine and a door at which one in a hundred is an impostor need different numbers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import FloatArray, IntArray, score_vector


def logit(share: float) -> float:
    """log(share / (1 - share)).

    Raises:
        DataError: a share outside 0..1 or at its ends, where the log-odds are infinite.

    Example:
        >>> logit(0.5)
        0.0
    """
    if not 0.0 < share < 1.0:
        raise DataError(f"a prior should lie between 0 and 1, got {share!r}", mend="0.5 takes both as equally likely")
    return math.log(share) - math.log1p(-share)


@dataclass(frozen=True)
class ProbabilityMap(ABC):
    """A never-falling map from scores to probabilities.

    Attributes:
        prior: assumed share of genuine pairs where the map is used.
        genuine, impostor: number of pairs it was fitted on.
    """

    kind: ClassVar[str]
    prior: float
    genuine: int
    impostor: int

    @abstractmethod
    def log_likelihood_ratio(self, scores: Any) -> FloatArray:
        """Natural log-likelihood ratio of each score, [n]."""

    def probability(self, scores: Any, prior: float | None = None) -> FloatArray:
        """P(one person | score), [n], under ``prior``, by default the one of the map.

        Example:
            >>> fitted = LogisticMap(prior=0.5, genuine=9, impostor=9, slope=10.0, offset=-3.0)
            >>> fitted.probability([0.3]).tolist(), fitted.probability([0.3], prior=0.1).round(9).tolist()
            ([0.5], [0.1])
        """
        log_odds = self.log_likelihood_ratio(scores) + logit(self.prior if prior is None else prior)
        return np.asarray(np.exp(-np.logaddexp(0.0, -log_odds)), dtype=np.float64)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; :func:`probability_map` reads them."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return {"kind": self.kind, **plain}


@dataclass(frozen=True)
class LogisticMap(ProbabilityMap):
    """log-likelihood ratio = ``slope`` x score + ``offset``, slope never negative."""

    kind: ClassVar[str] = "logistic"
    slope: float
    offset: float

    def __post_init__(self) -> None:
        logit(self.prior)
        if not (0.0 <= self.slope < math.inf and math.isfinite(self.offset)):
            raise DataError(f"expected a finite slope from 0 and a finite offset, got {self.slope}, {self.offset}")

    def log_likelihood_ratio(self, scores: Any) -> FloatArray:
        """Natural log-likelihood ratio of each score, [n]."""
        return self.slope * score_vector(scores, "scores") + self.offset


@dataclass(frozen=True)
class IsotonicMap(ProbabilityMap):
    """Straight lines between ``knots`` (rising scores) with log-likelihood ``ratios``, level beyond both ends."""

    kind: ClassVar[str] = "isotonic"
    knots: tuple[float, ...]
    ratios: tuple[float, ...]

    def __post_init__(self) -> None:
        logit(self.prior)
        knots, ratios = score_vector(self.knots, "knots"), score_vector(self.ratios, "ratios")
        if knots.size != ratios.size or (np.diff(knots) <= 0.0).any() or (np.diff(ratios) < 0.0).any():
            raise DataError("expected as many ratios as knots, knots rising and ratios never falling")

    def log_likelihood_ratio(self, scores: Any) -> FloatArray:
        """Natural log-likelihood ratio of each score, [n]."""
        return np.asarray(np.interp(score_vector(scores, "scores"), self.knots, self.ratios), dtype=np.float64)


def probability_map(plain: dict[str, Any]) -> ProbabilityMap:
    """The map whose :meth:`ProbabilityMap.as_dict` this is.

    Raises:
        DataError: an unknown kind, missing or foreign fields, values that make no map.

    Example:
        >>> fitted = LogisticMap(prior=0.5, genuine=9, impostor=9, slope=10.0, offset=-3.0)
        >>> probability_map(fitted.as_dict()) == fitted
        True
    """
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
    kinds: dict[Any, Callable[..., ProbabilityMap]] = {one.kind: one for one in (LogisticMap, IsotonicMap)}
    kind = fields.pop("kind", None)
    if kind not in kinds:
        raise DataError(f"unknown kind of probability map {kind!r}, expected one of {sorted(kinds)}")
    try:
        return kinds[kind](**fields)
    except TypeError as error:
        raise DataError(f"not a {kind} map: {error}") from error


def fit_logistic(genuine: Any, impostor: Any, prior: float = 0.5) -> LogisticMap:
    """Logistic map by maximum likelihood with Platt's targets: finite even where the classes do not overlap.

    Platt, "Probabilistic outputs for support vector machines", 1999: targets (g + 1) / (g + 2) and 1 / (i + 2) for 1
    and 0; solved by Newton steps with backtracking (Lin, Lin and Weng, Machine Learning 68, 2007) on standardised
    scores. Two parameters, so it is the choice for few pairs and extrapolates; :func:`fit_isotonic` bends with many.

    Args:
        genuine, impostor: scores [g] and [i].
        prior: assumed share of genuine pairs in use (default 0.5); that of the set is taken out.

    Raises:
        DataError: bad scores, a prior outside 0..1, genuine scores that are the lower ones.

    Example:
        >>> fitted = fit_logistic([0.7, 0.6, 0.5], [0.1, 0.2, 0.3])
        >>> fitted.probability([0.1, 0.4, 0.7]).round(2).tolist()
        [0.13, 0.5, 0.87]
    """
    genuine, impostor = score_vector(genuine, "genuine"), score_vector(impostor, "impostor")
    shift = logit(genuine.size / (genuine.size + impostor.size))
    scores = np.concatenate([genuine, impostor])
    middle, spread = float(scores.mean()), float(scores.std())
    if spread <= 1e-12 * max(1.0, abs(middle)):  # one score tells nothing
        return LogisticMap(float(prior), genuine.size, impostor.size, slope=0.0, offset=0.0)
    yes, no = (genuine.size + 1) / (genuine.size + 2), 1 / (impostor.size + 2)
    targets = np.repeat([yes, no], [genuine.size, impostor.size])
    slope, offset = _newton((scores - middle) / spread, targets, shift)
    if slope < -1e-6:
        raise DataError("genuine scores are lower than impostor scores", mend="negate distances; check the labels")
    slope = slope / spread if slope > 1e-6 else 0.0  # so little is rounding: such a map would fall here and there
    return LogisticMap(float(prior), genuine.size, impostor.size, slope=slope, offset=offset - slope * middle - shift)


def _newton(scores: FloatArray, targets: FloatArray, start: float) -> tuple[float, float]:
    """Slope and offset of the log-odds with the least mean log loss."""
    rows = np.stack([scores, np.ones_like(scores)])
    point = np.array([0.0, start])

    def loss(at: FloatArray) -> float:
        log_odds = at @ rows
        return float(np.mean(np.logaddexp(0.0, log_odds) - targets * log_odds))

    best = loss(point)
    for _ in range(100):
        share = np.exp(-np.logaddexp(0.0, -(point @ rows)))
        gradient = rows @ (share - targets) / scores.size
        curvature = (rows * (share * (1.0 - share))) @ rows.T / scores.size
        step = np.linalg.solve(curvature + 1e-12 * np.eye(2), -gradient)
        drop, length = float(gradient @ step), 1.0
        while length > 1e-10 and loss(point + length * step) > best + 1e-4 * length * drop:
            length /= 2.0
        if length <= 1e-10 or -drop < 1e-16:
            break
        point = point + length * step
        best = loss(point)
    return float(point[0]), float(point[1])


def fit_isotonic(genuine: Any, impostor: Any, prior: float = 0.5) -> IsotonicMap:
    """Isotonic map: the never-falling step of greatest likelihood, by pooling adjacent violators.

    Ayer et al., Annals of Mathematical Statistics 26, 1955; for scores Zadrozny and Elkan, KDD 2002. One genuine and
    one impostor pair are added below and above all scores (Laplace's rule of succession, as in Bruemmer's FoCal
    toolkit), so no score is ever certain. Between the pools lines are drawn in the log-likelihood ratio.

    Args and errors as :func:`fit_logistic`; but reversed scores give a level map, not an error.

    Example:
        >>> fitted = fit_isotonic([0.7, 0.6, 0.3], [0.1, 0.2, 0.4])
        >>> fitted.probability([0.1, 0.35, 0.7]).round(2).tolist()
        [0.25, 0.5, 0.75]
    """
    genuine, impostor = score_vector(genuine, "genuine"), score_vector(impostor, "impostor")
    levels, row = np.unique(np.concatenate([genuine, impostor]), return_inverse=True)
    total = np.bincount(row, minlength=levels.size)
    right = np.bincount(row[: genuine.size], minlength=levels.size)
    total, right = (np.concatenate([[end], counts, [end]]) for counts, end in ((total, 2), (right, 1)))
    first = _pool(right, total)
    share = np.add.reduceat(right, first) / np.add.reduceat(total, first)
    ratios = np.log(share) - np.log1p(-share) - logit(genuine.size / (genuine.size + impostor.size))
    # a pool that is an added pair alone has no score of its own
    starts = np.clip(first - 1, 0, levels.size)
    ends = np.clip(np.append(first[1:], total.size) - 2, -1, levels.size - 1)
    real = starts <= ends
    knots = np.stack([levels[starts[real]], levels[ends[real]]], axis=1).ravel()
    kept = np.append(True, np.diff(knots) > 0.0)
    return IsotonicMap(
        float(prior),
        genuine.size,
        impostor.size,
        knots=tuple(knots[kept].tolist()),
        ratios=tuple(np.repeat(ratios[real], 2)[kept].tolist()),
    )


def _pool(right: IntArray, total: IntArray) -> IntArray:
    """First row of each pool. Whole runs of violators are pooled at a time; the order of pooling does not matter."""
    first = np.arange(total.size)
    while True:
        share = np.add.reduceat(right, first) / np.add.reduceat(total, first)
        kept = np.append(True, np.diff(share) > 0.0)
        if kept.all():
            return first
        first = first[kept]
