"""Inverted faces under the model they were made with, and under a judge."""

from __future__ import annotations

from dataclasses import dataclass
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
from hyperarc.errors import ContractError, UsageError
from hyperarc.inversion.judging import Judgement, Shown, judge_faces

MODEL, JUDGE = "model", "judge"


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


def judge(side: Side, found: Found, targets: Targets, show: Show) -> tuple[Judgement, npt.NDArray[np.float32]]:
    """What a side makes of the faces, and its embeddings [tries, N, d] of them."""
    vectors = found.vectors if side.name == MODEL else embed_tries(side.encoder, found.pictures, "judging", show)
    best = vectors[found.best, np.arange(len(targets))]
    inverted = Shown(best, np.array(targets.people))
    return judge_faces(inverted, side.real, photos=side.photos, tries=vectors), vectors


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


def plain(found: Found, judgements: dict[str, Judgement]) -> dict[str, Any]:
    """Numbers of one search for JSON."""
    kept = found.cosines.max(axis=0)
    return {
        "cosine_to_target": {"mean": float(kept.mean()), "lowest": float(kept.min())},
        **{name: judgement.as_dict() for name, judgement in judgements.items()},
    }
