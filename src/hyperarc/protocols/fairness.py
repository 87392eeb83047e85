"""Fairness: error rates of groups of people at one threshold for all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hyperarc.data.face_set import Faces, FaceSet, open_faces
from hyperarc.errors import DataError
from hyperarc.metrics import pairs_needed, threshold_at_far
from hyperarc.metrics.inputs import FloatArray, IntArray
from hyperarc.protocols.drawn_pairs import draw_pairs
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.groups import read_groups
from hyperarc.protocols.pair_intervals import share_interval
from hyperarc.protocols.pair_lists import Pairs, face_key, read_own_pairs
from hyperarc.protocols.protocol import Opened, Protocol, protocols
from hyperarc.protocols.result import Measured, Number, ResultCurve, Scores
from hyperarc.protocols.sampling import sampled, thinned_roc
from hyperarc.recipe.file import expand_path

PAIRS = 6000  # drawn inside each group
_UNITS = ("people as the unit", "people unknown: pairs taken as independent")


@dataclass(frozen=True)
class Group:
    """Error rates of one group with their intervals (:func:`share_interval`), None of one person's pairs."""

    name: str
    far: float
    far_interval: tuple[float, float] | None
    frr: float
    frr_interval: tuple[float, float] | None
    genuine: int
    impostor: int


class Fairness(Protocol):
    """FAR and FRR of each group at the one threshold at which the FAR over all impostor pairs is at most ``far``.

    A genuine pair is of the group of its first face. An impostor pair inside a group is that group's; one of two groups
    counts for the threshold alone. Spread is the largest rate less the smallest, ratio the largest over the smallest
    (National Institute of Standards and Technology, NISTIR 8280, 2019, compares groups at one threshold so).

    Absent pairs are scored with cosine 0, as in all pairs protocols. Groups with fewer impostor pairs than the rule of
    30 asks for at this FAR (or fewer than 30 genuine ones) are named in a note.

    Args:
        pairs: of faces; groups: key of a face to the group it is in.
        far: for all groups together.

    Raises:
        DataError: a face without a group, fewer than two groups with pairs of both kinds.
    """

    def __init__(self, pairs: Pairs, groups: dict[str, str], far: float, column: str) -> None:
        self.name = f"{pairs.name} by {column}"
        self.pairs: Pairs = pairs
        self.far = far
        missing = next((key for key in pairs.faces() if not groups.get(key)), None)
        if missing is not None:
            raise DataError(f"has no {column}", where=missing, mend=f"fill the column {column} of the manifest")
        self.names = sorted({groups[key] for key in pairs.faces()})
        place = {name: number for number, name in enumerate(self.names)}
        self._first, self._second = (
            np.array([place[groups[key]] for key in keys], np.int64) for keys in (pairs.first, pairs.second)
        )
        for name, genuine, impostor in zip(self.names, *self._counts(), strict=True):
            if not genuine or not impostor:
                raise DataError(
                    f"group {name!r} has {genuine} genuine and {impostor} impostor pairs inside it; both are needed",
                    where=self.name,
                )
        if len(self.names) < 2:
            raise DataError(f"expected at least two groups in {column}, got {', '.join(self.names)}", where=pairs.name)

    def faces(self) -> list[str]:
        """Faces of the pairs."""
        return self.pairs.faces()

    def judge(self, embedded: Embedded) -> Measured:
        """Score the pairs, choose the threshold, count errors by group."""
        absent = embedded.require_most(self.faces(), self.name)
        first, second = embedded.rows(self.pairs.first), embedded.rows(self.pairs.second)
        gone = (first < 0) | (second < 0)
        cosines = np.einsum("pd,pd->p", embedded.units[first], embedded.units[second]).astype(np.float64)
        scores = np.where(gone, 0.0, cosines)
        genuine, impostor = scores[self.pairs.same], scores[~self.pairs.same]
        threshold = threshold_at_far(genuine, impostor, self.far)
        groups = [self._group(number, scores, threshold) for number in range(len(self.names))]
        numbers = [
            *_spreads("FRR", [group.frr for group in groups]),
            *_spreads("FAR", [group.far for group in groups]),
            Number("FAR, all", float(np.mean(impostor >= threshold)), better="lower"),
            Number("FRR, all", float(np.mean(genuine < threshold)), better="lower"),
        ]
        for group in groups:
            far = Number(f"FAR, {group.name}", group.far, note=self._note(group), better="lower")
            frr = Number(f"FRR, {group.name}", group.frr, interval=group.frr_interval, better="lower")
            numbers += [replace(far, interval=group.far_interval), frr]
        small = [group.name for group in groups if self._note(group)]
        return Measured(
            self.name,
            tuple(numbers),
            {
                "data": embedded.data,
                "pairs": len(self.pairs),
                "groups": len(groups),
                "small_groups": ", ".join(small) or "none",
                "far": self.far,
                "threshold": threshold,
                "absent_faces": len(absent),
                "absent_pairs": int(gone.sum()),
                "intervals": f"95 %, Clopper-Pearson, {_UNITS[self.pairs.people is None]}",
                **embedded.conditions(),
            },
            curves=tuple(self._curve(number, scores) for number in range(len(self.names))),
            scores=Scores(sampled(genuine), sampled(impostor), threshold),
            absent_faces=absent,
            details={"groups": [vars(group) for group in groups]},
        )

    def _inside(self, number: int) -> tuple[IntArray, IntArray]:
        """Rows of the genuine and of the impostor pairs of a group."""
        own = self._first == number
        return np.flatnonzero(own & self.pairs.same), np.flatnonzero(own & (self._second == number) & ~self.pairs.same)

    def _counts(self) -> tuple[list[int], list[int]]:
        inside = [self._inside(number) for number in range(len(self.names))]
        return [len(genuine) for genuine, _ in inside], [len(impostor) for _, impostor in inside]

    def _group(self, number: int, scores: FloatArray, threshold: float) -> Group:
        genuine, impostor = (scores[rows] for rows in self._inside(number))
        accepted, missed = impostor >= threshold, genuine < threshold
        people = self.pairs.people
        of_one, of_two = (None if people is None else people[rows] for rows in self._inside(number))
        return Group(
            self.names[number],
            float(accepted.mean()),
            share_interval(accepted, of_two),
            float(missed.mean()),
            share_interval(missed, of_one),
            len(genuine),
            len(impostor),
        )

    def _curve(self, number: int, scores: FloatArray) -> ResultCurve:
        genuine, impostor = (scores[rows] for rows in self._inside(number))
        return thinned_roc(genuine, impostor, self.names[number])

    def _note(self, group: Group) -> str:
        needed = pairs_needed(self.far)
        if group.impostor >= needed and group.genuine >= 30:
            return ""
        return f"small group: {group.impostor} impostor pairs of {needed} needed, {group.genuine} genuine"


