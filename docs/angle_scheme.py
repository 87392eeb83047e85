"""The drawing that says what Intra, Inter, W-EC and W-Inter are."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hyperarc.report.style import BLUE, GREEN, GRID, INK, MUTED, VERMILLION, styled

# degrees on the circle: faces, and the class center W
PEOPLE = {
    BLUE: ((11.0, 18.0, 24.0, 36.0, 50.0), 42.0),
    VERMILLION: ((80.0, 83.5, 101.0, 104.0, 117.0), 90.0),
    GREEN: ((138.0, 149.0, 160.0, 164.0, 169.0), 143.0),
}


@styled
def angle_scheme() -> Figure:
    """Faces, embedding centers and class centers of three people on half a circle, and the four angles."""
    figure = Figure(figsize=(7.6, 4.34))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-1.9, 1.9), ylim=(-0.62, 1.55), aspect="equal")
    axes.axis("off")
    axes.plot(*_points(np.linspace(0, 180, 200), 1.0), color=GRID, linewidth=2.5, zorder=1)
    centers, weights = [], []
    for color, (faces, weight) in PEOPLE.items():
        toward = np.array(_points(np.array(faces), 1.0)).sum(axis=1)
        center = float(np.rad2deg(np.arctan2(toward[1], toward[0])))
        axes.plot(*_points(np.array(faces), 1.0), "o", color=color, markersize=7, alpha=0.55, zorder=3)
        axes.plot(*_points(np.array([center]), 1.0), "o", mfc="white", mec=color, mew=2.2, markersize=11, zorder=4)
        axes.plot(*_points(np.array([weight]), 1.0), "D", color=color, markersize=9, mec="white", mew=1.2, zorder=5)
        axes.plot(*_points(np.array([center, center]), np.array([0.0, 0.94])), color=GRID, linewidth=1.0, zorder=0)
        centers.append(center)
        weights.append(weight)
    red = PEOPLE[VERMILLION][0]
    _arc(axes, (red[-1], centers[1]), 0.86, "Intra", 0.76)
    _arc(axes, (centers[0], centers[1]), 0.62, "Inter", 0.52)
    _arc(axes, (weights[0], centers[0]), 1.13, "W-EC", 1.28)
    _arc(axes, (weights[0], weights[1]), 1.33, "W-Inter", 1.49)
    _key(axes)
    return figure


def _points(degrees: np.ndarray, radius: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return radius * np.cos(np.deg2rad(degrees)), radius * np.sin(np.deg2rad(degrees))


def _arc(axes: Axes, ends: tuple[float, float], radius: float, name: str, at: float) -> None:
    low, high = min(ends), max(ends)
    axes.plot(*_points(np.linspace(low, high, 60), radius), color=INK, linewidth=1.5)
    for end in ends:
        axes.plot(*_points(np.array([end, end]), np.array([radius - 0.03, radius + 0.03])), color=INK, linewidth=1.5)
    x, y = _points(np.array([(low + high) / 2]), at)
    axes.text(x[0], y[0], name, ha="center", va="center", fontsize=10, fontweight="bold")


def _key(axes: Axes) -> None:
    """What the signs and the four angles are, below the circle."""
    signs = (
        ("o", {"color": MUTED, "alpha": 0.55, "markersize": 7}, "face"),
        ("o", {"mfc": "white", "mec": MUTED, "mew": 2.2, "markersize": 11}, "EC, center of a person's faces"),
        ("D", {"color": MUTED, "markersize": 9}, "W, class center of the head"),
    )
    for place, (sign, look, text) in zip((-1.62, -1.18, 0.12), signs, strict=True):
        axes.plot(place, -0.17, sign, **look)
        axes.text(place + 0.08, -0.17, text, va="center", fontsize=9.5, color=MUTED)
    words = (
        ("Intra", "a face to its EC", "mean over faces"),
        ("Inter", "an EC to the nearest other", "mean over people"),
        ("W-EC", "a W to the EC of its person", "mean over people"),
        ("W-Inter", "a W to the nearest other", "mean over classes"),
    )
    for place, (name, what, mean) in zip((-1.68, -0.86, 0.02, 0.96), words, strict=True):
        axes.text(place, -0.36, name, fontsize=9.5, fontweight="bold")
        axes.text(place, -0.46, what, fontsize=8.5, color=MUTED)
        axes.text(place, -0.55, mean, fontsize=8.5, color=MUTED)
