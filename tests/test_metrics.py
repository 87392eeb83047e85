"""Metrics: exact against plain loops, against the released evaluation, and loud on bad input."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperarc import metrics
from hyperarc.errors import DataError

SCORES = st.lists(st.integers(-6, 6).map(lambda k: k / 7), min_size=1, max_size=30)  # few values: many ties
FARS = st.one_of(st.sampled_from([0.0, 1e-3, 0.1, 0.25, 1 / 3, 0.5, 1.0]), st.floats(0.0, 1.0))


def loop_roc(genuine: list[float], impostor: list[float]) -> list[tuple[float, float, float]]:
    """(threshold, FAR, TAR) of every distinct threshold, strictest first, counted one by one."""
    points = []
    for threshold in [math.inf, *sorted({*genuine, *impostor}, reverse=True)]:
        far = sum(score >= threshold for score in impostor) / len(impostor)
        tar = sum(score >= threshold for score in genuine) / len(genuine)
        points.append((threshold, far, tar))
    return points


def loop_kfold(distances: np.ndarray, same: np.ndarray, folds: int) -> tuple[list[float], list[float]]:
    """Fold accuracies and thresholds of the LFW rule, one pair and one threshold at a time."""
    size, larger = divmod(len(distances), folds)
    ends = np.cumsum([size + 1] * larger + [size] * (folds - larger))
    accuracies, thresholds = [], []
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        held_out = [start <= row < end for row in range(len(distances))]
        best = (-1, 0.0)
        for threshold in np.arange(0, 4, 0.01):
            hits = sum((d < threshold) == s for d, s, out in zip(distances, same, held_out, strict=True) if not out)
            if hits > best[0]:
                best = (hits, float(threshold))
        right = [(d < best[1]) == s for d, s, out in zip(distances, same, held_out, strict=True) if out]
        accuracies.append(sum(right) / len(right))
        thresholds.append(best[1])
    return accuracies, thresholds


def drawn_pairs(count: int, seed: int = 0, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(count, 8))
    same = rng.random(count) < 0.5
    b = np.where(same[:, None], a + noise * rng.normal(size=a.shape), rng.normal(size=a.shape))
    return a, b, same


class TestCurve:
    @given(SCORES, SCORES)
    def test_roc_equals_counting_and_never_falls(self, genuine: list[float], impostor: list[float]) -> None:
        curve = metrics.roc(genuine, impostor)
        points = list(zip(curve.thresholds.tolist(), curve.far.tolist(), curve.tar.tolist(), strict=True))
        assert points == loop_roc(genuine, impostor)
        assert (np.diff(curve.far) >= 0).all()
        assert (np.diff(curve.tar) >= 0).all()
        assert points[-1][1:] == (1.0, 1.0)

    @given(SCORES, SCORES, FARS)
    def test_tar_at_far_is_the_best_of_all_thresholds(
        self, genuine: list[float], impostor: list[float], far: float
    ) -> None:
        allowed = [(t, tar) for t, f, tar in loop_roc(genuine, impostor) if f <= far]
        tar = metrics.tar_at_far(genuine, impostor, far)
        threshold = metrics.threshold_at_far(genuine, impostor, far)
        assert tar == max(tar for _, tar in allowed)
        assert threshold == min(t for t, _ in allowed)
        assert np.mean(np.array(genuine) >= threshold) == tar

    @given(SCORES, SCORES, FARS, FARS)
    def test_tar_never_falls_with_far(
        self, genuine: list[float], impostor: list[float], far: float, other: float
    ) -> None:
        low, high = sorted((far, other))
        assert metrics.tar_at_far(genuine, impostor, low) <= metrics.tar_at_far(genuine, impostor, high)

    @given(SCORES, SCORES)
    def test_auc_equals_counting(self, genuine: list[float], impostor: list[float]) -> None:
        wins = sum((g > i) + 0.5 * (g == i) for g in genuine for i in impostor)
        assert metrics.auc(genuine, impostor) == pytest.approx(wins / (len(genuine) * len(impostor)))
        curve = metrics.roc(genuine, impostor)
        area = np.sum(np.diff(curve.far) * (curve.tar[1:] + curve.tar[:-1]) / 2)
        assert metrics.auc(genuine, impostor) == pytest.approx(area)

    @given(SCORES, SCORES)
    def test_eer_lies_between_the_errors_around_it(self, genuine: list[float], impostor: list[float]) -> None:
        rate = metrics.eer(genuine, impostor)
        points = loop_roc(genuine, impostor)
        assert max(min(far, 1 - tar) for _, far, tar in points) <= rate + 1e-12
        assert rate <= min(max(far, 1 - tar) for _, far, tar in points) + 1e-12

    def test_eer_of_equal_lists_is_one_half(self) -> None:
        scores = np.linspace(-1, 1, 101)
        assert metrics.eer(scores, scores) == pytest.approx(0.5, abs=0.01)

    def test_share_that_rounds_is_exact(self) -> None:
        # 0.29 * 100 is 28.999... in floating point, yet 29 of 100 false accepts are a FAR of 0.29.
        impostor = np.arange(100.0)
        assert metrics.threshold_at_far([71.0, 70.5], impostor, 0.29) == 70.5

    def test_det_has_the_errors_of_the_roc(self) -> None:
        curve, points = metrics.roc([0.5, 0.9], [0.1, 0.6]), metrics.det([0.5, 0.9], [0.1, 0.6])
        np.testing.assert_array_equal(points.frr, 1 - curve.tar)
        np.testing.assert_array_equal(points.far, curve.far)

    def test_a_million_scores_are_quick(self) -> None:
        rng = np.random.default_rng(0)
        genuine, impostor = rng.normal(3, 1, 10_000), rng.normal(0, 1, 1_000_000)
        assert metrics.tar_at_far(genuine, impostor, 1e-4) == pytest.approx(0.236, abs=0.03)

    @pytest.mark.parametrize(
        ("genuine", "impostor", "words"),
        [
            ([], [0.1], "genuine is empty"),
            ([0.1], [], "impostor is empty"),
            ([0.1, math.nan], [0.1], "row 1"),
            ([0.1], [math.inf], "impostor holds inf at row 0"),
            ([[0.1]], [0.1], "shape"),
            (["high"], [0.1], "numbers"),
        ],
    )
    def test_bad_scores_are_named(self, genuine: list, impostor: list, words: str) -> None:
        for measure in (metrics.roc, metrics.eer, metrics.auc, metrics.det):
            with pytest.raises(DataError, match=words):
                measure(genuine, impostor)
        with pytest.raises(DataError, match=words):
            metrics.tar_at_far(genuine, impostor, 0.1)

    @pytest.mark.parametrize("far", [-0.1, 1.5, math.nan])
    def test_far_outside_its_range(self, far: float) -> None:
        with pytest.raises(DataError, match=r"in 0\.\.1"):
            metrics.tar_at_far([0.5], [0.1], far)


def loop_nearest(genuine: list[float], impostor: list[float], far: float) -> tuple[float, float, float]:
    """(FAR, TAR, threshold) of the kept point nearest to ``far``: corners only, of two equally near ones the laxer."""
    first, *points = loop_roc(genuine, impostor)

    def accepted(row: int) -> np.ndarray:
        return np.rint([points[row][1] * len(impostor), points[row][2] * len(genuine)])

    kept = [first]
    for row, point in enumerate(points):
        at_end = row in (0, len(points) - 1)
        if at_end or (accepted(row + 1) - accepted(row) != accepted(row) - accepted(row - 1)).any():
            kept.append(point)
    threshold, measured, tar = min(reversed(kept), key=lambda point: abs(point[1] - far))
    return measured, tar, threshold


class TestNearestFar:
    @settings(max_examples=200)
    @given(SCORES, SCORES, FARS)
    def test_equals_plain_loops(self, genuine: list[float], impostor: list[float], far: float) -> None:
        point = metrics.points_at_nearest_far(genuine, impostor, far)
        assert (point.far[0], point.tar[0], point.thresholds[0]) == loop_nearest(genuine, impostor, far)

    @settings(max_examples=200, deadline=None)
    @given(SCORES, SCORES, FARS)
    def test_equals_scikit_learn(self, genuine: list[float], impostor: list[float], far: float) -> None:
        """The lines of eval_ijbc.py that choose a point: scikit-learn's curve reversed, then the nearest FAR."""
        ranking = pytest.importorskip("sklearn.metrics")
        labels = np.repeat([1, 0], [len(genuine), len(impostor)])
        fpr, tpr, _ = (np.flipud(part) for part in ranking.roc_curve(labels, [*genuine, *impostor]))
        _, row = min(zip(abs(fpr - far), range(len(fpr)), strict=True))
        point = metrics.points_at_nearest_far(genuine, impostor, far)
        assert (point.far[0], point.tar[0]) == (fpr[row], tpr[row])

    def test_dropping_points_matters(self) -> None:
        # All impostors stand below all genuine scores: every point between the corners lies on a straight line.
        genuine, impostor = [5.0, 4.0], [3.0, 2.0, 1.0, 0.0]
        assert metrics.points_at_nearest_far(genuine, impostor, 0.25).far.tolist() == [0.0]
        assert metrics.roc(genuine, impostor).far.tolist() == [0.0, 0.0, 0.0, 0.25, 0.5, 0.75, 1.0]

    @pytest.mark.parametrize("variant", ["F1N1D1", "F1N0D1", "F0N1D0", "F1N0D0"])
    def test_equals_the_released_evaluation(self, shared: Path, variant: str) -> None:
        case = np.load(shared / "golden" / f"ijb11_{variant}.npz")
        genuine, impostor = case["scores"][case["label"] == 1], case["scores"][case["label"] == 0]
        np.testing.assert_array_equal(metrics.tar_at_nearest_far(genuine, impostor, case["far_grid"]), case["tar"])

    @pytest.mark.parametrize("fars", [[-0.1], [1.5], [math.nan], []])
    def test_targets_outside_their_range(self, fars: list[float]) -> None:
        with pytest.raises(DataError, match="far"):
            metrics.tar_at_nearest_far([0.5], [0.1], fars)


