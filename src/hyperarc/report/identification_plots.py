"""Figures of identification: who is found within so many ranks, and among how many false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hyperarc.errors import DataError
from hyperarc.report.plots import Curve, roc_curve
from hyperarc.report.style import legend_columns, new_figure, series_look, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def cmc_curve(curves: Sequence[Curve], *, title: str = "CMC") -> Figure:
    """Share of probes whose person is among the k nearest, over k.

    Args:
        curves: one a run; ``far`` holds the ranks from 1 on, ``tar`` the shares.

    Example:
        >>> cmc_curve([Curve("run", [1.0, 5.0, 10.0], [0.8, 0.9, 0.95])]).axes[0].get_xlabel()
        'Rank'
    """
    if not curves:
        raise DataError("expected at least one run to draw")
    figure, (axes,) = new_figure(5.6, 4.0)
    for number, curve in enumerate(curves):
        axes.plot(curve.far, curve.tar, marker="o", **series_look(number), markersize=3, label=curve.label)
    lowest = min(float(curve.tar.min()) for curve in curves)
    axes.set(xlabel="Rank", ylabel="Share of probes found", title=title, ylim=(max(0.0, 1.2 * lowest - 0.25), 1.02))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    figure.legend(loc="outside lower center", ncols=legend_columns([curve.label for curve in curves]))
    return figure


def open_set_curve(curves: Sequence[Curve]) -> Figure:
    """True against false positive identifications, as a ROC is drawn.

    Example:
        >>> open_set_curve([Curve("run", [0.0, 0.1, 1.0], [0.5, 0.8, 0.9])]).axes[0].get_xlabel()
        'False positive identification rate'
    """
    figure = roc_curve(curves, title="Open-set identification")
    figure.axes[0].set(xlabel="False positive identification rate", ylabel="True positive identification rate")
    return figure
