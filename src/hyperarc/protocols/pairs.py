"""Pairs of faces, each labelled "one person" or "two people": what is compared, and what came of it.

Which pairs are compared is read from files by :mod:`hyperarc.protocols.pair_lists`. Here they meet
embeddings. The rule of the folds is that of :func:`hyperarc.metrics.kfold_accuracy`; a pair with an absent
face (one that no embedding is given for) keeps its place and is scored with cosine 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hyperarc.contract import Contract
from hyperarc.errors import DataError
from hyperarc.metrics import auc, eer, kfold_accuracy, roc, tar_at_far, threshold_at_far
from hyperarc.metrics.inputs import BoolArray, FloatArray, as_array, embedding_matrix
from hyperarc.protocols.cfp_pairs import read_cfp_pairs
from hyperarc.protocols.pair_intervals import ACCURACY, AUC, EER, pair_intervals, tar_name
from hyperarc.protocols.pair_lists import Pairs, face_key, read_lfw_pairs, read_own_pairs
from hyperarc.protocols.result import Number, Resampled, ResultCurve, ScoredPair, Scores

__all__ = [
    "FARS",
    "Pairs",
    "PairsResult",
    "ScoredPair",
    "TarAtFar",
    "evaluate_pairs",
    "face_key",
    "read_cfp_pairs",
    "read_lfw_pairs",
    "read_own_pairs",
]

FARS = (1e-1, 1e-2, 1e-3, 1e-4)


@dataclass(frozen=True)
class TarAtFar:
    """TAR at one FAR.

    Attributes:
        far: target; tar: highest share of genuine pairs accepted under it.
        threshold: cosine from which pairs are accepted; infinity when none may be.
        supported: whether there are at least 1 / far impostor pairs. If not, the number means "no false
            accept among these pairs" and says little about that FAR.
        interval: 95 % interval of the TAR; None where the FAR is not supported.
    """

    far: float
    tar: float
    threshold: float
    supported: bool
    interval: tuple[float, float] | None = None

    def number(self) -> Number:
        """As a number of a result; models cannot be compared by one that is not supported."""
        if self.supported:
            return Number(tar_name(self.far), self.tar, interval=self.interval)
        return Number(tar_name(self.far), self.tar, note="too few impostor pairs for this FAR", better="")


@dataclass(frozen=True, eq=False)
class PairsResult:
    """What the embeddings made of the pairs. Shares lie in 0..1, scores are cosines, larger is more alike.

    Attributes:
        name: of the pairs.
        accuracy, accuracy_std: mean and population standard deviation over the folds.
        fold_accuracies: [folds]; fold_thresholds: [folds] cosines (pairs strictly above were called "same").
        threshold: cosine, mean of the fold thresholds.
        tar_at_far: at FAR 1e-1 to 1e-4.
        smallest_far: 1 / impostor pairs, the smallest FAR these pairs can tell from none.
        eer, auc: equal error rate and area under the ROC.
        genuine, impostor: cosines in file order, absent pairs (0) included.
        hardest_impostor, hardest_genuine: worst first; absent pairs are left out, they are listed by
        themselves.
        absent_faces: keys without an embedding; absent_pairs: rows that were scored 0 for it.
        intervals: of the numbers, 95 %, by name; see :mod:`hyperarc.protocols.pair_intervals`.
        resampled: the numbers over resamples of people, to compare two models by.
        conditions: under which the numbers hold: data, pairs, flip, contract digest, device.
    """

    name: str
    accuracy: float
    accuracy_std: float
    fold_accuracies: FloatArray
    fold_thresholds: FloatArray
    threshold: float
    tar_at_far: tuple[TarAtFar, ...]
    smallest_far: float
    eer: float
    auc: float
    genuine: FloatArray
    impostor: FloatArray
    hardest_impostor: tuple[ScoredPair, ...]
    hardest_genuine: tuple[ScoredPair, ...]
    absent_faces: tuple[str, ...]
    absent_pairs: tuple[int, ...]
    intervals: Mapping[str, tuple[float, float]]
    resampled: Resampled
    conditions: dict[str, str | int | float]

    @property
    def numbers(self) -> tuple[Number, ...]:
        """Accuracy over the folds, TAR at the usual FARs, EER, AUC."""
        intervals = self.intervals
        accuracy = Number(ACCURACY, self.accuracy, std=self.accuracy_std, note="mean and std over the folds")
        accuracy = replace(accuracy, interval=intervals.get(ACCURACY))
        eer = Number(EER, self.eer, interval=intervals.get(EER), better="lower")
        area = Number(AUC, self.auc, unit="", interval=intervals.get(AUC))
        return (accuracy, *(point.number() for point in self.tar_at_far), eer, area)

    @property
    def telling(self) -> tuple[Number, ...]:
        """Accuracy, and TAR at the smallest FAR of those down to 1e-3 that the pairs support."""
        supported = [point.number() for point in self.tar_at_far[:3] if point.supported]
        return (self.numbers[0], *supported[-1:])

    @property
    def curves(self) -> tuple[ResultCurve, ...]:
        """The ROC."""
        points = roc(self.genuine, self.impostor)
        return (ResultCurve("roc", points.far, points.tar),)

    @property
    def scores(self) -> Scores:
        """All cosines."""
        return Scores(self.genuine, self.impostor, self.threshold)

    def headline(self) -> str:
        """Accuracy and TAR at FAR 1e-3 with their intervals, folds, pairs and flip policy."""
        accuracy, tar = self.numbers[0], self.tar_at_far[2].number()
        within, tar_within = (f" ({one.interval_text()})" if one.interval else "" for one in (accuracy, tar))
        return (
            f"{accuracy.text()}{within} over {len(self.fold_accuracies)} folds, TAR@FAR=1e-3 {tar.text()}{tar_within}, "
            f"{len(self.genuine) + len(self.impostor)} pairs, flip {self.conditions.get('flip', 'none')}"
        )

    def as_dict(self) -> dict[str, Any]:
        """Everything but the score lists, as plain values for JSON; a threshold of infinity becomes None."""
        return {
            "protocol": self.name,
            "accuracy": self.accuracy,
            "accuracy_std": self.accuracy_std,
            "intervals": dict(self.intervals),
            "fold_accuracies": self.fold_accuracies.tolist(),
            "fold_thresholds": self.fold_thresholds.tolist(),
            "threshold": self.threshold,
            "tar_at_far": [
                {**vars(point), "threshold": point.threshold if np.isfinite(point.threshold) else None}
                for point in self.tar_at_far
            ],
            "smallest_far": self.smallest_far,
            "eer": self.eer,
            "auc": self.auc,
            "hardest_impostor": [vars(pair) for pair in self.hardest_impostor],
            "hardest_genuine": [vars(pair) for pair in self.hardest_genuine],
            "absent_faces": list(self.absent_faces),
            "absent_pairs": list(self.absent_pairs),
            "conditions": dict(self.conditions),
        }


EmbeddingsOf = Mapping[str, Any] | Callable[[str], Any]


def evaluate_pairs(
    pairs: Pairs,
    embeddings_of: EmbeddingsOf,
    *,
    contract: Contract | None = None,
    data: str = "not stated",
    device: str = "not stated",
    hardest: int = 16,
) -> PairsResult:
    """Judge embeddings by pairs.

    Args:
        pairs: which faces to compare.
        embeddings_of: key of a face to its vector [d], as a mapping (file endings in its keys do not matter)
            or a function; a missing key or None says that no face was detected in that picture.
        contract: of the embeddings; its digest and flip policy become conditions of the result.
        data, device: stated in the conditions.
        hardest: how many of the hardest pairs of either kind to keep.

    Raises:
        DataError: most faces are absent (probably the wrong data), embeddings of different lengths, zero or
            non-finite embeddings (the face is named), pairs of one class only.

    Example:
        >>> pairs = Pairs("mine", ["a1", "a1", "b1", "b1"], ["a2", "b1", "b2", "a2"], [1, 0, 1, 0], 2)
        >>> vectors = {"a1.png": [1, 0], "a2.png": [1, 0.1], "b1.png": [0, 1], "b2.png": [0.1, 1]}
        >>> evaluate_pairs(pairs, vectors).accuracy
        1.0
    """
    keys, units, absent_faces = _gather(pairs, embeddings_of)
    row_of = {key: row for row, key in enumerate(keys)}
    first = np.array([row_of.get(key, -1) for key in pairs.first])
    second = np.array([row_of.get(key, -1) for key in pairs.second])
    absent = (first < 0) | (second < 0)
    folded = kfold_accuracy(units[first], units[second], pairs.same, pairs.folds, absent=absent)
    cosines = np.where(absent, 0.0, np.einsum("pd,pd->p", units[first], units[second])).clip(-1.0, 1.0)
    genuine, impostor = cosines[pairs.same], cosines[~pairs.same]
    thresholds = 1.0 - folded.thresholds / 2.0
    points = [_tar_at_far(genuine, impostor, far) for far in FARS]
    right = (cosines > thresholds[pairs.folds]) == pairs.same
    found = pair_intervals(pairs, cosines, right, {point.far: point.threshold for point in points if point.supported})
    return PairsResult(
        name=pairs.name,
        accuracy=folded.mean,
        accuracy_std=folded.std,
        fold_accuracies=folded.fold_accuracies,
        fold_thresholds=thresholds,
        threshold=float(thresholds.mean()),
        tar_at_far=tuple(replace(point, interval=found.of.get(tar_name(point.far))) for point in points),
        smallest_far=1.0 / impostor.size,
        eer=eer(genuine, impostor),
        auc=auc(genuine, impostor),
        genuine=genuine,
        impostor=impostor,
        hardest_impostor=_hardest(pairs, cosines, ~pairs.same & ~absent, -1.0, hardest),
        hardest_genuine=_hardest(pairs, cosines, pairs.same & ~absent, 1.0, hardest),
        absent_faces=absent_faces,
        absent_pairs=folded.absent_pairs,
        intervals=found.of,
        resampled=found.resampled,
        conditions=_conditions(pairs, contract, data, device, len(absent_faces), int(absent.sum()))
        | {"intervals": found.told},
    )


def _tar_at_far(genuine: FloatArray, impostor: FloatArray, far: float) -> TarAtFar:
    tar, threshold = tar_at_far(genuine, impostor, far), threshold_at_far(genuine, impostor, far)
    return TarAtFar(far, tar, threshold, supported=1.0 / impostor.size <= far)


def _gather(pairs: Pairs, embeddings_of: EmbeddingsOf) -> tuple[list[str], FloatArray, tuple[str, ...]]:
    """Keys and unit embeddings of the faces that are there, and the keys of those that are not."""
    look_up = _by_key(embeddings_of).get if isinstance(embeddings_of, Mapping) else embeddings_of
    found = {key: look_up(key) for key in pairs.faces()}
    vectors = {key: as_array(vector, key) for key, vector in found.items() if vector is not None}
    absent = tuple(key for key, vector in found.items() if vector is None)
    if len(absent) * 2 > len(found):
        raise DataError(
            f"{len(absent)} of {len(found)} faces have no embedding, the first being {', '.join(absent[:3])}",
            where=pairs.name,
            mend="check that the data and the list of pairs belong together",
        )
    dimension = next(iter(vectors.values())).shape
    for key, vector in vectors.items():
        if vector.shape != dimension or vector.ndim != 1:
            raise DataError(f"embedding of {key} has shape {vector.shape}, expected {dimension}", where=pairs.name)
        if not np.isfinite(vector).all() or not vector.any():
            raise DataError(f"embedding of {key} is zero, NaN or infinite", where=pairs.name)
    matrix = np.stack(list(vectors.values())).astype(np.float64)
    return list(vectors), embedding_matrix(matrix, "embeddings").astype(np.float64), absent


def _by_key(embeddings_of: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping under keys without file endings; two faces of one key are an error, not a choice."""
    by_key = {face_key(name): vector for name, vector in embeddings_of.items()}
    if len(by_key) < len(embeddings_of):
        seen: dict[str, str] = {}
        for name in embeddings_of:
            other = seen.setdefault(face_key(name), name)
            if other != name:
                raise DataError(f"{other} and {name} are one key without their endings", mend="remove one")
    return by_key


def _hardest(pairs: Pairs, cosines: FloatArray, chosen: BoolArray, sign: float, count: int) -> tuple[ScoredPair, ...]:
    """The ``count`` chosen pairs with the smallest sign * cosine."""
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(sign * cosines[rows], kind="stable")[:count]]
    return tuple(
        ScoredPair(int(row), pairs.first[row], pairs.second[row], bool(pairs.same[row]), float(cosines[row]))
        for row in rows
    )


def _conditions(
    pairs: Pairs, contract: Contract | None, data: str, device: str, absent_faces: int, absent_pairs: int
) -> dict[str, str | int | float]:
    return {
        "data": data,
        "pairs": len(pairs),
        "genuine_pairs": int(pairs.same.sum()),
        "impostor_pairs": int((~pairs.same).sum()),
        "folds": int(pairs.folds.max()) + 1,
        "faces": len(pairs.faces()),
        "absent_faces": absent_faces,
        "absent_pairs": absent_pairs,
        "flip": "not stated" if contract is None else contract.flip,
        "contract": "not stated" if contract is None else contract.digest,
        "device": device,
    }
