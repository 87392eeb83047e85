"""``hyperarc invert``: from classes, photos or embeddings back to faces, judged by the model and by another one."""

from __future__ import annotations

import csv
import json
import re
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hyperarc.artifact import Artifact
from hyperarc.commands.invert_fid import fid_of, open_inception
from hyperarc.commands.invert_judgement import JUDGE, MODEL, Judged, Side, judge, open_judge, score, side_of
from hyperarc.commands.invert_model import Machine, name_of, open_model, with_precision
from hyperarc.commands.invert_new import NEW_FILES, write_new_people
from hyperarc.commands.invert_pictures import PICTURES, Drawn, draw_pictures, draw_sub_centers
from hyperarc.commands.invert_real import AUTO, RealFaces, real_faces
from hyperarc.commands.invert_report import report_inversion
from hyperarc.commands.invert_search import How, search_faces
from hyperarc.commands.invert_sphere import NEW, SUB_CENTERS, Made, make_targets
from hyperarc.commands.invert_targets import Choice, Targets, open_targets
from hyperarc.commands.polling import Polling
from hyperarc.commands.show import Show
from hyperarc.errors import UsageError
from hyperarc.files import require_absent, write_beside
from hyperarc.report.sheet import contact_sheet

FACES, TABLE, FACTS, REPORT, SHEET = "faces", "inversions.csv", "inversion.json", "report.html", "sheet.png"
WITH, WITHOUT = "with BatchNorm", "without"  # of priors that are compared
_SEARCHES = {WITH: "search", WITHOUT: "search-without-batch-norm"}
_OTHER_FACES = f"{FACES}-without-batch-norm"
_SHEET_FACES, _SHEET_COLUMNS = 400, 16


@dataclass(frozen=True)
class Judging:
    """By whom and by what faces are judged.

    Attributes:
        judge: artifact of another model, or None.
        real: faces of the same people, "auto" or "none"; see :func:`real_faces`.
        compare_priors: search without all that BatchNorm knows too: its statistics and the length.
        inception: torch-fidelity's weights of the network that FID is taken in, or None.
    """

    judge: Path | None = None
    real: str = AUTO
    compare_priors: bool = False
    inception: Path | None = None


@dataclass(frozen=True)
class Inverting:
    """What is asked for.

    Attributes:
        artifact: attacked.
        choice: targets, or the people that targets are made of.
        how: settings of the search; its precision is the machine's.
        judging, machine: see there.
        run: folder for results; None names one below runs/.
        made: targets that nobody has, or None.
    """

    artifact: Path
    choice: Choice
    how: How
    judging: Judging = Judging()
    machine: Machine = field(default_factory=Machine)
    run: Path | None = None
    made: Made | None = None


