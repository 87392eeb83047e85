"""Faults of faces: what the measures of a data set come to, face by face."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hyperarc.data.checks import kinds
from hyperarc.data.checks.colors import ColorOrders, color_orders
from hyperarc.data.checks.copies import equals_of_others, first_of_equals, linked_groups
from hyperarc.data.checks.picture_hash import LIKENESS, likeness, near_pairs
from hyperarc.data.checks.statistics import FaceStatistics
from hyperarc.data.manifest import Manifest
from hyperarc.data.verification import UNREADABLE, WRONG_SIZE, Progress
from hyperarc.faces.quality import QualityLimits

NONE = -1
_ONE_SIZE = 0.9  # of the pictures of a source that is judged by its colors
Bools = npt.NDArray[np.bool_]


class Fault(NamedTuple):
    """One fault of one face.

    Attributes:
        kind: name of its kind.
        row: of the manifest.
        detail: in words.
        other: row of the face that it is compared with, or -1.
    """

    kind: str
    row: int
    detail: str
    other: int = NONE


@dataclass(frozen=True)
class FaultLimits:
    """Beyond what a face is told of.

    Attributes:
        size: width and height in px that every picture must have; None asks for none.
        shortest_px: of the shorter side (default 40, as in :class:`hyperarc.faces.quality.QualityLimits`).
        contrast: least standard deviation of grey levels in the middle of the face.
        chroma: least distance of the channels in grey levels; gray files have 0, stored with losses up to 2.
        blur_px: of the strongest edges, in px of a crop 112 high (default 2.5, as in QualityLimits).
        likeness: of near copies; see :mod:`hyperarc.data.checks.picture_hash`.
    """

    size: int | None = None
    shortest_px: int = round(QualityLimits.source_px)
    contrast: float = 4.0
    chroma: float = 3.0
    blur_px: float = QualityLimits.blur_px
    likeness: float = LIKENESS


def find_faults(
    manifest: Manifest,
    measured: FaceStatistics,
    limits: FaultLimits | None = None,
    progress: Progress | None = None,
) -> tuple[list[Fault], dict[int, float]]:
    """All faults of the measured faces but people with too few, and the share of exchanged files by source code.

    Colors are judged in sources of which 9 of 10 pictures have one size, as crops do.

    Args:
        manifest: the faces that were measured, and others.
        measured: what was measured.
        limits: default :class:`FaultLimits`.
        progress: of the search for near copies, called with (bands done, bands in all).

    Example:
        >>> from hyperarc.data.checks.statistics import measure_faces
        >>> from hyperarc.data.face_set import FaceReader
        >>> from hyperarc.data.sources import ArraySource
        >>> source = ArraySource(np.full((1, 112, 112, 3), 90, np.uint8), ["ann"])
        >>> manifest = source.scan()
        >>> measured = measure_faces(FaceReader(source, manifest), np.array([0]))
        >>> [fault.kind for fault in find_faults(manifest, measured)[0]]
        ['blank']
    """
    asked = limits or FaultLimits()
    seen = measured.readable & (measured.contrast >= asked.contrast)
    sources = manifest.source_codes[measured.rows]
    colored = np.flatnonzero(seen & (measured.chroma >= asked.chroma) & _of_one_size(measured, sources))
    orders = color_orders(measured.redness[colored], sources[colored])
    faults = [
        *_unreadable(measured),
        *_measured(measured, asked),
        *_copies(manifest, measured, seen, asked, progress),
        *_colors(measured, colored, orders),
    ]
    return faults, orders.shares


def _of_one_size(measured: FaceStatistics, sources: npt.NDArray[np.int32]) -> Bools:
    """Whether a picture's source has nearly one size: photos have many, and no skin where the face of a crop is."""
    uniform = np.zeros(len(measured), np.bool_)
    areas = measured.width.astype(np.int64) << 32 | measured.height
    for code in np.unique(sources[measured.readable]).tolist():
        of_source = measured.readable & (sources == code)
        most = np.unique(areas[of_source], return_counts=True)[1].max()
        uniform[of_source] = most >= _ONE_SIZE * of_source.sum()
    return uniform


def _unreadable(measured: FaceStatistics) -> Iterator[Fault]:
    for row, why in measured.errors.items():
        yield Fault(UNREADABLE, row, why)


