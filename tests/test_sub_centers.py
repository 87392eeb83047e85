"""Votes for sub-centers, dropping, the valley of the angles, proposals: golden numbers, plain loops, drawn worlds."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperarc.errors import DataError
from hyperarc.purification.detection import detection_curve, judge_detection
from hyperarc.purification.mixture import fit_mixture
from hyperarc.purification.proposals import Proposal, propose
from hyperarc.purification.sub_centers import Poll, alikeness, poll
from hyperarc.purification.valley import find_valley

DIM = 128
ANGLE = math.radians(75.0)


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


# ---- golden numbers of the original implementations


def test_dropping_as_the_authors_do(shared: Path) -> None:
    golden = np.load(shared / "golden" / "subcenter_drop.npz")
    people, sub_centers = golden["center_counts"].shape
    weight = golden["weight"].reshape(people, sub_centers, -1)
    polled = poll(golden["emb"], golden["labels"], weight)
    np.testing.assert_array_equal(polled.votes, golden["center_counts"])
    np.testing.assert_array_equal(polled.dominant, golden["dominant"])
    kept = polled.kept(math.radians(float(golden["threshold_deg"])))
    np.testing.assert_array_equal(kept, golden["keep"])
    left = np.unique(golden["labels"][kept])
    renumbered = np.where(kept, np.searchsorted(left, golden["labels"]), -1)
    np.testing.assert_array_equal(renumbered, golden["new_labels"])
    single = poll(golden["emb"].astype(np.float32), golden["labels"], weight)
    np.testing.assert_array_equal(single.kept(ANGLE), golden["keep"])


def test_outliers_as_pytorch_metric_learning_finds_them(shared: Path) -> None:
    golden = np.load(shared / "golden" / "pml_subcenter.npz")
    weight = golden["weight"].reshape(20, 3, -1)
    polled = poll(golden["emb"], golden["labels"], weight)
    np.testing.assert_array_equal(np.flatnonzero(~polled.kept(ANGLE)), np.sort(golden["outlier_indices"]))
    present = np.unique(golden["labels"])
    dominant = weight[present, polled.dominant[present]]
    np.testing.assert_allclose(unit(dominant), unit(golden["dominant_centers"][present]), atol=1e-12)
    rows = np.arange(len(golden["labels"]))
    own = golden["cos_all"][rows, golden["labels"]]
    np.testing.assert_array_equal(polled.sub_centers, own.argmax(1))
    np.testing.assert_allclose(np.cos(polled.own_angles), own.max(1), atol=1e-6)


# ---- against a plain loop


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 4))
def test_votes_and_angles_are_those_of_a_loop(seed: int, faces: int, sub_centers: int) -> None:
    random = np.random.default_rng(seed)
    people = 4
    vectors = random.normal(size=(faces, 5)) * random.uniform(0.1, 30, (faces, 1))
    labels, copies = random.integers(0, people, faces), random.random(faces) < 0.3
    weight = random.normal(size=(people, sub_centers, 5))
    polled = poll(vectors, labels, weight, copies)
    for person in range(people):
        votes, sums = [0] * sub_centers, np.zeros((sub_centers, 5))
        for row in np.flatnonzero(labels == person):
            cosines = [unit(vectors[row]) @ unit(center) for center in weight[person]]
            assert polled.sub_centers[row] == int(np.argmax(cosines))
            assert polled.own_angles[row] == pytest.approx(math.acos(max(cosines)), abs=1e-3)
            if not copies[row]:
                votes[int(np.argmax(cosines))] += 1
                sums[int(np.argmax(cosines))] += unit(vectors[row])
        assert polled.votes[person].tolist() == votes
        assert polled.dominant[person] == votes.index(max(votes))
        np.testing.assert_allclose(polled.sums[person], sums, atol=1e-5)
        for row in np.flatnonzero(labels == person):
            cosine = unit(vectors[row]) @ unit(weight[person, polled.dominant[person]])
            assert polled.angles[row] == pytest.approx(math.acos(cosine), abs=1e-3)


def test_people_polled_in_parts_are_polled_alike() -> None:
    random = np.random.default_rng(3)
    vectors, labels = random.normal(size=(30, 6)), np.sort(random.integers(0, 5, 30))
    weight = random.normal(size=(5, 3, 6))
    whole = poll(vectors, labels, weight)
    first = labels < 2
    rest = poll(vectors[~first], labels[~first] - 2, weight[2:])
    parts = poll(vectors[first], labels[first], weight[:2])
    for name in ("votes", "sums", "sub_centers", "angles", "own_angles", "dominant"):
        both = np.concatenate([getattr(parts, name), getattr(rest, name)])
        np.testing.assert_array_equal(both, getattr(whole, name))


def test_one_face_a_person_and_one_center_are_no_trouble() -> None:
    polled = poll(np.eye(3), [0, 1, 2], np.eye(3)[:, None])
    assert polled.kept(ANGLE).all()
    assert polled.votes.tolist() == [[1], [1], [1]]
    assert not propose(polled, np.arange(3), ANGLE).listed


def test_a_copy_has_no_vote_but_is_dropped_like_its_original() -> None:
    clean, wrong = [1.0, 0.0], [0.0, 1.0]
    vectors, copies = np.array([clean, clean, wrong, wrong, wrong]), np.array([0, 0, 0, 1, 1], bool)
    weight = [[clean, wrong]]
    assert poll(vectors, np.zeros(5, int), weight).dominant.tolist() == [1]
    polled = poll(vectors, np.zeros(5, int), weight, copies)
    assert polled.dominant.tolist() == [0]
    assert polled.votes.tolist() == [[2, 1]]
    assert polled.kept(ANGLE).tolist() == [True, True, False, False, False]


def test_the_mean_cosine_of_two_faces_needs_only_their_sum() -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(7, 4)))
    pairs = [float(vectors[i] @ vectors[j]) for i in range(7) for j in range(i)]
    assert alikeness(np.array(7), vectors.sum(0)) == pytest.approx(np.mean(pairs))
    assert math.isnan(alikeness(np.array(1), vectors[0]))


@pytest.mark.parametrize(
    ("vectors", "labels", "centers", "message"),
    [
        (np.eye(2), [0, 0], np.ones((1, 2)), r"expected centers \[people, sub-centers, 2\], got \[1, 2\]"),
        (np.eye(2), [0, 0], np.ones((1, 1, 3)), "expected centers"),
        (np.eye(2), [0], np.ones((1, 1, 2)), "expected 2 labels"),
        (np.eye(2), [0, 1], np.ones((1, 1, 2)), r"expected labels 0\.\.0, got 0\.\.1"),
        (np.zeros((2, 2)), [0, 0], np.ones((1, 1, 2)), "zero vector in row 0"),
    ],
)
def test_polls_complain_clearly(vectors: np.ndarray, labels: list[int], centers: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        poll(vectors, labels, centers)


# ---- the valley


def hills(*parts: tuple[float, float, int], seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.concatenate([random.normal(at, wide, count) for at, wide, count in parts]).clip(0, 180)


@pytest.mark.parametrize(
    ("parts", "low", "high"),
    [
        ([(35, 7, 6000), (88, 6, 4000)], 55, 75),
        ([(35, 7, 9500), (88, 6, 500)], 55, 75),
        ([(50, 9, 4000), (90, 5, 6000)], 68, 78),
        ([(30, 6, 120), (85, 6, 80)], 45, 72),
        ([(20, 4, 5000), (26, 4, 5000), (89, 5, 4000)], 40, 75),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_valley_lies_between_two_hills(
    parts: list[tuple[float, float, int]], low: float, high: float, seed: int
) -> None:
    valley = find_valley(hills(*parts, seed=seed))
    assert valley.found, valley
    assert low <= valley.angle_deg <= high, valley
    assert valley.hills_deg[0] < valley.angle_deg < valley.hills_deg[1]


@pytest.mark.parametrize("count", [1, 2, 30, 300, 20_000])
@pytest.mark.parametrize("seed", range(4))
def test_one_hill_falls_back_to_75_degrees_and_says_so(count: int, seed: int) -> None:
    valley = find_valley(hills((42, 9, count), seed=seed))
    assert not valley.found
    assert valley.angle_deg == 75.0
    assert "75 is taken" in valley.why
    assert find_valley(np.full(50, 30.0)).angle_deg == 75.0


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_slope_beside_the_hill_is_parted_where_noise_becomes_likelier(share: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    noise = int(20_000 * share)
    clean = random.lognormal(math.log(27), 0.22, 20_000 - noise)
    angles = np.append(clean, np.clip(random.normal(72, 24, noise), 5, 180))
    wrong = np.arange(20_000) >= 20_000 - noise
    found = fit_mixture(np.bincount(np.rint(angles).astype(int), minlength=181))
    assert found is not None
    assert abs(found.noise - share) < 0.02
    errors = [int((wrong != (angles >= cut)).sum()) for cut in range(181)]  # the plain way, knowing the truth
    assert errors[int(found.angle_deg)] <= 1.1 * min(errors)
    assert find_valley(angles).found


@pytest.mark.parametrize("spread", [0.15, 0.25, 0.35])
def test_hard_faces_of_a_clean_set_are_no_noise(spread: float) -> None:
    random = np.random.default_rng(0)
    hard = random.normal(40, 9, 1500)
    angles = np.append(random.lognormal(math.log(27), spread, 18_500), np.clip(hard, 5, 180))
    assert fit_mixture(np.bincount(np.rint(angles).astype(int), minlength=181)) is None
    assert not find_valley(angles).found


def test_angles_that_are_none_are_refused() -> None:
    for wrong in ([], [math.nan], [200.0], [-1.0]):
        with pytest.raises(DataError, match=r"expected angles of faces, 0\.\.180 degrees"):
            find_valley(wrong)


# ---- proposals


def world(people: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings, labels and weights [P, 2, d]: 20 faces a person about the first sub-center, none at the second."""
    random = np.random.default_rng(seed)
    centers = unit(random.normal(size=(people, 2, DIM)))
    labels = np.repeat(np.arange(people), 20)
    return about(centers[labels, 0], random), labels, centers


