"""Ready-made parts of a report: training, pairs, faces, conditions, recipe, versions. Plain data in, Section
out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hyperarc.report.page import Cell, Listing, Plot, Section, Strip, Table, Tile
from hyperarc.report.plots import Curve, angle_histogram, det_curve, roc_curve
from hyperarc.report.training_plots import Rows, training_curves


@dataclass(frozen=True, eq=False)
class Angles:
    """Angles of genuine and impostor comparisons in degrees, and the angle of decision, or None."""

    genuine_deg: npt.ArrayLike
    impostor_deg: npt.ArrayLike
    threshold_deg: float | None = None


@dataclass(frozen=True, eq=False)
class ProtocolFacts:
    """What the section of one protocol shows.

    Attributes:
        name: of the protocol.
        curves: ROC of each run; Curve(label, far, tar). None where nothing is verified.
        angles: of what is compared, or None.
        plots: more figures.
        rates: rows (name, value, note) of the table of rates.
        hardest_impostor, hardest_genuine: tiles of two faces each; see :func:`pair_tile`.
        conditions: under which all of it holds.
    """

    name: str
    curves: Sequence[Curve] = ()
    angles: Angles | None = None
    plots: Sequence[Plot] = ()
    rates: Sequence[tuple[str, str, str]] = ()
    hardest_impostor: Sequence[Tile] = ()
    hardest_genuine: Sequence[Tile] = ()
    conditions: Mapping[str, Cell] = field(default_factory=dict)


def protocol_section(facts: ProtocolFacts) -> Section:
    """ROC, DET and angles of one protocol, its rates and conditions, and the pairs it finds hardest.

    Example:
        >>> facts = ProtocolFacts("LFW", [Curve("run", [0.0, 1.0], [0.9, 1.0])], Angles([20.0], [90.0]))
        >>> len(protocol_section(facts).figures)
        3
    """
    figures = list(facts.plots)
    if facts.curves:
        caption = "Share of genuine pairs accepted while so few impostor pairs are."
        figures.append(Plot(roc_curve(facts.curves), caption))
    if facts.angles is not None:
        histogram = angle_histogram(
            facts.angles.genuine_deg, facts.angles.impostor_deg, threshold_deg=facts.angles.threshold_deg
        )
        figures.append(Plot(histogram, "The less the two hills overlap, the better. Dashed lines are medians."))
    if facts.curves:
        figures.append(Plot(det_curve(facts.curves), "Both errors; lower and further left is better."))
    strips = [
        Strip(caption, tiles)
        for caption, tiles in (
            ("Two people, most alike", facts.hardest_impostor),
            ("One person, least alike", facts.hardest_genuine),
        )
        if tiles
    ]
    tables = []
    if facts.rates:
        tables.append(Table((), facts.rates, "Rates"))
    if facts.conditions:
        tables.append(conditions_table(facts.conditions))
    return Section(facts.name, figures=figures, tables=tables, image_strips=strips)


def pair_tile(
    first: npt.ArrayLike, second: npt.ArrayLike, cosine: float, names: tuple[str, str], *, same: bool
) -> Tile:
    """Two faces side by side with the angle between them.

    Args:
        first, second: uint8 RGB faces; names: their keys; cosine: similarity; same: one person or two.

    Example:
        >>> face = np.zeros((112, 112, 3), np.uint8)
        >>> pair_tile(face, face, 0.5, ("a/1", "b/1"), same=False).score
        '60.0°, cosine 0.500'
    """
    degrees = float(np.rad2deg(np.arccos(np.clip(cosine, -1.0, 1.0))))
    score = f"{degrees:.1f}°, cosine {cosine:.3f}" if np.isfinite(cosine) else "no score"
    return Tile((first, second), " · ".join(names), score, "good" if same else "bad")


def training_section(runs: Mapping[str, Rows], text: str = "") -> Section:
    """The course of training; see :func:`hyperarc.report.training_plots.training_curves` for the rows.

    Example:
        >>> training_section({"run": [{"step": 0, "loss": 3.0}, {"step": 1, "loss": 2.0}]}).title
        'Training'
    """
    return Section("Training", text, figures=[Plot(training_curves(runs), wide=True)])


def faces_section(
    faces: Sequence[npt.ArrayLike],
    captions: Sequence[str],
    text: str = "",
    augmented: Sequence[npt.ArrayLike] = (),
) -> Section:
    """Sample faces, and the same as the model sees them in training where that differs.

    Example:
        >>> len(faces_section([np.zeros((112, 112, 3), np.uint8)], ["a/1"]).image_strips[0].tiles)
        1
    """
    shown = {f"{len(faces)} aligned faces": faces}
    if len(augmented):
        shown["The same as the model sees them in training"] = augmented
    strips = [
        Strip(title, [Tile((face,), caption) for face, caption in zip(pictures, captions, strict=True)])
        for title, pictures in shown.items()
    ]
    return Section("Faces", text, image_strips=strips)


def conditions_table(conditions: Mapping[str, Cell], caption: str = "Conditions") -> Table:
    """Facts as a table of two columns, underscores of the names as blanks.

    Example:
        >>> conditions_table({"genuine_pairs": 3000}).rows
        [('genuine pairs', 3000)]
    """
    return Table((), [(name.replace("_", " "), value) for name, value in conditions.items()], caption)


def recipe_section(recipe: str, versions: Mapping[str, Cell]) -> Section:
    """The full recipe as text and the versions of the programs it ran on.

    Example:
        >>> recipe_section("margin: arcface", {"torch": "2.6"}).listings[0].text
        'margin: arcface'
    """
    return Section(
        "Recipe and versions",
        tables=[conditions_table(versions, "Versions")],
        listings=[Listing("Recipe", recipe)],
    )
