"""The figures of the losses: which curves stand together, and how they are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hyperarc.commands import loss_curves as curves
from hyperarc.commands.loss_curves import NORMS, Floats, angles_deg, settled
from hyperarc.heads.auxiliary import auxiliary_names
from hyperarc.heads.head import create_head
from hyperarc.margins import Margin, create_margin, margin_names
from hyperarc.report.margin_plots import Decision, GradientMap, decision_boundaries, gradient_maps
from hyperarc.report.panels import Line, Panel, draw_panels
from hyperarc.report.style import BLUE, BY_NORM, GREEN, MUTED, ORANGE, PURPLE, VERMILLION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLAIN = "norm_softmax"  # what every margin is held against
DASHED, DOTTED, MIXED = (0, (5, 2)), (0, (1.2, 1.6)), (0, (5, 1.5, 1, 1.5))
ANGLE = "Angle to the own center"


def target_logit() -> Figure:
    """What the margins of the ArcFace paper make of the target's cosine (its figure of target logit curves)."""
    theta = angles_deg()
    shown: tuple[tuple[str, str, dict[str, Any], str, Any], ...] = (
        ("norm-softmax", PLAIN, {}, MUTED, DASHED),
        ("SphereFace, m = 1.35", "sphereface", {"margin": 1.35}, ORANGE, "-"),
        ("CosFace, m = 0.35", "cosface", {"margin": 0.35}, BLUE, "-"),
        ("ArcFace, m = 0.5", "arcface", {"margin": 0.5}, VERMILLION, "-"),
        ("CM1 (1, 0.3, 0.2)", "combined", {"m1": 1.0, "m2": 0.3, "m3": 0.2}, GREEN, "-"),
        ("CM2 (0.9, 0.4, 0.15)", "combined", {"m1": 0.9, "m2": 0.4, "m3": 0.15}, PURPLE, MIXED),
    )
    lines = [
        _line(label, curves.target(create_margin(name, **arguments), theta, 1.0), color, dashes)
        for label, name, arguments, color, dashes in shown
    ]
    title, side = "Target cosine with its margin", "target(cos θ)"
    return draw_panels([Panel(title, lines, ANGLE, side, y_limits=(-1.75, 1.08), legend="upper right")])


def all_margins() -> Figure:
    """Every registered margin with its defaults, each against norm-softmax."""
    panels = [_target_panel(name, settled(name), short=True) for name in margin_names()]
    return draw_panels(panels, columns=4, legend_below=True, shared=True)


def decision_boundaries_of_margins() -> Figure:
    """Two people: where training leaves a sample alone (the ArcFace paper's figure of decision margins)."""
    theta = np.linspace(0.0, 90.0, 61)
    small, large = NORMS[0], NORMS[2]
    shown = (
        ("softmax (|w| = 1, 0.75)", "softmax", large),
        ("norm-softmax", PLAIN, large),
        ("SphereFace", "sphereface", large),
        ("CosFace", "cosface", large),
        ("ArcFace", "arcface", large),
        ("combined (CM1)", "combined", large),
        (f"AdaFace, norm {small:g}", "adaface", small),
        (f"AdaFace, norm {large:g}", "adaface", large),
    )
    return decision_boundaries(
        [
            Decision(title, theta, *curves.decision(settled(name), theta, norm, (1.0, 0.75)))
            for title, name, norm in shown
        ]
    )


def margin_over_norm() -> Figure:
    """Angular and cosine margin over the embedding's norm: MagFace and AdaFace, ArcFace and CosFace for scale."""
    norms = np.linspace(1.0, 120.0, 477)
    shown: tuple[tuple[str, str, str, Any], ...] = (
        ("MagFace", "magface", VERMILLION, "-"),
        ("AdaFace", "adaface", BLUE, "-"),
        ("ArcFace", "arcface", MUTED, DASHED),
        ("CosFace", "cosface", MUTED, DOTTED),
    )
    angular, cosine = [], []
    for label, name, color, dashes in shown:
        margin = settled(name)
        by_angle, by_cosine = curves.two_numbers(margin, norms)
        angular.append(Line(label, norms, np.deg2rad(by_angle), color, dashes))
        cosine.append(Line(label, norms, by_cosine, color, dashes))
    side = "Norm of the embedding"
    panels = [
        Panel("Angular margin", angular, side, "radians added to the angle", "plain", (0, 120)),
        Panel("Cosine margin", cosine, side, "taken off the cosine", "plain", (0, 120)),
    ]
    return draw_panels(panels, columns=2, legend_below=True)


