"""What names and embeddings say of a set of faces: people who stand in it twice, and copies that pixels do not show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hyperarc.artifact import open_artifact
from hyperarc.commands.show import Show
from hyperarc.data.checks.faults import Fault
from hyperarc.data.checks.kinds import CONFLICT, COPY, NEAR_COPY
from hyperarc.data.checks.statistics import FaceStatistics
from hyperarc.data.crops import cut, read_crops
from hyperarc.data.face_set import FaceSet
from hyperarc.data.findings import Finding, finding
from hyperarc.encoder import Encoder
from hyperarc.faces.image import Pixels
from hyperarc.purification.centers import person_centers
from hyperarc.purification.copies import near_copies
from hyperarc.purification.limit import FEWEST_PEOPLE
from hyperarc.purification.people import Match, People
from hyperarc.purification.same_people import same_people


@dataclass(frozen=True)
class Artifact:
    """Whose embeddings are compared, and where they are made."""

    path: Path
    device: str = "cpu"


@dataclass(frozen=True, eq=False)
class Alike:
    """What comparing came to.

    Attributes:
        faults: near copies and label conflicts that pixels did not show.
        matches: people, places among ``Manifest.people``, who are probably one.
        findings: what was not compared.
    """

    faults: list[Fault]
    matches: tuple[Match, ...]
    findings: tuple[Finding, ...] = ()


def compare_faces(
    faces: FaceSet, measured: FaceStatistics, known: Sequence[Fault], artifact: Artifact | None, show: Show
) -> Alike:
    """Compare names and, with an artifact, the embeddings of all faces that fit its contract.

    Embeddings take 4 d bytes a face, comparing all of them N^2 d steps.
    """
    names = faces.manifest.people
    if artifact is None:
        return Alike([], same_people(People(names)).matches)
    encoder = open_artifact(artifact.path).encoder(device=artifact.device)
    size = encoder.contract.width, encoder.contract.height
    fits = (measured.width == size[0]) & (measured.height == size[1])
    rows = measured.rows[fits]
    other = faces.manifest.faces(measured.rows[measured.readable & ~fits])
    told = (finding(f"faces that are not {size[0]} x {size[1]}, not compared", other),) if other else ()
    if not len(rows):
        return Alike([], same_people(People(names)).matches, told)
    vectors = _embedded(faces, rows, encoder, show)
    with show.progress("comparing faces") as tell:
        pairs = near_copies(vectors, device=artifact.device, progress=tell)
    faults = _faults(faces, rows[np.stack([pairs.first, pairs.second])], pairs.cosines, known)
    labels = faces.manifest.relabelled().labels[rows]
    enough = len(np.unique(labels)) >= FEWEST_PEOPLE  # to read a limit off their cosines
    centers = person_centers(vectors, labels, num_people=len(names)) if enough else None
    with show.progress("comparing people") as tell:
        return Alike(faults, same_people(People(names, centers), progress=tell).matches, told)


def twin_words(match: Match) -> str:
    """Why two people may be one, in words."""
    words = [word for word, true in (("looks like", match.looks_alike), ("named like", match.likeness > 0.0)) if true]
    return " and ".join(words)


def twin_text(match: Match) -> str:
    """The same with their cosine, where there is one."""
    return twin_words(match) + ("" if math.isnan(match.cosine) else f", cosine {match.cosine:.2f}")


def _embedded(
    faces: FaceSet, rows: npt.NDArray[np.int64], encoder: Encoder, show: Show
) -> npt.NDArray[np.float32]:
    done = 0
    with show.progress("embedding faces") as tell:

        def advance(count: int) -> None:
            nonlocal done
            done += count
            tell(done, len(rows))

        return encoder.embed_batches(_crops(faces, rows, encoder), advance).vectors


def _crops(faces: FaceSet, rows: npt.NDArray[np.int64], encoder: Encoder) -> Iterator[Pixels]:
    with closing(read_crops(faces.reader, cut(rows, encoder.batch_size), encoder.contract, threads=2)) as batches:
        for batch in batches:
            for error in batch.unreadable.values():  # it could be read a moment ago
                raise error
            yield batch.crops


def _faults(
    faces: FaceSet, pairs: npt.NDArray[np.int64], cosines: npt.NDArray[np.float32], known: Sequence[Fault]
) -> list[Fault]:
    """A fault of the later face of each pair of one person, and of both faces of two; each face once a kind."""
    copies = {fault.row for fault in known if fault.kind in (COPY, NEAR_COPY)}
    conflicts = {fault.row for fault in known if fault.kind == CONFLICT}
    labels, found = faces.manifest.labels, []
    for (first, second), cosine in zip(pairs.T.tolist(), cosines.tolist(), strict=True):
        text = f"cosine {cosine:.3f}"
        if labels[first] != labels[second]:
            both = Fault(CONFLICT, first, text, second), Fault(CONFLICT, second, text, first)
            found += [fault for fault in both if fault.row not in conflicts]
            conflicts |= {first, second}
        elif not {first, second} & copies:  # a copy of a copy: whoever is left of the group stays
            copies.add(second)
            found.append(Fault(NEAR_COPY, second, text, first))
    return found