class TestPoints:
    @given(SCORES, SCORES, FARS)
    def test_curve_knows_its_numbers(self, genuine: list[float], impostor: list[float], far: float) -> None:
        curve = metrics.roc(genuine, impostor)
        assert curve.tar_at_far(far) == metrics.tar_at_far(genuine, impostor, far)
        assert curve.auc() == pytest.approx(metrics.auc(genuine, impostor))
        for threshold in (-2.0, 0.1, 2 / 7, 2.0):
            shares = [float(np.mean(np.array(scores) >= threshold)) for scores in (impostor, genuine)]
            assert curve.rates_at(threshold) == tuple(shares)

    @given(SCORES, SCORES, st.floats(0.01, 1.0))
    def test_operating_point_counts_its_pairs(self, genuine: list[float], impostor: list[float], far: float) -> None:
        point = metrics.operating_point(genuine, impostor, far)
        assert point.tar == metrics.tar_at_far(genuine, impostor, far)
        assert point.far == np.mean(np.array(impostor) >= point.threshold) <= far
        assert (point.genuine_pairs, point.impostor_pairs) == (len(genuine), len(impostor))

    def test_pairs_needed_are_the_rules_of_thumb(self) -> None:
        assert [metrics.pairs_needed(10.0**-k) for k in range(1, 10)] == [3 * 10 ** (k + 1) for k in range(1, 10)]
        assert metrics.pairs_needed(0.003) == 10_000
        assert [metrics.pairs_needed(far, rule=3) for far in (1e-12, 0.7, 1.0)] == [3 * 10**12, 5, 3]
        for far in (0.1, 1e-3, 1e-5):  # none of so many accepted: below FAR with 95 %
            high = metrics.clopper_pearson(0, metrics.pairs_needed(far, rule=3), confidence=0.9).high
            assert high == pytest.approx(far, rel=0.05)
        low, high = metrics.clopper_pearson(30, metrics.pairs_needed(1e-4), confidence=0.9)
        assert low > 0.7e-4
        assert high < 1.42e-4

    @pytest.mark.parametrize(("far", "rule"), [(0.0, 3), (1.1, 3), (math.nan, 30), (0.1, 10)])
    def test_pairs_needed_for_nonsense(self, far: float, rule: int) -> None:
        with pytest.raises(DataError):
            metrics.pairs_needed(far, rule)

    @given(SCORES, SCORES)
    def test_monotone_maps_and_order_do_not_matter(self, genuine: list[float], impostor: list[float]) -> None:
        def numbers(genuine: np.ndarray, impostor: np.ndarray) -> list[float]:
            near = metrics.tar_at_nearest_far(genuine, impostor, [0.1, 0.3])
            tar = metrics.tar_at_far(genuine, impostor, 0.2)
            return [*near, tar, metrics.eer(genuine, impostor), metrics.auc(genuine, impostor)]

        g, i = np.array(genuine), np.array(impostor)
        assert numbers(g[::-1], i[::-1]) == pytest.approx(numbers(g, i))
        assert numbers(g * 4 - 1, i * 4 - 1) == pytest.approx(numbers(g, i))


