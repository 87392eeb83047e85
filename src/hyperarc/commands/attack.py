"""``hyperarc invert --attack``: stored templates inverted, and how many of the faces pass for their people."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.artifact import open_artifact
from hyperarc.commands.attack_ways import ALL, Way, ways_of
from hyperarc.commands.invert_judgement import open_judge, score
from hyperarc.commands.invert_model import Machine, name_of, open_model, with_precision
from hyperarc.commands.invert_real import MOST_FACES
from hyperarc.commands.invert_search import How, Pictures, search_faces
from hyperarc.commands.invert_targets import EMBEDDINGS, Targets, embed_rows, file_names, spread
from hyperarc.commands.show import Show
from hyperarc.contract import require_same
from hyperarc.data.face_set import FaceSet, open_faces
from hyperarc.data.formats.embedding_source import EmbeddingFile
from hyperarc.encoder import Encoder
from hyperarc.errors import ArtifactError, ContractError, DataError, UsageError
from hyperarc.files import require_absent, write_beside
from hyperarc.inversion.leakage import FAR, Leakage, Photos, Usefulness, leakage, usefulness
from hyperarc.inversion.protection import Templates
from hyperarc.metrics import pairs_needed, sample_pairs
from hyperarc.metrics.inputs import embedding_matrix
from hyperarc.metrics.verification import highest_rejected
from hyperarc.protocols.face_rows import rows_by_key
from hyperarc.protocols.pair_lists import face_key

FACTS, REPORT, SHEET = "attack.json", "report.html", "attack.png"
_MOST_SEEN, _MOST_PAIRS = 2_000, 1_000_000  # photos and pairs of the judge's threshold


@dataclass(frozen=True)
class Attacking:
    """What is asked for.

    Attributes:
        artifact: whose templates are attacked; gallery: a file of them, as ``hyperarc embed`` writes it.
        photos: the faces that the templates were made of, as :func:`open_faces` opens them.
        judge: artifact of another model.
        how: settings of the search; machine: what it runs on.
        protect: ways of storing, see :func:`ways_of`.
        limit: people attacked at most, evenly spread over all; one template of each.
        run: folder for results; None names one below runs/.
    """

    artifact: Path
    gallery: Path
    photos: str
    judge: Path
    how: How
    machine: Machine = field(default_factory=Machine)
    protect: str = ALL
    limit: int | None = None
    run: Path | None = None


@dataclass(frozen=True, eq=False)
class Gallery:
    """Stored templates, the photos they were made of, and those that are attacked.

    Attributes:
        name: of the file.
        templates: raw [n, d]; labels: [n] who each is, a place in ``people``.
        photos: real faces; photo: [n] row of each template's own photo.
        attacked: rows of templates, one a person.
    """

    name: str
    templates: Templates
    people: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    photos: FaceSet
    photo: npt.NDArray[np.int64]
    attacked: npt.NDArray[np.int64]

    def judged_rows(self) -> npt.NDArray[np.int64]:
        """Templates whose photos the judge sees: those attacked, others of the same people, some of anybody."""
        chosen = [self.attacked]
        for row in self.attacked.tolist():
            own = np.flatnonzero(self.labels == self.labels[row])
            chosen.append(own[spread(len(own), MOST_FACES)])
        return np.unique(np.concatenate([*chosen, spread(len(self.labels), _MOST_SEEN)]))

    def known(self, stored: Templates) -> tuple[Templates, Templates]:
        """Plain and stored templates of people who are not attacked."""
        free = ~np.isin(self.labels, self.labels[self.attacked])
        return self.templates[free], stored[free]


@dataclass(frozen=True, eq=False)
class Attacked:
    """What one way of storing came to.

    Attributes:
        way: of storing.
        faces: uint8 [N, H, W, 3] of the people attacked.
        leakage: under the judge; use: of stored templates; linked: between two databases.
    """

    way: Way
    faces: Pictures
    leakage: Leakage
    use: Usefulness
    linked: Usefulness

    def as_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "protection": self.way.name,
            "leakage": self.leakage.as_dict(),
            "verification": self.use.as_dict(),
            "linkage": self.linked.as_dict(),
        }


@dataclass(frozen=True, eq=False)
class Threshold:
    """A judge's cosine of acceptance, and where it is from."""

    cosine: float
    told: str


