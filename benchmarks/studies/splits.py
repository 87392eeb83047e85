"""Losses made for rare people and for poor pictures, each on such faces: do they do what their papers say?

    nohup python benchmarks/studies/splits.py --out runs/splits-study --figure runs/splits-study/splits.svg &

Two training sets of drawn faces: one in which a few people have most of the faces, and one of which half went through a
bad camera. Every method gets the same faces, steps and scale; margins are six tenths of the papers', as 16 in place of
64 is the scale that so small a network learns with. Runs go on where they were stopped; what is finished is not done
again. ``tables.md`` and ``results.json`` in the folder are written anew after every run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splits_figure import GROUPS, draw_splits
from splits_measures import measure_quality, measure_tail
from study import StoppedError, kept, table, trained, write_results

from hyperarc.commands.show import Show
from hyperarc.recipe import Recipe
from hyperarc.recipe.file import load_recipe
from hyperarc.report.style import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COSFACE = "head={margin: cosface, arguments: {scale: 16, margin: 0.21}}"
ADAPTIVE = "head={{margin: adaptiveface, arguments: {{scale: 16, margin_init: [0.18, 0.24], penalty_weight: {}}}}}"
MAGFACE = "l_margin: 0.27, u_margin: 0.48, l_a: 5, u_a: 55, penalty_weight: 4.4"


@dataclass(frozen=True)
class Method:
    """A name for tables, what it changes in the recipe, and the method that it is held against."""

    label: str
    changes: tuple[str, ...]
    baseline: str = ""


@dataclass(frozen=True)
class Split:
    """Faces of one kind: what makes them so, the methods tried on them, and what is measured besides accuracy."""

    changes: tuple[str, ...]
    methods: dict[str, Method]
    measure: Callable[[Recipe, Path], dict[str, Any]]
    columns: dict[str, str]


LONG_TAIL = {
    "cosface": Method("CosFace", (COSFACE,)),
    "adaptiveface": Method("AdaptiveFace, lambda = s / 4", (ADAPTIVE.format(4),), "cosface"),
    "adaptiveface_35": Method("AdaptiveFace, lambda = 2.2 s", (ADAPTIVE.format(35),), "cosface"),
    "mining": Method("CosFace, prototype mining", (COSFACE, "head.prototypes={queue: 2}"), "cosface"),
    "random": Method("CosFace, as many random negatives", (COSFACE, "head.sample_rate=0.33"), "cosface"),
    "sampling": Method("CosFace, adaptive sampling", (COSFACE, "data.sampler.adaptive={}"), "cosface"),
    "elasticface": Method(
        "ElasticFace-Cos",
        ("head={margin: elasticface, arguments: {kind: cos, scale: 16, margin: 0.21, sigma: 0.03}}",),
        "cosface",
    ),
}
LOW_QUALITY = {
    "arcface": Method("ArcFace", ("head.arguments={scale: 16, margin: 0.3}",)),
    "adaface": Method("AdaFace", ("head={margin: adaface, arguments: {scale: 16, margin: 0.24}}",), "arcface"),
    "magface": Method("MagFace", (f"head={{margin: magface, arguments: {{scale: 16, {MAGFACE}}}}}",), "arcface"),
    "elasticface": Method(
        "ElasticFace-Arc", ("head={margin: elasticface, arguments: {scale: 16, margin: 0.3, sigma: 0.03}}",), "arcface"
    ),
}
USUAL, POOR = "drawn", "drawn-low-quality-1"
SPLITS = {
    "long_tail": Split(
        ("data.drawn.tail_exponent=1.0",),
        LONG_TAIL,
        measure_tail,
        {
            "head": "rank 1, head",
            "middle": "rank 1, middle",
            "tail": "rank 1, tail",
            "swept": "people swept",
            "margin_by_faces": "margin and faces, correlation",
        },
    ),
    "low_quality": Split(
        ("data.drawn.low_quality=0.5",),
        LOW_QUALITY,
        measure_quality,
        {
            "shorter": "norm shorter where poor",
            "by_resolution": "norm and resolution, correlation",
            "by_sharpness": "norm and sharpness, correlation",
        },
    ),
}
SMOKE = (
    "data.drawn.people=12",
    "data.drawn.faces_per_person=6",
    "training.batch_size=16",
    "schedule.epochs=1",
    "schedule.warmup_epochs=0",
    "backbone.embedding_dim=16",
    "evaluation.0.people=10",
    "evaluation.1.people=10",
)


@dataclass(frozen=True)
class Cell:
    """One run: a method on the faces of a split, under a seed."""

    split: str
    method: str
    recipe: Recipe
    folder: Path

    def run(self, show: Show) -> dict[str, Any]:
        """Train, judge and measure; what is done already is read."""
        result = trained(self.recipe, self.folder, show)
        measures = kept(self.folder / "measures.json", lambda: SPLITS[self.split].measure(self.recipe, self.folder))
        about = {"split": self.split, "method": self.method, "seed": self.recipe.seed}
        return about | result | {"measures": measures}


def cells_of(options: argparse.Namespace) -> list[Cell]:
    """Seed by seed, split by split."""
    cells = []
    for seed in options.seeds:
        for split in options.splits:
            methods = SPLITS[split].methods
            for name in (name for name in methods if name in (options.methods or methods)):
                changes = [*SPLITS[split].changes, *methods[name].changes, f"seed={seed}", f"data.drawn.seed={seed}"]
                changes += [f"name={name}", *(SMOKE if options.smoke else ()), *options.changes]
                recipe = load_recipe(str(Path(__file__).with_name("splits.yaml")), changes)
                cells.append(Cell(split, name, recipe, options.out / f"{split}-seed{seed}" / name))
    return cells


def tables(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: accuracy by split and method, what was measured besides, and what was gained, seed by seed; all in
    percent, rank correlations too.
    """
    lines: list[str] = []
    for split, about in SPLITS.items():
        rows: list[tuple[str, str, float]] = []
        of_seed = {(one["method"], one["seed"]): numbers_of(one) for one in results if one["split"] == split}
        for (method, _), numbers in of_seed.items():
            rows += [(about.methods[method].label, *number) for number in numbers.items()]
        lines += table(f"{split}, %: mean over seeds, half the range behind", "Method", rows) if rows else []
        rows = [
            (f"{about.methods[method].label}, against {about.methods[other].label}", name, value - others[name])
            for (method, seed), numbers in of_seed.items()
            if (others := of_seed.get((other := about.methods[method].baseline, seed))) is not None
            for name, value in numbers.items()
            if name in others
        ]
        lines += table(f"{split}, %: gained, seed by seed", "Method", rows) if rows else []
    return "\n".join(lines) + "\n"


