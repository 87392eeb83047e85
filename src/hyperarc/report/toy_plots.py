"""Embeddings of two dimensions, as points of the plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.report.plots import draw_angles
from hyperarc.report.style import GRID, MUTED, PEOPLE, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.floating[Any]]
RING = 1.36  # where the faces stand, in radii of the farthest embedding
ROOM = 0.42  # radians that a face takes there


@dataclass(frozen=True, eq=False)
class PlaneEmbeddings:
    """What one loss made of a few people.

    Attributes:
        title: heading.
        vectors: [N, 2] embeddings; labels: [N] person of each, from 0.
        centers: [P, 2] class centers; only their directions are drawn.
        genuine_deg, impostor_deg: angles of pairs of embeddings, of one person and of two.
    """

    title: str
    vectors: Floats
    labels: npt.NDArray[np.int64]
    centers: Floats
    genuine_deg: Floats
    impostor_deg: Floats

    def __post_init__(self) -> None:
        if self.vectors.shape != (len(self.labels), 2) or self.centers.shape[1:] != (2,):
            raise DataError(
                f"expected vectors [{len(self.labels)}, 2] and centers [P, 2], got {list(self.vectors.shape)} and "
                f"{list(self.centers.shape)}"
            )
        if len(self.centers) > len(PEOPLE):
            raise DataError(f"expected at most {len(PEOPLE)} people, who can be told apart; got {len(self.centers)}")


@styled
def plane_embeddings(clouds: Sequence[PlaneEmbeddings], faces: Sequence[npt.NDArray[np.uint8]]) -> Figure:
    """One column each: embeddings with the rays of their centers and a face at each ray; below, the angles of pairs.

    Args:
        clouds: at least one.
        faces: uint8 RGB, one for each person.

    Example:
        >>> cloud = PlaneEmbeddings("two", np.eye(2), np.arange(2), np.eye(2), np.zeros(1), np.full(1, 90.0))
        >>> len(plane_embeddings([cloud], [np.zeros((8, 8, 3), np.uint8)] * 2).axes)
        2
    """
    from matplotlib.figure import Figure as NewFigure

    if not clouds:
        raise DataError("expected at least one set of embeddings")
    figure = NewFigure(figsize=(3.9 * len(clouds), 5.9), layout="constrained")
    grid = figure.subplots(2, len(clouds), squeeze=False, height_ratios=[2.3, 1.0])
    for (above, below), cloud in zip(grid.T, clouds, strict=True):
        _draw_plane(above, cloud, faces)
        draw_angles(below, cloud.genuine_deg, cloud.impostor_deg)
        below.set_xlabel("Angle of a pair")
        below.set_ylabel("Share of pairs" if cloud is clouds[0] else "")
    return figure


def _draw_plane(axes: Any, cloud: PlaneEmbeddings, faces: Sequence[npt.NDArray[np.uint8]]) -> None:
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    radius = float(np.linalg.norm(cloud.vectors, axis=1).max())
    around = np.linspace(0.0, 2.0 * np.pi, 181)
    axes.plot(radius * np.cos(around), radius * np.sin(around), color=GRID, linewidth=1.0, zorder=1)
    rays = radius * cloud.centers / np.linalg.norm(cloud.centers, axis=1, keepdims=True)
    places = apart(np.arctan2(rays[:, 1], rays[:, 0]), ROOM)
    for person, (ray, place, face) in enumerate(zip(rays, places, faces, strict=True)):
        color = PEOPLE[person]
        axes.plot([0.0, ray[0]], [0.0, ray[1]], color=color, linewidth=1.2, zorder=2)
        points = cloud.vectors[cloud.labels == person]
        axes.scatter(*points.T, s=9, color=color, alpha=0.75, linewidths=0, zorder=3)
        frame: dict[str, Any] = {"edgecolor": color, "linewidth": 1.4, "boxstyle": "square,pad=0.06"}
        picture = OffsetImage(face, zoom=26 / face.shape[0], interpolation="antialiased")
        spot = RING * radius * np.cos(place), RING * radius * np.sin(place)
        axes.add_artist(AnnotationBbox(picture, spot, bboxprops=frame, pad=0.0))
    limit = 1.62 * radius
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), title=cloud.title)
    axes.set_aspect("equal")
    axes.plot(0.0, 0.0, "o", color=MUTED, markersize=3, zorder=4)
    axes.axis("off")


def apart(angles: Floats, room: float) -> Floats:
    """Angles [P] in radians, pushed apart to at least ``room`` from their neighbors on the circle.

    Example:
        >>> apart(np.array([1.0, 1.1, 4.0]), 0.5).round(2).tolist()
        [0.8, 1.3, 4.0]
    """
    order = np.argsort(angles)
    placed = angles[order].astype(np.float64)
    for _ in range(100):
        gap = np.diff(placed, append=placed[0] + 2.0 * np.pi)
        push = np.maximum(room - gap, 0.0) / 2.0
        placed += np.roll(push, 1) - push
    found = np.empty_like(placed)
    found[order] = placed
    return found