class TestKFold:
    @pytest.mark.parametrize("variant", ["easy", "hard", "saturated"])
    def test_equals_the_released_evaluation(self, shared: Path, variant: str) -> None:
        case = np.load(shared / "golden" / f"lfw10fold_{variant}.npz")
        a, b, same = case["embeddings"][0::2], case["embeddings"][1::2], case["issame"]
        result = metrics.kfold_accuracy(a, b, same)
        np.testing.assert_allclose(result.fold_accuracies, case["fold_accuracy"], rtol=1e-12)
        np.testing.assert_allclose([result.mean, result.std], [case["acc_mean"], case["acc_std"]], rtol=1e-12)
        np.testing.assert_allclose(result.tpr, case["tpr"], rtol=1e-12)
        np.testing.assert_allclose(result.fpr, case["fpr"], rtol=1e-12)
        distances = metrics.pair_distances(a, b)
        for threshold, expected in zip(case["val_thresholds"], case["val_far_at_thresholds"], strict=True):
            np.testing.assert_allclose(metrics.val_and_far(distances, same, threshold), expected, rtol=1e-12)

    @settings(max_examples=5, deadline=None)
    @given(st.integers(20, 43), st.integers(2, 10), st.integers(0, 10**6))
    def test_equals_plain_loops(self, count: int, folds: int, seed: int) -> None:
        a, b, same = drawn_pairs(count, seed)
        same[:2] = [True, False]
        result = metrics.kfold_accuracy(a, b, same, folds)
        accuracies, thresholds = loop_kfold(metrics.pair_distances(a, b), same, folds)
        np.testing.assert_allclose(result.fold_accuracies, accuracies, rtol=1e-12)
        np.testing.assert_allclose(result.thresholds, thresholds, rtol=1e-12)
        assert result.std == pytest.approx(np.std(accuracies, ddof=0))

    def test_first_folds_are_the_larger(self) -> None:
        assert np.bincount(metrics.contiguous_folds(23, 10)).tolist() == [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]

    def test_given_folds_equal_contiguous_ones(self) -> None:
        a, b, same = drawn_pairs(47)
        counted = metrics.kfold_accuracy(a, b, same, 5)
        given_ = metrics.kfold_accuracy(a, b, same, metrics.contiguous_folds(47, 5))
        np.testing.assert_array_equal(counted.fold_accuracies, given_.fold_accuracies)

    def test_scale_of_embeddings_does_not_matter(self) -> None:
        a, b, same = drawn_pairs(60)
        huge = metrics.kfold_accuracy(a * 1e200, b * 1e-200, same)
        np.testing.assert_array_equal(huge.fold_accuracies, metrics.kfold_accuracy(a, b, same).fold_accuracies)

    def test_absent_pairs_score_cosine_zero_whatever_their_rows_hold(self) -> None:
        a, b, same = drawn_pairs(60)
        a[3], b[3], a[7] = 0.0, 0.0, np.nan
        absent = np.zeros(60, dtype=bool)
        absent[[3, 7]] = True
        result = metrics.kfold_accuracy(a, b, same, absent=absent)
        assert result.absent_pairs == (3, 7)
        assert result.pair_count == 60
        assert metrics.pair_distances(a, b, absent)[[3, 7]].tolist() == [2.0, 2.0]

    def test_tensors_are_welcome(self) -> None:
        torch = pytest.importorskip("torch")
        a, b, same = drawn_pairs(40)
        tensors = [torch.from_numpy(x).requires_grad_() for x in (a, b)]
        plain = metrics.kfold_accuracy(a, b, same).mean
        assert metrics.kfold_accuracy(*tensors, torch.from_numpy(same)).mean == plain
        metrics.kfold_accuracy(*(x.detach().bfloat16() for x in tensors), same)

    def test_val_keeps_its_promise_on_the_training_folds(self) -> None:
        a, b, same = drawn_pairs(600)
        result = metrics.val_at_far(a, b, same, far=0.05)
        distances, fold_of = metrics.pair_distances(a, b), metrics.contiguous_folds(600, 10)
        grid = np.arange(0, 4, 0.001)
        for fold, threshold in enumerate(result.thresholds):
            impostor = distances[(fold_of != fold) & ~same]
            assert threshold == max(t for t in grid if (impostor < t).mean() <= 0.05)
        assert 0 < result.mean < 1
        assert result.far_mean == pytest.approx(0.05, abs=0.03)

    def test_bad_pairs_are_named(self) -> None:
        a, b, same = drawn_pairs(20)
        broken = a.copy()
        broken[5, 2] = np.nan
        zero = a.copy()
        zero[6] = 0.0
        bad = [
            ((broken, b, same), "row 5"),
            ((a, zero, same), "row 6"),
            ((a, b[:, :4], same), "expected the same"),
            ((a, b, same[:-1]), "same should have shape"),
            ((a, b, np.ones(20)), "all 20 pairs are genuine"),
            ((a, b, np.zeros(20)), "all 20 pairs are impostor"),
            ((a, b, np.full(20, 2)), "expected 0 or 1"),
            ((a, b, same, 21), "cannot fill 21 folds"),
            ((a, b, same, 1), "at least 2 folds"),
            ((a, b, same, np.full(20, 3)), "cover 0..F-1"),
            (([], [], []), "shape"),
        ]
        for arguments, words in bad:
            with pytest.raises(DataError, match=words):
                metrics.kfold_accuracy(*arguments)


