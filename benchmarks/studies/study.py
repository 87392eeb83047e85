"""What the studies share: runs that are done once and go on where they were stopped, and tables of their spread."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hyperarc.commands.show import Show
from hyperarc.commands.train import Start, train
from hyperarc.files import write_beside
from hyperarc.recipe import Recipe


class StoppedError(Exception):
    """A training was asked to stop; it goes on at the next start."""


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a file holds; it is made where it is not there yet."""
    if path.exists():
        done: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return done
    made = make()
    with write_beside(path) as beside:
        beside.write_text(json.dumps(made, indent=1, default=str) + "\n", encoding="utf-8")
    return made


def trained(recipe: Recipe, folder: Path, show: Show) -> dict[str, Any]:
    """What the model of a recipe reaches, by protocol; it is trained unless it is already."""

    def run() -> dict[str, Any]:
        done = train(recipe, folder, Start(resume="auto"), show)
        if not done.finished:
            raise StoppedError
        reached = {judged.result.name: {n.name: n.value for n in judged.result.numbers} for judged in done.judgements}
        return {"reached": reached, "facts": done.facts}

    return kept(folder / "result.json", run)


def table(title: str, first: str, rows: Sequence[tuple[str, str, float]]) -> list[str]:
    """Markdown of (line, column, value): a cell is the mean of its values, with half their range behind."""
    names, columns = (list(dict.fromkeys(row[k] for row in rows)) for k in (0, 1))
    lines = [f"\n{title}\n", f"| {first} | " + " | ".join(columns) + " |", "|---" + "|---:" * len(columns) + "|"]
    for name in names:
        cells = [_spread([value for one, at, value in rows if (one, at) == (name, column)]) for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def write_results(out: Path, results: Sequence[dict[str, Any]], tables: str) -> None:
    """``results.json`` and ``tables.md`` in the study's folder."""
    (out / "results.json").write_text(json.dumps(results, indent=1, default=str) + "\n", encoding="utf-8")
    (out / "tables.md").write_text(tables, encoding="utf-8")


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean, half = sum(values) / len(values), (max(values) - min(values)) / 2
    return f"{mean:.2f}" + (f" ± {half:.2f}" if len(values) > 1 else "")
