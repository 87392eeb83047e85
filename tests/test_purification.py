"""Faces and people compared: centers, near copies, limits, names; against plain loops over everything."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperarc.errors import DataError, UsageError
from hyperarc.purification import copies
from hyperarc.purification.centers import PersonCenters, joined, person_centers
from hyperarc.purification.copies import near_copies
from hyperarc.purification.limit import EDGES, Impostors, count_cosines, fit_impostors
from hyperarc.purification.names import Name, name_likeness, named_alike, read_name
from hyperarc.purification.overlap import overlap
from hyperarc.purification.people import Overlap, People
from hyperarc.purification.same_people import same_people

DIM = 64


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def directions(people: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(people, DIM)))


def faces_of(people: np.ndarray, count: int, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings scattered about the directions of their people, of random lengths."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(people)), count)
    vectors = people[labels] + spread * random.normal(size=(len(labels), DIM)) / math.sqrt(DIM)
    return vectors * random.uniform(0.5, 30.0, (len(labels), 1)), labels


# ---- centers


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([0.0, 0.2, 0.4]))
def test_centers_are_the_mean_directions_of_the_nearest_faces(seed: int, faces: int, trim: float) -> None:
    random = np.random.default_rng(seed)
    vectors, labels = random.normal(size=(faces, 5)), random.integers(0, 6, faces)
    centers = person_centers(vectors, labels, num_people=7, trim=trim)
    assert len(centers) == 7
    for person in range(7):
        own = unit(vectors[labels == person]) if (labels == person).any() else np.zeros((0, 5))
        first = unit(own.sum(0)) if len(own) else np.zeros(5)
        kept = own[np.argsort(own @ first)[math.floor(trim * len(own) + 1e-9) :]]
        assert centers.counts[person] == len(kept)
        np.testing.assert_allclose(centers.vectors[person], unit(kept.sum(0)) if len(kept) else np.zeros(5), atol=2e-6)


def test_a_trimmed_center_is_not_moved_by_a_wrong_face_of_five() -> None:
    right, wrong = np.eye(DIM)[0], np.eye(DIM)[1]
    faces = np.stack([right] * 4 + [wrong])
    assert person_centers(faces, np.zeros(5, int), trim=0.2).vectors[0] @ right == pytest.approx(1.0)
    assert person_centers(faces, np.zeros(5, int)).vectors[0] @ right < 0.98


def test_centers_part_by_part_are_those_of_the_whole() -> None:
    vectors, labels = faces_of(directions(6), 7, 1.0, 3)
    whole = person_centers(vectors, labels)
    parts = joined([person_centers(vectors[:21], labels[:21]), person_centers(vectors[21:], labels[21:] - 3)])
    np.testing.assert_array_equal(whole.vectors, parts.vectors)
    np.testing.assert_array_equal(whole.counts, parts.counts)


@pytest.mark.parametrize(
    ("labels", "more", "message"),
    [
        ([0, 1, 2], {}, "expected 2 labels"),
        ([0.0, 1.0], {}, "whole numbers"),
        ([0, 2], {"num_people": 2}, r"expected labels 0\.\.1, got 0\.\.2"),
        ([-1, 0], {}, r"got -1\.\.0"),
        ([0, 0], {"trim": 1.0}, "expected a trim in 0..1, below 1, got 1.0"),
    ],
)
def test_centers_complain_clearly(labels: list[float], more: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        person_centers(np.eye(2), labels, **more)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="zero vector in row 0"):
        person_centers(np.zeros((1, 2)), [0])


# ---- near copies


def brute_pairs(vectors: np.ndarray, cosine: float) -> list[tuple[float, int, int]]:
    rows = unit(vectors.astype(np.float32))
    found = [(float(rows[i] @ rows[j]), i, j) for i in range(len(rows)) for j in range(i + 1, len(rows))]
    return sorted((one for one in found if one[0] >= cosine), key=lambda one: (-one[0], *one[1:]))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 30), st.sampled_from([4, 7, 100]), st.floats(-0.9, 0.9))
def test_near_copies_are_all_pairs_above_the_limit(seed: int, rows: int, block: int, cosine: float) -> None:
    vectors = np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)
    wanted = brute_pairs(vectors, cosine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copies, "BLOCK", block)
        found = near_copies(vectors, cosine)
        nearest = near_copies(vectors, cosine, most=3)
    near_edge = sum(abs(one[0] - cosine) < 1e-6 for one in wanted)
    assert abs(found.count - len(wanted)) <= near_edge
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert len(pairs ^ {one[1:] for one in wanted}) <= near_edge
    np.testing.assert_allclose(found.cosines, [one[0] for one in wanted][: len(found)], atol=1e-6)
    assert nearest.count == found.count
    assert nearest.first.tolist() == found.first[:3].tolist()
    assert nearest.second.tolist() == found.second[:3].tolist()


def test_near_copies_of_equal_pictures_are_in_the_order_of_rows_and_told_block_by_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(copies, "BLOCK", 2)
    told: list[tuple[int, int]] = []
    pairs = near_copies(np.ones((5, 3)), 0.999, most=4, progress=lambda done, total: told.append((done, total)))
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == [(0, 1), (0, 2), (0, 3), (0, 4)]
    assert (pairs.count, len(pairs)) == (10, 4)
    assert told == [(done, 6) for done in range(1, 7)]
    with pytest.raises(DataError, match=r"expected a cosine in -1\.\.1 and at least one pair to keep, got 2"):
        near_copies(np.ones((2, 3)), 2.0)


# ---- limits


def test_the_limit_is_that_of_the_normal_distribution_it_was_drawn_from() -> None:
    cosines = np.random.default_rng(0).normal(0.01, 0.1, 5_000_000)
    cosines[:800] = 0.8  # true matches: one in 6250 comparisons
    impostors = fit_impostors(count_cosines(torch.from_numpy(cosines)), 6000)
    assert (impostors.mean, impostors.std) == pytest.approx((0.01, 0.1), abs=6e-3)
    assert impostors.comparisons == 5_000_000
    assert impostors.limit() == pytest.approx(0.01 + 0.1 * 5.07, abs=0.01)
    assert impostors.expected(impostors.limit()) == pytest.approx(1.0)
    assert impostors.expected(impostors.limit(50.0)) == pytest.approx(50.0)


def test_few_people_get_a_careful_limit_or_none() -> None:
    counts = count_cosines(torch.from_numpy(np.random.default_rng(1).normal(0.0, 0.1, 12 * 12)))
    assert 0.15 < fit_impostors(counts, 12).limit() < 0.4
    with pytest.raises(DataError, match="expected at least 10 people to read a limit off their cosines, got 9; give"):
        fit_impostors(counts, 9)
    with pytest.raises(DataError, match="their cosines are all one"):
        fit_impostors(np.eye(1, len(EDGES) - 1, 3, dtype=np.int64)[0], 50)
    assert Impostors(0.9, 0.5, 10**9).limit() == 1.0


# ---- names


@pytest.mark.parametrize(
    ("one", "other", "likeness"),
    [
        ("Penélope Cruz", "Penelope_Cruz", 1.0),
        ("Cruz, PENELOPE", "train/penelope-cruz", 1.0),
        ("Choi_Sung-hong", "Sung_Hong_Choi", 1.0),
        ("Chang Daewhan", "Chang_Dae-whan", 1.0),
        ("Shaquille O'Neal", "Shaquille_ONeal", 1.0),
        ("Søren Kierkegård", "Soren Kierkegard", 1.0),
        ("Anna_Kournikova_0002", "Anna Kournikova", 1.0),
        ("George W. Bush", "George_Bush", 1.0),
        ("George W. Bush", "George P. Bush", 0.0),
        ("Eliot Spitzer", "Eliott_Spitzer", 1 - 1 / 13),
        ("Catherine Deneuve", "Katherine Deneuve", 1 - 1 / 16),
        ("Jan Lee", "Jon Lee", 0.0),  # too short for a slip of the pen
        ("John Edwards", "John Edwardson", 0.0),
        ("Madonna", "madonna", 1.0),
        ("王 菲", "王菲", 1.0),
        ("0001", "0001", 0.0),
        ("n000001", "n000001", 0.0),
        ("person_3", "person_3", 0.0),
        ("J. J.", "J J", 0.0),
    ],
)
def test_names_that_are_alike(one: str, other: str, likeness: float) -> None:
    assert name_likeness(read_name(one), read_name(other)) == pytest.approx(likeness)
    assert name_likeness(read_name(other), read_name(one)) == pytest.approx(likeness)
    assert [pair.likeness for pair in named_alike([one], ["nobody else", other])] == [likeness] * (likeness > 0)


LETTERS = st.text("abc", max_size=10)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(LETTERS, LETTERS).map(" ".join), max_size=12), st.lists(LETTERS, max_size=8))
def test_looking_names_up_finds_what_comparing_each_with_each_finds(ours: list[str], theirs: list[str]) -> None:
    def near(one: str, other: str) -> bool:
        """Levenshtein distance 1 at most, by its definition."""
        rows = range(len(one) + 1)
        for place, letter in enumerate(other, 1):
            last, rows = rows, [place]  # type: ignore[assignment]
            for i, own in enumerate(one):
                rows.append(min(last[i + 1] + 1, rows[i] + 1, last[i] + (own != letter)))  # type: ignore[attr-defined]
        return rows[-1] <= 1

    def alike(one: Name, other: Name) -> bool:
        if one.initials and other.initials and one.initials != other.initials:
            return False
        forms = [{"".join(name.words), "".join(sorted(name.words))} - {""} for name in (one, other)]
        pairs = [(a, b) for a in forms[0] for b in forms[1]]
        return any(a == b or (min(len(a), len(b)) >= 8 and near(a, b)) for a, b in pairs)

    first, second = [read_name(name) for name in ours], [read_name(name) for name in theirs]
    wanted = [(i, j) for i, one in enumerate(first) for j, other in enumerate(second) if alike(one, other)]
    assert [(pair.first, pair.second) for pair in named_alike(ours, theirs)] == wanted
    inside = [(i, j) for i in range(len(first)) for j in range(i + 1, len(first)) if alike(first[i], first[j])]
    assert [(pair.first, pair.second) for pair in named_alike(ours)] == inside


# ---- overlap and same people


def found_pairs(result: Overlap) -> set[tuple[int, int]]:
    return {(match.first, match.second) for match in result.matches if match.found}


def test_people_of_both_sets_are_found_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperarc.purification.overlap.BLOCK", 100)
    world = directions(700)
    ours, theirs = world[:300], world[270:]
    train = person_centers(*faces_of(ours, 6, 1.0, 1))
    test = person_centers(*faces_of(theirs, 2, 1.0, 2))
    told: list[tuple[int, int]] = []
    result = overlap(
        People(centers=train), People(centers=test), progress=lambda done, total: told.append((done, total))
    )
    wanted = {(270 + k, k) for k in range(30)}
    assert wanted < found_pairs(result)
    assert len(found_pairs(result) - wanted) == 1  # what the limit allows for
    assert result.looking_alike == 31
    assert told == [(100, 300), (200, 300), (300, 300)]
    assert result.false_matches == pytest.approx(1.0)
    assert result.counts.sum() == 300 * 430
    cosines = train.vectors @ test.vectors.T
    assert [match.second for match in result.matches] == cosines.argmax(1).tolist()
    np.testing.assert_allclose([match.cosine for match in result.matches], cosines.max(1), atol=1e-6)


def test_faces_and_names_may_speak_for_different_people() -> None:
    centers = PersonCenters(np.eye(3, dtype=np.float32), np.array([1, 1, 0]))
    train = People(["Ann Lee", "Bob Ray", "Eve Fox"], centers)
    test = People(["bob_ray", "ann_lee", "fox eve"], PersonCenters(centers.vectors, np.array([1, 1, 1])))
    result = overlap(train, test, cosine=0.9)
    told = [(match.first, match.second, match.looks_alike, match.likeness) for match in result.matches]
    assert told == [(0, 0, True, 0.0), (0, 1, False, 1.0), (1, 1, True, 0.0), (1, 0, False, 1.0), (2, 2, False, 1.0)]
    assert math.isnan(result.matches[-1].cosine)  # no face of hers was embedded
    assert result.impostors is None
    assert math.isnan(result.false_matches)
    by_names = overlap(People(train.names), test)
    assert [(match.first, match.second) for match in by_names.matches] == [(0, 1), (1, 0), (2, 2)]
    with pytest.raises(DataError, match="names of both sets or centers of both"):
        overlap(People(train.names), People(centers=centers))
    with pytest.raises(DataError, match="at least 10 people"):
        overlap(train, test)


def test_same_people_are_those_under_two_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "BLOCK", 64)
    world = directions(200)
    world[150:155] = world[:5]
    vectors, labels = faces_of(world, 4, 1.0, 5)
    centers = person_centers(vectors, labels)
    names = [f"{'abcdefghij'[k // 20] * 3} {'abcdefghijklmnopqrst'[k % 20] * 4}" for k in range(200)]
    names[77] = names[76].upper()
    told: list[tuple[int, int]] = []
    result = same_people(People(names, centers), cosine=0.6, progress=lambda done, total: told.append((done, total)))
    assert found_pairs(result) == {(k, 150 + k) for k in range(5)} | {(76, 77)}
    assert [match.looks_alike for match in result.matches] == [True] * 5 + [False]
    assert (result.matches[-1].likeness, result.looking_alike) == (1.0, 5)
    assert result.counts.sum() == 200 * 199 // 2
    assert result.false_matches < 0.05
    assert same_people(People(names, centers)).false_matches == pytest.approx(1.0)
    assert told[-1] == (20, 20)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    everything = same_people(People(centers=centers), cosine=-1.0, most=7)
    assert (len(everything.matches), everything.looking_alike) == (7, 200 * 199 // 2)
    assert [(m.first, m.second) for m in same_people(People(names)).matches] == [(76, 77)]


def test_people_have_names_or_centers_of_one_length() -> None:
    with pytest.raises(DataError, match="got neither"):
        People()
    with pytest.raises(DataError, match="got 1 and 2"):
        People(["ann"], PersonCenters(np.eye(2, dtype=np.float32), np.ones(2, np.int64)))
    with pytest.raises(UsageError, match=r"expected a cosine in -1\.\.1, got 1\.5"):
        same_people(People(centers=PersonCenters(np.eye(2, dtype=np.float32), np.ones(2, np.int64))), cosine=1.5)
