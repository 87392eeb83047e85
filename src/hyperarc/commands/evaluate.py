"""``hyperarc evaluate``: an artifact is judged by a protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from pydantic import ValidationError

from hyperarc.artifact import open_artifact
from hyperarc.commands.show import Show
from hyperarc.contract import Contract
from hyperarc.data.drawn.source import drawn_pairs
from hyperarc.data.face_set import FaceSet, open_faces
from hyperarc.data.formats.pair_pack import PairPack
from hyperarc.encoder import Encoder
from hyperarc.errors import DataError, HyperArcError, unknown_name
from hyperarc.faces.image import Pixels
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
from hyperarc.recipe_file import expand_path


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
            if not expand_path(path).exists():
                raise DataError(f"evaluation {evaluation.protocol}: nothing there", where=expand_path(path))


def judge(encoder: Encoder, evaluation: Evaluation, show: Show) -> Judgement:
    """Judge an encoder by one evaluation."""
    pairs, faces = pairs_and_faces(evaluation)
    row_of = rows_by_key(faces)
    wanted = [key for key in pairs.faces() if key in row_of]
    done = 0
    with show.progress(f"embedding {pairs.name}") as tell:

        def advance(count: int) -> None:
            nonlocal done
            done += count
            tell(done, len(wanted))

        embedded = encoder.embed_batches(_crops(faces, [row_of[key] for key in wanted], encoder), advance)
    result = evaluate_pairs(
        pairs,
        dict(zip(wanted, embedded.vectors, strict=True)),
        contract=encoder.contract,
        data=faces.name,
        device=str(encoder.device),
    )
    return Judgement(result, faces, row_of)


def evaluate(artifact: Path, protocol: Mapping[str, str | None], device: str, show: Show) -> Judgement:
    """Judge the artifact at ``artifact`` by a protocol given as the fields of a recipe's evaluation."""
    evaluation = evaluation_of(protocol)
    return judge(open_artifact(artifact).encoder(device=device), evaluation, show)


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


def _crops(faces: FaceSet, rows: Sequence[int], encoder: Encoder) -> Iterator[Pixels]:
    for start in range(0, len(rows), encoder.batch_size):
        yield np.stack([_crop(faces, row, encoder.contract) for row in rows[start : start + encoder.batch_size]])


def _crop(faces: FaceSet, row: int, contract: Contract) -> Pixels:
    image = faces.image(row)
    if image.shape[:2] != (contract.height, contract.width):
        raise DataError(
            f"expected a face of {contract.width}x{contract.height} pixels, got {image.shape[1]}x{image.shape[0]}",
            where=faces.reader.where(row),
            mend="align the faces to the contract's size first",
        )
    return image
