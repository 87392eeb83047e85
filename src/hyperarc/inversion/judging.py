"""What inverted faces are worth under a judge: are they the person, are they many different ones, are they like faces?

Embeddings in, numbers out. The judge should be another model than the attacked one (ArcFace paper, section 4.5: a
ResNet100 of other training data): a picture that only fools the model it was made with is noise to any other.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.metrics import Frechet, KFold, frechet_distance, kfold_accuracy, sample_pairs
from hyperarc.metrics.inputs import FloatArray, IntArray, as_array, embedding_matrix, label_numbers

MOST_PAIRS = 12_000  # of a kind; LFW has 3,000
_FOLDS = 10


@dataclass(frozen=True, eq=False)
class Shown:
    """Embeddings of faces and who each is.

    Attributes:
        vectors: [n, d], of any length but 0.
        labels: [n], the same for faces of one person.
    """

    vectors: Any
    labels: Any


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a judge makes of inverted faces, beside real ones where there are any.

    Attributes:
        own: [N] cosine of each inverted face to the photo it came from, or mean cosine to the real faces of its person;
            NaN where there are none.
        same, other: cosines of pairs of an inverted and a real face, of one person and of two.
        real_same, real_other: the same of two real faces.
        accuracy: 10-fold, of ``same`` against ``other``, as many of either; each person in one fold. None where there
            are fewer than two people with real faces.
        real_accuracy: the same of real faces alone, which inversions cannot be expected to pass.
        apart, real_apart: mean cosine between faces of two people: the lower, the more diverse; None for one person.
        tries: mean cosine between tries of one target; None where each has one.
        frechet: Frechet distance to the real faces in the judge's embedding space; None with fewer than two of either.
        real_frechet: that between one real face of each person and the others: what can be hoped for.
    """

    own: FloatArray
    same: FloatArray
    other: FloatArray
    real_same: FloatArray
    real_other: FloatArray
    accuracy: KFold | None
    real_accuracy: KFold | None
    apart: float | None
    real_apart: float | None
    tries: float | None
    frechet: Frechet | None
    real_frechet: Frechet | None

    def as_dict(self) -> dict[str, Any]:
        """As plain values for JSON; None where there is nothing to measure."""
        told: dict[str, Any] = {"cosine_to_real_faces": _mean(self.own[np.isfinite(self.own)])}
        told |= {f"cosine_{name}": _mean(getattr(self, name)) for name in ("same", "other", "real_same", "real_other")}
        for name in ("accuracy", "real_accuracy"):
            found: KFold | None = getattr(self, name)
            told[name] = found and {"mean": found.mean, "std": found.std, "pairs": found.pair_count}
        told |= {"cosine_of_two_people": self.apart, "cosine_of_two_real_people": self.real_apart}
        told |= {"cosine_of_tries": self.tries}
        told |= {name: (one := getattr(self, name)) and asdict(one) for name in ("frechet", "real_frechet")}
        return told


