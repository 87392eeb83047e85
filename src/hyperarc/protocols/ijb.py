"""IJB-B and IJB-C: verification of pairs of templates, and identification of probe templates in two galleries.

Whitelam et al., CVPRW 2017; Maze et al., ICB 2018; the files and the pooling are those of InsightFace's evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hyperarc.data.face_set import Faces, FaceSet, open_faces
from hyperarc.data.formats.folder_source import FolderSource
from hyperarc.data.formats.landmark_source import LandmarkSource
from hyperarc.errors import DataError
from hyperarc.metrics import (
    Searches,
    cmc,
    insightface_tpir,
    points_at_nearest_far,
    search_gallery,
    tar_at_far,
    tpir_at_fpir,
)
from hyperarc.metrics.inputs import IntArray
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.ijb_files import (
    Subjects,
    TemplateFaces,
    TemplatePairs,
    read_galleries,
    read_landmarks,
    read_subjects,
    read_template_pairs,
    read_templates,
)
from hyperarc.protocols.pair_lists import face_key
from hyperarc.protocols.protocol import Opened, Protocol, protocols
from hyperarc.protocols.result import Conditions, Measured, Number, ResultCurve, Scores
from hyperarc.protocols.sampling import sampled, thinned_roc
from hyperarc.protocols.templates import Templates, pair_scores, pool_templates

FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
FPIRS = (0.01, 0.1)
RANKS = (1, 5, 10)
CURVE_RANKS = 50
_Set = Literal["ijbb", "ijbc"]
_BELOW_ALL = -2.0  # no cosine is
_BEYOND_ALL = np.iinfo(np.int64).max  # no gallery is so large
_GALLERIES = {"ijbb": ("S1", "S2"), "ijbc": ("G1", "G2")}
_TITLES = {"ijbb": "IJB-B", "ijbc": "IJB-C"}


@dataclass(frozen=True)
class Switches:
    """N and D of "N1D1F1" (F is the flip policy of the contract): keep the length, multiply by the detector's score."""

    norm: bool = True
    detector_score: bool = True


class OverTemplates(Protocol):
    """Faces pooled into templates. Faces that are absent are left out of theirs; templates without faces are absent."""

    def __init__(self, name: str, members: TemplateFaces, switches: Switches) -> None:
        self.name = name
        self.members = members
        self.switches = switches

    def faces(self) -> list[str]:
        """Every face of every template."""
        return list(dict.fromkeys(self.members.faces))

    def pooled(self, embedded: Embedded) -> tuple[Templates, tuple[str, ...], Conditions]:
        """The templates that are there, the faces that are absent, and how both came about."""
        absent = embedded.require_most(self.faces(), self.name)
        rows = embedded.rows(self.members.faces)
        there = rows >= 0
        vectors = embedded.vectors if np.array_equal(rows, np.arange(len(embedded))) else embedded.vectors[rows[there]]
        quality = self.members.quality if self.switches.detector_score else None
        pooled = pool_templates(
            vectors,
            self.members.templates[there],
            self.members.media[there],
            norm=self.switches.norm,
            quality=None if quality is None else quality[there],
        )
        every = np.unique(self.members.templates)
        conditions: Conditions = {
            "data": embedded.data,
            "faces": len(self.members.faces),
            "absent_faces": len(absent),
            "templates": len(every),
            "absent_templates": len(every) - len(pooled.numbers),
            "norm_kept": self.switches.norm,
            "detector_score": self.switches.detector_score,
        }
        return pooled, absent, conditions | embedded.conditions()


class TemplateVerification(OverTemplates):
    """1:1. Pairs with an absent template are scored with cosine 0.

    TAR is told twice: at the point of the curve whose FAR is nearest to the target, as InsightFace's script and so most
    published tables have it, and at the laxest threshold whose FAR is at most the target.
    """

    def __init__(self, name: str, members: TemplateFaces, pairs: TemplatePairs, switches: Switches) -> None:
        super().__init__(name, members, switches)
        self.template_pairs = pairs

    def judge(self, embedded: Embedded) -> Measured:
        """Pool, score every pair, count."""
        pooled, absent, conditions = self.pooled(embedded)
        pairs = self.template_pairs
        scores = pair_scores(pooled, pairs.first, pairs.second)
        genuine, impostor = scores[pairs.same], scores[~pairs.same]
        nearest = points_at_nearest_far(genuine, impostor, FARS)
        script = [
            Number(f"TAR at FAR {far:g}", tar, note=f"FAR nearest to the target, {taken:.3g}, as in published tables")
            for far, tar, taken in zip(FARS, nearest.tar.tolist(), nearest.far.tolist(), strict=True)
        ]
        strict = [
            Number(f"TAR at FAR <= {far:g}", tar_at_far(genuine, impostor, far), note=_support(far, impostor.size))
            for far in FARS
        ]
        counts = {"pairs": len(scores), "genuine_pairs": int(pairs.same.sum()), "impostor_pairs": int(impostor.size)}
        gone = (pooled.rows(pairs.first) < 0) | (pooled.rows(pairs.second) < 0)
        told = script[2:3] + script[:2] + script[3:]  # 1e-4 is what everybody compares
        return Measured(
            self.name,
            (*told, *strict),
            conditions | counts | {"absent_pairs": int(gone.sum())},
            curves=(thinned_roc(genuine, impostor),),
            scores=Scores(sampled(genuine), sampled(impostor)),
            absent_faces=absent,
            told=1,
        )


