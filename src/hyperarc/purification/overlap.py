"""The people of one set who stand in another, such as people to train on who stand in a test set."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from hyperarc.errors import DataError
from hyperarc.purification.centers import PersonCenters
from hyperarc.purification.copies import BLOCK, Progress
from hyperarc.purification.limit import choose_limit, count_cosines
from hyperarc.purification.names import named_alike
from hyperarc.purification.people import Match, Overlap, People, matches_of, nearest_first


def overlap(first: People, second: People, *, cosine: float | None = None, progress: Progress | None = None) -> Overlap:
    """Of each person of the first set the nearest of the second by cosine of their centers, and all namesakes.

    Args:
        first, second: people with names, centers or both; what only one of the sets has is not compared.
        cosine: from which on two look alike. By default the cosine that one pair of different people is expected to
            reach among all that are compared; see :func:`hyperarc.purification.limit.fit_impostors`.
        progress: called with (blocks done, blocks in all).

    Returns:
        Matches person by person of the first set, nearest first. A match with the nearest person need not be
        :attr:`Match.found`; a person may be found several times.

    Raises:
        DataError: nothing that both sets have, or fewer than 10 people in each and no cosine given.

    Example:
        >>> found = overlap(People(["Ann Lee", "Bob Ray"]), People(["ray_bob", "Eve Fox"])).matches
        >>> [(match.first, match.second, match.likeness) for match in found]
        [(1, 0, 1.0)]
    """
    likeness = {(pair.first, pair.second): pair.likeness for pair in named_alike(first.names, second.names)}
    if first.centers is None or second.centers is None:
        if not (first.names and second.names):
            raise DataError("expected names of both sets or centers of both, got names of one, centers of the other")
        return Overlap(tuple(Match(*pair, likeness=like) for pair, like in sorted(likeness.items())))
    nearest, counts = _compare(first.centers, second.centers, progress)
    people = max(int((centers.counts > 0).sum()) for centers in (first.centers, second.centers))
    limit, impostors = choose_limit(counts, people, cosine)
    pairs = {(place, int(other)) for place, other in enumerate(nearest) if other >= 0} | likeness.keys()
    matches = matches_of(sorted(pairs), likeness, (first.centers, second.centers), limit)
    matches.sort(key=lambda match: (match.first, nearest_first(match)))
    return Overlap(tuple(matches), limit, impostors, counts, sum(match.looks_alike for match in matches))


def _compare(
    first: PersonCenters, second: PersonCenters, progress: Progress | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The nearest person of the second set to each of the first, or -1; and how the cosines of all pairs are spread."""
    ours, theirs = np.flatnonzero(first.counts), np.flatnonzero(second.counts)
    nearest = np.full(len(first), -1, np.int64)
    counts = count_cosines(torch.zeros(0))
    others = torch.from_numpy(second.vectors[theirs])
    for top in range(0, len(ours) if len(theirs) else 0, BLOCK):
        rows = ours[top : top + BLOCK]
        unit = torch.from_numpy(first.vectors[rows])
        best = torch.full((len(rows),), -2.0)
        for left in range(0, len(theirs), BLOCK):
            cosines = unit @ others[left : left + BLOCK].T
            counts += count_cosines(cosines)
            value, place = cosines.max(1)
            nearer = (value > best).numpy()
            nearest[rows[nearer]] = theirs[place.numpy()[nearer] + left]
            best = torch.maximum(best, value)
        if progress is not None:
            progress(min(top + BLOCK, len(ours)), len(ours))
    return nearest, counts
