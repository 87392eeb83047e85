"""The page of a purification: whole, safe, small enough at ten thousand people; its figures."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from hyperarc.errors import DataError
from hyperarc.report.page import Report, Section
from hyperarc.report.people_page import (
    FaceStrip,
    PeopleList,
    PersonEntry,
    Question,
    angle_counts,
    strip_picture,
    write_people_page,
)
from hyperarc.report.purification_plots import angle_groups, detection_plot

FACE = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)


def page_of(people: list[PersonEntry], path: Path, **more: bool) -> tuple[str, list[dict[str, object]]]:
    listed = PeopleList("People", "One.\n\nTwo.", people, 75.0, {"data": "web"}, **more)
    text = write_people_page(Report("web, purified", sections=[Section("Angles")] * 2), listed, path).read_text()
    data = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    assert (data["limit"], data["about"]) == (75.0, {"data": "web"})
    return text, data["people"]


def test_the_page_holds_everybody_and_no_name_can_break_it(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><!-- 'ann' & \"bob\""
    strip = FaceStrip(strip_picture([FACE] * 3), ["20°", "40°", "80°"], ["good", "", "bad"], 4)
    asked = Question("move ann 1 bob", "move", "look like <b>bob</b>", strip, strip, applied=True)
    people = [
        PersonEntry(evil, 7, 2, "note", angle_counts(np.array([3.0])), angle_counts(np.array([99.0])), strip, strip),
        PersonEntry("ann", 5, 0, questions=[asked]),
    ]
    text, told = page_of(people, tmp_path / "report.html", truth_known=True)
    assert [one["name"] for one in told] == [evil, "ann"]
    assert "alert(1)</script>" not in text
    assert told[0]["dominant"] == [1] + [0] * 35
    assert told[1] == {"name": "ann", "faces": 5, "dropped": 0, "questions": told[1]["questions"]}
    assert told[1]["questions"][0]["faces"]["more"] == 4  # type: ignore[index]
    assert "framed: known noise" in text
    assert "framed" not in page_of(people, tmp_path / "other.html")[0].split("<script")[0].split("</style>")[1]
    assert text.count("<section") == 3
    assert "https://" not in text
    assert "src=" not in text.split("</style>")[1].split("<script")[0]


def test_ten_thousand_people_make_a_page_that_can_be_opened(tmp_path: Path) -> None:
    counts = angle_counts(np.random.default_rng(0).normal(45, 12, 80).clip(0, 180))
    people = [PersonEntry(f"person {k}", 80, k % 30, "", counts, counts) for k in range(10_000)]
    begun = time.process_time()
    text, told = page_of(people, tmp_path / "report.html")
    assert len(told) == 10_000
    assert len(text) < 6_000_000
    assert time.process_time() - begun < 20


def test_figures_of_angles_and_detection() -> None:
    random = np.random.default_rng(0)
    groups = {"dominant, clean": random.normal(40, 8, 500), "not dominant, noisy": random.normal(90, 6, 200)}
    figure = angle_groups(groups, 75.0, title="Angles", x_label="Angle")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["dominant, clean, 71.4 %", "not dominant, noisy, 28.6 %", "dropped beyond 75°"]
    heights = np.array([patch.get_data().values for patch in figure.axes[0].patches])
    bases = np.array([patch.get_data().baseline for patch in figure.axes[0].patches])
    assert (heights - bases).sum() == 700
    with pytest.raises(DataError, match="expected angles of faces"):
        angle_groups({"dominant": []}, 75.0, title="", x_label="")
    angles = np.array([np.inf, 90.0, 78.0, 76.0, 74.0, 60.0, 20.0])
    lost, found = np.array([0, 0, 0, 0.1, 0.2, 0.5, 1]), np.array([0, 0.4, 0.6, 0.8, 0.9, 0.95, 1])
    axes = detection_plot(lost, found, angles, 75.0).axes[0]
    taken = [line for line in axes.lines if line.get_markersize() == 8]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in taken] == [(0.1, 0.8)]  # of 76, the last above 75
    assert {"75°, taken", "80°"} <= {text.get_text() for text in axes.texts}
