"""The command line: what it prints, what it leaves, how it fails."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import hyperarc.training.checkpoint as checkpoint_module
from hyperarc import cli
from hyperarc.commands.judgement import warn_of_closeness
from hyperarc.commands.show import Show
from hyperarc.data.drawn import draw_set
from hyperarc.data.drawn.source import drawn_pairs
from hyperarc.data.manifest import read_manifest
from hyperarc.protocols.pairs import Pairs, evaluate_pairs
from hyperarc.training.loop import Plan
from hyperarc.training.watch import JsonLog, read_log

PEOPLE, FACES = 4, 6
TINY = [
    "backbone.embedding_dim=16",
    "data.drawn.people=8",
    "data.drawn.faces_per_person=6",
    "head.arguments.scale=16",
    "schedule={kind: cosine, epochs: 1, warmup_epochs: 0}",
    "training.batch_size=8",
    "training.threads=1",
    "training.precision=fp32",
    "training.checkpoint_every=2",
    "evaluation.0.people=10",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny demo recipe, made by the command in its own process."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    words = ["train", "demo", *TINY, "--run", str(folder), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "hyperarc", *words], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (folder.parent / "stdout").write_text(done.stdout)
    (folder.parent / "stderr").write_text(done.stderr)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Person folders with drawn faces, named as LFW names them."""
    root = tmp_path_factory.mktemp("photos") / "faces"
    drawn = draw_set(PEOPLE, FACES, seed=5)
    counts = [0] * PEOPLE
    for image, label in zip(drawn.images, drawn.labels.tolist(), strict=True):
        counts[label] += 1
        place = root / f"P{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"P{label}_{counts[label]:04d}.png")
    assert counts == [FACES] * PEOPLE
    return root


def on_photos(photos: Path, folder: Path, *changes: str) -> list[str]:
    """Words of a training on a folder of photos."""
    given = [c for c in TINY if "drawn" not in c and "evaluation" not in c]
    source = json.dumps({"drawn": None, "sources": [{"path": str(photos)}]})
    return ["train", "demo", *given, f"data={source}", "evaluation=[]", *changes, "--run", str(folder)]


