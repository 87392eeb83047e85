"""``hyperarc invert``: from classes, photos or embeddings back to faces, judged by the model and by another one."""

from __future__ import annotations

import csv
import json
import re
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from hyperarc.artifact import MODEL as MODEL_FILE
from hyperarc.artifact import Artifact, open_artifact
from hyperarc.commands.invert_judgement import JUDGE, MODEL, Judged, Side, judge, open_judge, score, side_of
from hyperarc.commands.invert_real import AUTO, RealFaces, real_faces
from hyperarc.commands.invert_report import report_inversion
from hyperarc.commands.invert_search import How, search_faces
from hyperarc.commands.invert_targets import Choice, Targets, open_targets
from hyperarc.commands.show import Show
from hyperarc.encoder import Encoder
from hyperarc.errors import ArtifactError, UsageError
from hyperarc.files import require_absent, write_beside
from hyperarc.report.sheet import contact_sheet
from hyperarc.training.hardware import dtype_for, keep_freed_memory

FACES, TABLE, FACTS, REPORT, SHEET = "faces", "inversions.csv", "inversion.json", "report.html", "sheet.png"
WITH, WITHOUT = "with BatchNorm", "without"  # of priors that are compared
_SEARCHES = {WITH: "search", WITHOUT: "search-without-batch-norm"}
_OTHER_FACES = f"{FACES}-without-batch-norm"
_SHEET_FACES, _SHEET_COLUMNS = 400, 16


@dataclass(frozen=True)
class Machine:
    """What it runs on: device, CPU threads (0: all), "fp32", "bf16" or "auto" for what the hardware is fast in."""

    device: str = "cpu"
    threads: int = 0
    precision: str = "auto"


@dataclass(frozen=True)
class Judging:
    """By whom and by what faces are judged.

    Attributes:
        judge: artifact of another model, or None.
        real: faces of the same people, "auto" or "none"; see :func:`real_faces`.
        compare_priors: search without the BatchNorm prior too.
    """

    judge: Path | None = None
    real: str = AUTO
    compare_priors: bool = False


@dataclass(frozen=True)
class Inverting:
    """What is asked for.

    Attributes:
        artifact: attacked.
        choice: targets.
        how: settings of the search; its precision is the machine's.
        judging, machine: see there.
        run: folder for results; None names one below runs/.
    """

    artifact: Path
    choice: Choice
    how: How
    judging: Judging = Judging()
    machine: Machine = Machine()
    run: Path | None = None


def invert(job: Inverting, show: Show) -> dict[str, Any]:
    """Find faces, judge them, write pictures, table, sheet, page and JSON; the facts.

    Raises:
        ArtifactError: an artifact that no gradients flow through, or without the head that classes need.
        UsageError, DataError, ContractError, HyperArcError: see :func:`open_targets`, :func:`search_faces`,
            :func:`open_judge` and :func:`real_faces`.
    """
    begun = time.monotonic()
    artifact, model = _open_model(job)
    how = replace(job.how, search=replace(job.how.search, precision=_precision(job.machine, model)))
    judge_encoder = None if job.judging.judge is None else open_judge(job.judging.judge, model)
    targets = open_targets(artifact, model, job.choice, show)
    folder = job.run or Path("runs") / re.sub(r"[^\w.+-]+", "-", f"invert-{_name(job.artifact)}-{targets.kind}")
    _require_free(folder)
    real = real_faces(artifact, targets, job.judging.real, show)
    found = {}
    for name, priors in _priors(job).items():
        pictures = search_faces(model, targets, replace(how, priors=priors), folder / _SEARCHES[name], show)
        found[name] = score(model, targets, pictures, show)
    searched = time.monotonic() - begun
    names = {MODEL: _name(job.artifact)}
    sides = [side_of(MODEL, model, targets, real, show)]
    if judge_encoder is not None:
        sides.append(side_of(JUDGE, judge_encoder, targets, real, show))
        names[JUDGE] = _name(Path(str(job.judging.judge)))
    judgements = {name: {side.name: judge(side, one, targets, show) for side in sides} for name, one in found.items()}
    judged = Judged(targets, found, judgements, real, names)
    facts = _facts(job, how, (targets, real), sides) | {"results": judged.as_dict()}
    facts |= {"search_s": round(searched, 1), "seconds": round(time.monotonic() - begun, 1)}
    return _write(judged, facts, folder)


