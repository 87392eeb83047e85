"""Figures of what studies found, from the numbers that are kept in ``benchmarks/results``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hyperarc.report.style import BLUE, GREEN, INK, MUTED, ORANGE, VERMILLION, new_figure, styled

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
METHODS = {
    "clean": ("clean faces alone", MUTED),
    "k3_k1_k1": ("K = 3 → 1 → 1", GREEN),
    "k3_k1": ("K = 3 → 1", BLUE),
    "k3": ("K = 3", ORANGE),
    "k1": ("K = 1", VERMILLION),
}


@styled
def purification_study() -> Figure:
    """Accuracy by rate of noise, and the angles of the first and of the second look."""
    results = json.loads((RESULTS / "purification_drawn.json").read_text(encoding="utf-8"))["results"]
    figure, (left, middle, right) = new_figure(11.4, 3.5, 1, 3)
    _accuracies(left, results)
    for axes, method, title in ((middle, "k3_k1", "First look, K = 3"), (right, "k3_k1_k1", "Second look, K = 1")):
        found = next(one for one in results if one["method"] == method and one["rate"] == 0.4 and one["seed"] == 0)
        _angles(axes, found["detection"]["auto"], title)
    left.legend(loc="lower left")
    middle.legend(loc="upper right", frameon=True, framealpha=0.9, edgecolor="none", handlelength=1.2)
    return figure


def _accuracies(axes: Axes, results: Sequence[dict[str, Any]]) -> None:
    for method, (label, color) in METHODS.items():
        rates = sorted({one["rate"] for one in results if one["method"] == method})
        mine = [one for one in results if one["method"] == method]
        seeds = [[_accuracy(one) for one in mine if one["rate"] == rate] for rate in rates]
        percent, low, high = [100 * rate for rate in rates], list(map(min, seeds)), list(map(max, seeds))
        axes.plot(percent, list(map(np.mean, seeds)), "-o", color=color, label=label, markersize=4)
        axes.fill_between(percent, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set(title="Accuracy, people not trained on", xlabel="Faces with a wrong name", ylabel="Accuracy")
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:g} %")
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:g} %")


def _accuracy(one: dict[str, Any]) -> float:
    return 100 * float(next(iter(one["reached"].values()))["accuracy"])


def _angles(axes: Axes, found: dict[str, Any], title: str) -> None:
    """Clean faces below, noise above them, by two degrees; and where they were parted."""
    clean, noisy = (np.asarray(found[kind][:180]).reshape(-1, 2).sum(axis=1) for kind in ("clean", "noisy"))
    edges = np.arange(0, 181, 2) - 0.5
    axes.stairs(clean, edges, fill=True, color=BLUE, alpha=0.75, label="clean")
    axes.stairs(clean + noisy, edges, baseline=clean, fill=True, color=ORANGE, alpha=0.75, label="noise")
    cut = found["angle_deg"]
    axes.axvline(cut, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label=f"--angle auto: {cut:g}°")
    shares = f"precision {found['precision']:.1%}, recall {found['recall']:.1%}".replace("%", " %")
    axes.set(title=title, xlim=(0, 130), xlabel=f"Angle to the dominant center\n{shares}", ylabel="Faces")
    axes.xaxis.set_major_formatter(lambda degrees, _: f"{degrees:g}°")


def splits() -> Figure:
    """Losses for rare people and poor pictures."""
    sys.path.append(str(RESULTS.parent / "studies"))
    from splits import figure_of

    return figure_of(json.loads((RESULTS / "splits_drawn.json").read_text(encoding="utf-8")))


STUDIES = {"purification-study": purification_study, "splits": splits}
