"""Rates and maps with people as the unit: equal to plain loops, and their intervals cover what is true."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperarc import metrics
from hyperarc.errors import DataError
from hyperarc.metrics import PeoplePairs, Rates
from hyperarc.metrics.all_pairs import LabeledEmbeddings, accept_rates_of_all, people

PEOPLE_FACES = st.lists(st.integers(1, 6), min_size=3, max_size=12)


def listed(vectors: np.ndarray, labels: np.ndarray) -> PeoplePairs:
    """All pairs of faces, one by one."""
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    first, second = np.triu_indices(len(labels), 1)
    scores, same = (units @ units.T)[first, second], labels[first] == labels[second]
    both = np.stack([labels[first], labels[second]], axis=1)
    return PeoplePairs(scores[same], both[same, 0], scores[~same], both[~same])


class TestEffectiveTrialsAt:
    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=30))
    def test_equals_one_threshold_at_a_time(self, pairs: list[tuple[int, int, int]]) -> None:
        pairs = [*pairs, (1, 0, 1), (4, 2, 3)]
        scores, first, second = (np.array(column) for column in zip(*pairs, strict=True))
        thresholds = [3.0, -1.0, math.inf, 0.0, 2.5, 5.0]
        for who in (first, np.stack([first, second], axis=1)):
            found = metrics.effective_trials_at(scores, who, thresholds)
            slow = [metrics.effective_trials(scores >= threshold, who) for threshold in thresholds]
            np.testing.assert_allclose(found, slow, rtol=1e-9)

    def test_nonsense_is_an_error(self) -> None:
        with pytest.raises(DataError, match="a score for each of 2 pairs, got 3"):
            metrics.effective_trials_at([1.0, 2.0, 3.0], ["a", "b"], [0.5])
        with pytest.raises(DataError, match="at least two people"):
            metrics.effective_trials_at([1.0, 2.0], ["a", "a"], [0.5])


class TestAcceptRates:
    def test_by_hand(self) -> None:
        pairs = PeoplePairs([0.9, 0.7, 0.4], ["a", "a", "b"], [0.5, 0.1, 0.0, 0.6], [["a", "b"], ["b", "c"]] * 2)
        far, tar = metrics.accept_rates(pairs, [0.6, 0.5, 2.0])
        assert (far.accepted.tolist(), far.pairs, far.shares.tolist()) == ([1, 2, 0], 4, [0.25, 0.5, 0.0])
        assert (tar.accepted.tolist(), tar.pairs) == ([2, 2, 0], 3)
        assert tar.worth.tolist() == [pytest.approx(9 / 8), pytest.approx(9 / 8), 2.0]  # both of one of two people
        assert far.at(slice(1, 2)).accepted.tolist() == [2]

    def test_interval_is_that_of_what_the_pairs_are_worth(self) -> None:
        rates = Rates(np.array([0, 5]), 1000, np.array([300.0, 100.0]))
        low, high = rates.interval()
        assert low.tolist()[0] == 0.0
        assert high[0] == pytest.approx(1 - 0.025 ** (1 / 300))
        np.testing.assert_allclose([low[1], high[1]], np.array(metrics.clopper_pearson(0.5, 100.0)))

    @settings(max_examples=40, deadline=None)
    @given(PEOPLE_FACES, st.integers(0, 99), st.sampled_from([20, 200, 1 << 24]))
    def test_all_pairs_equal_listing_them(self, sizes: list[int], seed: int, scores: int) -> None:
        rng = np.random.default_rng(seed)
        sizes = [2, 2, *sizes]
        labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
        vectors = rng.normal(size=(len(sizes), 6))[labels] + rng.normal(size=(labels.size, 6))
        thresholds = [0.3, math.inf, *rng.uniform(-1.0, 1.0, 4), -2.0]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(people, "_SCORES", scores)
            found = accept_rates_of_all(LabeledEmbeddings(vectors, labels), thresholds)
        for ours, slow in zip(found, metrics.accept_rates(listed(vectors, labels), thresholds), strict=True):
            assert ours.pairs == slow.pairs
            assert ours.accepted.tolist() == slow.accepted.tolist()
            np.testing.assert_allclose(ours.worth, slow.worth, rtol=1e-6)

    @pytest.mark.parametrize(
        ("labels", "words"),
        [([0, 1, 2], "0 genuine and 3 imp"), ([0, 0, 0], "3 genuine and 0 imp"), ([0, 1], "a label for each of 3")],
    )
    def test_all_pairs_of_one_kind_are_an_error(self, labels: list[int], words: str) -> None:
        with pytest.raises(DataError, match=words):
            accept_rates_of_all(LabeledEmbeddings(np.eye(3), labels), [0.5])

    def test_progress_is_told(self) -> None:
        told: list[tuple[int, int]] = []
        vectors = np.random.default_rng(0).normal(size=(6, 4))
        accept_rates_of_all(LabeledEmbeddings(vectors, [0, 0, 1, 1, 2, 2]), [0.5], lambda *at: told.append(at))
        assert told[-1] == (6, 6)


def crowd(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Four faces each of people some of whom look like many others, and some of whom are hard to know again."""
    lean, blur = 0.35 * rng.normal(size=(count, 1)), 0.9 * np.exp(0.35 * rng.normal(size=(count, 1)))
    centers = rng.normal(size=(count, 32)) + lean
    faces = np.repeat(centers, 4, axis=0) + np.repeat(blur, 4, axis=0) * rng.normal(size=(4 * count, 32))
    return faces, np.repeat(np.arange(count), 4)


