"""Figure of an attack on stored templates: what they give away beside what they are still good for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hyperarc.errors import DataError
from hyperarc.report.style import BLUE, MUTED, ORANGE, VERMILLION, new_figure, share_label, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Estimate:
    """A share, between low and high."""

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Stored:
    """One way of storing templates.

    Attributes:
        name: of it.
        same_photo: inversions accepted against the photo of the template; other_photos: against others of the person,
            or None.
        verified: genuine pairs of stored templates that are accepted.
    """

    name: str
    same_photo: Estimate
    other_photos: Estimate | None
    verified: Estimate


@styled
def leakage_and_use(ways: Sequence[Stored], far: float) -> Figure:
    """Two panels, a line for each way of storing: left what leaks, right what stays useful, with 95 % intervals.

    Args:
        ways: in the order in which they are drawn, from the top.
        far: false accept rate of both panels; marked on the left, as a stranger's face reaches it.

    Raises:
        DataError: no ways.

    Example:
        >>> one = Estimate(0.5, 0.4, 0.6)
        >>> len(leakage_and_use([Stored("none", one, one, one)], 1e-3).axes)
        2
    """
    if not ways:
        raise DataError("expected at least one way of storing templates")
    figure, (leaks, use) = new_figure(8.6, 1.5 + 0.42 * len(ways), columns=2)
    several = any(way.other_photos for way in ways)
    for row, way in enumerate(ways):
        _mark(leaks, row - 0.13 * several, way.same_photo, VERMILLION)
        if way.other_photos is not None:
            _mark(leaks, row + 0.13, way.other_photos, ORANGE)
        _mark(use, row, way.verified, BLUE)
    leaks.axvline(far, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=0)
    names = {"the photo of the template (type I)": VERMILLION} | (
        {"other photos of the person (type II)": ORANGE} if several else {}
    )
    _legend(figure, names | {"stored templates of one person": BLUE})
    leaks.set(title="What leaks", xlabel=f"Inverted faces that verify, FAR {share_label(far)}")
    use.set(title="What stays useful", xlabel=f"Genuine pairs accepted, FAR {share_label(far)}")
    leaks.set_yticks(range(len(ways)), [way.name for way in ways])
    use.set_yticks(range(len(ways)), [""] * len(ways))
    for axes in (leaks, use):
        axes.set(xlim=(-0.02, 1.02), ylim=(len(ways) - 0.5, -0.5))
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        axes.grid(axis="y", visible=False)
    return figure


def _mark(axes: Axes, height: float, one: Estimate, color: str) -> None:
    axes.plot([one.low, one.high], [height, height], color=color, linewidth=4.5, alpha=0.28, solid_capstyle="round")
    axes.plot([one.share], [height], "o", color=color, markersize=5.5, clip_on=False)


def _legend(figure: Figure, names: Mapping[str, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=color, marker="o", linestyle="", label=name) for name, color in names.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handletextpad=0.2)