def _spreads(name: str, rates: list[float]) -> list[Number]:
    low, high = min(rates), max(rates)
    over = high / low if low else float("inf")
    ratio = Number(f"{name} ratio", over, unit="", note="largest over smallest group", better="lower")
    return [Number(f"{name} spread", high - low, note="largest less smallest group", better="lower"), ratio]


@protocols.register("fairness")
def open_fairness(
    faces: Faces,
    files: Path | None = None,
    *,
    seed: int,
    column: str,
    far: float = 1e-3,
    groups: str | None = None,
) -> Opened:
    """Groups by a column of the manifest, or of the table ``groups``; over one's own pairs, or 6,000 pairs drawn
    inside each group."""
    found = open_faces(faces)
    values = read_groups(found, faces, column, None if groups is None else expand_path(groups))
    keys = [face_key(face) for face in found.manifest.column("face").tolist()]
    pairs = _draw(found, values, column, seed) if files is None else read_own_pairs(files)
    return Opened(Fairness(pairs, dict(zip(keys, values, strict=True)), far, column), found)


def _draw(faces: FaceSet, groups: list[str], column: str, seed: int) -> Pairs:
    parts = []
    for group in sorted(set(filter(None, groups))):
        inside = faces.manifest.keep & np.array([one == group for one in groups])
        try:
            parts.append(draw_pairs(np.where(inside, faces.manifest.labels, -1), PAIRS, seed))
        except DataError as error:
            raise DataError(str(error), where=f"{faces.name}, {column} {group}") from error
    if not parts:
        raise DataError(f"no face has a {column}", where=faces.name)
    keys = np.array(faces.manifest.column("face").tolist(), dtype=object)
    first, second = (np.concatenate([getattr(part, side) for part in parts]) for side in ("first", "second"))
    same, people = np.concatenate([part.same for part in parts]), faces.manifest.labels[np.stack([first, second], 1)]
    return Pairs(faces.name, keys[first], keys[second], same, people=people)
