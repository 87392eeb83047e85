"""Searches of probes in a gallery: what each one found of its mate, and the shares counted from that.

A probe is mated when somebody of its label is in the gallery, else non-mated. Every number below is counted from
three facts per probe, so a gallery is gone through once, in blocks, and the matrix of cosines is never held.

Ties count against the mate: an entry of another person with the mate's score stands before it. So a model that gives
every pair the same score finds nobody, and no number depends on the order of the gallery.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import FloatArray, IntArray, as_array, embedding_matrix, label_numbers
from hyperarc.metrics.verification import highest_rejected

COSINES_AT_A_TIME = 1 << 24


@dataclass(frozen=True, eq=False)
class Searches:
    """What each probe found in one gallery.

    Attributes:
        mate: [n] best score of an entry with the probe's label; -inf where there is none.
        other: [n] best score of an entry with another label; -inf where there is none.
        rank: [n] 1 + number of entries with another label that score at least ``mate``; 0 where there is no mate.
    """

    mate: FloatArray
    other: FloatArray
    rank: IntArray

    def __post_init__(self) -> None:
        if not self.mate.shape == self.other.shape == self.rank.shape == (self.rank.size,) or not self.rank.size:
            shapes = f"{self.mate.shape}, {self.other.shape}, {self.rank.shape}"
            raise DataError(f"mate, other and rank should be lists of one length, at least one probe; got {shapes}")
        if np.isnan(self.mate).any() or np.isnan(self.other).any():
            raise DataError("searches hold a NaN score", mend="find out which face gave it")
        if not np.array_equal(self.rank > 0, np.isfinite(self.mate)):
            raise DataError("rank should be 1 or more exactly where the probe has a mate")


def search_gallery(probes: Any, gallery: Any, probe_labels: Any, gallery_labels: Any) -> Searches:
    """Search every probe in the gallery by cosine.

    Args:
        probes: [n, d]; gallery: [m, d]; any scale, both are L2-normalised here.
        probe_labels, gallery_labels: [n] and [m], whole numbers or names. Several entries may share a label.

    Raises:
        DataError: an empty side, shapes that differ, zero or non-finite rows (named).

    Example:
        >>> found = search_gallery([[1.0, 0.1], [0.1, 1.0]], [[1.0, 0.0], [0.0, 1.0]], ["a", "c"], ["a", "b"])
        >>> found.rank.tolist(), found.other.round(3).tolist()
        ([1, 0], [0.1, 0.995])
    """
    asked, known, mates = _sides(probes, gallery, probe_labels, gallery_labels)
    count = asked.shape[0]
    mate, other, rank = np.empty(count), np.empty(count), np.empty(count, dtype=np.int64)
    step = max(1, COSINES_AT_A_TIME // known.shape[0])
    for start in range(0, count, step):
        part = slice(start, start + step)
        cosines = asked[part] @ known.T
        same = mates[0][part, None] == mates[1]
        mate[part] = np.where(same, cosines, -np.inf).max(axis=1)
        cosines[same] = -np.inf
        other[part] = cosines.max(axis=1)
        before = (cosines >= mate[part, None]).sum(axis=1)
        rank[part] = np.where(same.any(axis=1), 1 + before, 0)
    return Searches(mate, other, rank)


def cmc(searches: Searches, ranks: Any = (1, 5, 10)) -> FloatArray:
    """Cumulative match characteristic: share of mated probes whose mate stands at rank k or better, per k.

    ISO/IEC 19795-1, identification rank; NIST FRTE 1:N with threshold 0. Probes without a mate do not count (in
    :func:`hyperarc.metrics.rank1` they are misses). Ranks count gallery entries.

    Args:
        ranks: [m] whole numbers from 1.

    Raises:
        DataError: no mated probe, or a rank below 1.

    Example:
        >>> found = search_gallery([[1.0, 0.9], [0.1, 1.0]], [[1.0, 0.0], [0.0, 1.0]], ["b", "b"], ["a", "b"])
        >>> cmc(found, ranks=[1, 2]).tolist()
        [0.5, 1.0]
    """
    limits = np.atleast_1d(as_array(ranks, "ranks"))
    if limits.dtype.kind not in "iu" or limits.ndim != 1 or (limits < 1).any():
        raise DataError(f"ranks should be whole numbers from 1, got {limits.tolist()}")
    places = _mated(searches)
    return np.asarray([np.mean(places <= limit) for limit in limits], dtype=np.float64)


@dataclass(frozen=True)
class Tpir:
    """True positive identification rate at a false positive identification rate.

    Attributes:
        fpir: target; tpir: share of mated probes whose mate is returned under it.
        threshold: the laxest score among all searches that keeps the target; infinity when none does.
        measured_fpir: share of non-mated probes that return somebody at this threshold, at most ``fpir``.
        mated, non_mated: number of probes.
    """

    fpir: float
    tpir: float
    threshold: float
    measured_fpir: float
    mated: int
    non_mated: int


def tpir_at_fpir(searches: Searches, fpir: float, rank: int = 1) -> Tpir:
    """Open-set identification as NIST and ISO/IEC 19795-1 define it, in one gallery.

    FPIR(t) is the share of non-mated probes whose best score is at least t; TPIR(t, r) = 1 - FNIR the share of mated
    probes whose mate scores at least t and stands at rank r or better (NIST IR 8271, FRVT part 2; IJB-C, Maze et al.,
    ICB 2018, reports it per gallery and averages the two). TPIR is the highest over thresholds with FPIR(t) <=
    ``fpir``; nothing is interpolated.

    Args:
        fpir: target in 0..1.
        rank: the mate must stand here or better (default 1).

    Raises:
        DataError: no mated or no non-mated probe, ``fpir`` outside 0..1, a rank below 1.

    Example:
        >>> gallery, probes = [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.1], [0.5, 1.0], [1.0, 0.3]]
        >>> found = search_gallery(probes, gallery, ["a", "b", "c"], ["a", "b"])  # "c" is not in the gallery
        >>> tpir_at_fpir(found, fpir=0.0).tpir
        0.5
    """
    if rank < 1:
        raise DataError(f"rank should be at least 1, got {rank}")
    places, strangers = _mated(searches), searches.other[searches.rank == 0]
    if not strangers.size:
        raise DataError(
            "every probe has a mate in the gallery, so no false positive identification rate can be measured",
            mend="add probes of people who are not in the gallery",
        )
    limit = highest_rejected(strangers, fpir)
    # a mate below the asked rank is never returned, whatever the threshold
    mates = searches.mate[searches.rank > 0][places <= rank]
    scores = np.concatenate([mates, strangers])
    threshold = float(np.min(scores, where=scores > limit, initial=np.inf))
    return Tpir(
        fpir=float(fpir),
        tpir=float((mates > limit).sum() / places.size),
        threshold=threshold,
        measured_fpir=float(np.mean(strangers >= threshold)),
        mated=int(places.size),
        non_mated=int(strangers.size),
    )


@dataclass(frozen=True)
class InsightFaceTpir:
    """What InsightFace's 1:N script prints for one of its "far".

    Attributes:
        far: mean number of non-mated scores above the threshold per probe; tpir: share of mates above it.
        threshold: a mate must score strictly more.
    """

    far: float
    tpir: float
    threshold: float


def insightface_tpir(
    probes: Any, gallery: Any, probe_labels: Any, gallery_labels: Any, fars: Any = (0.01, 0.1)
) -> tuple[InsightFaceTpir, ...]:
    """The "TPIR@FPIR" of InsightFace's IJB 1:N script (``_evaluation_/ijb/ijb_1n.py``), exactly.

    Closed set, both galleries concatenated, one mate per probe. The threshold is the ceil(far x probes)-th largest of
    all non-mated scores, a mate must score strictly more, its rank does not matter. That is TPIR at a mean number of
    ``far`` false candidates per search (NIST calls it selectivity), not at a share of searches: see
    :func:`tpir_at_fpir` for that. Its top-1, 5 and 10 are :func:`cmc`.

    Args:
        As :func:`search_gallery`; fars: [m] positive numbers (default those of the script).

    Raises:
        DataError: a probe with no mate or several, fewer non-mated scores than asked for, bad embeddings.

    Example:
        >>> eye = [[1.0, 0.0], [0.0, 1.0]]
        >>> insightface_tpir([[1.0, 0.1], [0.9, 1.0]], eye, [0, 1], [0, 1], fars=[0.5])[0].tpir
        1.0
    """
    asked, known, labels = _sides(probes, gallery, probe_labels, gallery_labels)
    count, entries = asked.shape[0], known.shape[0]
    targets = np.atleast_1d(as_array(fars, "fars")).astype(np.float64)
    places = [math.ceil(count * far) if far > 0 else 0 for far in targets.tolist()]
    most = max(places, default=0)
    if min(places, default=0) < 1 or most > count * (entries - 1):
        raise DataError(f"fars should be positive and ask for at most all non-mated scores, got {targets.tolist()}")
    mate, highest = np.empty(count), np.empty(0)
    step = max(1, COSINES_AT_A_TIME // entries)
    for start in range(0, count, step):
        same = labels[0][start : start + step, None] == labels[1]
        mates = same.sum(axis=1)
        if (mates != 1).any():
            row = int(np.flatnonzero(mates != 1)[0])
            raise DataError(f"probe {start + row} has {mates[row]} mates in the gallery, expected one")
        cosines = asked[start : start + step] @ known.T
        mate[start : start + step] = cosines[same]
        candidates = np.concatenate([highest, cosines[~same]])
        highest = np.partition(candidates, max(candidates.size - most, 0))[-most:]
    highest = np.sort(highest)[::-1]
    return tuple(
        InsightFaceTpir(far, float((mate > highest[place - 1]).sum() / count), float(highest[place - 1]))
        for far, place in zip(targets.tolist(), places, strict=True)
    )


def _mated(searches: Searches) -> IntArray:
    """Ranks of the mated probes, at least one."""
    places = searches.rank[searches.rank > 0]
    if not places.size:
        raise DataError("no probe has a mate in the gallery", mend="check that the labels of both sides are the same")
    return places


def _sides(
    probes: Any, gallery: Any, probe_labels: Any, gallery_labels: Any
) -> tuple[Any, Any, tuple[IntArray, IntArray]]:
    """Unit probes and gallery, and the labels of both as whole numbers."""
    asked, known = embedding_matrix(probes, "probes"), embedding_matrix(gallery, "gallery")
    if asked.shape[1] != known.shape[1]:
        raise DataError(f"probes have dimension {asked.shape[1]}, the gallery {known.shape[1]}")
    for name, labels, units in (("probe_labels", probe_labels, asked), ("gallery_labels", gallery_labels, known)):
        shape = as_array(labels, name).shape
        if shape != (units.shape[0],):
            raise DataError(f"{name} should have shape ({units.shape[0]},), one label a face, got {shape}")
    first, second = label_numbers(probe_labels=probe_labels, gallery_labels=gallery_labels)
    return asked, known, (first, second)