def closing_text(facts: dict[str, Any]) -> str:
    """What was reached, in words."""
    lines = []
    for name, told in facts["results"].items():
        words = [f"cosine to the target {told['cosine_to_target']['mean']:.3f}"]
        for side in (JUDGE, MODEL):
            if side in told and told[side]["cosine_to_real_faces"] is not None:
                words.append(f"to real faces {told[side]['cosine_to_real_faces']:.3f} under the {side}")
            if side in told and told[side]["accuracy"] is not None:
                words.append(f"verified {100 * told[side]['accuracy']['mean']:.1f} %")
        lines.append((f"{name}: " if len(facts["results"]) > 1 else "") + ", ".join(words))
    return "\n".join([*lines, f"faces  {facts['faces']}", f"report {facts['report']}"])


def _open_model(job: Inverting) -> tuple[Artifact, Encoder]:
    artifact = open_artifact(job.artifact)
    if artifact.backbone_name == MODEL_FILE:
        raise ArtifactError(
            "was imported from an ONNX file: ONNX Runtime returns no gradients, and BatchNorm is folded away in most "
            "graphs, so nothing guides an inversion",
            where=job.artifact,
            mend="invert an artifact that holds weights.safetensors; this one can judge (--judge)",
        )
    if job.machine.threads:
        torch.set_num_threads(job.machine.threads)
    model = artifact.encoder(device=job.machine.device)
    if model.device.type == "cpu":
        keep_freed_memory()
    return artifact, model


def _require_free(folder: Path) -> None:
    """That nothing is written over but what an inversion left there."""
    begun = [folder / name for search in _SEARCHES.values() for name in (search, f".{search}.unfinished")]
    if not any(place.exists() for place in begun):
        for name in (FACES, _OTHER_FACES, TABLE, FACTS, REPORT, SHEET):
            require_absent(folder / name)


def _precision(machine: Machine, model: Encoder) -> Any:
    if machine.precision not in ("auto", "fp32", "bf16"):
        raise UsageError(f"expected precision auto, fp32 or bf16, got {machine.precision}")
    return "bf16" if dtype_for(machine.precision, model.device.type) == torch.bfloat16 else "fp32"


def _priors(job: Inverting) -> dict[str, Any]:
    priors = job.how.priors
    if not priors.batch_norm:
        if job.judging.compare_priors:
            raise UsageError("priors cannot be compared without the BatchNorm prior", mend="give it a weight")
        return {WITHOUT: priors}
    without = {WITHOUT: replace(priors, batch_norm=0.0)} if job.judging.compare_priors else {}
    return {WITH: priors, **without}


def _name(artifact: Path) -> str:
    place = artifact.absolute()
    return place.parent.name if place.name == "artifact" else place.name


def _facts(
    job: Inverting, how: How, about: tuple[Targets, RealFaces | None], sides: list[Side]
) -> dict[str, Any]:
    targets, real = about
    facts: dict[str, Any] = {"artifact": str(job.artifact), "kind": targets.kind, "targets": len(targets)}
    facts |= {"people": len(set(targets.people)), "batch": how.batch, "tries": how.tries}
    facts |= {"search": asdict(how.search), "priors": asdict(how.priors), "device": str(sides[0].encoder.device)}
    facts |= {"contracts": {side.name: side.encoder.contract.digest for side in sides}}
    facts |= {"judge": None if job.judging.judge is None else str(job.judging.judge)}
    return facts | {"real_faces": None if real is None else {"data": real.faces.name, "faces": len(real)}}


def _write(judged: Judged, facts: dict[str, Any], folder: Path) -> dict[str, Any]:
    first = judged.first
    places = {"faces": FACES, "table": TABLE, "sheet": SHEET, "report": REPORT, "json": FACTS}
    facts = facts | {name: str(folder / place) for name, place in places.items()}
    for name in judged.found:
        with write_beside(folder / (FACES if name == first else _OTHER_FACES)) as beside:
            beside.mkdir()
            for file, face in zip(judged.targets.names, judged.faces[name], strict=True):
                Image.fromarray(face).save(beside / f"{file}.png")
    with write_beside(folder / TABLE) as beside, open(beside, "w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows(judged.table())
    shown = np.arange(len(judged.targets))[:_SHEET_FACES]
    captions = [judged.targets.people[row] for row in shown.tolist()]
    with write_beside(folder / SHEET) as beside:
        contact_sheet(list(judged.faces[first][shown]), captions, _SHEET_COLUMNS).save(beside, "PNG")
    report_inversion(judged, facts, folder / REPORT)
    with write_beside(folder / FACTS) as beside:
        beside.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts
