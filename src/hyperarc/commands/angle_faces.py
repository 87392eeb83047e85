"""The models and the embedded faces that ``hyperarc angles`` looks at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from hyperarc.artifact import Artifact, open_artifact
from hyperarc.commands.embed import Job, embed
from hyperarc.commands.show import Show
from hyperarc.contract import require_same
from hyperarc.data.face_set import FaceSet, open_faces
from hyperarc.data.formats.stored_embeddings import StoredEmbeddings, joined_names, read_embeddings
from hyperarc.errors import ContractError, DataError
from hyperarc.protocols.angles import ClassCenters, Faces
from hyperarc.training.watch import read_log

AUTO = "auto"
_RUN_MANIFEST, _RUN_LOG = "manifest.parquet", "log.jsonl"


@dataclass(frozen=True, eq=False)
class Model:
    """A model that is looked at.

    Attributes:
        name: of its artifact, or of the run it lies in.
        artifact: opened.
        classes: of its head; None when it was imported.
    """

    name: str
    artifact: Artifact
    classes: ClassCenters | None

    def log(self) -> list[dict[str, Any]]:
        """Rows of the training log beside the artifact; none where it does not lie in a run folder."""
        path = self.artifact.path.absolute().parent / _RUN_LOG
        return read_log(path) if path.is_file() and self.classes is not None else []


@dataclass(frozen=True)
class Source:
    """Where the faces of one set come from: faces to embed, or files of embeddings, one a model.

    Attributes:
        faces: what :func:`open_faces` opens; "auto" is the manifest of the run that an artifact lies in.
        embeddings: what ``hyperarc embed`` wrote, in any order; each is matched to its model by the contract.
    """

    faces: str | None = None
    embeddings: tuple[Path, ...] = ()

    def __bool__(self) -> bool:
        return self.faces is not None or bool(self.embeddings)


@dataclass(frozen=True, eq=False)
class EmbeddedFaces:
    """A set of faces under one model.

    Attributes:
        name: of the data.
        stored: their embeddings.
        pictures: where they come from, or None where only embeddings were given.
    """

    name: str
    stored: StoredEmbeddings
    pictures: FaceSet | None

    @property
    def faces(self) -> Faces:
        """For measuring."""
        return Faces(self.stored.vectors, self.stored.labels, self.stored.people)

    @property
    def unreadable(self) -> int:
        """Faces that have no embedding as they could not be read."""
        return 0 if self.pictures is None else len(self.pictures) - len(self.stored)

    @cached_property
    def picture_rows(self) -> npt.NDArray[np.int64]:
        """Row in ``pictures`` of each embedded face."""
        assert self.pictures is not None
        if not self.unreadable:
            return np.arange(len(self.stored))
        named = joined_names(self.pictures.manifest.table)
        return np.asarray(pc.index_in(self.stored.faces(), value_set=named).to_numpy(), np.int64)


def open_models(paths: Sequence[Path]) -> list[Model]:
    """The artifacts with their heads, under different names.

    Raises:
        ArtifactError: no artifact, or a damaged one. DataError: one is given twice.
    """
    models: list[Model] = []
    for path in paths:
        artifact = open_artifact(path)
        place = path.absolute()
        name = place.parent.name if place.name == "artifact" else place.name
        taken = [model.name for model in models]
        if any(model.artifact.contract == artifact.contract for model in models):
            raise DataError("this model is given twice", where=path)
        models.append(Model(f"{name}-{len(models) + 1}" if name in taken else name, artifact, _classes(artifact)))
    return models


def embedded_faces(models: Sequence[Model], source: Source, job: Job, folder: Path, show: Show) -> list[EmbeddedFaces]:
    """The faces of a source under each model; faces are embedded into ``folder`` unless they are there already.

    Raises:
        ContractError: embeddings of another contract than any model's.
        DataError: no embeddings for a model, no manifest where one is looked for.
    """
    if source.embeddings:
        stored = _by_model(models, source.embeddings)
        return [EmbeddedFaces("+".join(one.sources), one, None) for one in stored]
    found = []
    for model in models:
        place = _place(model, str(source.faces))
        faces = open_faces(place).kept()
        stored_by = _embedded(model, place, faces, job, folder, show)
        found.append(EmbeddedFaces(faces.name, stored_by, faces))
    return found


def _classes(artifact: Artifact) -> ClassCenters | None:
    if artifact.recipe is None:
        return None
    centers = artifact.head().centers
    weight, dominant = centers.weight.detach().numpy(), centers.dominant().numpy()
    return ClassCenters(tuple(artifact.people()), weight, dominant)


def _place(model: Model, faces: str) -> Path:
    if faces != AUTO:
        return Path(faces)
    path = model.artifact.path.absolute().parent / _RUN_MANIFEST
    if not path.is_file():
        raise DataError("no manifest of a run beside the artifact", where=path, mend="name the faces: --train FACES")
    return path


def _embedded(model: Model, place: Path, faces: FaceSet, job: Job, folder: Path, show: Show) -> StoredEmbeddings:
    """Named after contract and faces, so that what is there already is what would be made."""
    state = hashlib.sha256(json.dumps(faces.state(), sort_keys=True).encode()).hexdigest()[:8]
    path = folder / f"{model.name}-{model.artifact.contract.digest}-{state}.npy"
    if path.exists():
        show.note(f"{faces.name} under {model.name}: embedded before, in {path}")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        embed(place, path, replace(job, artifact=model.artifact.path), show)
    return read_embeddings(path)


def _by_model(models: Sequence[Model], paths: Sequence[Path]) -> list[StoredEmbeddings]:
    read = [read_embeddings(path) for path in paths]
    for stored in read:
        if all(stored.contract != model.artifact.contract for model in models):
            if len(models) == 1:
                require_same(models[0].artifact.contract, stored.contract, where=stored.path)
            known = ", ".join(f"{model.artifact.contract.digest} ({model.name})" for model in models)
            told = f"embeddings of contract {stored.contract.digest}; the artifacts have {known}"
            raise ContractError(told, where=stored.path, mend="embed by one of these artifacts")
    found = []
    for model in models:
        own = [stored for stored in read if stored.contract == model.artifact.contract]
        if len(own) != 1:
            raise DataError(
                f"expected one file of embeddings by {model.name}, got {len(own)}", mend="give one for each artifact"
            )
        found += own
    return found
