"""What a purification came to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.artifact import Artifact
from hyperarc.commands.polling import PolledFaces
from hyperarc.commands.purify_marks import KIND, left_empty
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


def facts_of(artifact: Artifact, purified: Purified) -> dict[str, Any]:
    """What was found and done, as it is printed."""
    faces, kinds = purified.faces, [one.kind for one in purified.proposals.listed]
    votes, found = faces.polled.votes, purified.detection()
    kept = purified.after.manifest.kept()
    limit = purified.proposals.limit
    return {
        "faces": len(purified.before),
        "people": len(faces.people),
        "faces_looked_at": len(faces.rows),
        "sub_centers": votes.shape[1],
        "dominant_share": float(votes.max(axis=1).sum() / votes.sum()),
        "copies": int(faces.copies.sum()),
        "angle_deg": purified.angle_deg,
        "angle_from": purified.angle_from,
        "left_out": int(purified.dropped.sum()),
        "kept": len(kept),
        "people_kept": kept.num_people,
        "people_left_empty": left_empty(faces, purified.dropped),
        "splits": kinds.count("split"),
        "moves": kinds.count("move"),
        "merges": kinds.count("merge"),
        "applied": len(purified.accepted),
        "limit_cosine": None if math.isnan(limit) else limit,
        "detection": None if found is None else found.as_dict(),
        "contract": artifact.contract.digest,
        "mark": KIND,
        "findings": [str(one) for one in (*faces.findings, *purified.after.manifest.findings)],
    }
