"""All pairs of files of embeddings, counted, as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hyperarc.commands.protocol_page import versions
from hyperarc.metrics.all_pairs import AllPairs
from hyperarc.report.page import Card, Plot, Report, Section, Table, write_report
from hyperarc.report.pair_plots import BinnedPairs, counted_angles, counted_roc
from hyperarc.report.plots import Curve
from hyperarc.report.sections import conditions_table
from hyperarc.report.style import percent

NOT_CONDITIONS = ("points", "hardest_impostor", "hardest_genuine", "seconds")


def report_counts(told: Mapping[str, Any], found: AllPairs, path: Path) -> Path:
    """Write the page."""
    title = " with ".join(str(told[side]) for side in ("embeddings", "gallery") if side in told) or path.stem
    subtitle = "Every pair of faces compared. The rates are those that sorting all scores would give, exactly."
    conditions = {name: value for name, value in told.items() if name not in NOT_CONDITIONS}
    sections = [
        Section("True accepts", _advice(told), _figures(told, found), tables=[_rates(told["points"])]),
        *_hardest(told),
        Section("Conditions", tables=[conditions_table(conditions, "Pairs"), conditions_table(versions(), "Versions")]),
    ]
    return write_report(Report(f"All pairs: {title}", subtitle, _cards(told), sections), path)


def _cards(told: Mapping[str, Any]) -> list[Card]:
    supported = [point for point in told["points"] if point["supported"]]
    last = min(supported or told["points"], key=lambda point: float(point["far"]))
    threshold = "" if last["threshold"] is None else f", from cosine {last['threshold']:.4f} on"
    accepts = f"{last['false_accepts']:,} false accepts{threshold}"
    return [
        Card(f"TAR at FAR {last['far']:g}", percent(last["tar"]), accepts),
        Card("Impostor pairs", f"{told['impostor_pairs']:,}", "of two people, or with a stranger"),
        Card("Genuine pairs", f"{told['genuine_pairs']:,}", "of one person"),
    ]


def _advice(told: Mapping[str, Any]) -> str:
    text = (
        "A pair is accepted if its cosine reaches the threshold. Intervals are exact ones (Clopper and Pearson, 95 %) "
        "of independent pairs; pairs that share a person are worth fewer."
    )
    few = [f"{point['far']:g}" for point in told["points"] if not point["supported"]]
    if few:
        text += (
            f"\n\nThere are too few impostor pairs for FAR {', '.join(few)}: the TAR told there is that without any "
            "false accept."
        )
    return text


def _rates(points: Sequence[Mapping[str, Any]]) -> Table:
    header = ("FAR", "TAR", "95 % interval", "Threshold", "Angle", "False accepts", "95 % interval", "Needs pairs")
    rows = []
    for point in points:
        none = point["threshold"] is None
        low, high = point["far_interval"]
        rows.append((
            f"{point['far']:g}" + ("" if point["supported"] else " (too few pairs)"),
            percent(point["tar"], 3),
            " to ".join(percent(end, 3) for end in point["tar_interval"]),
            "none" if none else f"{point['threshold']:.5f}",
            "none" if none else f"{point['angle_deg']:.2f}°",
            point["false_accepts"],
            f"{low:.2g} to {high:.2g}",
            point["pairs_to_measure"],
        ))  # fmt: skip
    return Table(header, rows, "Rates")


def _figures(told: Mapping[str, Any], found: AllPairs) -> list[Plot]:
    pairs = BinnedPairs(found.edges, found.genuine, found.sampled_impostors)
    drawn = [point for point in told["points"] if point["false_accepts"]]
    drawn.sort(key=lambda point: float(point["far"]))
    exact = marks = None
    if drawn:
        exact = Curve("exact", [point["measured_far"] for point in drawn], [point["tar"] for point in drawn])
        marks = Curve("", [point["far"] for point in drawn], [point["angle_deg"] for point in drawn])
    sampled = int(found.sampled_impostors.sum())
    return [
        Plot(
            counted_roc(pairs, exact),
            f"The line counts all genuine pairs and a sample of {sampled:,} impostor pairs; the points count all.",
        ),
        Plot(counted_angles(pairs, marks), "All genuine pairs, and the sample of impostor pairs; thresholds marked."),
    ]


def _hardest(told: Mapping[str, Any]) -> list[Section]:
    kinds = (("Two people, most alike", "hardest_impostor"), ("One person, least alike", "hardest_genuine"))
    header = ("Cosine", "Angle", "Face", "Face")
    sections = []
    for title, kind in kinds:
        rows = [(f"{p['cosine']:.5f}", f"{p['angle_deg']:.2f}°", *p["faces"]) for p in told[kind]]
        sections += [Section(title, tables=[Table(header, rows)])] if rows else []
    return sections