def invert(job: Inverting, show: Show) -> dict[str, Any]:
    """Find faces, judge them, write pictures, table, sheet, page and JSON; the facts.

    Raises:
        ArtifactError: an artifact that no gradients flow through, or without the head that classes need.
        UsageError, DataError, ContractError, HyperArcError: see :func:`open_targets`, :func:`search_faces`,
            :func:`open_judge`, :func:`open_inception` and :func:`real_faces`.
    """
    begun = time.monotonic()
    artifact, model = open_model(job.artifact, job.machine)
    how = with_precision(job.how, job.machine, model)
    judge_encoder = None if job.judging.judge is None else open_judge(job.judging.judge, model)
    if job.made is None:
        targets = open_targets(artifact, model, job.choice, show)
    else:
        targets = make_targets(artifact, model, job.choice, job.made, show)
    folder = job.run or Path("runs") / re.sub(r"[^\w.+-]+", "-", f"invert-{name_of(job.artifact)}-{targets.kind}")
    _require_free(folder)
    real = real_faces(artifact, targets, job.judging.real, show)
    if real is None and targets.kind == SUB_CENTERS:
        raise UsageError("--sub-centers needs real faces, whose averages are shown", mend="name them with --real")
    network = None if job.judging.inception is None else open_inception(job.judging.inception, real, model.device)
    found = {}
    for name, priors in _priors(job).items():
        pictures = search_faces(model, targets, replace(how, priors=priors), folder / _SEARCHES[name], show)
        found[name] = score(model, targets, pictures, show)
    searched = time.monotonic() - begun
    names = {MODEL: name_of(job.artifact)}
    sides = [side_of(MODEL, model, targets, real, show)]
    if judge_encoder is not None:
        sides.append(side_of(JUDGE, judge_encoder, targets, real, show))
        names[JUDGE] = name_of(Path(str(job.judging.judge)))
    judgements = {name: {side.name: judge(side, one, targets, show) for side in sides} for name, one in found.items()}
    fid = {} if network is None or real is None else fid_of(found, real, network, model.contract, show)
    judged = Judged(targets, found, judgements, real, names, fid)
    facts = _facts(job, how, (targets, real), sides) | {"results": judged.as_dict()}
    facts |= {"search_s": round(searched, 1), "seconds": round(time.monotonic() - begun, 1)}
    _write_faces(judged, folder)
    return _write(judged, facts, folder, _draw(judged, artifact, how, (job, folder), show))


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


def _require_free(folder: Path) -> None:
    """That nothing is written over but what an inversion left there."""
    begun = [folder / name for search in _SEARCHES.values() for name in (search, f".{search}.unfinished")]
    if not any(place.exists() for place in begun):
        for name in (FACES, _OTHER_FACES, TABLE, FACTS, REPORT, SHEET, *PICTURES, *NEW_FILES):
            require_absent(folder / name)


def _priors(job: Inverting) -> dict[str, Any]:
    priors = job.how.priors
    if not priors.batch_norm:
        if job.judging.compare_priors:
            raise UsageError("priors cannot be compared without the BatchNorm prior", mend="give it a weight")
        return {WITHOUT: priors}
    # the length reads the last BatchNorm
    without = {WITHOUT: replace(priors, batch_norm=0.0, length=0.0)} if job.judging.compare_priors else {}
    return {WITH: priors, **without}


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


def _draw(judged: Judged, artifact: Artifact, how: How, about: tuple[Inverting, Path], show: Show) -> Drawn:
    """Pictures and files beside those that every inversion has."""
    job, folder = about
    drawn = draw_pictures(judged, how, folder / _SEARCHES[judged.first], folder)
    if judged.targets.kind == NEW:
        drawn = drawn.joined(write_new_people(judged, folder / FACES, folder))
    if judged.targets.kind == SUB_CENTERS:
        drawn = drawn.joined(draw_sub_centers(judged, artifact, Polling(job.machine.device), folder, show))
    return drawn


def _write_faces(judged: Judged, folder: Path) -> None:
    for name in judged.found:
        with write_beside(folder / (FACES if name == judged.first else _OTHER_FACES)) as beside:
            for file, face in zip(judged.targets.names, judged.faces[name], strict=True):
                place = beside / f"{file}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(face).save(place)


def _write(judged: Judged, facts: dict[str, Any], folder: Path, drawn: Drawn) -> dict[str, Any]:
    places = {"faces": FACES, "table": TABLE, "sheet": SHEET, "report": REPORT, "json": FACTS}
    facts = facts | {name: str(folder / place) for name, place in places.items()} | drawn.facts
    with write_beside(folder / TABLE) as beside, open(beside, "w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows(judged.table())
    shown = np.arange(len(judged.targets))[:_SHEET_FACES]
    captions = [judged.targets.people[row] for row in shown.tolist()]
    with write_beside(folder / SHEET) as beside:
        contact_sheet(list(judged.faces[judged.first][shown]), captions, _SHEET_COLUMNS).save(beside, "PNG")
    report_inversion(judged, facts, folder / REPORT, drawn.sections)
    with write_beside(folder / FACTS) as beside:
        beside.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts
