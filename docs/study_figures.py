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
from PIL import Image

from hyperarc.report.rows import FaceRow, row_sheet
from hyperarc.report.style import BLUE, GREEN, INK, MUTED, ORANGE, VERMILLION, new_figure, styled

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
INVERTED = ("drawn face", "inverted", "without BatchNorm")
PRIORS = {
    "none": ("no BatchNorm", VERMILLION),
    "deepinversion": ("DeepInversion's statistics", ORANGE),
    "paper": ("the paper's statistics", BLUE),
}
ATTACKED = {"arcface": "ArcFace", "cosface": "CosFace", "norm_softmax": "norm-softmax"}
SETS = {"classes": "closed set", "photos": "open set"}
COSINE = "Judge's cosine"
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


def inverted_faces() -> Image.Image:
    """Drawn people as one embedding of each gives them back; rows of 112 px faces are kept."""
    with Image.open(RESULTS / "inverted_faces.webp") as kept:
        pixels = np.asarray(kept.convert("RGB"))
    faces = pixels.reshape(len(INVERTED), 112, -1, 112, 3).swapaxes(1, 2)
    return row_sheet([FaceRow(title, list(row)) for title, row in zip(INVERTED, faces, strict=True)])


@styled
def inversion_study() -> Figure:
    """What a judge that is another network thinks of inverted faces, by attacked model and priors."""
    figure, panels = new_figure(11.4, 3.1, 1, 3)
    drawn, real = (
        json.loads((RESULTS / f"inversion_{faces}.json").read_text(encoding="utf-8"))["results"]
        for faces in ("drawn", "real")
    )
    for axes, (kind, title) in zip(panels, SETS.items(), strict=False):
        rows = {label: _of(drawn, kind=kind, attacked=model) for model, label in ATTACKED.items()}
        _cosines(axes, rows, f"Drawn faces, {title}")
    rows = {title: _of(real, kind=kind) for kind, title in reversed(SETS.items())}
    _cosines(panels[2], rows, "Real faces, MobileFaceNet")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _of(results: Sequence[dict[str, Any]], **facts: str) -> list[dict[str, Any]]:
    return [one for one in results if all(one[key] == value for key, value in facts.items())]


def _cosines(axes: Axes, rows: dict[str, list[dict[str, Any]]], title: str) -> None:
    for height, mine in enumerate(rows.values()):
        means = [float(np.mean([one["reached"][COSINE] for one in _of(mine, priors=name)])) for name in PRIORS]
        axes.plot([min(means), max(means)], [height, height], color=MUTED, alpha=0.5, linewidth=2, zorder=1)
        for mean, (label, color) in zip(means, PRIORS.values(), strict=True):
            axes.plot(mean, height, "o", color=color, markersize=8, label=label if not height else None)
        real, label = mine[0]["real"][COSINE], None if height else "two real faces of a person"
        axes.vlines(real, height - 0.4, height + 0.4, color=INK, linewidth=1.4, linestyle=(0, (4, 3)), label=label)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set(title=title, xlim=(0, 1), ylim=(-0.6, len(rows) - 0.4), xlabel="Judge's cosine to the person's real faces")


def splits() -> Figure:
    """Losses for rare people and poor pictures."""
    sys.path.append(str(RESULTS.parent / "studies"))
    from splits import figure_of

    return figure_of(json.loads((RESULTS / "splits_drawn.json").read_text(encoding="utf-8")))


STUDIES = {"purification-study": purification_study, "inversion-study": inversion_study, "splits": splits}
