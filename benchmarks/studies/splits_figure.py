"""The figure of the study of splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperarc.report.style import BLUE, GREEN, INK, MUTED, VERMILLION, new_figure, series_look, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUPS = {"head": "most", "middle": "between", "tail": "fewest"}
MARGIN = 0.21  # CosFace's, one for all
Lines = Mapping[str, Sequence[Sequence[float]]]  # name -> seeds x places


@styled
def draw_splits(learned: Mapping[str, Sequence[Mapping[str, Any]]], gained: Lines, quality: Lines) -> Figure:
    """Learned margins over a person's faces, new faces found by group, accuracy on usual and poor pictures.

    Args:
        learned: name -> a run each, ``faces`` and ``learned`` margins of its people.
        gained: name -> a run each, percentage points found more than by CosFace, for each of the groups.
        quality: name -> a run each, accuracy in percent on usual and on poor pictures.
    """
    figure, (margins, groups, cameras) = new_figure(11.2, 4.2, 1, 3)
    _draw_margins(margins, learned)
    _draw_lines(groups, gained, list(GROUPS.values()))
    groups.axhline(0.0, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
    groups.yaxis.set_major_formatter(lambda points, _: f"{points:+g}" if points else "CosFace")
    groups.set(title="New faces found, points gained", xlabel="trained people, by the number of their faces")
    _draw_lines(cameras, quality, ["usual", "poor"])
    cameras.yaxis.set_major_formatter(lambda share, _: f"{share:g} %")
    cameras.set(title="Unseen people, accuracy", xlabel="camera; the scenes are the same")
    return figure


def _draw_margins(axes: Axes, learned: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    for color, (name, runs) in zip((BLUE, VERMILLION, GREEN), learned.items(), strict=False):
        faces, margins = (np.concatenate([run[what] for run in runs]) for what in ("faces", "learned"))
        axes.scatter(faces, margins, s=9, color=color, alpha=0.45, linewidths=0, label=name)
    axes.axhline(MARGIN, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
    where = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "ha": "right"}
    axes.annotate("CosFace", (1.0, MARGIN), (-2, 3), fontsize=8, color=MUTED, **where)
    axes.set(xscale="log", ylim=(-0.03, 1.05), xlabel="faces of the person", title="Margins that AdaptiveFace learned")
    axes.xaxis.set_major_formatter(lambda faces, _: f"{faces:g}")
    if learned:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), handletextpad=0.2)


def _draw_lines(axes: Axes, lines: Lines, places: Sequence[str]) -> None:
    """A line through the means of each method; a dot for each seed."""
    x = np.arange(len(places))
    shift = np.linspace(-0.1, 0.1, len(lines)) if len(lines) > 1 else np.zeros(1)
    for number, (name, runs) in enumerate(lines.items()):
        look = series_look(number)
        values = np.array(runs)
        axes.plot(x + shift[number], values.mean(axis=0), **look, linewidth=1.5, label=name)
        for seed in values:
            axes.plot(x + shift[number], seed, "o", color=look["color"], markersize=3.6, alpha=0.7, markeredgewidth=0)
    axes.set_xticks(x, places, color=INK)
    axes.set_xlim(-0.35, len(places) - 0.65)
    axes.grid(visible=False, axis="x")
    if lines:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=8, handlelength=1.4)
