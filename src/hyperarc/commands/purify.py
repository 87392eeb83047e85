"""``hyperarc purify``: train with sub-centers, drop the faces far from the dominant ones, train again on the rest."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hyperarc.artifact import Artifact, open_artifact
from hyperarc.commands.decisions import Decisions, read_decisions
from hyperarc.commands.polling import Polling, labels_by_name, poll_faces
from hyperarc.commands.purified import Outcome, Purified, facts_of
from hyperarc.commands.purify_marks import applied, looked_at_again, marked, unmarked, write_proposals
from hyperarc.commands.purify_report import report_purification
from hyperarc.commands.show import Show
from hyperarc.commands.train import Start, Trained, train
from hyperarc.data.face_set import MANIFEST, FaceSet, open_faces
from hyperarc.data.manifest import read_manifest
from hyperarc.data.training_set import TrainingSet, open_training_set
from hyperarc.data.truth import Truth, read_truth
from hyperarc.errors import DataError, RecipeError
from hyperarc.files import write_beside
from hyperarc.purification.proposals import FEWEST_FACES, propose
from hyperarc.purification.sub_centers import ANGLE_DEG
from hyperarc.purification.valley import Valley, find_valley
from hyperarc.recipe import Data, Noise, Recipe, SourceData
from hyperarc.recipe.file import load_recipe

SUB_CENTERS = 3  # of the paper
ANGLES = "angles"
FILES = {
    "manifest": "faces.parquet",
    "proposals": "proposals.csv",
    "facts": "purify.json",
    "report": "report.html",
}


@dataclass(frozen=True)
class Purification:
    """What is asked for.

    Attributes:
        angle_deg: from which on a face is dropped; None finds the valley of the angles.
        sub_centers: K to train a recipe with; None takes the recipe's, or 3 where it has one.
        data: faces other than those of the recipe, or None.
        again: faces of the artifact's people that an earlier purification left out are looked at, too.
        truth: a file that tells what is wrong with them, or None for the recipe's own.
        cosine: from which on two centers are one person; None chooses it from the data.
        fewest_faces: of a split or move.
        apply: proposals change names in the written manifest.
        decisions: a file that the page exported, or None.
        retrain: train once more, with one center a person, on what is kept.
        polling: how faces are embedded.
    """

    angle_deg: float | None = ANGLE_DEG
    sub_centers: int | None = None
    data: Path | None = None
    again: bool = False
    truth: Path | None = None
    cosine: float | None = None
    fewest_faces: int = FEWEST_FACES
    apply: bool = False
    decisions: Path | None = None
    retrain: bool = False
    polling: Polling = field(default_factory=Polling)


@dataclass(frozen=True, eq=False)
class _Subject:
    """What is purified: an artifact, the faces with their manifest, and what is known of them."""

    artifact: Artifact
    faces: FaceSet
    truth: Truth | None
    trained: Trained | None = None


def purify(
    what: str, overrides: Sequence[str], asked: Purification, folder: Path | None, show: Show
) -> Outcome | None:
    """Purify the faces of a recipe or of an artifact; None where a training was stopped early."""
    begun = time.monotonic()
    decisions = read_decisions(asked.decisions, apply=asked.apply) if asked.decisions else Decisions(apply=asked.apply)
    recipe = None if is_artifact(what) else _with_sub_centers(load_recipe(what, overrides), asked.sub_centers)
    if recipe is None and (overrides or asked.sub_centers):
        raise RecipeError("an artifact is trained already: key=value and --sub-centers go with a recipe", where=what)
    if recipe is not None and asked.again:
        raise RecipeError("--again takes an artifact, trained on what a purification kept", where=what)
    run = folder or Path("runs") / f"purify-{recipe.name if recipe else _name_of(Path(what))}"
    subject = _of_artifact(open_artifact(what), asked, show) if recipe is None else _trained(recipe, asked, run, show)
    if subject is None:
        return None
    purified = _purified(subject, asked, decisions, run, show)
    for found in purified.faces.findings:
        show.note(str(found))
    before, after = purified.before, purified.after
    after.manifest.write(run / FILES["manifest"])
    write_proposals(purified.faces, purified.proposals.listed, decisions, run / FILES["proposals"])
    told: dict[str, Any] = {"run": str(run), "data": before.name, **facts_of(subject.artifact, purified)}
    told |= {name: str(run / file) for name, file in FILES.items()}
    runs = {} if subject.trained is None else {_folder_of(subject.artifact): subject.trained}
    if asked.retrain:
        again = _retrain(subject.artifact, asked, run, show)
        if not again.finished:
            return None
        runs["retrained"] = again
    told["results"] = {name: _results(trained) for name, trained in runs.items()}
    told["seconds"] = round(time.monotonic() - begun, 1)
    with write_beside(run / FILES["facts"]) as path:
        path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    with show.progress("drawing the report") as tell:
        report_purification(purified, told, run / FILES["report"], tell)
    return Outcome(told, purified, runs)


def undo_purify(data: Path, out: Path | None) -> dict[str, Any]:
    """Take back marks of noise and new names in the manifest ``data``; write it there or to ``out``; the facts."""
    if data.suffix != MANIFEST or not data.is_file():
        raise DataError("expected a manifest with marks to take back", where=data, mend=f"give {FILES['manifest']}")
    manifest = read_manifest(data)
    after = unmarked(manifest)
    path = data if out is None else out / FILES["manifest"]
    after.write(path)
    renamed = int((after.column("person") != manifest.column("person")).sum())
    back = int((after.keep & ~manifest.keep).sum())
    return {"faces": len(after), "faces_taken_back": back, "names_taken_back": renamed, "manifest": str(path)}


def is_artifact(what: str) -> bool:
    """Whether this names an artifact folder and not a recipe."""
    return (Path(what) / "contract.json").is_file()


def closing_line(told: dict[str, Any]) -> str:
    """The facts in words."""
    empty = told["people_left_empty"]
    lines = [
        f"{told['left_out']:,} of {told['faces_looked_at']:,} faces lie beyond {told['angle_deg']:g} deg of the "
        f"dominant center and are left out ({told['angle_from']})",
        f"{told['kept']:,} faces of {told['people_kept']:,} people are kept"
        + (f"; left empty: {', '.join(empty[:5])}{' ...' if len(empty) > 5 else ''}" if empty else ""),
        f"proposed: {told['splits']:,} splits, {told['moves']:,} moves, {told['merges']:,} merges; "
        f"applied: {told['applied']:,}",
    ]
    if (found := told["detection"]) is not None:
        shares = {name: "n/a" if found[name] is None else f"{found[name]:.4f}" for name in ("precision", "recall")}
        lines.append(f"of known noise: {', '.join(f'{name} {share}' for name, share in shares.items())}")
    for name, results in told["results"].items():
        lines += [f"{name}: {result['protocol']} {result['headline']}" for result in results]
    return "\n".join([*lines, *(f"{name:9} {told[name]}" for name in FILES)])


def _with_sub_centers(recipe: Recipe, asked: int | None) -> Recipe:
    count = asked or (recipe.head.sub_centers if recipe.head.sub_centers > 1 else SUB_CENTERS)
    head = recipe.head.model_copy(update={"sub_centers": count})
    return recipe.model_copy(update={"name": f"{recipe.name}-k{count}", "head": head})


def _trained(recipe: Recipe, asked: Purification, run: Path, show: Show) -> _Subject | None:
    folder = run / f"k{recipe.head.sub_centers}"
    trained = train(recipe, folder, Start(resume="auto"), show)
    if not trained.finished:
        return None
    artifact, known = open_artifact(folder / "artifact"), trained.training_set
    return _Subject(artifact, *_faces_and_truth(known, asked), trained)


def _of_artifact(artifact: Artifact, asked: Purification, show: Show) -> _Subject:
    recipe = artifact.require_recipe("centers, which faces are compared with")
    known = None
    if asked.data is None:
        with show.progress("looking at faces") as progress:
            known = open_training_set(recipe.data, progress)
    faces, truth = _faces_and_truth(known, asked)
    if asked.again:
        theirs = labels_by_name(faces, tuple(artifact.people())) >= 0
        faces = faces.with_manifest(looked_at_again(faces.manifest, theirs))
    return _Subject(artifact, faces, truth)


def _faces_and_truth(known: TrainingSet | None, asked: Purification) -> tuple[FaceSet, Truth | None]:
    if asked.data is not None:
        faces, truth = open_faces(asked.data), None
    else:
        assert known is not None
        faces, truth = FaceSet(known.sources, known.manifest), known.truth
    if asked.truth is not None:
        truth = read_truth(asked.truth, faces.manifest)
    return faces, truth


def _purified(subject: _Subject, asked: Purification, decisions: Decisions, run: Path, show: Show) -> Purified:
    faces = poll_faces(subject.artifact, subject.faces, run / ANGLES, asked.polling, show)
    degrees = np.degrees(faces.polled.angles)
    valley = None if asked.angle_deg is not None else find_valley(degrees)
    angle_deg = asked.angle_deg if valley is None else valley.angle_deg
    assert angle_deg is not None
    angle = math.radians(angle_deg)
    with show.progress("comparing people") as tell:
        proposals = propose(
            faces.polled, faces.labels, angle, cosine=asked.cosine, fewest=asked.fewest_faces, progress=tell
        )
    dropped = decisions.dropped(~faces.polled.kept(angle), faces.labels, faces.people)
    accepted = [one for one in proposals.listed if decisions.accepts(one, faces.people)]
    manifest = marked(subject.faces.manifest, faces, dropped, angle)
    if accepted:
        manifest = applied(manifest, faces, accepted, angle)
    return Purified(
        before=subject.faces,
        after=subject.faces.with_manifest(manifest),
        faces=faces,
        angle_deg=angle_deg,
        angle_from=_why(asked, valley),
        dropped=dropped,
        proposals=proposals,
        accepted=tuple(accepted),
        truth=None if subject.truth is None else subject.truth.wrong[faces.rows],
    )


def _why(asked: Purification, valley: Valley | None) -> str:
    if valley is not None:
        return valley.why
    return "the paper's angle" if asked.angle_deg == ANGLE_DEG else "the angle given"


def _retrain(artifact: Artifact, asked: Purification, run: Path, show: Show) -> Trained:
    """Train the same recipe with one center a person on the faces that are kept."""
    recipe = artifact.require_recipe("a recipe to train by")
    first = _folder_of(artifact)
    head = recipe.head.model_copy(update={"sub_centers": 1})
    manifest = str(run / FILES["manifest"])
    data = recipe.data.model_copy(update={"manifest": manifest})
    if asked.data is not None:
        data = _only(recipe.data, manifest)
    name = f"{recipe.name.removesuffix(f'-k{recipe.head.sub_centers}')}-k1"
    again = recipe.model_copy(update={"name": name, "head": head, "data": data})
    return train(again, run / ("k1" if first != "k1" else "k1-kept"), Start(resume="auto"), show)


def _only(data: Data, manifest: str) -> Data:
    """The data section with these faces alone."""
    others = {"drawn": None, "people_table": None, "noise": Noise(), "manifest": None}
    return data.model_copy(update=others | {"sources": (SourceData(path=manifest),)})


def _results(trained: Trained) -> list[dict[str, Any]]:
    """What a model reached, by protocol."""
    results = [(judgement.result, judgement.headline()) for judgement in trained.judgements]
    return [
        {"protocol": result.name, "headline": line, "numbers": [number.as_dict() for number in result.numbers]}
        for result, line in results
    ]


def _folder_of(artifact: Artifact) -> str:
    recipe = artifact.require_recipe("a recipe")
    return f"k{recipe.head.sub_centers}"


def _name_of(artifact: Path) -> str:
    """What to call an artifact by its place: that of the run that it lies in."""
    path = artifact.absolute()
    return path.parent.name if path.name == "artifact" else path.name