def judge_faces(
    inverted: Shown, real: Shown | None = None, *, photos: Any = None, tries: Any = None, seed: int = 0
) -> Judgement:
    """Compare inverted faces with real ones of the same people, and with each other.

    Args:
        inverted: one face a target.
        real: faces of the same people; those of others count where pairs of real faces are drawn.
        photos: [N, d] of the photo that each face was found from, or None.
        tries: [T, N, d] all tries of each target, or None.
        seed: of the pairs, where there are more than are looked at.

    Raises:
        DataError: embeddings that are NaN, infinite or zero, by row; shapes that do not fit.

    Example:
        >>> inverted = Shown([[1.0, 0.1], [0.1, 1.0]], ["ann", "bob"])
        >>> found = judge_faces(inverted, Shown([[1.0, 0.0], [0.0, 1.0]], ["ann", "bob"]))
        >>> found.own.round(3).tolist(), found.accuracy.mean, round(found.apart, 3)
        ([0.995, 0.995], 1.0, 0.198)
    """
    faces = embedding_matrix(inverted.vectors, "inverted faces").astype(np.float64)
    known = Shown(np.zeros((0, faces.shape[1])), as_array(inverted.labels, "labels")[:0]) if real is None else real
    shown, persons = label_numbers(inverted=inverted.labels, real=known.labels)
    others = embedding_matrix(known.vectors, "real faces").astype(np.float64) if len(persons) else faces[:0]
    if others.shape[1] != faces.shape[1] or len(shown) != len(faces) or len(persons) != len(others):
        raise DataError(
            f"expected a label for each embedding of one dimension, got {len(shown)} for {list(faces.shape)} and "
            f"{len(persons)} for {list(others.shape)}"
        )
    order = np.argsort(persons, kind="stable")
    others, persons = others[order], persons[order]
    rng = np.random.default_rng(seed)
    pairs = _cross_pairs(shown, persons, rng)
    cosines = _rows_dot(faces[pairs.first], others[pairs.second])
    real_pairs = _real_pairs(persons, seed)
    real_cosines = [_rows_dot(others[first], others[second]) for first, second in real_pairs]
    several = len(np.unique(shown)) > 1
    return Judgement(
        own=_own(faces, shown, others, persons) if photos is None else _to_photos(faces, photos),
        same=cosines[pairs.same],
        other=cosines[~pairs.same],
        real_same=real_cosines[0],
        real_other=real_cosines[1],
        accuracy=_accuracy(faces, others, pairs),
        real_accuracy=_real_accuracy(others, real_pairs, rng),
        apart=_mean(_other_people(faces, shown, seed)) if several else None,
        real_apart=_mean(real_cosines[1]),
        tries=None if tries is None else _between_tries(tries),
        frechet=frechet_distance(faces, others) if min(len(faces), len(others)) > 1 else None,
        real_frechet=_among_real(others, persons),
    )


@dataclass(frozen=True, eq=False)
class Replaced:
    """Accuracy of a list of pairs with real faces, with the first face of each pair inverted, and with both."""

    real: KFold
    one_side: KFold
    both_sides: KFold