def attack(job: Attacking, show: Show) -> tuple[list[Attacked], Gallery, dict[str, Any]]:
    """Attack a gallery under every way of storing it, judge the faces and write the facts.

    Raises:
        UsageError: the judge is the attacked model, or a way of storing that is none.
        ContractError: templates of another model.
        DataError: photos that are not there, fewer than two people.
    """
    begun = time.monotonic()
    _, model = open_model(job.artifact, job.machine)
    judge = open_judge(job.judge, model)
    ways = ways_of(job.protect, model.contract.embedding_dim, job.how.search.seed)
    gallery = open_gallery(job, model, show)
    ways = _possible(ways, gallery, job, show)
    folder = job.run or Path("runs") / f"invert-{name_of(job.artifact)}-attack"
    if not any(folder.glob("search-*")) and not any(folder.glob(".search-*.unfinished")):
        for name in (FACTS, REPORT, SHEET):
            require_absent(folder / name)
    rows = gallery.judged_rows()
    vectors, read = embed_rows(gallery.photos, gallery.photo[rows], judge, f"judging {gallery.photos.name}", show)
    if len(read) < len(rows):
        raise DataError("photos of attacked people cannot be read", where=gallery.photos.name, mend="leave them out")
    photos = Photos(vectors, gallery.labels[rows])
    threshold = judge_threshold(job.judge, photos)
    show.note(f"the judge accepts from cosine {threshold.cosine:.3f} on: {threshold.told}")
    own = np.searchsorted(rows, gallery.attacked)
    found = []
    for way in ways:
        stored = way.protection(gallery.templates)
        faces = _inverted(way, stored, gallery, (job, model, folder), show)
        seen = judge.embed(faces).vectors
        leaks = leakage(seen, photos, own, threshold.cosine)
        kept = usefulness(stored, gallery.labels, far=FAR)
        linked = usefulness(stored, gallery.labels, way.other(gallery.templates), far=FAR)
        found.append(Attacked(way, faces, leaks, kept, linked))
    facts = _facts(job, gallery, threshold, found) | {"seconds": round(time.monotonic() - begun, 1)}
    facts |= {"run": str(folder), "json": str(folder / FACTS)}
    facts |= {"contracts": {"model": model.contract.digest, "judge": judge.contract.digest}}
    with write_beside(folder / FACTS) as beside:
        beside.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return found, gallery, facts


def open_gallery(job: Attacking, model: Encoder, show: Show) -> Gallery:
    """Templates and photos, and whom to attack: those with most photos to compare with come as they come.

    Raises:
        ContractError: templates of another model. DataError: none of the photos is there, fewer than two people.
    """
    file = EmbeddingFile(job.gallery)
    require_same(model.contract, file.contract, where=job.gallery)
    manifest, photos = file.scan(), open_faces(job.photos).kept()
    keys = [face_key(key) for key in manifest.column("face").tolist()]
    row_of = rows_by_key(photos, keys)
    place = np.array([row_of.get(key, -1) for key in keys], np.int64)
    there = np.flatnonzero(place >= 0)
    if len(there) < len(keys):
        show.note(f"{len(keys) - len(there):,} of {len(keys):,} templates have no photo in {photos.name}; left out")
    people, labels = np.unique(manifest.column("person")[there].astype(str), return_inverse=True)
    if len(people) < 2:
        raise DataError(
            f"expected photos of at least two people of the gallery, got those of {len(people)}",
            where=job.photos,
            mend="name the faces that were embedded, as hyperarc embed was given them",
        )
    first = np.unique(labels, return_index=True)[1]
    several = first[np.bincount(labels)[labels[first]] > 1]  # with photos that the template is not of
    chosen = several if len(several) > 1 else first
    attacked = np.sort(chosen[spread(len(chosen), job.limit)])
    return Gallery(
        job.gallery.name, file.vectors(there), tuple(people.tolist()), labels, photos, place[there], attacked
    )