def gradient_scale() -> Figure:
    """How large the gradients are, over angle and norm (the AdaFace paper's figure of gradient scaling terms)."""
    theta, norms = np.linspace(0.0, 90.0, 181), np.linspace(NORMS[0], NORMS[2], 33)
    shown = ("cosface", "arcface", "curricularface", "magface", "adaface")
    maps = []
    for name in shown:
        margin = settled(name)
        factor = np.stack([curves.loss_and_gradient(margin, theta, float(norm))[1] for norm in norms])
        maps.append(GradientMap(_paper_name(margin), theta, norms, factor))
    return gradient_maps(maps)


def adacos_scale() -> Figure:
    """AdaCos: the fixed scale over the number of people; the dynamic one, and its median angle, in a small training."""
    people = np.unique(np.geomspace(4, 1e7, 200).round())
    fixed = create_margin("adacos_fixed")
    scales = []
    for count in people:
        fixed.for_classes(int(count))
        scales.append(float(fixed.scale))
    course = _adacos_course()
    steps = np.arange(len(course), dtype=np.float64)
    fixed.for_classes(ADACOS_PEOPLE)
    level = np.full(len(course), float(fixed.scale))
    panels = [
        Panel("Fixed scale", [Line("", people, np.array(scales), VERMILLION)], "Number of people", "s", "count"),
        Panel(
            f"Dynamic scale, {ADACOS_PEOPLE} people",
            [Line("fixed", steps, level, VERMILLION, DASHED), Line("dynamic", steps, course[:, 0], BLUE)],
            "Step", "s", "plain", legend="upper right",
        ),
        Panel("Median angle to the own center", [Line("", steps, course[:, 1], BLUE)], "Step", "degrees", "plain"),
    ]  # fmt: skip
    return draw_panels(panels)


ADACOS_PEOPLE = 500


def _adacos_course(steps: int = 150, dim: int = 64, batch: int = 512) -> Floats:
    """[steps, 2] scale and median target angle while centers are fitted to embeddings that stay where they are."""
    generator = torch.Generator().manual_seed(0)
    people = torch.randn(ADACOS_PEOPLE, dim, generator=generator)
    head = create_head("adacos", num_classes=ADACOS_PEOPLE, embedding_dim=dim, seed=1)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.005, momentum=0.9)
    course = []
    for _ in range(steps):
        labels = torch.randint(ADACOS_PEOPLE, (batch,), generator=generator)
        out = head(people[labels] + 0.5 * torch.randn(batch, dim, generator=generator), labels)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        median = out.target_cosine.clamp(-1.0, 1.0).acos().median()
        course.append((float(head.margin.scale), float(median.rad2deg())))
    return np.array(course)


def loss_figure(name: str) -> Figure:
    """The figure of one loss, for its page: target cosine, loss, and what becomes of negatives where that changes."""
    if name in auxiliary_names():
        return draw_panels(_auxiliary_panels(name), columns=2)
    margin = settled(name)
    panels = [_target_panel(name, margin), _loss_panel(name, margin)]
    negatives = _negative_panel(margin)
    return draw_panels(panels if negatives is None else [*panels, negatives], legend_below=True)