def test_intervals_cover_the_true_rates() -> None:
    """Of thresholds chosen on 100 people, judged by 2,000 others: about 95 %; as many independent pairs far less."""
    truth = listed(*(part[::2] for part in crowd(np.random.default_rng(99), 2000)))
    fars, runs = (0.1, 0.01), 40
    covered: dict[str, list[bool]] = {"far": [], "tar": [], "pairs": []}
    for seed in range(runs):
        pairs = listed(*crowd(np.random.default_rng(seed), 100))
        thresholds = [metrics.threshold_at_far(pairs.genuine, pairs.impostor, far) for far in fars]
        rates = metrics.accept_rates(pairs, thresholds)
        for name, scores in (("far", truth.impostor), ("tar", truth.genuine)):
            right = np.array([np.mean(scores >= threshold) for threshold in thresholds])
            low, high = getattr(rates, name).interval()
            covered[name] += ((low <= right) & (right <= high)).tolist()
            if name == "far":
                low, high = metrics.clopper_pearson(rates.far.accepted, rates.far.pairs)
                covered["pairs"] += ((low <= right) & (right <= high)).tolist()
    assert np.mean(covered["far"]) >= 0.85
    assert np.mean(covered["tar"]) >= 0.85
    assert np.mean(covered["pairs"]) <= 0.6


class TestCuts:
    def test_by_hand(self) -> None:
        curve = metrics.roc([0.9, 0.8, 0.6, 0.3], [0.7, 0.5, 0.2, 0.1])
        # at 0.6: FAR 1/4, FRR 1/4
        assert metrics.equal_error_cut(curve) == (0.25, 0.6)
        # at 0.8: 0 and 1/2; at 0.6: 1/4 and 1/4; of equally good ones the highest
        assert metrics.best_accuracy_cut(curve) == (0.75, 0.8)

    def test_separated(self) -> None:
        curve = metrics.roc([0.9, 0.8], [0.1])
        assert metrics.equal_error_cut(curve) == (0.0, 0.8)
        assert metrics.best_accuracy_cut(curve) == (1.0, 0.8)


