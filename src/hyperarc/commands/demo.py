"""``hyperarc demo``: everything at a small size, offline, ending in one HTML report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from hyperarc.commands.judgement import judge
from hyperarc.commands.report import report_runs
from hyperarc.commands.show import Show
from hyperarc.commands.train import Start, Trained, train
from hyperarc.contract import Contract
from hyperarc.encoder import Encoder
from hyperarc.errors import RecipeError
from hyperarc.recipe.file import load_recipe

COMPARED = "norm_softmax"  # trained equally long, so that the margin is the only difference


@dataclass(frozen=True)
class Demo:
    """What the demo reached; ``facts`` is None when it was stopped early."""

    facts: dict[str, Any] | None
    closing_line: str = ""


def demo(folder: Path, overrides: Sequence[str], show: Show) -> Demo:
    """Draw people, train ArcFace and norm-softmax equally long, judge both (and raw pixels) on new people, report.

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
    pixels = judge(_pixels(), recipe.evaluation[0], show).result
    text = (
        "Drawn people only: nobody in these pictures exists. Trained and judged on different people. "
        f"Comparing raw pixels instead of embeddings reaches {100 * pixels.numbers[0].value:.1f} %."
    )
    page = report_runs("HyperArc demo", text, runs, folder / "report.html")
    results = {name: run.judgements[0].result for name, run in runs.items()} | {"raw pixels": pixels}
    reached = {name: result.numbers[0].value for name, result in results.items()}
    seconds = time.monotonic() - started
    facts = {
        "report": str(page),
        "seconds": round(seconds, 1),
        "accuracy": reached,
        "results": {name: run.results() for name, run in runs.items()},
    }
    told = ", ".join(f"{name} {100 * accuracy:.1f} %" for name, accuracy in reached.items())
    return Demo(
        facts,
        f"10-fold accuracy on {pixels.conditions['pairs']:,} pairs of people never seen: {told} "
        f"({seconds / 60:.1f} minutes). Report: {page}",
    )


def _pixels() -> Encoder:
    """No model at all: the pixels themselves, centered, as the embedding; what learning has to beat."""
    contract = Contract(flip="none", model="pixels")
    contract = contract.model_copy(update={"embedding_dim": 3 * contract.height * contract.width})
    return Encoder(nn.Flatten(), contract)
