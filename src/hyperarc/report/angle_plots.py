"""Figures of the angles on the hypersphere: within and between people, of pairs, to class centers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.report.panels import ALONE_IN, degree_axis
from hyperarc.report.plots import draw_angles
from hyperarc.report.style import BLUE, GENUINE, GRID, IMPOSTOR, INK, MUTED, ORANGE, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL_IN = (5.2, 3.5)


@dataclass(frozen=True)
class Gap:
    """One row of :func:`gap_figure`: how far faces lie from their own center, and centers from the nearest other."""

    label: str
    intra_deg: float
    inter_deg: float


@styled
def gap_figure(groups: Sequence[tuple[str, Sequence[Gap]]], *, title: str = "Own center and nearest other") -> Figure:
    """Intra and inter angle of each model as two points on a line, in groups (one a set of faces).

    Args:
        groups: heading and rows.
        title: of the figure.

    Example:
        >>> figure = gap_figure([("LFW", [Gap("arcface", 28.05, 66.55), Gap("softmax", 33.97, 65.60)])])
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['arcface', 'softmax']
    """
    count = sum(len(rows) for _, rows in groups)
    if not count:
        raise DataError("expected at least one row to draw")
    figure, (axes,) = new_figure(7.2, 1.25 + 0.36 * count + 0.34 * len(groups))
    places, names, place = [], [], 0.0
    for heading, rows in groups:
        axes.annotate(heading, (0, place), (4, 0), textcoords="offset points", va="center", color=MUTED, fontsize=9)
        place += 0.85
        for row in rows:
            _draw_gap(axes, row, place)
            places.append(place)
            names.append(row.label)
            place += 1.0
        place += 0.15
    axes.plot([], [], "o", color=GENUINE, label="Face to its own center (Intra)")
    axes.plot([], [], "o", color=IMPOSTOR, label="Center to the nearest other (Inter)")
    axes.set(title=title, ylim=(place - 0.4, -0.5))
    axes.set_yticks(places, names)
    axes.grid(visible=False, axis="y")
    degree_axis(axes, "x", 0, 90)
    axes.set_xlim(0, 96)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _draw_gap(axes: Axes, row: Gap, place: float) -> None:
    axes.plot([row.intra_deg, row.inter_deg], [place, place], color=GRID, linewidth=5, solid_capstyle="butt", zorder=1)
    left = row.intra_deg < row.inter_deg
    for degrees, color, outward in ((row.intra_deg, GENUINE, left), (row.inter_deg, IMPOSTOR, not left)):
        axes.plot(degrees, place, "o", color=color, markersize=8, zorder=2)
        shift, align = ((-9, "right"), (9, "left"))[not outward]
        written: dict[str, Any] = {"textcoords": "offset points", "va": "center", "ha": align, "fontsize": 9}
        axes.annotate(f"{degrees:.1f}°", (degrees, place), (shift, 0), **written)


@dataclass(frozen=True, eq=False)
class PairPanel:
    """Angles in degrees of pairs of one person and of two people, under one heading."""

    title: str
    genuine_deg: npt.ArrayLike
    impostor_deg: npt.ArrayLike


@styled
def pair_panels(panels: Sequence[PairPanel], *, columns: int = 2) -> Figure:
    """Histograms of the angles of pairs, alike in scale, so that models can be compared.

    Example:
        >>> len(pair_panels([PairPanel("LFW, arcface", [20.0, 30.0], [85.0, 95.0])]).axes)
        1
    """
    figure, axes_list = _grid(len(panels), columns)
    for axes, panel in zip(axes_list, panels, strict=True):
        draw_angles(axes, panel.genuine_deg, panel.impostor_deg)
        axes.set(title=panel.title, xlabel="Angle", ylabel="Share of pairs")
    tallest = max(axes.get_ylim()[1] for axes in axes_list)
    for axes in axes_list:
        axes.set_ylim(0, tallest)
    return figure


@dataclass(frozen=True, eq=False)
class CenterPanel:
    """Counts [180] of faces per degree of angle to the centers of their class.

    Attributes:
        title: heading.
        nearest, dominant, others: to the nearest of the K centers, to the dominant one, to all others; the last two are
            the same as the first and empty for K = 1.
        means_deg: of the three, by name.
    """

    title: str
    nearest: npt.NDArray[np.int64]
    dominant: npt.NDArray[np.int64]
    others: npt.NDArray[np.int64]
    means_deg: Mapping[str, float | None]


@styled
def center_panels(panels: Sequence[CenterPanel], *, columns: int = 2) -> Figure:
    """Angles of faces to the centers of their class; of several centers the dominant one and the others apart.

    Example:
        >>> counts, none = np.eye(180, dtype=np.int64)[30], np.zeros(180, np.int64)
        >>> figure = center_panels([CenterPanel("arcface", counts, counts, none, {"nearest": 30.4})])
        >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        ['Own center, mean 30.4°']
    """
    figure, axes_list = _grid(len(panels), columns)
    tallest = 0.0
    for axes, panel in zip(axes_list, panels, strict=True):
        hills = {"nearest": ("Own center", BLUE)}
        if panel.others.any():
            hills = {"dominant": ("Dominant center", BLUE), "others": ("Other centers", ORANGE)}
            axes.stairs(_shares(panel.nearest), np.arange(181), color=INK, linewidth=1.0, label="Nearest of them")
        for kind, (name, color) in hills.items():
            label = f"{name}, mean {panel.means_deg[kind]:.1f}°"
            tallest = max(tallest, _hill(axes, _shares(getattr(panel, kind)), label, color))
        axes.set(title=panel.title, xlabel="Angle", ylabel="Share of faces")
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        axes.legend(loc="upper right")
    for axes in axes_list:
        degree_axis(axes, "x", 0, 180)
        axes.set_ylim(0, 1.3 * tallest)
    return figure


def _grid(count: int, columns: int) -> tuple[Figure, list[Axes]]:
    if not count:
        raise DataError("expected at least one panel")
    columns = min(columns, count)
    rows = -(-count // columns)
    width, height = ALONE_IN if count == 1 else (_PANEL_IN[0] * columns, _PANEL_IN[1] * rows)
    figure, axes_list = new_figure(width, height, rows, columns)
    for axes in axes_list[count:]:
        axes.remove()
    return figure, axes_list[:count]


def _hill(axes: Axes, shares: npt.NDArray[np.float64], label: str, color: str) -> float:
    """Draws it, and tells its height."""
    edges = np.arange(181)
    axes.stairs(shares, edges, fill=True, color=color, alpha=0.28, linewidth=0)
    axes.stairs(shares, edges, color=color, linewidth=1.6, label=label)
    return float(shares.max())


def _shares(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.asarray(counts / max(1, int(counts.sum())))
