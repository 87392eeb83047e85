"""Figures and the page: whole, self-contained, escaped, readable in both light and dark."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from hyperarc.errors import DataError, HyperArcError
from hyperarc.report import (
    Angles,
    Card,
    Curve,
    Histogram,
    Listing,
    Panel,
    Plot,
    ProtocolFacts,
    Report,
    Section,
    Strip,
    Table,
    Tile,
    Value,
    angle_histogram,
    angle_ridges,
    conditions_table,
    contact_sheet,
    det_curve,
    faces_section,
    hardest_strips,
    histograms,
    interval_panels,
    pair_tile,
    percent,
    protocol_section,
    recipe_section,
    render_report,
    roc_curve,
    training_curves,
    training_section,
    write_report,
)
from hyperarc.report.style import share_label
from hyperarc.report.training_plots import running_mean

NASTY = '<b>Bo & "Co"</b><script>alert(1)</script>'
VOID = {"meta", "img", "br", "link", "input", "hr", "path", "circle", "ellipse", "use", "rect"}


class Reader(HTMLParser):
    """Collects text, tags and addresses; fails on tags that close in the wrong order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def drawn_face(seed: int = 0, size: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def drawn_curve(label: str = "run") -> Curve:
    far = np.concatenate([[0.0], np.geomspace(1e-4, 1, 50)])
    return Curve(label, far, np.sqrt(np.linspace(0.5, 1, 51)))


def drawn_rows(count: int = 200) -> list[dict[str, float]]:
    return [
        {
            "step": 10 * n,
            "loss": 30 / (1 + n / 10),
            "target_angle_deg": 88 - n / 5,
            "nearest_negative_angle_deg": 75,
            "accuracy": n / count,
            "learning_rate": 0.1,
        }
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def page() -> str:
    facts = ProtocolFacts(
        name=NASTY,
        curves=[drawn_curve(NASTY)],
        angles={NASTY: Angles([20.0, 35.0], [85.0, 95.0], threshold_deg=60.0)},
        rates=Table((), [("Accuracy", Value(percent(0.9923), NASTY, "best"), NASTY)]),
        strips=hardest_strips([pair_tile(drawn_face(1), drawn_face(2), 0.4, (NASTY, "b/1"), same=False)], [], NASTY),
        conditions=[conditions_table({"data": NASTY, "pairs": 6000, "absent_faces": 0})],
    )
    numbers = Table(("Name", "Value"), [("loss", math.nan), ("far", math.inf), ("faces", 13233), ("none", None)])
    return render_report(
        Report(
            NASTY,
            NASTY,
            [Card(NASTY, "99.23 %", "6,000 pairs"), Card("EER", percent(math.nan))],
            [
                training_section({"a": drawn_rows(), NASTY: drawn_rows()}, f"First.\n\nSecond {NASTY}."),
                protocol_section(facts),
                Section("Numbers", tables=[numbers]),
                faces_section([drawn_face()], [NASTY]),
                recipe_section(NASTY, {"torch": "2.6"}),
            ],
        )
    )


class TestPage:
    def test_names_no_address_and_runs_no_script(self, page: str) -> None:
        assert "http" not in page
        assert "//" not in re.sub(r"base64,[A-Za-z0-9+/=]*", "", page)
        assert "@import" not in page
        reader = Reader(page)
        assert not {"script", "link", "iframe", "b"} & set(reader.tags)
        assert all(address.startswith(("#", "data:image/")) for address in reader.addresses)

    def test_is_well_formed_and_escapes_names(self, page: str) -> None:
        reader = Reader(page)
        assert reader.open == []
        assert "<b>" not in page
        # Title, heading, figures, tables, tiles: the name reaches the reader as it is, everywhere.
        assert sum(NASTY in text for text in reader.text) >= 9

    def test_every_reference_inside_a_figure_is_there(self, page: str) -> None:
        ids = re.findall(r'\bid="([^"]+)"', page)
        wanted = {*re.findall(r"url\(#([^)]+)\)", page), *re.findall(r'href="#([^"]+)"', page)}
        assert wanted <= set(ids)
        assert {"s1", "s5"} <= wanted

    def test_numbers_that_are_none_say_so(self, page: str) -> None:
        visible = " ".join(Reader(page).text)
        assert not re.search(r"\b(nan|inf|None|undefined)\b", visible)
        assert visible.count("n/a") == 3
        assert "13,233" in visible

    def test_figures_follow_light_and_dark(self, page: str) -> None:
        figures = "".join(re.findall(r"<figure.*?</figure>", page, flags=re.DOTALL))
        assert "prefers-color-scheme: dark" in page
        assert "var(--ink, #1f2a37)" in figures
        assert not re.search(r"(fill|stroke): #", figures)
        variables = set(re.findall(r"var\(--(\w+)", figures))
        dark = page[page.index("prefers-color-scheme: dark") :].split("}")[0]
        assert all(f"--{name}:" in dark for name in variables)

    def test_empty_report_is_a_page(self) -> None:
        assert Reader(render_report(Report("Nothing yet"))).open == []

    def test_same_report_gives_the_same_bytes(self) -> None:
        def draw() -> str:
            return render_report(Report("x", sections=[Section("y", figures=[Plot(roc_curve([drawn_curve()]))])]))

        assert draw() == draw()

    def test_writing_replaces_and_leaves_nothing_beside(self, tmp_path: Path) -> None:
        path = tmp_path / "run" / "report.html"
        write_report(Report("one"), path)
        write_report(Report("two"), path)
        assert "<h1>two</h1>" in path.read_text(encoding="utf-8")
        assert [file.name for file in path.parent.iterdir()] == ["report.html"]

    def test_failures_say_where(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(HyperArcError, match="could not be written"):
            write_report(Report("x"), tmp_path / "file" / "report.html")
        tile = Tile([np.zeros((4, 4), np.uint8)])
        with pytest.raises(DataError, match="uint8 RGB"):
            write_report(Report("x", sections=[Section("y", image_strips=[Strip("z", [tile])])]), tmp_path / "r.html")
        assert not (tmp_path / "r.html").exists()
        with pytest.raises(DataError, match="row 0 has 1 cells under 2 titles"):
            Table(("a", "b"), [("x",)])

    def test_listings_are_kept_as_they_are(self) -> None:
        section = Section("Recipe", listings=[Listing("yaml", "margin:\n  name: arcface")])
        assert "margin:\n  name: arcface" in render_report(Report("x", sections=[section]))


class TestFigures:
    def test_importing_the_report_loads_no_drawing_library(self) -> None:
        heavy = "{'matplotlib', 'PIL', 'jinja2', 'torch'}"
        code = f"import sys, hyperarc.report; print(sorted({heavy} & set(sys.modules)))"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert out.stdout.strip() == "[]"

    def test_the_caller_keeps_his_settings(self) -> None:
        import matplotlib

        before = dict(matplotlib.rcParams)
        roc_curve([drawn_curve()])
        assert dict(matplotlib.rcParams) == before

    def test_long_curves_are_thinned_but_reach_both_ends(self) -> None:
        far = np.linspace(0, 1, 200_001)
        axes = roc_curve([Curve("long", far, far**0.1)]).axes[0]
        x, y = axes.lines[0].get_data()
        assert len(x) < 2000
        assert (x[-1], y[-1]) == (1.0, 1.0)
        np.testing.assert_allclose(y[1:], np.asarray(x[1:]) ** 0.1, rtol=1e-12)

    def test_roc_keeps_the_best_tar_of_each_far(self) -> None:
        x, y = roc_curve([Curve("c", [0, 0, 0.5, 1], [0, 0.7, 0.9, 1])]).axes[0].lines[0].get_data()
        assert (list(x), list(y)) == ([0.1, 0.5, 1.0], [0.7, 0.9, 1.0])

    @pytest.mark.parametrize("draw", [roc_curve, det_curve])
    def test_a_perfect_and_a_useless_run_can_be_drawn(self, draw, tmp_path: Path) -> None:
        perfect, useless = (
            Curve("perfect", [0.0, 0.0, 1.0], [0.0, 1.0, 1.0]),
            Curve("useless", [0.0, 1.0], [0.0, 1.0]),
        )
        for curves in ([perfect], [useless], [perfect, useless]):
            draw(curves).savefig(tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 1000

    def test_histogram_shows_shares_and_medians(self) -> None:
        axes = angle_histogram([10.0, 20.0, 60.0], [90.0], threshold_deg=70.0).axes[0]
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert labels == ["Same person, median 20.0°", "Two people, median 90.0°", "Threshold 70.0°"]

    def test_training_leaves_out_what_no_run_logs(self) -> None:
        rows = [{"step": 1, "loss": math.nan, "note": "x"}, {"step": 2, "loss": 1.0, "accuracy": None}]
        assert len(training_curves({"run": rows}).axes) == 1
        assert len(training_curves({"a": drawn_rows(), "b": rows}).axes) == 4

    def test_panels_name_their_models_once(self) -> None:
        values = {"a": (0.99, 0.98, 0.995), "b": (1.0, None, None)}
        figure = interval_panels([Panel(f"P{n}", values, ["b"]) for n in range(4)])
        assert [axes.get_title(loc="left") for axes in figure.axes] == ["P0", "P1", "P2", "P3"]
        named = [[text.get_text() for text in axes.get_yticklabels()] for axes in figure.axes]
        assert named == [["a", "b"], ["", ""], ["", ""], ["a", "b"]]
        low, high = figure.axes[0].get_xlim()
        assert low < 0.98
        assert high > 1.0

    def test_ridges_bear_their_models_names(self) -> None:
        figure = angle_ridges({"a": ([10.0, 20.0], [90.0], 70.0), "b": ([30.0], [80.0], None)})
        assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["a", "b"]

    def test_seven_runs_look_different(self) -> None:
        lines = roc_curve([drawn_curve(str(n)) for n in range(12)]).axes[0].get_lines()
        assert len({(line.get_color(), str(line.get_linestyle())) for line in lines}) == 12

    def test_running_mean_equals_a_loop(self) -> None:
        values = np.random.default_rng(0).normal(size=23)
        expected = [values[max(0, n - 3) : n + 4].mean() for n in range(23)]
        np.testing.assert_allclose(running_mean(values, 7), expected)

    def test_bad_input_is_named(self) -> None:
        bad = [
            (lambda: roc_curve([]), "at least one run"),
            (lambda: Curve("x", [0.0], [0.0, 1.0]), "shapes"),
            (lambda: Curve("x", [math.nan], [0.0]), "NaN"),
            (lambda: angle_histogram([], [90.0]), "Same person"),
            (lambda: angle_histogram([20.0], [190.0]), "Two people"),
            (lambda: training_curves({}), "no row"),
            (lambda: training_curves({"a": [{"loss": 1.0}]}), "no step"),
            (lambda: interval_panels([]), "at least one panel"),
            (lambda: angle_ridges({}), "at least one model"),
            (lambda: Table(("a", "b"), [], groups=[("x", 1)]), "groups over other than 2 columns"),
        ]
        for draw, words in bad:
            with pytest.raises(DataError, match=words):
                draw()

    @pytest.mark.parametrize(("share", "words"), [(1e-4, "10⁻⁴"), (0.3, "0.3"), (0.0, "0"), (1.0, "1")])
    def test_share_labels(self, share: float, words: str) -> None:
        assert share_label(share) == words

    def test_conditions_read_as_words(self) -> None:
        assert conditions_table({"absent_faces": 2}).rows == [("absent faces", 2)]


class TestHistograms:
    def test_every_finite_value_is_counted_and_the_rest_told(self) -> None:
        values = [1.0, 2.0, 2.5, 40.0, math.inf, math.nan]
        (axes,) = histograms([Histogram("Blur", values, "px", limits=(10.0,), bad="above", x_limits=(0, 20))]).axes
        assert axes.get_title(loc="left") == "Blur (2 unknown)"
        good, wrong = (patch.get_data().values.sum() for patch in axes.patches)
        assert (good, wrong) == (3, 1)  # beyond the axis is counted in its last bar

    @pytest.mark.parametrize("values", [[], [3.0], [5.0, 5.0]])
    def test_few_values_are_drawn_all_the_same(self, values: list[float]) -> None:
        histograms([Histogram("x", values), Histogram("y", values, logarithmic=True)])

    def test_no_panel_is_an_error(self) -> None:
        with pytest.raises(DataError, match="at least one panel"):
            histograms([])


class TestContactSheet:
    def test_every_face_is_on_it(self) -> None:
        faces = [np.full((112, 112, 3), shade, np.uint8) for shade in (10, 90, 170, 250)]
        sheet = np.asarray(contact_sheet(faces, columns=3))
        assert sheet.shape == (6 + 2 * 118, 6 + 3 * 118, 3)
        assert [int(sheet[60, 60 + 118 * n, 0]) for n in range(3)] == [10, 90, 170]
        assert int(sheet[60 + 118, 60, 0]) == 250

    def test_sizes_are_fitted_and_long_captions_cut(self) -> None:
        sheet = contact_sheet([drawn_face(size=300), drawn_face(size=8)], ["x" * 500, "é"], columns=8, tile_px=64)
        assert sheet.size == (6 + 2 * 70, 6 + 64 + 16 + 6)

    def test_bad_input_is_named(self) -> None:
        for arguments, words in [
            (([],), "expected faces"),
            (([drawn_face()], ["a", "b"]), "caption"),
            (([drawn_face(), drawn_face().astype(float)],), "face 1"),
        ]:
            with pytest.raises(DataError, match=words):
                contact_sheet(*arguments)
