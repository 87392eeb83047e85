"""``hyperarc calibrate``: thresholds and probabilities for an artifact, measured on pairs of faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyperarc.artifact import open_artifact
from hyperarc.artifact.calibration import require_uncalibrated, write_calibration
from hyperarc.artifact.card import write_calibrated_card
from hyperarc.commands.evaluate import evaluation_of
from hyperarc.commands.judgement import EmbeddedProtocol, embed_protocol, warn_of_closeness
from hyperarc.commands.show import Show
from hyperarc.data.face_set import FaceSet
from hyperarc.errors import DataError, UsageError
from hyperarc.faces.image import Pixels
from hyperarc.metrics.all_pairs import LabeledEmbeddings
from hyperarc.protocols.calibration import Asked, Calibrated, Everyone, calibrate
from hyperarc.protocols.people_pairs import ScoredPeople, score_people
from hyperarc.protocols.protocol import open_protocol
from hyperarc.protocols.result import Conditions

_PACK = ".bin"


@dataclass(frozen=True)
class Job:
    """What is calibrated, by what.

    Attributes:
        artifact: folder of the model.
        pairs: fields of an evaluation (protocol, faces, pairs, seed, arguments), None meaning not given.
        asked: rates and map.
        all_pairs: thresholds from all pairs of the faces, instead of the protocol's alone.
        device: it runs on.
        force: replaces a calibration that is there.
    """

    artifact: Path
    pairs: Mapping[str, Any]
    asked: Asked
    all_pairs: bool = False
    device: str = "cpu"
    force: bool = False


@dataclass(frozen=True)
class Done:
    """What came of it, and the faces for the page's pictures."""

    calibrated: Calibrated
    faces: FaceSet
    row_of: dict[str, int]
    path: Path

    def image(self, key: str) -> Pixels:
        """The crop of a face."""
        return self.faces.image(self.row_of[key])


def calibrate_artifact(job: Job, show: Show) -> Done:
    """Measure thresholds and probabilities and write them into the artifact.

    Raises:
        HyperArcError: the artifact is calibrated already.
        UsageError: no protocol that compares pairs of faces. DataError: what the pairs lack is said.
    """
    artifact = open_artifact(job.artifact)
    if not job.force:
        require_uncalibrated(job.artifact)
    evaluation = evaluation_of({**job.pairs, "protocol": _protocol_of(job.pairs)})
    opened = open_protocol(evaluation)
    pairs = opened.protocol.pairs
    if pairs is None:
        what = f"protocol {opened.protocol.name} is no list of pairs of faces"
        raise UsageError(what, mend="give one that is, such as lfw or folder")
    embedded = embed_protocol(artifact.encoder(device=job.device), opened, show, everyone=job.all_pairs)
    labels = embedded.faces.manifest.labels
    scored = score_people(pairs, embedded.embedded, {key: int(labels[row]) for key, row in embedded.row_of.items()})
    conditions: Conditions = {
        "protocol": evaluation.protocol,
        "list": pairs.name,
        "data": embedded.embedded.data,
        "seed": job.asked.seed,
        **embedded.embedded.conditions(),
        **embedded.warn_of_colors(show),
    }
    with show.progress("comparing all pairs") as tell:
        everyone = _everyone(embedded, scored, tell) if job.all_pairs else None
        calibrated = calibrate(scored, job.asked, artifact.contract, conditions, everyone)
    warn_of_closeness(calibrated.pairs.impostor, show)
    for warning in (*calibrated.warnings, *([] if job.all_pairs else _more_pairs(embedded, scored, calibrated))):
        show.note(f"warning: {warning}")
    path = write_calibration(job.artifact, calibrated.calibration)
    write_calibrated_card(job.artifact / "card.md", calibrated.calibration)
    return Done(calibrated, embedded.faces, embedded.row_of, path)


def _protocol_of(pairs: Mapping[str, Any]) -> str:
    """The protocol, where none is named: a list or pack of pairs, else labelled faces of which pairs are drawn."""
    listed = pairs.get("pairs") is not None or str(pairs.get("faces")).endswith(_PACK)
    return str(pairs.get("protocol") or ("pairs" if listed else "folder"))


def _everyone(embedded: EmbeddedProtocol, scored: ScoredPeople, tell: Callable[[int, int], None]) -> Everyone:
    """All kept faces whose people are known."""
    if scored.contradictions:
        raise DataError(
            f"--all-pairs needs labelled faces: {scored.contradictions:,} of the listed pairs contradict their people",
            where=embedded.faces.name,
            mend="leave --all-pairs out, or give people in folders or a manifest",
        )
    manifest, faces = embedded.faces.manifest, embedded.embedded
    rows = np.array([embedded.row_of[key] for key in faces.faces], np.int64)
    known = np.flatnonzero(manifest.keep[rows] & (manifest.labels[rows] >= 0))
    keys = [faces.faces[row] for row in known.tolist()]
    return Everyone(LabeledEmbeddings(faces.vectors[known], manifest.labels[rows[known]]), keys, tell)


def _more_pairs(embedded: EmbeddedProtocol, scored: ScoredPeople, calibrated: Calibrated) -> Sequence[str]:
    """That the data hold far more pairs, where rates are not supported."""
    labels = embedded.faces.manifest.labels[embedded.faces.manifest.keep]
    sizes = np.bincount(labels[labels >= 0]) if (labels >= 0).any() else np.zeros(1, np.int64)
    impostor = int((sizes.sum() ** 2 - np.square(sizes).sum()) // 2)
    unsupported = [one for one in calibrated.calibration.fars if not one.supported]
    if not unsupported or scored.contradictions or impostor < 10 * unsupported[0].far.pairs:
        return ()
    return [f"all pairs of these faces are {impostor:,} impostor pairs: --all-pairs takes the thresholds from them"]
