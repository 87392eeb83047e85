"""Several models side by side: their numbers with intervals, and the angles between their faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.report.plots import check_angles
from hyperarc.report.style import GENUINE, IMPOSTOR, INK, MUTED, new_figure, percent, series_look, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_IN = 11.2  # of a figure as wide as the page
_MOST_PANELS = 3  # side by side
_GAP = 0.45  # of a ridge's height that the next one may rise into


@dataclass(frozen=True)
class Panel:
    """One number of several models.

    Attributes:
        title: of the number, such as "LFW, accuracy".
        values: model -> value, low and high end of its interval (both None without one); shares in 0..1.
        best: models that are drawn filled; level: those that are drawn pale, as they are not told apart from the best.
    """

    title: str
    values: Mapping[str, tuple[float, float | None, float | None]]
    best: Sequence[str] = ()
    level: Sequence[str] = ()


@styled
def interval_panels(panels: Sequence[Panel]) -> Figure:
    """Each number on an axis of its own: points of the models, one below the other, with their intervals.

    Points with bars instead of filled columns, because the axes do not start at 0.

    Example:
        >>> figure = interval_panels([Panel("LFW, accuracy", {"r50": (0.99, 0.985, 0.994), "r18": (0.98, None, None)})])
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['r50', 'r18']
    """
    if not panels or not all(panel.values for panel in panels):
        raise DataError("expected at least one panel with one model")
    columns = min(_MOST_PANELS, len(panels))
    rows = -(-len(panels) // columns)
    models = max(len(panel.values) for panel in panels)
    figure, all_axes = new_figure(_WIDTH_IN, rows * (0.95 + 0.36 * models), rows, columns)
    for place, (axes, panel) in enumerate(zip(all_axes, panels, strict=False)):
        _draw_panel(axes, panel, named=place % columns == 0)
    for axes in all_axes[len(panels) :]:
        axes.remove()
    return figure


def _draw_panel(axes: Axes, panel: Panel, *, named: bool) -> None:
    reach: list[float] = []
    for place, (model, (value, low, high)) in enumerate(panel.values.items()):
        color = series_look(place)["color"]
        ends = [value if end is None else end for end in (low, high)]
        reach += [value, *ends]
        if ends != [value, value]:
            axes.plot(ends, [place, place], color=color, linewidth=2.2, alpha=0.75)
        point: dict[str, Any] = {"marker": "o", "markersize": 7, "markeredgewidth": 1.8, "linestyle": "none"}
        axes.plot(value, place, color=color, markerfacecolor="white", **point)
        alpha = 1.0 if model in panel.best else 0.35 if model in panel.level else 0.0
        axes.plot(value, place, color=color, markeredgecolor="none", alpha=alpha, **point)
        text = percent(value).removesuffix(" %")
        axes.annotate(text, (value, place), (0, 6.5), textcoords="offset points", ha="center", fontsize=8, color=INK)
    low, high = min(reach), max(reach)
    room = max(0.12 * (high - low), 0.001)
    axes.set(xlim=(low - room, high + room), ylim=(len(panel.values) - 0.45, -0.75), title=panel.title)
    axes.set_yticks(range(len(panel.values)), list(panel.values) if named else [""] * len(panel.values))
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g} %")


@styled
def angle_ridges(models: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike, float | None]]) -> Figure:
    """Angles of genuine and impostor pairs of each model, one below the other; bars mark the medians.

    Args:
        models: model -> angles in degrees of genuine and of impostor pairs, and of the threshold or None.

    Example:
        >>> figure = angle_ridges({"r50": ([20.0, 30.0], [85.0, 95.0], 62.0), "r18": ([30.0], [80.0], None)})
        >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
        ['r50', 'r18']
    """
    if not models:
        raise DataError("expected at least one model")
    figure, (axes,) = new_figure(_WIDTH_IN, 0.9 + 0.72 * len(models))
    edges = np.arange(0.0, 181.0, 2.0)
    kinds = (("Same person", GENUINE), ("Two people", IMPOSTOR))
    shares = {
        model: [_shares(angles, name, edges) for angles, (name, _) in zip(both[:2], kinds, strict=True)]
        for model, both in models.items()
    }
    tallest = max(float(one.max()) for pair in shares.values() for one in pair)
    for place, (model, (genuine, impostor, threshold)) in enumerate(models.items()):
        axes.axhline(place, color=MUTED, linewidth=0.6, zorder=3 * place)
        for angles, (_, color), one in zip((genuine, impostor), kinds, shares[model], strict=True):
            height = place - (1.0 + _GAP) * one / tallest
            order: Any = {"zorder": 3 * place + 1}
            axes.stairs(height, edges, baseline=place, fill=True, color=color, alpha=0.28, linewidth=0, **order)
            axes.stairs(height, edges, baseline=None, color=color, linewidth=1.4, **order)
            median = float(np.median(np.asarray(angles)))
            axes.plot([median, median], [place, place - 0.32], color=color, linewidth=1.6, **order)
        if threshold is not None:
            axes.plot([threshold] * 2, [place, place - 0.75], color=INK, linewidth=1.3, zorder=3 * place + 2)
    for name, color in (*kinds, ("Threshold", INK)):
        axes.plot([], [], color=color, linewidth=2.0, label=name)
    axes.set(xlim=(0, 180), ylim=(len(models) - 0.8, -1.15 - _GAP), title="Angles between the faces of a pair")
    axes.set_yticks(range(len(models)), list(models))
    axes.set_xticks(np.arange(0, 181, 30), [f"{degrees}°" for degrees in range(0, 181, 30)])
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.legend(loc="upper right", ncols=3)
    return figure


def _shares(angles: npt.ArrayLike, name: str, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    degrees = check_angles(angles, name)
    return np.asarray(np.histogram(degrees, bins=edges)[0] / degrees.size)
