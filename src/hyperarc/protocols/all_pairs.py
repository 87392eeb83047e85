"""Protocols over all pairs: Trillion-Pairs, LFR2019 (image and video), MFR-ALL and MFR-Mask."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hyperarc.data.face_set import Faces, open_faces
from hyperarc.errors import DataError
from hyperarc.metrics import all_pairs
from hyperarc.metrics.inputs import IntArray
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.exact_counts import Side, count_pairs
from hyperarc.protocols.labelled_list import LabelledList, read_labelled_list
from hyperarc.protocols.pair_lists import face_key
from hyperarc.protocols.pooling import mean_of_frames
from hyperarc.protocols.protocol import Opened, Protocol, protocols
from hyperarc.protocols.result import Conditions, Measured, Number


@dataclass(frozen=True)
class Rule:
    """What an all-pairs protocol reports.

    Attributes:
        fars: of verification, the protocol's own first.
        fpir: of open-set identification among the distractors; None for none.
        note: what to know of the rule.
    """

    fars: tuple[float, ...]
    fpir: float | None = None
    note: str = ""


class AllPairs(Protocol):
    """Every pair of known faces, and every pair of a known face and a distractor; never two distractors.

    With sides, only pairs of different sides count. A pair with an absent face is never accepted: a genuine one is a
    miss and stays in the TAR, an impostor one is left out of the FAR. Both are counted.

    Example:
        >>> faces = LabelledList(("a/1", "a/2", "b/1"), np.array([0, 0, 1]), None, "mine")
        >>> protocol = AllPairs("mine", faces, Rule((1e-1,)))
        >>> protocol.judge(Embedded.of({"a/1": [1, 0], "a/2": [1, 0.1], "b/1": [0, 1]})).headline()
        'TAR at FAR 0.1 100.00 %, flip not stated'
    """

    def __init__(self, name: str, listed: LabelledList, rule: Rule) -> None:
        if rule.fpir is not None and listed.sides is not None:
            raise DataError("identification among distractors knows no sides", where=listed.where)
        self.name = name
        self.listed = listed
        self.rule = rule

    def faces(self) -> list[str]:
        """Every face of the list."""
        return list(self.listed.faces)

    def judge(self, embedded: Embedded) -> Measured:
        """Count all pairs."""
        absent = embedded.require_most(self.listed.faces, self.name)
        rows = embedded.rows(self.listed.faces)
        return self._counted(embedded, embedded.units, rows, absent)

    def _counted(
        self, embedded: Embedded, units: npt.NDArray[np.float32], rows: IntArray, absent: tuple[str, ...]
    ) -> Measured:
        """``rows`` of ``units`` are the listed ones, -1 where absent."""
        there = rows >= 0
        first, second = self._sides(units, rows)
        wanted = all_pairs.Wanted(
            fars=self.rule.fars,
            identification=self.rule.fpir is not None,
            among_probes="all" if self.listed.sides is None else "none",
        )
        counted = count_pairs(first, second, wanted, embedded.device)
        listed = self._genuine_pairs()
        few = "too few impostor pairs for this FAR"
        numbers = [
            Number(
                f"TAR at FAR {point.target:g}",
                point.true_accepts / listed,
                note=few if point.target in counted.unsupported else self.rule.note,
            )
            for point in counted.points
        ]
        if self.rule.fpir is not None:
            numbers.append(self._identified(counted.best, self.rule.fpir))
        conditions = self._conditions(embedded, counted, there)
        conditions["absent_genuine_pairs"] = listed - counted.genuine_pairs
        return Measured(self.name, tuple(numbers), conditions, absent_faces=absent, told=2)

    def _sides(self, units: npt.NDArray[np.float32], rows: IntArray) -> tuple[Side, Side]:
        """What is compared: known faces and distractors, or the two sides."""
        people, sides = self.listed.people, self.listed.sides
        parts = (people >= 0, people < 0) if sides is None else (sides == 0, sides == 1)
        one, other = (part & (rows >= 0) for part in parts)
        return Side(units[rows[one]], people[one]), Side(units[rows[other]], people[other])

    def _identified(self, best: all_pairs.BestMatches | None, fpir: float) -> Number:
        """A known face without a mate among those that are there is a miss, if its person has another face listed."""
        assert best is not None
        if not best.alarm.size:
            raise DataError("no distractor has an embedding", where=self.listed.where)
        counts = np.bincount(self.listed.people[self.listed.people >= 0])
        mated = int(counts[counts > 1].sum())
        note = "HyperArc's definition: share of distractors that find a known face; the mate counts at rank 1"
        return Number(f"TPIR at FPIR {fpir:g}", best.tpir(fpir) * best.mated / mated, note=note)

    def _genuine_pairs(self) -> int:
        people, sides = self.listed.people, self.listed.sides
        known = people >= 0
        if sides is None:
            counts = np.bincount(people[known])
            return int((counts * (counts - 1) // 2).sum())
        most = int(people.max(initial=0)) + 1
        one, other = (np.bincount(people[known & (sides == side)], minlength=most) for side in (0, 1))
        return int((one * other).sum())

    def _conditions(
        self, embedded: Embedded, counted: all_pairs.AllPairs, there: npt.NDArray[np.bool_]
    ) -> Conditions:
        people = self.listed.people
        return {
            "data": embedded.data,
            "listed": len(people),
            "absent": int((~there).sum()),
            "people": len(np.unique(people[people >= 0])),
            "distractors": int((people < 0).sum()),
            "genuine_pairs": counted.genuine_pairs,
            "impostor_pairs": counted.impostor_pairs,
            **embedded.conditions(),
        }


class AllVideoPairs(AllPairs):
    """As :class:`AllPairs`, of videos: the sum of the unit embeddings of the frames, normalized.

    Args:
        frames: keys of all frames; those in the folder of a listed video are its own.
    """

    def __init__(self, name: str, listed: LabelledList, rule: Rule, frames: Iterable[str]) -> None:
        super().__init__(name, listed, rule)
        number = {video: place for place, video in enumerate(listed.faces)}
        found = ((key, number.get(key.rpartition("/")[0])) for key in map(face_key, frames))
        self._video_of = {key: video for key, video in found if video is not None}
        if not self._video_of:
            raise DataError(f"no video has a frame; the first is {listed.faces[0]}", where=listed.where)

    def faces(self) -> list[str]:
        """Every frame of every listed video."""
        return list(self._video_of)

    def judge(self, embedded: Embedded) -> Measured:
        """Pool the frames, count all pairs."""
        absent = embedded.require_most(self.faces(), self.name)
        frames = [key for key in self._video_of if key in embedded]
        numbers = np.array([self._video_of[key] for key in frames])
        pooled, there = mean_of_frames(embedded.vectors[embedded.rows(frames)], numbers, len(self.listed.faces))
        return self._counted(embedded, pooled, np.where(there, np.arange(len(pooled)), -1), absent)


TRILLION = Rule((1e-9, 1e-8, 1e-7, 1e-6), 1e-3, "the server's exact definition is not public")
LFR_IMAGE = Rule((1e-8, 1e-7, 1e-6))
LFR_VIDEO = Rule((1e-4, 1e-5, 1e-6))
MFR_ALL = Rule((1e-6, 1e-5, 1e-4))
MFR_MASK = Rule((1e-4, 1e-3))


@protocols.register("trillionpairs")
def open_trillionpairs(faces: Faces, files: Path) -> Opened:
    """Trillion-Pairs: known faces and Flickr distractors."""
    return Opened(AllPairs("Trillion-Pairs", read_labelled_list(files), TRILLION), open_faces(faces))


@protocols.register("lfr2019_image")
def open_lfr2019_image(faces: Faces, files: Path) -> Opened:
    """LFR2019, image track."""
    return Opened(AllPairs("LFR2019 image", read_labelled_list(files), LFR_IMAGE), open_faces(faces))


@protocols.register("lfr2019_video")
def open_lfr2019_video(faces: Faces, files: Path) -> Opened:
    """LFR2019, video track: rows ``video person``, frames in the folder of their video."""
    found = open_faces(faces)
    frames = found.manifest.column("face").tolist()
    return Opened(AllVideoPairs("LFR2019 video", read_labelled_list(files), LFR_VIDEO, frames), found)


@protocols.register("mfr_all")
def open_mfr_all(faces: Faces, files: Path) -> Opened:
    """MFR multi-racial sets, one of them or ALL: every pair."""
    return Opened(AllPairs("MFR-ALL", read_labelled_list(files), MFR_ALL), open_faces(faces))


@protocols.register("mfr_mask")
def open_mfr_mask(faces: Faces, files: Path) -> Opened:
    """MFR-Mask: masked against unmasked faces, told by the side in the third column."""
    listed = read_labelled_list(files)
    if listed.sides is None:
        raise DataError("expected rows 'path person side', side 1 for masked faces", where=files)
    return Opened(AllPairs("MFR-Mask", listed, MFR_MASK), open_faces(faces))
