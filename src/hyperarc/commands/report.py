"""Runs as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperarc.commands.protocol_page import PANELS, number_card, number_panels, section_of, versions
from hyperarc.commands.train import Trained
from hyperarc.data.face_set import FaceReader
from hyperarc.data.training_set import TrainingSet
from hyperarc.faces.augmentation.augmenter import open_augmenter
from hyperarc.recipe import Recipe
from hyperarc.report.comparison_plots import interval_panels
from hyperarc.report.page import Card, Plot, Report, Section, write_report
from hyperarc.report.sections import conditions_table, faces_section, recipe_section, training_section

FACES_SHOWN = 24


def report_runs(title: str, text: str, runs: Mapping[str, Trained], path: Path, more: Sequence[Section] = ()) -> Path:
    """A page over one or several finished runs, the first of them in detail; ``more`` comes after the comparison."""
    first = next(iter(runs.values()))
    sections = [training_section({name: run.log() for name, run in runs.items()})]
    for place in range(len(first.judgements)):
        sections.append(section_of({name: run.judgements[place] for name, run in runs.items()}))
    if len(runs) > 1:
        sections[:0] = [*_comparison(runs), *more]
    sections.append(_faces(first.training_set, first.recipe))
    sections.append(Section("Run", tables=[conditions_table({k: _plain(v) for k, v in first.facts.items()}, "")]))
    sections.append(recipe_section(first.recipe.to_yaml(), versions()))
    return write_report(Report(title, text, _cards(runs), sections), path)


def _cards(runs: Mapping[str, Trained]) -> list[Card]:
    cards = []
    for name, run in runs.items():
        for judgement in run.judgements:
            label = judgement.result.name if len(runs) == 1 else f"{judgement.result.name}, {name}"
            cards.append(number_card(label, judgement.result.numbers[0], judgement.headline()))
    first = next(iter(runs.values()))
    note = f"{first.facts['faces']:,} faces, {first.facts['epochs']:g} epochs in {first.facts['wall']}"
    return [*cards, Card("Trained on", f"{first.facts['people']:,} people", note)]


def _comparison(runs: Mapping[str, Trained]) -> list[Section]:
    by_protocol = zip(*(run.judgements for run in runs.values()), strict=True)
    panels = number_panels([dict(zip(runs, (one.result for one in some), strict=True)) for some in by_protocol])
    alike = len({(run.facts.get("faces"), run.facts.get("steps")) for run in runs.values()}) == 1
    caption = f"{PANELS} Every run saw the same faces for as many steps." if alike else PANELS
    return [Section("Comparison", figures=[Plot(interval_panels(panels), caption, wide=True)])] if panels else []


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


def _plain(value: Any) -> str | int | float:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(str, value))
    return value if isinstance(value, str | int | float) else str(value)
