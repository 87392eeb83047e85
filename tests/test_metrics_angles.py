"""Angles in blocks, to sub-centers and of sampled pairs: by hand, equal to the plain versions, and their laws."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperarc import metrics
from hyperarc.errors import DataError
from hyperarc.metrics import CenterAngles, StreamedAngles, angles


def on_circle(*degrees: float) -> np.ndarray:
    return np.stack([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))], axis=1)


def streamed(x: np.ndarray, labels: np.ndarray, block: int = 7) -> StreamedAngles:
    found = StreamedAngles(int(labels.max()) + 1, x.shape[1])
    starts = range(0, len(x), block)
    for start in starts:
        found.add(x[start : start + block], labels[start : start + block], first_row=start)
    for start in starts:
        found.measure(x[start : start + block], labels[start : start + block])
    return found


class TestByHand:
    """Ann at 0 and 20 degrees: center at 10. Bob at 60, 70 and 80: center at 70. Cy, one face, at 100.

    Intra: (10 + 10) + (10 + 0 + 10) + 0 over 6 faces = 40 / 6; without Cy 40 / 5. Inter: Ann to Bob 60, Bob to Cy 30,
    Cy to Bob 30: 40. With W at 15, 70 and 90 degrees: W-EC (5 + 0 + 10) / 3 = 5; W-Inter (55 + 20 + 20) / 3.
    """

    faces = on_circle(0, 20, 60, 70, 80, 100) * np.array([1.0, 3.0, 0.5, 2.0, 1.0, 9.0])[:, None]
    labels = np.array([0, 0, 1, 1, 1, 2])
    weight = on_circle(15, 70, 90) * 7.0

    def test_plain(self) -> None:
        found = metrics.angle_statistics(self.faces, self.labels, self.weight)
        assert found.intra_deg == pytest.approx(40 / 6)
        assert found.intra_several_deg == pytest.approx(8.0)
        assert found.inter_deg == pytest.approx(40.0)
        assert found.w_ec_deg == pytest.approx(5.0)
        assert found.w_inter_deg == pytest.approx(95 / 3)
        assert (found.people, found.faces, found.single_face_people) == (3, 6, 1)

    def test_streamed(self) -> None:
        found = streamed(self.faces, self.labels, block=2)
        assert np.rad2deg(found.intra) == pytest.approx([10.0, 20 / 3, 0.0], abs=1e-6)
        assert np.rad2deg(found.nearest.radians) == pytest.approx([60.0, 30.0, 30.0])
        assert found.nearest.rows.tolist() == [1, 2, 1]
        assert found.statistics().intra_several_deg == pytest.approx(8.0)

    def test_sub_centers(self) -> None:
        """Class 0 has centers at 0 and 50 degrees, the second dominant; class 1 at 90 and 200, the first dominant."""
        weight = np.stack([on_circle(0, 50), on_circle(90, 200) * 4])
        found = CenterAngles(weight, np.array([1, 0]))
        found.add(on_circle(10.5), np.array([0]))
        found.add(on_circle(100.5, 300.5), np.array([1, 1]))
        assert np.flatnonzero(found.nearest).tolist() == [10, 100]  # 10.5 twice, and 100.5
        assert found.nearest[[10, 100]].tolist() == [2, 1]
        assert np.flatnonzero(found.dominant).tolist() == [10, 39, 149]
        assert np.flatnonzero(found.others).tolist() == [10, 99, 100]
        assert found.means_deg == {
            "nearest": pytest.approx((10.5 + 10.5 + 100.5) / 3),
            "dominant": pytest.approx((39.5 + 10.5 + 149.5) / 3),
            "others": pytest.approx((10.5 + 99.5 + 100.5) / 3),
        }

    def test_one_center_has_no_others(self) -> None:
        found = CenterAngles(self.weight[:, None], np.zeros(3, np.int64))
        found.add(self.faces, self.labels)
        assert found.nearest.tolist() == found.dominant.tolist()
        assert found.others.sum() == 0
        assert found.means_deg["others"] is None

    def test_opposite_and_same_directions_have_a_bin(self) -> None:
        found = CenterAngles(on_circle(0)[:, None], np.zeros(1, np.int64))
        found.add(on_circle(0, 180), np.array([0, 0]))
        assert (found.nearest[0], found.nearest[179]) == (1, 1)


class TestStreamedEqualsPlain:
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @pytest.mark.parametrize("block", [1, 16, 1000])
    def test_statistics(self, dtype: type, block: int) -> None:
        rng = np.random.default_rng(3)
        labels = rng.permutation(np.concatenate([np.arange(40), rng.integers(0, 30, 160)]))
        x = (rng.normal(size=(40, 12))[labels] + rng.normal(size=(200, 12))).astype(dtype)
        plain, found = metrics.angle_statistics(x, labels), streamed(x, labels, block).statistics()
        for name in ("intra_deg", "inter_deg", "intra_several_deg"):
            assert getattr(found, name) == pytest.approx(getattr(plain, name), rel=1e-12)
        for name in ("people", "faces", "single_face_people"):
            assert getattr(found, name) == getattr(plain, name)

    def test_nearest_others_in_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rng = np.random.default_rng(4)
        units = rng.normal(size=(50, 6))
        units /= np.linalg.norm(units, axis=1, keepdims=True)
        whole = metrics.nearest_others(units)
        monkeypatch.setattr(angles, "COSINES_AT_A_TIME", 50 * 3)
        parts = metrics.nearest_others(units)
        assert np.array_equal(parts.rows, whole.rows)
        for row, other in enumerate(whole.rows):
            true = [math.acos(np.clip(units[row] @ units[k], -1, 1)) if k != row else 9.0 for k in range(50)]
            assert other == int(np.argmin(true))
            assert parts.radians[row] == pytest.approx(min(true))

    def test_memory_does_not_grow_with_the_faces(self) -> None:
        def peak(blocks: int) -> int:
            rng = np.random.default_rng(0)
            found = StreamedAngles(50, 32)
            tracemalloc.start()
            for pass_ in (found.add, found.measure):
                for _ in range(blocks):
                    pass_(rng.normal(size=(500, 32)), np.arange(500) % 50)
            found.statistics()
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return most

        peak(1)
        assert peak(40) < 1.05 * peak(4)


class TestLaws:
    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 10**6))
    def test_turning_scaling_and_order_change_nothing(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        labels = np.concatenate([np.arange(6), rng.integers(0, 6, 30)])
        x, weight = rng.normal(size=(36, 5)), rng.normal(size=(6, 5))
        turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
        order = rng.permutation(36)
        before = metrics.angle_statistics(x, labels, weight)
        lengths = rng.uniform(0.1, 10, size=(36, 1))
        after = metrics.angle_statistics((x * lengths @ turn)[order], labels[order], weight @ turn)
        blocks = streamed((x * lengths @ turn)[order], labels[order], int(rng.integers(1, 36))).statistics()
        for name in ("intra_deg", "inter_deg", "w_ec_deg", "w_inter_deg", "intra_several_deg"):
            assert getattr(after, name) == pytest.approx(getattr(before, name), rel=1e-9)
        assert blocks.intra_deg == pytest.approx(before.intra_deg, rel=1e-9)
        assert blocks.inter_deg == pytest.approx(before.inter_deg, rel=1e-9)

    def test_identical_faces_have_angle_zero(self) -> None:
        one = np.random.default_rng(5).normal(size=(4, 64))
        found = streamed(np.repeat(one, 9, axis=0), np.repeat(np.arange(4), 9)).statistics()
        assert found.intra_deg == pytest.approx(0.0, abs=1e-6)
        assert metrics.angle_statistics(np.repeat(one, 2, 0), np.repeat(np.arange(4), 2)).intra_deg < 1e-6

    def test_two_people_alike_are_as_near_as_can_be(self) -> None:
        found = metrics.angle_statistics(on_circle(30, 30, 90), [0, 1, 2])
        assert found.inter_deg == pytest.approx((0 + 0 + 60) / 3, abs=1e-6)


class TestSampledPairs:
    def test_all_pairs_when_they_are_few(self) -> None:
        labels = np.array([2, 0, 2, 1, 0, 2])
        genuine, impostor = metrics.sample_pairs(labels, most=100)
        for kind, same in ((genuine, True), (impostor, False)):
            pairs = itertools.combinations(range(6), 2)
            every = {frozenset((i, j)) for i, j in pairs if (labels[i] == labels[j]) == same}
            found = [frozenset(pair) for pair in zip(kind.first.tolist(), kind.second.tolist(), strict=True)]
            assert set(found) == every
            assert kind.total == len(found) == len(every)

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 10**6), st.integers(1, 60))
    def test_samples_are_distinct_pairs_of_their_kind(self, seed: int, most: int) -> None:
        labels = np.random.default_rng(seed).integers(0, 9, 40)
        for kind, same in zip(metrics.sample_pairs(labels, most, seed), (True, False), strict=True):
            assert len(kind.first) == min(most, kind.total)
            assert ((labels[kind.first] == labels[kind.second]) == same).all()
            assert len(set(zip(kind.first.tolist(), kind.second.tolist(), strict=True))) == len(kind.first)

    def test_every_pair_has_the_same_chance(self) -> None:
        labels = np.array([0, 1, 0, 1, 1, 0, 1, 0])
        seen: Counter[tuple[int, int]] = Counter()
        for seed in range(3000):
            for kind in metrics.sample_pairs(labels, 4, seed):
                seen.update(zip(kind.first.tolist(), kind.second.tolist(), strict=True))
        for same, total in ((True, 12), (False, 16)):  # stretches of 3 and of 4 pairs
            counts = [n for (i, j), n in seen.items() if (labels[i] == labels[j]) == same]
            assert len(counts) == total
            assert 0.9 * 3000 * 4 / total < min(counts) <= max(counts) < 1.1 * 3000 * 4 / total

    def test_the_seed_decides(self) -> None:
        labels = np.arange(300) % 30
        one, same, other = (metrics.sample_pairs(labels, 50, seed)[1] for seed in (1, 1, 2))
        assert np.array_equal(one.first, same.first)
        assert not np.array_equal(one.first, other.first)

    def test_large_triangles_are_exact(self) -> None:
        genuine, _ = metrics.sample_pairs(np.zeros(200_000, np.int64), 5000)
        assert genuine.total == 200_000 * 199_999 // 2
        assert (genuine.first < genuine.second).all()
        assert genuine.second.max() < 200_000


@pytest.mark.parametrize(
    ("do", "said"),
    [
        (lambda: StreamedAngles(1, 3), "at least two people, got 1"),
        (lambda: StreamedAngles(2, 3).add(np.ones((2, 4)), [0, 1]), r"expected embeddings \[n, 3\], got \[2, 4\]"),
        (lambda: StreamedAngles(2, 2).add(np.ones((2, 2)), [0, 2]), r"expected labels 0..1, got 0..2"),
        (lambda: StreamedAngles(2, 2).add(np.ones((2, 2)), [0.0, 1.0]), "expected 2 labels, whole numbers"),
        (lambda: StreamedAngles(2, 2).add(np.array([[1.0, 0], [0, 0]]), [0, 1], first_row=70), "row 71"),
        (lambda: CenterAngles(np.ones((2, 3)), np.zeros(2, np.int64)), r"expected centers \[C, K, d\]"),
        (lambda: CenterAngles(np.ones((2, 1, 3)), np.zeros(2, np.int64)).add(np.ones((1, 2)), [0]), "of 3 values"),
        (lambda: metrics.nearest_others(np.ones((1, 2))), "at least two vectors, got 1"),
    ],
)
def test_bad_input_is_named(do: object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        do()  # type: ignore[operator]


def test_passes_that_do_not_fit_together() -> None:
    found = StreamedAngles(3, 2)
    found.add(on_circle(0, 90), [0, 1])
    with pytest.raises(DataError, match="person 2 has no face"):
        _ = found.centers
    found.add(on_circle(180), [2])
    found.measure(on_circle(0, 90), [0, 1])
    with pytest.raises(DataError, match="3 faces were added, 2 of the same people measured"):
        found.statistics()
    with pytest.raises(DataError, match="centers are made already"):
        found.add(on_circle(0), [0])
    opposite = StreamedAngles(2, 2)
    opposite.add(np.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]]), [0, 0, 1])
    with pytest.raises(DataError, match="person 0 add up to a zero vector"):
        _ = opposite.centers
