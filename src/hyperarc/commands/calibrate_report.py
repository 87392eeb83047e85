"""A calibration as one HTML page: thresholds with their errors, probabilities, the hardest pairs, conditions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hyperarc.artifact import Calibration
from hyperarc.artifact.calibrated import CalibratedFar
from hyperarc.commands.calibrate import Done
from hyperarc.commands.protocol_page import versions
from hyperarc.protocols.calibration import Calibrated
from hyperarc.report.calibration_plots import (
    Band,
    ErrorCurves,
    ReliabilityBins,
    error_curves,
    probability_curves,
    reliability_diagram,
)
from hyperarc.report.page import Card, Plot, Report, Section, Strip, Table, write_report
from hyperarc.report.sections import conditions_table, pair_tile
from hyperarc.report.style import percent, share_label

HARDEST_SHOWN = 10
_HEADER = ("FAR", "Angle", "Cosine", "FAR reached, 95 %", "TAR, 95 %", "")
_PRIORS = (0.5, 0.01, 1e-4)  # that lines are drawn for, beside the calibration's own
_SHOWN_DEG = (30.0, 120.0)


def report_calibration(done: Done, title: str, path: Path) -> Path:
    """Write the page."""
    calibrated = done.calibrated
    told = calibrated.calibration.conditions
    subtitle = (
        f"What the angle between two faces means: measured on {told['list']}, {told['data']}; "
        f"thresholds from {told['thresholds_from']}."
    )
    sections = [_thresholds(calibrated), _support(calibrated.calibration), _probabilities(calibrated), _hardest(done)]
    sections.append(_conditions(calibrated))
    report = Report(f"HyperArc: calibration of {title}", subtitle, _cards(calibrated.calibration), sections)
    return write_report(report, path)


def facts_of(done: Done, report: Path) -> dict[str, Any]:
    """All of it as plain values for JSON."""
    calibrated = done.calibrated
    return {
        **calibrated.calibration.model_dump(mode="json"),
        "warnings": list(calibrated.warnings),
        "hardest_impostor": [vars(pair) for pair in calibrated.hardest],
        "calibration": str(done.path),
        "report": str(report),
    }


def text_of(calibration: Calibration) -> str:
    """The thresholds as lines of text."""
    rows = [_HEADER, *map(_row, calibration.fars)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _row(one: CalibratedFar) -> tuple[str, ...]:
    """A threshold with what is reached at it; one that is not supported is not shown."""
    if not one.supported or one.threshold is None:
        return (f"{one.target:g}", "–", "–", "–", "–", one.standing)
    angle, cosine = f"{one.threshold.angle_deg:.2f}°", f"{one.threshold.cosine:.4f}"
    return (f"{one.target:g}", angle, cosine, one.far.text(percent=False), one.tar.text(), one.standing)


def _cards(calibration: Calibration) -> list[Card]:
    cards = []
    for one in [one for one in calibration.fars if one.supported][-2:]:
        assert one.threshold is not None
        note = f"TAR {one.tar.text()}; {one.standing} by {one.far.pairs:,} impostor pairs"
        cards.append(Card(f"Threshold at FAR {share_label(one.target)}", f"{one.threshold.angle_deg:.1f}°", note))
    equal, scores = calibration.equal_error, calibration.scores
    cards.append(Card("Equal error rate", percent(equal.rate), f"at {equal.threshold.angle_deg:.1f}°"))
    note = "bits; 0 is perfect, 1 knows nothing; on people that the map was not fitted on"
    return [*cards, Card("Cost of the probabilities, Cllr", f"{scores.cllr:.3f}", note)]


def curves_of(calibrated: Calibrated) -> ErrorCurves:
    """FAR and FRR over the threshold, supported thresholds marked."""
    far, tar = (Band(rates.shares, *rates.interval()) for rates in calibrated.rates)
    fars = calibrated.calibration.fars
    marks = [(one.threshold.angle_deg, one.far.share) for one in fars if one.supported and one.threshold]
    return ErrorCurves(calibrated.angles_deg, far, Band(1.0 - tar.share, 1.0 - tar.high, 1.0 - tar.low), marks)


def _thresholds(calibrated: Calibrated) -> Section:
    calibration = calibrated.calibration
    caption = (
        "Bands are 95 % intervals with people as the unit: pairs that share a person rise and fall together. Dots are "
        "the supported thresholds."
    )
    table = Table(_HEADER, [_row(one) for one in calibration.fars], "Accept a pair at this angle or less")
    text = "\n\n".join(f"{warning[0].upper()}{warning[1:]}." for warning in calibrated.warnings)
    plot = Plot(error_curves(curves_of(calibrated)), caption, wide=True)
    return Section("Thresholds", text, figures=[plot], tables=[table])


def _support(calibration: Calibration) -> Section:
    text = (
        "Pairs that share people are worth fewer independent ones. With 3 / FAR of these a rate is bounded: the true "
        "one may be some three times it. With 30 / FAR it is measured, to about a third. With fewer no threshold is "
        "given out."
    )
    rows = [
        (f"{one.target:g}", one.far.pairs, round(one.far.worth), one.pairs_to_bound, one.pairs_to_measure, one.standing)
        for one in calibration.fars
    ]
    header = ("FAR", "Impostor pairs", "Worth", "To bound it", "To measure it", "")
    return Section("Are the pairs enough?", text, tables=[Table(header, rows)])


def _probabilities(calibrated: Calibrated) -> Section:
    calibration, bins = calibrated.calibration, calibrated.held_out.reliability()
    share = Band(bins.shares, bins.low, bins.high)
    diagram = reliability_diagram(ReliabilityBins(bins.probability, share, bins.genuine, bins.impostor))
    angles = np.linspace(*_SHOWN_DEG, 361)
    cosines, fitted = np.cos(np.deg2rad(angles)), calibration.probability_map
    priors = sorted({*_PRIORS, fitted.prior}, reverse=True)
    lines = [(f"prior {prior:g}", calibration.probability(cosines, prior)) for prior in priors]
    scores = calibration.scores
    rows = [
        ("Cllr, in bits", f"{scores.cllr:.4f}"),
        ("Brier score", f"{scores.brier:.4g}"),
        ("expected calibration error", f"{scores.calibration_error:.4g}"),
        ("judged on", f"{scores.genuine_pairs:,} genuine and {scores.impostor_pairs:,} impostor pairs"),
        ("folds of people", f"{scores.folds}"),
        ("map", f"{fitted.kind}, fitted on {fitted.genuine:,} genuine and {fitted.impostor:,} impostor pairs"),
        ("prior in use", f"{fitted.prior:g}"),
    ]
    text = (
        "The prior is the share of genuine pairs where probabilities are used. It is yours to state: among one in a "
        "hundred, the same angle means less than among one in two."
    )
    at = f"At the prior of the pairs judged, {scores.prior:.3g}. Each fold of people is judged by a map of the others."
    most = (
        f"The map, under several priors. {fitted.impostor:,} impostor pairs cannot tell of rarer ones, so under a "
        "small prior it may level off below 1."
    )
    tables = [Table((), rows, "How good the map is"), _balanced(calibration)]
    figures = [Plot(diagram, at), Plot(probability_curves(angles, lines), most)]
    return Section("Probabilities", text, figures=figures, tables=tables)


def _balanced(calibration: Calibration) -> Table:
    """Thresholds that weigh both errors."""
    rows = []
    for name, one in (("equal error", calibration.equal_error), ("best accuracy", calibration.best_accuracy)):
        rows.append((f"{name} rate" if name == "equal error" else name, percent(one.rate)))
        rows.append((f"angle of {name}", f"{one.threshold.angle_deg:.2f}°, cosine {one.threshold.cosine:.4f}"))
    return Table((), rows, "Where both kinds of pairs are equally common")


def _hardest(done: Done) -> Section:
    pairs = done.calibrated.hardest[:HARDEST_SHOWN]
    tiles = [
        pair_tile(done.image(one.first), done.image(one.second), one.cosine, (one.first, one.second), same=False)
        for one in pairs
    ]
    text = "Are they really two people? Strict thresholds rest on a handful of pairs; a few wrong labels move them."
    return Section("Impostors most alike", text, image_strips=[Strip("Two people by their labels", tiles)])


def _conditions(calibrated: Calibrated) -> Section:
    conditions = calibrated.calibration.conditions
    return Section("Conditions", tables=[conditions_table(conditions, ""), conditions_table(versions(), "Versions")])
