"""The angles of Table 3 of the ArcFace paper, and those behind them, of embeddings that are not held.

Deng et al.: "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019 (arXiv 1801.07698v3), Table 3:

- EC_c, the embedding center: the unit mean of the unit embeddings of person c;
- W-EC: mean over people of the angle between EC_c and the class center W_c;
- W-Inter: mean over classes of the smallest angle between W_c and another W;
- Intra: mean over faces of the angle between a face and the EC of its person;
- Inter: mean over people of the smallest angle between EC_c and another EC.

Intra1 and Inter1 are those of the faces that were trained on, Intra2 and Inter2 those of others. The paper leaves some
things open. Here a face belongs to the center of its own person; people with one face have angle 0 and count, and Intra
is told without them, too; of K sub-centers the dominant one is W_c; smallest angles are averaged, not minimized again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.metrics import (
    AngleStatistics,
    CenterAngles,
    PairSample,
    StreamedAngles,
    angle,
    nearest_others,
    sample_pairs,
)
from hyperarc.metrics.inputs import FloatArray, IntArray, embedding_matrix

_BLOCK = 4096  # faces looked at together

Tell = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class ClassCenters:
    """What a head has learned of the people it was trained on.

    Attributes:
        people: [C] names, in the order of the classes.
        weight: [C, K, d] centers, any length but 0.
        dominant: [C] which of the K centers of each is dominant.
    """

    people: tuple[str, ...]
    weight: npt.NDArray[np.float32]
    dominant: IntArray

    @property
    def sub_centers(self) -> int:
        """K."""
        return int(self.weight.shape[1])

    def dominant_weight(self) -> npt.NDArray[np.floating[Any]]:
        """Unit dominant centers [C, d]."""
        return embedding_matrix(self.weight[np.arange(len(self.dominant)), self.dominant], "class centers")

    def w_inter_deg(self) -> float:
        """Mean over classes of the angle between W and its nearest other W; no faces are needed."""
        return float(np.rad2deg(nearest_others(self.dominant_weight()).radians.mean()))

    def classes_of(self, people: Sequence[str]) -> IntArray:
        """The class of each person by name, blanks aside; -1 of those that the head does not know."""
        place = {_plain(name): number for number, name in enumerate(self.people)}
        return np.array([place.get(_plain(name), -1) for name in people], np.int64)


@dataclass(frozen=True, eq=False)
class Faces:
    """Embedded faces with their people.

    Attributes:
        vectors: [n, d] raw embeddings, read in blocks; a memory map will do.
        labels: [n] places in ``people``, everybody with a face.
        people: names.
    """

    vectors: Any
    labels: IntArray
    people: tuple[str, ...]

    def blocks(self) -> Iterator[tuple[int, npt.NDArray[np.float32], IntArray]]:
        """Start, raw embeddings and labels of every block."""
        for start in range(0, len(self.labels), _BLOCK):
            yield start, np.asarray(self.vectors[start : start + _BLOCK]), self.labels[start : start + _BLOCK]


@dataclass(frozen=True)
class Asked:
    """How much is looked at.

    Attributes:
        pairs: of each kind at most; evenly sampled where there are more.
        seed: of the sample.
        people: how many of the widest and of the nearest people are named.
    """

    pairs: int = 200_000
    seed: int = 0
    people: int = 6

    def __post_init__(self) -> None:
        if self.pairs < 1 or self.people < 0:
            raise DataError(f"expected at least one pair and no negative people, got {self.pairs} and {self.people}")


@dataclass(frozen=True, eq=False)
class PairAngles:
    """Angles of pairs in degrees; of ``total`` pairs, all or a sample."""

    degrees: npt.NDArray[np.float32]
    total: int

    def as_dict(self) -> dict[str, Any]:
        """Counts, median and mean; shares of pairs in bins of one degree."""
        counts = np.histogram(self.degrees, 180, (0.0, 180.0))[0]
        size = len(self.degrees)
        return {
            "pairs": size,
            "of": self.total,
            "median_deg": float(np.median(self.degrees)) if size else None,
            "mean_deg": float(self.degrees.mean(dtype=np.float64)) if size else None,
            "shares_per_degree": (counts / max(1, size)).round(9).tolist(),
        }


@dataclass(frozen=True)
class Wide:
    """A person with the mean angle of their faces to their center."""

    person: str
    faces: int
    intra_deg: float


@dataclass(frozen=True)
class Near:
    """Two people with the angle between their centers."""

    person: str
    other: str
    angle_deg: float


@dataclass(frozen=True, eq=False)
class MeasuredAngles:
    """What one set of faces came to under one model.

    Attributes:
        statistics: W-EC over the matched people where a head is known, W-Inter not (:meth:`ClassCenters.w_inter_deg`).
        matched: people whose class is known.
        genuine, impostor: angles of pairs.
        centers: angles of the matched people's faces to the centers of their classes, or None.
        widest: people whose faces lie furthest from their center, the widest first.
        nearest: people whose centers are nearest, each pair once, the nearest first.
        shown: embedding centers [d] of the people who are named there.
    """

    statistics: AngleStatistics
    matched: int
    genuine: PairAngles
    impostor: PairAngles
    centers: CenterAngles | None
    widest: tuple[Wide, ...]
    nearest: tuple[Near, ...]
    shown: dict[str, FloatArray]

    def as_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        told: dict[str, Any] = {k: v for k, v in vars(self.statistics).items() if k != "w_inter_deg"}
        told |= {"people_with_known_class": self.matched}
        if self.centers is not None:
            told["to_class_centers"] = {
                kind: {"mean_deg": mean, "counts_per_degree": getattr(self.centers, kind).tolist()}
                for kind, mean in self.centers.means_deg.items()
            }
        told |= {"genuine": self.genuine.as_dict(), "impostor": self.impostor.as_dict()}
        return told | {"widest": [vars(one) for one in self.widest], "nearest": [vars(one) for one in self.nearest]}


def measure_angles(faces: Faces, classes: ClassCenters | None, asked: Asked, tell: Tell) -> MeasuredAngles:
    """Every angle of a set of faces; two passes over them, and one over the pairs.

    Held are about 32 bytes a face and 48 a pair while pairs are chosen, 8 d + 60 bytes a person, and blocks. The
    cosines of centers, people^2 of them, come 2^24 at a time.

    Args:
        faces: embedded by one model.
        classes: of that model's head, if the faces are those it was trained on.
        asked: how many pairs and people.
        tell: called with (steps done, steps in all).

    Raises:
        DataError: fewer than two people, a zero or non-finite embedding, centers of another dimension.
    """
    steps = 2 * -(-len(faces.labels) // _BLOCK) + 2
    streamed = StreamedAngles(len(faces.people), faces.vectors.shape[1])
    done = 0
    for start, vectors, labels in faces.blocks():
        streamed.add(vectors, labels, first_row=start)
        tell(done := done + 1, steps)
    class_of = np.full(len(faces.people), -1) if classes is None else classes.classes_of(faces.people)
    matched = class_of >= 0
    to_centers = CenterAngles(classes.weight, classes.dominant) if classes is not None and matched.any() else None
    for _, vectors, labels in faces.blocks():
        streamed.measure(vectors, labels)
        if to_centers is not None and (known := matched[labels]).any():
            to_centers.add(vectors[known], class_of[labels[known]])
        tell(done := done + 1, steps)
    statistics = streamed.statistics()
    if classes is not None and matched.any():
        own = angle(classes.dominant_weight()[class_of[matched]], streamed.centers[matched])
        statistics = replace(statistics, w_ec_deg=float(np.rad2deg(own.mean())))
    tell(done := done + 1, steps)
    genuine, impostor = (_of_pairs(faces, kind) for kind in sample_pairs(faces.labels, asked.pairs, asked.seed))
    tell(steps, steps)
    widest, nearest = _widest(faces, streamed, asked.people), _nearest(faces, streamed, asked.people)
    names = {one.person for one in widest} | {name for one in nearest for name in (one.person, one.other)}
    shown = {name: streamed.centers[row].copy() for row, name in enumerate(faces.people) if name in names}
    return MeasuredAngles(statistics, int(matched.sum()), genuine, impostor, to_centers, widest, nearest, shown)


def _of_pairs(faces: Faces, pairs: PairSample) -> PairAngles:
    degrees = np.empty(len(pairs.first), np.float32)
    for start in range(0, len(degrees), _BLOCK):
        part = slice(start, start + _BLOCK)
        degrees[part] = np.rad2deg(angle(faces.vectors[pairs.first[part]], faces.vectors[pairs.second[part]]))
    return PairAngles(degrees, pairs.total)


def _widest(faces: Faces, streamed: StreamedAngles, most: int) -> tuple[Wide, ...]:
    intra = streamed.intra
    order = np.argsort(-intra, kind="stable")[:most].tolist()
    return tuple(Wide(faces.people[i], int(streamed.counts[i]), float(np.rad2deg(intra[i]))) for i in order)


def _nearest(faces: Faces, streamed: StreamedAngles, most: int) -> tuple[Near, ...]:
    found: list[Near] = []
    seen: set[tuple[int, int]] = set()
    for row in np.argsort(streamed.nearest.radians, kind="stable").tolist():
        other = int(streamed.nearest.rows[row])
        if len(found) == most:
            break
        if (other, row) not in seen:
            seen.add((row, other))
            degrees = float(np.rad2deg(streamed.nearest.radians[row]))
            found.append(Near(faces.people[row], faces.people[other], degrees))
    return tuple(found)


def _plain(name: str) -> str:
    return " ".join(name.split())