def about(directions: np.ndarray, random: np.random.Generator, spread: float = 0.5) -> np.ndarray:
    return unit(directions + spread * random.normal(size=directions.shape) / math.sqrt(DIM))


def test_parts_of_people_are_split_off_or_moved_and_one_person_under_two_labels_is_merged() -> None:
    vectors, labels, centers = world()
    random = np.random.default_rng(1)
    wrong_of_3, wrong_of_5 = np.flatnonzero(labels == 3)[:8], np.flatnonzero(labels == 5)[:7]
    vectors[wrong_of_3] = about(centers[[3] * 8, 1], random)  # somebody whom nobody knows
    centers[5, 1] = centers[9, 0]
    vectors[wrong_of_5] = about(centers[[9] * 7, 0], random)  # they are person 9
    vectors[labels == 21] = about(centers[[20] * 20, 0], random)  # person 20 under another label
    centers[21, 0] = centers[20, 0]
    fewer = np.ones(len(labels), bool)
    fewer[np.flatnonzero(labels == 20)[:6]] = False
    scattered = np.flatnonzero(labels == 30)[:9]
    vectors[scattered] = about(centers[np.arange(9), 0], random, 0.1)
    centers[30, 1] = unit(vectors[scattered].sum(0))  # nine people at one sub-center are nobody
    posed = np.flatnonzero(labels == 33)[:9]
    centers[33, 1] = unit(centers[33, 0] + 0.9 * centers[33, 1])
    vectors[posed] = about(centers[[33] * 9, 1], random)  # the same person from another side
    vectors, labels = vectors[fewer], labels[fewer]
    polled = poll(vectors, labels, centers)
    found = propose(polled, labels, ANGLE)
    told = {(one.kind, one.person, one.other, one.sub_center): one for one in found.listed}
    assert set(told) == {("split", 3, -1, 1), ("move", 5, 9, 1), ("merge", 20, 21, -1)}
    assert [one.faces for one in told.values()] == [8, 7, 14]
    assert all(0.5 < one.cosine <= 1.0 for one in told.values())
    assert 0.3 < found.limit < 0.95
    for one in found.listed:
        assert len(one.chosen(polled, np.flatnonzero(labels == one.person), ANGLE)) == one.faces
    of_3 = np.flatnonzero(labels == 3)
    assert found.listed[0].chosen(polled, of_3, ANGLE).tolist() == of_3[:8].tolist()
    by_hand = propose(polled, labels, ANGLE, cosine=0.999, fewest=8)
    assert [(one.kind, one.person) for one in by_hand.listed] == [("split", 3)]


