"""Margins in two dimensions: decision boundaries of two people, and how large a loss's gradient is where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.report.panels import Line, Panel, degree_axis, draw_lines
from hyperarc.report.style import BLUE, BY_NORM, GRID, INK, MUTED, SKY, VERMILLION, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.floating[Any]]
_BOLD: Any = {"fontsize": 11, "fontweight": "bold"}


@dataclass(frozen=True, eq=False)
class Decision:
    """Of two people, who wins where.

    Attributes:
        title: heading of the panel.
        theta_deg: [T] angles of both axes.
        first, second: [T, T] by how much the margined cosine of person 1 (of person 2) beats the other's; rows are
            theta_2, columns theta_1.
    """

    title: str
    theta_deg: Floats
    first: Floats
    second: Floats

    def __post_init__(self) -> None:
        side = self.theta_deg.size
        for name in ("first", "second"):
            if getattr(self, name).shape != (side, side):
                raise DataError(f"expected [{side}, {side}], got {list(getattr(self, name).shape)}", where=name)


@styled
def decision_boundaries(decisions: Sequence[Decision], *, columns: int = 4) -> Figure:
    """One panel each: where training leaves person 1 alone, where person 2, and the margin between them.

    Example:
        >>> theta = np.linspace(0.0, 90.0, 7)
        >>> cosine = np.cos(np.deg2rad(theta))
        >>> lead = cosine[None] - cosine[:, None]
        >>> len(decision_boundaries([Decision("no margin", theta, lead, -lead)]).axes)
        1
    """
    from matplotlib.figure import Figure as NewFigure

    if not decisions:
        raise DataError("expected at least one decision")
    columns = min(columns, len(decisions))
    rows = -(-len(decisions) // columns)
    figure = NewFigure(figsize=(2.55 * columns + 0.3, 2.7 * rows + 0.2))
    figure.set_layout_engine("constrained", w_pad=0.09)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes, decision in zip(grid.flat, decisions, strict=False):
        _draw_decision(axes, decision)
    for axes in grid.flat[len(decisions) :]:
        axes.remove()
    for axes in grid[:, 0]:
        axes.set_ylabel("Angle to person 2")
    for axes in grid[-1]:
        axes.set_xlabel("Angle to person 1")
    return figure


def _draw_decision(axes: Axes, decision: Decision) -> None:
    low, high = float(decision.theta_deg[0]), float(decision.theta_deg[-1])
    theta = decision.theta_deg
    for lead, color in ((decision.first, BLUE), (decision.second, VERMILLION)):
        axes.contourf(theta, theta, lead, levels=[0.0, np.inf], colors=[color], alpha=0.16)
        axes.contour(theta, theta, lead, levels=[0.0], colors=[color], linewidths=1.6)
    axes.plot([low, high], [low, high], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    share = (high - low) / 100
    axes.text(low + 3 * share, high - 3 * share, "1", color=BLUE, ha="left", va="top", **_BOLD)
    axes.text(high - 3 * share, low + 4 * share, "2", color=VERMILLION, ha="right", va="bottom", **_BOLD)
    axes.set_title(decision.title)
    axes.set_aspect("equal")
    axes.grid(visible=False)
    degree_axis(axes, "x", low, high)
    degree_axis(axes, "y", low, high)


@dataclass(frozen=True, eq=False)
class GradientMap:
    """How large a loss's gradient is, over angle and norm.

    Attributes:
        title: heading of the column.
        theta_deg: [T] angles to the own center, from 0.
        norms: [A] of the embedding.
        factor: [A, T] the gradient in the target's cosine, as a share of the scale.
    """

    title: str
    theta_deg: Floats
    norms: Floats
    factor: Floats

    def __post_init__(self) -> None:
        expected = (self.norms.size, self.theta_deg.size)
        if self.factor.shape != expected:
            raise DataError(f"expected factors {list(expected)}, got {list(self.factor.shape)}", where=self.title)


@styled
def gradient_maps(maps: Sequence[GradientMap]) -> Figure:
    """One column each: above, the factor over the angle at the smallest, middle and largest norm; below, over the
    angle and the length as polar coordinates.

    Example:
        >>> theta, norms = np.linspace(0.0, 90.0, 7), np.array([10.0, 50.0, 90.0])
        >>> len(gradient_maps([GradientMap("constant", theta, norms, np.ones((3, 7)))]).axes)
        3
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure as NewFigure

    if not maps:
        raise DataError("expected at least one map")
    top = max(float(np.nanmax(one.factor)) for one in maps)
    colors = LinearSegmentedColormap.from_list("gradient", ["#ffffff", SKY, BLUE, INK])
    figure = NewFigure(figsize=(2.5 * len(maps) + 0.4, 4.9), layout="constrained")
    grid = figure.add_gridspec(2, len(maps), height_ratios=[1.0, 1.15])
    fans, above = [], None
    for place, one in enumerate(maps):
        axes = figure.add_subplot(grid[0, place], sharey=above)
        above = above or axes
        label = "Gradient scale" if place == 0 else ""
        draw_lines(axes, Panel(one.title, _norm_lines(one), "Angle to the own center", label, x_limits=(0.0, 90.0)))
        axes.set_ylim(-0.03 * top, 1.06 * top)
        axes.tick_params(labelleft=place == 0)
        fans.append(figure.add_subplot(grid[1, place], projection="polar"))
        filled = _draw_fan(fans[-1], one, colors, top)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    bar = figure.colorbar(filled, ax=fans, location="right", shrink=0.75, aspect=14, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label("Gradient scale")
    fans[0].set_xlabel("Norm of the embedding", labelpad=14)
    return figure


def _norm_lines(one: GradientMap) -> list[Line]:
    rows = (len(one.norms) - 1, len(one.norms) // 2, 0)
    return [
        Line(f"norm {one.norms[row]:g}", one.theta_deg, one.factor[row], color, dashes)
        for row, (color, dashes) in zip(rows, BY_NORM, strict=True)
    ]


def _draw_fan(axes: Any, one: GradientMap, colors: Any, top: float) -> Any:
    theta = np.deg2rad(one.theta_deg)
    filled = axes.pcolormesh(
        theta, one.norms, one.factor, cmap=colors, vmin=0.0, vmax=top, shading="gouraud", rasterized=True
    )
    axes.set_thetamin(0)
    axes.set_thetamax(float(one.theta_deg[-1]))
    axes.set_rlim(0.0, float(one.norms[-1]))
    axes.set_xticks(np.deg2rad([30, 60, 90]), ["30°", "60°", "90°"])
    axes.set_yticks([one.norms[0], one.norms[len(one.norms) // 2], one.norms[-1]])
    axes.tick_params(labelsize=8, pad=1)
    axes.grid(color=GRID, linewidth=0.6, alpha=0.7)
    axes.spines["polar"].set_color(MUTED)
    return filled
