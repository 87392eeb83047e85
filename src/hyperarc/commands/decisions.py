"""What somebody decided on the page of a purification, read from the file that the page exports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.purification.proposals import Proposal

KEEP, DROP, ACCEPT, REJECT = "keep", "drop", "accept", "reject"


@dataclass(frozen=True)
class Decisions:
    """Decisions of a person, and what becomes of the rest.

    Attributes:
        people: name to "keep" (all faces) or "drop" (all faces); others are dropped by their angles.
        proposals: key to "accept" or "reject"; see :func:`key_of`.
        apply: whether proposals nobody decided on are applied.
    """

    people: Mapping[str, str] = field(default_factory=dict)
    proposals: Mapping[str, str] = field(default_factory=dict)
    apply: bool = False

    def accepts(self, proposal: Proposal, people: Sequence[str]) -> bool:
        """Whether a proposal is to be applied: accepted, or not decided on where all are."""
        if people[proposal.person] in self.people:
            return False
        return self.proposals.get(key_of(proposal, people), ACCEPT if self.apply else REJECT) == ACCEPT

    def dropped(
        self, by_angle: npt.NDArray[np.bool_], labels: npt.NDArray[np.integer], people: Sequence[str]
    ) -> npt.NDArray[np.bool_]:
        """[N] the faces to drop: those of people decided on wholly or not at all, of others by their angles."""
        decided = np.array([{KEEP: 0, DROP: 1}.get(self.people.get(name, ""), -1) for name in people], np.int8)
        own = decided[labels]
        return np.where(own < 0, by_angle, own == 1)


def key_of(proposal: Proposal, people: Sequence[str]) -> str:
    """What a proposal is called in a file of decisions.

    Example:
        >>> key_of(Proposal("move", 0, 1, 2, 9, 0.8), ["ann", "bob"])
        'move ann 2 bob'
    """
    words = [proposal.kind, people[proposal.person]]
    words += [str(proposal.sub_center)] if proposal.sub_center >= 0 else []
    words += [people[proposal.other]] if proposal.other >= 0 else []
    return " ".join(words)


def read_decisions(path: Path, *, apply: bool = False) -> Decisions:
    """The decisions in a JSON file that the page exported.

    Raises:
        DataError: the file cannot be read, or says something else than keep, drop, accept and reject.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the decisions: {error}", where=path) from error
    if not isinstance(content, dict):
        raise DataError("expected decisions as the page exports them (JSON)", where=path)
    known = {"people": (KEEP, DROP), "proposals": (ACCEPT, REJECT)}
    for part, words in known.items():
        _require_words(content.get(part, {}), part, words, path)
    return Decisions(content.get("people", {}), content.get("proposals", {}), apply)


def _require_words(told: Any, part: str, words: tuple[str, str], path: Path) -> None:
    wrong = told if not isinstance(told, dict) else [word for word in told.values() if word not in words]
    if not isinstance(told, dict) or wrong:
        raise DataError(f"expected {words[0]!r} or {words[1]!r} by name under {part!r}, got {wrong!r:.80}", where=path)
