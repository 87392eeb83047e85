"""People of one set who stand in it twice, under two labels."""

from __future__ import annotations

import numpy as np
import torch

from hyperarc.purification.copies import Progress, block_places, unit_pairs
from hyperarc.purification.limit import choose_limit, count_cosines
from hyperarc.purification.names import named_alike
from hyperarc.purification.people import Match, Overlap, People, matches_of, nearest_first


def same_people(
    people: People, *, cosine: float | None = None, most: int = 100_000, progress: Progress | None = None
) -> Overlap:
    """Pairs of labels of one set that are probably one person: by faces, by names or by both.

    Args:
        people: with names, centers or both.
        cosine: from which on two look alike. By default the cosine that one pair of different people is expected to
            reach among all pairs; see :func:`hyperarc.purification.limit.fit_impostors`.
        most: pairs kept that look alike, the nearest ones; all are counted.
        progress: called with (blocks done, blocks in all), first while all pairs are looked over, then while those that
            look alike are gathered.

    Returns:
        Matches that are all :attr:`Match.found`, nearest first.

    Raises:
        DataError: fewer than 10 people with centers, and no cosine given.

    Example:
        >>> [(match.first, match.second) for match in same_people(People(["Ann Lee", "bob", "lee_ann"])).matches]
        [(0, 2)]
    """
    likeness = {(pair.first, pair.second): pair.likeness for pair in named_alike(people.names)}
    if people.centers is None:
        return Overlap(tuple(Match(*pair, likeness=like) for pair, like in sorted(likeness.items())))
    present = np.flatnonzero(people.centers.counts)
    unit = torch.from_numpy(people.centers.vectors[present])
    counts = count_cosines(torch.zeros(0))
    blocks = block_places(len(unit))
    for done, (rows, columns) in enumerate(blocks, 1):
        cosines = unit[rows] @ unit[columns].T
        once = torch.ones_like(cosines, dtype=torch.bool).triu(1) if rows == columns else slice(None)
        counts += count_cosines(cosines[once])
        if progress is not None:
            progress(done, 2 * len(blocks))
    limit, impostors = choose_limit(counts, len(present), cosine)

    def gathered(done: int, total: int) -> None:
        if progress is not None:
            progress(total + done, 2 * total)

    alike = unit_pairs(unit, limit, most, gathered)
    pairs = set(zip(present[alike.first].tolist(), present[alike.second].tolist(), strict=True)) | likeness.keys()
    matches = matches_of(sorted(pairs), likeness, (people.centers, people.centers), limit)
    matches.sort(key=nearest_first)
    return Overlap(tuple(matches), limit, impostors, counts, alike.count)