def replaced_accuracy(real: Any, inverted: Any, pairs: Any, same: Any, folds: Any = 10) -> Replaced:
    """The LFW protocol on inverted faces (ArcFace paper, Table 11): photos replaced by what their embeddings gave.

    Args:
        real: [n, d] the judge's embeddings of all photos.
        inverted: [n, d] those of the faces found from the photos, in the same order.
        pairs: [p, 2] rows.
        same: [p] bool, one person or two.
        folds: number of contiguous folds, or the fold of each pair.

    Example:
        >>> real, pairs, same = [[1.0, 0.0], [1.0, 0.2], [0.0, 1.0]] * 2, [[0, 1], [0, 2], [3, 4], [3, 5]], [1, 0, 1, 0]
        >>> replaced_accuracy(real, real, pairs, same, folds=2).one_side.mean
        1.0
    """
    rows: IntArray = as_array(pairs, "pairs")
    faces, found = embedding_matrix(real, "real faces"), embedding_matrix(inverted, "inverted faces")
    if rows.ndim != 2 or rows.shape[1] != 2 or faces.shape != found.shape:
        raise DataError(f"expected pairs [p, 2] of rows, and as many inverted as real faces, got {list(rows.shape)}")
    if rows.min() < 0 or rows.max() >= len(faces):
        raise DataError(f"pairs name row {rows.max()} of {len(faces)} faces")
    first, second = rows.T
    return Replaced(
        real=kfold_accuracy(faces[first], faces[second], same, folds),
        one_side=kfold_accuracy(found[first], faces[second], same, folds),
        both_sides=kfold_accuracy(found[first], found[second], same, folds),
    )


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Rows of inverted and of real faces, one person or two, and the fold of each pair."""

    first: IntArray
    second: IntArray
    same: npt.NDArray[np.bool_]
    fold: IntArray


def _cross_pairs(shown: IntArray, persons: IntArray, rng: np.random.Generator) -> _Pairs:
    """Each inverted face with real ones of its person, and with as many of others; ``persons`` are sorted."""
    starts, ends = np.searchsorted(persons, shown, "left"), np.searchsorted(persons, shown, "right")
    able = np.flatnonzero(ends > starts)
    most = max(1, MOST_PAIRS // max(1, len(able)))
    first: list[IntArray] = []
    second: list[IntArray] = []
    for row in able.tolist():
        own = np.arange(starts[row], ends[row])
        own = rng.choice(own, most, replace=False) if len(own) > most else own
        foreign = len(persons) - (ends[row] - starts[row])
        drawn = rng.integers(0, foreign, len(own)) if foreign else own[:0]
        drawn += (drawn >= starts[row]) * (ends[row] - starts[row])
        first.append(np.full(len(own) + len(drawn), row, np.int64))
        second.append(np.concatenate([own, drawn]))
    rows = np.concatenate([*first, np.zeros(0, np.int64)])
    columns = np.concatenate([*second, np.zeros(0, np.int64)])
    people, place = np.unique(shown[rows], return_inverse=True)
    fold = place * min(_FOLDS, len(people)) // max(1, len(people))
    return _Pairs(rows, columns, shown[rows] == persons[columns], fold)


def _real_pairs(persons: IntArray, seed: int) -> list[tuple[IntArray, IntArray]]:
    if not len(persons):
        none = np.zeros(0, np.int64)
        return [(none, none), (none, none)]
    return [(found.first, found.second) for found in sample_pairs(persons, MOST_PAIRS, seed)]


def _own(faces: FloatArray, shown: IntArray, others: FloatArray, persons: IntArray) -> FloatArray:
    """Mean cosine to the real faces of the person: the product with their mean."""
    counts = np.bincount(persons, minlength=int(shown.max()) + 1)
    sums = np.zeros((len(counts), faces.shape[1]))
    np.add.at(sums, persons, others)
    with np.errstate(invalid="ignore", divide="ignore"):
        return _rows_dot(faces, sums[shown]) / np.where(counts > 0, counts, np.nan)[shown]


def _accuracy(faces: FloatArray, others: FloatArray, pairs: _Pairs) -> KFold | None:
    if pairs.same.all() or not pairs.same.any() or pairs.fold.max() < 1:
        return None
    return kfold_accuracy(faces[pairs.first], others[pairs.second], pairs.same, pairs.fold)


def _real_accuracy(
    others: FloatArray, pairs: list[tuple[IntArray, IntArray]], rng: np.random.Generator
) -> KFold | None:
    """As many pairs of either kind, mixed."""
    count = min(len(first) for first, _ in pairs)
    if count < _FOLDS:
        return None
    chosen = [rng.permutation(len(first))[:count] for first, _ in pairs]
    sides = [[kind[side][rows] for kind, rows in zip(pairs, chosen, strict=True)] for side in (0, 1)]
    first, second = (np.stack(side, axis=1).ravel() for side in sides)
    return kfold_accuracy(others[first], others[second], np.tile([True, False], count), _FOLDS)


def _other_people(faces: FloatArray, shown: IntArray, seed: int) -> FloatArray:
    _, pairs = sample_pairs(shown, MOST_PAIRS, seed)
    return _rows_dot(faces[pairs.first], faces[pairs.second])


def _between_tries(tries: Any) -> float | None:
    """Mean over targets of the mean cosine between two of their tries, from the length of their sum."""
    stacked = as_array(tries, "tries")
    count, targets = stacked.shape[:2]
    if count < 2:
        return None
    units = embedding_matrix(stacked.reshape(count * targets, -1), "tries").astype(np.float64)
    length = np.square(units.reshape(count, targets, -1).sum(axis=0)).sum(axis=1)
    return float(((length - count) / (count * (count - 1))).mean())


def _to_photos(faces: FloatArray, photos: Any) -> FloatArray:
    sources = embedding_matrix(photos, "photos").astype(np.float64)
    if sources.shape != faces.shape:
        raise DataError(f"expected a photo for each inverted face, {list(faces.shape)}, got {list(sources.shape)}")
    return _rows_dot(faces, sources)


def _among_real(others: FloatArray, persons: IntArray) -> Frechet | None:
    """Where everybody has one face alone, half of them against the other half."""
    one = np.zeros(len(persons), np.bool_)
    one[np.unique(persons, return_index=True)[1]] = True
    if one.all():
        one[::2] = False
    return frechet_distance(others[one], others[~one]) if min(one.sum(), (~one).sum()) > 1 else None


def _rows_dot(left: FloatArray, right: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("nd,nd->n", left, right))


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if len(values) else None
