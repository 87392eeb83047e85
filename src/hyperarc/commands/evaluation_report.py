"""What ``hyperarc evaluate`` leaves and prints: a page with its JSON beside it, and lines of text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hyperarc.commands.evaluate import Judged
from hyperarc.commands.judgement import Judgement
from hyperarc.commands.protocol_page import (
    PANELS,
    number_card,
    number_panels,
    rule_of,
    section_of,
    values_of,
    versions,
    versions_section,
)
from hyperarc.errors import UsageError
from hyperarc.files import write_beside
from hyperarc.protocols.comparison import Ranked, rank_models
from hyperarc.report.comparison_plots import interval_panels
from hyperarc.report.page import Card, Cell, Plot, Report, Section, Table, write_report

JSON = ".json"
_LONGEST = 60  # letters of a file's name that names of models and protocols may take


def report_evaluation(judged: Sequence[Judged], path: Path) -> dict[str, Any]:
    """Write the page to ``path`` and the facts beside it as JSON; the facts."""
    require_page(path)
    facts = facts_of(judged) | {"report": str(path)}
    write_report(page_of(judged), path)
    with write_beside(path.with_suffix(JSON)) as beside:
        beside.write_text(json.dumps(facts, indent=2, default=str) + "\n", encoding="utf-8")
    return facts


def require_page(path: Path) -> None:
    """Raise :class:`UsageError` where the page would stand in the place of its JSON."""
    if path.suffix == JSON:
        raise UsageError("expected the name of a page", where=path, mend=f"call it {path.stem}.html")


def page_path(judged: Sequence[Judged], protocols: Sequence[str]) -> Path:
    """Where the page goes: beside the artifact or the embeddings; of several models in ``runs``."""
    asked = "-".join(protocols)
    if len(judged) > 1:
        names = "-".join(one.model.name.replace("/", "-") for one in judged)
        names = names if len(names) <= _LONGEST else f"{len(judged)}-models"
        return Path("runs") / _file_name(f"{names}-", asked)
    model = judged[0].model
    if model.artifact is None:
        assert model.stored is not None
        return model.stored.files[0].path.parent / _file_name(f"{model.name}-", asked)
    path = model.artifact.path
    return path.parent / _file_name("" if path.name == "artifact" else f"{path.name}-", asked)


def _file_name(models: str, protocols: str) -> str:
    kept = protocols if len(protocols) <= _LONGEST else f"{protocols[:_LONGEST]}..."
    return f"evaluation-{models}{kept}.html".replace(", ", "-")


def facts_of(judged: Sequence[Judged]) -> dict[str, Any]:
    """Everything as plain values: the result itself of one model and one protocol, else lists of results."""
    if len(judged) == 1 and len(judged[0].judgements) == 1:
        (one,) = judged
        return one.judgements[0].result.as_dict() | {"model": one.model.facts(), "versions": versions()}
    models = [
        one.model.facts() | {"results": [judgement.result.as_dict() for judgement in one.judgements]} for one in judged
    ]
    compared = [_ranked_facts(judged, name, one) for name, numbers in _ranked(judged) for one in numbers]
    return {"models": models, "comparison": compared if len(judged) > 1 else [], "versions": versions()}


def _ranked(judged: Sequence[Judged]) -> list[tuple[str, tuple[Ranked, ...]]]:
    """Protocol by protocol, the numbers of all models."""
    by_protocol = zip(*(one.judgements for one in judged), strict=True)
    return [(some[0].result.name, rank_models([one.result for one in some])) for some in by_protocol]


def _ranked_facts(judged: Sequence[Judged], protocol: str, ranked: Ranked) -> dict[str, Any]:
    names = [one.model.name for one in judged]
    return {
        "protocol": protocol,
        "number": ranked.name,
        "values": {name: number.as_dict() for name, number in zip(names, ranked.numbers, strict=True)},
        "best": [names[place] for place in ranked.best],
        "not_told_apart": [names[place] for place in ranked.level],
        "basis": ranked.basis,
    }


def lines_of(judged: Sequence[Judged]) -> list[str]:
    """The results in words: a line each of one model, a small table a protocol of several."""
    if len(judged) == 1:
        return [f"{judgement.result.name}: {judgement.headline()}" for judgement in judged[0].judgements]
    width = max(len(one.model.name) for one in judged)
    lines = []
    for place, (protocol, ranked) in enumerate(_ranked(judged)):
        telling = [number.name for number in judged[0].judgements[place].result.telling]
        shown = [one for one in ranked if one.name in telling]
        cells = [[f"{n.text()}  {n.interval_text()}".rstrip() for n in one.numbers] for one in shown]
        widths = [max(len(one.name), *map(len, column)) for one, column in zip(shown, cells, strict=True)]
        titles = [f"  {one.name:{size}}" for one, size in zip(shown, widths, strict=True)]
        lines.append(f"{protocol:{width}}  {'  '.join(titles)}".rstrip())
        for row, one in enumerate(judged):
            marks = ["*" if row in each.best else "~" if row in each.level else " " for each in shown]
            columns = [f"{m} {column[row]:{size}}" for m, column, size in zip(marks, cells, widths, strict=True)]
            lines.append(f"{one.model.name:{width}}  {'  '.join(columns)}".rstrip())
    return [*lines, "* best, ~ not told apart from it; after each number its 95 % interval"]


def page_of(judged: Sequence[Judged]) -> Report:
    """The page: of one model its numbers, of several their comparison first."""
    by_protocol = [
        dict(zip([one.model.name for one in judged], some, strict=True))
        for some in zip(*(one.judgements for one in judged), strict=True)
    ]
    names = [next(iter(named.values())).result.name for named in by_protocol]
    models = judged[0].model.name if len(judged) == 1 else f"{len(judged)} models"
    sections = [section_of(named) for named in by_protocol]
    if len(judged) > 1 or len(by_protocol) > 1:
        sections.insert(0, _comparison(judged, by_protocol))
    sections += [_models(judged), versions_section()]
    cards = _cards(by_protocol)
    return Report(f"{models} on {_listed(names)}", "", cards, sections)


def _comparison(judged: Sequence[Judged], by_protocol: Sequence[dict[str, Judgement]]) -> Section:
    """The table that papers have: a row a model, columns the telling numbers of each protocol."""
    groups: list[tuple[str, int]] = [("", 1)]
    columns: list[tuple[str, Ranked]] = []
    for place, (protocol, ranked) in enumerate(_ranked(judged)):
        telling = [number.name for number in judged[0].judgements[place].result.telling]
        shown = [one for one in ranked if one.name in telling]
        groups.append((protocol, len(shown)))
        columns += [(f"{protocol} {one.name}", one) for one in shown]
    cells = [values_of(_without_spread(one)) for _, one in columns]
    if len(judged) == 1:
        cells = [[replace(value, tone="plain") for value in column] for column in cells]
    rows: list[list[Cell]] = [[one.model.name, *(column[row] for column in cells)] for row, one in enumerate(judged)]
    note = rule_of(columns) if len(judged) > 1 else "Below a number its 95 % interval."
    table = Table(["", *(one.name for _, one in columns)], rows, groups=groups, note=note)
    panels = number_panels([{name: j.result for name, j in named.items()} for named in by_protocol])
    figures = [Plot(interval_panels(panels), PANELS, wide=True)] if panels and len(judged) > 1 else []
    return Section("Comparison" if len(judged) > 1 else "Overview", lead=table, figures=figures)


def _without_spread(ranked: Ranked) -> Ranked:
    return replace(ranked, numbers=tuple(replace(number, std=None) for number in ranked.numbers))


def _cards(by_protocol: Sequence[dict[str, Judgement]]) -> list[Card]:
    """Of one model the telling numbers, of several the best first number of each protocol."""
    cards = []
    for named in by_protocol:
        results = [judgement.result for judgement in named.values()]
        if len(results) == 1:
            (result,) = results
            for number in result.telling:
                within = f"95 %: {number.interval_text()}\n" if number.interval else ""
                note = f"{within}flip {result.conditions.get('flip', 'not stated')}"
                cards.append(number_card(f"{result.name}, {number.name}", number, note))
            continue
        first = rank_models(results)[0]
        if first.best:
            names = list(named)
            near = ", ".join(names[place] for place in first.level)
            note = f"{_listed([names[place] for place in first.best])}{f'; not told apart: {near}' if near else ''}"
            cards.append(number_card(f"{results[0].name}, best {first.name}", first.numbers[first.best[0]], note))
    return cards


def _models(judged: Sequence[Judged]) -> Section:
    """What was judged, and where it is."""
    facts = [one.model.facts() for one in judged]
    names = list(dict.fromkeys(name for one in facts for name in one))
    rows: list[list[Cell]] = [[one.get(name) for name in names] for one in facts]
    if len(judged) == 1:
        return Section("Model", tables=[Table((), [(name.replace("_", " "), facts[0][name]) for name in names])])
    return Section("Models", lead=Table([name.replace("_", " ") for name in names], rows))


def _listed(names: Sequence[str]) -> str:
    """In words.

    Example:
        >>> _listed(["LFW", "CFP-FP", "AgeDB-30"])
        'LFW, CFP-FP and AgeDB-30'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
