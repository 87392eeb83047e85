"""``hyperarc evaluate``: an artifact is judged by a protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from hyperarc.artifact import open_artifact
from hyperarc.commands.aligned import warn_unaligned
from hyperarc.commands.show import Show
from hyperarc.data.crops import cut, read_crops
from hyperarc.data.drawn.source import drawn_pairs
from hyperarc.data.face_set import FaceSet, open_faces
from hyperarc.data.formats.http_bytes import as_text, is_url
from hyperarc.data.formats.pair_pack import PairPack
from hyperarc.data.sources import is_there
from hyperarc.encoder import Encoder
from hyperarc.errors import DataError, HyperArcError, unknown_name
from hyperarc.faces.image import Pixels
from hyperarc.protocols.color_order import ColorOrder, compare_color_orders, sample_pairs
from hyperarc.protocols.pairs import (
    Pairs,
    PairsResult,
    evaluate_pairs,
    face_key,
    read_cfp_pairs,
    read_lfw_pairs,
    read_own_pairs,
)
from hyperarc.recipe import Evaluation
from hyperarc.recipe.file import expand_path

_THREADS = 2  # that decode while the encoder works


@dataclass(frozen=True)
class Judgement:
    """A result, and the faces it is about, for the report's pictures."""

    result: PairsResult
    faces: FaceSet
    row_of: dict[str, int]

    def headline(self) -> str:
        """The numbers of a table row, with their conditions."""
        far = self.result.tar_at_far[2]
        flip = self.result.conditions.get("flip", "none")
        return (
            f"{100 * self.result.accuracy:.2f} +- {100 * self.result.accuracy_std:.2f} % over "
            f"{len(self.result.fold_accuracies)} folds, TAR@FAR=1e-3 {100 * far.tar:.2f} %, "
            f"{len(self.result.genuine) + len(self.result.impostor)} pairs, flip {flip}"
        )

    def image(self, key: str) -> Pixels:
        """The crop of a face."""
        return self.faces.image(self.row_of[key])


def judge_all(encoder: Encoder, evaluations: Sequence[Evaluation], show: Show) -> list[Judgement]:
    """Judge an encoder by every evaluation; sources that several share are opened once."""
    return [judge(encoder, evaluation, show) for evaluation in evaluations]


def require_files(evaluations: Sequence[Evaluation]) -> None:
    """Raise :class:`DataError` where faces or pairs are missing: better before a training than after it."""
    for evaluation in evaluations:
        for path in filter(None, (evaluation.faces, evaluation.pairs)):
            place = expand_path(path)
            if not (is_there(place) or is_url(as_text(place))):
                raise DataError(f"evaluation {evaluation.protocol}: nothing there", where=expand_path(path))


def judge(encoder: Encoder, evaluation: Evaluation, show: Show) -> Judgement:
    """Judge an encoder by one evaluation."""
    return _embedded(encoder, evaluation, show).judgement()


def evaluate(artifact: Path, protocol: Mapping[str, str | None], device: str, show: Show) -> Judgement:
    """Judge the artifact at ``artifact`` by a protocol given as the fields of a recipe's evaluation.

    Warns when the faces score better with red and blue exchanged.
    """
    evaluation = evaluation_of(protocol)
    embedded = _embedded(open_artifact(artifact).encoder(device=device), evaluation, show)
    judgement, order = embedded.judgement(), embedded.color_order(show)
    if order is None:
        return judgement
    if order.exchanged_is_better:
        show.note(f"warning: {order.warning()}")
    conditions = judgement.result.conditions | order.conditions()
    return replace(judgement, result=replace(judgement.result, conditions=conditions))


def evaluation_of(protocol: Mapping[str, str | None]) -> Evaluation:
    """The evaluation of a recipe with these fields, None meaning not given."""
    known = get_args(Evaluation.model_fields["protocol"].annotation)
    if protocol["protocol"] not in known:
        raise unknown_name("protocol", str(protocol["protocol"]), known)
    try:
        return Evaluation.model_validate({k: v for k, v in protocol.items() if v is not None})
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise HyperArcError(f"{where} {problem['msg']}".strip(), where="evaluate") from None