def numbers_of(one: dict[str, Any]) -> dict[str, float]:
    """The columns of a run, shares in percent."""
    named = {"usual": USUAL, "poor": POOR}
    numbers = {f"{kind}, accuracy": 100 * one["reached"][name]["accuracy"] for kind, name in named.items()}
    numbers |= {f"{kind}, TAR at 1 %": 100 * one["reached"][name]["TAR at FAR 0.01"] for kind, name in named.items()}
    told = {title: one["measures"].get(name) for name, title in SPLITS[one["split"]].columns.items()}
    return numbers | {title: 100 * value for title, value in told.items() if value is not None}


def figure_of(results: Sequence[dict[str, Any]]) -> Figure:
    """The figure of what is finished."""
    of_seed = {(one["split"], one["method"], one["seed"]): one for one in results}
    learned: dict[str, list[Any]] = {}
    gained: dict[str, list[list[float]]] = {}
    accuracy: dict[str, list[list[float]]] = {}
    for (split, name, seed), one in of_seed.items():
        method, measures = SPLITS[split].methods[name], one["measures"]
        if "margins" in measures:
            learned.setdefault(method.label, []).append(measures["margins"])
        other = of_seed.get((split, method.baseline, seed))
        if split == "long_tail" and other is not None:
            points = [100 * (measures[group] - other["measures"][group]) for group in GROUPS]
            gained.setdefault(method.label, []).append(points)
        if split == "low_quality":
            reached = [100 * one["reached"][camera]["accuracy"] for camera in (USUAL, POOR)]
            accuracy.setdefault(method.label, []).append(reached)
    return draw_splits(learned, gained, accuracy)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("changes", nargs="*", help="key=value changes of the recipe")
    parser.add_argument("--out", type=Path, default=Path("runs/splits-study"))
    parser.add_argument("--splits", nargs="+", choices=list(SPLITS), default=list(SPLITS))
    parser.add_argument("--methods", nargs="+", choices=sorted({*LONG_TAIL, *LOW_QUALITY}), help="default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--figure", type=Path, help="where to draw the figure of what is finished")
    parser.add_argument("--smoke", action="store_true", help="a dozen people, one epoch: shows that all of it runs")
    parser.add_argument("--quiet", action="store_true")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run what is left to do; the tables on standard output."""
    options = arguments(words)
    show, cells = Show(quiet=options.quiet), cells_of(options)
    results: list[dict[str, Any]] = []
    for place, cell in enumerate(cells, 1):
        begun = time.monotonic()
        label = f"{cell.folder.parent.name}, {SPLITS[cell.split].methods[cell.method].label}"
        show.note(f"{place} of {len(cells)}: {label}")
        try:
            results.append(cell.run(show))
        except StoppedError:
            return 130
        write_results(options.out, results, tables(results))
        show.note(f"{label}: {numbers_of(results[-1])} in {time.monotonic() - begun:.0f} s")
    if options.figure:
        save_figure(figure_of(results), options.figure)
    print(tables(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
