"""The course of training runs as one figure: loss, angles, accuracy and learning rate over steps."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.report.panels import ALONE_IN
from hyperarc.report.style import MUTED, SERIES, new_figure, step_label, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Panel title, its fields, how a value is written, whether the raw values are shown behind the smooth line.
_PANELS = (
    ("Loss", ("loss",), "{:g}", True),
    ("Angles", ("target_angle_deg", "nearest_negative_angle_deg"), "{:g}°", True),
    ("Accuracy without margin", ("accuracy",), "{:.0%}", True),
    ("Learning rate", ("learning_rate",), "{:g}", False),
)
_DASHES = (0, (4, 2))
TRAINING_FIELDS = ("step", *(field for _, fields, _, _ in _PANELS for field in fields))

Rows = Sequence[Mapping[str, Any]]


@styled
def training_curves(runs: Mapping[str, Rows], *, smooth: float = 0.02) -> Figure:
    """Four panels over steps; pale lines are the raw values, strong lines their running mean.

    Args:
        runs: name -> rows of its log, each a mapping with ``step`` and any of ``loss``, ``target_angle_deg``,
            ``nearest_negative_angle_deg``, ``accuracy`` (0..1) and ``learning_rate``. Rows that lack a field
            (or hold None or NaN there) are left out of that line; other fields are not looked at.
        smooth: length of the running mean as a share of the rows; 0 draws raw values only.

    Raises:
        DataError: no run, a row without ``step``, or no row that holds any known field.

    Example:
        >>> rows = [{"step": n, "loss": 40 / (n + 1), "accuracy": n / 100} for n in range(100)]
        >>> [axes.get_title(loc="left") for axes in training_curves({"run": rows}).axes]
        ['Loss', 'Accuracy without margin']
    """
    panels = [panel for panel in _PANELS if any(_series(rows, panel[1])[0] for rows in runs.values())]
    if not panels:
        raise DataError("no row holds a training field", mend=f"log some of {', '.join(TRAINING_FIELDS[1:])}")
    rows_of_panels = (len(panels) + 1) // 2
    width, height = ALONE_IN if len(panels) == 1 else (10.4, 3.1 * rows_of_panels)
    figure, axes_list = new_figure(width, height, rows_of_panels, min(2, len(panels)))
    for axes, (title, fields, writing, raw) in zip(axes_list, panels, strict=False):
        for number, rows in enumerate(runs.values()):
            color = SERIES[number % len(SERIES)]
            for field, dashes in zip(fields, ("solid", _DASHES), strict=False):
                _line(axes, rows, field, color, dashes, smooth if raw else 0.0)
        if len(fields) > 1:
            axes.plot([], [], color=MUTED, label="to the own center")
            axes.plot([], [], color=MUTED, linestyle=_DASHES, label="to the nearest wrong center")
            axes.legend(loc="best")
        axes.set_title(title)
        axes.margins(x=0.01)
        axes.xaxis.set_major_formatter(step_label)
        axes.yaxis.set_major_formatter(functools.partial(_written, writing))
    for axes in axes_list[len(panels) :]:
        axes.remove()
    if len(runs) > 1:
        handles = [
            axes_list[0].plot([], [], color=SERIES[n % len(SERIES)], label=name)[0] for n, name in enumerate(runs)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def running_mean(values: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """Mean over ``width`` values around each one; near the ends over those of them that exist.

    Example:
        >>> running_mean(np.array([0.0, 3.0, 6.0, 3.0]), 3).tolist()
        [1.5, 3.0, 4.0, 4.5]
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    rows = np.arange(values.size)
    start = np.maximum(rows - width // 2, 0)
    end = np.minimum(rows + width // 2 + 1, values.size)
    return np.asarray((sums[end] - sums[start]) / (end - start), dtype=np.float64)


def _series(rows: Rows, fields: tuple[str, ...]) -> tuple[list[float], list[float]]:
    """Steps and values of the rows that hold a finite value of the first of ``fields``."""
    steps, values = [], []
    for row in rows:
        value = row.get(fields[0])
        if value is None or not np.isfinite(value):
            continue
        if "step" not in row:
            raise DataError(f"a row of the log has no step: {dict(row)!r:.200}")
        steps.append(float(row["step"]))
        values.append(float(value))
    return steps, values


def _line(axes: Axes, rows: Rows, field: str, color: str, dashes: Any, smooth: float) -> None:
    steps, values = _series(rows, (field,))
    if not steps:
        return
    width = int(smooth * len(values))
    if width >= 3:
        axes.plot(steps, values, color=color, alpha=0.22, linewidth=0.8)
        values = running_mean(np.array(values), width).tolist()
    axes.plot(steps, values, color=color, linestyle=dashes)


def _written(writing: str, value: float, _place: float = 0.0) -> str:
    return writing.format(value)
