"""Angle statistics of faces that come in blocks: more of them than memory holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.metrics.angles import AngleStatistics, NearestOthers, angle, mean_deg, nearest_others
from hyperarc.metrics.inputs import FloatArray, IntArray, as_array, embedding_matrix


class StreamedAngles:
    """What :func:`angle_statistics` says of all faces at once, of faces in blocks that are shown twice.

    The first time (:meth:`add`) people's centers are made, the second time (:meth:`measure`) the angles to them. Both
    times all faces must be shown, in any order and in blocks of any size. Held are 8 d + 24 bytes a person and nothing
    of a face; :meth:`nearest` adds the cosines of :func:`nearest_others`.

    Args:
        people: how many there are; labels are 0 .. people - 1, and everybody has a face.
        dimension: d of the embeddings.

    Attributes:
        counts: [people] faces that were added.

    Example:
        >>> faces, labels = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 1.0]]), np.array([0, 1, 1])
        >>> angles = StreamedAngles(people=2, dimension=2)
        >>> for show in (angles.add, angles.measure):
        ...     _ = show(faces[:2], labels[:2]), show(faces[2:], labels[2:])
        >>> round(angles.statistics().inter_deg, 9), angles.statistics().single_face_people
        (90.0, 1)
    """

    def __init__(self, people: int, dimension: int) -> None:
        if people < 2:
            raise DataError(f"expected at least two people, got {people}")
        self.counts = np.zeros(people, np.int64)
        self._sums = np.zeros((people, dimension))
        self._centers: FloatArray | None = None
        self._nearest: NearestOthers | None = None
        self._intra = np.zeros(people)
        self._measured = np.zeros(people, np.int64)

    def add(self, embeddings: Any, labels: Any, *, first_row: int = 0) -> None:
        """First pass: faces [n, d] of people [n]; errors count rows from ``first_row``.

        Raises:
            DataError: shapes or labels that do not fit, zero vectors, NaN; faces after :attr:`centers` were asked for.
        """
        if self._centers is not None:
            raise DataError("the centers are made already", mend="add all faces before measuring the first")
        units = embedding_matrix(embeddings, "embeddings", first_row=first_row)
        owners = self._owners(units.shape, labels)
        order = np.argsort(owners, kind="stable")
        present, starts = np.unique(owners[order], return_index=True)
        self._sums[present] += np.add.reduceat(units[order], starts, axis=0, dtype=np.float64)
        self.counts += np.bincount(owners, minlength=len(self.counts))

    @property
    def centers(self) -> FloatArray:
        """Unit centers [people, d]; :class:`DataError` when somebody has no face, or faces that cancel out."""
        if self._centers is None:
            missing = np.flatnonzero(self.counts == 0)
            if len(missing):
                raise DataError(f"person {missing[0]} has no face, and {len(missing) - 1} more have none")
            norms = np.linalg.norm(self._sums, axis=1, keepdims=True)
            zero = np.flatnonzero(norms[:, 0] == 0.0)
            if len(zero):
                raise DataError(f"the embeddings of person {zero[0]} add up to a zero vector")
            self._sums /= norms
            self._centers = self._sums
        return self._centers

    def measure(self, embeddings: Any, labels: Any) -> FloatArray:
        """Second pass: the angles [n] of faces to the centers of their people, in radians."""
        raw = as_array(embeddings, "embeddings")
        owners = self._owners(raw.shape, labels)
        angles = angle(raw, self.centers[owners])
        self._intra += np.bincount(owners, angles, len(self._intra))
        self._measured += np.bincount(owners, minlength=len(self._measured))
        return angles

    @property
    def intra(self) -> FloatArray:
        """Mean angle [people] of a person's faces to their center, in radians.

        Raises:
            DataError: other faces were measured than added.
        """
        if not np.array_equal(self._measured, self.counts):
            raise DataError(f"{self.counts.sum()} faces were added, {self._measured.sum()} of the same people measured")
        return np.asarray(self._intra / self.counts)

    @property
    def nearest(self) -> NearestOthers:
        """The nearest other center of everybody."""
        if self._nearest is None:
            self._nearest = nearest_others(self.centers)
        return self._nearest

    def statistics(self) -> AngleStatistics:
        """The means over faces and people, without those of W: its angles need no faces, only the centers."""
        intra, several = self.intra, self.counts > 1
        inside = self._intra[several].sum() / max(1, self.counts[several].sum())
        return AngleStatistics(
            intra_deg=float(np.rad2deg(self._intra.sum() / self.counts.sum())),
            inter_deg=mean_deg(self.nearest.radians),
            w_ec_deg=None,
            w_inter_deg=None,
            people=len(intra),
            faces=int(self.counts.sum()),
            single_face_people=int((self.counts == 1).sum()),
            intra_several_deg=float(np.rad2deg(inside)) if several.any() else None,
        )

    def _owners(self, shape: tuple[int, ...], labels: Any) -> IntArray:
        owners = as_array(labels, "labels")
        if len(shape) != 2 or shape[1] != self._sums.shape[1]:
            raise DataError(f"expected embeddings [n, {self._sums.shape[1]}], got {list(shape)}")
        if owners.shape != shape[:1] or owners.dtype.kind not in "iu":
            raise DataError(f"expected {shape[0]} labels, whole numbers, got {owners.dtype} {list(owners.shape)}")
        if owners.min() < 0 or owners.max() >= len(self.counts):
            raise DataError(f"expected labels 0..{len(self.counts) - 1}, got {owners.min()}..{owners.max()}")
        return owners.astype(np.int64)


class CenterAngles:
    """Angles of faces to the K centers of their own class, in bins of one degree.

    Held are 3 x 180 counts. The nearest of the K is the one that the class's cosine is made of (sub-center ArcFace,
    arXiv 1801.07698v4, Eq. 7).

    Args:
        weight: [C, K, d] centers of the classes, any length but 0.
        dominant: [C] which of the K is the dominant one.

    Attributes:
        nearest, dominant, others: [180] counts of the angles to the nearest center, to the dominant one, and to all
            others (none for K = 1).
        means_deg: mean of each of the three by name; None where there are none.

    Example:
        >>> angles = CenterAngles(np.array([[[1.0, 0.0], [0.0, 1.0]]]), np.array([0]))
        >>> angles.add([[2.0, 1.0]], [0])
        >>> int(angles.dominant.argmax()), int(angles.others.argmax())
        (26, 63)
    """

    def __init__(self, weight: npt.NDArray[np.floating[Any]], dominant: IntArray) -> None:
        if weight.ndim != 3 or dominant.shape != weight.shape[:1]:
            raise DataError(f"expected centers [C, K, d] and one of K each, got {weight.shape} and {dominant.shape}")
        self._weight = weight
        self._dominant = dominant
        self.nearest, self.dominant, self.others = (np.zeros(180, np.int64) for _ in range(3))
        self._sums = dict.fromkeys(("nearest", "dominant", "others"), 0.0)

    def add(self, embeddings: Any, classes: Any) -> None:
        """Faces [n, d] of classes [n]."""
        units, owners = embedding_matrix(embeddings, "embeddings"), np.asarray(classes)
        count, centers, dimension = len(units), self._weight.shape[1], self._weight.shape[2]
        if units.shape[1] != dimension:
            raise DataError(f"expected embeddings of {dimension} values, as the centers have, got {units.shape[1]}")
        repeated = np.repeat(units, centers, axis=0)
        radians = angle(repeated, self._weight[owners].reshape(-1, dimension)).reshape(count, centers)
        is_dominant = np.arange(centers) == self._dominant[owners][:, None]
        for name, part in (
            ("nearest", radians.min(axis=1)),
            ("dominant", radians[is_dominant]),
            ("others", radians[~is_dominant]),
        ):
            degrees = np.rad2deg(part)
            counts = getattr(self, name)
            counts += np.bincount(np.minimum(degrees, 179.5).astype(np.int64), minlength=180)
            self._sums[name] += float(degrees.sum())

    @property
    def means_deg(self) -> dict[str, float | None]:
        """See the class."""
        counts = {name: int(getattr(self, name).sum()) for name in self._sums}
        return {name: self._sums[name] / count if count else None for name, count in counts.items()}
