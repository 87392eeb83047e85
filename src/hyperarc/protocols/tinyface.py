"""TinyFace (Cheng, Zhu and Gong, ACCV 2018): identification of small faces among distractors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hyperarc.data.face_set import Faces, open_faces
from hyperarc.data.formats.mat_file import read_mat
from hyperarc.errors import DataError
from hyperarc.metrics.inputs import FloatArray, IntArray
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.pair_intervals import share_interval
from hyperarc.protocols.pair_lists import face_key
from hyperarc.protocols.protocol import Opened, Protocol, protocols
from hyperarc.protocols.result import Measured, Number, ResultCurve

RANKS = (1, 5, 10, 20, 50)
_PROBES = 64  # searched at a time


@dataclass(frozen=True, eq=False)
class Named:
    """Faces by key and who they are."""

    faces: tuple[str, ...]
    people: IntArray


class TinyFace(Protocol):
    """Probes searched in a gallery of several faces a person and distractors.

    Rank k: share of probes with a face of their person among the k nearest. mAP: mean over probes of the average
    precision of the released script, in which precision is averaged between a hit and the entry before it. Entries of
    others stand before a mate of the same cosine.

    An absent probe finds nobody (0 in both); an absent mate is never found and stays in the number of mates, an absent
    distractor disturbs nobody. All are counted.

    Args:
        probes: faces to identify; gallery: known faces; distractors: keys of strangers.

    Raises:
        DataError: a probe whose person has no face in the gallery.
    """

    name = "TinyFace"

    def __init__(self, probes: Named, gallery: Named, distractors: tuple[str, ...]) -> None:
        alone = np.flatnonzero(~np.isin(probes.people, gallery.people))
        if len(alone):
            raise DataError(f"probe {probes.faces[alone[0]]} has nobody of its person in the gallery", where=self.name)
        self.probes, self.gallery, self.distractors = probes, gallery, distractors

    def faces(self) -> list[str]:
        """Probes, gallery and distractors."""
        return list(dict.fromkeys((*self.probes.faces, *self.gallery.faces, *self.distractors)))

    def judge(self, embedded: Embedded) -> Measured:
        """Search every probe."""
        absent = embedded.require_most(self.faces(), self.name)
        ranks, precision = self._searched(embedded)
        shares = np.array([np.mean((ranks > 0) & (ranks <= rank)) for rank in range(1, max(RANKS) + 1)])
        numbers = [
            Number(
                f"rank-{rank}",
                float(shares[rank - 1]),
                interval=share_interval((ranks > 0) & (ranks <= rank), self.probes.people),
            )
            for rank in RANKS
        ]
        return Measured(
            self.name,
            (*numbers, Number("mAP", float(precision.mean()), note="as the released script, over all ranks")),
            {
                "data": embedded.data,
                "probes": len(ranks),
                "gallery": len(self.gallery.faces),
                "distractors": len(self.distractors),
                "absent_faces": len(absent),
                "absent_probes": int((embedded.rows(self.probes.faces) < 0).sum()),
                "intervals": "95 %, Clopper-Pearson, people of the probes as the unit",
                **embedded.conditions(),
            },
            curves=(ResultCurve("cmc", np.arange(1.0, max(RANKS) + 1), shares),),
            absent_faces=absent,
            told=2,
        )

    def _searched(self, embedded: Embedded) -> tuple[IntArray, FloatArray]:
        """Rank of the best mate (0 for none), and average precision, of each probe."""
        known, strangers = embedded.rows(self.gallery.faces), embedded.rows(self.distractors)
        people = np.concatenate([self.gallery.people[known >= 0], np.full(int((strangers >= 0).sum()), -1)])
        units = embedded.units[np.concatenate([known[known >= 0], strangers[strangers >= 0]])]
        count = {person: int(n) for person, n in zip(*np.unique(self.gallery.people, return_counts=True), strict=True)}
        asked = embedded.rows(self.probes.faces)
        ranks, precision = np.zeros(len(asked), np.int64), np.zeros(len(asked))
        there = np.flatnonzero(asked >= 0)
        for start in range(0, len(there), _PROBES):
            probes = there[start : start + _PROBES]
            cosines = embedded.units[asked[probes]] @ units.T
            for probe, row in zip(probes.tolist(), cosines, strict=True):
                same = people == self.probes.people[probe]
                places = _places(row[same], row[~same])
                if len(places):
                    ranks[probe] = places[0]
                    precision[probe] = average_precision(places, count[self.probes.people[probe]])
        return ranks, precision


def average_precision(places: IntArray, relevant: int) -> float:
    """Average precision over all ranks, trapezoidal: sum_i (p(r_i - 1) + p(r_i)) / 2 / R, with p(0) = 1.

    Args:
        places: ranks r_i of those that were found, rising, from 1; relevant: R, how many there are.

    Example:
        >>> average_precision(np.array([1, 4]), 2)
        0.7083333333333333
    """
    hits = np.arange(1, len(places) + 1)
    before = np.where(places > 1, (hits - 1) / np.maximum(places - 1, 1), 1.0)
    return float(((before + hits / places) / 2).sum() / relevant)


def _places(mates: FloatArray, others: FloatArray) -> IntArray:
    """Rank of each mate, rising; others stand before a mate of the same cosine."""
    falling = np.sort(mates)[::-1]
    return np.array([place + 1 + int((others >= cosine).sum()) for place, cosine in enumerate(falling)], np.int64)


@protocols.register("tinyface")
def open_tinyface(faces: Faces, files: Path) -> Opened:
    """TinyFace: ``Testing_Set`` with ``Probe``, ``Gallery_Match``, ``Gallery_Distractor``; the two ``.mat`` lists."""
    found = open_faces(faces)
    keys = [face_key(face) for face in found.manifest.column("face").tolist()]
    strangers = tuple(key for key in keys if key.rpartition("/")[0].endswith("Gallery_Distractor"))
    probes = _read_list(files / "probe_img_ID_pairs.mat", "probe", "Probe")
    gallery = _read_list(files / "gallery_match_img_ID_pairs.mat", "gallery", "Gallery_Match")
    return Opened(TinyFace(probes, gallery, strangers), found)


def _read_list(path: Path, kind: str, folder: str) -> Named:
    content = read_mat(path)
    names, people = content.get(f"{kind}_set"), content.get(f"{kind}_ids")
    if not isinstance(names, list) or not isinstance(people, np.ndarray) or len(names) != len(people) or not names:
        held = ", ".join(content) or "nothing"
        raise DataError(f"expected {kind}_set and {kind}_ids of one length, got {held}", where=path)
    return Named(tuple(face_key(f"{folder}/{name}") for name in names), people.astype(np.int64))
