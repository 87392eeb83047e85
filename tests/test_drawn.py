"""Drawn faces: same for the same seed, every knob alive, truth kept, and not solvable by pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from hyperarc.data.drawn import (
    IDENTITY_NAMES,
    NUISANCE_NAMES,
    Conditions,
    class_sizes,
    draw_chunks,
    draw_faces,
    draw_nuisances,
    draw_people,
    draw_set,
    set_nuisances,
)
from hyperarc.data.drawn.head import TEMPLATE
from hyperarc.data.drawn.scene import NUISANCES
from hyperarc.data.drawn.source import drawn_source
from hyperarc.data.drawn.traits import TRAITS
from hyperarc.errors import DataError, UsageError
from hyperarc.protocols.protocol import open_protocol
from hyperarc.recipe import DrawnData, Evaluation
from hyperarc.recipe.file import load_recipe
from hyperarc.training.checkpoint import recipe_digest

Floats = npt.NDArray[np.float32]


def column(name: str) -> int:
    return NUISANCE_NAMES.index(name)


def neutral(count: int) -> Floats:
    return np.repeat(draw_nuisances(1, np.random.default_rng(0), Conditions.neutral()), count, axis=0)


def test_same_seed_same_faces_other_seed_other_faces() -> None:
    first = draw_set(2, 2, seed=3)
    again = draw_set(2, 2, seed=3)
    other = draw_set(2, 2, seed=4)
    for name in ("images", "labels", "landmarks", "nuisances", "identities"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.images != other.images).any(axis=(1, 2, 3)).all()


def test_a_face_does_not_depend_on_its_batch() -> None:
    people = draw_people(6, seed=1)
    scenes = draw_nuisances(6, np.random.default_rng(2))
    together = draw_faces(people, scenes, seed=5)
    alone = [draw_faces(people[k : k + 1], scenes[k : k + 1], seed=5) for k in range(6)]
    np.testing.assert_array_equal(together.images, np.concatenate([a.images for a in alone]))
    np.testing.assert_array_equal(together.landmarks, np.concatenate([a.landmarks for a in alone]))
    pieces = list(draw_chunks(people, scenes, seed=5, chunk=4))
    assert [len(p.images) for p in pieces] == [4, 2]
    np.testing.assert_array_equal(together.images, np.concatenate([p.images for p in pieces]))


def test_face_of_a_set_depends_on_seed_person_and_index_only() -> None:
    small, large = draw_set(2, 2, seed=9), draw_set(3, 3, seed=9)
    rows = [0, 1, 3, 4]  # persons 0 and 1, pictures 0 and 1 of each
    np.testing.assert_array_equal(small.images, large.images[rows])
    np.testing.assert_array_equal(draw_people(3, 9)[:2], draw_people(2, 9))


def test_shapes_ranges_and_names() -> None:
    people, scenes = draw_people(200, seed=0), draw_nuisances(200, np.random.default_rng(0))
    assert people.shape == (200, len(IDENTITY_NAMES))
    assert scenes.shape == (200, len(NUISANCE_NAMES))
    assert people.dtype == scenes.dtype == np.float32
    assert 30 <= len(IDENTITY_NAMES) <= 50
    assert not set(IDENTITY_NAMES) & set(NUISANCE_NAMES)
    for rows, table in ((people, TRAITS), (scenes, NUISANCES)):
        for values, (name, (low, high, _)) in zip(rows.T, table.items(), strict=True):
            assert values.min() >= low - 1e-5, name
            assert values.max() <= high + 1e-5, name
    faces = draw_faces(people[:2], scenes[:2])
    assert faces.images.shape == (2, 112, 112, 3)
    assert faces.images.dtype == np.uint8
    assert faces.landmarks.shape == (2, 5, 2)


def test_traits_hang_together() -> None:
    people = dict(zip(IDENTITY_NAMES, draw_people(3000, seed=0).T, strict=True))
    assert np.corrcoef(people["skin_melanin"], people["hair_melanin"])[0, 1] > 0.5
    assert np.corrcoef(people["skin_melanin"], people["eye_color"])[0, 1] > 0.5
    assert np.corrcoef(people["jaw_width"], people["hair_length"])[0, 1] < -0.15
    assert 0.1 < float((people["beard"] > 0.1).mean()) < 0.5


def test_landmarks_stay_inside_and_frontal_ones_near_the_template() -> None:
    people = draw_people(60, seed=2)
    wild = draw_faces(people, draw_nuisances(60, np.random.default_rng(1))).landmarks
    assert wild.min() > 4
    assert wild.max() < 108
    still = draw_faces(people, neutral(60)).landmarks
    assert float(np.abs(still - TEMPLATE).max()) < 6
    assert float(np.abs(still.mean(0) - TEMPLATE).max()) < 1.5
    # eyes left of right, above the nose, above the mouth
    assert (still[:, 0, 0] < still[:, 1, 0]).all()
    assert (still[:, 1, 1] < still[:, 2, 1]).all()
    assert (still[:, 2, 1] < still[:, 4, 1]).all()


def test_yaw_moves_the_nose_the_right_way() -> None:
    people, scenes = draw_people(2, seed=0), neutral(2)
    scenes[:, column("yaw")] = [-0.8, 0.8]
    points = draw_faces(people, scenes).landmarks
    eyes = points[:, :2, 0].mean(1)
    assert points[0, 2, 0] < eyes[0] - 3
    assert points[1, 2, 0] > eyes[1] + 3


def test_identity_is_visible() -> None:
    """The same person's frontal, neutral pictures lie nearer than other people's under the same light."""
    rng = np.random.default_rng(0)
    people = draw_people(24, seed=3)
    pictures = []
    for _ in range(2):
        scenes = neutral(24)
        scenes[:, column("smile")] = rng.uniform(0, 0.2, 24)
        scenes[:, column("yaw")] = rng.uniform(-0.03, 0.03, 24)
        pictures.append(draw_faces(people, scenes).images.reshape(24, -1).astype(np.float32))
    distance = np.linalg.norm(pictures[0][:, None] - pictures[1][None], axis=2)
    assert float((distance.argmin(1) == np.arange(24)).mean()) >= 0.9


def busy_scene() -> Floats:
    """One picture in which every nuisance has something to act on."""
    scene = draw_nuisances(1, np.random.default_rng(3), Conditions.frontal())
    on = {
        "glasses": 0.6,
        "sunglasses": 0.2,
        "mask": 0.5,
        "dye": 0.5,
        "beard_grown": 0.8,
        "makeup": 0.5,
        "noise": 0.01,
        "blur_px": 0.4,
        "resolution_px": 100,
        "jpeg_quality": 90,
        "mouth_open": 0.5,
        "smile": 0.5,
        "fringe": 0.3,
        "back_color": 0.6,
        "back_pattern": 0.7,
        "light_strength": 0.5,
        "exposure": 0.0,
        "age_lines": 0.3,
        "hair_change": 0.05,
        "frown": 0.3,
        "hair_volume": 0.4,
        "ambient": 0.4,
        "yaw": 0.1,
    }
    for name, value in on.items():
        scene[0, column(name)] = value
    return scene


@pytest.mark.parametrize("name", NUISANCE_NAMES)
def test_no_dead_nuisance(name: str) -> None:
    person = draw_people(40, seed=0)
    person = person[[int(person[:, IDENTITY_NAMES.index("beard")].argmax())]]
    low, high, _ = NUISANCES[name]
    pair = np.repeat(busy_scene(), 2, axis=0)
    pair[1, column(name)] = pair[0, column(name)] + (0.2 if pair[0, column(name)] < (low + high) / 2 else -0.2) * (
        high - low
    )
    first, second = draw_faces(np.repeat(person, 2, axis=0), pair).images.astype(np.int16)
    assert int(np.abs(first - second).max()) >= 4


@pytest.mark.parametrize("name", IDENTITY_NAMES)
def test_no_dead_trait(name: str) -> None:
    low, high, _ = TRAITS[name]
    people = np.full((2, len(IDENTITY_NAMES)), 0.4, dtype=np.float32)
    for other in ("hair_melanin", "age", "hair_red"):
        people[:, IDENTITY_NAMES.index(other)] = 0.3
    k = IDENTITY_NAMES.index(name)
    people[1, k] += 0.2 * (high - low)
    scenes = neutral(2)
    scenes[:, column("yaw")] = 0.4  # what shapes the profile shows when turned
    first, second = draw_faces(people, scenes).images.astype(np.int16)
    assert int(np.abs(first - second).max()) >= 6


def pixel_accuracy(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], seed: int) -> float:
    """10-fold accuracy of the cosine of centered pixels on balanced random pairs."""
    rng = np.random.default_rng(seed)
    flat = images[:, ::2, ::2].reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    left, right, same = [], [], []
    for k in range(600):
        a = int(rng.integers(len(labels)))
        pool = np.flatnonzero((labels == labels[a]) == (k % 2 == 0))
        left.append(a)
        right.append(int(rng.choice(pool[pool != a])))
        same.append(k % 2 == 0)
    score, truth = (flat[left] * flat[right]).sum(1), np.array(same)
    folds = rng.permutation(len(score)) % 10
    hits = []
    for fold in range(10):
        held = folds == fold
        cuts = np.unique(score[~held])
        right_share = ((score[~held][None] >= cuts[:, None]) == truth[~held][None]).mean(1)
        hits.append(((score[held] >= cuts[right_share.argmax()]) == truth[held]).mean())
    return float(np.mean(hits))


def test_pixels_alone_do_not_tell_people_apart() -> None:
    drawn = draw_set(60, 5, seed=6)
    assert pixel_accuracy(drawn.images, drawn.labels, seed=0) < 0.75


def test_class_sizes() -> None:
    np.testing.assert_array_equal(class_sizes(5, 4, 0.0, seed=0), 4)
    sizes = np.sort(class_sizes(50, 8, 1.2, seed=1))[::-1]
    assert sizes.sum() == 400
    assert sizes.min() == 1
    assert sizes[0] > 5 * sizes[20]
    assert class_sizes(7, 1.5, 0.5, seed=0).sum() == round(7 * 1.5)
    assert set_nuisances(np.array([1, 2]), seed=0).shape[0] == 3


def test_progress_of_a_set_ends_with_all_faces() -> None:
    reports: list[tuple[int, int]] = []
    drawn = draw_set(30, 10, seed=0, progress=lambda done, count: reports.append((done, count)))
    assert [done for done, _ in reports] == sorted({done for done, _ in reports})
    assert len(reports) > 1
    assert reports[-1] == (300, 300)
    np.testing.assert_array_equal(drawn.images, draw_set(30, 10, seed=0).images)


def test_presets() -> None:
    rng = np.random.default_rng(0)
    yaw = np.degrees(np.abs(draw_nuisances(300, rng, Conditions.profile())[:, column("yaw")]))
    assert yaw.min() >= 40 - 1e-3
    assert yaw.max() <= 60 + 1e-3
    assert np.degrees(np.abs(draw_nuisances(300, rng, Conditions.frontal())[:, column("yaw")])).max() <= 10 + 1e-3
    poor = draw_nuisances(300, rng, Conditions.low_quality())
    assert poor[:, column("jpeg_quality")].max() < 100
    assert poor[:, column("resolution_px")].min() >= 8 - 1e-3


def test_a_share_of_the_faces_goes_through_a_bad_camera() -> None:
    usual, half, more, all_poor = (
        draw_set(6, 12, seed=3, conditions=Conditions(low_quality_share=share)) for share in (0.0, 0.5, 0.7, 1.0)
    )
    np.testing.assert_array_equal(usual.images, draw_set(6, 12, seed=3).images)  # as before there was the share
    np.testing.assert_array_equal(all_poor.images, draw_set(6, 12, seed=3, conditions=Conditions.low_quality()).images)
    poor, poorer = ((one.nuisances == all_poor.nuisances).all(axis=1) for one in (half, more))
    assert 0.3 < poor.mean() < 0.7
    assert poorer[poor].all()  # a larger share only adds
    assert poorer.sum() > poor.sum()
    np.testing.assert_array_equal(half.images[poor], all_poor.images[poor])
    np.testing.assert_array_equal(half.images[~poor], usual.images[~poor])
    camera = [column(name) for name in ("blur_px", "noise", "resolution_px", "jpeg_quality")]
    others = np.setdiff1d(np.arange(len(NUISANCE_NAMES)), camera)
    np.testing.assert_array_equal(all_poor.nuisances[:, others], usual.nuisances[:, others])  # the scene is the same


def test_recipes_and_the_protocol_ask_for_poor_pictures() -> None:
    poor = drawn_source(DrawnData(people=3, faces_per_person=4, seed=2, low_quality=1.0))
    wanted = draw_set(3, 4, seed=2, conditions=Conditions.low_quality())
    np.testing.assert_array_equal(poor.images, wanted.images)
    usual_judge, usual = open_protocol(Evaluation(protocol="drawn", people=10))
    poor_judge, faces = open_protocol(Evaluation(protocol="drawn", people=10, arguments={"low_quality": 1.0}))
    assert (usual_judge.name, poor_judge.name) == ("drawn", "drawn-low-quality-1")
    assert usual_judge.pairs is not None
    assert poor_judge.pairs is not None
    assert usual_judge.pairs.first == poor_judge.pairs.first
    assert usual_judge.pairs.second == poor_judge.pairs.second
    assert (faces.image(0) != usual.image(0)).any()
    with pytest.raises(UsageError, match="share from 0 to 1, got 2"):
        open_protocol(Evaluation(protocol="drawn", people=10, arguments={"low_quality": 2}))


def test_recipes_without_poor_pictures_keep_their_digest() -> None:
    before = ["data.noise={}", "data.drawn={people: 400, faces_per_person: 12}"]
    before += ["head.arguments={scale: 32, margin: 0.3}", "backbone.arguments={}"]
    before += ["schedule.epochs=8", "schedule.warmup_epochs=0.4"]
    assert recipe_digest(load_recipe("demo", before)) == "311d91f12b4d9fd2"  # before there were poor pictures
    assert recipe_digest(load_recipe("demo", [*before, "data.drawn.low_quality=0.5"])) != "311d91f12b4d9fd2"


def test_bad_input_is_named() -> None:
    people, scenes = draw_people(2, 0), neutral(2)
    with pytest.raises(DataError, match="count >= 1"):
        draw_people(0, seed=0)
    with pytest.raises(DataError, match="count >= 1"):
        draw_nuisances(0, np.random.default_rng(0))
    with pytest.raises(DataError, match="identities"):
        draw_faces(people[:, :-1], scenes)
    with pytest.raises(DataError, match="nuisances"):
        draw_faces(people, scenes[0])
    with pytest.raises(DataError, match="as many"):
        draw_faces(people, scenes[:1])
    with pytest.raises(DataError, match="finite"):
        draw_faces(people * np.nan, scenes)
    with pytest.raises(DataError, match=r"Conditions\.mask"):
        Conditions(mask=1.5)
    with pytest.raises(DataError, match="yaw_from_deg"):
        Conditions(yaw_deg=10, yaw_from_deg=20)
