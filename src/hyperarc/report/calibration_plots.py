"""Figures of a calibration: errors over the threshold, and probabilities against what came true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.report.panels import degree_axis
from hyperarc.report.style import GENUINE, IMPOSTOR, INK, MUTED, SERIES, new_figure, share_label, step_label, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Band:
    """A share over thresholds, with its interval: [m] each."""

    share: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, eq=False)
class ErrorCurves:
    """FAR and FRR over the threshold.

    Attributes:
        angles_deg: [m] thresholds.
        far, frr: of the same length.
        marks: (angle in degrees, FAR) of thresholds that are marked.

    Raises:
        DataError: lengths that differ, or no threshold.
    """

    angles_deg: Floats
    far: Band
    frr: Band
    marks: Sequence[tuple[float, float]] = ()

    def __post_init__(self) -> None:
        for band in (self.far, self.frr):
            if not self.angles_deg.size or {part.shape for part in vars(band).values()} != {self.angles_deg.shape}:
                raise DataError(f"expected rates at each of {self.angles_deg.size} angles, at least one")


@styled
def error_curves(curves: ErrorCurves, *, title: str = "Errors over the threshold") -> Figure:
    """False accepts and false rejects on a logarithmic axis, with bands for their intervals.

    A rate of 0 lies below any logarithmic axis: there the band alone is drawn, from its upper limit down.

    Example:
        >>> band = Band(np.array([0.0, 0.1]), np.array([0.0, 0.05]), np.array([0.1, 0.2]))
        >>> error_curves(ErrorCurves(np.array([40.0, 60.0]), band, band)).axes[0].get_yscale()
        'log'
    """
    from matplotlib.ticker import LogLocator, NullLocator

    figure, (axes,) = new_figure(7.2, 4.3)
    positive = [band.share[band.share > 0] for band in (curves.far, curves.frr)]
    least = min((float(part.min()) for part in positive if part.size), default=1e-3)
    floor = 10.0 ** np.floor(np.log10(least) + 1e-9)
    for name, band, color in (
        ("FAR: two people accepted", curves.far, IMPOSTOR),
        ("FRR: one person rejected", curves.frr, GENUINE),
    ):
        axes.fill_between(
            curves.angles_deg, np.maximum(band.low, floor / 10), band.high, color=color, alpha=0.18, linewidth=0
        )
        axes.plot(curves.angles_deg, np.where(band.share > 0, band.share, np.nan), color=color, label=name)
    low, high = float(curves.angles_deg.min()), float(curves.angles_deg.max())
    for angle, far in curves.marks:
        axes.plot([angle, angle], [floor, far], color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
        axes.plot([angle], [far], "o", color=IMPOSTOR, markersize=5)
        axes.annotate(f"{angle:.1f}°", (angle, far), (-5, 4), textcoords="offset points", ha="right", fontsize=8)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(10.0, numticks=12))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(share_label)
    axes.xaxis.set_major_formatter(lambda degrees, _: f"{degrees:g}°")
    axes.set(xlim=(low, high), ylim=(floor, 1.0), title=title)
    axes.set(xlabel="Threshold: pairs at a smaller angle are accepted", ylabel="Error rate")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """Pairs in bins of the probability that they were given: [bins] each.

    Attributes:
        probability: mean of those given; share: of genuine pairs, between low and high.
        genuine, impostor: counts.
    """

    probability: Floats
    share: Band
    genuine: npt.NDArray[np.integer]
    impostor: npt.NDArray[np.integer]


@styled
def reliability_diagram(bins: ReliabilityBins, *, title: str = "Probabilities against what came true") -> Figure:
    """Share of genuine pairs over the probability that pairs were given, and how many pairs there are.

    DeGroot and Fienberg, The Statistician 32, 1983. On the diagonal probabilities are right.

    Example:
        >>> share = Band(np.array([0.1, 0.8]), np.array([0.0, 0.5]), np.array([0.3, 1.0]))
        >>> counts = np.array([2, 8]), np.array([18, 2])
        >>> len(reliability_diagram(ReliabilityBins(np.array([0.1, 0.9]), share, *counts)).axes)
        2
    """
    if not len(bins.probability) or len(bins.genuine) != len(bins.probability):
        raise DataError("expected counts and shares of at least one bin")
    figure, (axes, below) = new_figure(5.6, 4.8, rows=2)
    grid = axes.get_subplotspec()
    if grid is not None:
        grid.get_gridspec().set_height_ratios([3.0, 1.0])
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=(0, (1, 3)))
    share = bins.share
    away = np.clip([share.share - share.low, share.high - share.share], 0.0, None)
    axes.errorbar(bins.probability, share.share, yerr=away, color=GENUINE, fmt="o", markersize=5.5, capsize=3)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), title=title, ylabel="Share of genuine pairs")
    width = 0.018
    for shift, counts, color, label in (
        (-width / 2, bins.impostor, IMPOSTOR, "Two people"),
        (width / 2, bins.genuine, GENUINE, "One person"),
    ):
        below.bar(bins.probability + shift, counts, width, color=color, alpha=0.75, label=label)
    below.set_yscale("log")
    below.minorticks_off()
    below.yaxis.set_major_formatter(step_label)
    below.set(xlim=(-0.03, 1.03), ylim=(0.7, 2.0 * max(bins.genuine.max(), bins.impostor.max())), ylabel="Pairs")
    below.set(xlabel="Probability given, by maps fitted on other people")
    for each in (axes, below):
        each.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.tick_params(labelbottom=False)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def probability_curves(
    angles_deg: Floats, probabilities: Sequence[tuple[str, Floats]], *, title: str = "From angle to probability"
) -> Figure:
    """P(one person) over the angle, a line for each prior.

    Args:
        angles_deg: [m]; probabilities: (label, [m] in 0..1) for each line.

    Example:
        >>> probability_curves(np.array([0.0, 180.0]), [("prior 0.5", np.array([1.0, 0.0]))]).axes[0].get_xlabel()
        'Angle between two faces'
    """
    figure, (axes,) = new_figure(5.6, 4.8)
    for (label, shares), color in zip(probabilities, SERIES, strict=False):
        axes.plot(angles_deg, shares, color=color, label=label)
    axes.set(ylim=(0, 1.02), xlabel="Angle between two faces", ylabel="Probability of one person", title=title)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    degree_axis(axes, "x", float(angles_deg.min()), float(angles_deg.max()))
    figure.legend(loc="outside lower center", ncols=4)
    return figure
