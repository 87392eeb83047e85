"""A protocol's section of a page: one model in detail, or several side by side."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any, Literal

import numpy as np

from hyperarc.artifact.card import LIBRARIES
from hyperarc.commands.judgement import Judgement
from hyperarc.protocols.comparison import Ranked, rank_models
from hyperarc.protocols.result import Number, Result, ScoredPair
from hyperarc.report.comparison_plots import Panel
from hyperarc.report.identification_plots import cmc_curve, open_set_curve
from hyperarc.report.page import Card, Cell, Plot, Section, Strip, Table, Tile, Value
from hyperarc.report.plots import Curve
from hyperarc.report.sections import (
    Angles,
    ProtocolFacts,
    conditions_table,
    hardest_strips,
    pair_tile,
    protocol_section,
)

_SHOWN, _SHOWN_EACH = 10, 5  # hardest pairs of either kind: of one model, of each of several
RULE = (
    "Below a number its 95 % interval. Bold: the best. ≈: not told apart from the best (the 99 % interval of their "
    "difference, over the same resamples of people for both, holds 0)."
)
BY_INTERVALS = "{names}: ≈ where the intervals reach the best one's."
PANELS = (
    "The first number of each protocol with its 95 % interval. Filled: the best; pale: not told apart from it; hollow: "
    "worse."
)
UNTOLD = "{names}: without intervals, so bold says nothing of how certain it is."
UNRANKED = "{names}: {note}, so nobody is called best."


def section_of(judgements: Mapping[str, Judgement]) -> Section:
    """What models made of one protocol, by their names: numbers, curves, angles, hardest pairs, conditions.

    Raises:
        DataError: several models were judged by different pairs.
    """
    results = {name: judgement.result for name, judgement in judgements.items()}
    first, several = next(iter(results.values())), len(results) > 1
    curves = _labelled_curves(results)
    ranks, open_set, rocs = (curves[kind] for kind in ("cmc", "dir", "roc"))
    plots = [Plot(cmc_curve(ranks), "Share of probes whose person is among so many nearest.")] if ranks else []
    if open_set:
        plots.append(Plot(open_set_curve(open_set), "Share of known people found while so few unknown ones are."))
    return protocol_section(
        ProtocolFacts(
            name=first.name,
            curves=rocs,
            angles={name: angles for name, result in results.items() if (angles := _angles(result)) is not None},
            plots=plots,
            lead=_numbers_of_all(results) if several else None,
            rates=None if several else _numbers_of_one(first),
            strips=_strips(judgements),
            conditions=_conditions(results),
        )
    )


def versions() -> dict[str, str]:
    """Of Python and of the libraries that numbers depend on."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in LIBRARIES}


def versions_section() -> Section:
    """The versions as a part of a page."""
    return Section("Versions", tables=[conditions_table(versions(), "")])


def number_card(label: str, number: Number, note: str) -> Card:
    """A number as a headline, without its spread over the folds."""
    return Card(label, replace(number, std=None).text(), note)


def number_panels(results: Sequence[Mapping[str, Result]]) -> list[Panel]:
    """The first number of each protocol with its interval, for :func:`interval_panels`; shares alone."""
    panels = []
    for named in results:
        firsts = {name: result.numbers[0] for name, result in named.items()}
        one = next(iter(firsts.values()))
        if one.unit == "share" and all(np.isfinite(number.value) for number in firsts.values()):
            ranked = rank_models(list(named.values()))[0]
            values = {name: (number.value, *(number.interval or (None, None))) for name, number in firsts.items()}
            title = f"{next(iter(named.values())).name}, {one.name}"
            best, level = ([list(named)[place] for place in places] for places in (ranked.best, ranked.level))
            panels.append(Panel(title, values, best, level))
    return panels


def values_of(ranked: Ranked) -> list[Value]:
    """A number of every model as cells of a table."""
    tones: dict[int, Literal["best", "level"]] = {
        **dict.fromkeys(ranked.level, "level"),
        **dict.fromkeys(ranked.best, "best"),
    }
    return [
        replace(_value(number), tone=tones.get(place, "plain")) for place, number in enumerate(ranked.numbers)
    ]