def _target_panel(name: str, margin: Margin, *, short: bool = False) -> Panel:
    theta = angles_deg()
    alone = "the margin" if short else name
    answers = [curves.target(margin, theta, norm) for norm in NORMS]
    varied = curves.spread(margin, theta[::16], NORMS[1])
    if varied is not None:
        low, middle, high = varied
        lines = [Line("median, 5 to 95 %", theta[::16], middle, BLUE, band=(low, high))]
    elif np.abs(answers[0] - answers[-1]).max() > 1e-3:
        lines = _norm_lines(answers)
    else:
        lines = [_line(alone, answers[0], BLUE)]
    if name != PLAIN or short:
        label = "norm-softmax" if short else _plain_name(margin)
        lines.append(_line(label, curves.target(create_margin(PLAIN), theta, 1.0), MUTED, DASHED))
    if short:
        return Panel(name, lines, y_limits=(-2.1, 1.1))
    return Panel("Target cosine", lines, ANGLE, "target(cos θ)")


def _loss_panel(name: str, margin: Margin) -> Panel:
    theta = angles_deg()
    answers = [curves.loss_and_gradient(margin, theta, norm)[0] for norm in NORMS]
    if np.abs(answers[0] - answers[-1]).max() > 1e-3 * np.abs(answers[0]).max():
        lines = _norm_lines(answers)
    else:
        lines = [_line(name, answers[1], BLUE)]
    if type(margin).loss is Margin.loss and name != PLAIN:
        plain, _ = curves.loss_and_gradient(create_margin(PLAIN, scale=_scale(margin)), theta, NORMS[1])
        lines.append(_line(_plain_name(margin), plain, MUTED, DASHED))
    return Panel(f"Loss among {curves.PEOPLE:,} people", lines, ANGLE, "loss")


def _plain_name(margin: Margin) -> str:
    return f"norm-softmax, s = {_scale(margin):.3g}" if type(margin).loss is Margin.loss else "norm-softmax"


def _scale(margin: Margin) -> float:
    """What the cosine is multiplied with, by the margin or by the embedding's norm."""
    return float(margin.scale) * (1.0 if margin.normalizes_embeddings else NORMS[1])


def _negative_panel(margin: Margin) -> Panel | None:
    theta = angles_deg()
    plain = np.cos(np.deg2rad(theta))
    shown = ((30.0, GREEN, "-"), (60.0, VERMILLION, DASHED))
    answers = [curves.negative(margin, theta, own) for own, _, _ in shown]
    if max(np.abs(values - plain).max() for values in answers) < 0.02:
        return None
    lines = [_line("as it is", plain, MUTED, DOTTED)]
    for (own, color, dashes), values in zip(shown, answers, strict=True):
        lines.append(_line(f"own center at {own:g}°", values, color, dashes))
    return Panel("A negative's cosine", lines, "Angle to the negative center", "negative(cos θ)")


def _line(label: str, values: Floats, color: str, dashes: Any = "-") -> Line:
    """A curve over ``angles_deg``."""
    return Line(label, *curves.sparse(angles_deg(), values), color, dashes)


def _norm_lines(answers: Sequence[Floats]) -> list[Line]:
    """One curve for each of NORMS, the largest first."""
    looks = zip(reversed(NORMS), reversed(answers), BY_NORM, strict=True)
    return [_line(f"norm {norm:g}", values, color, dashes) for norm, values, (color, dashes) in looks]


def _auxiliary_panels(name: str) -> list[Panel]:
    theta = np.linspace(0.0, 180.0, 91)
    leaving, apart = curves.auxiliary(name, theta)
    return [
        Panel("Samples leave their center", [Line("", theta, leaving, BLUE)], "Angle from the center", "loss"),
        Panel("People move apart", [Line("", theta, apart, BLUE)], "Angle between two centers", "loss"),
    ]


def _paper_name(margin: Margin) -> str:
    return type(margin).__name__


FIGURES: dict[str, Callable[[], Figure]] = {
    "target-logit": target_logit,
    "all-margins": all_margins,
    "decision-boundaries": decision_boundaries_of_margins,
    "margin-over-norm": margin_over_norm,
    "gradient-scale": gradient_scale,
    "adacos-scale": adacos_scale,
}
