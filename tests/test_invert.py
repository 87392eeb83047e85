"""``hyperarc invert``: its targets, a search that survives a kill, judging by hand, and what it writes."""

from __future__ import annotations

import csv
import json
import math
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.linalg import sqrtm
from torch import nn

from hyperarc.artifact import build_backbone, build_head, open_artifact, save_artifact
from hyperarc.artifact.card import Card
from hyperarc.commands.invert_search import How, search_faces
from hyperarc.commands.invert_targets import Choice, Targets, class_labels, file_names, open_targets
from hyperarc.commands.show import Show
from hyperarc.contract import Contract
from hyperarc.encoder import Encoder
from hyperarc.errors import ArtifactError, ContractError, DataError, HyperArcError, UnknownNameError, UsageError
from hyperarc.inversion import Inversion, Priors, Search
from hyperarc.inversion.judging import Shown, judge_faces, replaced_accuracy
from hyperarc.metrics import frechet_distance, kfold_accuracy
from hyperarc.recipe.file import load_recipe
from hyperarc.report.cosine_plots import CosinePanel, cosine_hills

QUIET = Show(quiet=True)
PEOPLE, EACH, DIMENSION = 4, 3, 16
SMALL = Contract(height=16, width=16, embedding_dim=8)
HOW = How(Search(iterations=20, rate=0.05, jitter_px=1), Priors(), batch=3, tries=2, save_every_s=0.0)


def circle(*degrees: float) -> np.ndarray:
    return np.stack([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))], axis=1)


# ---- Frechet distance


@pytest.mark.parametrize(("n", "m", "d"), [(50, 60, 8), (6, 9, 16), (200, 12, 32)])
def test_frechet_distance_as_scipy_has_it(n: int, m: int, d: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.5, 1, (n, d)), rng.normal(0.0, 2, (m, d))
    left, right = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    covariances = np.cov(left.T), np.cov(right.T)
    apart = np.square(left.mean(0) - right.mean(0)).sum()
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = apart + np.trace(covariances[0] + covariances[1] - 2 * root)
    found = frechet_distance(a, b)
    assert found.distance == pytest.approx(expected, rel=1e-6)
    assert found.means == pytest.approx(apart)
    assert found.samples == (n, m)
    turned = np.linalg.qr(rng.normal(size=(d, d)))[0]
    assert frechet_distance(3 * a @ turned, b @ turned).distance == pytest.approx(found.distance)