def _value(number: Number) -> Value:
    return Value(number.text().replace("+-", "±"), number.interval_text())


def rule_of(ranked: Sequence[tuple[str, Ranked]]) -> str:
    """How to read bold and ≈ of these numbers, each with the name it has in the table."""
    told = [RULE]
    kinds = (
        (BY_INTERVALS, lambda one: one.basis == "intervals"),
        (UNTOLD, lambda one: one.basis == "none" and one.best),
        (UNRANKED, lambda one: not one.best),
    )
    for text, chosen in kinds:
        some = {name: one for name, one in ranked if chosen(one)}
        if some:
            note = next(iter(some.values())).numbers[0].note or "not comparable"
            told.append(text.format(names=", ".join(some), note=note))
    return " ".join(told)


def _numbers_of_one(result: Result) -> Table:
    rows: list[list[Cell]] = [[n.name, _value(n), n.note] for n in result.numbers]
    below = "Below a number its 95 % interval." if any(number.interval for number in result.numbers) else ""
    return Table((), rows, "Numbers", note=below)


def _numbers_of_all(results: Mapping[str, Result]) -> Table:
    ranked = rank_models(list(results.values()))
    rows: list[list[Cell]] = [[one.name, *values_of(one)] for one in ranked]
    return Table(("", *results), rows, "Numbers", note=rule_of([(one.name, one) for one in ranked]))


def _labelled_curves(results: Mapping[str, Result]) -> dict[str, list[Curve]]:
    """Curves by kind, named after their model, and after themselves where a result has several."""
    found: dict[str, list[Curve]] = {"roc": [], "cmc": [], "dir": []}
    for name, result in results.items():
        for curve in result.curves:
            label = name if not curve.label else f"{name}, {curve.label}" if len(results) > 1 else curve.label
            found[curve.kind].append(Curve(label, curve.x, curve.y))
    return found


def _angles(result: Result) -> Angles | None:
    scores = result.scores
    if scores is None or not len(scores.genuine) or not len(scores.impostor):
        return None
    decision = None if scores.threshold is None else float(_degrees(scores.threshold))
    return Angles(_degrees(scores.genuine), _degrees(scores.impostor), decision)


def _strips(judgements: Mapping[str, Judgement]) -> list[Strip]:
    several = len(judgements) > 1
    count = _SHOWN_EACH if several else _SHOWN
    strips = []
    for name, judgement in judgements.items():
        impostor = _tiles(judgement, judgement.result.hardest_impostor, count)
        genuine = _tiles(judgement, judgement.result.hardest_genuine, count)
        strips += hardest_strips(impostor, genuine, name if several else "")
    return strips


def _tiles(judgement: Judgement, pairs: Sequence[ScoredPair], count: int) -> list[Tile]:
    """Pairs of faces; pairs of videos, and of embeddings without their faces, have no picture."""
    shown = [pair for pair in pairs if {pair.first, pair.second} <= judgement.row_of.keys()][:count]
    return [
        pair_tile(
            judgement.image(pair.first),
            judgement.image(pair.second),
            pair.cosine,
            (pair.first, pair.second),
            same=pair.same,
        )
        for pair in shown
    ]


def _conditions(results: Mapping[str, Result]) -> list[Table]:
    """Conditions of all models, and beside them those in which they differ."""
    told = [result.conditions for result in results.values()]
    names = list(dict.fromkeys(name for conditions in told for name in conditions))
    same = {name: told[0].get(name) for name in names if len({str(one.get(name)) for one in told}) == 1}
    tables = [replace(conditions_table(same), wide=len(same) < len(names))] if same else []
    if len(same) < len(names):
        other = [name for name in names if name not in same]
        rows = [[model, *(result.conditions.get(name) for name in other)] for model, result in results.items()]
        header = ["", *(name.replace("_", " ") for name in other)]
        tables.append(Table(header, rows, "Conditions that differ", wide=True))
    return tables


def _degrees(cosines: Any) -> Any:
    return np.rad2deg(np.arccos(np.clip(cosines, -1.0, 1.0)))
