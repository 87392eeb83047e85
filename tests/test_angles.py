"""``hyperarc angles``: its numbers by hand, of stored embeddings and of pictures, with sub-centers, side by side."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from hyperarc.artifact import build_backbone, build_head, open_artifact, save_artifact
from hyperarc.artifact.card import Card
from hyperarc.commands import angle_faces
from hyperarc.commands.angle_faces import EmbeddedFaces
from hyperarc.commands.embed import Job, embed
from hyperarc.commands.show import Show
from hyperarc.contract import Contract
from hyperarc.data.face_set import open_faces
from hyperarc.data.formats.embedding_files import table_beside, write_array, write_parquet
from hyperarc.data.formats.stored_embeddings import read_embeddings
from hyperarc.data.manifest import manifest_of
from hyperarc.errors import ContractError, DataError
from hyperarc.protocols.angles import Asked, ClassCenters, Faces, measure_angles
from hyperarc.recipe.file import load_recipe

DIMENSION = 16
QUIET = Show(quiet=True)
FACES = {"ann": (0.0, 20.0), "bob": (60.0, 70.0, 80.0), "cy": (100.0,)}  # person -> directions in degrees
CLASSES = {"dan": (190.0, 200.0), "cy": (90.0, 250.0), "bob": (300.0, 70.0), "ann": (15.0, 40.0)}
DOMINANT = {"dan": 0, "cy": 0, "bob": 1, "ann": 0}


def on_circle(*degrees: float) -> np.ndarray:
    vectors = np.zeros((len(degrees), DIMENSION), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return vectors


def make_artifact(place: Path, seed: int = 0) -> Path:
    """An untrained backbone, and a head with two centers of each person on a circle, of the lengths 3 and 5."""
    recipe = load_recipe("demo", [f"backbone.embedding_dim={DIMENSION}", "evaluation=[]", "head.sub_centers=2"])
    torch.manual_seed(seed)
    head = build_head(recipe, len(CLASSES))
    weight = [3.0 * on_circle(*degrees) + [[0.0]] for degrees in CLASSES.values()]
    with torch.no_grad():
        head.centers.weight.copy_(torch.from_numpy(np.stack(weight)))
        assert head.centers.votes is not None
        head.centers.votes.copy_(torch.eye(2)[list(DOMINANT.values())])
    save_artifact(place / "artifact", build_backbone(recipe), head, recipe, list(CLASSES), Card())
    return place / "artifact"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("run"))


def stored(path: Path, contract: Contract, order: list[int] | None = None, source: str = "pool") -> Path:
    """The faces on the circle as ``hyperarc embed`` stores them, of different lengths, in any order."""
    rows = [(person, at, 1.0 + at / 50) for person, directions in FACES.items() for at in directions]
    rows = [rows[place] for place in order or range(len(rows))]
    people = [person for person, _, _ in rows]
    faces = manifest_of([f"{person}/{at:g}.png" for person, at, _ in rows], people, source=source)
    vectors = on_circle(*(at for _, at, _ in rows)) * np.float32([[length] for _, _, length in rows])
    parts = [(faces.take(np.arange(i, min(i + 4, len(rows)))), vectors[i : i + 4]) for i in range(0, len(rows), 4)]
    if path.suffix == ".parquet":
        write_parquet(path, parts, contract)
    else:
        write_array(path, table_beside(path), parts, len(rows), contract)
    return path


class TestByHand:
    """See TestByHand of test_metrics_angles.py for intra and inter; here W has two centers a class, one dominant.

    Dominant centers: Ann 15, Bob 70, Cy 90, Dan (whom no face shows) 190. W-EC: (5 + 0 + 10) / 3; W-Inter: Ann to Bob
    55, Bob to Cy 20, Cy to Bob 20, Dan to Cy 100: 195 / 4.
    """

    table: ClassVar[dict[str, float | None]] = {"Intra2": None, "Inter2": None}
    table |= {"W-EC": 5.0, "W-Inter": 195 / 4, "Intra1": 40 / 6, "Inter1": 40.0}

    @pytest.mark.parametrize("kind", ["npy", "parquet"])
    @pytest.mark.parametrize("order", [None, [5, 2, 0, 4, 1, 3]])
    def test_training_faces(self, run: Any, artifact: Path, tmp_path: Path, kind: str, order: list[int] | None) -> None:
        file = stored(tmp_path / f"pool.{kind}", open_artifact(artifact).contract, order)
        done = run("angles", artifact, "--train-embeddings", file, "--out", tmp_path / "out", "--json", "--quiet")
        assert done.code == 0, done.err
        facts = json.loads(done.out)
        assert facts == json.loads((tmp_path / "out" / "angles.json").read_text())
        (model,) = facts["models"]
        assert model["table_deg"] == {
            name: value if value is None else pytest.approx(value, abs=1e-4) for name, value in self.table.items()
        }
        told = model["train"]
        assert (told["people"], told["faces"], told["single_face_people"], told["data"]) == (3, 6, 1, "pool")
        assert told["intra_several_deg"] == pytest.approx(8.0, abs=1e-4)
        assert (told["people_with_known_class"], model["classes"], model["sub_centers"]) == (3, 4, 2)
        assert [one["person"] for one in told["widest"]] == ["ann", "bob", "cy"]
        assert told["nearest"][0] == {"person": "bob", "other": "cy", "angle_deg": pytest.approx(30.0, abs=1e-4)}
        assert len(told["nearest"]) == 2  # Bob and Cy are each other's, and come once
        assert model["flip"] == open_artifact(artifact).contract.flip

    def test_to_sub_centers(self, artifact: Path, tmp_path: Path) -> None:
        """To the dominant ones: Ann 15, 5; Bob 10, 0, 10; Cy 10. To the others: 40, 20; 120, 130, 140; 150."""
        found = measured(artifact, tmp_path).centers
        assert found is not None
        assert found.means_deg["dominant"] == pytest.approx((15 + 5 + 10 + 0 + 10 + 10) / 6, abs=1e-4)
        assert found.means_deg["others"] == pytest.approx((40 + 20 + 120 + 130 + 140 + 150) / 6, abs=1e-4)
        assert found.means_deg["nearest"] == found.means_deg["dominant"]
        assert found.others.sum() == 6

    def test_pairs(self, artifact: Path, tmp_path: Path) -> None:
        found = measured(artifact, tmp_path)
        assert sorted(found.genuine.degrees.round(3)) == pytest.approx([10, 10, 20, 20], abs=1e-3)
        assert (found.impostor.total, len(found.impostor.degrees)) == (11, 11)
        assert found.impostor.degrees.max() == pytest.approx(100.0, abs=1e-3)
        told = found.as_dict()["genuine"]
        assert (told["pairs"], told["of"], told["median_deg"]) == (4, 4, pytest.approx(15.0, abs=1e-3))
        assert sum(told["shares_per_degree"]) == pytest.approx(1.0)

    def test_a_sample_says_of_how_many(self, artifact: Path, tmp_path: Path) -> None:
        found = measured(artifact, tmp_path, Asked(pairs=3))
        assert (len(found.impostor.degrees), found.impostor.total) == (3, 11)
        assert (len(found.genuine.degrees), found.genuine.total) == (3, 4)


def measured(artifact: Path, folder: Path, asked: Asked | None = None) -> Any:
    opened = open_artifact(artifact)
    file = read_embeddings(stored(folder / "pool.npy", opened.contract))
    centers = opened.head().centers
    classes = ClassCenters(tuple(opened.people()), centers.weight.detach().numpy(), centers.dominant().numpy())
    faces = Faces(file.vectors, file.labels, file.people)
    return measure_angles(faces, classes, asked or Asked(), lambda done, total: None)


def test_models_side_by_side(run: Any, artifact: Path, tmp_path: Path) -> None:
    other = make_artifact(tmp_path / "second", seed=1)
    contracts = [open_artifact(path).contract for path in (artifact, other)]
    files = [stored(tmp_path / f"{place}.npy", contract) for place, contract in enumerate(contracts)]
    given = [word for file in reversed(files) for word in ("--embeddings", file)]  # matched by contract, not by order
    done = run("angles", artifact, other, *given, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == [artifact.parent.name, "second"]
    assert lines[2].split() == ["W-Inter", "48.75°", "48.75°"]
    assert lines[5].split() == ["Intra2", "6.67°", "6.67°"]
    assert lines[3].split() == ["Intra1", "-", "-"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "11 of 11 of two people" in page
    facts = json.loads((tmp_path / "out" / "angles.json").read_text())
    assert facts["models"][0]["other"]["people_named_like_trained_ones"] == 3
    assert facts["models"][0]["other"]["w_ec_deg"] is None


def test_class_centers_alone_need_no_faces(run: Any, artifact: Path, tmp_path: Path) -> None:
    done = run("angles", artifact, "--out", tmp_path / "out", "--json")
    assert json.loads(done.out)["models"][0]["table_deg"]["W-Inter"] == pytest.approx(195 / 4, abs=1e-4)


def test_people_of_other_names_are_told(run: Any, artifact: Path, tmp_path: Path) -> None:
    contract = open_artifact(artifact).contract
    faces = manifest_of(["a", "b", "c"], ["ann", "bob", "zoe"], source="pool")
    write_parquet(tmp_path / "x.parquet", [(faces, on_circle(15, 80, 200))], contract)
    done = run("angles", artifact, "--train-embeddings", tmp_path / "x.parquet", "--out", tmp_path / "out", "--json")
    assert "1 of 3 people of pool are not among those that" in done.err
    (model,) = json.loads(done.out)["models"]
    assert model["table_deg"]["W-EC"] == pytest.approx((0 + 10) / 2, abs=1e-4)
    assert model["train"]["people_with_known_class"] == 2
    assert model["train"]["genuine"]["pairs"] == 0  # nobody has two faces


# ---- from pictures


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people with three faces each; one file is no picture."""
    folder = tmp_path_factory.mktemp("pictures") / "faces"
    rng = np.random.default_rng(0)
    for person in ("ann", "bob", "cy"):
        (folder / person).mkdir(parents=True)
        for face in range(3):
            pixels = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / person / f"{face}.png")
    (folder / "ann" / "1.png").write_bytes(b"no picture")
    return folder


