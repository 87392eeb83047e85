"""The figures of the losses: curves are the real margins', files are whole, small and the same each time."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from hyperarc import cli
from hyperarc.commands import loss_curves as curves
from hyperarc.commands import loss_figures, toy
from hyperarc.commands.plots import draw, figure_names, plots
from hyperarc.commands.show import Show
from hyperarc.errors import DataError, HyperArcError
from hyperarc.heads.auxiliary import auxiliary_names
from hyperarc.heads.head import create_head
from hyperarc.margins import create_margin, margin_names
from hyperarc.report.margin_plots import Decision, GradientMap, decision_boundaries, gradient_maps
from hyperarc.report.panels import Line, Panel, draw_panels
from hyperarc.report.style import save_figure
from hyperarc.report.toy_plots import PlaneEmbeddings, apart, plane_embeddings

THETA = curves.angles_deg()


def at(degrees: float) -> int:
    return int(np.flatnonzero(degrees == THETA)[0])


# ---- curves, against numbers worked out by hand


def test_target_curves_are_the_papers() -> None:
    hand = {
        "cosface": math.cos(math.radians(60)) - 0.35,
        "arcface": math.cos(math.radians(60) + 0.5),
        "sphereface": math.cos(1.35 * math.radians(60)),
        "softmax": 0.5,  # divided by the norm
        # after 2000 steps lambda is at its least, 5; cos(4 * 60 degrees) = -0.5 with k = 1: psi = 0.5 - 2
        "a_softmax": (5 * 0.5 + (0.5 - 2.0)) / 6,
        # norm 90 is three deviations of the batch above its mean: z = 1, g_angle = -0.4, g_add = 0.8
        "adaface": math.cos(math.radians(60) - 0.4) - 0.8,
        "magface": math.cos(math.radians(60) + 0.45 + 0.35 * 80 / 100),
    }
    for name, expected in hand.items():
        got = curves.target(curves.settled(name), THETA, 90.0)[at(60)]
        assert got == pytest.approx(expected, abs=0.01 if name == "adaface" else 1e-9), name


def test_gaps_stand_where_the_target_steps_and_nothing_else_is_lost() -> None:
    y = curves.target(create_margin("arcface"), THETA, 1.0)
    sparse_x, sparse_y = curves.sparse(THETA, y)
    (gap,) = np.flatnonzero(np.isnan(sparse_y))
    assert sparse_x[gap] == pytest.approx(180 - math.degrees(0.5), abs=0.13)  # theta + m = pi
    assert sparse_x.size < 100 < y.size
    again = np.interp(THETA, sparse_x[~np.isnan(sparse_y)], sparse_y[~np.isnan(sparse_y)])
    assert np.abs(again - y).max() < 1e-3 * np.ptp(y) + 1e-9
    smooth = curves.target(create_margin("cosface"), THETA, 1.0)
    assert not np.isnan(curves.sparse(THETA, smooth)[1]).any()


@pytest.mark.parametrize("name", ["arcface", "curricularface", "npt", "softmax", "adaface", "uniface", "circle"])
def test_loss_curve_is_what_a_head_answers(name: str) -> None:
    """A head whose negative centers have exactly the scene's cosines."""
    margin = curves.settled(name)
    head = create_head(name, num_classes=curves.PEOPLE, embedding_dim=3, sweep="reference").double()
    head.margin = margin
    theta, norm = 55.0, 50.0
    own = torch.tensor([math.cos(math.radians(theta)), math.sin(math.radians(theta)), 0.0], dtype=torch.float64)
    cosine = curves._others()
    others = torch.stack([cosine, torch.zeros_like(cosine), (1 - cosine**2).sqrt()], dim=1)
    head.centers.weight = torch.nn.Parameter(torch.cat([own[None], others])[:, None])
    embedding = torch.tensor([[norm, 0.0, 0.0]], dtype=torch.float64)
    penalty = margin.penalty(embedding.norm(dim=1)) or 0.0
    expected = (head(embedding, torch.tensor([0])).loss - penalty).item()
    loss, _ = curves.loss_and_gradient(margin, np.array([theta]), norm)
    assert loss[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", margin_names())
def test_gradient_curve_is_the_slope_of_the_loss_curve(name: str) -> None:
    margin = curves.settled(name)
    theta = np.linspace(20.0, 80.0, 7) + 0.3
    cosine = np.cos(np.deg2rad(theta))
    step = 1e-6
    above, below = (np.rad2deg(np.arccos(cosine + by)) for by in (step, -step))
    slope = (
        curves.loss_and_gradient(margin, above, 50.0)[0] - curves.loss_and_gradient(margin, below, 50.0)[0]
    ) / (2 * step)
    size = 50.0 if not margin.normalizes_embeddings else 1.0
    gradient = curves.loss_and_gradient(margin, theta, 50.0)[1]
    # weights and thresholds that move with the target get no gradient: the slope of these curves holds more than it
    if name not in ("mv_softmax", "curricularface", "arcnegface", "circle", "sphereface2"):
        np.testing.assert_allclose(gradient, -slope / (float(margin.scale) * size), atol=2e-5)
    assert (gradient >= -1e-9).all()


def test_two_numbers_are_the_margins_of_the_formula() -> None:
    norms = np.array([5.0, 10.0, 60.0, 110.0, 115.0])
    angular, cosine = curves.two_numbers(curves.settled("magface"), norms)
    np.testing.assert_allclose(np.deg2rad(angular), [0.45, 0.45, 0.625, 0.8, 0.8], atol=1e-9)
    np.testing.assert_allclose(cosine, 0.0, atol=1e-9)
    adaface = curves.settled("adaface")
    z = adaface.z(torch.from_numpy(norms)).numpy()
    angular, cosine = curves.two_numbers(adaface, norms)
    np.testing.assert_allclose(np.deg2rad(angular), -0.4 * z, atol=1e-6)
    np.testing.assert_allclose(cosine, 0.4 * z + 0.4, atol=1e-6)
    angular, cosine = curves.two_numbers(create_margin("combined"), norms)
    np.testing.assert_allclose([np.deg2rad(angular), cosine], [[0.3] * 5, [0.2] * 5], atol=1e-9)


def test_decision_of_arcface_is_a_band_and_of_softmax_leans_to_the_longer_center() -> None:
    theta = np.linspace(0.0, 90.0, 91)
    first, second = curves.decision(create_margin("arcface"), theta, 1.0, (1.0, 1.0))
    ours, theirs = np.meshgrid(np.deg2rad(theta), np.deg2rad(theta))
    clear = np.abs(theirs - ours - 0.5) > 1e-6
    assert ((first > 0) == (theirs > ours + 0.5))[clear].all()
    assert np.array_equal(second, first.T)
    first, second = curves.decision(create_margin("softmax"), theta, 50.0, (1.0, 0.75))
    assert first[45, 45] > 0 > second[45, 45]  # both at 45 degrees
    np.testing.assert_allclose(first, -second)


def test_spread_is_that_of_the_draws() -> None:
    assert curves.spread(curves.settled("arcface"), THETA[::90], 50.0) is None
    elastic = curves.settled("elasticface", kind="cos")
    low, middle, high = curves.spread(elastic, THETA[::90], 50.0) or ()
    cosine = np.cos(np.deg2rad(THETA[::90]))
    np.testing.assert_allclose(middle, cosine - 0.35, atol=0.01)
    np.testing.assert_allclose(high - low, 2 * 1.645 * 0.05, atol=0.02)
    learned = curves.settled("adaptiveface")
    low, _, high = curves.spread(learned, THETA[::90], 50.0) or ()
    np.testing.assert_allclose(high - low, 0.09, atol=0.01)  # of margins between 0.3 and 0.4


def test_auxiliary_curves_say_what_each_loss_pulls_at() -> None:
    theta = np.array([0.0, 40.0, 90.0])
    intra, _ = curves.auxiliary("intra", theta)
    assert (np.diff(intra) > 0).all()
    leaving, moving = curves.auxiliary("inter", theta)
    np.testing.assert_allclose(leaving, -0.5, atol=1e-5)
    np.testing.assert_allclose(moving, -theta / 180, atol=1e-5)
    leaving, moving = curves.auxiliary("center", theta)
    assert (np.diff(leaving) > 0).all()
    np.testing.assert_allclose(moving, moving[0], rtol=1e-6)  # running centers have followed


# ---- drawing


def test_panels_draw_lines_bands_gaps_and_one_legend() -> None:
    x = np.linspace(0.0, 180.0, 5)
    band = (x - 1, x + 1)
    panels = [
        Panel("one", [Line("a", x, x, "#0072b2", band=band), Line("", x, x, "#0072b2")]),
        Panel("two", [Line("a", x, x, "#0072b2"), Line("b", x, np.where(x > 90, np.nan, x), "#d55e00")]),
        Panel("three", [Line("c", x + 1, x, "#0072b2")], x_kind="count", legend="upper right"),
    ]
    figure = draw_panels(panels, columns=2, legend_below=True)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["one", "two", "three"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b", "c"]
    assert len(figure.axes[0].collections) == 1
    assert figure.axes[2].get_xscale() == "log"
    shared = draw_panels(panels[:2] * 2, columns=2, shared=True)
    shown = [axes.yaxis.get_tick_params()["labelleft"] for axes in shared.axes]
    assert shown == [True, False, True, False]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: draw_panels([]), "at least one panel"),
        (lambda: Line("a", np.zeros(3), np.zeros(2), "k"), r"y: expected as many values as x, \(3,\), got \(2,\)"),
        (lambda: Line("a", np.zeros(3), np.zeros(3), "k", band=(np.zeros(3), np.zeros(1))), "band: expected as many"),
        (lambda: decision_boundaries([]), "at least one decision"),
        (lambda: Decision("a", np.zeros(3), np.zeros((3, 3)), np.zeros((3, 2))), r"second: expected \[3, 3\]"),
        (lambda: gradient_maps([]), "at least one map"),
        (lambda: GradientMap("a", np.zeros(3), np.zeros(2), np.zeros((3, 2))), r"a: expected factors \[2, 3\]"),
        (lambda: plane_embeddings([], []), "at least one set"),
        (lambda: cloud(vectors=np.zeros((3, 3))), r"expected vectors \[2, 2\] and centers \[P, 2\], got \[3, 3\]"),
        (lambda: cloud(centers=np.ones((9, 2))), "at most 8 people"),
    ],
)
def test_arrays_that_do_not_fit_are_told(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        wrong()


def cloud(**changes: object) -> PlaneEmbeddings:
    fields: dict[str, object] = {
        "title": "two", "vectors": np.eye(2), "labels": np.arange(2), "centers": np.eye(2),
        "genuine_deg": np.zeros(1), "impostor_deg": np.full(1, 90.0),
    }  # fmt: skip
    return PlaneEmbeddings(**{**fields, **changes})  # type: ignore[arg-type]


def test_faces_on_the_ring_make_room_for_each_other() -> None:
    crowded = np.array([3.1, -3.1, 0.0, 0.05, 0.1])
    placed = np.sort(apart(crowded, 0.42))
    assert np.diff(placed, append=placed[0] + 2 * np.pi).min() > 0.41
    assert np.array_equal(apart(np.array([0.0, 2.0, 4.0]), 0.42), [0.0, 2.0, 4.0])


def test_files_are_the_same_each_time_and_whole(tmp_path: Path) -> None:
    texts = [save_figure(loss_figures.target_logit(), tmp_path / f"{n}.svg").read_text() for n in "ab"]
    assert texts[0] == texts[1]
    ElementTree.fromstring(texts[0])
    assert not re.search(r"<dc:date>", texts[0])
    assert not re.search(r' d="[^"]*\d\.\d\d', texts[0])
    assert len(texts[0]) < 150_000
    with Image.open(save_figure(loss_figures.target_logit(), tmp_path / "a.png")) as picture:
        assert picture.size == (1440, 860)


def test_target_logit_shows_the_papers_six() -> None:
    (axes,) = draw("target-logit").axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [label.partition(",")[0].partition(" (")[0] for label in labels] == [
        "norm-softmax", "SphereFace", "CosFace", "ArcFace", "CM1", "CM2",
    ]  # fmt: skip
    assert [line.get_ydata()[0] for line in axes.lines] == pytest.approx(
        [1.0, 1.0, 0.65, math.cos(0.5), math.cos(0.3) - 0.2, math.cos(0.4) - 0.15]
    )


def test_all_margins_are_on_their_figure() -> None:
    assert [axes.get_title(loc="left") for axes in draw("all-margins").axes] == margin_names()


@pytest.mark.parametrize("name", [*margin_names(), *auxiliary_names()])
def test_every_loss_has_a_figure(name: str) -> None:
    figure = draw(name)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    if name in auxiliary_names():
        assert titles == ["Samples leave their center", "People move apart"]
        return
    assert titles[:2] == ["Target cosine", "Loss among 1,000 people"]
    reshape = ("curricularface", "mv_softmax", "arcnegface", "circle", "sphereface_r", "sphereface2")
    assert ("A negative's cosine" in titles) == (name in reshape)
    for axes in figure.axes:
        assert all(np.isfinite(line.get_ydata()).sum() > 1 for line in axes.lines)


def test_the_toy_trains_and_is_drawn(tmp_path: Path) -> None:
    told = []
    before = torch.random.get_rng_state()
    made = toy.train_toy(lambda done, total: told.append((done, total)), steps=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert told == [(n, 9) for n in range(1, 10)]
    softmax, arcface = made.clouds
    assert softmax.vectors.shape == (toy.PEOPLE * toy.FACES, 2)
    np.testing.assert_allclose(np.linalg.norm(arcface.vectors, axis=1), 1.0, rtol=1e-5)
    pairs = toy.PEOPLE * toy.FACES * (toy.PEOPLE * toy.FACES - 1) // 2
    assert len(softmax.genuine_deg) + len(softmax.impostor_deg) == pairs
    assert len(softmax.genuine_deg) == toy.PEOPLE * toy.FACES * (toy.FACES - 1) // 2
    figure = plane_embeddings(made.clouds, made.faces)
    assert len(figure.axes) == 4
    ElementTree.parse(save_figure(figure, tmp_path / "toy.svg", dpi=72))


@pytest.mark.slow
def test_the_toy_shows_what_the_paper_shows() -> None:
    softmax, arcface = toy.train_toy(lambda done, total: None).clouds
    assert np.median(arcface.genuine_deg) < np.median(softmax.genuine_deg)
    assert np.percentile(arcface.impostor_deg, 1) > np.percentile(softmax.impostor_deg, 1)


# ---- the command


def test_plots_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "figures"
    words = ["hyperarc", "plots", "decision-boundaries", "adacos-scale", "magface", "intra", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    written = capsys.readouterr().out.split()
    assert [Path(path).name for path in written] == [
        f"{name}{kind}" for name in words[2:6] for kind in (".svg", ".png")
    ]
    for path in written:
        if path.endswith(".svg"):
            ElementTree.parse(path)
        else:
            with Image.open(path) as picture:
                assert picture.width > 1000
    monkeypatch.setattr(sys, "argv", ["hyperarc", "plots", "magface", "--out", str(out), "--json", "--quiet"])
    with pytest.raises(SystemExit):
        cli.main()
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "figures": {"magface": [str(out / "magface.svg"), str(out / "magface.png")]}
    }
    assert captured.err == ""


def test_all_comparing_figures_are_drawn_when_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = draw("target-logit")
    monkeypatch.setattr("hyperarc.commands.plots.draw", lambda name, tell: one)
    written = plots([], tmp_path, Show(quiet=True))
    assert list(written) == figure_names()
    assert all(path.is_file() for paths in written.values() for path in paths)


def test_an_unknown_figure_is_told_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(HyperArcError, match="unknown figure or loss 'arcfase'; did you mean 'arcface'"):
        plots(["target-logit", "arcfase"], tmp_path / "out", Show(quiet=True))
    assert not (tmp_path / "out").exists()