def copy_of(photos: Path, to: Path) -> Path:
    for file in photos.rglob("*.png"):
        place = to / file.relative_to(photos)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    return to


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def assert_self_contained(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "</html>" in text
    links = re.findall(r"""(?:src|href|action|srcset)\s*=\s*["']([^"']*)""", text) + re.findall(r"url\(([^)]*)", text)
    assert not [link for link in links if not link.strip("\"'").startswith(("data:", "#"))]
    assert "@import" not in text


# ---- train


def test_train_leaves_a_whole_run(trained: Path) -> None:
    names = sorted(p.name for p in trained.iterdir())
    files = ["log.jsonl", "manifest.parquet", "recipe.yaml", "report.html", "truth.parquet"]
    assert names == ["artifact", "checkpoints", *files]
    assert [row["step"] for row in read_log(trained / "log.jsonl")] == list(range(6))
    assert len(read_manifest(trained / "manifest.parquet")) == 48
    assert_self_contained(trained / "report.html")
    assert not list(trained.rglob(".*"))


def test_train_prints_json_and_nothing_else_on_standard_output(trained: Path) -> None:
    told = json.loads((trained.parent / "stdout").read_text())
    assert (told["people"], told["faces"], told["steps"]) == (8, 48, 6)
    assert told["run"] == str(trained)
    assert told["report"] == str(trained / "report.html")
    (result,) = told["results"]
    assert result["protocol"] == "drawn"
    assert 0 <= result["accuracy"] <= 1
    assert len(result["fold_accuracies"]) == 10
    assert {"data", "pairs", "flip", "contract", "device"} <= set(result["conditions"])
    notes = (trained.parent / "stderr").read_text()
    assert "48 faces of 8 people, 6 steps of 8, iresnet_tiny, arcface" in notes
    for switch in ("dtype ", "huge_pages ", "matmul highest", "kept_heap ", "last True", "optimizer fused sgd"):
        assert switch in notes
    assert "sweep: chunked, products in " in notes
    assert "first loss" in notes


def test_train_in_words_and_quiet(run: Any, photos: Path, tmp_path: Path) -> None:
    loud = run(*on_photos(photos, tmp_path / "loud"))
    assert loud.code == 0, loud.err
    assert f"artifact {tmp_path / 'loud' / 'artifact'}" in loud.out
    assert "24 faces of 4 people" in loud.err
    quiet = run(*on_photos(photos, tmp_path / "quiet"), "--quiet")
    assert quiet.code == 0
    assert quiet.err == ""
    assert quiet.out.splitlines()[-1] == f"report   {tmp_path / 'quiet' / 'report.html'}"
    assert_self_contained(tmp_path / "quiet" / "report.html")


def test_train_evaluates_on_the_way(run: Any, photos: Path, tmp_path: Path) -> None:
    every = ["training.evaluate_every_epochs=0.01", "evaluation=[{protocol: drawn, people: 10}]"]
    done = run(*on_photos(photos, tmp_path / "run", *every), "--json")
    assert done.code == 0, done.err
    told = sorted(p.name for p in (tmp_path / "run" / "evaluations").iterdir())
    assert told[:2] == ["00000001-drawn.json", "00000002-drawn.json"]
    assert json.loads((tmp_path / "run" / "evaluations" / told[0]).read_text())["step"] == 1
    assert "step 1: drawn" in done.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_ends_with_130_and_goes_on(
    run: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    write = JsonLog.__call__

    def write_and_signal(self: JsonLog, row: Any) -> None:
        write(self, row)
        if row["step"] == 0:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(JsonLog, "__call__", write_and_signal)
    stopped = run(*on_photos(photos, tmp_path / "run"))
    assert stopped.code == 130
    assert "stopped after step 1; continue with --resume auto" in stopped.err
    assert not (tmp_path / "run" / "artifact").exists()
    monkeypatch.undo()
    done = run(*on_photos(photos, tmp_path / "run"), "--resume", "auto", "--json")
    assert done.code == 0
    assert "resumed from step-00000001" in done.err
    assert json.loads(done.out)["steps"] == 3


# ---- evaluate


def own_pairs(photos: Path, to: Path) -> Path:
    rows = ["a,b,same"]
    for i in range(10):
        one, two = i % PEOPLE, (i + 1) % PEOPLE
        k = i % FACES + 1
        other = k % FACES + 1
        rows.append(f"P{one}/P{one}_{k:04d}.png,P{one}/P{one}_{other:04d}.png,1")
        rows.append(f"P{one}/P{one}_{k:04d}.png,P{two}/P{two}_{other:04d}.png,0")
    to.write_text("\n".join(rows) + "\n")
    return to


def test_evaluate_drawn(run: Any, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = "hyperarc.protocols.pair_protocols.drawn_pairs"
    monkeypatch.setattr(few, lambda _, *rest: drawn_pairs(10, *rest))
    done = run("evaluate", trained / "artifact", "--protocol", "drawn", "--json", "--quiet")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["protocol"] == "drawn"
    assert told["conditions"]["pairs"] == 120
    assert_self_contained(trained / "evaluation-drawn.html")


def test_evaluate_own_pairs(run: Any, trained: Path, photos: Path, tmp_path: Path) -> None:
    pairs = own_pairs(photos, tmp_path / "mine.csv")
    words = ["evaluate", trained / "artifact", "--protocol", "pairs", "--data", photos, "--pairs", pairs]
    done = run(*words, "--out", tmp_path / "deep" / "page.html", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["protocol"] == "mine"
    assert told["conditions"]["data"] == "faces"
    assert told["conditions"]["genuine_pairs"] == told["conditions"]["impostor_pairs"] == 10
    assert told["absent_faces"] == []
    assert_self_contained(tmp_path / "deep" / "page.html")
    words_again = run(*words, "--out", tmp_path / "page.html", "--quiet")
    assert re.search(r"mine: \d+\.\d\d \+- .* over 10 folds, TAR@FAR=1e-3 .*, 20 pairs, flip sum", words_again.out)
    assert not words_again.err


def test_a_pack_is_judged_as_its_pairs_are(run: Any, trained: Path, photos: Path, tmp_path: Path) -> None:
    pairs = own_pairs(photos, tmp_path / "mine.csv")
    given = ("--data", photos, "--pairs", pairs)
    assert run("pack", photos, tmp_path / "mine.bin", "--pairs", pairs).code == 0
    told = []
    for data in (given, ("--data", tmp_path / "mine.bin")):
        words = ["evaluate", trained / "artifact", "--protocol", "pairs", *data, "--out", tmp_path / "page.html"]
        told.append(json.loads(run(*words, "--json").out))
    assert told[0]["accuracy"] == told[1]["accuracy"]
    assert told[0]["threshold"] == pytest.approx(told[1]["threshold"], abs=0.01)
    assert told[1]["hardest_impostor"][0]["first"].endswith("/first")


def test_evaluate_lfw_layout_with_an_absent_face(run: Any, trained: Path, photos: Path, tmp_path: Path) -> None:
    lines = ["2\t2"]
    for fold in range(2):
        lines += [f"P{fold}\t1\t2", f"P{fold}\t3\t4", f"P{fold}\t1\tP2\t{fold + 1}", f"P{fold}\t2\tP3\t{fold + 1}"]
    lines[1] = "P0\t1\t99"
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n")
    done = run(
        *("evaluate", trained / "artifact", "--protocol", "lfw", "--data", photos),
        *("--pairs", tmp_path / "pairs.txt", "--out", tmp_path / "page.html", "--json"),
    )
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["protocol"] == "LFW"
    assert told["absent_faces"] == ["P0/P0_0099"]
    assert told["absent_pairs"] == [0]


def test_evaluate_cfp_layout(run: Any, trained: Path, photos: Path, tmp_path: Path) -> None:
    faces, protocol = tmp_path / "faces", tmp_path / "protocol"
    lists: dict[str, list[str]] = {"frontal": [], "profile": []}
    for person in range(2):
        (faces / f"{person:03d}").mkdir(parents=True)
        for view, first in (("frontal", 1), ("profile", 3)):
            for picture in (1, 2):
                data = (photos / f"P{person}" / f"P{person}_{first + picture - 1:04d}.png").read_bytes()
                (faces / f"{person:03d}" / f"{view}_{picture:02d}.png").write_bytes(data)
                number = len(lists[view]) + 1
                lists[view].append(f"{number} ../Data/Images/{person:03d}/{view}/{picture:02d}.jpg")
    for fold in ("01", "02"):
        for kind in ("FF", "FP"):
            place = protocol / "Split" / kind / fold
            place.mkdir(parents=True)
            (place / "same.txt").write_text("1,2\n3,4\n")
            (place / "diff.txt").write_text("1,3\n2,4\n")
    (protocol / "Pair_list_F.txt").write_text("\n".join(lists["frontal"]))
    (protocol / "Pair_list_P.txt").write_text("\n".join(lists["profile"]))
    for name in ("cfp_fp", "cfp_ff"):
        done = run(
            *("evaluate", trained / "artifact", "--protocol", name, "--data", faces),
            *("--pairs", protocol, "--out", tmp_path / "page.html", "--json"),
        )
        assert done.code == 0, done.err
        assert json.loads(done.out)["protocol"] == name.upper().replace("_", "-")


def test_evaluate_complains_clearly(run: Any, trained: Path, photos: Path, tmp_path: Path) -> None:
    pairs = own_pairs(photos, tmp_path / "mine.csv")
    start = ("evaluate", trained / "artifact", "--out", tmp_path / "page.html")
    given = ("--data", photos, "--pairs", pairs)
    assert "unknown protocol 'lfx'; did you mean 'lfw'" in run(*start, "--protocol", "lfx").complaint(2)
    assert "protocol lfw needs faces and pairs" in run(*start, "--protocol", "lfw").complaint(2)
    assert "nothing there" in run(*start, "--protocol", "pairs", *given[:1], "absent", *given[2:]).complaint()
    assert "nothing there" in run(*start, "--protocol", "pairs", *given[:3], tmp_path / "absent.csv").complaint()
    assert "device cuda:99" in run(*start, "--protocol", "drawn", "--device", "cuda:99").complaint()
    text = run("evaluate", tmp_path, "--protocol", "drawn", "--out", tmp_path / "page.html").complaint()
    assert "contract.json: missing from the artifact" in text
    broken = copy_of(photos, tmp_path / "faces")
    (broken / "P0" / "P0_0001.png").write_bytes(b"\x89PNG nonsense")
    assert "P0_0001.png" in run(*start, "--protocol", "pairs", "--data", broken, "--pairs", pairs).complaint()
    Image.new("RGB", (100, 112)).save(broken / "P0" / "P0_0001.png")
    text = run(*start, "--protocol", "pairs", "--data", broken, "--pairs", pairs).complaint()
    assert "faces:P0/P0_0001.png: expected a face of 112x112 pixels, got 100x112" in text
    assert not (tmp_path / "page.html").exists()


# ---- demo


def test_demo(run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    done = run("demo", "--run", folder, *TINY, "--json", "--quiet")
    assert done.code == 0, done.err
    assert done.err == ""
    told = json.loads(done.out)
    assert list(told["results"]) == ["arcface, purified", "arcface, sub-centers", "arcface", "norm_softmax"]
    assert told["purified"]["detection"]["wrong"] == round(0.3 * told["purified"]["faces"])
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Wrong names found" in page
    assert "Back to faces" in page
    assert (folder / "purified" / "report.html").exists()
    assert told["report"] == str(folder / "report.html")
    assert_self_contained(folder / "report.html")
    again = run("demo", "--run", folder, *TINY, "--quiet")  # all are finished: judged anew, not trained
    assert re.search(r"^[0-9]+ of [0-9]+ faces dropped; of the wrong names put in: precision ", again.out)
    told = r"^10-fold accuracy on 120 pairs of people never seen: arcface purified .* %, arcface sub-centers .* %, "
    assert re.search(told, again.out, re.MULTILINE)


def test_a_stopped_demo_ends_with_130(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperarc.commands.train.run_loop", lambda *_: False)
    assert run("demo", "--run", tmp_path / "demo", *TINY).code == 130
    assert not (tmp_path / "demo" / "report.html").exists()


def test_demo_needs_an_evaluation(run: Any, tmp_path: Path) -> None:
    text = run("demo", "--run", tmp_path / "demo", "evaluation=[]").complaint()
    assert "the demo compares by an evaluation, got none" in text


# ---- wrong usage


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["train"],
        ["train", "demo", "--nonsense"],
        ["evaluate", "somewhere"],
        ["demo", "--run"],
    ],
)
def test_wrong_usage_ends_with_2(run: Any, words: list[str]) -> None:
    done = run(*words)
    assert done.code == 2
    assert not done.out
    assert "Traceback" not in done.err


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["evaluate", "--help"], ["demo", "--help"]])
def test_help(run: Any, words: list[str]) -> None:
    done = run(*words)
    assert done.code == 0
    assert "Usage" in done.out


def test_a_closed_pipe_and_a_key_are_no_tracebacks(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for error, code in ((BrokenPipeError(), 1), (KeyboardInterrupt(), 130)):

        def end(error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(cli, "app", end)
        done = run()
        assert (done.code, done.out, done.err) == (code, "", "")


# ---- bad input


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("traning.batch_size=8", "unknown key 'traning'; did you mean 'training'"),
        ("training.batch_size=1000000", "expected at least one batch of 1000000 faces, got 24 faces"),
        ("head.margin=arcfcae", "unknown margin 'arcfcae'; did you mean 'arcface'"),
        ("head.arguments.margn=0.3", "unknown argument of margin 'arcface': 'margn'; did you mean 'margin'"),
        ("backbone.name=iresnet", "unknown backbone 'iresnet'"),
        ("backbone.arguments.input_size=64", "expected faces [N, 3, 64, 64], got [8, 3, 112, 112]"),
        ("training.precision=fp16", "fp16 is slower than fp32 on a CPU"),
        ("evaluation=[{protocol: lfw, faces: /absent.zip, pairs: x}]", "evaluation lfw: nothing there"),
        ("evaluation=[{protocol: lfw}]", "protocol lfw needs faces and pairs"),
        ("evaluation=[{protocol: lwf}]", "unknown protocol 'lwf'; did you mean 'lfw'"),
        ("evaluation=[{protocol: drawn, arguments: {norm: 1}}]", "unknown argument of protocol 'drawn': 'norm'"),
        ("data.sources.0.path=${NOT_SET_ANYWHERE}/x", "environment variable NOT_SET_ANYWHERE is not set"),
        ("data.sources.0.path=/absent/faces", "expected a folder, zip, tar, .rec or list of faces, got nothing there"),
        ("data.min_faces=7", "expected faces of at least 2 people, got none"),
        ("optimizer.lr=1.0e+38", "last good checkpoint"),
    ],
)
def test_bad_recipes(run: Any, photos: Path, tmp_path: Path, change: str, said: str) -> None:
    if "fp16" in change and torch.cuda.is_available():
        pytest.skip("fp16 is fine on this machine's GPU")
    usage = ("unknown margin", "unknown argument", "unknown backbone", "unknown protocol", "protocol lfw needs")
    text = run(*on_photos(photos, tmp_path / "run", change), "--quiet").complaint(2 if said.startswith(usage) else 1)
    assert said.replace("last good checkpoint", "lower optimizer.lr") in text
    assert not (tmp_path / "run" / "artifact").exists()
    assert not list(tmp_path.rglob("*.partial"))


def test_a_run_folder_that_is_a_file_is_told_of(run: Any, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "faces.zip").write_bytes(b"zip")
    complaint = run(*on_photos(photos, tmp_path / "faces.zip"), "--quiet").complaint()
    assert "could not be written: a file stands where a folder is needed" in complaint


def test_unknown_recipe(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "unknown recipe 'demoo'; did you mean 'demo'" in run("train", "demoo").complaint(2)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "faces.zip").write_bytes(b"zip")
    assert "expected a recipe, a YAML file; it names faces by" in run("train", "faces.zip").complaint()
    assert "no such recipe file" in run("train", "absent.yaml").complaint()


def bomb() -> bytes:
    """A PNG of a few bytes whose header promises 40,000 x 40,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def test_bad_pictures_are_named_counted_and_left_out(run: Any, photos: Path, tmp_path: Path) -> None:
    faces = copy_of(photos, tmp_path / "faces")
    whole = (faces / "P0" / "P0_0001.png").read_bytes()
    jpeg = io.BytesIO()
    Image.fromarray(np.full((112, 112, 3), 90, np.uint8)).save(jpeg, "JPEG")
    (faces / "P0" / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (faces / "P0" / "truncated.jpg").write_bytes(jpeg.getvalue()[:-200])
    (faces / "P1" / "nonsense.jpg").write_bytes(b"this is no picture")
    (faces / "P1" / "empty.png").write_bytes(b"")
    (faces / "P2" / "bomb.png").write_bytes(bomb())
    Image.new("RGB", (96, 96)).save(faces / "P3" / "small.png")
    (faces / "P3" / "notes.txt").write_text("not a face")
    (faces / "nobody").mkdir()
    done = run(*on_photos(faces, tmp_path / "run"), "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["people"], told["faces"]) == (PEOPLE, PEOPLE * FACES)
    assert "5 unreadable faces left out" in done.err
    assert "1 faces of the wrong size left out: 'faces:P3/small.png'" in done.err
    assert "1 people without faces: 'nobody'" in done.err
    assert "1 files of other kinds skipped: 'P3/notes.txt'" in done.err
    manifest = read_manifest(tmp_path / "run" / "manifest.parquet")
    reasons = {row.face: row.reason for row in manifest.rows if not row.keep}
    names = ("P0/truncated.png", "P0/truncated.jpg", "P1/nonsense.jpg", "P1/empty.png", "P2/bomb.png", "P3/small.png")
    assert set(reasons) == set(names)
    assert all(reason.startswith(("unreadable: ", "wrong size: ")) for reason in reasons.values())
    assert "pixels" in reasons["P2/bomb.png"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "5 unreadable faces left out" in page


def test_bad_pictures_end_the_run_by_name_when_not_verified(run: Any, photos: Path, tmp_path: Path) -> None:
    faces = copy_of(photos, tmp_path / "faces")
    (faces / "P0" / "P0_0001.png").write_bytes(b"this is no picture")
    words = on_photos(faces, tmp_path / "run", "data.verify=false")
    assert "P0_0001.png" in run(*words, "--quiet").complaint()
    Image.new("RGB", (96, 96)).save(faces / "P0" / "P0_0001.png")
    text = run(*on_photos(faces, tmp_path / "run2", "data.verify=false"), "--quiet").complaint()
    assert "faces:P0/P0_0001.png: size mismatch: expected a face of 112x112 pixels, got 96x96" in text


def test_too_few_people(run: Any, photos: Path, tmp_path: Path) -> None:
    lonely = copy_of(photos / "P0", tmp_path / "one" / "P0").parent
    text = run(*on_photos(lonely, tmp_path / "run"), "--quiet").complaint()
    assert "expected faces of at least 2 people, got P0; a margin compares people" in text
    (tmp_path / "two" / "ann").mkdir(parents=True)
    (tmp_path / "two" / "bob").mkdir()
    text = run(*on_photos(tmp_path / "two", tmp_path / "run"), "--quiet").complaint()
    assert "got 2 folders and 0 other files, but no " in text
    assert not (tmp_path / "run").exists()


def test_a_label_outside_the_range(
    run: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hyperarc.commands import train as train_command

    make = train_command._loader_and_plan

    def mislabelled(*arguments: Any) -> tuple[Any, Plan]:
        loader, plan = make(*arguments)
        labels = loader.manifest.labels.copy()
        labels[:] = 77
        loader.manifest.__dict__["labels"] = labels
        return loader, plan

    monkeypatch.setattr(train_command, "_loader_and_plan", mislabelled)
    text = run(*on_photos(photos, tmp_path / "run"), "--quiet").complaint()
    assert "batch row 0: label 77 is outside 0..3" in text


PEOPLE_TABLE = "set,id_folder,cluster,cosine\n" + "".join(f"faces,P{i},c{i % 3},0.{i}\n" for i in range(PEOPLE))


@pytest.mark.parametrize(
    ("table", "people", "said"),
    [
        (PEOPLE_TABLE, 2, ""),  # P0 and P3 are one; P3 is above the limit, so both go
        (PEOPLE_TABLE.replace("P1", "else"), 0, "person 'P1' of source 'faces' does not stand in the people table"),
        (PEOPLE_TABLE.replace("0.1", "much"), 0, "expected a number in column 'cosine', got 'much'"),
        (PEOPLE_TABLE.replace(",0.1", ""), 0, "expected a number in column 'cosine', got None"),
        (PEOPLE_TABLE.replace("cosine", "cos"), 0, "expected a column 'cosine', got set, id_folder, cluster, cos"),
        (None, 0, "cannot read the people table"),
    ],
)
def test_people_tables(run: Any, photos: Path, tmp_path: Path, table: str | None, people: int, said: str) -> None:
    path = tmp_path / "people.csv"
    if table is not None:
        path.write_text(table)
    section = {"path": str(path), "merge_by": "cluster", "leave_out_above": {"cosine": 0.25}}
    done = run(*on_photos(photos, tmp_path / "run", f"data.people_table={json.dumps(section)}"), "--quiet", "--json")
    if said:
        assert said in done.complaint()
    else:
        assert json.loads(done.out)["people"] == people


def test_two_sources_one_of_them_with_exchanged_colors(run: Any, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for i in range(2):
        (other / f"Q{i}").mkdir(parents=True)
        for k in range(1, 4):
            with Image.open(photos / f"P{i}" / f"P{i}_{k:04d}.png") as image:
                Image.fromarray(np.asarray(image)[..., ::-1]).save(other / f"Q{i}" / f"{k}.png")
    (other / "Q2").mkdir()
    Image.new("RGB", (112, 112)).save(other / "Q2" / "only.png")
    sources = json.dumps([{"path": str(photos)}, {"path": str(other), "color": "bgr"}])
    done = run(*on_photos(photos, tmp_path / "run", f"data.sources={sources}", "data.min_faces=2"), "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["people"], told["faces"]) == (PEOPLE + 2, PEOPLE * FACES + 6)
    assert "1 people with fewer than 2 faces left out: 'other/Q2'" in done.err


def test_resuming_from_a_damaged_checkpoint(run: Any, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run(*on_photos(photos, folder), "--quiet").code == 0
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    damaged = bytearray(newest.read_bytes())
    damaged[-50] ^= 1
    newest.write_bytes(damaged)
    before = files(folder)
    text = run(*on_photos(photos, folder), "--resume", "auto", "--quiet").complaint()
    assert f"{newest}: damaged" in text
    assert "resume from step-00000002.safetensors instead" in text
    assert "no such checkpoint" in run(*on_photos(photos, folder), "--resume", "absent", "--quiet").complaint()
    assert "this folder already holds a run" in run(*on_photos(photos, folder), "--quiet").complaint()
    assert files(folder) == before


def test_a_full_disk_while_saving(
    run: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_module, "save_file", full)
    text = run(*on_photos(photos, tmp_path / "run"), "--quiet").complaint()
    assert "step-00000002.safetensors: could not be written: the disk is full; free some space" in text
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    assert not (tmp_path / "run" / "artifact").exists()


def test_files_that_nobody_expected_to_fail_are_one_sentence(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", "secret.yaml")

    monkeypatch.setattr("hyperarc.recipe.file.load_recipe", fail)
    assert run("train", "demo").complaint() == "hyperarc: secret.yaml: Permission denied"


@pytest.mark.parametrize(("cosine", "told"), [(0.7, True), (0.05, False)])
def test_people_who_lie_close_together_are_told_of(
    capfd: pytest.CaptureFixture[str], cosine: float, told: bool
) -> None:
    rng = np.random.default_rng(0)
    vectors = np.sqrt(cosine) * np.eye(64)[0] + np.sqrt(1 - cosine) * rng.normal(size=(400, 64)) / 8
    keys = [f"p{k}/1" for k in range(400)]
    pairs = Pairs("x", tuple(keys[:200]), tuple(keys[200:]), np.arange(200) < 100, 10)
    warn_of_closeness(evaluate_pairs(pairs, dict(zip(keys, vectors, strict=True))).impostor, Show())
    assert ("different people lie only 45 degrees apart" in capfd.readouterr().err) is told
