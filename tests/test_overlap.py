"""``hyperarc overlap``: drawn people of two sets, marked, undone and trained on."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from hyperarc.artifact import Card, build_backbone, build_head, save_artifact
from hyperarc.commands.comparison import Comparison, compare
from hyperarc.commands.overlap import find_overlap
from hyperarc.commands.show import Show
from hyperarc.contract import Contract
from hyperarc.data.drawn import draw_set
from hyperarc.data.face_set import open_faces
from hyperarc.data.manifest import Manifest, read_manifest
from hyperarc.data.training_set import open_training_set
from hyperarc.encoder import model_input
from hyperarc.errors import DataError
from hyperarc.recipe import Data, SourceData
from hyperarc.recipe.file import load_recipe
from hyperarc.report.overlap_plots import CosineTail, cosine_tail, nearest_histogram

Pictures = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]

FACES = 2
TRAIN = ["Ann Lee", "Bob Ray", "Eva Núñez", "George W. Bush", "Kim Ha-neul", "n000007", "Zoe", "Ida", "Max", "Uwe"]
# Who the people of TEST are by face: someone of TRAIN, or nobody there. Bob Ray has a namesake; codes say nothing.
TEST = {"0001": "Ann Lee", "Eva_Nunez": "Eva Núñez", "ray_bob": None, "n000007": None, "Someone_Else": None}


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    """Faces by person, to train on and to test with."""
    faces = draw_set(len(TRAIN) + len(TEST), FACES, seed=5)
    drawn = [faces.images[faces.labels == label] for label in range(len(TRAIN) + len(TEST))]
    train = dict(zip(TRAIN, drawn, strict=False))
    test = {name: train.get(who or "", drawn[len(TRAIN) + k]) for k, (name, who) in enumerate(TEST.items())}
    return train, test


def write_faces(folder: Path, people: dict[str, np.ndarray]) -> Path:
    for person, images in people.items():
        (folder / person).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(folder / person / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def written(pictures: Pictures, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of people to train on and to test with; two people stand in both, with the same pictures."""
    folder = tmp_path_factory.mktemp("sets")
    return write_faces(folder / "web", pictures[0]), write_faces(folder / "judge", pictures[1])


