"""P x K sampling: batches of P people with K faces each, as triplet losses need (FaceNet, arXiv 1503.03832, 3.2)."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import numpy.typing as npt

from hyperarc.data.order import Order, Places, epoch_generator, index_type
from hyperarc.errors import DataError

Indices = npt.NDArray[np.int64]


class PeopleOrder(Order):
    """Each batch holds P = batch_size / K different people with K faces each, person by person.

    A function of (seed, step) alone, as :class:`~hyperarc.data.order.BatchOrder` is. In each epoch the faces of every
    person are shuffled and cut into groups of K, and each group becomes one visit to its person:

    - Everybody is visited, a person of n faces ceil(n / K) times. The last group is filled up with the person's first
      faces, so who has fewer than K faces shows some of them more than once in a visit, mirrored at random each time.
    - As the people of a batch differ, nobody is visited more often than there are batches. Whoever has more groups
      shows others of them in other epochs, and the epoch is as long as it can be with all batches full.
    - What fills no batch, fewer than P groups, is left out of an epoch. Those are groups of people who have more than
      one; where nobody has, fewer than P people are visited twice instead.

    So an epoch shows every face about once, those of people with few faces a little more often.

    Args:
        labels: person of each row, whole numbers [N].
        batch_size: P x K, rows of one global batch. With ranks or accumulation each part should be a multiple of K.
        faces_per_person: K.
        seed: of permutations and flips.

    Raises:
        DataError: K does not divide the batch, a batch of fewer than two people, or of more than there are.

    Example:
        >>> labels = np.repeat(np.arange(6), 5)
        >>> order = PeopleOrder(labels, batch_size=8, faces_per_person=4)
        >>> order.batches_per_epoch, labels[order.batch(0)].reshape(2, 4).std(axis=1).tolist()
        (6, [0.0, 0.0])
    """

    def __init__(self, labels: npt.NDArray[np.integer], batch_size: int, faces_per_person: int, seed: int = 0) -> None:
        self.count, self.batch_size, self.seed = len(labels), batch_size, seed
        self.faces_per_person = faces_per_person
        self._latest = {}
        if faces_per_person < 1 or batch_size < 1 or batch_size % faces_per_person:
            raise DataError(f"expected K to divide the batch size, got K = {faces_per_person} of {batch_size} faces")
        self.people_per_batch = batch_size // faces_per_person
        rows = np.argsort(labels, kind="stable")
        ordered = labels[rows]
        self._first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: self.count])  # row of each person
        self._faces = np.diff(self._first, append=self.count)  # faces of each person
        self._rows: Places = rows.astype(index_type(self.count))  # person by person
        if not 2 <= self.people_per_batch <= len(self._faces):
            raise DataError(
                f"expected batches of 2 to {len(self._faces)} people, as many as there are, got {batch_size} / "
                f"{faces_per_person} = {self.people_per_batch}",
                mend="change training.batch_size or data.sampler.people.faces_per_person",
            )
        self._groups = -(-self._faces // faces_per_person)
        self._batches = self._most_batches()

    @property
    def batches_per_epoch(self) -> int:
        """Steps of one epoch."""
        return self._batches

    def _most_batches(self) -> int:
        """The most batches B that can be filled, nobody being visited more than B times, or one more for all to come.

        The people's min(groups, B) visits must fill B * P places: true of the smaller B, and of none beyond.
        """
        size, groups = self.people_per_batch, self._groups
        tried = range(1, int(groups.sum()) // size + 2)
        filled = bisect_left(tried, True, key=lambda b: bool(np.minimum(groups, b).sum() < b * size))
        return filled if filled * size >= len(groups) else filled + 1

    def _draw(self, epoch: int) -> Places:
        rng = epoch_generator(self.seed, epoch)
        faces = self._shuffled_faces(rng)
        visits = self._visits(rng)
        people = rng.permutation(len(visits))
        turns = np.repeat(people, visits[people])  # everybody's visits in a row
        began = np.repeat(np.cumsum(visits[people]) - visits[people], visits[people])
        nth = np.arange(len(turns)) - began  # which of the person's visits it is
        dealt = self._deal(turns, rng)  # [B, P]
        person = turns[dealt][:, :, None]
        shown = nth[dealt][:, :, None] * self.faces_per_person + np.arange(self.faces_per_person)  # [B, P, K]
        again, face = np.divmod(shown, self._faces[person])
        places = again * self.count + faces[self._first[person] + face]
        return places.ravel().astype(index_type(int(places.max()) + 1))

    def _shuffled_faces(self, rng: np.random.Generator) -> Places:
        """The rows person by person, each person's in random order."""
        owner = np.repeat(np.arange(len(self._faces), dtype=np.float64), self._faces)
        return self._rows[np.argsort(owner + rng.random(self.count), kind="stable")]

    def _visits(self, rng: np.random.Generator) -> Indices:
        """How often each person is visited: at least once, at most in every batch, and as many as there is room for."""
        visits: Indices = np.minimum(self._groups, self._batches)
        left = int(visits.sum()) - self._batches * self.people_per_batch
        if left > 0:
            spare = np.repeat(np.arange(len(visits)), visits - 1)
            np.subtract.at(visits, rng.choice(spare, left, replace=False), 1)
        elif left < 0:
            visits[rng.choice(np.flatnonzero(visits == 1), -left, replace=False)] += 1
        return visits

    def _deal(self, turns: Indices, rng: np.random.Generator) -> Indices:
        """Which turns make up each batch, [B, P]: all different people.

        As cards are dealt: B turns go one to each batch, in random order, then the next B. A person's turns lie in a
        row and are at most B, so only turns that begin in one deal and end in the next could meet in a batch; the next
        deal then keeps away from batches that have the person.
        """
        batches = self._batches
        dealt = np.empty((batches, self.people_per_batch), np.int64)
        places = np.arange(0)
        for deal in range(self.people_per_batch):
            first = deal * batches
            before, places = places, rng.permutation(batches)
            if deal and turns[first] == turns[first - 1]:
                has = np.zeros(batches, np.bool_)
                has[before[turns[first - batches : first] == turns[first]]] = True
                places = np.concatenate([places[~has[places]], places[has[places]]])
                rng.shuffle(places[np.count_nonzero(turns[first : first + batches] == turns[first]) :])
            dealt[places, deal] = first + np.arange(batches)
        return dealt
