"""IJB-A: verification of pairs of templates and open-set identification, each over ten splits.

Klare et al.: "Pushing the Frontiers of Unconstrained Face Detection and Recognition: IARPA Janus Benchmark A", CVPR
2015. Every number is measured in each split by itself; told are mean and (population) standard deviation over splits.
Templates are pooled as those of IJB-B and IJB-C, without detector scores, of which the lists have none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyperarc.data.face_set import Faces
from hyperarc.errors import unknown_name
from hyperarc.metrics import cmc, tar_at_far, tpir_at_fpir
from hyperarc.metrics.inputs import FloatArray
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.ijb import (
    CURVE_RANKS,
    OverTemplates,
    Switches,
    TemplateIdentification,
    TemplateVerification,
    open_crops,
)
from hyperarc.protocols.ijba_files import (
    NamedBy,
    gallery_and_probes,
    members_of,
    read_comparisons,
    read_listed,
    shared_pictures,
    split_folders,
)
from hyperarc.protocols.protocol import Opened, Protocol, protocols
from hyperarc.protocols.result import Conditions, Measured, Number, ResultCurve, Scores
from hyperarc.protocols.sampling import sampled
from hyperarc.protocols.templates import pair_scores

FARS = (1e-3, 1e-2, 1e-1)
FPIRS = (0.01, 0.1)
RANKS = (1, 5, 10)
_CURVE_FARS = np.geomspace(1e-4, 1.0, 81)
_NAMED_BY = ("file", "sighting")


@dataclass(frozen=True)
class _Judged:
    """One split: its numbers by name, its counts, and y of its curve."""

    numbers: Mapping[str, float]
    counts: Mapping[str, int]
    curve: FloatArray
    scores: tuple[FloatArray, FloatArray] | None = None


class _OverSplits(Protocol):
    """Numbers of splits, as mean and standard deviation."""

    def __init__(self, name: str, splits: Sequence[OverTemplates]) -> None:
        self.name = name
        self.splits = splits

    def faces(self) -> list[str]:
        """Every face of every template of every split."""
        return list(dict.fromkeys(face for split in self.splits for face in split.members.faces))

    def _measured(self, embedded: Embedded, judged: Sequence[_Judged], curve: ResultCurve, note: str) -> Measured:
        """Numbers over splits; conditions count distinct faces, and templates and comparisons of all splits."""
        values = {name: [one.numbers[name] for one in judged] for name in judged[0].numbers}
        numbers = tuple(
            Number(name, float(np.mean(of)), std=float(np.std(of)), note=f"mean over {len(of)} splits; {note}")
            for name, of in values.items()
        )
        faces = self.faces()
        absent = embedded.require_most(faces, self.name)
        conditions: Conditions = {"data": embedded.data, "splits": len(judged), "faces": len(faces)}
        conditions |= {"absent_faces": len(absent), "norm_kept": self.splits[0].switches.norm}
        conditions |= {name: sum(one.counts[name] for one in judged) for name in judged[0].counts}
        details: dict[str, Any] = {"by_split": [dict(one.numbers) | dict(one.counts) for one in judged]}
        parts = [one.scores for one in judged if one.scores is not None]
        pairs = [np.concatenate(kind) for kind in zip(*parts, strict=True)]
        return Measured(
            self.name,
            numbers,
            conditions | embedded.conditions(),
            curves=(curve,),
            scores=Scores(sampled(pairs[0]), sampled(pairs[1])) if pairs else None,
            absent_faces=absent,
            details=details,
        )


class SplitVerification(_OverSplits):
    """1:1 over splits. Pairs with an absent template are scored with cosine 0.

    TAR is that of the laxest threshold whose FAR in the split is at most the target.
    """

    def __init__(self, name: str, splits: Sequence[TemplateVerification]) -> None:
        super().__init__(name, splits)
        self._verifications = splits

    def judge(self, embedded: Embedded) -> Measured:
        """Every split by itself, then mean and standard deviation."""
        judged = [_verified(split, embedded) for split in self._verifications]
        curve = ResultCurve("roc", _CURVE_FARS, np.mean([one.curve for one in judged], axis=0))
        fewest = min(one.counts["impostor_pairs"] for one in judged)
        note = "FAR at most the target"
        if fewest * FARS[0] < 1:
            note += f"; a split has only {fewest} impostor pairs, too few for FAR {FARS[0]:g}"
        return self._measured(embedded, judged, curve, note)


class SplitIdentification(_OverSplits):
    """1:N over splits, by NIST's definition; in each split some subjects of the probes are not in the gallery.

    A probe that is absent finds nobody: a miss, and never a false alarm. A gallery template that is absent is found by
    nobody.
    """

    def __init__(self, name: str, splits: Sequence[TemplateIdentification]) -> None:
        super().__init__(name, splits)
        self._identifications = splits

    def judge(self, embedded: Embedded) -> Measured:
        """Every split by itself, then mean and standard deviation."""
        judged = [_identified(split, embedded) for split in self._identifications]
        curve = ResultCurve("cmc", np.arange(1.0, CURVE_RANKS + 1), np.mean([one.curve for one in judged], axis=0))
        return self._measured(embedded, judged, curve, "TPIR as NIST: mate at rank 1, FPIR a share of searches")


def _verified(split: TemplateVerification, embedded: Embedded) -> _Judged:
    pooled, _, conditions = split.pooled(embedded)
    pairs = split.template_pairs
    scores = pair_scores(pooled, pairs.first, pairs.second)
    genuine, impostor = scores[pairs.same], scores[~pairs.same]
    gone = (pooled.rows(pairs.first) < 0) | (pooled.rows(pairs.second) < 0)
    counts = _template_counts(conditions) | {"pairs": len(scores), "genuine_pairs": int(genuine.size)}
    counts |= {"impostor_pairs": int(impostor.size), "absent_pairs": int(gone.sum())}
    numbers = {f"TAR at FAR {far:g}": tar_at_far(genuine, impostor, far) for far in FARS}
    curve = np.array([tar_at_far(genuine, impostor, far) for far in _CURVE_FARS.tolist()])
    return _Judged(numbers, counts, curve, (genuine, impostor))


def _identified(split: TemplateIdentification, embedded: Embedded) -> _Judged:
    pooled, _, conditions = split.pooled(embedded)
    (gallery,) = split.galleries.values()
    found = split.searches(pooled, gallery)
    shares = cmc(found, range(1, CURVE_RANKS + 1))
    numbers = {f"rank-{rank}": float(shares[rank - 1]) for rank in RANKS}
    numbers |= {f"TPIR@FPIR={fpir:g}": tpir_at_fpir(found, fpir).tpir for fpir in FPIRS}
    counts = _template_counts(conditions) | {"gallery_templates": len(gallery.templates)}
    counts |= {"probes": len(found.rank), "non_mated_probes": int((found.rank == 0).sum())}
    return _Judged(numbers, counts, shares)


def _template_counts(conditions: Conditions) -> dict[str, int]:
    return {name: int(conditions[name]) for name in ("templates", "absent_templates")}


def _sets(files: Path, name: str) -> Path:
    """The folder of the splits, or its parent."""
    return files / name if (files / name).is_dir() else files


def _named_by(word: str) -> NamedBy:
    if word == "file":
        return "file"
    if word == "sighting":
        return "sighting"
    raise unknown_name("named_by", word, _NAMED_BY)


@protocols.register("ijba")
def open_ijba(faces: Faces, files: Path, *, norm: bool = True, named_by: str = "file") -> Opened:
    """IJB-A 1:1: aligned crops named after their pictures or their sightings, and the folder ``IJB-A_11_sets``."""
    folders = split_folders(_sets(files, "IJB-A_11_sets"))
    lists = [read_listed(folder / f"verify_metadata_{number}.csv") for number, folder in folders]
    shared, kind = shared_pictures(lists), _named_by(named_by)
    splits = []
    for (number, folder), listed in zip(folders, lists, strict=True):
        pairs = read_comparisons(folder / f"verify_comparisons_{number}.csv", listed.owners())
        members = members_of(listed, kind, shared)
        splits.append(TemplateVerification(f"split {number}", members, pairs, Switches(norm, False)))
    return Opened(SplitVerification("IJB-A 1:1", splits), open_crops(faces))


@protocols.register("ijba_1n")
def open_ijba_1n(faces: Faces, files: Path, *, norm: bool = True, named_by: str = "file") -> Opened:
    """IJB-A 1:N: crops as for 1:1, and the folder ``IJB-A_1N_sets``."""
    folders = split_folders(_sets(files, "IJB-A_1N_sets"))
    galleries = [read_listed(folder / f"search_gallery_{number}.csv") for number, folder in folders]
    probe_lists = [read_listed(folder / f"search_probe_{number}.csv") for number, folder in folders]
    shared, kind = shared_pictures(galleries + probe_lists), _named_by(named_by)
    splits = []
    for (number, _), *both in zip(folders, galleries, probe_lists, strict=True):
        joined, gallery, probes = gallery_and_probes(*both)
        members = members_of(joined, kind, shared)
        splits.append(
            TemplateIdentification(f"split {number}", members, {"gallery": gallery}, probes, Switches(norm, False))
        )
    return Opened(SplitIdentification("IJB-A 1:N", splits), open_crops(faces))