class TemplateIdentification(OverTemplates):
    """1:N, by InsightFace's script and by NIST's definition.

    The script joins both galleries to one closed set. NIST's definition searches each gallery by itself, where probes
    of people who are not in it are non-mated; the numbers of the galleries are averaged. A probe that is absent finds
    nobody: a miss, and never a false alarm. A gallery template that is absent is found by nobody.
    """

    def __init__(
        self, name: str, members: TemplateFaces, galleries: dict[str, Subjects], probes: Subjects, switches: Switches
    ) -> None:
        super().__init__(name, members, switches)
        self.galleries = galleries
        self.probes = probes

    def judge(self, embedded: Embedded) -> Measured:
        """Pool, search every probe in the galleries, count."""
        pooled, absent, conditions = self.pooled(embedded)
        both = Subjects(
            np.concatenate([gallery.templates for gallery in self.galleries.values()]),
            np.concatenate([gallery.subjects for gallery in self.galleries.values()]),
            "both galleries",
        )
        numbers, curve = self._script(pooled, both)
        each = [self._strict(pooled, gallery) for gallery in self.galleries.values()]
        strict = [
            Number(one.name, float(np.mean([numbers[place].value for numbers in each])), note=one.note)
            for place, one in enumerate(each[0])
        ]
        named = zip(self.galleries, each, strict=True)
        details = {"by_gallery": {name: [number.as_dict() for number in one] for name, one in named}}
        counts: Conditions = {"probes": len(self.probes.templates)}
        counts |= {f"gallery_{name}": len(gallery.templates) for name, gallery in self.galleries.items()}
        return Measured(
            self.name, (*numbers, *strict), conditions | counts, curves=(curve,), absent_faces=absent, details=details
        )

    def _script(self, pooled: Templates, gallery: Subjects) -> tuple[list[Number], ResultCurve]:
        shares = cmc(self.searches(pooled, gallery), range(1, CURVE_RANKS + 1))
        note = "both galleries as one, closed set, as InsightFace's script"
        ranks = [Number(f"rank-{rank}, both galleries", float(shares[rank - 1]), note=note) for rank in RANKS]
        probes, known = _present(pooled, self.probes), _present(pooled, gallery)
        mated = np.isin(probes.subjects, known.subjects)
        here = float(mated.sum() / np.isin(self.probes.subjects, gallery.subjects).sum())
        asked, subjects = pooled.units[probes.rows[mated]], probes.subjects[mated]
        points = insightface_tpir(asked, pooled.units[known.rows], subjects, known.subjects, fars=FPIRS)
        note = "mean false candidates a search, not a share of searches; as InsightFace's script"
        tpirs = [Number(f"script's TPIR@FPIR={one.far:g}", one.tpir * here, note=note) for one in points]
        return [*ranks, *tpirs], ResultCurve("cmc", np.arange(1.0, CURVE_RANKS + 1), shares)

    def _strict(self, pooled: Templates, gallery: Subjects) -> list[Number]:
        found = self.searches(pooled, gallery)
        note = "mean over the galleries, each searched by itself"
        shares = zip(RANKS, cmc(found, RANKS).tolist(), strict=True)
        ranks = [Number(f"rank-{rank}, each gallery", share, note=note) for rank, share in shares]
        if (found.rank > 0).all():
            return ranks
        note = "NIST: share of non-mated searches with a false alarm; mate at rank 1; mean over the galleries"
        tpirs = ((fpir, tpir_at_fpir(found, fpir).tpir) for fpir in FPIRS)
        return [*ranks, *(Number(f"TPIR@FPIR={fpir:g}", tpir, note=note) for fpir, tpir in tpirs)]

    def searches(self, pooled: Templates, gallery: Subjects) -> Searches:
        """Every probe in one gallery; with an absent probe or mate nothing is found, whatever the threshold."""
        probes, known = _present(pooled, self.probes), _present(pooled, gallery)
        found = search_gallery(pooled.units[probes.rows], pooled.units[known.rows], probes.subjects, known.subjects)
        count = len(self.probes.templates)
        mate, other, rank = np.full(count, -np.inf), np.full(count, -np.inf), np.zeros(count, np.int64)
        mate[probes.places], other[probes.places], rank[probes.places] = found.mate, found.other, found.rank
        missed = np.isin(self.probes.subjects, gallery.subjects) & (rank == 0)
        mate[missed], rank[missed] = _BELOW_ALL, _BEYOND_ALL
        return Searches(mate, other, rank)


