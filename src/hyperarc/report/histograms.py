"""Histograms of measures of faces: one panel or many, as one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.report.panels import ALONE_IN, PANEL_IN
from hyperarc.report.style import BLUE, INK, VERMILLION, new_figure, step_label, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BINS = 40


@dataclass(frozen=True, eq=False)
class Histogram:
    """Values on one pair of axes.

    Attributes:
        title: heading; x_label: the measure, with its unit; y_label: what is counted.
        values: any number of them; those that are not finite are left out and counted in the heading.
        limits: where lines are drawn; what lies on the ``bad`` side of them is drawn in another color.
        bad: "above" or "below" the limits, or "" for neither.
        x_limits: None fits them to the values.
        logarithmic: the measure's axis is logarithmic; values must be positive.
    """

    title: str
    values: npt.ArrayLike
    x_label: str = ""
    y_label: str = "Faces"
    limits: tuple[float, ...] = ()
    bad: str = ""
    x_limits: tuple[float, float] | None = None
    logarithmic: bool = False


@styled
def histograms(panels: Sequence[Histogram], *, columns: int = 3) -> Figure:
    """Histograms row by row, counts upward; with one panel the figure is that panel.

    Raises:
        DataError: no panel.

    Example:
        >>> figure = histograms([Histogram("Residual", [2.0, 3.0, 12.0], "px", (10.0,), "above")])
        >>> figure.axes[0].get_xlabel()
        'px'
    """
    if not panels:
        raise DataError("expected at least one panel")
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    width, height = ALONE_IN if len(panels) == 1 else (PANEL_IN[0] * columns, PANEL_IN[1] * rows)
    figure, axes_list = new_figure(width, height, rows, columns)
    for axes, panel in zip(axes_list, panels, strict=False):
        _draw(axes, panel)
    for axes in axes_list[len(panels) :]:
        axes.remove()
    return figure


def _draw(axes: Axes, panel: Histogram) -> None:
    values: npt.NDArray[Any] = np.asarray(panel.values, np.float64).ravel()
    finite = values[np.isfinite(values)]
    gone = len(values) - len(finite)
    axes.set(title=panel.title + (f" ({gone} unknown)" if gone else ""), xlabel=panel.x_label, ylabel=panel.y_label)
    axes.yaxis.set_major_formatter(step_label)
    if not len(finite):
        return
    low, high = panel.x_limits or (float(finite.min()), float(finite.max()))
    if low == high:
        low, high = low * 0.9 - 0.5 * (not panel.logarithmic), high * 1.1 + 0.5
    edges = np.geomspace(low, high, _BINS + 1) if panel.logarithmic else np.linspace(low, high, _BINS + 1)
    counts = np.histogram(finite.clip(low, high), bins=edges)[0]
    wrong = np.zeros(_BINS, np.bool_)
    if panel.limits and panel.bad:
        wrong = edges[:-1] >= max(panel.limits) if panel.bad == "above" else edges[1:] <= min(panel.limits)
    for which, color in ((~wrong, BLUE), (wrong, VERMILLION)):
        axes.stairs(np.where(which, counts, 0), edges, fill=True, color=color, alpha=0.65, linewidth=0)
    for limit in panel.limits:
        axes.axvline(limit, color=INK, linewidth=1.1, linestyle=(0, (4, 3)))
    if panel.logarithmic:
        axes.set_xscale("log")
        axes.minorticks_off()
    axes.xaxis.set_major_formatter(step_label)
    axes.set(xlim=(low, high), ylim=(0, 1.08 * max(int(counts.max()), 1)))
