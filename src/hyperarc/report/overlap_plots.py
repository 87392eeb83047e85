"""Figures of two sets of people compared: what different people reach, and how near the nearest are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.report.style import BLUE, GREEN, INK, MUTED, VERMILLION, new_figure, step_label, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STEP = 0.02  # of cosine, a column of the histogram


@dataclass(frozen=True, eq=False)
class CosineTail:
    """How many of all pairs of people reach each cosine.

    Attributes:
        cosines: [m] rising.
        counted: [m] pairs that reach them.
        expected: [m] pairs of different people that would, or None where nobody can tell.
        limit: from which on two people are taken for one.
    """

    cosines: npt.NDArray[np.floating[Any]]
    counted: npt.NDArray[np.integer]
    expected: npt.NDArray[np.floating[Any]] | None
    limit: float


@styled
def cosine_tail(tail: CosineTail, *, title: str = "Pairs of people that reach a cosine") -> Figure:
    """Counted pairs and those expected of different people, on a logarithmic axis: where they part, people recur.

    Example:
        >>> tail = CosineTail(np.array([0.0, 0.5]), np.array([100, 2]), np.array([90.0, 0.5]), 0.45)
        >>> cosine_tail(tail).axes[0].get_yscale()
        'log'
    """
    if not tail.cosines.shape == tail.counted.shape or not tail.counted.any():
        raise DataError(f"expected as many counts as cosines, and a pair, got {tail.counted.shape}")
    figure, (axes,) = new_figure(5.6, 4.0)
    some = tail.counted > 0
    axes.plot(tail.cosines[some], tail.counted[some], color=BLUE, drawstyle="steps-pre", label="Counted")
    if tail.expected is not None:
        shown = tail.expected > 0.05
        label = "Expected of different people"
        axes.plot(tail.cosines[shown], tail.expected[shown], color=VERMILLION, linestyle=(0, (4, 2)), label=label)
    _limit(axes, tail.limit)
    axes.set_yscale("log")
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}" if count >= 1 else f"{count:g}")
    left = float(tail.cosines[np.searchsorted(-tail.counted, -0.9 * tail.counted.max())])
    axes.set(xlim=(left, 1.0), ylim=(0.3, 2.0 * tail.counted.max()), title=title)
    axes.set(xlabel="Cosine of their centers", ylabel="Pairs")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@styled
def nearest_histogram(
    others: npt.ArrayLike, namesakes: npt.ArrayLike, limit: float, *, title: str = "Nearest person of the test set"
) -> Figure:
    """Cosines of people to the nearest of the other set, namesakes of theirs on top.

    Args:
        others: cosines where the nearest is named otherwise.
        namesakes: cosines where the nearest is named alike.
        limit: from which on two people are taken for one.

    Example:
        >>> len(nearest_histogram([0.3, 0.35], [0.7], 0.5).axes)
        1
    """
    from matplotlib.ticker import MaxNLocator

    values = [np.asarray(part, np.float64).ravel() for part in (others, namesakes)]
    joint = np.concatenate(values)
    if not len(joint) or not np.isfinite(joint).all():
        raise DataError("expected finite cosines, at least one")
    low = np.floor(min(float(joint.min()), limit) / _STEP - 2) * _STEP
    edges = np.arange(low, 1.0 + _STEP, _STEP)
    figure, (axes,) = new_figure(5.6, 4.0)
    bottom = np.zeros(len(edges) - 1)
    for part, color, label in zip(values, (MUTED, GREEN), ("Named otherwise", "Named alike"), strict=True):
        if len(part):
            counts = np.histogram(part.clip(edges[0], edges[-1]), edges)[0]
            axes.stairs(bottom + counts, edges, baseline=bottom, fill=True, color=color, alpha=0.7, label=label)
            bottom = bottom + counts
    _limit(axes, limit)
    axes.set(xlim=(edges[0], 1.0), ylim=(0, 1.08 * bottom.max()), title=title)
    axes.set(xlabel="Cosine of their centers", ylabel="People")
    axes.yaxis.set_major_formatter(step_label)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _limit(axes: Axes, limit: float) -> None:
    axes.axvline(limit, color=INK, linewidth=1.2, linestyle=(0, (1, 2)), label=f"Limit {limit:.3f}")