@dataclass(frozen=True, eq=False)
class _Side:
    """The templates of a gallery or of probes that are there: their places in it, their rows, their subjects."""

    places: IntArray
    rows: IntArray
    subjects: IntArray


def _present(pooled: Templates, side: Subjects) -> _Side:
    rows = pooled.rows(side.templates)
    places = np.flatnonzero(rows >= 0)
    if not len(places):
        raise DataError("none of its templates has a face", where=side.where)
    return _Side(places, rows[places], side.subjects[places])


def _support(far: float, impostors: int) -> str:
    return "" if 1.0 / impostors <= far else "too few impostor pairs for this FAR"


def open_crops(faces: Faces) -> FaceSet:
    """Faces of any kind; a folder may hold its pictures loosely, without folders of people."""
    if isinstance(faces, FaceSet) or not faces.is_dir() or any(entry.is_dir() for entry in faces.iterdir()):
        return open_faces(faces)
    source = FolderSource(faces, loose=faces.name)
    return FaceSet((source,), source.scan())


def _open(faces: Faces, meta: Path, name: str, aligned: bool) -> tuple[FaceSet, TemplateFaces]:
    found = open_crops(faces)
    if not aligned and not isinstance(faces, FaceSet):  # embeddings are of aligned crops
        names, points, _ = read_landmarks(meta, name)
        place = {face: row for row, face in enumerate(names)}
        keys = found.manifest.column("face").tolist()
        rows = {key: place.get(face_key(key.rpartition("/")[2])) for key in keys}
        cut = LandmarkSource(found.sources[0], {key: points[row] for key, row in rows.items() if row is not None})
        found = FaceSet((cut,), cut.scan())
    return found, read_templates(meta, name)


def _verification(faces: Faces, files: Path, name: _Set, switches: Switches, aligned: bool) -> Opened:
    found, members = _open(faces, files, name, aligned)
    pairs = read_template_pairs(files, name, np.unique(members.templates))
    return Opened(TemplateVerification(f"{_TITLES[name]} 1:1", members, pairs, switches), found)


def _identification(faces: Faces, files: Path, name: _Set, switches: Switches, aligned: bool) -> Opened:
    found, members = _open(faces, files, name, aligned)
    known = np.unique(members.templates)
    galleries = read_galleries(files, name, _GALLERIES[name], known)
    probes = read_subjects(files / f"{name}_1N_probe_mixed.csv", known)
    return Opened(TemplateIdentification(f"{_TITLES[name]} 1:N", members, galleries, probes, switches), found)


@protocols.register("ijbb")
def open_ijbb(
    faces: Faces, files: Path, *, norm: bool = True, detector_score: bool = True, aligned: bool = False
) -> Opened:
    """IJB-B 1:1: ``loose_crop`` and the folder ``meta``."""
    return _verification(faces, files, "ijbb", Switches(norm, detector_score), aligned)


@protocols.register("ijbc")
def open_ijbc(
    faces: Faces, files: Path, *, norm: bool = True, detector_score: bool = True, aligned: bool = False
) -> Opened:
    """IJB-C 1:1: ``loose_crop`` and the folder ``meta``."""
    return _verification(faces, files, "ijbc", Switches(norm, detector_score), aligned)


@protocols.register("ijbb_1n")
def open_ijbb_1n(
    faces: Faces, files: Path, *, norm: bool = True, detector_score: bool = True, aligned: bool = False
) -> Opened:
    """IJB-B 1:N, mixed probes."""
    return _identification(faces, files, "ijbb", Switches(norm, detector_score), aligned)


@protocols.register("ijbc_1n")
def open_ijbc_1n(
    faces: Faces, files: Path, *, norm: bool = True, detector_score: bool = True, aligned: bool = False
) -> Opened:
    """IJB-C 1:N, mixed probes."""
    return _identification(faces, files, "ijbc", Switches(norm, detector_score), aligned)
