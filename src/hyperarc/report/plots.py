"""The figures of HyperArc, each from plain numbers to a matplotlib Figure (save it with ``figure.savefig``).

Angles are given in degrees, rates as shares in 0..1. An empty or mismatched list is a :class:`DataError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.report.style import (
    GENUINE,
    IMPOSTOR,
    INK,
    MUTED,
    legend_columns,
    new_figure,
    series_look,
    share_label,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_POINTS = 1500


@dataclass(frozen=True, eq=False)
class Curve:
    """One run on a ROC or DET figure.

    Attributes:
        label: for the legend.
        far: [m] false accept rates, never falling, from the strictest threshold on.
        tar: [m] true accept rates at the same thresholds.

    Example:
        >>> Curve("arcface", [0.0, 0.5, 1.0], [0.5, 1.0, 1.0]).far.tolist()
        [0.0, 0.5, 1.0]
    """

    label: str
    far: npt.NDArray[np.float64]
    tar: npt.NDArray[np.float64]

    def __init__(self, label: str, far: npt.ArrayLike, tar: npt.ArrayLike) -> None:
        far, tar = np.asarray(far, dtype=np.float64), np.asarray(tar, dtype=np.float64)
        if far.shape != tar.shape or far.ndim != 1 or far.size == 0:
            raise DataError(f"expected as many FAR as TAR values, got shapes {far.shape} and {tar.shape}")
        if not (np.isfinite(far).all() and np.isfinite(tar).all()):
            raise DataError(f"curve {label!r} holds NaN or infinity")
        for field, value in (("label", label), ("far", far), ("tar", tar)):
            object.__setattr__(self, field, value)


@styled
def roc_curve(curves: Sequence[Curve], *, title: str = "ROC") -> Figure:
    """True accepts against false accepts, FAR on a logarithmic axis, drawn as the steps they are.

    Args:
        curves: one per run; the axis starts at the smallest FAR other than 0 that any of them reaches.
        title: heading of the figure.

    Example:
        >>> roc_curve([Curve("run", [0.0, 0.01, 1.0], [0.9, 0.95, 1.0])]).axes[0].get_xscale()
        'log'
    """
    figure, (axes,) = new_figure(5.6, 4.0)
    left = _smallest_far(curves)
    lowest = 1.0
    for curve, look in zip(curves, _looks(len(curves)), strict=True):
        far, tar = _steps(curve.far, curve.tar, left)
        lowest = min(lowest, float(tar[0]))
        axes.plot(far, tar, **look, drawstyle="steps-post", label=curve.label)
    axes.set(xlim=(left, 1.0), xlabel="False accept rate", ylabel="True accept rate", title=title)
    bottom = max(0.0, lowest - max(0.04, 0.15 * (1.0 - lowest)))
    axes.set_ylim(bottom, 1.0 + 0.02 * (1.0 - bottom))
    _share_axis(axes, "x")
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    figure.legend(loc="outside lower center", ncols=legend_columns([curve.label for curve in curves]))
    return figure


@styled
def det_curve(curves: Sequence[Curve], *, title: str = "DET") -> Figure:
    """False rejects against false accepts, both logarithmic; the dotted diagonal meets each curve at its EER.

    Example:
        >>> det_curve([Curve("run", [0.0, 0.01, 1.0], [0.9, 0.95, 1.0])]).axes[0].get_yscale()
        'log'
    """
    figure, (axes,) = new_figure(5.6, 4.0)
    left = _smallest_far(curves)
    errors = [1.0 - curve.tar for curve in curves]
    floor = min((float(e[e > 0].min()) for e in errors if (e > 0).any()), default=1e-3)
    floor = 10.0 ** np.floor(np.log10(min(floor, 0.1)) + 1e-9)
    for curve, look in zip(curves, _looks(len(curves)), strict=True):
        far, tar = _steps(curve.far, curve.tar, left)
        # No false reject at all lies below any logarithmic axis: the line leaves the figure there.
        frr = np.maximum(1.0 - tar, 0.1 * floor)
        axes.plot(far, frr, **look, drawstyle="steps-post", label=curve.label)
    low = min(left, floor)
    axes.plot([low, 1.0], [low, 1.0], color=MUTED, linewidth=1.0, linestyle=(0, (1, 3)), label="equal error")
    axes.set(xlim=(left, 1.0), xlabel="False accept rate", ylabel="False reject rate", title=title)
    _share_axis(axes, "x")
    _share_axis(axes, "y")
    axes.set_ylim(floor, 1.0)
    figure.legend(loc="outside lower center", ncols=legend_columns([*(curve.label for curve in curves), "equal error"]))
    return figure


@styled
def angle_histogram(
    genuine_deg: npt.ArrayLike,
    impostor_deg: npt.ArrayLike,
    *,
    threshold_deg: float | None = None,
    title: str = "Angles between the faces of a pair",
) -> Figure:
    """Shares of genuine and impostor pairs per 2 degrees of angle, medians and threshold marked.

    Args:
        genuine_deg, impostor_deg: angles in degrees, 0..180, at least one each.
        threshold_deg: angle below which a pair is accepted; None draws no line.

    Example:
        >>> len(angle_histogram([20.0, 30.0], [85.0, 95.0], threshold_deg=60.0).axes)
        1
    """
    figure, (axes,) = new_figure(5.6, 4.0)
    draw_angles(axes, genuine_deg, impostor_deg, threshold_deg)
    axes.set(xlabel="Angle", ylabel="Share of pairs", title=title)
    return figure


def draw_angles(
    axes: Axes, genuine_deg: npt.ArrayLike, impostor_deg: npt.ArrayLike, threshold_deg: float | None = None
) -> None:
    """The lines of :func:`angle_histogram` on axes that are there already."""
    edges = np.arange(0.0, 181.0, 2.0)
    tallest = 0.0
    for name, angles, color in (
        ("Same person", genuine_deg, GENUINE),
        ("Two people", impostor_deg, IMPOSTOR),
    ):
        degrees = check_angles(angles, name)
        shares = np.histogram(degrees, bins=edges)[0] / degrees.size
        tallest = max(tallest, float(shares.max()))
        median = float(np.median(degrees))
        label = f"{name}, median {median:.1f}°"
        axes.stairs(shares, edges, fill=True, color=color, alpha=0.28, linewidth=0)
        axes.stairs(shares, edges, color=color, linewidth=1.6, label=label)
        axes.axvline(median, color=color, linewidth=1.0, linestyle=(0, (4, 3)))
    if threshold_deg is not None:
        axes.axvline(threshold_deg, color=INK, linewidth=1.3, label=f"Threshold {threshold_deg:.1f}°")
    axes.set(xlim=(0, 180), ylim=(0, 1.28 * tallest))
    axes.set_xticks(np.arange(0, 181, 30), [f"{degrees}°" for degrees in range(0, 181, 30)])
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.legend(loc="upper right")


def _looks(count: int) -> list[dict[str, Any]]:
    """Color of each run, and dashes from the seventh on."""
    if count == 0:
        raise DataError("expected at least one run to draw")
    return [series_look(number) for number in range(count)]


def check_angles(angles: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """The angles as one list; an error naming them unless all are degrees in 0..180."""
    degrees = np.asarray(angles, dtype=np.float64).ravel()
    if degrees.size == 0 or not ((degrees >= 0.0) & (degrees <= 180.0 + 1e-6)).all():
        raise DataError(f"{name}: expected angles in degrees, 0..180, at least one")
    return degrees


def _smallest_far(curves: Sequence[Curve]) -> float:
    """The power of ten at or below the smallest FAR that is not 0; at most 0.1, so that an axis remains."""
    positive = [float(curve.far[curve.far > 0].min()) for curve in curves if (curve.far > 0).any()]
    return float(10.0 ** np.floor(np.log10(min([*positive, 0.1])) + 1e-9))


def _steps(
    far: npt.NDArray[np.float64], tar: npt.NDArray[np.float64], left: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The corners of the curve from ``left`` to 1, thinned evenly along the logarithmic axis."""
    last = np.flatnonzero(np.diff(far, append=np.inf) > 0)  # the highest TAR of each FAR
    far, tar = np.maximum(far[last], left), tar[last]
    if far.size > _MOST_POINTS:
        wanted = np.geomspace(left, 1.0, _MOST_POINTS)
        kept = np.unique(np.concatenate([[0], np.searchsorted(far, wanted, side="right") - 1, [far.size - 1]]))
        far, tar = far[kept], tar[kept]
    return far, tar


def _share_axis(axes: Axes, which: str) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(10.0, numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(share_label)
