"""Wrong labels put in on purpose: exact rates, reproducible, on drawn and on other faces, with the truth kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hyperarc.data.face_set import digest_of
from hyperarc.data.manifest import Manifest, manifest_of
from hyperarc.data.noise import add_noise, flip_labels, runs_of, split_conflicts
from hyperarc.data.training_set import TrainingSet, open_training_set
from hyperarc.data.truth import read_truth
from hyperarc.errors import DataError
from hyperarc.recipe import Data, DrawnData, Noise, SourceData
from hyperarc.training.checkpoint import recipe_digest

PEOPLE, EACH = 20, 6


def clean(people: int = PEOPLE, each: int = EACH, prefix: str = "p", source: str = "set") -> Manifest:
    persons = [f"{prefix}{person:03d}" for person in range(people) for _ in range(each)]
    return manifest_of([f"{person}/{row}" for row, person in enumerate(persons)], persons, source=source)


@pytest.mark.parametrize("rate", [0.0, 0.013, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("together", [1, 4])
def test_label_flips_are_exact(rate: float, together: int) -> None:
    labels = np.repeat(np.array([2, 5, 11, 40]), 19)
    new, wrong = flip_labels(labels, rate, np.random.default_rng(0), together=together)
    assert int(wrong.sum()) == round(rate * len(labels))
    np.testing.assert_array_equal(new != labels, wrong)
    assert set(new.tolist()) <= {2, 5, 11, 40}


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_label_conflicts_are_exact(rate: float) -> None:
    labels = np.concatenate([np.repeat(np.arange(20), 5), [20]])  # the last person has one face only
    new, origin = split_conflicts(labels, rate, np.random.default_rng(0))
    assert len(origin) == round(rate * 20)
    assert sorted(origin) == list(range(21, 21 + len(origin)))
    np.testing.assert_array_equal([origin.get(int(label), int(label)) for label in new], labels)
    for label, person in origin.items():
        assert int((new == label).sum()) == 2
        assert int((new == person).sum()) == 3


@pytest.mark.parametrize("together", [1, 2, 3, 10])
def test_runs_hold_faces_of_one_person(together: int) -> None:
    labels = np.random.default_rng(1).integers(0, 5, 40)
    order, run = runs_of(labels, together, np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(40))
    assert (np.diff(run) >= 0).all()
    for one in range(int(run[-1]) + 1):
        rows = order[run == one]
        assert len(np.unique(labels[rows])) == 1
        assert len(rows) <= together
    sizes = np.bincount(labels)
    assert run[-1] + 1 == sum(-(-size // together) for size in sizes)


def test_all_three_kinds_at_their_rates_with_the_truth() -> None:
    start, strangers = clean(), clean(30, 2, prefix="s", source="street")
    noise = Noise(flips=0.2, strangers=0.1, conflicts=0.25, seed=3)
    noisy, truth = add_noise(start, noise, strangers)
    rows = list(noisy.rows)
    faces = len(start)
    kinds = truth.kinds.tolist()
    assert (len(noisy), kinds.count("flip"), kinds.count("stranger")) == (faces, 24, 12)
    assert noisy.num_people == PEOPLE + 5
    assert int(truth.wrong.sum()) == 36
    for row, before, person, kind in zip(rows, start.rows, truth.persons, kinds, strict=True):
        named = row.person.partition(" (")[0]
        assert (row.source == "street") == (kind == "stranger")
        assert row.face.startswith(person)  # the key tells who it is
        if kind == "stranger":
            assert person.startswith("s")
            assert named == before.person  # it took the place of this person's face
        else:
            assert row.face == before.face
            assert (named != person) == (kind == "flip")
        if kind == "conflict":
            assert row.person == f"{person} (2)"
    assert len({row.face for row in rows}) == faces  # nobody stands there twice
    again, _ = add_noise(start, noise, strangers)
    assert digest_of(again) == digest_of(noisy)
    assert digest_of(add_noise(start, noise.model_copy(update={"seed": 4}), strangers)[0]) != digest_of(noisy)


def test_noise_leaves_alone_what_is_left_out_and_asks_for_enough_strangers() -> None:
    start = clean(4, 5).mark(np.arange(10), "blurred")
    noisy, truth = add_noise(start, Noise(flips=0.5))
    assert not truth.wrong[:10].any()
    assert int(truth.wrong.sum()) == 5
    assert noisy.column("person").tolist()[:10] == start.column("person").tolist()[:10]
    with pytest.raises(DataError, match="expected 5 faces of strangers, got 4"):
        add_noise(start, Noise(strangers=0.5), clean(2, 2, prefix="s", source="street"))
    with pytest.raises(DataError, match="two or more people"):
        add_noise(clean(1, 4), Noise(flips=0.5))
    with pytest.raises(DataError, match="rate from 0 to 1"):
        flip_labels(np.arange(3), float("nan"), np.random.default_rng(0))
    with pytest.raises(DataError, match="whole numbers"):
        split_conflicts(np.zeros((2, 2), dtype=np.int64), 0.5, np.random.default_rng(0))
    with pytest.raises(DataError, match="at least 1 face together"):
        flip_labels(np.arange(3), 0.5, np.random.default_rng(0), together=0)


def test_wrong_faces_may_come_together() -> None:
    noisy, truth = add_noise(clean(30, 12), Noise(flips=0.3, together=4, seed=1))
    wrong = np.flatnonzero(truth.wrong)
    pairs, counts = np.unique(
        [f"{truth.persons[row]} as {noisy.row(int(row)).person}" for row in wrong], return_counts=True
    )
    assert len(pairs) <= len(wrong) // 4 + 1
    assert np.median(counts) == 4


def test_drawn_faces_get_noise_and_drawn_strangers() -> None:
    noise = Noise(flips=0.25, strangers=0.25, together=2)
    data = Data(drawn=DrawnData(people=4, faces_per_person=4, seed=1), noise=noise)
    faces = open_training_set(data)
    assert isinstance(faces, TrainingSet)
    assert faces.truth is not None
    assert sorted(faces.truth.kinds.tolist()) == [""] * 8 + ["flip"] * 4 + ["stranger"] * 4
    assert [source.name for source in faces.sources] == ["drawn", "strangers"]
    assert faces.kept.num_people == 4
    assert open_training_set(data).digest() == faces.digest()
    assert open_training_set(Data(drawn=data.drawn)).truth is None


def folder_of(path: Path, people: list[str], each: int) -> str:
    random = np.random.default_rng(0)
    for person in people:
        (path / person).mkdir(parents=True)
        for number in range(each):
            pixels = random.integers(0, 256, (112, 112, 3), np.uint8)
            Image.fromarray(pixels).save(path / person / f"{number}.png")
    return str(path)


def test_faces_of_folders_get_noise_and_keep_it_through_a_manifest(tmp_path: Path) -> None:
    ours = SourceData(path=folder_of(tmp_path / "ours", ["ann", "bob", "eve"], 4))
    theirs = SourceData(path=folder_of(tmp_path / "theirs", ["bob", "zoe", "kim"], 2))
    noise = Noise(flips=0.25, strangers=0.25, strangers_from=theirs)
    faces = open_training_set(Data(sources=(ours,), noise=noise))
    assert faces.truth is not None
    who = [person for person, kind in zip(faces.truth.persons, faces.truth.kinds, strict=True) if kind == "stranger"]
    assert len(who) == 3
    assert set(who) <= {"zoe", "kim"}  # bob is no stranger
    faces.truth.write(faces.manifest, tmp_path / "truth.parquet")
    shuffled = faces.manifest.take(np.arange(11, 2, -1))
    again = read_truth(tmp_path / "truth.parquet", shuffled)
    assert again.kinds.tolist() == faces.truth.kinds[11:2:-1].tolist()
    with pytest.raises(DataError, match="does not know the face street:"):
        read_truth(tmp_path / "truth.parquet", clean(source="street"))
    with pytest.raises(DataError, match="cannot read the truth"):
        read_truth(tmp_path / "nowhere.parquet", shuffled)

    faces.manifest.mark([0, 1], "noise: 80 deg").write(tmp_path / "faces.parquet")
    marked = open_training_set(Data(sources=(ours,), noise=noise, manifest=str(tmp_path / "faces.parquet")))
    assert len(marked.kept) == 10
    assert marked.truth is None
    assert marked.manifest.column("person").tolist() == faces.manifest.column("person").tolist()
    with pytest.raises(DataError, match=r"data\.noise\.strangers_from: expected faces of people"):
        open_training_set(Data(sources=(ours,), noise=Noise(strangers=0.1)))


def test_checkpoints_made_before_there_was_noise_go_on() -> None:
    from hyperarc.recipe.file import load_recipe

    before = ["data.noise={}", "data.drawn.people=400", "data.drawn.faces_per_person=12"]  # the demo as it was then
    before += ["head.arguments={scale: 32, margin: 0.3}", "backbone.arguments={}"]
    before += ["schedule.epochs=8", "schedule.warmup_epochs=0.4"]
    assert recipe_digest(load_recipe("demo", before)) == "311d91f12b4d9fd2"
    assert recipe_digest(load_recipe("demo", [*before, "data.noise.flips=0.1"])) != "311d91f12b4d9fd2"
    assert recipe_digest(load_recipe("demo", [*before, "data.manifest=faces.parquet"])) == "311d91f12b4d9fd2"
