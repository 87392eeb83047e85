"""Targets that nobody has, faces on their way, and the pictures of them."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import nn

from hyperarc.artifact import build_backbone, build_head, open_artifact, save_artifact
from hyperarc.artifact.card import Card
from hyperarc.commands.invert_search import How, frame_steps, read_frames, search_faces
from hyperarc.commands.invert_sphere import Between, Made, MadeTargets, NewPeople, SubCenters, make_targets
from hyperarc.commands.invert_targets import Choice, Targets
from hyperarc.commands.show import Show
from hyperarc.contract import Contract
from hyperarc.data.face_set import open_faces
from hyperarc.data.training_set import open_training_set
from hyperarc.encoder import Encoder
from hyperarc.errors import ArtifactError, DataError, UnknownNameError, UsageError
from hyperarc.geometry import unit
from hyperarc.inversion import EmbeddingGoal, Inversion, Priors, Search, arc, to_pixels
from hyperarc.recipe.file import load_recipe
from hyperarc.report.rows import FaceRow, row_sheet, write_film

QUIET = Show(quiet=True)
PEOPLE, SUB_CENTERS, DIMENSION = 4, 2, 8
PERSON = "person{:06d}".format
SMALL = Contract(height=16, width=16, embedding_dim=8)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of few drawn people with two sub-centers each."""
    words = [f"backbone.embedding_dim={DIMENSION}", f"head.sub_centers={SUB_CENTERS}", "evaluation=[]"]
    recipe = load_recipe("demo", [*words, f"data.drawn.people={PEOPLE}", "data.drawn.faces_per_person=2"])
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("run") / "model"
    people = [PERSON(label) for label in range(PEOPLE)]
    save_artifact(place, build_backbone(recipe), build_head(recipe, PEOPLE), recipe, people, Card())
    return place


def made(place: Path, what: Made, **choice: Any) -> MadeTargets:
    artifact = open_artifact(place)
    return make_targets(artifact, artifact.encoder(), Choice(**choice), what, QUIET)


def centers_of(place: Path) -> torch.Tensor:
    return unit(open_artifact(place).head().centers.weight.detach())


def cosines(a: Any, b: Any) -> npt.NDArray[np.float64]:
    return np.asarray((torch.as_tensor(a) * torch.as_tensor(b)).sum(-1).numpy(), np.float64)


# ---- targets


def test_new_people(artifact: Path) -> None:
    found = made(artifact, NewPeople(3, per_person=2, spread_deg=25, least_arc_deg=30, seed=1))
    assert found.people == ("new_000001",) * 2 + ("new_000002",) * 2 + ("new_000003",) * 2
    assert found.names[:3] == ("new_000001/1", "new_000001/2", "new_000002/1")
    assert found.vectors is not None
    assert found.new is not None
    np.testing.assert_array_equal(found.vectors[::2], found.new.vectors)
    np.testing.assert_allclose(cosines(found.vectors[::2], found.vectors[1::2]), np.cos(np.radians(25)), atol=1e-5)
    every = centers_of(artifact).flatten(0, 1).numpy()
    assert (found.vectors[::2] @ every.T).max() <= np.cos(np.radians(30)) + 1e-6
    with pytest.raises(UsageError, match="at least one new person with one face"):
        NewPeople(0)


def test_new_people_among_those_of_a_file(artifact: Path, tmp_path: Path) -> None:
    file = tmp_path / "gallery.npy"
    np.save(file, np.eye(DIMENSION, dtype=np.float32))
    found = made(artifact, NewPeople(2, least_arc_deg=35), embeddings=file)
    assert len(found.known) == DIMENSION
    assert found.vectors is not None
    assert found.vectors.max() <= np.cos(np.radians(35)) + 1e-6


def test_between_two_people(artifact: Path) -> None:
    found = made(artifact, Between(f"{PERSON(0)},2", steps=5))
    assert (found.people[0], found.people[-1], len(found)) == (PERSON(0), PERSON(2), 5)
    dominant = open_artifact(artifact).head().centers.dominant_weight()
    assert found.vectors is not None
    assert found.whole_deg is not None
    np.testing.assert_allclose(found.vectors, arc(dominant[0], dominant[2], 5).numpy(), atol=1e-6)
    assert found.whole_deg == pytest.approx(np.degrees(np.arccos(cosines(unit(dominant)[0], unit(dominant)[2]))))
    assert found.people[2] == f"{found.whole_deg / 2:.0f}°"
    for wrong in ("0", "0,1,2"):
        with pytest.raises(UsageError, match="expected two people and at least 3 steps"):
            made(artifact, Between(wrong))
    with pytest.raises(UnknownNameError, match="unknown person 'nobody'"):
        made(artifact, Between("0,nobody"))
    with pytest.raises(UsageError, match="--classes names faces to invert"):
        made(artifact, Between("0,1"), classes="0")


