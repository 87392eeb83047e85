"""People who are compared, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.purification.centers import PersonCenters
from hyperarc.purification.limit import EDGES, Impostors


@dataclass(frozen=True, eq=False)
class People:
    """The people of a set, in the order of their labels.

    Attributes:
        names: of their folders; empty where names are not to be compared.
        centers: of their embeddings; None where faces are not to be compared. Nor is a person whose count is 0.

    Raises:
        DataError: neither names nor centers, or not as many of one as of the other.

    Example:
        >>> len(People(["ann", "bob"]))
        2
    """

    names: Sequence[str] = ()
    centers: PersonCenters | None = None

    def __post_init__(self) -> None:
        if not self.names and self.centers is None:
            raise DataError("expected names or centers of people, got neither")
        if self.names and self.centers is not None and len(self.names) != len(self.centers):
            raise DataError(f"expected as many names as centers, got {len(self.names)} and {len(self.centers)}")

    def __len__(self) -> int:
        return len(self.names) if self.centers is None else len(self.centers)


@dataclass(frozen=True)
class Match:
    """Two people who may be one.

    Attributes:
        first, second: their places; ``first < second`` where both are of one set.
        cosine: between their centers, NaN where one has none.
        looks_alike: whether the cosine reaches the limit.
        likeness: of their names, 0..1; 0 where they are not alike. See :func:`hyperarc.purification.names.named_alike`.
    """

    first: int
    second: int
    cosine: float = math.nan
    looks_alike: bool = False
    likeness: float = 0.0

    @property
    def found(self) -> bool:
        """Whether faces or names say that they are one."""
        return self.looks_alike or self.likeness > 0.0


@dataclass(frozen=True, eq=False)
class Overlap:
    """Who may stand in both sets, or twice in one.

    Attributes:
        matches: see :func:`hyperarc.purification.overlap.overlap` and
            :func:`hyperarc.purification.same_people.same_people`.
        limit: cosine from which on two people look alike; NaN where no faces were compared.
        impostors: how often different people reach a cosine; None where they are too few to tell.
        counts: int64 [4000], how many of the compared pairs lie between each two of
            :data:`hyperarc.purification.limit.EDGES`.
        looking_alike: how many of the compared pairs reach the limit; ``matches`` may hold fewer.
    """

    matches: tuple[Match, ...]
    limit: float = math.nan
    impostors: Impostors | None = None
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(EDGES) - 1, np.int64))
    looking_alike: int = 0

    @property
    def false_matches(self) -> float:
        """How many pairs of different people are expected to reach the limit; NaN where nobody can tell."""
        return math.nan if self.impostors is None else self.impostors.expected(self.limit)


def nearest_first(match: Match) -> float:
    """What sorts matches by their cosines, those without one last."""
    return 1.0 if math.isnan(match.cosine) else -match.cosine


def matches_of(
    pairs: Iterable[tuple[int, int]],
    likeness: dict[tuple[int, int], float],
    centers: tuple[PersonCenters, PersonCenters],
    limit: float,
) -> list[Match]:
    """The pairs as matches, in their order."""
    listed = list(pairs)
    left, right = np.array(listed, np.int64).reshape(-1, 2).T
    cosines = np.einsum("nd,nd->n", centers[0].vectors[left], centers[1].vectors[right]).clip(-1.0, 1.0)
    cosines[(centers[0].counts[left] == 0) | (centers[1].counts[right] == 0)] = np.nan
    return [
        Match(*pair, cosine, cosine >= limit, likeness.get(pair, 0.0))
        for pair, cosine in zip(listed, cosines.tolist(), strict=True)
    ]
