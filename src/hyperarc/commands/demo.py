"""``hyperarc demo``: everything at a small size, offline, ending in one HTML report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from hyperarc.commands.demo_inversion import invert_people
from hyperarc.commands.judgement import judge
from hyperarc.commands.purified import Outcome
from hyperarc.commands.purify import FILES, Purification, purify
from hyperarc.commands.purify_report import angles_section
from hyperarc.commands.report import report_runs
from hyperarc.commands.show import Show
from hyperarc.commands.train import Start, Trained, train
from hyperarc.contract import Contract
from hyperarc.encoder import Encoder
from hyperarc.errors import RecipeError
from hyperarc.protocols.result import Result
from hyperarc.recipe.file import load_recipe
from hyperarc.report.page import Section

COMPARED = "norm_softmax"  # trained equally long, so that the margin is the only difference


@dataclass(frozen=True)
class Demo:
    """What the demo reached; ``facts`` is None when it was stopped early."""

    facts: dict[str, Any] | None
    closing_line: str = ""


def demo(folder: Path, overrides: Sequence[str], show: Show) -> Demo:
    """Draw people, a part under wrong names; train ArcFace and norm-softmax on all, purify, train ArcFace on the rest.

    In the end that model is turned around, from class centers back to faces. All models, and raw pixels, are judged on
    new people. A demo that was stopped goes on where it was; a finished one is judged and reported again.
    """
    started = time.monotonic()
    recipe = load_recipe("demo", overrides)
    if not recipe.evaluation:
        raise RecipeError("the demo compares by an evaluation, got none", where="demo")
    scale = recipe.head.arguments.get("scale", 64)
    noisy: dict[str, Trained] = {}
    for margin, arguments in ((recipe.head.margin, recipe.head.arguments), (COMPARED, {"scale": scale})):
        head = recipe.head.model_copy(update={"margin": margin, "arguments": arguments})
        one = recipe.model_copy(update={"name": f"demo-{margin}", "head": head})
        noisy[margin] = train(one, folder / margin, Start(resume="auto"), show)
        if not noisy[margin].finished:
            return Demo(None)
    asked = Purification(angle_deg=None, retrain=True)
    outcome = purify("demo", overrides, asked, folder / "purified", show)
    if outcome is None:
        return Demo(None)
    centers, purified = outcome.runs.values()
    runs = {f"{recipe.head.margin}, purified": purified, f"{recipe.head.margin}, sub-centers": centers, **noisy}
    pixels = judge(_pixels(), recipe.evaluation[0], show).result
    more = [_noise(outcome), invert_people(purified, folder / "inverted", show)]
    page = report_runs("HyperArc demo", _text(outcome, pixels), runs, folder / "report.html", more)
    results = {name: run.judgements[0].result for name, run in runs.items()} | {"raw pixels": pixels}
    reached = {name: result.numbers[0].value for name, result in results.items()}
    seconds = time.monotonic() - started
    facts = {
        "report": str(page),
        "seconds": round(seconds, 1),
        "accuracy": reached,
        "purified": outcome.facts,
        "results": {name: run.results() for name, run in runs.items()},
    }
    told = ", ".join(f"{name.replace(', ', ' ')} {100 * accuracy:.1f} %" for name, accuracy in reached.items())
    return Demo(
        facts,
        f"{outcome.facts['left_out']:,} of {outcome.facts['faces_looked_at']:,} faces dropped{_found(outcome)}\n"
        f"10-fold accuracy on {pixels.conditions['pairs']:,} pairs of people never seen: {told} "
        f"({seconds / 60:.1f} minutes). Report: {page}",
    )


def _found(outcome: Outcome) -> str:
    found = outcome.purified.detection()
    if found is None:
        return ""
    shares = (f"{100 * (value or 0.0):.0f} %" for value in (found.precision, found.recall))
    return f"; of the wrong names put in: precision {', recall '.join(shares)}"


def _text(outcome: Outcome, pixels: Result) -> str:
    return (
        "Drawn people only: nobody in these pictures exists. Some bear a wrong name: others of the set, or strangers. "
        f"Sub-centers find them, and ArcFace is trained anew on the {outcome.facts['kept']:,} faces that are left. "
        "Trained and judged on different people. Comparing raw pixels instead of embeddings reaches "
        f"{100 * pixels.numbers[0].value:.1f} %."
    )


def _noise(outcome: Outcome) -> Section:
    """How the wrong names were found; the page of the purification has everybody."""
    section = angles_section(outcome.purified)
    text = f"{section.text} Everybody, faces kept beside faces dropped: purified/{FILES['report']}."
    return replace(section, title="Wrong names found", text=text)


def _pixels() -> Encoder:
    """No model at all: the pixels themselves, centered, as the embedding; what learning has to beat."""
    contract = Contract(flip="none", model="pixels")
    contract = contract.model_copy(update={"embedding_dim": 3 * contract.height * contract.width})
    return Encoder(nn.Flatten(), contract)
