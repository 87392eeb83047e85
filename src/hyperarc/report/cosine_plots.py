"""Cosines of pairs of faces, inverted and real ones, as hills over one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.report.style import GENUINE, IMPOSTOR, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BIN = 0.04
_DASHED: Any = (0, (4, 2.2))


@dataclass(frozen=True, eq=False)
class CosinePanel:
    """Cosines of four kinds of pairs; a kind may be empty.

    Attributes:
        title: heading.
        same, other: of an inverted and a real face, of one person and of two.
        real_same, real_other: of two real faces.
    """

    title: str
    same: npt.ArrayLike
    other: npt.ArrayLike
    real_same: npt.ArrayLike
    real_other: npt.ArrayLike


@styled
def cosine_hills(panels: Sequence[CosinePanel]) -> Figure:
    """Shares of pairs per 0.04 of cosine, one panel below the other: inverted pairs filled, real pairs dashed.

    Raises:
        DataError: no panel, or cosines outside -1..1.

    Example:
        >>> figure = cosine_hills([CosinePanel("judge", [0.6, 0.7], [0.0, 0.1], [0.8], [0.05])])
        >>> figure.axes[0].get_title(loc="left")
        'judge'
    """
    if not panels:
        raise DataError("expected at least one panel")
    figure, axes_list = new_figure(9.4, 0.7 + 2.75 * len(panels), len(panels), 1)
    handles: dict[str, Any] = {}
    for axes, panel in zip(axes_list, panels, strict=True):
        handles |= _draw(axes, panel)
        axes.set(title=panel.title, xlim=(_lowest(panels), 1.0), ylabel="Share of pairs")
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes_list[-1].set_xlabel("Cosine")
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=2)
    return figure


def _lowest(panels: Sequence[CosinePanel]) -> float:
    """Where the axis of all panels begins: a quarter below 0, or as many as are needed."""
    every = [np.ravel(kind) for one in panels for kind in (one.same, one.other, one.real_same, one.real_other)]
    least = min((float(values.min()) for values in every if values.size), default=0.0)
    return max(-1.0, min(-0.25, float(np.floor(4 * least)) / 4))


def _draw(axes: Axes, panel: CosinePanel) -> dict[str, Any]:
    edges = np.arange(-1.0, 1.0 + _BIN, _BIN)
    kinds = (
        ("Inverted and real, same person", panel.same, GENUINE, True),
        ("Inverted and real, two people", panel.other, IMPOSTOR, True),
        ("Real, same person", panel.real_same, GENUINE, False),
        ("Real, two people", panel.real_other, IMPOSTOR, False),
    )
    handles: dict[str, Any] = {}
    tallest = 0.0
    for name, values, color, filled in kinds:
        cosines = np.asarray(values, np.float64).ravel()
        if not cosines.size:
            continue
        if not (np.abs(cosines) <= 1 + 1e-6).all():
            raise DataError(f"{name}: expected cosines, -1..1")
        shares = np.histogram(cosines, bins=edges)[0] / cosines.size
        tallest = max(tallest, float(shares.max()))
        if filled:
            axes.stairs(shares, edges, fill=True, color=color, alpha=0.28, linewidth=0)
        look: Any = {"linewidth": 1.6} if filled else {"linewidth": 1.2, "linestyle": _DASHED}
        handles[name] = axes.stairs(shares, edges, color=color, label=name, **look)
    axes.set_ylim(0, 1.08 * tallest or 1.0)
    return handles
