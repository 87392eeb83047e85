"""Figures of a purification: where clean and noisy faces lie, and how well an angle parts them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.report.style import BLUE, INK, MUTED, ORANGE, SKY, VERMILLION, new_figure, step_label, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = {
    "dominant": BLUE,
    "not dominant": ORANGE,
    "dominant, clean": BLUE,
    "not dominant, clean": SKY,
    "dominant, noisy": ORANGE,
    "not dominant, noisy": VERMILLION,
}


@styled
def angle_groups(groups: Mapping[str, npt.ArrayLike], limit_deg: float, *, title: str, x_label: str) -> Figure:
    """Angles of groups of faces, stacked, counts per 2 degrees: as Figure 7 of the ArcFace journal paper.

    Args:
        groups: angles in degrees by group, names of :data:`COLORS`; the first lies at the bottom.
        limit_deg: from which on faces are dropped.

    Example:
        >>> groups = {"dominant": [30.0, 40.0], "not dominant": [80.0]}
        >>> len(angle_groups(groups, 75, title="Faces", x_label="Angle").axes)
        1
    """
    values = {name: np.asarray(angles, np.float64).ravel() for name, angles in groups.items()}
    total = sum(map(len, values.values()))
    if not total:
        raise DataError("expected angles of faces, at least one")
    every = np.concatenate(list(values.values()))
    high = float(min(180.0, 10.0 * np.ceil(max(float(every.max()), limit_deg + 10) / 10)))
    edges = np.arange(0.0, high + 2.0, 2.0)
    figure, (axes,) = new_figure(5.6, 4.0)
    bottom = np.zeros(len(edges) - 1)
    for name, angles in values.items():
        counts = np.histogram(angles, edges)[0]
        label = f"{name}, {100 * len(angles) / total:.1f} %"
        axes.stairs(bottom + counts, edges, baseline=bottom, fill=True, color=COLORS[name], alpha=0.75, label=label)
        bottom = bottom + counts
    axes.axvline(limit_deg, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label=f"dropped beyond {limit_deg:g}°")
    axes.set(xlim=(0, high), ylim=(0, 1.08 * bottom.max()), title=title, xlabel=x_label, ylabel="Faces")
    axes.xaxis.set_major_formatter(lambda degrees, _: f"{degrees:g}°")
    axes.yaxis.set_major_formatter(step_label)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def detection_plot(
    lost: npt.NDArray[np.floating[Any]],
    found: npt.NDArray[np.floating[Any]],
    angles_deg: npt.NDArray[np.floating[Any]],
    limit_deg: float,
) -> Figure:
    """Share of the noise found against the share of clean faces lost, angle by angle: the ROC of the angle.

    Args:
        lost, found: [m] shares, rising.
        angles_deg: [m] of which they hold, falling; the first may be infinity.
        limit_deg: the angle that was taken.

    Example:
        >>> lost, found = np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.9, 1.0])
        >>> len(detection_plot(lost, found, np.array([np.inf, 80.0, 20.0]), 75).axes)
        1
    """
    figure, (axes,) = new_figure(5.6, 4.0)
    axes.plot(lost, found, color=BLUE, drawstyle="steps-post")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=(0, (1, 3)))
    beside = {degrees for degrees in (60.0, 65.0, 70.0, 75.0, 80.0, 85.0) if abs(degrees - limit_deg) > 4}
    for degrees in sorted(beside | {limit_deg}):
        place = max(int(np.searchsorted(-angles_deg, -degrees, side="right")) - 1, 0)
        taken = degrees == limit_deg
        axes.plot(lost[place], found[place], "o", color=VERMILLION if taken else BLUE, markersize=8 if taken else 4.5)
        text = f"{degrees:g}°" + (", taken" if taken else "")
        axes.annotate(text, (lost[place], found[place]), (9, -4), textcoords="offset points", fontsize=9, color=INK)
    axes.set(xlim=(-0.01, 1), ylim=(0, 1.02), xlabel="Clean faces lost", ylabel="Noise found")
    axes.set_title("Noise found by the angle")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    return figure
