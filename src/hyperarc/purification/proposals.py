"""What may be done beyond dropping faces: parts of people that are somebody else, and people who are one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from hyperarc.purification.centers import PersonCenters
from hyperarc.purification.copies import Progress
from hyperarc.purification.halves import unusually_far
from hyperarc.purification.limit import FEWEST_PEOPLE
from hyperarc.purification.overlap import overlap
from hyperarc.purification.people import Match, People
from hyperarc.purification.same_people import same_people
from hyperarc.purification.sub_centers import FEWEST_FACES, Poll, alikeness

HALF = -2  # in place of a sub-center: the smaller half of the faces
_FALSE_MATCHES = 0.01  # merges of different people expected in the whole set
_AS_ALIKE = 0.5  # of the median of the dominant sub-centers' alikeness, which another must reach

Floats32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Proposal:
    """One change of names.

    Attributes:
        kind: "split": faces under a name are somebody who has none yet; "move": they are ``other``; "merge": the
            person is ``other``, who has more faces.
        person: whose faces would get another name.
        other: whose name they would get; -1 for a name of their own.
        sub_center: of the person that these faces voted for; -1 for all that are kept, -2 for the smaller half.
        faces: how many they are.
        cosine: of a move or merge, between the faces' center and that of ``other``; of a split, mean cosine between two
            of the faces, or between the centers of the two halves.
    """

    kind: Literal["split", "move", "merge"]
    person: int
    other: int
    sub_center: int
    faces: int
    cosine: float

    def chosen(self, polled: Poll, places: npt.NDArray[np.int64], angle: float) -> npt.NDArray[np.int64]:
        """Those of the person's faces (places in the poll) that would get another name.

        They lie near to their sub-center and are dropped; of a merge, or a half, it is those kept.
        """
        kept = polled.angles[places] < angle
        if self.sub_center == HALF:
            return np.asarray(places[kept & polled.halves.second[places]])
        if self.kind == "merge":
            return np.asarray(places[kept])
        voters = (polled.sub_centers[places] == self.sub_center) & (polled.own_angles[places] < angle)
        return np.asarray(places[voters & ~kept])


@dataclass(frozen=True, eq=False)
class Proposals:
    """All proposals.

    Attributes:
        listed: splits and moves person by person, then merges, nearest first.
        limit: cosine from which on two centers are taken for one person; NaN where nobody could tell, as among fewer
            than 10 people.
        false_matches: pairs of different people expected to reach it; NaN where nobody can tell.
    """

    listed: tuple[Proposal, ...]
    limit: float
    false_matches: float


def propose(
    polled: Poll,
    labels: npt.NDArray[np.integer],
    angle: float,
    *,
    cosine: float | None = None,
    fewest: int = FEWEST_FACES,
    progress: Progress | None = None,
) -> Proposals:
    """Find sub-centers that are another person, and people whose dominant centers coincide.

    A sub-center is another person when at least ``fewest`` faces voted for it and lie within ``angle`` of it but beyond
    ``angle`` of the dominant center, when they are alike as faces of one person are (their mean cosine reaches half of
    what is usual, the median, at dominant sub-centers), and when their own center is further than ``angle`` from that
    of the dominant faces: a second pose or age of the same person is not. If their center is as near to that of
    another person's dominant faces as two people are not, they are moved there, else split off.

    The smaller half of a person's faces is split off when the two halves (:mod:`hyperarc.purification.halves`) lie
    apart as nobody else's do, and its faces are as alike as above; its sub-centers tell nothing then, so this is
    proposed of people of whom nothing else is.

    Centers here are the means of the faces that voted, not the weights of the head: training pushes the weights of two
    labels apart even where they are one person.

    Args:
        polled: all people with all their faces.
        labels: of the faces, [N].
        angle: radians, as for dropping.
        cosine: from which on two centers are one person. By default the cosine that a hundredth of a pair of different
            people is expected to reach among all (see :func:`hyperarc.purification.limit.fit_impostors`), as names are
            changed by it; at least that of ``angle``.
        fewest: faces of a split or move.
        progress: called with (blocks done, blocks in all) while people are compared.
    """
    dominant = _centers(polled, np.arange(len(polled.votes)), polled.dominant)
    limit, false_matches, merges = np.nan, np.nan, []
    if cosine is not None or (dominant.counts > 0).sum() >= FEWEST_PEOPLE:
        twins = same_people(People(centers=dominant), cosine=cosine, progress=progress)
        limit = twins.limit
        if twins.impostors is not None:
            if cosine is None:
                limit = max(limit, twins.impostors.limit(_FALSE_MATCHES), float(np.cos(angle)))
            false_matches = twins.impostors.expected(limit)
        merges = _merges([match for match in twins.matches if match.cosine >= limit], dominant)
    parts = _parts(polled, labels, dominant, angle, fewest)
    listed = _matched(polled, parts, dominant, limit)
    listed += _split_halves(polled, labels, angle, fewest, {one.person for one in listed})
    kept = np.bincount(labels[polled.kept(angle)], minlength=len(polled.votes))
    listed += [Proposal("merge", a, b, -1, int(kept[a]), near) for a, b, near in merges if kept[a]]
    return Proposals(tuple(listed), float(limit), float(false_matches))


def _centers(
    polled: Poll, people: npt.NDArray[np.int64], sub_centers: npt.NDArray[np.int64]
) -> PersonCenters:
    sums, counts = polled.sums[people, sub_centers], polled.votes[people, sub_centers]
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return PersonCenters((sums / np.where(lengths > 0, lengths, 1)).astype(np.float32), counts)


def _parts(
    polled: Poll, labels: npt.NDArray[np.integer], dominant: PersonCenters, angle: float, fewest: int
) -> list[Proposal]:
    """Sub-centers that are somebody else, as splits."""
    alike, least = _alike_enough(polled)
    people, sub_centers = polled.votes.shape
    far = (polled.own_angles < angle) & ~polled.kept(angle)
    places = labels[far].astype(np.int64) * sub_centers + polled.sub_centers[far]
    faces = np.bincount(places, minlength=people * sub_centers).reshape(people, sub_centers)
    enough = (np.minimum(faces, polled.votes) >= fewest) & (alike >= least)
    listed = []
    for person, sub_center in zip(*(places.tolist() for places in np.nonzero(enough)), strict=True):
        center = _centers(polled, np.array([person]), np.array([sub_center])).vectors[0]
        if float(center @ dominant.vectors[person]) < np.cos(angle):
            count, cosine = int(faces[person, sub_center]), float(alike[person, sub_center])
            listed.append(Proposal("split", person, -1, sub_center, count, cosine))
    return listed


def _split_halves(
    polled: Poll, labels: npt.NDArray[np.integer], angle: float, fewest: int, others: set[int]
) -> list[Proposal]:
    """Halves that are somebody else, as splits; furthest apart first."""
    halves = polled.halves
    kept = halves.second & polled.kept(angle)
    faces = np.bincount(labels[kept], minlength=len(halves.cosines))
    found = unusually_far(halves.cosines) & (halves.alike >= _alike_enough(polled)[1]) & (faces >= fewest)
    people = [person for person in np.argsort(halves.cosines, kind="stable").tolist() if found[person]]
    return [
        Proposal("split", person, -1, HALF, int(faces[person]), float(halves.cosines[person]))
        for person in people
        if person not in others
    ]


def _alike_enough(polled: Poll) -> tuple[npt.NDArray[np.float64], float]:
    """How alike the faces of each sub-center are, and how alike those of one person are at least."""
    alike = alikeness(polled.votes, polled.sums)
    chief = alike[np.arange(len(alike)), polled.dominant]
    chief = chief[np.isfinite(chief)]
    return alike, _AS_ALIKE * float(np.median(chief)) if len(chief) else np.nan


def _matched(polled: Poll, splits: list[Proposal], dominant: PersonCenters, limit: float) -> list[Proposal]:
    """The splits, as moves where somebody else's dominant center is near enough."""
    if not splits or np.isnan(limit):
        return splits
    places = np.array([(split.person, split.sub_center) for split in splits], np.int64)
    parts = _centers(polled, places[:, 0], places[:, 1])
    found = overlap(People(centers=parts), People(centers=dominant), cosine=limit).matches
    moves = {match.first: match for match in found if match.looks_alike}
    listed = []
    for place, split in enumerate(splits):
        match = moves.get(place)
        if match is None or match.second == split.person:
            listed.append(split)
        else:
            listed.append(
                Proposal("move", split.person, match.second, split.sub_center, split.faces, float(match.cosine))
            )
    return listed


def _merges(matches: list[Match], dominant: PersonCenters) -> list[tuple[int, int, float]]:
    """(person, other, cosine): the smaller goes to the larger, once, and never to one who goes elsewhere."""
    going: dict[int, tuple[int, float]] = {}
    staying: set[int] = set()
    for match in matches:  # nearest first
        small, large = sorted((match.first, match.second), key=lambda person: (dominant.counts[person], -person))
        if small in going or small in staying or large in going:
            continue
        going[small] = large, match.cosine
        staying.add(large)
    return [(small, large, cosine) for small, (large, cosine) in going.items()]
