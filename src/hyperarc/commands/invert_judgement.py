"""Inverted faces under the model they were made with, and under a judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hyperarc.artifact import open_artifact
from hyperarc.commands.invert_real import RealFaces
from hyperarc.commands.invert_search import Pictures
from hyperarc.commands.invert_targets import Targets, embed_rows
from hyperarc.commands.show import Show
from hyperarc.encoder import Encoder
from hyperarc.errors import ContractError, DataError, UsageError
from hyperarc.faces.image import Pixels
from hyperarc.inversion.judging import Judgement, Shown, judge_faces
from hyperarc.metrics import Frechet

MODEL, JUDGE = "model", "judge"
_HEADER = ("target", "person", "priors", "try", "kept", "cosine_to_target", "model_to_real", "judge_to_real")


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found.

    Attributes:
        pictures: uint8 [tries, N, H, W, 3].
        cosines: [tries, N] to the targets, under the attacked model, of the pictures as they are stored.
        best: [N] the try with the highest cosine.
        vectors: [tries, N, d] embeddings under the attacked model.
    """

    pictures: Pictures
    cosines: npt.NDArray[np.float32]
    best: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float32]

    @property
    def faces(self) -> Pictures:
        """[N, H, W, 3]: the best try of each target."""
        chosen: Pictures = np.stack([self.pictures[t, n] for n, t in enumerate(self.best.tolist())])
        return chosen


@dataclass(frozen=True, eq=False)
class Side:
    """A model that looks at the faces, and what it knows of real ones.

    Attributes:
        name: "model" or "judge".
        encoder: of it.
        real: embeddings of real faces and their people, or None.
        photos: embeddings of the photos inverted, row by row, or None.
    """

    name: str
    encoder: Encoder
    real: Shown | None
    photos: npt.NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class Judged:
    """Everything that is told.

    Attributes:
        targets: what was inverted.
        found: by the priors used.
        judgements: by the priors used, and by who judges: "model" and "judge".
        real: real faces of the people, or None.
        names: of model and judge.
        fid: by the priors used, where the network for it is at hand.
    """

    targets: Targets
    found: Mapping[str, Found]
    judgements: Mapping[str, Mapping[str, Judgement]]
    real: RealFaces | None
    names: Mapping[str, str]
    fid: Mapping[str, Frechet] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The priors that are shown first."""
        return next(iter(self.found))

    @property
    def side(self) -> str:
        """Whose word counts: the judge's, where there is one."""
        return JUDGE if JUDGE in self.names else MODEL

    @cached_property
    def faces(self) -> dict[str, Pixels]:
        """The kept face of each target, by the priors used."""
        return {name: found.faces for name, found in self.found.items()}

    def as_dict(self) -> dict[str, Any]:
        """Numbers by the priors used."""
        told: dict[str, Any] = {}
        for name, found in self.found.items():
            kept = found.cosines.max(axis=0)
            told[name] = {"cosine_to_target": {"mean": float(kept.mean()), "lowest": float(kept.min())}}
            told[name] |= {side: judgement.as_dict() for side, judgement in self.judgements[name].items()}
            if name in self.fid:
                told[name]["fid"] = asdict(self.fid[name])
        return told

    def table(self) -> Iterator[tuple[Any, ...]]:
        """Rows of the table of all tries, its header first; cosines to real faces are of the kept try."""
        yield _HEADER
        for name, found in self.found.items():
            for row, target in enumerate(self.targets.names):
                for attempt in range(len(found.cosines)):
                    kept = attempt == found.best[row]
                    own = [self.own(name, side, row) if kept else None for side in (MODEL, JUDGE)]
                    cosines = [float(found.cosines[attempt, row]), *own]
                    told = ["" if value is None else f"{value:.6f}" for value in cosines]
                    yield target, self.targets.people[row], name, attempt, int(kept), *told

    def own(self, name: str, side: str, row: int) -> float | None:
        """Cosine of a kept face to the real faces of its person, or to its photo."""
        judgement = self.judgements[name].get(side)
        value = float("nan") if judgement is None else float(judgement.own[row])
        return None if np.isnan(value) else value

    def real_faces(self, row: int, most: int) -> list[Pixels]:
        """The photo that a target is, or real faces of its person."""
        if self.targets.photos is not None:
            try:
                return [self.targets.photos.image(row)]
            except DataError:  # gone since it was embedded
                return []
        return [] if self.real is None else self.real.shown(self.targets.people[row], most)

    def threshold(self, side: str) -> float | None:
        """Cosine from which on a side takes two real faces for one person; else an inverted and a real one."""
        judgement = self.judgements[self.first][side]
        found = judgement.real_accuracy or judgement.accuracy
        return None if found is None else 1.0 - float(found.thresholds.mean()) / 2


