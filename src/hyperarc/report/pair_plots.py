"""Figures of pairs too many to list: from counts in bins of the cosine, and from points of the curve that are exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.report.plots import Curve
from hyperarc.report.style import BLUE, GENUINE, IMPOSTOR, INK, VERMILLION, new_figure, share_label, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.floating[Any]]
Counts = npt.NDArray[np.integer]
_DEGREES = 2.0  # of a column of the histogram
_FEWEST = 30  # sampled pairs above a cosine that tell its FAR within a third


@dataclass(frozen=True, eq=False)
class BinnedPairs:
    """Pairs in bins of the cosine.

    Attributes:
        edges: [bins + 1] from -1 to 1.
        genuine: [bins] pairs of one person; all of them.
        impostors: [bins] pairs of two people, perhaps a sample.

    Raises:
        DataError: other lengths, no pair of a kind.
    """

    edges: Floats
    genuine: Counts
    impostors: Counts

    def __post_init__(self) -> None:
        for counts in (self.genuine, self.impostors):
            if counts.shape != (self.edges.size - 1,) or not counts.any():
                raise DataError(f"expected {self.edges.size - 1} counts, some above 0, got {counts.shape}")

    def curve(self) -> Curve:
        """FAR and TAR at every edge that some sampled impostors reach."""
        above = np.cumsum(self.impostors[::-1])
        known = above >= min(_FEWEST, above[-1])
        far, tar = (np.cumsum(counts[::-1])[known] / counts.sum() for counts in (self.impostors, self.genuine))
        return Curve("", far, tar)


@styled
def counted_roc(pairs: BinnedPairs, exact: Curve | None = None, *, title: str = "ROC") -> Figure:
    """The ROC of binned pairs as a line, and the points that are exact.

    Args:
        pairs: for the line.
        exact: points with FAR above 0, rising; joined by straight dashes.

    Example:
        >>> pairs = BinnedPairs(np.array([-1.0, 0.0, 1.0]), np.array([1, 9]), np.array([900, 100]))
        >>> figure = counted_roc(pairs, Curve("exact", [1e-3], [0.5]))
        >>> figure.axes[0].get_xscale()
        'log'
    """
    from matplotlib.ticker import LogLocator, NullLocator

    figure, (axes,) = new_figure(5.6, 4.0)
    line = pairs.curve()
    axes.plot(line.far, line.tar, color=BLUE, label="all genuine pairs, sampled impostors")
    least, lowest = min(0.1, float(line.far.min())), float(line.tar.min())
    if exact is not None:
        axes.plot(exact.far, exact.tar, color=VERMILLION, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.plot(exact.far, exact.tar, "o", color=VERMILLION, markersize=5.5, label="exact")
        least, lowest = min(least, float(exact.far.min())), min(lowest, float(exact.tar.min()))
    left = min(float(10.0 ** np.floor(np.log10(least) + 0.05)), 0.98 * least)  # a point just below a power stands at it
    bottom = max(0.0, lowest - max(0.02, 0.15 * (1.0 - lowest)))
    axes.set(xscale="log", xlim=(left, 1.0), ylim=(bottom, 1.0 + 0.02 * (1.0 - bottom)), title=title)
    axes.set(xlabel="False accept rate", ylabel="True accept rate")
    axes.xaxis.set_major_locator(LogLocator(10.0, numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(share_label)
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def counted_angles(
    pairs: BinnedPairs, thresholds: Curve | None = None, *, title: str = "Angles between the faces of a pair"
) -> Figure:
    """Shares of genuine and impostor pairs per 2 degrees of angle, medians marked.

    Args:
        pairs: where a bin is wider than 2 degrees, near 0 and 180, its pairs are spread evenly over it.
        thresholds: Curve(label, FAR, degrees), FAR rising, drawn as lines; the outermost are named.

    Example:
        >>> pairs = BinnedPairs(np.array([-1.0, 0.0, 1.0]), np.array([1, 9]), np.array([900, 100]))
        >>> len(counted_angles(pairs).axes)
        1
    """
    figure, (axes,) = new_figure(5.6, 4.0)
    degrees = np.rad2deg(np.arccos(np.clip(pairs.edges[::-1], -1.0, 1.0)))
    columns = np.arange(0.0, 180.0 + _DEGREES, _DEGREES)
    tallest = 0.0
    kinds = (("Same person", pairs.genuine, GENUINE), ("Two people", pairs.impostors, IMPOSTOR))
    for name, counts, color in kinds:
        below = np.concatenate([[0.0], np.cumsum(counts[::-1]) / counts.sum()])
        shares = np.diff(np.interp(columns, degrees, below))
        median = float(np.interp(0.5, below, degrees))
        tallest = max(tallest, float(shares.max()))
        axes.stairs(shares, columns, fill=True, color=color, alpha=0.28, linewidth=0)
        axes.stairs(shares, columns, color=color, linewidth=1.6, label=f"{name}, median {median:.1f}°")
        axes.axvline(median, color=color, linewidth=1.0, linestyle=(0, (4, 3)))
    if thresholds is not None:
        for angle in thresholds.tar:
            axes.axvline(angle, ymax=0.84, color=INK, linewidth=0.9)
        for end, side in ((0, "right"), (-1, "left")):
            label = f" FAR {share_label(thresholds.far[end])} "
            axes.text(thresholds.tar[end], 1.08 * tallest, label, ha=side, va="top", fontsize=8)
    axes.set(xlim=(0, 180), ylim=(0, 1.28 * tallest), xlabel="Angle", ylabel="Share of pairs", title=title)
    axes.set_xticks(np.arange(0, 181, 30), [f"{angle}°" for angle in range(0, 181, 30)])
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.legend(loc="upper right")
    return figure