def judge_threshold(judge: Path, photos: Photos) -> Threshold:
    """From which cosine on the judge accepts at the false accept rate: of its calibration, else of these photos."""
    with suppress(ArtifactError, ContractError, DataError):  # none, of other embeddings, or without this rate
        return Threshold(open_artifact(judge).calibration().threshold(FAR), f"FAR {FAR:g} of its calibration")
    _, pairs = sample_pairs(photos.labels, _MOST_PAIRS)
    units = embedding_matrix(photos.vectors, "photos")
    cosines = np.einsum("nd,nd->n", units[pairs.first], units[pairs.second], dtype=np.float64)
    told = f"FAR {FAR:g} of {len(cosines):,} pairs of two people among the photos"
    if len(cosines) < pairs_needed(FAR, rule=3):
        told += f"; too few to bound that rate, which takes {pairs_needed(FAR, rule=3):,}"
    return Threshold(float(np.nextafter(highest_rejected(cosines, FAR), np.inf)), told)


def closing_text(facts: dict[str, Any]) -> str:
    """What was found, in words."""
    rows = [("stored as", "leaks (type I)", "(type II)", "verifies", "links")]
    for told in facts["ways"]:
        leaks = told["leakage"]
        shares = (leaks["same_photo"], leaks["other_photos"], told["verification"]["tar"], told["linkage"]["tar"])
        rows.append((told["protection"], *("–" if one is None else f"{100 * one['share']:.1f} %" for one in shares)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, f"report {facts['report']}"])


def _possible(ways: list[Way], gallery: Gallery, job: Attacking, show: Show) -> list[Way]:
    """Those for which the gallery has enough people whom the attacker may know."""
    known = len(gallery.known(gallery.templates)[0])
    beyond = [way for way in ways if way.known_pairs > known]
    if beyond and job.protect != ALL:
        raise UsageError(
            f"{beyond[0].known_pairs} pairs cannot be known: the gallery has {known} templates of people not attacked",
            where="--protect",
            mend="attack fewer people (--limit)",
        )
    for way in beyond:
        whom = "all" if not known else "nearly all"
        show.note(f"left out: {way.name}; {whom} people of the gallery are attacked, add --limit")
    return [way for way in ways if way not in beyond]


def _inverted(
    way: Way, stored: Templates, gallery: Gallery, about: tuple[Attacking, Encoder, Path], show: Show
) -> Pictures:
    """The best face of each template attacked."""
    job, model, folder = about
    people = tuple(gallery.people[label] for label in gallery.labels[gallery.attacked].tolist())
    vectors = way.attacked(stored, gallery.attacked, gallery.known(stored))
    targets = Targets(EMBEDDINGS, file_names(people), people, vectors=vectors)
    show.note(f"stored as {way.name}: {len(targets)} templates")
    name = re.sub(r"[^\w]+", "-", way.name).strip("-")
    how = with_precision(job.how, job.machine, model)
    pictures = search_faces(model, targets, how, folder / f"search-{name}", show)
    return score(model, targets, pictures, show).faces


def _facts(job: Attacking, gallery: Gallery, threshold: Threshold, found: Sequence[Attacked]) -> dict[str, Any]:
    facts: dict[str, Any] = {"artifact": str(job.artifact), "gallery": gallery.name, "judge": str(job.judge)}
    facts |= {"templates": len(gallery.templates), "people": len(gallery.people), "attacked": len(gallery.attacked)}
    facts |= {"photos": gallery.photos.name, "far": FAR}
    facts |= {"threshold": threshold.cosine, "threshold_from": threshold.told}
    facts |= {"search": asdict(job.how.search), "priors": asdict(job.how.priors), "tries": job.how.tries}
    facts |= {"batch": job.how.batch, "device": job.machine.device}
    return facts | {"ways": [one.as_dict() for one in found]}