def open_judge(place: Path, model: Encoder) -> Encoder:
    """The encoder of the judge.

    Raises:
        UsageError: it is the attacked model itself. ContractError: it takes crops of another size or template.
    """
    judge = open_artifact(place).encoder(device=model.device, batch_size=model.batch_size)
    ours, theirs = model.contract, judge.contract
    if ours.model == theirs.model:
        raise UsageError("the judge is the attacked model itself", where=place, mend="name another one, or none")
    if (ours.height, ours.width, ours.template) != (theirs.height, theirs.width, theirs.template):
        raise ContractError(
            f"expected a judge of crops as the model's, {ours.width}x{ours.height} px aligned to {ours.template}; "
            f"it takes {theirs.width}x{theirs.height} px, {theirs.template}",
            where=place,
        )
    return judge


def score(model: Encoder, targets: Targets, pictures: Pictures, show: Show) -> Found:
    """The pictures' cosines to the targets under the model, and the best try of each target."""
    vectors = embed_tries(model, pictures, "looking at the faces", show)
    goal = targets.goal().to(torch.device("cpu"))
    with torch.no_grad():
        cosines = np.stack([goal.cosine(torch.from_numpy(one)).float().numpy() for one in vectors])
    return Found(pictures, cosines, cosines.argmax(axis=0), vectors)


def side_of(name: str, encoder: Encoder, targets: Targets, real: RealFaces | None, show: Show) -> Side:
    """A model with what it makes of the real faces."""
    photos = None
    if targets.photos is not None:
        every = np.arange(len(targets))
        told = f"embedding {targets.photos.name}"
        photos = targets.vectors if name == MODEL else embed_rows(targets.photos, every, encoder, told, show)[0]
    if real is None:
        return Side(name, encoder, None, photos)
    if real.faces is targets.photos:
        return Side(name, encoder, Shown(photos, np.array(targets.people)), photos)
    vectors, labels = real.embed(encoder, show)
    return Side(name, encoder, Shown(vectors, np.array(real.people)[labels]), photos)


def judge(side: Side, found: Found, targets: Targets, show: Show) -> Judgement:
    """What a side makes of the faces."""
    vectors = found.vectors if side.name == MODEL else embed_tries(side.encoder, found.pictures, "judging", show)
    best = vectors[found.best, np.arange(len(targets))]
    inverted = Shown(best, np.array(targets.people))
    return judge_faces(inverted, side.real, photos=side.photos, tries=vectors)


def embed_tries(encoder: Encoder, pictures: Pictures, what: str, show: Show) -> npt.NDArray[np.float32]:
    """Embeddings [tries, N, d] of pictures [tries, N, H, W, 3]."""
    flat = pictures.reshape(-1, *pictures.shape[2:])
    with show.progress(what) as tell:
        done = 0

        def told(count: int) -> None:
            nonlocal done
            done += count
            tell(done, len(flat))

        vectors = encoder.embed(flat, told).vectors
    return vectors.reshape(*pictures.shape[:2], -1)