def test_a_run_with_its_log_and_pictures(
    run: Any, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = make_artifact(tmp_path / "run")
    open_faces(pictures).manifest.write(tmp_path / "run" / "manifest.parquet")
    rows = [{"step": n, "target_angle_deg": 90.0 - n, "nearest_negative_angle_deg": 80.0} for n in range(9)]
    (tmp_path / "run" / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("angles", artifact, "--train", "auto", "--data", pictures, "--out", tmp_path / "out", "--json")
    first = run(*words)
    assert first.code == 0, first.err
    assert "1 faces of faces could not be read" in first.err
    page = (tmp_path / "out" / "report.html").read_text()
    for title in ("Angles of pairs", "Angles to class centers", "Over training", "Nearest people", "Conditions"):
        assert title in page
    told = json.loads(first.out)
    encoder = open_artifact(artifact).encoder()
    crops = {key: np.asarray(Image.open(pictures / key)) for key in ("cy/0.png", "cy/1.png", "cy/2.png")}
    units = encoder.embed(np.stack(list(crops.values()))).vectors.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    center = units.sum(axis=0) / np.linalg.norm(units.sum(axis=0))
    wide = {one["person"]: one["intra_deg"] for one in told["models"][0]["other"]["widest"]}
    own = np.mean([math.degrees(math.acos(min(1.0, unit @ center))) for unit in units])
    assert wide["cy"] == pytest.approx(own, abs=1e-3)

    def never(*_: object) -> None:
        raise AssertionError("embedded again")

    monkeypatch.setattr(angle_faces, "embed", never)
    again = run(*words)
    assert again.code == 0, again.err
    assert "embedded before" in again.err
    assert json.loads(again.out) == told
    Image.new("RGB", (112, 112)).save(pictures / "ann" / "1.png")  # another picture: made anew
    with pytest.raises(AssertionError, match="embedded again"):
        run(*words)


def test_pictures_stand_beside_their_embeddings(artifact: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / "ann" / "1.png").write_bytes(b"no picture")
    embed(pictures, tmp_path / "x.npy", Job(artifact), QUIET)
    faces = open_faces(pictures)
    found = EmbeddedFaces("faces", read_embeddings(tmp_path / "x.npy"), faces)
    assert found.unreadable == 1
    assert found.picture_rows.tolist() == [0, 2, 3, 4, 5, 6, 7, 8]
    assert EmbeddedFaces("faces", found.stored, None).unreadable == 0


# ---- files of embeddings, and what is wrong with them


def test_both_kinds_of_files_hold_the_same(artifact: Path, tmp_path: Path) -> None:
    contract = open_artifact(artifact).contract
    one, two = (read_embeddings(stored(tmp_path / name, contract)) for name in ("a.npy", "a.parquet"))
    assert np.array_equal(one.vectors, two.vectors)
    assert np.array_equal(one.labels, two.labels)
    assert one.people == two.people == ("ann", "bob", "cy")
    assert one.faces().to_pylist() == two.faces().to_pylist()
    assert one.faces()[1].as_py() == "pool\tann/20.png"
    assert one.contract == two.contract == contract


def spoil_contract(path: Path, contract: Contract) -> None:
    stored(path, replace_model(contract, "another"))


def replace_model(contract: Contract, model: str) -> Contract:
    return contract.model_copy(update={"model": model})


def shorten(path: Path, contract: Contract) -> None:
    stored(path, contract)
    np.save(path, np.load(path)[:-1])


def as_doubles(path: Path, contract: Contract) -> None:
    stored(path, contract)
    np.save(path, np.load(path).astype(np.float64))


def without_table(path: Path, contract: Contract) -> None:
    stored(path, contract)
    table_beside(path).unlink()


def a_manifest(path: Path, contract: Contract) -> None:
    manifest_of(["a"], ["ann"], source="x").write(table_beside(path))
    np.save(path, np.ones((1, DIMENSION), np.float32))


def damaged(path: Path, contract: Contract) -> None:
    stored(path, contract)
    table_beside(path).write_bytes(b"PAR1 and then nothing")


def not_a_number(path: Path, contract: Contract) -> None:
    stored(path, contract)
    vectors = np.load(path)
    vectors[4, 2] = np.nan
    np.save(path, vectors)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (spoil_contract, r"x\.npy: embeddings of contract .* cannot be compared .*'another'"),
        (shorten, r"x\.npy: expected embeddings \[6, 16\], as its faces and contract say, got \[5, 16\]"),
        (as_doubles, r"x\.npy: expected float32, got float64"),
        (without_table, r"x\.faces\.parquet: no such file"),
        (a_manifest, r"x\.faces\.parquet: (does not say under which contract|its contract cannot be read)"),
        (damaged, r"x\.npy: no file of embeddings that can be read"),
        (not_a_number, r"embeddings holds a NaN or infinity in row 4"),
        (lambda path, contract: None, r"x\.npy: no such file"),
    ],
)
def test_bad_files_are_named(
    run: Any, artifact: Path, tmp_path: Path, make: Callable[[Path, Contract], None], said: str
) -> None:
    make(tmp_path / "x.npy", open_artifact(artifact).contract)
    done = run("angles", artifact, "--embeddings", tmp_path / "x.npy", "--out", tmp_path / "out")
    assert re.search(said, done.complaint()), done.complaint()
    assert not (tmp_path / "out" / "report.html").exists()


