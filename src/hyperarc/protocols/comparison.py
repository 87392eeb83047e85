"""Which of several models is best by a number, and which are not told apart from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hyperarc.errors import DataError
from hyperarc.protocols.result import Number, Result

Basis = Literal["resamples", "intervals", "none"]
_TAIL = 0.005


@dataclass(frozen=True)
class Ranked:
    """One number of several models.

    Attributes:
        name: of the number; numbers: one a model.
        best: places of the models with the best value; none where a comparison means nothing.
        level: places of the others whom chance may have kept from being best.
        basis: by what that was told: "resamples" (paired bootstrap), "intervals", or "none" where it was not.
    """

    name: str
    numbers: tuple[Number, ...]
    best: tuple[int, ...]
    level: tuple[int, ...]
    basis: Basis


def rank_models(results: Sequence[Result]) -> tuple[Ranked, ...]:
    """The numbers that all results of one protocol have, in the order of the first, with who is best.

    A model is told apart from the best if the 99 % percentile interval of their difference does not hold 0. Both are
    resampled alike, people drawn again (the paired bootstrap: Efron and Tibshirani 1993; with people as the unit as in
    :func:`hyperarc.metrics.bootstrap_people`), so what makes both good or bad at once cancels. 99 % rather than 95 %,
    as several models are compared with one, and as percentiles are too sure where few pairs differ: six pairs that one
    of two models alone decides rightly are needed, as in McNemar's exact test at 5 %. Where a number has no resamples
    but intervals, models whose interval reaches the best one's are level.

    Raises:
        DataError: the results are of different pairs.

    Example:
        >>> from hyperarc.protocols.result import Measured
        >>> one, two = (Measured("mine", (Number("rank-1", v, interval=(v - 0.1, v + 0.1)),), {}) for v in (0.5, 0.6))
        >>> ranked = rank_models([one, two])[0]
        >>> ranked.best, ranked.level, ranked.basis
        ((1,), (0,), 'intervals')
    """
    compared = {result.resampled.compared for result in results if result.resampled is not None}
    if len(compared) > 1:
        raise DataError(
            f"the {len(results)} models were judged by different pairs, so their numbers say nothing of who is better",
            where=results[0].name,
            mend="give the list of pairs, or faces that all of them embedded",
        )
    named = [{number.name: number for number in result.numbers} for result in results]
    shared = [name for name in named[0] if all(name in numbers for numbers in named)]
    return tuple(_rank(name, tuple(numbers[name] for numbers in named), results) for name in shared)


def _rank(name: str, numbers: tuple[Number, ...], results: Sequence[Result]) -> Ranked:
    sign = {"higher": 1.0, "lower": -1.0, "": 0.0}[numbers[0].better]
    values = sign * np.array([number.value for number in numbers])
    if not sign or not np.isfinite(values).all():
        return Ranked(name, numbers, (), (), "none")
    best = np.flatnonzero(np.isclose(values, values.max(), rtol=0.0, atol=1e-12))
    others = [place for place in range(len(numbers)) if place not in best]
    drawn = [None if result.resampled is None else result.resampled.values.get(name) for result in results]
    basis: Basis = "none"
    level: list[int] = []
    if all(one is not None for one in drawn):
        basis = "resamples"
        table = sign * np.stack([one for one in drawn if one is not None])
        level = [place for place in others if np.quantile(table[best[0]] - table[place], _TAIL) <= 0.0]
    elif all(number.interval for number in numbers):
        basis = "intervals"
        reach = np.sort(sign * np.array([number.interval for number in numbers]), axis=1)
        level = [place for place in others if reach[place, 1] >= reach[best[0], 0]]
    return Ranked(name, numbers, tuple(best.tolist()), tuple(level), basis)
