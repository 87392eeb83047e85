"""Ready-made parts of a report: training, pairs, faces, conditions, recipe, versions. Plain data in, Section
out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hyperarc.report.comparison_plots import angle_ridges
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
        curves: ROC of each model; Curve(label, far, tar). None where nothing is verified.
        angles: model -> of what is compared; models without scores are left out.
        plots: more figures.
        lead: table that the section begins with, such as the numbers of several models.
        rates: table of the numbers of one model.
        strips: the hardest pairs; see :func:`hardest_strips`.
        conditions: tables of what all of it holds under.
    """

    name: str
    curves: Sequence[Curve] = ()
    angles: Mapping[str, Angles] = field(default_factory=dict)
    plots: Sequence[Plot] = ()
    lead: Table | None = None
    rates: Table | None = None
    strips: Sequence[Strip] = ()
    conditions: Sequence[Table] = ()


def protocol_section(facts: ProtocolFacts) -> Section:
    """ROC, DET and angles of one protocol, its rates and conditions, and the pairs it finds hardest.

    Example:
        >>> facts = ProtocolFacts("LFW", [Curve("run", [0.0, 1.0], [0.9, 1.0])], {"run": Angles([20.0], [90.0])})
        >>> len(protocol_section(facts).figures)
        3
    """
    figures = list(facts.plots)
    if facts.curves:
        caption = "Share of genuine pairs accepted while so few impostor pairs are."
        figures.append(Plot(roc_curve(facts.curves), caption))
    if len(facts.angles) == 1:
        (angles,) = facts.angles.values()
        histogram = angle_histogram(angles.genuine_deg, angles.impostor_deg, threshold_deg=angles.threshold_deg)
        figures.append(Plot(histogram, "The less the two hills overlap, the better. Dashed lines are medians."))
    if facts.curves:
        figures.append(Plot(det_curve(facts.curves), "Both errors; lower and further left is better."))
    if len(facts.angles) > 1:
        named = {name: (one.genuine_deg, one.impostor_deg, one.threshold_deg) for name, one in facts.angles.items()}
        caption = "The less the two hills overlap, the better. Short bars are medians."
        figures.append(Plot(angle_ridges(named), caption, wide=True))
    tables = [*([facts.rates] if facts.rates else []), *facts.conditions]
    return Section(facts.name, figures=figures, tables=tables, image_strips=facts.strips, lead=facts.lead)


def hardest_strips(impostor: Sequence[Tile], genuine: Sequence[Tile], model: str = "") -> list[Strip]:
    """The hardest pairs of either kind under their captions; a kind without tiles is left out.

    Args:
        impostor, genuine: tiles of two faces each, see :func:`pair_tile`; model: named where there are several.

    Example:
        >>> [strip.caption for strip in hardest_strips([], [Tile(())], "r50")]
        ['One person, least alike: r50']
    """
    kinds = (("Two people, most alike", impostor), ("One person, least alike", genuine))
    return [Strip(f"{caption}: {model}" if model else caption, tiles) for caption, tiles in kinds if tiles]


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
    return Tile((first, second), " · ".join(map(_short, names)), score, "good" if same else "bad")


def _short(key: str) -> str:
    """The key of a face without its folder, where the name of the file begins with that."""
    folder, _, name = key.rpartition("/")
    return name if folder and name.startswith(folder.rpartition("/")[2]) else key


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
