"""What ``hyperarc check`` is asked for, and what it came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hyperarc.commands.check_people import Artifact
from hyperarc.data.checks.faults import Fault, FaultLimits
from hyperarc.data.checks.kinds import KINDS, kind_names
from hyperarc.data.checks.statistics import FaceStatistics
from hyperarc.data.face_set import FaceSet
from hyperarc.data.findings import Finding
from hyperarc.purification.people import Match


@dataclass(frozen=True)
class CheckOptions:
    """What to check for.

    Attributes:
        limits: beyond what a face is told of.
        min_faces: people with fewer kept faces are left out.
        leave_out: kinds of faults that are marked besides those that always are.
        artifact: whose embeddings find more copies, and people under two labels; None compares pixels and names.
    """

    limits: FaultLimits = field(default_factory=FaultLimits)
    min_faces: int = 2
    leave_out: Sequence[str] = ()
    artifact: Artifact | None = None

    @property
    def marking(self) -> list[str]:
        """All kinds that are marked."""
        named = kind_names(self.leave_out)
        return [name for name, kind in KINDS.items() if kind.left_out or name in named]


@dataclass(frozen=True, eq=False)
class Checked:
    """What a check came to.

    Attributes:
        faces: with the manifest that has the new marks and color orders.
        measured: of every face that was looked at.
        faults: of faces, kind by kind.
        findings: about people and labels, and what the scan told of.
        shares: of exchanged files by source; only of those whose colors could be judged.
        twins: people who are probably one.
        options: what was asked.
    """

    faces: FaceSet
    measured: FaceStatistics
    faults: Sequence[Fault]
    findings: Sequence[Finding]
    shares: dict[str, float]
    twins: Sequence[Match]
    options: CheckOptions

    @property
    def counts(self) -> dict[str, int]:
        """Faces of each kind, in the order of the kinds; those without any are left out."""
        counted = Counter(fault.kind for fault in self.faults)
        return {kind: counted[kind] for kind in KINDS if counted[kind]}
