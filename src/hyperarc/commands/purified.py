"""What a purification came to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.commands.polling import PolledFaces
from hyperarc.commands.train import Trained
from hyperarc.data.face_set import FaceSet
from hyperarc.purification.detection import Detection, judge_detection
from hyperarc.purification.proposals import Proposal, Proposals


@dataclass(frozen=True, eq=False)
class Purified:
    """What a purification came to.

    Attributes:
        before, after: the faces with the manifest as it was, and with marks and new names.
        faces: those that were looked at, with their votes and angles; [N] below are of these.
        angle_deg: from which on faces are dropped; angle_from: why this one, in words.
        dropped: bool [N].
        proposals: of splits, moves and merges.
        accepted: those that were applied.
        truth: bool [N] which faces are noise, or None where nobody knows.
    """

    before: FaceSet
    after: FaceSet
    faces: PolledFaces
    angle_deg: float
    angle_from: str
    dropped: npt.NDArray[np.bool_]
    proposals: Proposals
    accepted: tuple[Proposal, ...]
    truth: npt.NDArray[np.bool_] | None

    @cached_property
    def dominant(self) -> npt.NDArray[np.bool_]:
        """[N] faces that voted for the dominant sub-center of their person."""
        polled = self.faces.polled
        return np.asarray(polled.sub_centers == polled.dominant[self.faces.labels])

    def detection(self) -> Detection | None:
        """How well the noise was found, where it is known."""
        if self.truth is None:
            return None
        return judge_detection(self.truth, self.dropped, self.faces.polled.angles)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What ``hyperarc purify`` came to.

    Attributes:
        facts: as they are printed.
        purified: the faces, before and after.
        runs: trainings by name: those of the recipe with its sub-centers, and "retrained"; empty for an artifact alone.
    """

    facts: dict[str, Any]
    purified: Purified
    runs: dict[str, Trained]
