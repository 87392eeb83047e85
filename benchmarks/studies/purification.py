"""How well noise is found, and what training on the rest is worth: every method at every rate of noise, the same steps.

    nohup python benchmarks/studies/purification.py --out runs/purification-study &

A recipe's faces get wrong names (flips and strangers) at each rate; models are trained by each method and
judged by the recipe's evaluations. Runs go on where they were stopped; what is finished is not done again.
``tables.md`` in the folder is written anew after every run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from study import StoppedError, table, trained, write_results

from hyperarc.commands.purified import Purified
from hyperarc.commands.purify import ANGLES, Purification, purify
from hyperarc.commands.show import Show
from hyperarc.data.manifest import read_manifest
from hyperarc.data.training_set import open_training_set
from hyperarc.recipe import Recipe
from hyperarc.recipe.file import load_recipe
from hyperarc.recipe.loss import Trimming

METHODS = {
    "clean": "K = 1, clean faces alone",
    "k1": "K = 1",
    "k3": "K = 3",
    "k1_k1": "K = 1, dropped, K = 1",
    "k3_k1": "K = 3, dropped, K = 1",
    "k3_k1_k1": "K = 3, dropped, K = 1, dropped again, K = 1",
    "filter": "K = 1, inter-class filter 0.4",
    "pfc_filter": "Partial FC 0.1, inter-class filter 0.4",
    "trimming": "K = 1, small-loss trimming",
}
LOOKS = {"k1_k1": "K = 1", "k3_k1": "K = 3", "k3_k1_k1": "K = 3, then K = 1"}  # whose centers dropped faces
SMOKE = [
    "data.drawn={people: 12, faces_per_person: 6}",
    "schedule={kind: cosine, epochs: 1}",
    "training.batch_size=16",
    "backbone.embedding_dim=16",
    "evaluation=[{protocol: drawn, people: 10}]",
]


@dataclass(frozen=True)
class Cell:
    """One rate of noise and one seed: the recipe, and the folder of its runs."""

    recipe: Recipe
    folder: Path
    rate: float
    angle_deg: float | None
    show: Show

    def with_head(self, **changes: Any) -> Recipe:
        """The recipe with another head."""
        return self.recipe.model_copy(update={"head": self.recipe.head.model_copy(update=changes)})


def run_method(cell: Cell, method: str) -> dict[str, Any]:
    """Train and judge; results by protocol, with what was detected where faces were dropped."""
    filtered = cell.recipe.head.arguments | {"inter_class_filter": 0.4}
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "clean": lambda: run_of(cell, on_rest(cell, known_noise_marked(cell)), "clean"),
        "k1": lambda: run_of(cell, cell.recipe, "k1"),
        "k3": lambda: run_of(cell, cell.with_head(sub_centers=3), "k3"),
        "k1_k1": lambda: dropped_and_trained(cell, "k1"),
        "k3_k1": lambda: dropped_and_trained(cell, "k3"),
        "k3_k1_k1": lambda: dropped_and_trained(cell, "k3", "k3_k1"),
        "filter": lambda: run_of(cell, cell.with_head(arguments=filtered), method),
        "pfc_filter": lambda: run_of(cell, cell.with_head(arguments=filtered, sample_rate=0.1), method),
        "trimming": lambda: run_of(cell, cell.with_head(trimming=trimming_of(cell)), method),
    }
    return steps[method]()


def run_of(cell: Cell, recipe: Recipe, name: str) -> dict[str, Any]:
    """What the model of a recipe reaches; it is trained unless it is already."""
    return trained(recipe.model_copy(update={"name": name}), cell.folder / name, cell.show)


def dropped_and_trained(cell: Cell, *models: str) -> dict[str, Any]:
    """Drop by a model's centers and train anew on what is kept; by a second model, look at all faces again.

    What is found is told at 75 degrees and at the valley; the angle asked for leaves the marks.
    """
    first, last = models[0], models[-1]
    run_of(cell, cell.recipe if first == "k1" else cell.with_head(sub_centers=3), first)
    if len(models) > 1:
        dropped_and_trained(cell, *models[:-1])
    folder = cell.folder / f"purify-{last}"
    detection = {}
    for angle in (75.0, None, cell.angle_deg):
        truth = None if last == first else cell.folder / first / "truth.parquet"
        asked = Purification(angle_deg=angle, again=last != first, truth=truth)
        outcome = purify(str(cell.folder / last / "artifact"), [], asked, folder, cell.show)
        assert outcome is not None
        told = outcome.facts
        key = "auto" if angle is None else f"{angle:g}"
        detection[key] = {"angle_deg": told["angle_deg"], **(told["detection"] or {}), **by_degree(outcome.purified)}
    assert (folder / ANGLES).exists()
    again = run_of(cell, on_rest(cell, folder / "faces.parquet"), f"{last}_k1")
    return again | {"detection": detection}


def by_degree(purified: Purified) -> dict[str, list[int]]:
    """Clean and noisy faces by whole degrees from the dominant center."""
    if purified.truth is None:
        return {}
    degrees = np.rint(np.degrees(purified.faces.polled.angles)).astype(np.int64)
    kinds = {"clean": degrees[~purified.truth], "noisy": degrees[purified.truth]}
    return {name: np.bincount(faces, minlength=181).tolist() for name, faces in kinds.items()}


def on_rest(cell: Cell, manifest: Path) -> Recipe:
    """The recipe on the kept faces of a manifest, with as many steps as on all."""
    marked = read_manifest(manifest)
    share = int(marked.keep.sum()) / len(marked)
    data = cell.recipe.data.model_copy(update={"manifest": str(manifest)})
    longer = {name: getattr(cell.recipe.schedule, name) / share for name in ("epochs", "warmup_epochs")}
    schedule = cell.recipe.schedule.model_copy(update=longer)
    return cell.recipe.model_copy(update={"data": data, "schedule": schedule})


def known_noise_marked(cell: Cell) -> Path:
    """A manifest in which exactly the noise is left out."""
    path = cell.folder / "clean.parquet"
    if not path.exists():
        faces = open_training_set(cell.recipe.data)
        manifest = faces.manifest if faces.truth is None else faces.manifest.mark(faces.truth.wrong, "known noise")
        manifest.write(path)
    return path


def trimming_of(cell: Cell) -> Trimming:
    """Trims as much as there is noise, as Co-teaching does, rising over the first half of the steps."""
    faces = len(open_training_set(cell.recipe.data).kept)
    steps = int(cell.recipe.schedule.epochs * (faces // cell.recipe.training.batch_size))
    return Trimming(share=max(cell.rate, 0.02), ramp_steps=max(1, steps // 2))


def cells_of(options: argparse.Namespace) -> list[Cell]:
    """Seed by seed, the rates in the order given."""
    cells = []
    for seed in options.seeds:
        for rate in options.noise:
            shares = {"flips": rate * (1 - options.strangers), "strangers": rate * options.strangers}
            noise = [f"data.noise.{name}={share:.6g}" for name, share in shares.items()] + [f"data.noise.seed={seed}"]
            changes = [*noise, f"seed={seed}", *(SMOKE if options.smoke else ()), *options.changes]
            recipe = load_recipe(options.recipe, changes)
            if recipe.data.drawn is not None:
                drawn = recipe.data.drawn.model_copy(update={"seed": seed})
                recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"drawn": drawn})})
            folder = options.out / f"noise{100 * rate:02.0f}-seed{seed}"
            cells.append(Cell(recipe, folder, rate, options.angle, Show(quiet=options.quiet)))
    return cells


def tables(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: what is reached by method and rate, and how well noise is found."""
    lines: list[str] = []
    results = sorted(results, key=lambda one: one["rate"])  # columns rise; methods keep their order
    for protocol in dict.fromkeys(name for one in results for name in one["reached"]):
        for number in list(results[0]["reached"][protocol])[:3]:
            rows = [(METHODS[one["method"]], noise(one), 100 * one["reached"][protocol][number]) for one in results]
            lines += table(f"{protocol}, {number}, %; mean over seeds, half the range behind", "Method", rows)
    every = [(one, key, told) for one in results for key, told in one.get("detection", {}).items()]
    found = [one for one in every if one[2].get("auc") is not None]
    for what, scale in (("precision", 100), ("recall", 100), ("auc", 100), ("angle_deg", 1)):
        names = [f"{LOOKS[one['method']]}, {key}" for one, key, _ in found]
        values = [scale * (told[what] or 0.0) for _, _, told in found]
        rows = [(name, noise(one), value) for name, (one, _, _), value in zip(names, found, values, strict=True)]
        lines += table(f"Noise found: {what}", "By", rows) if rows else []
    return "\n".join(lines) + "\n"


