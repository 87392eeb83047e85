"""What a protocol came to: numbers under conditions, curves, scores, and the pairs that were hardest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from hyperarc.metrics.inputs import FloatArray

Conditions = dict[str, str | int | float]


@dataclass(frozen=True)
class Number:
    """One number of a result.

    Attributes:
        name: what was measured, at which operating point, such as ``"TAR at FAR 0.001"``.
        value: a share in 0..1 unless ``unit`` says otherwise.
        unit: ``"share"``, ``"count"`` or ``""`` (a plain number).
        std: standard deviation over folds; None where there are none.
        note: what to know about it, such as ``"too few impostor pairs for this FAR"``.
        interval: 95 % interval, low and high, under the condition ``intervals``; None where there is none.
        better: which of two models' numbers is better; ``""`` where that cannot be said.

    Example:
        >>> Number("accuracy", 0.9923, std=0.0032).text()
        '99.23 +- 0.32 %'
    """

    name: str
    value: float
    unit: Literal["share", "count", ""] = "share"
    std: float | None = None
    note: str = ""
    interval: tuple[float, float] | None = None
    better: Literal["higher", "lower", ""] = "higher"

    def text(self) -> str:
        """The value as it is printed."""
        spread = "" if self.std is None or self.unit != "share" else f" +- {100 * self.std:.2f}"
        return f"{self._plain(self.value)}{spread}{self._sign}"

    def interval_text(self) -> str:
        """The interval as it is printed; empty where there is none.

        Example:
            >>> Number("accuracy", 0.9923, interval=(0.989, 0.9951)).interval_text()
            '98.90 to 99.51 %'
        """
        if self.interval is None:
            return ""
        return f"{self._plain(self.interval[0])} to {self._plain(self.interval[1])}{self._sign}"

    def as_dict(self) -> dict[str, Any]:
        """As plain values for JSON; what is not finite becomes None."""
        value = self.value if np.isfinite(self.value) else None
        plain = {"name": self.name, "value": value, "unit": self.unit, "std": self.std, "note": self.note}
        return plain | {"interval": self.interval}

    def _plain(self, value: float) -> str:
        if self.unit == "count":
            return f"{value:,.0f}"
        return f"{100 * value:.2f}" if self.unit == "share" else f"{value:.4f}"

    @property
    def _sign(self) -> str:
        return " %" if self.unit == "share" else ""


@dataclass(frozen=True, eq=False)
class ResultCurve:
    """A curve of a result.

    Attributes:
        kind: ``"roc"``: TAR over FAR; ``"cmc"``: share of probes found over rank; ``"dir"``: TPIR over FPIR.
        x, y: [points].
        label: which one, where a result has several of a kind.
    """

    kind: Literal["roc", "cmc", "dir"]
    x: FloatArray
    y: FloatArray
    label: str = ""


@dataclass(frozen=True)
class ScoredPair:
    """One pair with its cosine.

    Attributes:
        row: place in the list of pairs; first, second: keys of the faces; same: one person or two.
        cosine: similarity in -1..1.
    """

    row: int
    first: str
    second: str
    same: bool
    cosine: float


@dataclass(frozen=True, eq=False)
class Scores:
    """Cosines of genuine and impostor comparisons, for histograms: all of them, or an even sample.

    Attributes:
        genuine, impostor: cosines, one of them perhaps empty.
        threshold: cosine at which is decided, or None.
    """

    genuine: FloatArray
    impostor: FloatArray
    threshold: float | None = None


@dataclass(frozen=True, eq=False)
class Resampled:
    """Numbers over resamples of what was compared, the same resamples for every model.

    Attributes:
        compared: digest of the list that was resampled. Lists of one digest are resampled alike, so two models' values
            may be subtracted one by one (the paired bootstrap).
        values: name of a number -> [resamples].
    """

    compared: str
    values: Mapping[str, FloatArray] = field(default_factory=dict)


class Result(Protocol):
    """What every result has."""

    @property
    def name(self) -> str:
        """Of what was judged, such as ``"LFW"``."""

    @property
    def numbers(self) -> tuple[Number, ...]:
        """What was measured, the most telling first."""

    @property
    def telling(self) -> tuple[Number, ...]:
        """Those of the numbers that a table over several protocols shows."""

    @property
    def resampled(self) -> Resampled | None:
        """The numbers over resamples, or None."""

    @property
    def conditions(self) -> Conditions:
        """Under which the numbers hold: data, counts, flip, contract digest, device."""

    @property
    def curves(self) -> tuple[ResultCurve, ...]:
        """Perhaps none."""

    @property
    def scores(self) -> Scores | None:
        """Cosines for histograms, or None."""

    @property
    def hardest_impostor(self) -> tuple[ScoredPair, ...]:
        """Impostor pairs most alike first; none where faces are not compared one by one."""

    @property
    def hardest_genuine(self) -> tuple[ScoredPair, ...]:
        """Genuine pairs least alike first."""

    @property
    def absent_faces(self) -> tuple[str, ...]:
        """Keys that were asked for and have no embedding."""

    def headline(self) -> str:
        """The most telling numbers with their conditions, in one line."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A result that is a list of numbers.

    Attributes:
        told: how many of the numbers headline and tables tell.
        details: more for the JSON, plain values.

    Example:
        >>> result = Measured("TinyFace", (Number("rank-1", 0.5),), {"probes": 4, "flip": "sum"})
        >>> result.headline()
        'rank-1 50.00 %, flip sum'
        >>> result.as_dict()["numbers"][0]["value"]
        0.5
    """

    name: str
    numbers: tuple[Number, ...]
    conditions: Conditions
    curves: tuple[ResultCurve, ...] = ()
    scores: Scores | None = None
    hardest_impostor: tuple[ScoredPair, ...] = ()
    hardest_genuine: tuple[ScoredPair, ...] = ()
    absent_faces: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    told: int = 3
    resampled: Resampled | None = None

    @property
    def telling(self) -> tuple[Number, ...]:
        """The first numbers."""
        return self.numbers[: self.told]

    def headline(self) -> str:
        """The first numbers, and whether faces were flipped."""
        numbers = [f"{number.name} {number.text()}" for number in self.telling]
        return ", ".join([*numbers, f"flip {self.conditions.get('flip', 'not stated')}"])

    def as_dict(self) -> dict[str, Any]:
        """Everything but curves and scores, as plain values for JSON."""
        return {
            "protocol": self.name,
            "numbers": [number.as_dict() for number in self.numbers],
            **self.details,
            "hardest_impostor": [vars(pair) for pair in self.hardest_impostor],
            "hardest_genuine": [vars(pair) for pair in self.hardest_genuine],
            "absent_faces": list(self.absent_faces),
            "conditions": dict(self.conditions),
        }