def test_files_must_fit_the_models(artifact: Path, tmp_path: Path) -> None:
    contract = open_artifact(artifact).contract
    mine, foreign = stored(tmp_path / "a.npy", contract), stored(tmp_path / "b.npy", replace_model(contract, "b"))
    models = angle_faces.open_models([artifact])
    second = replace(models[0], name="second", artifact=open_artifact(make_artifact(tmp_path / "second", seed=2)))
    for given, files, error, said in (
        ([*models, second], (mine, foreign), ContractError, r"b\.npy: .*the artifacts have .*second"),
        ([*models, second], (mine,), DataError, "one file of embeddings by second, got 0"),
        (models, (mine, mine), DataError, f"by {models[0].name}, got 2"),
    ):
        with pytest.raises(error, match=said):
            angle_faces.embedded_faces(given, angle_faces.Source(None, files), Job(artifact), tmp_path, QUIET)


def test_wrong_words(run: Any, artifact: Path, tmp_path: Path) -> None:
    both = run("angles", artifact, "--data", "x", "--embeddings", "y.npy")
    assert both.code == 2
    assert "--embeddings" in both.err
    assert "this model is given twice" in run("angles", artifact, artifact).complaint()
    assert "manifest.parquet: no manifest of a run" in run("angles", artifact, "--train", "auto").complaint()
    kind = run("angles", artifact, "--embeddings", tmp_path / "x.csv").complaint()
    assert "x.csv: expected a .parquet or .npy of embeddings" in kind


def test_an_imported_model_has_no_class_centers(
    run: Any, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_artifact(artifact)
    monkeypatch.setattr(angle_faces, "open_artifact", lambda path: replace(opened, recipe=None))
    said = run("angles", artifact, "--out", tmp_path / "out").complaint(2)
    assert "was imported and has no class centers to measure; give faces" in said
    file = stored(tmp_path / "x.npy", opened.contract)
    done = run("angles", artifact, "--embeddings", file, "--out", tmp_path / "out", "--json")
    (model,) = json.loads(done.out)["models"]
    assert (model["table_deg"]["W-Inter"], model["margin"]) == (None, None)
    assert model["table_deg"]["Inter2"] == pytest.approx(40.0, abs=1e-4)
