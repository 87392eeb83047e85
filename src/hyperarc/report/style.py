"""How every figure looks: one palette that color-blind readers can tell apart, one set of lines and letters.

matplotlib is imported only when a figure is made, and never through pyplot: figures belong to whoever asked
for them, no window or global state is touched.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from hyperarc.files import write_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1f2a37"
MUTED = "#667484"
GRID = "#e4e9f0"

# Okabe and Ito's palette, in the order in which neighbours differ most; yellow is left out, it vanishes on
# white.
BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#e69f00",
    "#cc79a7",
    "#56b4e9",
)
PEOPLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, INK, MUTED)  # for points that stand for people
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
BY_NORM: Any = ((GREEN, "-"), (ORANGE, (0, (5, 2))), (VERMILLION, (0, (1.2, 1.6))))  # of embeddings, largest first
_LETTER_IN, _HANDLE_IN = 0.078, 0.62  # room that a letter of a legend takes, and its line
_DASHES: Any = ("-", (0, (5, 2)), (0, (1.2, 1.6)))
GENUINE, IMPOSTOR = BLUE, VERMILLION

# The name of each color in the style sheet of the page, which gives it a lighter twin on a dark screen.
CSS_NAMES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    BLUE: "blue",
    VERMILLION: "vermillion",
    GREEN: "green",
    ORANGE: "orange",
    PURPLE: "purple",
    SKY: "sky",
}

_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.5,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.bottom": False,
    "ytick.left": False,
    "lines.linewidth": 1.9,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "figure.facecolor": "white",
    "savefig.dpi": 200,
    "svg.fonttype": "none",
    "svg.hashsalt": "hyperarc",
    "text.parse_math": False,
    "axes.unicode_minus": True,
}

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Run a function under the house style; the settings of the caller come back afterwards."""

    @functools.wraps(draw)
    def under_style(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib

        with matplotlib.rc_context(_SETTINGS):
            return draw(*args, **kwargs)

    return under_style


def save_figure(figure: Figure, path: Path, dpi: float = 200) -> Path:
    """Write a figure as .svg or .png, by the path's ending; the same figure gives the same file.

    Letters of an SVG are outlines, so that it looks the same everywhere; it carries no date, and its lines one decimal
    of a point.

    Args:
        figure: of any of this room's functions.
        path: its folder is made.
        dpi: of a PNG, and of the faces and shades inside an SVG (default 200).

    Returns:
        The path written.
    """
    import matplotlib

    with matplotlib.rc_context(_SETTINGS | {"svg.fonttype": "path"}), write_beside(path) as beside:
        if path.suffix == ".png":
            figure.savefig(beside, format="png", dpi=dpi)
        else:
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", dpi=dpi, metadata={"Date": None})
            short = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), buffer.getvalue())
            beside.write_text(re.sub(r"\n +<", "\n<", short), encoding="utf-8")
    return path


def series_look(number: int) -> dict[str, Any]:
    """Color and dashes of a line among several, from 0 on; colors come again from the seventh on, dashed.

    Example:
        >>> series_look(0) == {"color": BLUE, "linestyle": "-"}, series_look(6)["color"] == BLUE
        (True, True)
    """
    return {"color": SERIES[number % len(SERIES)], "linestyle": _DASHES[number // len(SERIES) % len(_DASHES)]}


def legend_columns(labels: Sequence[str], width_in: float = 5.6) -> int:
    """Columns of a legend below a figure of this width, so that no label is cut off.

    Example:
        >>> legend_columns(["arcface", "cosface"]), legend_columns(["mobilefacenet-noflip"] * 4)
        (4, 2)
    """
    longest = max(map(len, labels), default=0)
    return max(1, min(4, int(width_in / (_LETTER_IN * longest + _HANDLE_IN))))


def new_figure(width_in: float, height_in: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure and its axes, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.flat)


def share_label(share: float, _place: float = 0.0) -> str:
    """A share as a power of ten without math type, so that every screen and viewer can show it.

    Example:
        >>> share_label(0.001), share_label(1.0), share_label(0.05)
        ('10⁻³', '1', '0.05')
    """
    from math import isclose, log10

    if share <= 0:
        return "0"
    power = round(log10(share))
    if power == 0 or not isclose(share, 10.0**power, rel_tol=1e-6):
        return f"{share:g}"
    return "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def step_label(count: float, _place: float = 0.0) -> str:
    """A count of steps or people, large ones shortened.

    Example:
        >>> step_label(200), step_label(12_000), step_label(3e6)
        ('200', '12k', '3M')
    """
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(count) >= unit:
            return f"{count / unit:g}{letter}"
    return f"{count:g}"


def percent(share: float, digits: int = 2) -> str:
    """A share as a percentage; a number that is none reads "n/a".

    Example:
        >>> percent(0.99234), percent(float("nan"))
        ('99.23 %', 'n/a')
    """
    return f"{100 * share:.{digits}f} %" if abs(share) < float("inf") else "n/a"
