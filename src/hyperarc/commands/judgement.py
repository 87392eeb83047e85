"""A model judged by a protocol: faces embedded or looked up, scored, and kept for the report's pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hyperarc.commands.aligned import warn_unaligned
from hyperarc.commands.show import Show
from hyperarc.data.crops import cut, read_crops
from hyperarc.data.face_set import FaceSet
from hyperarc.data.formats.embedding_source import EmbeddingFile
from hyperarc.encoder import Encoder
from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels
from hyperarc.parallel import collective_device, gather, rank, share, world_size
from hyperarc.protocols.color_order import ColorOrder, compare_color_orders, sample_pairs
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.face_rows import rows_by_key
from hyperarc.protocols.protocol import Opened, Protocol, open_protocol
from hyperarc.protocols.result import Conditions, Result
from hyperarc.protocols.stored import Stored
from hyperarc.recipe import Evaluation

_CLOSE = 0.5  # own value, of a cosine: 60 degrees
_THREADS = 2  # that decode while the encoder works


@dataclass(frozen=True)
class Judgement:
    """A result, and the faces it is about, for the report's pictures.

    Attributes:
        result: what the protocol came to.
        faces: it is about; row_of: their rows by key, empty where there are no pictures.
    """

    result: Result
    faces: FaceSet
    row_of: dict[str, int]

    def headline(self) -> str:
        """The numbers of a table row, with their conditions."""
        return self.result.headline()

    def image(self, key: str) -> Pixels:
        """The crop of a face."""
        return self.faces.image(self.row_of[key])


def judge_all(encoder: Encoder, evaluations: Sequence[Evaluation], show: Show) -> list[Judgement]:
    """Judge an encoder by every evaluation; of several processes all embed, and the first judges."""
    embedded = (embed_protocol(encoder, open_protocol(evaluation), show) for evaluation in evaluations)
    return [one.judgement() for one in embedded if rank() == 0]


def judge(encoder: Encoder, evaluation: Evaluation, show: Show) -> Judgement:
    """Judge an encoder by one evaluation."""
    return embed_protocol(encoder, open_protocol(evaluation), show).judgement()


def judge_with_care(encoder: Encoder, opened: Opened, show: Show) -> Judgement:
    """As :func:`judge`, of a protocol that is open; warns of faces that score better with red and blue exchanged."""
    embedded = embed_protocol(encoder, opened, show)
    judgement, conditions = embedded.judgement(), embedded.warn_of_colors(show)
    warn_of_closeness(_impostor(judgement.result), show)
    judgement.result.conditions.update(conditions)
    return judgement


def judge_stored(stored: Stored, opened: Opened, show: Show) -> Judgement:
    """Judge stored embeddings; pictures come from the faces of the protocol where these have any."""
    protocol, faces = opened
    asked = protocol.faces()
    found = stored.find(asked, protocol.name)
    result = protocol.judge(found.embedded())
    result.conditions["embeddings"] = found.files
    warn_of_closeness(_impostor(result), show)
    has_pictures = not any(isinstance(source, EmbeddingFile) for source in faces.sources)
    return Judgement(result, faces, rows_by_key(faces, asked) if has_pictures else {})


def warn_of_closeness(impostor: Sequence[float] | NDArray[np.float64], show: Show) -> None:
    """A note when different people lie close together: a weak model, or one that is given its pixels wrongly."""
    if not len(impostor) or np.median(impostor) < _CLOSE:
        return
    degrees = float(np.rad2deg(np.arccos(np.clip(np.median(impostor), -1, 1))))
    show.note(
        f"warning: different people lie only {degrees:.0f} degrees apart (median; good models come near 90): the model "
        "is weak, or its mean and std are not those that it was trained with"
    )


def _impostor(result: Result) -> Sequence[float] | NDArray[np.float64]:
    return () if result.scores is None else result.scores.impostor


@dataclass(frozen=True, eq=False)
class EmbeddedProtocol:
    """A protocol, the faces that it is about, and the embeddings of those that it or its caller asked for."""

    encoder: Encoder
    protocol: Protocol
    faces: FaceSet
    row_of: dict[str, int]
    embedded: Embedded

    def judgement(self) -> Judgement:
        return Judgement(self.protocol.judge(self.embedded), self.faces, self.row_of)

    def warn_of_colors(self, show: Show) -> Conditions:
        """A note when the faces score better with red and blue exchanged; what was compared, for the conditions."""
        order = self._color_order(show)
        if order is not None and order.exchanged_is_better:
            show.note(f"warning: {order.warning()}")
        return {} if order is None else order.conditions()

    def _color_order(self, show: Show) -> ColorOrder | None:
        """A sample of the pairs embedded again with red and blue exchanged; None where there are too few pairs."""
        pairs = self.protocol.pairs
        if pairs is None or not len(rows := sample_pairs(pairs, self.embedded)):
            return None
        keys = sorted({key for row in rows for key in (pairs.first[row], pairs.second[row])})
        with show.progress("colors exchanged") as tell:
            vectors = _embed(self.encoder, self.faces, [self.row_of[key] for key in keys], tell, exchange=True)
        return compare_color_orders(pairs, rows, self.embedded, dict(zip(keys, vectors, strict=True)))


def embed_protocol(encoder: Encoder, opened: Opened, show: Show, *, everyone: bool = False) -> EmbeddedProtocol:
    """Embed the faces that a protocol needs; with ``everyone`` also all others that are kept."""
    protocol, faces = opened
    warn_unaligned(faces, encoder.contract, show)
    asked = protocol.faces()
    row_of = rows_by_key(faces, asked)
    wanted = tuple(key for key in asked if key in row_of)
    if not wanted:
        raise DataError(
            f"none of the {len(asked)} faces of {protocol.name} is there, such as {next(iter(asked), 'none')}",
            where=faces.name,
            mend="check that the data and the protocol's files belong together",
        )
    if everyone:
        kept = faces.manifest.keep
        wanted = tuple(dict.fromkeys([*wanted, *(key for key, row in row_of.items() if kept[row])]))
    with show.progress(f"embedding {protocol.name}") as tell:
        vectors = _embed(encoder, faces, [row_of[key] for key in wanted], tell)
    embedded = Embedded(wanted, vectors, encoder.contract, faces.name, str(encoder.device))
    return EmbeddedProtocol(encoder, protocol, faces, row_of, embedded)


def _embed(
    encoder: Encoder, faces: FaceSet, rows: Sequence[int], tell: Callable[[int, int], None], *, exchange: bool = False
) -> NDArray[np.float32]:
    """Raw embeddings of faces by row; with ``exchange`` of their crops with red and blue exchanged.

    Processes that train together embed a part each.
    """
    mine = rows[share(len(rows), rank(), world_size())]
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        tell(done, len(mine))

    def crops() -> Iterator[Pixels]:
        batches = cut(np.array(mine, np.int64), encoder.batch_size)
        for batch in read_crops(faces.reader, batches, encoder.contract, threads=_THREADS):
            for error in batch.unreadable.values():
                raise error
            yield batch.crops[..., ::-1] if exchange else batch.crops

    vectors = encoder.embed_batches(crops(), advance).vectors
    whole: NDArray[np.float32] = gather(torch.from_numpy(vectors).to(collective_device()))[0].cpu().numpy()
    return whole
