"""iQIYI-VID (Liu et al., arXiv:1811.07548): videos of each person found among all, judged by mAP@100."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hyperarc.data.face_set import Faces, open_faces
from hyperarc.errors import DataError
from hyperarc.metrics import average_precision
from hyperarc.metrics.inputs import FloatArray, IntArray
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.pair_lists import face_key, text_lines
from hyperarc.protocols.pooling import mean_of_frames
from hyperarc.protocols.protocol import Opened, Protocol, protocols
from hyperarc.protocols.result import Measured, Number
from hyperarc.protocols.video_mlp import MlpPlan, probabilities, train_mlp

K = 100
TRAIN, TEST = "train_gt.txt", "val_gt.txt"
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class VideoSet:
    """Videos by name and whose they are, as the files number people; 0 is nobody of the list."""

    videos: tuple[str, ...]
    people: IntArray


def read_video_labels(path: Path) -> VideoSet:
    """``train_gt.txt`` (rows ``video person``) or ``val_gt.txt`` (rows ``person video video ...``).

    Raises:
        DataError: missing or empty file, a row of other form, a video named twice.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "val_gt.txt"
        >>> _ = path.write_text("7 A.mp4 B.mp4\\n9 C.mp4\\n")
        >>> read_video_labels(path).videos, read_video_labels(path).people.tolist()
        (('A', 'B', 'C'), [7, 7, 9])
    """
    people: dict[str, int] = {}
    for number, line in text_lines(path):
        words = line.split()
        by_person = words[0].isdecimal()
        person, videos = (words[0], words[1:]) if by_person else (words[-1], words[:-1])
        if not person.isdecimal() or not videos or (not by_person and len(videos) > 1):
            raise DataError(f"expected 'video person' or 'person video ...', got {line!r}", where=f"{path}:{number}")
        for video in videos:
            name = video.removesuffix(".mp4")
            if name in people:
                raise DataError(f"names {video} again", where=f"{path}:{number}")
            people[name] = int(person)
    if not people:
        raise DataError("names no videos", where=path)
    return VideoSet(tuple(people), np.array(list(people.values()), np.int64))


class IqiyiVid(Protocol):
    """For every person with training and test videos, the test videos ranked by their score for that person: mAP@100.

    A video is the normalized mean of the unit embeddings of its frames, plain or weighted by the lengths of the
    embeddings, a measure of quality. A video's score for a person is its cosine to the center of the person's training
    videos, or the softmax probability of a classifier trained on them (:mod:`hyperarc.protocols.video_mlp`).

    A test video without frames is absent: it stands at the end of every list (and still is among the person's videos).
    Training videos without frames are left out. Both are counted.

    Args:
        train, test: videos; people 0 (distractors) are not asked for.
        frames: keys of all frames; those in the folder of a video are its own.
        plan: of the classifier; None judges without one.
    """

    name = "iQIYI-VID"

    def __init__(self, train: VideoSet, test: VideoSet, frames: Iterable[str], plan: MlpPlan | None) -> None:
        self.train, self.test, self.plan = train, test, plan
        twice = sorted(set(train.videos) & set(test.videos))
        if twice:
            raise DataError(f"{len(twice)} videos are in both lists, the first being {twice[0]}", where=self.name)
        asked = np.intersect1d(train.people, test.people)
        self.asked = asked[asked > 0]
        if len(self.asked) < 2:
            raise DataError("fewer than two people have both training and test videos", where=self.name)
        number = {video: place for place, video in enumerate((*train.videos, *test.videos))}
        found = ((key, number.get(key.rpartition("/")[0])) for key in map(face_key, frames))
        self._video_of = {key: video for key, video in found if video is not None}
        if not self._video_of:
            raise DataError(f"no video has a frame; the first is {train.videos[0]}", where=self.name)

    def faces(self) -> list[str]:
        """Every frame of every video."""
        return list(self._video_of)

    def judge(self, embedded: Embedded) -> Measured:
        """Pool, train, rank, count."""
        absent = embedded.require_most(self.faces(), self.name)
        frames = [key for key in self._video_of if key in embedded]
        rows = embedded.rows(frames)
        videos = np.array([self._video_of[key] for key in frames])
        numbers: list[Number] = []
        there = np.zeros(0, np.bool_)
        for pooling, weights in (("mean", None), ("weighted by norm", embedded.norms[rows].astype(np.float64))):
            count = len(self.train.videos) + len(self.test.videos)
            pooled, there = mean_of_frames(embedded.vectors[rows], videos, count, weights)
            for classifier, scores in self._scored(pooled, there, embedded.device).items():
                numbers.append(Number(f"mAP@{K}, {classifier}, {pooling}", self._map(scores, there)))
        split = len(self.train.videos)
        return Measured(
            self.name,
            tuple(numbers),
            {
                "data": embedded.data,
                "people": len(self.asked),
                "training_videos": split,
                "test_videos": len(self.test.videos),
                "absent_training_videos": int((~there[:split]).sum()),
                "absent_test_videos": int((~there[split:]).sum()),
                "frames": len(self._video_of),
                "absent_frames": len(absent),
                **embedded.conditions(),
            },
            absent_faces=absent,
            told=len(numbers),
        )

    def _scored(self, pooled: Floats, there: npt.NDArray[np.bool_], device: str) -> dict[str, Floats]:
        """Scores [asked people, test videos] by classifier."""
        split = len(self.train.videos)
        trained = there[:split] & np.isin(self.train.people, self.asked)
        people = np.searchsorted(self.asked, self.train.people[trained])
        features, tested = pooled[:split][trained], pooled[split:]
        sums = np.zeros((len(self.asked), pooled.shape[1]), np.float32)
        np.add.at(sums, people, features)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        if not lengths.all():
            person = self.asked[np.flatnonzero(lengths[:, 0] == 0)[0]]
            raise DataError(f"no training video of person {person} has a frame with an embedding", where=self.name)
        scores = {"centers": (sums / lengths) @ tested.T}
        if self.plan is not None:
            plan = replace(self.plan, device="cpu" if device == "not stated" else device)
            scores["MLP"] = probabilities(train_mlp(features, people, len(self.asked), plan), tested).T
        return scores

    def _map(self, scores: Floats, there: npt.NDArray[np.bool_]) -> float:
        """Mean over the people asked for; absent videos stand last."""
        table: FloatArray = scores.astype(np.float64)
        table[:, ~there[len(self.train.videos) :]] = float(table.min()) - 1.0
        every = zip(table, self.asked.tolist(), strict=True)
        return float(np.mean([average_precision(row, self.test.people == person, K) for row, person in every]))


@protocols.register("iqiyi")
def open_iqiyi(faces: Faces, files: Path, *, seed: int, mlp: bool = True, epochs: int = MlpPlan.epochs) -> Opened:
    """iQIYI-VID: frames in ``VIDEO/``; the folder with ``train_gt.txt`` and ``val_gt.txt``."""
    found = open_faces(faces)
    train, test = read_video_labels(files / TRAIN), read_video_labels(files / TEST)
    plan = MlpPlan(epochs=epochs, seed=seed) if mlp else None
    return Opened(IqiyiVid(train, test, found.manifest.column("face").tolist(), plan), found)
