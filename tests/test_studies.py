"""The studies of benchmarks/studies run, go on where they were, and table what they find."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

STUDIES = Path(__file__).parents[1] / "benchmarks" / "studies"


@pytest.fixture(autouse=True)
def _on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STUDIES))


def test_the_study_of_splits_runs_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import splits

    figure = tmp_path / "splits.svg"
    methods = ["cosface", "adaptiveface", "adaface"]
    words = ["--smoke", "--quiet", "--seeds", "0", "--out", str(tmp_path), "--methods", *methods]
    assert splits.main([*words, "--figure", str(figure)]) == 0
    tables = capsys.readouterr().out
    assert "| AdaptiveFace, lambda = s / 4, against CosFace |" in tables
    assert "| AdaFace |" in tables
    assert tables == (tmp_path / "tables.md").read_text(encoding="utf-8") + "\n"
    assert figure.read_text(encoding="utf-8").startswith("<?xml")
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [(one["split"], one["method"], one["seed"]) for one in results] == [
        ("long_tail", "cosface", 0),
        ("long_tail", "adaptiveface", 0),
        ("low_quality", "adaface", 0),
    ]
    _, tail, quality = (one["measures"] for one in results)
    assert sum(tail["margins"]["faces"]) == 72
    assert len(tail["margins"]["learned"]) == 12
    assert 0 <= quality["shorter"] <= 1
    trained = (tmp_path / "long_tail-seed0" / "adaptiveface" / "artifact" / "contract.json").stat().st_mtime_ns
    assert splits.main(words) == 0  # everything is done: nothing is trained again
    assert capsys.readouterr().out == tables
    assert (tmp_path / "long_tail-seed0" / "adaptiveface" / "artifact" / "contract.json").stat().st_mtime_ns == trained


def test_the_study_of_inversion_runs_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import inversion

    words = ["--smoke", "--quiet", "--out", str(tmp_path), "--seeds", "0", "--losses", "arcface"]
    words += ["--priors", "none", "deepinversion"]
    assert inversion.main(words) == 0
    tables = capsys.readouterr().out
    assert tables == (tmp_path / "tables.md").read_text(encoding="utf-8") + "\n"
    for title in ("Closed set: 3 targets, 2 iterations", "Open set: 3 targets, 2 iterations"):
        assert title in tables
    for line in ("arcface, none", "arcface, deepinversion", "real faces"):
        assert tables.count(f"| {line} |") == 2
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert len(results) == 2 * 2
    assert {one["kind"] for one in results} == {"classes", "photos"}
    asked = {one["priors"]: json.loads((Path(one["folder"]) / "inversion.json").read_text()) for one in results}
    assert asked["none"]["priors"]["batch_norm"] == asked["none"]["priors"]["length"] == 0
    assert asked["deepinversion"]["priors"]["statistics"] == "deepinversion"
    monkeypatch.setattr(inversion, "invert", None)
    assert inversion.main(words) == 0  # everything is done: nothing is trained or searched for again
    assert capsys.readouterr().out == tables


def test_tables_hold_means_and_half_the_range() -> None:
    from study import table

    rows = [("a", "x", 1.0), ("a", "x", 2.0), ("b", "x", 3.0), ("b", "y", 4.0)]
    assert table("Title", "Name", rows) == [
        "\nTitle\n",
        "| Name | x | y |",
        "|---|---:|---:|",
        "| a | 1.50 ± 0.50 |  |",
        "| b | 3.00 | 4.00 |",
    ]


def test_people_are_grouped_by_their_faces() -> None:
    from splits_measures import groups_of

    groups = groups_of(np.array([1, 100, 3, 2, 50, 4, 5, 6, 7, 8]))
    assert groups["head"].nonzero()[0].tolist() == [1]
    assert groups["tail"].nonzero()[0].tolist() == [0, 2, 3, 5, 6]
    assert groups["middle"].nonzero()[0].tolist() == [4, 7, 8, 9]