def test_frechet_distance_by_hand() -> None:
    """Covariances of two rows each: half of [[1, -1], [-1, 1]] and half of [[1, 1], [1, 1]], whose product is 0."""
    found = frechet_distance(circle(0, 90), circle(180, 90))
    assert (found.means, found.covariances) == (pytest.approx(1.0), pytest.approx(2.0))
    rows = np.random.default_rng(1).normal(size=(40, 8))
    assert frechet_distance(rows, rows).distance < 1e-12


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([[1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], "at least 2 embeddings, got 1 and 2"),
        ([[1.0, 0.0]] * 2, [[1.0, 0.0, 0.0]] * 2, "a has embeddings of 2 values, b of 3"),
        ([[1.0, 0.0], [math.nan, 1.0]], [[1.0, 0.0]] * 2, "a holds a NaN or infinity in row 1"),
    ],
)
def test_frechet_distance_of_bad_input(a: Any, b: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        frechet_distance(a, b)


# ---- judging


def test_judging_by_hand() -> None:
    """Ann at 0 and 20 degrees, Bob at 90; their inversions at 30 and 60."""
    real = Shown(circle(90, 0, 20), ["bob", "ann", "ann"])
    found = judge_faces(Shown(circle(30, 60), ["ann", "bob"]), real)
    cos = [math.cos(math.radians(degrees)) for degrees in range(91)]
    assert found.own.tolist() == pytest.approx([(cos[30] + cos[10]) / 2, cos[30]])
    assert sorted(found.same) == pytest.approx(sorted([cos[30], cos[10], cos[30]]))
    assert set(found.other.round(6)) <= {round(value, 6) for value in (cos[60], cos[60], cos[40])}
    assert len(found.other) == len(found.same)
    assert (found.real_same.tolist(), sorted(found.real_other)) == (
        pytest.approx([cos[20]]), pytest.approx([cos[90], cos[70]], abs=1e-9),
    )  # fmt: skip
    assert found.apart == pytest.approx(cos[30])
    assert found.real_apart == pytest.approx((cos[90] + cos[70]) / 2)
    assert found.accuracy is not None
    assert found.accuracy.pair_count == 6
    assert found.tries is None
    assert found.frechet is not None
    expected = frechet_distance(circle(30, 60), circle(90, 0, 20)).distance
    assert found.frechet.distance == pytest.approx(expected)
    told = found.as_dict()
    assert told["cosine_to_real_faces"] == pytest.approx(found.own.mean())
    assert json.loads(json.dumps(told))["frechet"]["samples"] == [2, 3]


def test_judging_photos_tries_and_people_without_faces() -> None:
    tries = np.stack([circle(0, 90), circle(60, 90)])
    found = judge_faces(Shown(circle(0, 90), ["ann", "cy"]), Shown(circle(10, 50), ["ann", "bob"]), tries=tries)
    assert math.isnan(found.own[1])
    assert found.accuracy is None  # one person alone has real faces
    assert found.tries == pytest.approx((0.5 + 1.0) / 2)
    found = judge_faces(Shown(circle(0, 90), ["ann", "ann"]), Shown(circle(10, 50), ["ann"] * 2), photos=circle(10, 50))
    assert found.own.tolist() == pytest.approx([math.cos(math.radians(10)), math.cos(math.radians(40))])
    assert found.apart is None
    alone = judge_faces(Shown(circle(0, 90), ["ann", "bob"]))
    assert (alone.accuracy, alone.frechet, alone.real_apart) == (None, None, None)
    assert np.isnan(alone.own).all()
    with pytest.raises(DataError, match=r"a photo for each inverted face, \[2, 2\], got \[1, 2\]"):
        judge_faces(Shown(circle(0, 90), ["ann", "bob"]), photos=circle(0))
    with pytest.raises(DataError, match=r"got 1 for \[2, 2\]"):
        judge_faces(Shown(circle(0, 90), ["ann"]))


def test_inverted_faces_that_are_the_person_are_verified_and_those_that_are_not_are_not() -> None:
    rng = np.random.default_rng(0)
    people = rng.normal(size=(40, 32))
    labels = np.repeat(np.arange(40), 5)
    real = Shown(people[labels] + 0.3 * rng.normal(size=(200, 32)), labels)
    good = judge_faces(Shown(people + 0.3 * rng.normal(size=people.shape), np.arange(40)), real)
    bad = judge_faces(Shown(np.roll(people, 1, axis=0), np.arange(40)), real)
    for found in (good, bad):
        assert found.accuracy is not None
        assert found.real_accuracy is not None
        assert found.real_accuracy.mean > 0.97
        assert found.frechet is not None
        assert found.real_frechet is not None
    assert good.accuracy is not None
    assert bad.accuracy is not None
    assert good.accuracy.mean > 0.97
    assert bad.accuracy.mean < 0.6
    assert good.frechet is not None
    assert good.real_frechet is not None
    assert good.frechet.distance < 2 * good.real_frechet.distance


def test_pairs_of_a_protocol_with_one_side_or_both_replaced() -> None:
    rng = np.random.default_rng(3)
    real, inverted = rng.normal(size=(2, 40, 8))
    pairs, same = rng.integers(0, 40, (60, 2)), np.tile([True, False], 30)
    found = replaced_accuracy(real, inverted, pairs, same, folds=5)
    first, second = pairs.T
    assert found.real.mean == kfold_accuracy(real[first], real[second], same, 5).mean
    assert found.one_side.mean == kfold_accuracy(inverted[first], real[second], same, 5).mean
    assert found.both_sides.mean == kfold_accuracy(inverted[first], inverted[second], same, 5).mean
    with pytest.raises(DataError, match="pairs name row 40 of 40 faces"):
        replaced_accuracy(real, inverted, [[0, 40]], [True])


# ---- targets


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An untrained model of few drawn people, and another one to judge it."""
    recipe = load_recipe(
        "demo",
        [
            f"backbone.embedding_dim={DIMENSION}",
            "evaluation=[]",
            f"data.drawn.people={PEOPLE}",
            f"data.drawn.faces_per_person={EACH}",
        ],
    )
    places = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        place = tmp_path_factory.mktemp("run") / f"model{seed}"
        people = [f"person{label:06d}" for label in range(PEOPLE)]
        save_artifact(place, build_backbone(recipe), build_head(recipe, PEOPLE), recipe, people, Card())
        places.append(place)
    return places[0], places[1]


def photos_at(folder: Path, *names: str, side: int = 112) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / name)
    return folder


def targets_of(place: Path, **asked: Any) -> Targets:
    artifact = open_artifact(place)
    return open_targets(artifact, artifact.encoder(), Choice(**asked), QUIET)


def test_classes_by_name_number_and_range() -> None:
    people = ["ann", "bob", "2", "dan"]
    assert class_labels("all", people) == [0, 1, 2, 3]
    assert class_labels("dan, 0-1,1,2", people) == [3, 0, 1, 2]  # "2" is a name here
    with pytest.raises(UnknownNameError, match="unknown person 'anne'; did you mean 'ann'"):
        class_labels("anne", people)
    for wrong in ("4", "2-7", "3-1"):
        with pytest.raises(UsageError, match=f"expected classes from 0 to 3, got {wrong}"):
            class_labels(wrong, people)
    with pytest.raises(UsageError, match="expected classes, got none"):
        class_labels(",", people)


def test_names_of_files_never_lead_astray() -> None:
    assert file_names(["../../etc", "a/b", "a:b", "A-B", ""]) == ("etc", "a-b", "a-b-2", "A-B-3", "face")
    assert max(map(len, file_names(["x" * 300, "x" * 300]))) <= 84


def test_class_targets(artifacts: tuple[Path, Path]) -> None:
    found = targets_of(artifacts[0], classes="all", limit=2)
    assert found.people == ("person000000", "person000003")
    assert found.goal(np.array([1])).labels.tolist() == [3]  # type: ignore[attr-defined]
    before = found.digest()
    assert targets_of(artifacts[0], classes="person000000,person000003").digest() == before
    assert found.head is not None
    with torch.no_grad():
        found.head.centers.weight[1] += 1.0
    assert found.digest() != before  # an impostor's center counts too


def test_photos_in_folders_loose_and_alone(artifacts: tuple[Path, Path], tmp_path: Path) -> None:
    folder = photos_at(tmp_path / "photos", "ann/1.png", "ann/2.png", "bob/1.png", "loose.png")
    (folder / "bob" / "2.png").write_bytes(b"no picture")
    found = targets_of(artifacts[0], photos=str(folder))
    assert dict(zip(found.names, found.people, strict=True)) == {
        "ann-1": "ann", "ann-2": "ann", "bob-1": "bob", "loose": "loose",
    }  # fmt: skip
    alone = targets_of(artifacts[0], photos=str(folder / "bob" / "1.png"))
    assert (alone.names, alone.people) == (("1",), ("1",))
    assert alone.vectors is not None
    assert found.vectors is not None
    np.testing.assert_allclose(alone.vectors[0], found.vectors[found.names.index("bob-1")], rtol=1e-4, atol=1e-5)
    picture = np.array(Image.open(folder / "bob" / "1.png"))[None]
    expected = open_artifact(artifacts[0]).encoder().embed(picture).vectors  # flip test included
    np.testing.assert_allclose(alone.vectors, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="expected a face of 112x112 pixels, got 96x96"):
        targets_of(artifacts[0], photos=str(photos_at(tmp_path / "small", "a/1.png", side=96)))
    shutil.rmtree(folder)
    photos_at(folder, "bob/1.png")
    (folder / "bob" / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="none of the faces can be read"):
        targets_of(artifacts[0], photos=str(folder))


def test_stored_embeddings_are_of_this_model(run: Any, artifacts: tuple[Path, Path], tmp_path: Path) -> None:
    folder = photos_at(tmp_path / "photos", "ann/1.png", "bob/1.png")
    for kind in ("parquet", "npy"):
        file = tmp_path / f"stored.{kind}"
        assert run("embed", folder, file, "--artifact", artifacts[0], "--quiet").code == 0
        found = targets_of(artifacts[0], embeddings=file)
        assert (found.names, found.people) == (("ann-1", "bob-1"), ("ann", "bob"))
        with pytest.raises(ContractError, match="embed both sides with the same artifact"):
            targets_of(artifacts[1], embeddings=file)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((2, 5), np.float32), "expected embeddings of 16 values, as the model's, got 5"),
        (np.float32([[1.0] * 16, [math.nan] * 16]), "embedding row 1: a target is zero, NaN or infinite"),
        (np.float32([[0.0] * 16]), "embedding row 0: a target is zero"),
        (np.ones(16, np.float32), r"expected embeddings \[N, d\] of numbers, got float32 \[16\]"),
        (np.array([["a"] * 16]), "of numbers, got <U1"),
        (np.zeros((0, 16), np.float32), r"expected embeddings \[N, d\] to invert, got \[0, 16\]"),
        (None, "no array that can be read"),
    ],
)
def test_plain_arrays(artifacts: tuple[Path, Path], tmp_path: Path, array: Any, message: str) -> None:
    file = tmp_path / "plain.npy"
    if array is None:
        file.write_bytes(b"nothing")
    else:
        np.save(file, array)
    with pytest.raises(DataError, match=message) as caught:
        targets_of(artifacts[0], embeddings=file)
    assert "plain.npy" in str(caught.value)


def test_what_cannot_be_inverted(run: Any, artifacts: tuple[Path, Path], tmp_path: Path) -> None:
    model = artifacts[0]
    with pytest.raises(UsageError, match="expected one of --classes, --photos and --embeddings, got none"):
        targets_of(model)
    with pytest.raises(UsageError, match="got --classes and --photos"):
        targets_of(model, classes="all", photos="x")
    headless = tmp_path / "headless"
    shutil.copytree(model, headless)
    (headless / "head.safetensors").unlink()
    with pytest.raises(ArtifactError, match="has no head, so there are no classes to invert; invert photos or embedd"):
        targets_of(headless, classes="all")
    imported = tmp_path / "imported"
    imported.mkdir()
    shutil.copy(model / "contract.json", imported)
    (imported / "model.onnx").write_bytes(b"never read")
    told = run("invert", imported, "--embeddings", "x.npy").complaint()
    assert "was imported from an ONNX file" in told
    assert "BatchNorm is folded away" in told
    told = run("invert", model, "--classes", "0", "--judge", model, "--run", tmp_path / "out").complaint(2)
    assert "the judge is the attacked model itself" in told
    other = tmp_path / "other"
    shutil.copytree(artifacts[1], other)
    contract = json.loads((other / "contract.json").read_text())
    (other / "contract.json").write_text(json.dumps(contract | {"height": 128}))
    told = run("invert", model, "--classes", "0", "--judge", other, "--run", tmp_path / "out").complaint()
    assert "expected a judge of crops as the model's, 112x112 px" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--classes", "nobody"], "unknown person 'nobody'"),
        (["--classes", "0", "--precision", "fp16"], "expected precision auto, fp32 or bf16, got fp16"),
        (["--classes", "0", "--compare-priors", "--no-batch-norm"], "cannot be compared without the BatchNorm prior"),
    ],
)
def test_wrong_usage(run: Any, artifacts: tuple[Path, Path], words: list[str], message: str) -> None:
    assert message in run("invert", artifacts[0], *words).complaint(2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--schedule", "linear"], "--schedule takes constant or cosine; got 'linear'"),
        (["--resolutions", "half"], "--resolutions takes numbers parted by commas"),
        (["--prior-statistics", "mine"], "--prior-statistics takes paper or deepinversion"),
    ],
)
def test_wrong_options(run: Any, artifacts: tuple[Path, Path], words: list[str], message: str) -> None:
    done = run("invert", artifacts[0], "--classes", "0", *words)
    assert done.code == 2
    assert message in " ".join(done.err.replace("│", " ").split())


# ---- the search


def small_encoder() -> Encoder:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.Flatten(), nn.Linear(72, 8)
    )
    return Encoder(net.eval(), SMALL)


def small_targets(count: int = 5) -> Targets:
    vectors = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    names = tuple(f"target-{row}" for row in range(count))
    return Targets("embeddings", names, names, vectors=vectors)


# Searches as the tests do, but waits at the n-th step of Adam to be killed there.
_WORKER = """
import signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_invert import HOW, QUIET, Inversion, search_faces, small_encoder, small_targets
original, left = Inversion._advance, int(sys.argv[2])

def waiting(self):
    global left
    left -= 1
    if left == 0:
        print("there", flush=True)
        signal.pause()
    return original(self)

Inversion._advance = waiting
search_faces(small_encoder(), small_targets(), HOW, Path(sys.argv[1]), QUIET)
"""


def killed(folder: Path, step: int) -> None:
    words = [sys.executable, "-c", _WORKER, str(folder), str(step), str(Path(__file__).parent)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "there\n"
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert not folder.exists()


class Stopped(Exception):
    """As if the process were gone."""


def stopped(folder: Path, how: How, step: int) -> None:
    """The same without another process."""
    original, left = Inversion._advance, [step]

    def stopping(self: Inversion) -> float:
        left[0] -= 1
        if not left[0]:
            raise Stopped
        return original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Inversion, "_advance", stopping)
        with pytest.raises(Stopped):
            search_faces(small_encoder(), small_targets(), how, folder, QUIET)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return search_faces(small_encoder(), small_targets(), HOW, tmp_path_factory.mktemp("search") / "search", QUIET)


@pytest.mark.parametrize("step", [5, 33, 47])  # of the first batch, of the second, and of the first in the second try
def test_killed_and_started_again_the_pictures_are_the_same(tmp_path: Path, step: int, undisturbed: Any) -> None:
    folder = tmp_path / "search"
    if step == 47:
        killed(folder, step)
    else:
        stopped(folder, HOW, step)
    steps: list[int] = []
    original = Inversion._advance

    def counted(self: Inversion) -> float:
        steps.append(self.step)
        return original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Inversion, "_advance", counted)
        resumed = search_faces(small_encoder(), small_targets(), HOW, folder, QUIET)
    np.testing.assert_array_equal(resumed, undisturbed)
    assert len(steps) == 80 - (step - 1) // 10 * 10  # the state of every tenth step was there
    assert [path.name for path in tmp_path.iterdir()] == ["search"]
    assert sorted(path.name for path in folder.iterdir()) == ["pictures.npy", "plan.json"]


def test_pictures_of_a_search(undisturbed: Any) -> None:
    assert undisturbed.shape == (2, 5, 16, 16, 3)
    assert undisturbed.dtype == np.uint8
    assert (undisturbed[0] != undisturbed[1]).any(axis=(1, 2, 3)).all()  # tries begin with other noise
    alone = Inversion(
        small_encoder().backbone, SMALL, small_targets().goal(np.array([3, 4])), replace(HOW.search, seed=_seed(0, 1))
    )
    from hyperarc.inversion import to_pixels

    np.testing.assert_array_equal(to_pixels(alone.run().images(), SMALL), undisturbed[0, 3:5])  # batches of 3 and 2


def _seed(attempt: int, batch: int) -> int:
    return int(np.random.SeedSequence([0, attempt, batch]).generate_state(1)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tries": 1}, "tries was 2, is 1"),
        ({"search": replace(HOW.search, seed=5)}, "search.seed was 0, is 5"),
        ({"priors": Priors(batch_norm=1.0)}, "priors.batch_norm was 0.01, is 1.0"),
    ],
)
def test_another_request_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    how = replace(HOW, search=replace(HOW.search, iterations=2))
    change = {k: replace(v, iterations=2) if isinstance(v, Search) else v for k, v in change.items()}
    folder = tmp_path / "search"
    before = search_faces(small_encoder(), small_targets(), how, folder, QUIET)
    after = search_faces(small_encoder(), small_targets(), how, folder, QUIET)  # read again
    np.testing.assert_array_equal(after, before)
    with pytest.raises(HyperArcError, match=f"holds the faces of another request: {message}; name another folder"):
        search_faces(small_encoder(), small_targets(), replace(how, **change), folder, QUIET)
    with pytest.raises(HyperArcError, match="targets was"):
        search_faces(small_encoder(), small_targets(4), how, folder, QUIET)
    shutil.rmtree(folder)
    stopped(folder, how, 3)  # and where the other one is unfinished
    with pytest.raises(HyperArcError, match="unfinished work on it was begun otherwise"):
        search_faces(small_encoder(), small_targets(), replace(how, **change), folder, QUIET)


def test_model_without_batchnorm_tells_what_still_applies(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.Flatten(), nn.Linear(392, 8)).eval()
    with pytest.raises(HyperArcError, match=r"has no BatchNorm .* total variation, image norm and range still apply"):
        search_faces(Encoder(net, SMALL), small_targets(), HOW, tmp_path / "search", QUIET)
    how = replace(HOW, priors=Priors(batch_norm=0.0), search=Search(iterations=2), tries=1)
    assert len(search_faces(Encoder(net, SMALL), small_targets(), how, tmp_path / "search", QUIET)[0]) == 5
    kept = small_encoder()
    kept.backbone[1] = nn.BatchNorm2d(8, track_running_stats=False).eval()  # type: ignore[index, operator]
    with pytest.raises(HyperArcError, match="layer 1 keeps no running statistics"):
        search_faces(kept, small_targets(), HOW, tmp_path / "other", QUIET)


# ---- the command


def test_classes_judged_with_and_without_batchnorm(run: Any, artifacts: tuple[Path, Path], tmp_path: Path) -> None:
    out, (model, judge) = tmp_path / "out", artifacts
    words = ["invert", model, "--classes", "all", "--iterations", 2, "--tries", 2, "--batch", 3, "--compare-priors"]
    words += ["--judge", judge, "--run", out, "--json", "--quiet"]
    done = run(*words)
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts == json.loads((out / "inversion.json").read_text())
    assert (facts["targets"], facts["kind"], facts["real_faces"]["faces"]) == (PEOPLE, "classes", PEOPLE * EACH)
    assert set(facts["results"]) == {"with BatchNorm", "without"}
    assert facts["priors"]["batch_norm"] > 0
    without = json.loads((out / "search-without-batch-norm" / "plan.json").read_text())["priors"]
    assert without == facts["priors"] | {"batch_norm": 0.0, "length": 0.0}
    files = sorted(path.name for path in (out / "faces").iterdir())
    assert files == [f"person{label:06d}.png" for label in range(PEOPLE)]
    with open(out / "inversions.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * PEOPLE
    encoder = open_artifact(model).encoder()
    centers = open_artifact(model).head().centers.weight.detach().numpy()[:, 0]
    pictures = np.stack([np.asarray(Image.open(out / "faces" / file)) for file in files])
    vectors = encoder.embed(pictures).vectors
    cosines = (vectors * centers).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(centers, axis=1)
    of_first = [row for row in rows if row["priors"] == "with BatchNorm"]
    kept = [float(row["cosine_to_target"]) for row in of_first if row["kept"] == "1"]
    np.testing.assert_allclose(kept, cosines, atol=2e-4)
    best = [max(float(row["cosine_to_target"]) for row in of_first if row["target"] == file[:-4]) for file in files]
    assert kept == best  # the better try
    told = facts["results"]["with BatchNorm"]
    assert told["cosine_to_target"]["mean"] == pytest.approx(np.mean(kept), abs=1e-5)
    assert told["judge"]["cosine_to_real_faces"] == pytest.approx(
        np.mean([float(row["judge_to_real"]) for row in of_first if row["kept"] == "1"]), abs=1e-5
    )
    assert told["judge"]["accuracy"]["pairs"] == 2 * PEOPLE * EACH
    page = (out / "report.html").read_text()
    for words_of_page in ("Inversion of model0", "model1", "Frechet distance", "is no FID", "Priors: without"):
        assert words_of_page in page
    assert "http" not in page
    assert Image.open(out / "sheet.png").width == 6 + PEOPLE * 118
    again = run(*words)  # nothing is searched for again, and all is told again
    assert json.loads(again.out)["results"] == facts["results"]
    refused = run(*words[:3], "0", *words[4:])
    assert "holds the faces of another request" in refused.complaint()


def test_options_reach_the_search(run: Any, artifacts: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["invert", artifacts[0], "--classes", "0", "--json", "--quiet", "--iterations", 2, "--real", "none"]
    facts = json.loads(run(*words, "--run", tmp_path / "a", "--paper", "--flip", "--prior-length", 0.5).out)
    expected = replace(Search.paper(), iterations=2, flip=True, precision=facts["search"]["precision"])
    assert facts["search"] == json.loads(json.dumps(asdict(expected)))
    assert facts["priors"] == asdict(replace(Priors.paper(), length=0.5))
    words += ["--run", tmp_path / "b", "--schedule", "constant", "--rate", 0.2, "--jitter", 1, "--resolutions", "0.5,1"]
    words += ["--prior-statistics", "deepinversion", "--prior-variation", "l1", "--prior-total-variation", 0.5]
    words += ["--prior-first-layer", 10, "--prior-neck", "--prior-image-norm", 0, "--prior-out-of-range", 1]
    facts = json.loads(run(*words, "--warmup", 3, "--no-flip", "--seed", 4, "--prior-batch-norm", 2).out)
    search = Search(2, 0.2, schedule="constant", warmup=3, jitter_px=1, flip=False, resolutions=(0.5, 1.0), seed=4)
    assert facts["search"] == json.loads(json.dumps(asdict(replace(search, precision=facts["search"]["precision"]))))
    assert facts["priors"] == asdict(
        Priors(2, "deepinversion", first_layer=10, neck=True, total_variation=0.5, variation="l1", image_norm=0)
    ) | {"out_of_range": 1}


def test_photos_and_embeddings(run: Any, artifacts: tuple[Path, Path], tmp_path: Path) -> None:
    folder = photos_at(tmp_path / "photos", *(f"p{person}/{face}.png" for person in range(3) for face in range(2)))
    words = ["--iterations", 2, "--no-batch-norm", "--json", "--quiet"]
    done = run("invert", artifacts[0], "--photos", folder, "--judge", artifacts[1], "--run", tmp_path / "a", *words)
    assert done.code == 0, done.err
    told = json.loads(done.out)["results"]["without"]
    assert told["judge"]["accuracy"]["pairs"] == 2 * 6 * 2
    assert sorted(path.name for path in (tmp_path / "a" / "faces").iterdir())[0] == "p0-0.png"
    assert "the photo, of which the search knew the embedding alone" in (tmp_path / "a" / "report.html").read_text()
    np.save(tmp_path / "plain.npy", np.random.default_rng(0).normal(size=(3, DIMENSION)))
    done = run("invert", artifacts[0], "--embeddings", tmp_path / "plain.npy", "--run", tmp_path / "b", *words)
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts["real_faces"] is None
    assert facts["results"]["without"]["model"]["cosine_to_real_faces"] is None
    assert sorted(path.name for path in (tmp_path / "b" / "faces").iterdir()) == ["0.png", "1.png", "2.png"]
    assert "does not say which model" in run("invert", artifacts[0], "--embeddings", tmp_path / "plain.npy", "--run",
                                              tmp_path / "b", *words[:-2]).err  # fmt: skip
    strangers = photos_at(tmp_path / "strangers", "nobody/1.png")
    told = run("invert", artifacts[0], "--classes", "0", "--real", strangers, "--run", tmp_path / "c").complaint()
    assert "expected faces of the people to be inverted, such as 'person000000'" in told


def test_some_people_have_real_faces(run: Any, artifacts: tuple[Path, Path], tmp_path: Path) -> None:
    real = photos_at(tmp_path / "real", "person000001/1.png", "person000001/2.png", "stranger/1.png")
    words = ["invert", artifacts[0], "--classes", "0-1", "--iterations", 1, "--real", real, "--run", tmp_path / "out"]
    done = run(*words)
    assert done.code == 0, done.err
    assert "1 of 2 people have no face in real" in done.err
    with open(tmp_path / "out" / "inversions.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["model_to_real"] != "" for row in rows] == [False, True]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "none of which the search has seen" in page
    assert page.count('<div class="versus">') == 1


def test_folders_of_others_are_not_written_over(run: Any, artifacts: tuple[Path, Path], tmp_path: Path) -> None:
    photos_at(tmp_path / "mine", "faces/ann/1.png")
    words = ["invert", artifacts[0], "--classes", "0", "--iterations", 1, "--run", tmp_path / "mine"]
    assert "mine/faces: refused to overwrite what stands there" in run(*words).complaint()
    assert (tmp_path / "mine" / "faces" / "ann" / "1.png").is_file()


def test_hills_of_cosines() -> None:
    figure = cosine_hills([CosinePanel("a", [0.5], [-0.6], [], []), CosinePanel("b", [0.2], [], [0.9], [0.1])])
    assert figure.axes[0].get_xlim() == (-0.75, 1.0)
    with pytest.raises(DataError, match=r"expected cosines, -1\.\.1"):
        cosine_hills([CosinePanel("a", [30.0], [], [], [])])
    with pytest.raises(DataError, match="at least one panel"):
        cosine_hills([])
