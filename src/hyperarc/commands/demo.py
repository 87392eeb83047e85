"""``hyperarc demo``: everything at a small size, offline, ending in one HTML report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperarc.commands.report import report_runs
from hyperarc.commands.show import Show
from hyperarc.commands.train import Start, Trained, train
from hyperarc.errors import RecipeError
from hyperarc.recipe_file import load_recipe

COMPARED = "norm_softmax"  # trained equally long, so that the margin is the only difference


@dataclass(frozen=True)
class Demo:
    """What the demo reached; ``facts`` is None when it was stopped early."""

    facts: dict[str, Any] | None
    closing_line: str = ""


def demo(folder: Path, overrides: Sequence[str], show: Show) -> Demo:
    """Draw people, train ArcFace and norm-softmax equally long, judge both on people never seen, report.

    A demo that was stopped goes on where it was; a finished one is judged and reported again.
    """
    started = time.monotonic()
    recipe = load_recipe("demo", overrides)
    if not recipe.evaluation:
        raise RecipeError("the demo compares by an evaluation, got none", where="demo")
    scale = recipe.head.arguments.get("scale", 64)
    runs: dict[str, Trained] = {}
    for margin, arguments in ((recipe.head.margin, recipe.head.arguments), (COMPARED, {"scale": scale})):
        head = recipe.head.model_copy(update={"margin": margin, "arguments": arguments})
        one = recipe.model_copy(update={"name": f"demo-{margin}", "head": head})
        trained = train(one, folder / margin, Start(resume="auto"), show)
        if not trained.finished:
            return Demo(None)
        runs[margin] = trained
    title = "HyperArc demo"
    text = "Drawn people only: nobody in these pictures exists. Trained and judged on different people."
    page = report_runs(title, text, runs, folder / "report.html")
    first = next(iter(runs.values()))
    reached = ", ".join(f"{name} {100 * run.judgements[0].result.accuracy:.1f} %" for name, run in runs.items())
    pairs = len(first.judgements[0].result.genuine) + len(first.judgements[0].result.impostor)
    seconds = time.monotonic() - started
    facts = {
        "report": str(page),
        "seconds": round(seconds, 1),
        "results": {name: run.results() for name, run in runs.items()},
    }
    return Demo(
        facts,
        f"10-fold accuracy on {pairs:,} pairs of people never seen: {reached} "
        f"({seconds / 60:.1f} minutes). Report: {page}",
    )
