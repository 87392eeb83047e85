"""Runs and judgements as one HTML page."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from hyperarc.artifact.card import LIBRARIES
from hyperarc.commands.evaluate import Judgement
from hyperarc.commands.train import Trained
from hyperarc.data.face_set import FaceReader
from hyperarc.data.training_set import TrainingSet
from hyperarc.faces.augmentation.augmenter import open_augmenter
from hyperarc.protocols.result import Result, ScoredPair
from hyperarc.recipe import Recipe
from hyperarc.report.identification_plots import cmc_curve, open_set_curve
from hyperarc.report.page import Card, Plot, Report, Section, Tile, write_report
from hyperarc.report.plots import Curve, accuracy_bars
from hyperarc.report.sections import (
    Angles,
    ProtocolFacts,
    conditions_table,
    faces_section,
    pair_tile,
    protocol_section,
    recipe_section,
    training_section,
)

HARDEST_SHOWN = 8
FACES_SHOWN = 24


def report_runs(title: str, text: str, runs: Mapping[str, Trained], path: Path) -> Path:
    """A page over one or several finished runs, the first of them in detail."""
    first = next(iter(runs.values()))
    sections = [training_section({name: run.log() for name, run in runs.items()})]
    for place, judgement in enumerate(first.judgements):
        sections.append(_protocol(judgement, {name: run.judgements[place].result for name, run in runs.items()}))
    if len(runs) > 1 and first.judgements:
        sections.insert(0, _comparison(runs))
    sections.append(_faces(first.training_set, first.recipe))
    sections.append(Section("Run", tables=[conditions_table({k: _plain(v) for k, v in first.facts.items()}, "")]))
    sections.append(recipe_section(first.recipe.to_yaml(), versions()))
    return write_report(Report(title, text, _cards(runs), sections), path)


def report_judgement(judgement: Judgement, path: Path) -> Path:
    """A page over one judgement."""
    result = judgement.result
    told = Section("Versions", tables=[conditions_table(versions(), "")])
    sections = [_protocol(judgement, {"artifact": result}), told]
    return write_report(Report(f"HyperArc: {result.name}", "", [_card(result.name, result)], sections), path)


def versions() -> dict[str, str]:
    """Of Python and of the libraries that numbers depend on."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in LIBRARIES}


def _cards(runs: Mapping[str, Trained]) -> list[Card]:
    cards = []
    for name, run in runs.items():
        for judgement in run.judgements:
            label = judgement.result.name if len(runs) == 1 else f"{judgement.result.name}, {name}"
            cards.append(_card(label, judgement.result))
    first = next(iter(runs.values()))
    note = f"{first.facts['faces']:,} faces, {first.facts['epochs']:g} epochs in {first.facts['wall']}"
    return [*cards, Card("Trained on", f"{first.facts['people']:,} people", note)]


def _card(label: str, result: Result) -> Card:
    first = result.numbers[0]
    return Card(label, replace(first, std=None).text(), result.headline())


def _comparison(runs: Mapping[str, Trained]) -> Section:
    accuracies = {
        name: {j.result.name: (j.result.numbers[0].value, j.result.numbers[0].std or 0.0) for j in run.judgements}
        for name, run in runs.items()
    }
    caption = (
        "The first number of each protocol, and its standard deviation over the folds where there are any; every run "
        "saw the same faces for as many steps."
    )
    return Section("Comparison", figures=[Plot(accuracy_bars(accuracies), caption, wide=True)])


def _protocol(judgement: Judgement, results: Mapping[str, Result]) -> Section:
    result = judgement.result
    labelled = [
        (run if not curve.label else f"{run}, {curve.label}" if len(results) > 1 else curve.label, curve)
        for run, other in results.items()
        for curve in other.curves
    ]
    scores = result.scores
    angles = None
    if scores is not None and len(scores.genuine) and len(scores.impostor):
        decision = None if scores.threshold is None else float(_degrees(scores.threshold))
        angles = Angles(_degrees(scores.genuine), _degrees(scores.impostor), decision)
    ranks = [Curve(label, curve.x, curve.y) for label, curve in labelled if curve.kind == "cmc"]
    open_set = [Curve(label, curve.x, curve.y) for label, curve in labelled if curve.kind == "dir"]
    plots = [Plot(cmc_curve(ranks), "Share of probes whose person is among so many nearest.")] if ranks else []
    if open_set:
        plots.append(Plot(open_set_curve(open_set), "Share of known people found while so few unknown ones are."))
    return protocol_section(
        ProtocolFacts(
            name=result.name,
            curves=[Curve(label, curve.x, curve.y) for label, curve in labelled if curve.kind == "roc"],
            angles=angles,
            plots=plots,
            rates=[(number.name, number.text(), number.note) for number in result.numbers],
            hardest_impostor=_tiles(judgement, result.hardest_impostor),
            hardest_genuine=_tiles(judgement, result.hardest_genuine),
            conditions=result.conditions,
        )
    )


def _tiles(judgement: Judgement, pairs: Sequence[ScoredPair]) -> list[Tile]:
    """Pairs of faces; pairs of videos have no picture."""
    shown = [pair for pair in pairs if {pair.first, pair.second} <= judgement.row_of.keys()][:HARDEST_SHOWN]
    return [
        pair_tile(
            judgement.image(pair.first),
            judgement.image(pair.second),
            pair.cosine,
            (pair.first, pair.second),
            same=pair.same,
        )
        for pair in shown
    ]


def _faces(faces: TrainingSet, recipe: Recipe) -> Section:
    rows = np.random.default_rng(0).choice(len(faces.kept), min(FACES_SHOWN, len(faces.kept)), replace=False)
    rows = np.sort(rows)
    reader = FaceReader(faces.sources, faces.kept)
    findings = "\n\n".join(str(found) for found in faces.manifest.findings)
    persons = faces.kept.take(rows).column("person").tolist()
    images = [reader.image(row) for row in rows.tolist()]
    augmenter = open_augmenter(recipe.data.augmentation, recipe.seed)
    augmented = [] if augmenter is None else list(augmenter.pictures(np.stack(images)))
    return faces_section(images, persons, findings, augmented)


def _degrees(cosines: Any) -> Any:
    return np.rad2deg(np.arccos(np.clip(cosines, -1.0, 1.0)))


def _plain(value: Any) -> str | int | float:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return value if isinstance(value, str | int | float) else str(value)
