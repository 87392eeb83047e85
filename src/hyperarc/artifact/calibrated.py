"""The parts of a calibration: frozen, typed, and checked against one another when they are read."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hyperarc.metrics import OperatingPoint, Rates

ROUNDING = 1e-6  # of a cosine of fp32 vectors
_NEARLY = 0.95  # what pairs are worth is itself an estimate


class Strict(BaseModel):
    """Frozen; every key known, every value of its very type, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Cosine = Annotated[float, Field(ge=-1.0, le=1.0)]
Degrees = Annotated[float, Field(ge=0.0, le=180.0)]


class AcceptedShare(Strict):
    """How many pairs were accepted.

    Attributes:
        accepted, pairs: counts; share: their quotient.
        worth: independent trials that the pairs are worth (:func:`hyperarc.metrics.effective_trials`).
        low, high: 95 % interval of the share, with people as the unit.
    """

    accepted: Count
    pairs: Annotated[Count, Field(ge=1)]
    share: Share
    worth: Annotated[float, Field(gt=0.0)]
    low: Share
    high: Share

    @model_validator(mode="after")
    def _fits(self) -> AcceptedShare:
        if abs(self.accepted / self.pairs - self.share) > 1e-12 or not self.low <= self.share <= self.high:
            raise ValueError(f"{self.accepted} of {self.pairs} is not {self.share} in {self.low}..{self.high}")
        return self

    @classmethod
    def of(cls, accepted: int, pairs: int, worth: float) -> AcceptedShare:
        """With its interval.

        Example:
            >>> share = AcceptedShare.of(0, 400, 300.0)
            >>> share.share, round(share.high, 4)
            (0.0, 0.0122)
        """
        interval, share = Rates(np.array([accepted]), pairs, np.array([worth])).interval(), accepted / pairs
        # a share that lies on a bound may be rounded across it
        low, high = min(float(interval.low[0]), share), max(float(interval.high[0]), share)
        return cls(accepted=accepted, pairs=pairs, share=share, worth=worth, low=low, high=high)


    def text(self, *, percent: bool = True) -> str:
        """The share with its interval.

        Example:
            >>> share = AcceptedShare.of(3, 3000, 3000.0)
            >>> share.text(), share.text(percent=False)
            ('0.10 % (0.02 to 0.29)', '0.001 (0.00021 to 0.0029)')
        """
        if percent:
            return f"{100 * self.share:.2f} % ({100 * self.low:.2f} to {100 * self.high:.2f})"
        return f"{self.share:.3g} ({self.low:.2g} to {self.high:.2g})"


class Threshold(Strict):
    """A cosine from which pairs are accepted, and its angle."""

    cosine: Cosine
    angle_deg: Degrees

    @model_validator(mode="after")
    def _fits(self) -> Threshold:
        if abs(math.cos(math.radians(self.angle_deg)) - self.cosine) > ROUNDING:
            raise ValueError(f"{self.angle_deg} degrees is not cosine {self.cosine}")
        return self

    @classmethod
    def at(cls, cosine: float) -> Threshold:
        """Of a cosine; what rounding put beyond -1..1 is cut off.

        Example:
            >>> Threshold.at(0.5).angle_deg
            60.00000000000001
        """
        cosine = min(max(cosine, -1.0), 1.0)
        return cls(cosine=cosine, angle_deg=math.degrees(math.acos(cosine)))


class CalibratedFar(Strict):
    """What was found for one false accept rate.

    Attributes:
        target: the rate asked for.
        threshold: the laxest one with a FAR of at most ``target`` on these pairs; None where nothing may be accepted.
        far, tar: reached at it.
        pairs_to_measure, pairs_to_bound: independent impostor pairs needed (:func:`hyperarc.metrics.pairs_needed`).
        supported: whether the impostor pairs are worth (nearly, 95 %) as many; only then is the threshold given out.
    """

    target: Annotated[float, Field(gt=0.0, lt=1.0)]
    threshold: Threshold | None
    far: AcceptedShare
    tar: AcceptedShare
    pairs_to_bound: Annotated[Count, Field(ge=1)]
    pairs_to_measure: Annotated[Count, Field(ge=1)]
    supported: bool

    @model_validator(mode="after")
    def _fits(self) -> CalibratedFar:
        if self.supported != (self.threshold is not None and self._worth(self.pairs_to_bound)):
            raise ValueError(f"FAR {self.target:g}: supported {self.supported} with pairs worth {self.far.worth:g}")
        return self

    @classmethod
    def of(cls, point: OperatingPoint, far_worth: float, tar_worth: float) -> CalibratedFar:
        """Of a point and of what its impostor and its genuine pairs are worth."""
        threshold = Threshold.at(point.threshold) if math.isfinite(point.threshold) else None
        return cls(
            target=point.target,
            threshold=threshold,
            far=AcceptedShare.of(point.false_accepts, point.impostor_pairs, far_worth),
            tar=AcceptedShare.of(point.true_accepts, point.genuine_pairs, tar_worth),
            pairs_to_bound=point.pairs_to_bound,
            pairs_to_measure=point.pairs_to_measure,
            supported=threshold is not None and far_worth >= _NEARLY * point.pairs_to_bound,
        )

    @property
    def standing(self) -> str:
        """``measured``, ``bounded`` (worth at least 3 / FAR pairs, not 30 / FAR) or ``not supported``."""
        if not self.supported:
            return "not supported"
        return "measured" if self._worth(self.pairs_to_measure) else "bounded"

    def _worth(self, needed: int) -> bool:
        return self.far.worth >= _NEARLY * needed


class CalibratedRate(Strict):
    """A rate, and the threshold that it was chosen for."""

    rate: Share
    threshold: Threshold


class MapScores(Strict):
    """How good the probabilities are on people that the map was not fitted on.

    Attributes:
        cllr: cost of log-likelihood ratios in bits, 0 to 1 for a useful map.
        brier, calibration_error: at ``prior``, the share of genuine pairs among those judged.
        genuine_pairs, impostor_pairs: judged; folds: of people.
    """

    cllr: Annotated[float, Field(ge=0.0)]
    brier: Share
    calibration_error: Share
    prior: Annotated[float, Field(gt=0.0, lt=1.0)]
    genuine_pairs: Count
    impostor_pairs: Count
    folds: Annotated[int, Field(ge=2)]