def pairs_and_faces(evaluation: Evaluation) -> tuple[Pairs, FaceSet]:
    """The pairs of an evaluation, and their faces; marks do not count here, as the list of a protocol is fixed."""
    if evaluation.protocol == "drawn":
        first, second, same, drawn = drawn_pairs(evaluation.people, evaluation.seed)
        return Pairs("drawn", first, second, same, 10), FaceSet((drawn,), drawn.scan())
    if evaluation.pairs is None:
        pack = PairPack(expand_path(str(evaluation.faces)))
        return Pairs(pack.name, pack.first, pack.second, pack.same), FaceSet((pack,), pack.scan())
    faces = open_faces(expand_path(str(evaluation.faces)))
    path: Path = expand_path(evaluation.pairs)
    if evaluation.protocol == "lfw":
        return read_lfw_pairs(path), faces
    if evaluation.protocol == "pairs":
        return read_own_pairs(path), faces
    return read_cfp_pairs(path, "FF" if evaluation.protocol == "cfp_ff" else "FP"), faces


def rows_by_key(faces: FaceSet) -> dict[str, int]:
    """The row of each face by the key that lists of pairs name it by."""
    return {face_key(face): row for row, face in enumerate(faces.manifest.column("face").tolist())}


@dataclass(frozen=True, eq=False)
class _Embedded:
    """The faces of a list of pairs with their embeddings by key."""

    encoder: Encoder
    pairs: Pairs
    faces: FaceSet
    row_of: dict[str, int]
    vectors: dict[str, NDArray[np.float32]]

    def judgement(self) -> Judgement:
        result = evaluate_pairs(
            self.pairs,
            self.vectors,
            contract=self.encoder.contract,
            data=self.faces.name,
            device=str(self.encoder.device),
        )
        return Judgement(result, self.faces, self.row_of)

    def color_order(self, show: Show) -> ColorOrder | None:
        """A sample of the pairs embedded again with red and blue exchanged; None where there are too few pairs."""
        rows = sample_pairs(self.pairs, self.vectors)
        if not len(rows):
            return None
        keys = sorted({key for row in rows for key in (self.pairs.first[row], self.pairs.second[row])})
        with show.progress("colors exchanged") as tell:
            vectors = _embed(self.encoder, self.faces, [self.row_of[key] for key in keys], tell, exchange=True)
        return compare_color_orders(self.pairs, rows, self.vectors, dict(zip(keys, vectors, strict=True)))


def _embedded(encoder: Encoder, evaluation: Evaluation, show: Show) -> _Embedded:
    pairs, faces = pairs_and_faces(evaluation)
    warn_unaligned(faces, encoder.contract, show)
    row_of = rows_by_key(faces)
    wanted = [key for key in pairs.faces() if key in row_of]
    with show.progress(f"embedding {pairs.name}") as tell:
        vectors = _embed(encoder, faces, [row_of[key] for key in wanted], tell)
    return _Embedded(encoder, pairs, faces, row_of, dict(zip(wanted, vectors, strict=True)))


def _embed(
    encoder: Encoder, faces: FaceSet, rows: Sequence[int], tell: Callable[[int, int], None], *, exchange: bool = False
) -> NDArray[np.float32]:
    """Raw embeddings of faces by row; with ``exchange`` of their crops with red and blue exchanged."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        tell(done, len(rows))

    def crops() -> Iterator[Pixels]:
        batches = cut(np.array(rows, np.int64), encoder.batch_size)
        for batch in read_crops(faces.reader, batches, encoder.contract, threads=_THREADS):
            for error in batch.unreadable.values():
                raise error
            yield batch.crops[..., ::-1] if exchange else batch.crops

    return encoder.embed_batches(crops(), advance).vectors
