"""``hyperarc evaluate``: several models on one page, stored embeddings, and what it says of bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from hyperarc.artifact import Artifact, build_backbone, build_head, save_artifact
from hyperarc.artifact.card import Card
from hyperarc.commands.embed import Job, embed
from hyperarc.commands.evaluate import artifact_names, evaluations_of
from hyperarc.commands.show import Show
from hyperarc.contract import Contract
from hyperarc.data.drawn import draw_set
from hyperarc.data.formats.embedding_files import table_beside
from hyperarc.data.formats.embedding_source import EmbeddingFile
from hyperarc.errors import DataError, RecipeError, UsageError
from hyperarc.protocols.stored import open_embeddings
from hyperarc.recipe.file import load_evaluations, load_recipe

PEOPLE, FACES = 8, 6
Files = dict[str, Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Two models with random weights, drawn faces, pairs of them, and the embeddings of both models."""
    root = tmp_path_factory.mktemp("evaluate")
    recipe = load_recipe("demo", ["backbone.embedding_dim=16", "evaluation=[]"])
    found: Files = {"root": root, "faces": root / "faces", "pairs": root / "pairs.csv"}
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        found[name] = root / name / "artifact"
        save_artifact(found[name], build_backbone(recipe), build_head(recipe, 2), recipe, ["a", "b"], Card())
    drawn, counts = draw_set(PEOPLE, FACES, seed=5), [0] * PEOPLE
    for image, label in zip(drawn.images, drawn.labels.tolist(), strict=True):
        counts[label] += 1
        place = found["faces"] / f"P{label}" / f"P{label}_{counts[label]:04d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    rows = ["a,b,same"]
    for i in range(40):
        person, face = i % PEOPLE, i // PEOPLE
        key, next_face = f"P{person}/P{person}_{face % FACES + 1:04d}.png", (face + 1) % FACES + 1
        other = (person + 1 + face) % PEOPLE
        rows += [f"{key},P{person}/P{person}_{next_face:04d}.png,1", f"{key},P{other}/P{other}_{next_face:04d}.png,0"]
    found["pairs"].write_text("\n".join(rows) + "\n")
    for name in ("one", "two"):
        for kind in ("parquet", "npy"):
            found[f"{name}.{kind}"] = root / f"faces-{name}.{kind}"
            embed(found["faces"], found[f"{name}.{kind}"], Job(found[name]), Show(quiet=True))
    return found


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are not drawn, which takes a second each."""

    def write(_: object, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("a page")

    monkeypatch.setattr("hyperarc.commands.evaluation_report.write_report", write)


def own(files: Files) -> tuple[object, ...]:
    return ("--protocol", "pairs", "--data", files["faces"], "--pairs", files["pairs"])


def text_of(page: Path) -> str:
    return re.sub(r"<(style|svg)[ >].*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


# ---- one model


def test_one_model_is_named_and_its_json_lies_beside(run: Any, files: Files, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run("evaluate", files["one"], *own(files), "--out", page, "--json", "--quiet")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told == json.loads((tmp_path / "page.json").read_text())
    assert told["model"]["model"] == "one"
    assert told["model"]["contract"] == told["conditions"]["contract"]
    assert set(told["versions"]) >= {"python", "torch", "hyperarc"}
    low, high = told["intervals"]["accuracy"]
    assert low < told["accuracy"] < high
    assert told["conditions"]["intervals"] == "95 %, people drawn again 1,000 times"
    text = page.read_text(encoding="utf-8")
    assert "<h1>one on pairs</h1>" in text
    assert ">one</text>" in text  # the legend of the ROC
    assert text.count("<img") == 2 * 2 * 10
    assert f"{100 * low:.2f} to {100 * high:.2f} %" in text


@pytest.mark.usefixtures("no_page")
def test_reports_lie_beside_what_was_judged(run: Any, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files["root"])
    words = (*own(files), "--quiet", "--json")
    for given, place in (
        ((files["one"],), "one/evaluation-pairs.html"),
        (("--embeddings", files["two.npy"]), "evaluation-faces-two-pairs.html"),
        ((files["one"], files["two"]), "runs/evaluation-one-two-pairs.html"),
    ):
        told = json.loads(run("evaluate", *given, *words).out)
        assert (files["root"] / told["report"]).samefile(files["root"] / place)
        assert (files["root"] / place).with_suffix(".json").is_file()


# ---- several


def test_models_are_compared_over_protocols(
    run: Any, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "judge.yaml").write_text(
        f"evaluation:\n  - {{protocol: pairs, faces: {files['faces']}, pairs: {files['pairs']}}}\n"
        f"  - {{protocol: folder, faces: {files['faces']}, arguments: {{count: 60}}}}\n"
    )
    page = tmp_path / "page.html"
    given = (files["one"], files["two"], "--recipe", tmp_path / "judge.yaml", "--out", page)
    done = run("evaluate", *given, "--json", "--quiet")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert [model["model"] for model in told["models"]] == ["one", "two"]
    assert [[result["protocol"] for result in model["results"]] for model in told["models"]] == [["pairs", "faces"]] * 2
    accuracy = next(row for row in told["comparison"] if (row["protocol"], row["number"]) == ("pairs", "accuracy"))
    values = {name: number["value"] for name, number in accuracy["values"].items()}
    assert values == {model["model"]: model["results"][0]["accuracy"] for model in told["models"]}
    assert accuracy["best"] == [max(values, key=lambda name: values[name])]
    assert accuracy["basis"] == "resamples"
    text = text_of(page)
    assert "<h1>2 models on pairs and faces</h1>" in text
    assert 'class="number best"' in text
    assert text.count('<span class="figure">') >= 2 * (2 * 2 + 2 * 7)
    for name in ("one", "two"):
        assert f"Two people, most alike: {name}" in text
        assert f"One person, least alike: {name}" in text
        assert f"{100 * values[name]:.2f} %" in text
    assert "Conditions that differ" in text
    assert "not told apart from the best" in text
    monkeypatch.setattr("hyperarc.commands.evaluation_report.write_report", lambda *_: None)
    lines = run("evaluate", *given, "--quiet").out.splitlines()
    assert [line.split()[0] for line in lines] == ["pairs", "one", "two", "faces", "one", "two", "*", "report"]
    assert sum(" * " in line for line in lines[1:3]) >= 1


def test_one_option_serves_all_protocols_that_take_it() -> None:
    found = evaluations_of(["cfp_ff", "folder", "drawn"], ["x.zip"], ["cfp"], {})
    assert [(one.faces, one.pairs) for one in found] == [("x.zip", "cfp"), ("x.zip", None), (None, None)]
    found = evaluations_of(["lfw", "cfp_fp"], ["a", "b"], ["c", "d"], {})
    assert [(one.faces, one.pairs) for one in found] == [("a", "c"), ("b", "d")]


def test_names_tell_artifacts_apart(tmp_path: Path) -> None:
    assert artifact_names([tmp_path / "a" / "artifact", tmp_path / "b"]) == ["a", "b"]
    assert artifact_names([tmp_path / "x" / "a", tmp_path / "y" / "a" / "artifact"]) == ["x/a", "y/a"]
    with pytest.raises(UsageError, match="one is given twice"):
        artifact_names([tmp_path, tmp_path])


def test_evaluations_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "judge.yaml"
    path.write_text("evaluation: [{protocol: drawn, people: 12}]")
    assert [(one.protocol, one.people) for one in load_evaluations(str(path))] == [("drawn", 12)]
    path.write_text("evaluation: [{protocl: drawn}]")
    with pytest.raises(RecipeError, match=r"unknown key 'evaluation.0.protocl'; did you mean 'protocol'"):
        load_evaluations(str(path))
    path.write_text("evaluation: []")
    with pytest.raises(UsageError, match="names nothing to judge by"):
        load_evaluations(str(path))


# ---- stored embeddings


@pytest.mark.parametrize("kind", ["parquet", "npy"])
def test_stored_embeddings_are_judged_as_their_model_is(
    run: Any, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    words = ("--out", tmp_path / "page.html", "--json", "--quiet")
    with monkeypatch.context() as patched:
        patched.setattr("hyperarc.commands.evaluation_report.write_report", lambda *_: None)
        ran = json.loads(run("evaluate", files["one"], *own(files), *words).out)
    monkeypatch.setattr(Artifact, "encoder", lambda *_, **__: pytest.fail("the model is not needed"))
    stored = files[f"one.{kind}"]
    for given in (("--embeddings", stored), (files["one"], "--embeddings", stored))[:: 1 if kind == "npy" else -1][:1]:
        told = json.loads(run("evaluate", *given, *own(files), *words).out)
        assert told["accuracy"] == ran["accuracy"]
        assert told["intervals"] == ran["intervals"]
        assert told["hardest_impostor"] == ran["hardest_impostor"]
        assert told["conditions"]["contract"] == ran["conditions"]["contract"]
        assert told["conditions"]["embeddings"] == stored.name
        assert (tmp_path / "page.html").read_text().count("<img") == 40
    told = json.loads(
        run("evaluate", "--embeddings", stored, "--protocol", "pairs", "--pairs", files["pairs"], *words).out
    )
    assert told["accuracy"] == ran["accuracy"]
    assert told["conditions"]["data"] == "faces"
    page = (tmp_path / "page.html").read_text()
    assert "<img" not in page
    assert "DET" in page


@pytest.mark.usefixtures("no_page")
def test_files_of_one_contract_are_one_model(run: Any, files: Files, tmp_path: Path) -> None:
    for name in ("one", "two"):
        table = pq.read_table(files[f"{name}.parquet"])
        for part, rows in (("left", range(20)), ("right", range(20, 48))):
            pq.write_table(table.take(list(rows)), tmp_path / f"{part}-{name}.parquet")
    parts = [word for path in sorted(tmp_path.glob("*.parquet")) for word in ("--embeddings", path)]
    given = (*parts, "--protocol", "pairs", "--protocol", "folder", "--pairs", files["pairs"])
    done = run("evaluate", *given, "--out", tmp_path / "page.html", "--json", "--quiet")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert [model["model"] for model in told["models"]] == ["one", "two"]
    results = told["models"][0]["results"]
    assert results[0]["conditions"]["embeddings"] == "left-one.parquet, right-one.parquet"
    assert results[1]["conditions"]["absent_faces"] == 0
    whole = (files["one"], *own(files), "--out", tmp_path / "whole.html", "--json", "--quiet")
    assert json.loads(run("evaluate", *whole).out)["accuracy"] == results[0]["accuracy"]


def test_foreign_embeddings_are_refused(run: Any, files: Files, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "page.html")
    said = run("evaluate", files["one"], "--embeddings", files["two.npy"], *own(files), *out).complaint()
    assert "faces-two.npy: embeddings of contract" in said
    assert "cannot be compared" in said
    third = tmp_path / "third.parquet"
    table = pq.read_table(files["one.parquet"])
    about = json.loads(table.schema.metadata[b"hyperarc"])
    digest = about["digest"]
    about["contract"]["flip"] = "none"
    pq.write_table(table.replace_schema_metadata({b"hyperarc": json.dumps(about).encode()}), third)
    said = run("evaluate", "--embeddings", third, *own(files), *out).complaint()
    assert f"third.parquet: its contract is not that of digest {digest}" in said
    about["digest"] = Contract.model_validate(about["contract"]).digest
    pq.write_table(table.replace_schema_metadata({b"hyperarc": json.dumps(about).encode()}), third)
    both = (files["one"], files["two"], "--embeddings", third)
    assert "are of no artifact here" in run("evaluate", *both, *own(files), *out).complaint()
    # without an artifact they are another model, never part of this one's judgement
    assert [len(one.files) for one in open_embeddings([files["one.parquet"], third])] == [1, 1]
    assert not (tmp_path / "page.html").exists()


def test_models_judged_by_other_pairs_are_not_compared(run: Any, files: Files, tmp_path: Path) -> None:
    table = pq.read_table(files["two.parquet"])
    pq.write_table(table.take(list(range(36))), tmp_path / "fewer.parquet")
    given = ("--embeddings", files["one.parquet"], "--embeddings", tmp_path / "fewer.parquet")
    said = run("evaluate", *given, "--protocol", "folder", "--out", tmp_path / "page.html", "--quiet").complaint()
    assert "the 2 models were judged by different pairs" in said


def changed(files: Files, tmp_path: Path, change: str) -> Path:
    """A file of embeddings with something wrong."""
    path = tmp_path / "x.npy"
    vectors, table = np.load(files["one.npy"]), pq.read_table(table_beside(files["one.npy"]))
    if change == "nan":
        vectors[4, 3] = np.nan
    elif change == "zero":
        vectors[4] = 0
    elif change == "rolled":
        vectors = np.roll(vectors, 1, axis=0)
    elif change == "short":
        vectors = vectors[:-1]
    elif change == "double":
        vectors = vectors.astype(np.float64)
    elif change == "twice":
        keys = table["face"].to_pylist()
        keys[1] = keys[0].replace(".png", ".jpg")
        table = table.set_column(0, table.schema.field("face"), pa.array(keys, pa.large_string()))
    elif change == "contract":
        table = table.replace_schema_metadata({})
    np.save(path, vectors)
    if change != "table":
        pq.write_table(table, table_beside(path))
    if change == "cut":
        path.write_bytes(path.read_bytes()[:400])
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("nan", r"x.npy: row 5 \(P0/P0_0005.png\): its embedding is NaN or infinite; embed it again"),
        ("zero", r"x.npy: row 5 \(P0/P0_0005.png\): its embedding is zero"),
        ("rolled", r"row 1 \(P0/P0_0001.png\): its embedding has length .*, its table says .*: embed again"),
        ("short", r"x.npy: expected embeddings \[48, 16\], as its faces and contract say, got \[47, 16\]"),
        ("double", "x.npy: expected float32, got float64"),
        ("twice", "two faces are P0/P0_0001: x:P0/P0_0001.png and x:P0/P0_0001.jpg; remove one"),
        ("contract", "x.faces.parquet: does not say under which contract its embeddings were made"),
        ("table", "x.faces.parquet: no such file; write it by hyperarc embed"),
        ("cut", "x.npy: no file of embeddings that can be read"),
    ],
)
def test_bad_embeddings_are_named(run: Any, files: Files, tmp_path: Path, change: str, said: str) -> None:
    path = changed(files, tmp_path, change)
    given = ("--embeddings", path, "--protocol", "pairs", "--pairs", files["pairs"], "--out", tmp_path / "page.html")
    assert re.search(said, run("evaluate", *given).complaint())
    assert not (tmp_path / "page.html").exists()


def test_rows_of_parquet_embeddings_are_named(files: Files, tmp_path: Path) -> None:
    table = pq.read_table(files["one.parquet"])
    vectors = np.stack(table["vector"].to_numpy())
    vectors[7] = np.inf
    field = table.schema.field("vector")
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 16)
    path = tmp_path / "inf.parquet"
    pq.write_table(table.set_column(5, field, column), path, row_group_size=5)
    file = EmbeddingFile(path)
    assert np.array_equal(file.vectors(np.array([6, 0, 20])), vectors[[6, 0, 20]])
    with pytest.raises(DataError, match=r"inf.parquet: row 8 \(P1/P1_0002.png\): its embedding is NaN or infinite"):
        file.vectors(np.arange(48))
    with pytest.raises(DataError, match=r"this file holds embeddings, no pictures; give --data"):
        file.image("P0/P0_0001.png")


# ---- wrong usage


def test_wrong_words_end_with_2(run: Any, files: Files, tmp_path: Path) -> None:
    one, out = files["one"], ("--out", tmp_path / "page.html")
    for words, said in (
        (("--protocol", "drawn"), "expected an artifact, or --embeddings, to judge"),
        ((files["one.npy"], "--protocol", "drawn"), "give it with --embeddings"),
        ((one, one, "--protocol", "drawn"), "one is given twice"),
        (("--embeddings", files["one.npy"], "--embeddings", files["one.npy"], *own(files)), "is given twice"),
        ((one, "--protocol", "pairs", "--data", files["faces"]), "needs pairs besides these faces; give their list"),
        ((one, "--protocol", "agedb_30", "--data", files["faces"]), "AgeDB-30 needs pairs besides these faces"),
        ((one, "--protocol", "folder", "--data", files["faces"], "count=3"), "at least 40 pairs, got count 3"),
        ((one, "--protocol", "folder", "--data", files["faces"], "count=x"), "must be a whole number, got 'x'"),
        ((one, "--protocol", "lfw", "--protocol", "drawn", "count=3"), "expected one protocol for count, got 2"),
        ((one, *own(files), "--data", "a", "--data", "b"), "expected --data once, or once for each of 1 protocols"),
        ((one, *own(files), "--device", "abacus"), "no such kind"),
    ):
        assert said in run("evaluate", *words, *out).complaint(2), words
    json_page = run("evaluate", one, "--protocol", "drawn", "--out", tmp_path / "page.json")
    assert "call it page.html" in json_page.complaint(2)
    for words in ((one,), (one, "--protocol", "drawn", "--recipe", "demo"), (one, "--recipe", "demo", "--data", "x")):
        done = run("evaluate", *words)
        assert (done.code, done.out) == (2, "")
    assert not list(tmp_path.iterdir())


def test_what_is_missing_ends_with_1(run: Any, files: Files, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "page.html")
    assert "no such file" in run("evaluate", "--embeddings", tmp_path / "x.npy", *own(files), *out).complaint()
    said = run("evaluate", "--embeddings", tmp_path, *own(files), *out).complaint()
    assert "expected a .parquet or .npy of embeddings" in said
    said = run("evaluate", "--embeddings", table_beside(files["one.npy"]), *own(files), *out).complaint()
    assert "faces-one.faces.parquet: holds faces without their vectors; give the .npy" in said
    two = ("--embeddings", files["one.npy"], "--embeddings", files["one.parquet"])
    assert "two files hold P0/P0_0001" in run("evaluate", *two, *own(files), *out).complaint()


def test_version(run: Any) -> None:
    from hyperarc import __version__

    done = run("--version")
    assert (done.code, done.out) == (0, f"hyperarc {__version__}\n")


# ---- pairs that cannot be judged


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("P0/P0_0001,P0/P0_0002,1\n" * 20, "bad.csv: all 20 pairs are of one person, expected both kinds"),
        ("P0/P0_0001,P1/P1_0002,0\n" * 20, "bad.csv: all 20 pairs are of two people"),
        ("P0/P0_0001,P0/P0_0002,1,0\nP0/P0_0001,P1/P1_0001,0,2\n", r"bad.csv: fold indices .*: fold 1 is empty"),
        ("P0/P0_0001,P0/P0_0002,1,0\nP0/P0_0001,P1/P1_0001,0,0\n", "bad.csv: fold indices .* there is one fold alone"),
        ("P0/P0_0001.png,P0/P0_0001.jpg,1\nP0/P0_0001,P1/P1_0001,0\n", "bad.csv: pair 1 is P0/P0_0001 and itself"),
        ("Q0/1,Q0/2,1\nP0/P0_0001,Q1/1,0\n" * 10, "3 of 4 faces have no embedding, the first being Q0/1"),
        ("Q0/1,Q0/2,1\nQ0/1,Q1/1,0\n" * 10, "none of the 3 faces of bad is there, such as Q0/1"),
    ],
)
def test_bad_pairs_are_named(run: Any, files: Files, tmp_path: Path, rows: str, said: str) -> None:
    (tmp_path / "bad.csv").write_text(rows)
    given = ("--embeddings", files["one.npy"], "--protocol", "pairs", "--pairs", tmp_path / "bad.csv")
    assert re.search(said, run("evaluate", *given, "--out", tmp_path / "page.html").complaint())


@pytest.mark.usefixtures("no_page")
def test_absent_faces_are_counted_not_dropped(run: Any, files: Files, tmp_path: Path) -> None:
    rows = files["pairs"].read_text() + "P0/P0_0001,P0/P0_0099,1\nP0/P0_0098,P1/P1_0001,0\n"
    (tmp_path / "more.csv").write_text(rows)
    given = ("--embeddings", files["one.npy"], "--protocol", "pairs", "--pairs", tmp_path / "more.csv")
    told = json.loads(run("evaluate", *given, "--out", tmp_path / "page.html", "--json", "--quiet").out)
    assert told["absent_faces"] == ["P0/P0_0099", "P0/P0_0098"]
    assert told["absent_pairs"] == [80, 81]
    assert (told["conditions"]["absent_faces"], told["conditions"]["absent_pairs"]) == (2, 2)
    assert told["conditions"]["pairs"] == 82
