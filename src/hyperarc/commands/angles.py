"""``hyperarc angles``: where faces and centers lie on the hypersphere, model beside model."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hyperarc.commands.angle_faces import Source, embedded_faces, open_models
from hyperarc.commands.angle_report import report_angles
from hyperarc.commands.embed import Job
from hyperarc.commands.model_angles import OTHER, TRAIN, measure_model
from hyperarc.commands.show import Show
from hyperarc.errors import UsageError
from hyperarc.files import write_beside
from hyperarc.protocols.angles import Asked

REPORT, FACTS, EMBEDDINGS = "report.html", "angles.json", "embeddings"


@dataclass(frozen=True)
class AngleJob:
    """What is looked at.

    Attributes:
        artifacts: of the models.
        train, other: the faces they were trained on, and others.
        out: folder for results; None names one below runs/.
        asked: pairs and people.
        embedding: device, batch size and workers, as for ``hyperarc embed``.
    """

    artifacts: tuple[Path, ...]
    train: Source = field(default_factory=Source)
    other: Source = field(default_factory=Source)
    out: Path | None = None
    asked: Asked = field(default_factory=Asked)
    embedding: Job = field(default_factory=lambda: Job(Path()))


def angles(job: AngleJob, show: Show) -> dict[str, Any]:
    """Measure every model on every set, write page and JSON, and return the facts.

    Raises:
        UsageError: nothing to measure: neither class centers nor faces.
    """
    models = open_models(job.artifacts)
    folder = job.out or Path("runs") / re.sub(r"[^\w.+-]+", "-", "angles-" + "-".join(model.name for model in models))
    sources = {name: source for name, source in ((TRAIN, job.train), (OTHER, job.other)) if source}
    headless = [model.name for model in models if model.classes is None]
    if headless and not sources:
        what = f"{headless[0]} was imported and has no class centers to measure"
        raise UsageError(what, mend="give faces: --data FACES")
    embedded = {
        name: embedded_faces(models, source, job.embedding, folder / EMBEDDINGS, show)
        for name, source in sources.items()
    }
    found = [
        measure_model(model, {name: sets[place] for name, sets in embedded.items()}, job.asked, show)
        for place, model in enumerate(models)
    ]
    facts: dict[str, Any] = {"models": [one.as_dict() for one in found], "conditions": _conditions(job)}
    facts |= {"report": str(folder / REPORT), "json": str(folder / FACTS)}
    with write_beside(folder / FACTS) as beside:
        beside.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    report_angles(found, facts["conditions"], folder / REPORT)
    return facts


def closing_text(facts: dict[str, Any]) -> str:
    """The table in words, model beside model."""
    models = facts["models"]
    wide = [max(10, len(one["model"])) for one in models]
    lines = [f"{'':10}" + "".join(f"  {one['model']:>{width}}" for one, width in zip(models, wide, strict=True))]
    for row in models[0]["table_deg"]:
        values = [one["table_deg"][row] for one in models]
        cells = ["-" if value is None else f"{value:.2f}°" for value in values]
        lines.append(f"{row:10}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, wide, strict=True)))
    return "\n".join([*lines, f"report {facts['report']}", f"json   {facts['json']}"])


def _conditions(job: AngleJob) -> dict[str, str | int]:
    return {
        "own face counts for its center": "yes",
        "people with one face": "count, with angle 0",
        "sub-centers": "W is the dominant one",
        "networks": "eval mode",
        "pairs of a kind, at most": job.asked.pairs,
        "seed of the pairs": job.asked.seed,
        "device": job.embedding.device,
    }
