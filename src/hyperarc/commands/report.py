"""Runs and judgements as one HTML page."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
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
from hyperarc.metrics import roc
from hyperarc.protocols.pairs import PairsResult, ScoredPair
from hyperarc.recipe import Recipe
from hyperarc.report.page import Card, Plot, Report, Section, write_report
from hyperarc.report.plots import Curve, accuracy_bars
from hyperarc.report.sections import (
    PairsFacts,
    conditions_table,
    faces_section,
    pair_tile,
    pairs_section,
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
        sections.append(_pairs(judgement, {name: run.judgements[place].result for name, run in runs.items()}))
    if len(runs) > 1 and first.judgements:
        sections.insert(0, _comparison(runs))
    sections.append(_faces(first.training_set, first.recipe))
    sections.append(Section("Run", tables=[conditions_table({k: _plain(v) for k, v in first.facts.items()}, "")]))
    sections.append(recipe_section(first.recipe.to_yaml(), versions()))
    return write_report(Report(title, text, _cards(runs), sections), path)


def report_judgement(judgement: Judgement, path: Path) -> Path:
    """A page over one judgement."""
    result = judgement.result
    cards = [Card(result.name, f"{100 * result.accuracy:.2f} %", judgement.headline())]
    sections = [_pairs(judgement, {"artifact": result}), Section("Versions", tables=[conditions_table(versions(), "")])]
    return write_report(Report(f"HyperArc: {result.name}", "", cards, sections), path)


def versions() -> dict[str, str]:
    """Of Python and of the libraries that numbers depend on."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in LIBRARIES}


def _cards(runs: Mapping[str, Trained]) -> list[Card]:
    cards = []
    for name, run in runs.items():
        for judgement in run.judgements:
            label = judgement.result.name if len(runs) == 1 else f"{judgement.result.name}, {name}"
            cards.append(Card(label, f"{100 * judgement.result.accuracy:.2f} %", judgement.headline()))
    first = next(iter(runs.values()))
    note = f"{first.facts['faces']:,} faces, {first.facts['epochs']:g} epochs in {first.facts['wall']}"
    return [*cards, Card("Trained on", f"{first.facts['people']:,} people", note)]


def _comparison(runs: Mapping[str, Trained]) -> Section:
    accuracies = {
        name: {j.result.name: (j.result.accuracy, j.result.accuracy_std) for j in run.judgements}
        for name, run in runs.items()
    }
    caption = "Mean and standard deviation over the folds; every run saw the same faces for as many steps."
    return Section("Comparison", figures=[Plot(accuracy_bars(accuracies), caption, wide=True)])


def _pairs(judgement: Judgement, results: Mapping[str, PairsResult]) -> Section:
    result = judgement.result
    curves = []
    for name, other in results.items():
        points = roc(other.genuine, other.impostor)
        curves.append(Curve(name, points.far, points.tar))
    rates = [("accuracy", f"{100 * result.accuracy:.2f} %", f"+- {100 * result.accuracy_std:.2f} over the folds")]
    rates += [
        (f"TAR at FAR {p.far:g}", f"{100 * p.tar:.2f} %", "" if p.supported else "too few impostor pairs for this FAR")
        for p in result.tar_at_far
    ]
    rates += [("EER", f"{100 * result.eer:.2f} %", ""), ("AUC", f"{result.auc:.4f}", "")]
    return pairs_section(
        PairsFacts(
            name=result.name,
            curves=curves,
            genuine_deg=_degrees(result.genuine),
            impostor_deg=_degrees(result.impostor),
            threshold_deg=float(_degrees(np.array(result.threshold))),
            rates=rates,
            hardest_impostor=[_tile(judgement, pair) for pair in result.hardest_impostor[:HARDEST_SHOWN]],
            hardest_genuine=[_tile(judgement, pair) for pair in result.hardest_genuine[:HARDEST_SHOWN]],
            conditions=result.conditions,
        )
    )


def _tile(judgement: Judgement, pair: ScoredPair) -> Any:
    faces = judgement.image(pair.first), judgement.image(pair.second)
    return pair_tile(*faces, pair.cosine, (pair.first, pair.second), same=pair.same)


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