class TestIdentification:
    @settings(max_examples=20, deadline=None)
    @given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.integers(0, 10**6))
    def test_rank1_equals_plain_loops(self, probes: int, gallery: int, block: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        p, g = rng.normal(size=(probes, 5)), rng.normal(size=(gallery, 5))
        p_labels, g_labels = rng.integers(0, 4, probes), rng.integers(0, 4, gallery)
        hits = 0
        for vector, label in zip(p, p_labels, strict=True):
            cosines = [vector @ w / np.linalg.norm(vector) / np.linalg.norm(w) for w in g]
            hits += g_labels[int(np.argmax(cosines))] == label
        assert metrics.rank1(p, g, p_labels, g_labels, block=block) == hits / probes

    def test_blocks_agree(self) -> None:
        rng = np.random.default_rng(1)
        p, g = rng.normal(size=(1500, 16)), rng.normal(size=(2300, 16))
        np.testing.assert_array_equal(metrics.nearest_rows(p, g, 300), metrics.nearest_rows(p, g))

    def test_bad_galleries_are_named(self) -> None:
        good = np.eye(3)
        bad = [
            ((good, np.eye(4), [0, 1, 2], [0, 1, 2, 3]), "dimension 3"),
            ((good, good, [0, 1], [0, 1, 2]), "probe_labels"),
            ((good, np.zeros((1, 3)), [0, 1, 2], [0]), "gallery is a zero vector in row 0"),
            ((np.empty((0, 3)), good, [], [0, 1, 2]), "at least one face"),
        ]
        for arguments, words in bad:
            with pytest.raises(DataError, match=words):
                metrics.rank1(*arguments)


class TestAngles:
    def test_small_and_straight_angles_keep_their_precision(self) -> None:
        for true in (0.0, 1e-12, 1e-6, 0.5, math.pi / 2, 3.0, math.pi - 1e-9, math.pi):
            a, b = [[1.0, 0.0]], [[math.cos(true), math.sin(true)]]
            assert metrics.angle(a, b)[0] == pytest.approx(true, rel=1e-9, abs=1e-15)

    def test_histogram_counts_every_pair_once(self) -> None:
        histogram = metrics.angle_histogram([0.0, math.pi], [math.pi / 2], bins=4)
        assert histogram.genuine.tolist() == [0.5, 0.0, 0.0, 0.5]
        assert histogram.impostor.sum() == 1.0
        with pytest.raises(DataError, match="radians"):
            metrics.angle_histogram([90.0], [1.0])

    def test_statistics_equal_plain_loops(self) -> None:
        rng = np.random.default_rng(2)
        x, labels = rng.normal(size=(30, 6)), np.arange(30) % 7
        weight = rng.normal(size=(7, 6))
        result = metrics.angle_statistics(x, labels, weight)
        units = x / np.linalg.norm(x, axis=1, keepdims=True)
        centers = np.array([units[labels == c].mean(axis=0) for c in range(7)])

        def degrees(a: np.ndarray, b: np.ndarray) -> float:
            return math.degrees(math.acos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))

        def nearest(v: np.ndarray) -> float:
            return float(np.mean([min(degrees(v[i], v[j]) for j in range(7) if j != i) for i in range(7)]))

        intra = np.mean([degrees(u, centers[c]) for u, c in zip(units, labels, strict=True)])
        assert result.intra_deg == pytest.approx(intra)
        assert result.inter_deg == pytest.approx(nearest(centers))
        assert result.w_inter_deg == pytest.approx(nearest(weight))
        assert result.w_ec_deg == pytest.approx(np.mean([degrees(weight[c], centers[c]) for c in range(7)]))
        assert (result.people, result.faces, result.single_face_people) == (7, 30, 0)
        with pytest.raises(DataError, match="two people"):
            metrics.angle_statistics(x, np.zeros(30))
