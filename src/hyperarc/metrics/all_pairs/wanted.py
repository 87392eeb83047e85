"""What is asked of the pairs, and how to go about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from hyperarc.errors import UsageError, unknown_name

PRECISIONS = ("auto", "fp32", "bf16", "int8")
AmongProbes = Literal["all", "genuine", "none"]


@dataclass(frozen=True)
class Wanted:
    """What is asked.

    Attributes:
        fars: false accept rates, each above 0 and below 1 (default 1e-3 to 1e-6).
        hardest: how many of the impostor pairs most alike and of the genuine pairs least alike are listed (default 0).
        identification: for every probe also its best mate and best impostor, for every face of the gallery its best
            impostor (default no).
        among_probes: with a gallery, which pairs of probes among themselves count besides: ``all``, as Trillion-Pairs
            has it, ``genuine`` ones, as MegaFace has it, or ``none`` (default). Without a gallery all do.
        caution: factor on the width of the windows in which thresholds are expected (default 1). Where a sample misled,
            :func:`count_pairs` sweeps again with more, and :func:`merge_counts` asks for shards with more.

    Raises:
        UsageError: a rate outside its range, a negative number, another choice.
    """

    fars: tuple[float, ...] = (1e-3, 1e-4, 1e-5, 1e-6)
    hardest: int = 0
    identification: bool = False
    among_probes: AmongProbes = "none"
    caution: float = 1.0

    def __post_init__(self) -> None:
        if self.among_probes not in get_args(AmongProbes):
            raise unknown_name("choice of pairs among probes", self.among_probes, get_args(AmongProbes))
        for far in self.fars:
            if not 0.0 < far < 1.0:
                raise UsageError(f"far should lie between 0 and 1, got {far!r}", mend="1e-6 is one in a million")
        if self.hardest < 0 or self.caution < 1:
            raise UsageError(f"hardest should be 0 or more and caution 1 or more, got {self.hardest}, {self.caution}")


@dataclass(frozen=True)
class PairProgress:
    """How far a sweep has come; ``str`` of it is one line.

    Attributes:
        pairs_done, pairs_total: of this process.
        seconds: since it began, or went on.
        pairs_per_s: of that time.
    """

    pairs_done: int
    pairs_total: int
    seconds: float
    pairs_per_s: float

    @property
    def left_s(self) -> float:
        """Seconds still to go at this pace."""
        return (self.pairs_total - self.pairs_done) / max(self.pairs_per_s, 1e-9)

    def __str__(self) -> str:
        hours, seconds = divmod(round(self.left_s), 3600)
        share = 100 * self.pairs_done / self.pairs_total
        left = f"{hours}:{seconds // 60:02}:{seconds % 60:02} left"
        return f"{share:.1f} % of {self.pairs_total:.3g} pairs, {self.pairs_per_s / 1e6:.0f} million/s, {left}"


@dataclass(frozen=True)
class Execution:
    """How to go about it; nothing here changes a number.

    Attributes:
        device: where matrices are multiplied (default "cpu").
        precision: of the product that sorts out pairs; ``auto`` (default) measures which is fastest here.
        memory_mb: for vectors and scores on the device (default 1024 on the CPU, else half of what is free).
        counts_file: where counts are kept from time to time, so that a run that was stopped goes on (default: nowhere).
        save_every_s: how often, between cells of at most 2.7e8 pairs (default 30); so much work may be lost.
        note: kept with the counts, and handed on with the result: what was counted, in the caller's words.
        progress: called about once a second with a :class:`PairProgress`; ``print`` will do (default: nobody).

    Raises:
        UsageError: a value that cannot be.
    """

    device: str | torch.device = "cpu"
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    memory_mb: float | None = None
    counts_file: str | Path | None = None
    save_every_s: float = 30.0
    note: str = ""
    progress: Callable[[PairProgress], None] | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)
        if self.save_every_s < 0:
            raise UsageError(f"save_every_s should be 0 or more, got {self.save_every_s}")