def test_sub_centers_of_classes(artifact: Path) -> None:
    found = made(artifact, SubCenters(), classes="1,3")
    assert found.people == (PERSON(1),) * 2 + (PERSON(3),) * 2
    assert found.names == tuple(f"{PERSON(label)}-{k}" for label in (1, 3) for k in (1, 2))
    expected = centers_of(artifact)[[1, 3]].flatten(0, 1)
    np.testing.assert_allclose(found.goal().targets, expected, atol=1e-6)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="add --classes"):
        made(artifact, SubCenters())


def test_without_a_head_or_sub_centers(artifact: Path, tmp_path: Path) -> None:
    recipe = load_recipe("demo", [f"backbone.embedding_dim={DIMENSION}", "evaluation=[]"])
    place = tmp_path / "one"
    save_artifact(place, build_backbone(recipe), build_head(recipe, 2), recipe, ["ann", "bob"], Card())
    with pytest.raises(UsageError, match="the model has one center a person"):
        made(place, SubCenters(), classes="ann")
    (place / "head.safetensors").unlink()
    with pytest.raises(ArtifactError, match="has no head"):
        made(place, NewPeople(1))


# ---- faces on their way


def small_encoder() -> Encoder:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(392, 8))
    return Encoder(net.eval(), SMALL)


def test_frames_are_the_pictures_after_those_steps(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    targets = Targets("embeddings", ("a", "b", "c"), ("a", "b", "c"), vectors=vectors)
    how = How(Search(iterations=25, rate=0.05, jitter_px=1), Priors(), batch=3, frames=(0, 3, 17, 25))
    found = search_faces(small_encoder(), targets, how, tmp_path / "search", QUIET)
    frames = read_frames(tmp_path / "search")
    assert frames.shape == (1, 4, 3, 16, 16, 3)
    np.testing.assert_array_equal(frames[:, -1], found)
    seed = int(np.random.SeedSequence([0, 0, 0]).generate_state(1)[0])
    search = Search(iterations=25, rate=0.05, jitter_px=1, seed=seed)
    alone = Inversion(small_encoder().backbone, SMALL, EmbeddingGoal(vectors), search)
    for place, steps in enumerate((0, 3, 14)):
        np.testing.assert_array_equal(frames[0, place], to_pixels(alone.run(steps).images(), SMALL))
    plain = search_faces(small_encoder(), targets, How(how.search, Priors(), batch=3), tmp_path / "plain", QUIET)
    np.testing.assert_array_equal(plain, found)  # to be looked at changes nothing


def test_frames_survive_a_stop(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(2, 8)).astype(np.float32)
    targets = Targets("embeddings", ("a", "b"), ("a", "b"), vectors=vectors)
    how = How(Search(iterations=30), Priors(), batch=1, save_every_s=0.0, frames=(0, 7, 30))
    whole = search_faces(small_encoder(), targets, how, tmp_path / "whole", QUIET)
    original, left = Inversion._advance, [50]

    def stopping(self: Inversion) -> float:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Inversion, "_advance", stopping)
        with pytest.raises(KeyboardInterrupt):
            search_faces(small_encoder(), targets, how, tmp_path / "again", QUIET)
    np.testing.assert_array_equal(search_faces(small_encoder(), targets, how, tmp_path / "again", QUIET), whole)
    np.testing.assert_array_equal(read_frames(tmp_path / "again"), read_frames(tmp_path / "whole"))


def test_steps_of_frames() -> None:
    assert frame_steps(2000, 1) == frame_steps(2000, 2) == (0, 2000)
    steps = frame_steps(2000, 24)
    assert (steps[0], steps[-1]) == (0, 2000)
    assert list(steps) == sorted(set(steps))
    with pytest.raises(UsageError, match="expected steps of pictures from 0 to 10"):
        How(Search(iterations=10), Priors(), frames=(0, 20))


def test_one_noise_for_all_keeps_equal_targets_equal() -> None:
    goal = EmbeddingGoal(np.ones((2, 8), np.float32))
    search = Search(iterations=5, same_start=True)
    images = Inversion(small_encoder().backbone, SMALL, goal, search).run().images()
    torch.testing.assert_close(images[0], images[1])
    other = Inversion(small_encoder().backbone, SMALL, goal, Search(iterations=5)).run().images()
    assert not torch.allclose(other[0], other[1])


# ---- pictures


def face(level: int, side: int = 112) -> npt.NDArray[np.uint8]:
    return np.full((side, side, 3), level, np.uint8)


def test_rows_of_faces() -> None:
    sheet = row_sheet([FaceRow("photo", [face(10), face(20)]), FaceRow("x", [None, face(30, 56)])], ["ann", "bob"])
    pixels = np.array(sheet)
    left = sheet.width - 18 - 2 * 112 - 4
    top = 18 + 22
    assert [int(pixels[top + 50, left + 50 + 116 * place, 0]) for place in (0, 1)] == [10, 20]
    assert pixels[top + 116 + 50, left + 50, 0] == 246  # an empty place
    assert pixels[top + 116 + 1, left + 116 + 1, 0] == 30  # a smaller face fills its tile
    assert (pixels[:top, left:] < 100).any()  # names of columns
    plain = row_sheet([FaceRow("", [face(10)])])
    assert plain.size == (112 + 2 * 18, 112 + 2 * 18)
    assert row_sheet([FaceRow("", [face(10)], captions=["a very long caption, longer than its tile"])]).height == 168
    for rows, columns, message in (
        ([], (), "expected rows of faces"),
        ([FaceRow("a", [face(0)] * 2)], ("one",), "2 columns, 1 named"),
        ([FaceRow("a", [np.zeros((3, 3))])], (), "row a, face 0: expected a uint8 RGB face"),
    ):
        with pytest.raises(DataError, match=message):
            row_sheet(rows, columns)
    with pytest.raises(DataError, match="a caption for each of 1 faces, got 2"):
        FaceRow("a", [face(0)], captions=["x", "y"])


