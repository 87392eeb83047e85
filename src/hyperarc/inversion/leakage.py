"""What stored templates give away, and what they are still good for.

An attack turns a stored template into a face. Whether it succeeded is asked as of a face before a camera, of a judge
that had no part in the attack. Type I: the face verifies against the photo that the template was made of; type II:
against other photos of the person (Mai, Cao, Yuen and Jain, "On the reconstruction of face images from deep face
templates", TPAMI 41, 2019). The threshold is the judge's at a false accept rate, which is what a stranger's face would
reach: a share near that rate means that nothing leaked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics import clopper_pearson, eer, effective_trials, sample_pairs
from hyperarc.metrics.inputs import BoolArray, FloatArray, IntArray, as_array, embedding_matrix, label_numbers
from hyperarc.metrics.verification import highest_rejected

MOST_PAIRS = 200_000  # of a kind
FAR = 1e-3


@dataclass(frozen=True)
class Share:
    """A share of pairs with its 95 % interval, people being the unit (:func:`hyperarc.metrics.effective_trials`).

    Attributes:
        accepted, pairs: counts; low, high: bounds of the share.
    """

    accepted: int
    pairs: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Accepted of all."""
        return self.accepted / self.pairs

    def as_dict(self) -> dict[str, float | int]:
        """As plain values for JSON."""
        return {"share": self.share, "low": self.low, "high": self.high, "accepted": self.accepted, "pairs": self.pairs}


def share_of(accepted: Any, people: Any) -> Share:
    """The share of pairs that are accepted.

    Args:
        accepted: [n] bool; people: [n] whose each pair is, of at least two people.

    Example:
        >>> share = share_of([True, True, False, False], ["ann", "bob", "cid", "dan"])
        >>> share.share, round(share.low, 3), round(share.high, 3)
        (0.5, 0.039, 0.961)
    """
    flags, worth = as_array(accepted, "accepted"), effective_trials(accepted, people)
    share = float(flags.mean())
    low, high = (float(bound) for bound in clopper_pearson(min(share, 1.0) * worth, worth))
    return Share(int(flags.sum()), len(flags), min(low, share), max(high, share))


@dataclass(frozen=True, eq=False)
class Leakage:
    """How often inverted templates pass for their people.

    Attributes:
        same_photo: type I, one pair a template; other_photos: type II, a pair for every other photo of the person,
            None where nobody has one.
        cosines: [N] of each inverted face to the photo of its template, under the judge.
        accepted: [N] whether that is a type I success.
    """

    same_photo: Share
    other_photos: Share | None
    cosines: FloatArray
    accepted: BoolArray

    def as_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        other = self.other_photos and self.other_photos.as_dict()
        return {"same_photo": self.same_photo.as_dict(), "other_photos": other, "cosine": float(self.cosines.mean())}


@dataclass(frozen=True, eq=False)
class Photos:
    """Real photos under a judge.

    Attributes:
        vectors: [M, d] of any length but 0; labels: [M] who each is.
    """

    vectors: Any
    labels: Any


def leakage(inverted: Any, photos: Photos, rows: Any, threshold: float) -> Leakage:
    """Compare inverted templates with the photos of their people.

    Args:
        inverted: [N, d] the judge's embeddings of the inverted faces.
        photos: of the people, among them those that the templates were made of.
        rows: [N] which photo each template was made of.
        threshold: cosine from which on the judge accepts.

    Raises:
        DataError: embeddings that are NaN or zero, rows that are no photos, fewer than two people.

    Example:
        >>> photos = Photos([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.6, 0.8]], ["ann", "ann", "bob", "bob"])
        >>> found = leakage([[1.0, 0.0], [0.0, 1.0]], photos, [0, 2], threshold=0.7)
        >>> found.same_photo.share, found.other_photos.share
        (1.0, 1.0)
    """
    faces = embedding_matrix(inverted, "inverted faces").astype(np.float64)
    real = embedding_matrix(photos.vectors, "photos").astype(np.float64)
    (labels,) = label_numbers(people=photos.labels)
    own: IntArray = as_array(rows, "rows").astype(np.int64)
    if len(labels) != len(real) or own.shape != (len(faces),) or own.min() < 0 or own.max() >= len(real):
        raise DataError(f"expected a row of {len(real)} labelled photos for each of {len(faces)} inverted faces")
    cosines = faces @ real.T
    at = np.arange(len(faces))
    others = labels[own][:, None] == labels
    others[at, own] = False
    template, _ = np.nonzero(others)
    of = labels[own][template]
    return Leakage(
        same_photo=share_of(cosines[at, own] >= threshold, labels[own]),
        other_photos=share_of(cosines[others] >= threshold, of) if len(np.unique(of)) > 1 else None,
        cosines=cosines[at, own],
        accepted=cosines[at, own] >= threshold,
    )


@dataclass(frozen=True)
class Usefulness:
    """How well stored templates tell people apart.

    Attributes:
        tar: share of genuine pairs accepted at the false accept rate ``far``; threshold: the lowest cosine for it.
        eer: equal error rate; impostor_pairs: compared.
    """

    tar: Share
    eer: float
    far: float
    threshold: float
    impostor_pairs: int

    def as_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        facts = {"far": self.far, "threshold": self.threshold, "eer": self.eer, "impostor_pairs": self.impostor_pairs}
        return {"tar": self.tar.as_dict(), **facts}


def usefulness(templates: Any, labels: Any, other: Any = None, far: float = FAR, seed: int = 0) -> Usefulness:
    """Verify people by stored templates.

    Args:
        templates: [n, d] as they are stored; labels: [n] who each is.
        other: [n, d] templates of the same faces in another database; pairs are then one of either, and what
            is found is how well the databases can be linked.
        far: false accept rate.
        seed: of the pairs, where there are more than :data:`MOST_PAIRS` of a kind.

    Raises:
        DataError: bad templates; nobody with two faces, or only one person.

    Example:
        >>> usefulness([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]], ["ann", "ann", "bob", "bob"]).tar.share
        1.0
    """
    first = embedding_matrix(templates, "templates")
    second = first if other is None else embedding_matrix(other, "templates of the other database")
    (people,) = label_numbers(people=labels)
    if first.shape != second.shape or len(people) != len(first):
        raise DataError(f"expected a person for each of {len(first)} templates, got {len(people)}")
    genuine, impostor = sample_pairs(people, MOST_PAIRS, seed)
    if not len(genuine.first) or not len(impostor.first):
        raise DataError(
            "expected at least two people, and one with two faces, to verify people by their templates",
            mend="embed several photos of a person",
        )
    alike, unlike = (
        np.einsum("nd,nd->n", first[kind.first], second[kind.second], dtype=np.float64) for kind in (genuine, impostor)
    )
    threshold = float(np.nextafter(highest_rejected(unlike, far), np.inf))
    tar = share_of(alike >= threshold, people[genuine.first])
    return Usefulness(tar, eer(alike, unlike), far, threshold, len(unlike))
