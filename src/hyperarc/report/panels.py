"""Lines over angles, lengths or steps: one panel or many, as one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.report.style import new_figure, step_label, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.floating[Any]]
PANEL_IN = (3.4, 2.75)  # of one panel among several
ALONE_IN = (7.2, 4.3)  # of a panel that is the whole figure


@dataclass(frozen=True, eq=False)
class Line:
    """A line of a panel.

    Attributes:
        label: for the legend; lines without one are left out of it.
        x, y: [m] each; NaN in y is a gap.
        color: one of :mod:`hyperarc.report.style`.
        dashes: as matplotlib writes them; "-" is solid.
        band: [m] lower and upper limit of a pale band around the line, or None.
    """

    label: str
    x: Floats
    y: Floats
    color: str
    dashes: Any = "-"
    band: tuple[Floats, Floats] | None = None

    def __post_init__(self) -> None:
        for name, values in (("y", self.y), *(("band", limit) for limit in self.band or ())):
            if values.shape != self.x.shape or values.ndim != 1:
                raise DataError(f"expected as many values as x, {self.x.shape}, got {values.shape}", where=name)


@dataclass(frozen=True, eq=False)
class Panel:
    """Lines on one pair of axes.

    Attributes:
        title: heading; x_label, y_label: what the axes show.
        lines: drawn in this order.
        x_kind: "angle" in degrees, "count" on a logarithmic axis, or "plain".
        x_limits, y_limits: None fits them to the lines.
        legend: place of a legend inside the panel; None draws none.
    """

    title: str
    lines: Sequence[Line]
    x_label: str = ""
    y_label: str = ""
    x_kind: Literal["angle", "count", "plain"] = "angle"
    x_limits: tuple[float, float] | None = None
    y_limits: tuple[float, float] | None = None
    legend: Literal["upper right", "lower left"] | None = None


@styled
def draw_panels(
    panels: Sequence[Panel], *, columns: int = 3, legend_below: bool = False, shared: bool = False
) -> Figure:
    """Panels row by row; with one panel the figure is that panel.

    Args:
        panels: at least one.
        columns: panels in a row, at most (default 3).
        legend_below: one legend under all panels, with every label once.
        shared: the axes are all alike, so that numbers stand at the left and at the bottom only.

    Raises:
        DataError: no panel.

    Example:
        >>> x = np.linspace(0, 180, 5)
        >>> figure = draw_panels([Panel("cosine", [Line("cos", x, np.cos(np.deg2rad(x)), "#0072b2")])])
        >>> figure.axes[0].get_title(loc="left")
        'cosine'
    """
    if not panels:
        raise DataError("expected at least one panel")
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    width, height = ALONE_IN if len(panels) == 1 else (PANEL_IN[0] * columns, PANEL_IN[1] * rows)
    figure, axes_list = new_figure(width, height, rows, columns)
    for axes, panel in zip(axes_list, panels, strict=False):
        draw_lines(axes, panel)
    for place, axes in enumerate(axes_list[: len(panels)] if shared else []):
        axes.tick_params(labelleft=place % columns == 0, labelbottom=place + columns >= len(panels))
        axes.locator_params(axis="y", nbins=4)
    for axes in axes_list[len(panels) :]:
        axes.remove()
    if legend_below:
        handles: dict[str, Any] = {}
        for axes in figure.axes:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=6)
    return figure


def draw_lines(axes: Axes, panel: Panel) -> None:
    """Draw a panel on axes that are there already."""
    for line in panel.lines:
        if line.band is not None:
            axes.fill_between(line.x, *line.band, color=line.color, alpha=0.2, linewidth=0)
        axes.plot(line.x, line.y, color=line.color, linestyle=line.dashes, label=line.label or "_")
    axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
    if panel.x_kind == "angle":
        degree_axis(axes, "x", *(panel.x_limits or (0.0, 180.0)))
    elif panel.x_kind == "count":
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(step_label)
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_formatter(step_label)
    if panel.x_limits is not None:
        axes.set_xlim(*panel.x_limits)
    if panel.y_limits is not None:
        axes.set_ylim(*panel.y_limits)
    if panel.legend is not None:
        axes.legend(loc=panel.legend)


def degree_axis(axes: Axes, which: Literal["x", "y"], low: float, high: float) -> None:
    """Limits in degrees, with a tick every 30 or every 60."""
    ticks = range(round(low), round(high) + 1, 30 if high - low <= 120 or _alone(axes) else 60)
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    (axes.set_xticks if which == "x" else axes.set_yticks)(ticks, [f"{degrees}°" for degrees in ticks])


def _alone(axes: Axes) -> bool:
    place = axes.get_subplotspec()
    return place is None or place.get_gridspec().ncols == 1