def test_a_film(tmp_path: Path) -> None:
    frames = np.stack([np.stack([face(level), face(255 - level)]) for level in (0, 120, 250)])
    path = write_film(frames, tmp_path / "a" / "film.webp", ["ann", "bob"], ["step 0", "step 1", "step 2"])
    with Image.open(path) as film:
        assert (getattr(film, "n_frames", 1), film.info["loop"]) == (3, 0)
        levels = []
        for number in range(3):
            film.seek(number)
            levels.append(int(np.array(film.convert("RGB"))[60, 60, 0]))
    np.testing.assert_allclose(levels, [0, 120, 250], atol=8)
    for bad, labels in ((frames[:1], None), (frames[0], None), (frames, ["one"])):
        with pytest.raises(DataError, match=r"expected pictures \[F, N, H, W, 3\], at least two"):
            write_film(bad, path, labels=labels)


# ---- the command


QUICK = ("--iterations", 2, "--threads", 1, "--quiet", "--json")


def test_a_set_of_new_people(run: Any, artifact: Path, tmp_path: Path) -> None:
    out = tmp_path / "new"
    words = ("--new", 2, "--per-person", 2, "--least-arc", 20, "--run", out)
    done = run("invert", artifact, *words, *QUICK)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["kind"] == "new"
    assert told["new"]["least_arc_deg"] == 20
    assert told["new"]["target_arcs_deg"]["least"] >= 20
    faces = open_faces(out / "faces.parquet")
    assert faces.manifest.people == ("new_000001", "new_000002")
    assert (len(faces), faces.sources[0].name, faces.image(0).shape) == (4, "synthesis", (112, 112, 3))
    rows = list(csv.DictReader((out / "new_people.csv").open(encoding="utf-8")))
    assert [row["face"] for row in rows] == faces.manifest.column("face").tolist()
    assert float(rows[0]["target_arc_deg"]) >= 20
    assert rows[0]["target_nearest"].startswith("person")
    assert "keeps 20.0° from the centers of all 4 people" in (out / "report.html").read_text(encoding="utf-8")
    # an ordinary set: a recipe trains on it, as on the folder alone
    for path in (out / "faces.parquet", out / "faces"):
        recipe = load_recipe("demo", ["data.drawn=null", "data.noise={}", f"data.sources=[{{path: {path}}}]"])
        assert open_training_set(recipe.data).manifest.num_people == 2


def test_an_arc_and_faces_on_their_way(run: Any, artifact: Path, tmp_path: Path) -> None:
    out = tmp_path / "between"
    done = run("invert", artifact, "--between", "0,1", "--frames", 3, "--run", out, *QUICK)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["search"]["same_start"]
    for name in ("between", "frames", "film"):
        with Image.open(told[name]) as picture:
            assert picture.size[0] > 400
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "° apart; every step along the great arc" in page
    assert "How faces come out of noise" in page


def test_sub_centers_beside_average_faces(run: Any, artifact: Path, tmp_path: Path) -> None:
    out = tmp_path / "sub"
    done = run("invert", artifact, "--classes", "0,1", "--sub-centers", "--run", out, *QUICK)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    with Image.open(told["sub_centers"]) as picture:
        assert picture.width > 4 * 112
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "the dominant sub-center comes first" in page
    counted = [int(votes) for votes in re.findall(r">(\d+) faces?<", page)]
    assert counted in ([2, 0, 2, 0], [1, 1, 2, 0], [2, 0, 1, 1], [1, 1, 1, 1])  # two faces each, dominant first
    message = run("invert", artifact, "--classes", "0", "--sub-centers", "--real", "none", "--run", out / "x", *QUICK)
    assert "--sub-centers needs real faces" in message.complaint(2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--new", 1, "--between", "0,1"), "give one of --new, --between and --sub-centers"),
        (("--attack", "x.parquet"), "--attack needs --judge, another model, and --real"),
        (("--attack", "x.parquet", "--new", 1), "--attack inverts the templates of its file"),
        (("--attack", "x.parquet", "--frames", 3), "--attack inverts the templates of its file"),
    ],
)
def test_what_does_not_go_together(run: Any, artifact: Path, words: tuple[Any, ...], message: str) -> None:
    done = run("invert", artifact, *words)
    assert done.code == 2
    assert message in " ".join(done.err.replace("│", " ").split())
