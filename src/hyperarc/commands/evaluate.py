"""``hyperarc evaluate``: artifacts and stored embeddings are judged by protocols."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hyperarc.artifact import Artifact, open_artifact
from hyperarc.commands.judgement import Judgement, judge_stored, judge_with_care
from hyperarc.commands.show import Show
from hyperarc.contract import Contract, require_same
from hyperarc.data.formats.embedding_files import ARRAY, PARQUET
from hyperarc.errors import ContractError, UsageError
from hyperarc.protocols.protocol import Opened, check_evaluation, open_protocol, takes
from hyperarc.protocols.stored import Stored, open_embeddings
from hyperarc.recipe import Evaluation


@dataclass(frozen=True, eq=False)
class Model:
    """What is judged: an artifact, embeddings that were stored, or an artifact by its stored embeddings.

    Attributes:
        name: on pages and in tables, unlike every other.
        contract: of its embeddings.
        artifact, stored: at least one of them; with ``stored`` the model itself is not run.
    """

    name: str
    contract: Contract
    artifact: Artifact | None = None
    stored: Stored | None = None

    def facts(self) -> dict[str, str | int | float]:
        """Where it is and what it expects, for page and JSON."""
        facts: dict[str, str | int | float] = {"model": self.name}
        if self.artifact is not None:
            facts |= {"artifact": str(self.artifact.path), "backbone": self.artifact.backbone_name}
        if self.stored is not None:
            facts["embeddings"] = ", ".join(str(file.path) for file in self.stored.files)
        contract = self.contract
        facts |= {"embedding_dim": contract.embedding_dim, "flip": contract.flip, "color": contract.color}
        return facts | {"template": contract.template, "contract": contract.digest}

    def open(self, evaluation: Evaluation) -> Opened:
        """The protocol; the faces of stored embeddings are used where the evaluation names none."""
        return open_protocol(evaluation, self._own_faces(evaluation))

    def check(self, evaluation: Evaluation) -> None:
        """Raise the error of an evaluation that cannot be opened, before anything is read."""
        check_evaluation(evaluation, self._own_faces(evaluation))

    def _own_faces(self, evaluation: Evaluation) -> Any:
        return self.stored.faces if self.stored is not None and evaluation.faces is None else None


@dataclass(frozen=True, eq=False)
class Judged:
    """A model and what every evaluation made of it, in their order."""

    model: Model
    judgements: list[Judgement]


@dataclass(frozen=True)
class Models:
    """What is to be judged.

    Attributes:
        artifacts: folders; embeddings: files that ``hyperarc embed`` wrote.
        device: that the artifacts run on.
    """

    artifacts: Sequence[Path] = ()
    embeddings: Sequence[Path] = ()
    device: str = "cpu"


def evaluate(asked: Models, evaluations: Sequence[Evaluation], show: Show) -> list[Judged]:
    """Judge models by evaluations; all files are opened before anything is embedded.

    Raises:
        UsageError: no model, or evaluations that lack something. ContractError: embeddings of none of the artifacts.
    """
    models = open_models(asked)
    for evaluation in evaluations:
        for model in models:
            model.check(evaluation)
    shared = {place: open_protocol(evaluation) for place, evaluation in enumerate(evaluations) if evaluation.faces}
    opened = [[shared.get(place) or model.open(one) for place, one in enumerate(evaluations)] for model in models]
    judged = []
    for model, protocols in zip(models, opened, strict=True):
        judged.append(Judged(model, _judge(model, protocols, asked.device, show)))
        if len(models) > 1:
            for judgement in judged[-1].judgements:
                show.note(f"{model.name}: {judgement.result.name} {judgement.headline()}")
    return judged


def _judge(model: Model, protocols: Sequence[Opened], device: str, show: Show) -> list[Judgement]:
    if model.stored is not None:
        return [judge_stored(model.stored, opened, show) for opened in protocols]
    assert model.artifact is not None
    encoder = model.artifact.encoder(device=device)
    return [judge_with_care(encoder, opened, show) for opened in protocols]


def open_models(asked: Models) -> list[Model]:
    """Artifacts in their order, then stored embeddings of no artifact; files of one contract are one model.

    Raises:
        ContractError: there are artifacts, and a file of embeddings was made by none of them.
    """
    if not asked.artifacts and not asked.embeddings:
        raise UsageError("expected an artifact, or --embeddings, to judge")
    for path in asked.artifacts:
        if path.suffix in (PARQUET, ARRAY):
            raise UsageError("expected an artifact folder, got a file", where=path, mend="give it with --embeddings")
    artifacts = [open_artifact(path) for path in asked.artifacts]
    stored = {one.contract.digest: one for one in open_embeddings(asked.embeddings)}
    if artifacts:
        for one in stored.values():
            _require_own(one, artifacts)
        named = zip(artifact_names(asked.artifacts), artifacts, strict=True)
        return [Model(name, own.contract, own, stored.get(own.contract.digest)) for name, own in named]
    names = [_shared_name([file.path.stem for file in one.files]) for one in stored.values()]
    counts = Counter(names)
    told = [one.name if counts[name] > 1 else name for name, one in zip(names, stored.values(), strict=True)]
    return [Model(name, one.contract, None, one) for name, one in zip(told, stored.values(), strict=True)]


def _require_own(stored: Stored, artifacts: Sequence[Artifact]) -> None:
    digests = [artifact.contract.digest for artifact in artifacts]
    if stored.contract.digest in digests:
        return
    where = stored.files[0].path
    if len(artifacts) == 1:
        require_same(artifacts[0].contract, stored.contract, where=where)
    raise ContractError(
        f"embeddings of contract {stored.contract.digest} are of no artifact here; they have {', '.join(digests)}",
        where=where,
        mend="embed the faces with one of them, or leave the artifacts out",
    )


def artifact_names(paths: Sequence[Path]) -> list[str]:
    """A name for each folder, of as many parts of its path as it takes to tell it from the others.

    Example:
        >>> artifact_names([Path("runs/r50/artifact"), Path("models/mobilefacenet")])
        ['r50', 'mobilefacenet']
        >>> artifact_names([Path("a/r50/artifact"), Path("b/r50/artifact")])
        ['a/r50', 'b/r50']
    """
    parts = [path.absolute().parts[1:] for path in paths]
    parts = [one[:-1] if one[-1:] == ("artifact",) and len(one) > 1 else one for one in parts]
    for count in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(one[-count:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    raise UsageError("expected different artifacts, one is given twice", where=_twice(paths))


def _twice(paths: Sequence[Path]) -> Path:
    return next(path for path in paths if sum(other.absolute() == path.absolute() for other in paths) > 1)


def _shared_name(stems: Sequence[str]) -> str:
    """The words that the names of one model's files all end in, else begin with, else all names.

    Example:
        >>> _shared_name(["lfw-r50", "cfp-r50"]), _shared_name(["r50_lfw", "r50_cfp"]), _shared_name(["a", "b"])
        ('r50', 'r50', 'a, b')
    """
    words = [re.split(r"[-_. ]", stem) for stem in stems]
    ends = _shared([one[::-1] for one in words])[::-1]
    return "-".join(ends or _shared(words)) or ", ".join(stems)


def _shared(words: Sequence[Sequence[str]]) -> list[str]:
    """The first words that all lists have."""
    return [same[0] for same in takewhile(lambda same: len(set(same)) == 1, zip(*words, strict=False))]


def evaluation_of(protocol: Mapping[str, Any]) -> Evaluation:
    """The evaluation of a recipe with these fields, None meaning not given; an unknown protocol is an error."""
    evaluation = _evaluation(protocol)
    check_evaluation(evaluation)
    return evaluation


def evaluations_of(
    protocols: Sequence[str], data: Sequence[str], pairs: Sequence[str], arguments: Mapping[str, Any]
) -> list[Evaluation]:
    """Evaluations as the command line names them.

    Args:
        protocols: names.
        data, pairs: where faces and the protocols' own files are: none, one each in the order of the protocols, or one
            for all that have a use for it.
        arguments: of the protocol, where there is one.

    Raises:
        UsageError: counts that do not fit, arguments for several protocols.

    Example:
        >>> [one.pairs for one in evaluations_of(["cfp_ff", "cfp_fp"], ["cfp.zip"], ["cfp"], {})]
        ['cfp', 'cfp']
    """
    if arguments and len(protocols) > 1:
        mend = "write a recipe, and give it with --recipe"
        raise UsageError(f"expected one protocol for {', '.join(arguments)}, got {len(protocols)}", mend=mend)
    spread: list[list[str | None]] = []
    for option, key, given in (("--data", "faces", data), ("--pairs", "pairs", pairs)):
        if len(given) not in (0, 1, len(protocols)):
            what = f"expected {option} once, or once for each of {len(protocols)} protocols, got {len(given)}"
            raise UsageError(what)
        if len(given) < len(protocols):
            spread.append([given[0] if given and takes(name, key) else None for name in protocols])
        else:
            spread.append([*given])
    fields = zip(protocols, *spread, strict=True)
    return [_evaluation({"protocol": p, "faces": f, "pairs": q, "arguments": arguments}) for p, f, q in fields]


def _evaluation(fields: Mapping[str, Any]) -> Evaluation:
    try:
        return Evaluation.model_validate({k: v for k, v in fields.items() if v is not None})
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise UsageError(f"{where} {problem['msg']}".strip(), where="evaluate") from None