def test_a_chain_of_people_is_merged_to_its_ends_only() -> None:
    vectors, labels, centers = world()
    random = np.random.default_rng(2)
    for person in (1, 2):
        centers[person, 0] = centers[0, 0]
        vectors[labels == person] = about(centers[[0] * 20, 0], random)
    polled = poll(vectors, labels, centers)
    merges = [one for one in propose(polled, labels, ANGLE, cosine=0.7).listed if one.kind == "merge"]
    going, staying = {one.person for one in merges}, {one.other for one in merges}
    assert merges
    assert not going & staying
    assert going | staying <= {0, 1, 2}


def test_few_people_are_split_but_not_compared() -> None:
    vectors, labels, centers = world(people=6, seed=1)
    vectors[:8] = about(centers[[0] * 8, 1], np.random.default_rng(0))
    found = propose(poll(vectors, labels, centers), labels, ANGLE)
    assert [(one.kind, one.person, one.faces) for one in found.listed] == [("split", 0, 8)]
    assert math.isnan(found.limit)
    assert isinstance(found.listed[0], Proposal)


# ---- detection


def test_precision_recall_and_area() -> None:
    wrong = np.array([True, True, True, False, False, False, False])
    angles = np.array([90.0, 80, 40, 85, 50, 30, 20])
    found = judge_detection(wrong, angles > 75, angles)
    assert (found.precision, found.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    pairs = [a > b for a in angles[wrong] for b in angles[~wrong]]
    assert found.auc == pytest.approx(np.mean(pairs))
    curve = detection_curve(wrong, angles)
    assert curve is not None
    assert curve.auc() == pytest.approx(found.auc)
    none = judge_detection(~wrong & wrong, angles > 100, angles)
    assert all(math.isnan(value) for value in (none.precision, none.recall, none.auc))
    assert none.as_dict()["precision"] is None
    assert detection_curve(wrong & ~wrong, angles) is None
    with pytest.raises(DataError, match="expected as many of each"):
        judge_detection(wrong[1:], wrong, angles)


def test_a_poll_says_what_it_holds() -> None:
    polled = poll(np.eye(2, dtype=np.float32), [0, 0], np.eye(2, dtype=np.float32)[None])
    assert isinstance(polled, Poll)
    assert (polled.sub_centers.dtype, polled.angles.dtype, polled.own_angles.dtype) == (np.int8, np.float32, np.float32)