@pytest.fixture
def sets(written: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """Copies of them that a test may change."""
    train, test = (shutil.copytree(folder, tmp_path / folder.name) for folder in written)
    return train, test


@pytest.fixture(scope="module")
def artifact(pictures: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained backbone whose batch norms have seen drawn faces: equal pictures have cosine 1, others less."""
    recipe = load_recipe("demo", ["backbone.embedding_dim=16"])
    torch.manual_seed(0)
    backbone = build_backbone(recipe).train()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
    faces = torch.from_numpy(np.concatenate(list(pictures[0].values())))
    with torch.no_grad():
        backbone(model_input(faces.permute(0, 3, 1, 2), Contract(), "cpu"))
    place = tmp_path_factory.mktemp("artifact") / "artifact"
    save_artifact(place, backbone.eval(), build_head(recipe, 2), recipe, ["a", "b"], Card())
    return place


def reasons(manifest: Manifest) -> dict[str, set[str]]:
    """The reasons of each person's faces."""
    told: dict[str, set[str]] = {}
    for row in manifest.rows:
        assert row.keep == (not row.reason)
        told.setdefault(row.person, set()).add(row.reason)
    return told


@pytest.fixture(scope="module")
def overlapped(written: tuple[Path, Path], artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What comes of both sets, with a limit given."""
    out = tmp_path_factory.mktemp("overlapped")
    return find_overlap(*written, Comparison(artifact, 0.99), out, Show(quiet=True))


def test_people_of_both_sets_are_marked(overlapped: dict[str, Any], pictures: Pictures) -> None:
    faces = open_faces(overlapped["manifest"])
    assert reasons(faces.manifest) == {
        **{name: {""} for name in TRAIN},
        "Ann Lee": {"overlap: looks like 0001 of judge (cosine 1.00)"},
        "Bob Ray": {"overlap: named like ray_bob of judge"},
        "Eva Núñez": {
            "overlap: looks like Eva_Nunez of judge (cosine 1.00) | overlap: named like Eva_Nunez of judge"
        },
    }
    told = "people found in judge, left out: 'Ann Lee', 'Bob Ray', 'Eva Núñez'"
    assert str(faces.manifest.findings[-1]) == f"3 {told}"
    assert {key: overlapped[key] for key in ("people", "test_people", "people_found", "faces", "faces_left_out")} == {
        "people": 10, "test_people": 5, "people_found": 3, "faces": 20, "faces_left_out": 6,
    }  # fmt: skip
    found = [overlapped[f"by_{what}"] for what in ("faces_and_names", "faces_alone", "names_alone")]
    assert found == [1, 1, 1]
    assert (overlapped["limit_cosine"], overlapped["comparisons"], overlapped["faces_embedded"]) == (0.99, 50, 30)
    assert [finding.partition(":")[0] for finding in overlapped["findings"]] == ["web", "judge"]
    for row, face in enumerate(faces.manifest.rows):  # no picture was touched
        assert (faces.image(row) == pictures[0][face.person][row % FACES]).all()


def test_the_table_holds_everybody(overlapped: dict[str, Any]) -> None:
    with open(overlapped["table"], encoding="utf-8", newline="") as file:
        rows = {row["person"]: row for row in csv.DictReader(file)}
    assert sorted(rows) == sorted(TRAIN)
    assert {name: row["verdict"] for name, row in rows.items() if row["verdict"]} == {
        "Ann Lee": "looks like", "Bob Ray": "named like", "Eva Núñez": "looks like and named like",
    }  # fmt: skip
    assert rows["Ann Lee"]["nearest"] == "0001"
    assert float(rows["Ann Lee"]["cosine"]) == pytest.approx(1.0, abs=1e-4)
    assert (rows["Bob Ray"]["namesake"], rows["Bob Ray"]["name_likeness"]) == ("ray_bob", "1.00")
    assert float(rows["Bob Ray"]["namesake_cosine"]) < 0.9
    assert all(row["faces"] == "2" and row["nearest"] for row in rows.values())


def test_the_page_shows_them_face_to_face(overlapped: dict[str, Any]) -> None:
    page = Path(overlapped["report"]).read_text(encoding="utf-8")
    assert "<h1>judge in web</h1>" in page
    assert page.count('class="versus"') == 10 + 1  # everybody beside the nearest, and the namesake who looks otherwise
    assert page.count("<img ") == 11 * 2 * FACES
    assert "Just above the limit: left out" in page
    assert "Namesakes who do not look alike" in page
    assert "http" not in page.replace("http-equiv", "")


def test_training_takes_the_marked_manifest(overlapped: dict[str, Any]) -> None:
    faces = open_training_set(Data(sources=(SourceData(path=overlapped["manifest"]),)))
    assert set(faces.kept.people) == set(TRAIN) - {"Ann Lee", "Bob Ray", "Eva Núñez"}
    assert faces.kept.labels.max() == 6


def test_marks_are_taken_back(run: Any, overlapped: dict[str, Any], sets: tuple[Path, Path], tmp_path: Path) -> None:
    marked = tmp_path / "marked.parquet"
    manifest = read_manifest(overlapped["manifest"]).mark([0], "blurred: 3 px")
    manifest.mark([0], "overlap: named like x of other").write(marked)
    done = run("overlap", marked, sets[1], "--undo", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert done.out == f"5 of 20 faces kept again: {tmp_path / 'out' / 'faces.parquet'}\n"
    after = read_manifest(tmp_path / "out" / "faces.parquet")
    assert after.row(0).reason == "blurred: 3 px | overlap: named like x of other"
    assert after.keep.tolist() == [False] + [True] * 19
    assert not [found for found in after.findings if "judge" in str(found)]
    assert not read_manifest(marked).keep[2:4].any()
    assert json.loads(run("overlap", marked, sets[1], "--undo", "--json").out)["faces_taken_back"] == 5
    assert read_manifest(marked).keep.tolist() == after.keep.tolist()  # in place
    assert "web: expected a manifest with marks to take back" in run("overlap", *sets, "--undo").complaint()


def test_comparing_again_makes_the_marks_anew(overlapped: dict[str, Any], written: Any, tmp_path: Path) -> None:
    again = find_overlap(Path(overlapped["manifest"]), written[1], Comparison(), tmp_path, Show(quiet=True))
    assert (again["people"], again["people_found"], again["faces_left_out"]) == (10, 2, 4)
    manifest = read_manifest(again["manifest"])
    assert reasons(manifest) == {
        **{name: {""} for name in TRAIN},
        "Bob Ray": {"overlap: named like ray_bob of judge"},
        "Eva Núñez": {"overlap: named like Eva_Nunez of judge"},
    }
    assert [found.count for found in manifest.findings if "judge" in found.what] == [2]


def test_marks_of_several_test_sets_add_up(run: Any, overlapped: dict[str, Any], tmp_path: Path, pictures: Any) -> None:
    other = write_faces(tmp_path / "other", {"Ann Lee": pictures[0]["Ann Lee"], "Zoe": pictures[0]["Max"]})
    done = run("overlap", overlapped["manifest"], other, "--out", tmp_path / "both", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["people"] == 7  # those found before are not compared again
    told = reasons(read_manifest(tmp_path / "both" / "faces.parquet"))
    assert told["Zoe"] == {"overlap: named like Zoe of other"}
    assert told["Ann Lee"] == {"overlap: looks like 0001 of judge (cosine 1.00)"}


def test_without_an_artifact_names_alone_are_compared(
    run: Any, sets: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("overlap", *sets)
    assert done.code == 0, done.err
    assert "no artifact given: people are compared by their names alone" in done.err
    assert "web: 1 people with codes for names, not compared by name: 'n000007'" in done.err
    assert done.out.splitlines()[0] == (
        "2 of 10 people of web stand in judge (2 by names alone): 4 of 20 faces left out"
    )
    place = Path("runs/overlap-web-judge")
    assert sorted(path.name for path in place.iterdir()) == ["faces.parquet", "overlap.csv", "report.html"]
    assert "Bob Ray,2,,,ray_bob,1.00,,named like" in (place / "overlap.csv").read_text()


def test_the_limit_is_chosen_from_the_data(run: Any, sets: tuple[Path, Path], artifact: Path, tmp_path: Path) -> None:
    words = ("--artifact", artifact, "--out", tmp_path / "out", "--json", "--no-names", "--faces-per-person", "1")
    told = json.loads(run("overlap", *sets, *words).out)
    assert 0.3 < told["limit_cosine"] < 1.0
    assert told["false_matches_expected"] == pytest.approx(1.0)
    assert told["faces_embedded"] == 15
    assert told["by_names_alone"] == told["by_faces_and_names"] == 0
    verdicts = reasons(read_manifest(told["manifest"]))
    assert all("looks like" in next(iter(verdicts[name])) for name in ("Ann Lee", "Eva Núñez"))
    assert "By names" not in Path(told["report"]).read_text(encoding="utf-8")


def test_faces_left_out_and_unreadable_ones_are_not_compared(
    run: Any, sets: tuple[Path, Path], artifact: Path, tmp_path: Path
) -> None:
    train, test = sets
    (test / "Eva_Nunez" / "0.png").write_bytes(b"no picture")
    (test / "0001" / "0.png").write_bytes(b"no picture")
    (test / "0001" / "1.png").write_bytes(b"no picture")
    manifest = open_faces(train).manifest
    zoe = manifest.column("person") == "Zoe"
    eva = np.flatnonzero(manifest.column("person") == "Eva Núñez")
    manifest.mark(zoe, "blurred").mark(eva[:1], "blurred").write(tmp_path / "web.parquet")
    words = ("--artifact", artifact, "--cosine", "0.99", "--out", tmp_path / "out", "--json")
    told = json.loads(run("overlap", tmp_path / "web.parquet", test, *words).out)
    assert told["people"] == 9
    assert told["comparisons"] == 9 * 4
    assert [line for line in told["findings"] if "could not be read" in line] == [
        "3 faces that could not be read, not compared: 'judge:0001/0.png', 'judge:0001/1.png', 'judge:Eva_Nunez/0.png'"
    ]
    after = read_manifest(told["manifest"])
    assert reasons(after)["Ann Lee"] == {""}  # all the faces of 0001 are unreadable
    assert sum("looks like" in row.reason or "named like" in row.reason for row in after.rows) == 4
    assert after.row(int(eva[0])).reason.startswith("blurred | overlap: ")  # left out for both
    assert told["faces_left_out"] == 3


def test_overlap_complains_clearly(run: Any, sets: tuple[Path, Path], artifact: Path, tmp_path: Path) -> None:
    train, test = sets
    out = ("--out", tmp_path / "out")
    assert "nothing there" in run("overlap", tmp_path / "absent", test, *out).complaint()
    assert "no such artifact folder" in run("overlap", train, test, "--artifact", tmp_path / "absent", *out).complaint()
    for wrong in (["--cosine", "0.5"], ["--no-names"], ["--faces-per-person", "0", "--artifact", artifact]):
        done = run("overlap", train, test, *wrong, *out)
        assert (done.code, done.out) == (2, "")
    given = ("--artifact", artifact, "--quiet", *out)
    assert "expected a cosine in -1..1, got 1.5" in run("overlap", train, test, *given, "--cosine", "1.5").complaint(2)
    for person in TRAIN[3:]:
        for file in (train / person).iterdir():
            file.unlink()
    assert "got 5; give the limit by --cosine" in run("overlap", train, test, *given).complaint()
    Image.new("RGB", (96, 112)).save(train / "Ann Lee" / "small.png")
    text = run("overlap", train, test, *given, "--cosine", "0.5").complaint()
    assert "web:Ann Lee/small.png: expected a face of 112x112 pixels, got 96x112" in text
    open_faces(train).manifest.mark(np.arange(7), "blurred").write(tmp_path / "none.parquet")
    text = run("overlap", tmp_path / "none.parquet", test, *out).complaint()
    assert "expected faces to compare, got none that are kept" in text
    assert not (tmp_path / "out").exists()


def test_people_are_embedded_in_parts(
    sets: tuple[Path, Path], artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compare(*map(open_faces, sets), Comparison(artifact, 0.99), Show(quiet=True))
    monkeypatch.setattr("hyperarc.commands.people.PART", 3)
    parts = compare(*map(open_faces, sets), Comparison(artifact, 0.99), Show(quiet=True))
    assert whole.train.people.centers is not None
    assert parts.train.people.centers is not None
    np.testing.assert_allclose(whole.train.people.centers.vectors, parts.train.people.centers.vectors, atol=1e-5)
    assert whole.found == parts.found == [0, 1, 2]


def test_figures_refuse_nothing_to_draw() -> None:
    with pytest.raises(DataError, match="expected as many counts as cosines, and a pair"):
        cosine_tail(CosineTail(np.zeros(2), np.zeros(2, np.int64), None, 0.5))
    with pytest.raises(DataError, match="expected finite cosines, at least one"):
        nearest_histogram([], [], 0.5)
