"""Pairs of videos: YouTube Faces (Wolf, Hassner and Maoz, CVPR 2011)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from hyperarc.data.face_set import Faces, open_faces
from hyperarc.errors import DataError
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.line_pairs import read_ytf_splits
from hyperarc.protocols.pair_lists import Pairs, face_key
from hyperarc.protocols.pairs import PairsResult, evaluate_pairs
from hyperarc.protocols.pooling import mean_of_frames
from hyperarc.protocols.protocol import Opened, Protocol, protocols


class VideoPairs(Protocol):
    """Pairs of videos under the rule of the pairs protocols; a video is the normalized mean of its unit frames.

    A video without any frame is absent, and pairs with it are scored with cosine 0; frames that are missing of a video
    that has others are counted.

    Args:
        pairs: of videos by key.
        frames: keys of all frames; those in the folder of a video are its own.

    Raises:
        DataError: not a single video has a frame.

    Example:
        >>> pairs = Pairs("mine", ["a/0", "b/0"] * 2, ["a/1", "a/0"] * 2, [1, 0] * 2, 2)
        >>> protocol = VideoPairs(pairs, ["a/0/1", "a/0/2", "a/1/1", "b/0/1"])
        >>> vectors = {"a/0/1": [1, 0], "a/0/2": [1, 1], "a/1/1": [1, 0], "b/0/1": [-1, 1]}
        >>> protocol.judge(Embedded.of(vectors)).accuracy
        1.0
    """

    def __init__(self, pairs: Pairs, frames: Iterable[str]) -> None:
        self.name = pairs.name
        self.videos = pairs.faces()
        self._video_pairs = pairs
        number = {video: place for place, video in enumerate(self.videos)}
        found = ((key, number.get(key.rpartition("/")[0])) for key in map(face_key, frames))
        self._video_of = {key: video for key, video in found if video is not None}
        if not self._video_of:
            raise DataError(
                f"no video has a frame; the first is {self.videos[0]}",
                where=self.name,
                mend="frames are expected as Name/0/frame.jpg",
            )

    def faces(self) -> list[str]:
        """Every frame of every video that is compared."""
        return list(self._video_of)

    def judge(self, embedded: Embedded) -> PairsResult:
        """Pool the frames of each video, and judge the pairs."""
        absent = embedded.require_most(self.faces(), self.name)
        frames = [key for key in self._video_of if key in embedded]
        numbers = np.array([self._video_of[key] for key in frames])
        pooled, there = mean_of_frames(embedded.vectors[embedded.rows(frames)], numbers, len(self.videos))
        present = {self.videos[place]: pooled[place] for place in np.flatnonzero(there)}
        result = evaluate_pairs(
            self._video_pairs, present, contract=embedded.contract, data=embedded.data, device=embedded.device
        )
        faces = {"videos": len(self.videos), "absent_videos": len(result.absent_faces)}
        frames_told = {"faces": len(self._video_of), "absent_faces": len(absent)}
        result.conditions.update(faces | frames_told | {"video": "normalized mean of unit frame embeddings"})
        return result


@protocols.register("ytf")
def open_ytf(faces: Faces, files: Path) -> Opened:
    """YouTube Faces: ``splits.txt``, frames in ``Name/0/``."""
    found = open_faces(faces)
    return Opened(VideoPairs(read_ytf_splits(files), found.manifest.column("face").tolist()), found)