class TestHoldOut:
    def pairs(self, count: int = 60, seed: int = 0) -> PeoplePairs:
        return listed(*crowd(np.random.default_rng(seed), count))

    def test_nobody_is_judged_by_a_map_fitted_on_them(self) -> None:
        pairs = self.pairs(12)
        scores_of = {fold: set() for fold in range(metrics.held_out.FOLDS)}
        fold_of = metrics.deal_people(pairs, seed=3)
        for fold in scores_of:
            scores_of[fold] = {*pairs.genuine[fold_of[pairs.genuine_people] == fold].tolist()}
            scores_of[fold] |= {*pairs.impostor[(fold_of[pairs.impostor_people] == fold).any(axis=1)].tolist()}
        seen = []

        def spy(genuine: Any, impostor: Any) -> Any:
            used = {*genuine.tolist(), *impostor.tolist()}
            seen.append([fold for fold, scores in scores_of.items() if not used & scores])
            return metrics.fit_logistic(genuine, impostor)

        held_out = metrics.hold_out(pairs, fold_of, spy)
        assert seen == [[fold] for fold in range(5)]
        assert held_out.folds == 5
        assert held_out.genuine.size == pairs.genuine.size
        assert held_out.impostor.size == (np.ptp(fold_of[pairs.impostor_people], axis=1) == 0).sum()

    def test_learning_by_heart_does_not_pay(self) -> None:
        """A map that knows every score of its own pairs is perfect on them, and is found out on others."""
        pairs = self.pairs()

        class ByHeart:
            def __init__(self, genuine: Any, impostor: Any) -> None:
                self.genuine, self.impostor = set(genuine.tolist()), set(impostor.tolist())

            def log_likelihood_ratio(self, scores: Any) -> Any:
                return np.array([8.0 * ((s in self.genuine) - (s in self.impostor)) for s in scores.tolist()])

        everyone = ByHeart(pairs.genuine, pairs.impostor)
        own = metrics.cllr(everyone.log_likelihood_ratio(pairs.genuine), everyone.log_likelihood_ratio(pairs.impostor))
        assert own < 0.01
        folds = metrics.deal_people(pairs)
        assert metrics.hold_out(pairs, folds, ByHeart).cllr == 1.0  # type: ignore[arg-type]
        honest = metrics.hold_out(pairs, folds, metrics.fit_isotonic)
        assert honest.cllr < 0.5
        assert honest.calibration_error < 0.02
        assert honest.brier < honest.prior * (1 - honest.prior)

    def test_folds_of_the_list_are_taken_when_people_are_whole_in_them(self) -> None:
        pairs = PeoplePairs([0.9, 0.8], ["a", "c"], [0.1, 0.2], [["a", "b"], ["c", "d"]])
        assert metrics.deal_people(pairs, ([4, 7], [4, 7])).tolist() == [4, 4, 7, 7]
        dealt = metrics.deal_people(pairs, ([4, 7], [7, 4]))
        assert sorted(dealt.tolist()) == [0, 0, 1, 1]
        assert dealt.tolist() == metrics.deal_people(pairs).tolist()

    def test_reliability_by_hand(self) -> None:
        half = np.zeros(6)  # ratios of 0: probability 1/3, the prior
        held_out = metrics.HeldOut(half[:2], np.array([0, 1]), half[:4], np.array([[0, 1], [1, 2], [2, 3], [3, 0]]), 2)
        found = held_out.reliability()
        assert found.probability.tolist() == [pytest.approx(1 / 3)]
        assert (found.genuine.tolist(), found.impostor.tolist(), found.shares.tolist()) == ([2], [4], [1 / 3])
        assert found.low[0] < 1 / 3 < found.high[0]
        assert held_out.calibration_error == pytest.approx(0.0)

    def test_too_few_people(self) -> None:
        pairs = PeoplePairs([0.9, 0.8], [0, 1], [0.1], [[0, 1]])
        with pytest.raises(DataError, match="too few people"):
            metrics.hold_out(pairs, [0, 1], metrics.fit_logistic)
        with pytest.raises(DataError, match="a fold for each of 2 people"):
            metrics.hold_out(pairs, [0], metrics.fit_logistic)
        three = PeoplePairs([0.9, 0.8, 0.7], [0, 1, 2], [0.1, 0.2, 0.3], [[0, 1], [1, 2], [2, 0]])
        with pytest.raises(DataError, match="no impostor pair has both people in one fold"):
            metrics.hold_out(three, [0, 1, 2], metrics.fit_logistic)