def noise(one: dict[str, Any]) -> str:
    """The column of a run."""
    return f"{100 * one['rate']:g} % noise"


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("changes", nargs="*", help="key=value changes of the recipe")
    parser.add_argument("--recipe", default="drawn_noise", help="its rates of noise are replaced")
    parser.add_argument("--out", type=Path, default=Path("runs/purification-study"))
    parser.add_argument("--noise", type=float, nargs="+", default=[0.4, 0.0, 0.2, 0.6])
    parser.add_argument("--strangers", type=float, default=0.5, help="share of the noise that is strangers")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--angle", type=lambda text: None if text == "auto" else float(text), default=None)
    parser.add_argument("--smoke", action="store_true", help="a dozen people, one epoch: shows that all of it runs")
    parser.add_argument("--quiet", action="store_true")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run what is left to do; the tables on standard output."""
    options = arguments(words)
    cells = cells_of(options)
    todo = [(cell, method) for cell in cells for method in options.methods]
    results: list[dict[str, Any]] = []
    for done, (cell, method) in enumerate(todo, 1):
        begun = time.monotonic()
        cell.show.note(f"{done} of {len(todo)}: {cell.folder.name}, {METHODS[method]}")
        try:
            result = run_method(cell, method)
        except StoppedError:
            return 130
        results.append({"method": method, "rate": cell.rate, "seed": cell.recipe.seed, **result})
        write_results(options.out, results, tables(results))
        first = {name: next(iter(numbers.items())) for name, numbers in result["reached"].items()}
        cell.show.note(f"{cell.folder.name}, {METHODS[method]}: {first} in {time.monotonic() - begun:.0f} s")
    print(tables(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