def _measured(measured: FaceStatistics, asked: FaultLimits) -> Iterator[Fault]:
    """What one number of a face says."""
    there = measured.readable
    shorter = np.minimum(measured.width, measured.height)
    sizes = [f"{w} x {h}" for w, h in zip(measured.width.tolist(), measured.height.tolist(), strict=True)]
    if asked.size is not None:
        wrong = there & ((measured.width != asked.size) | (measured.height != asked.size))
        for place in np.flatnonzero(wrong).tolist():
            yield Fault(WRONG_SIZE, int(measured.rows[place]), f"{sizes[place]} instead of {asked.size}")
    for place in np.flatnonzero(there & (shorter < asked.shortest_px)).tolist():
        yield Fault(kinds.TINY, int(measured.rows[place]), f"{sizes[place]} px")
    blank = there & (measured.contrast < asked.contrast)
    blurred = there & ~blank & (measured.blur_px > asked.blur_px)
    for kind, which, values, text in (
        (kinds.BLANK, blank, measured.contrast, "contrast {:.1f}"),
        (kinds.GRAY, there & ~blank & (measured.chroma < asked.chroma), measured.chroma, "chroma {:.1f}"),
        (kinds.BLURRED, blurred, measured.blur_px, "{:.1f} px"),
    ):
        places = np.flatnonzero(which)
        worst = places[np.argsort(-values[places] if kind == kinds.BLURRED else values[places], kind="stable")]
        for place in worst.tolist():
            yield Fault(kind, int(measured.rows[place]), text.format(values[place]))


def _copies(
    manifest: Manifest, measured: FaceStatistics, seen: Bools, asked: FaultLimits, progress: Progress | None
) -> Iterator[Fault]:
    """Equal pictures and near copies, of one person and of two."""
    places = np.flatnonzero(seen)
    rows, labels = measured.rows[places], manifest.labels[measured.rows[places]]
    digests = measured.digests[places]
    first = first_of_equals(digests, labels)
    for place in np.flatnonzero(first != np.arange(len(first))).tolist():
        yield Fault(kinds.COPY, int(rows[place]), "equal pixels", int(rows[first[place]]))
    conflicts = {
        row: Fault(kinds.CONFLICT, row, "equal pixels", other)
        for row, other in zip(*(rows[part].tolist() for part in equals_of_others(digests, labels)), strict=True)
    }
    once = np.flatnonzero(first == np.arange(len(first)))
    pairs = near_pairs(measured.descriptors[places[once]], asked.likeness, progress)
    one, other = once[pairs.first], once[pairs.second]
    same = labels[one] == labels[other]
    yield from _near_copies(measured, places, linked_groups(one[same], other[same]))
    for place in np.flatnonzero(~same)[np.argsort(-pairs.likeness[~same], kind="stable")].tolist():
        detail = _likeness_text(pairs.likeness[place], pairs.mirrored[place])
        a, b = int(rows[one[place]]), int(rows[other[place]])
        for row, with_row in ((a, b), (b, a)):
            conflicts.setdefault(row, Fault(kinds.CONFLICT, row, detail, with_row))
    yield from conflicts.values()


def _near_copies(
    measured: FaceStatistics, places: npt.NDArray[np.int64], groups: dict[int, list[int]]
) -> Iterator[Fault]:
    """All of a group but the sharpest, those most alike first."""
    found: list[tuple[float, Fault]] = []
    for members in groups.values():
        group = places[np.array(members)]
        kept = group[np.argmin(measured.blur_px[group])]
        others = group[group != kept]
        cosines, mirrored = likeness(measured.descriptors[others], measured.descriptors[[kept] * len(others)])
        for place, cosine, turned in zip(others.tolist(), cosines, mirrored, strict=True):
            detail = _likeness_text(cosine, turned)
            fault = Fault(kinds.NEAR_COPY, int(measured.rows[place]), detail, int(measured.rows[kept]))
            found.append((-float(cosine), fault))
    return (fault for _, fault in sorted(found))


def _likeness_text(cosine: float, mirrored: bool) -> str:
    return f"likeness {cosine:.3f}" + (", mirrored" if mirrored else "")


def _colors(measured: FaceStatistics, colored: npt.NDArray[np.intp], orders: ColorOrders) -> Iterator[Fault]:
    rows, redness = measured.rows[colored], measured.redness[colored]
    for kind, which in ((kinds.SWAPPED, orders.swapped), (kinds.ODD_COLOR, orders.odd)):
        places = np.flatnonzero(which)
        for place in places[np.argsort(redness[places], kind="stable")].tolist():
            yield Fault(kind, int(rows[place]), f"redness {redness[place]:+.2f}")
