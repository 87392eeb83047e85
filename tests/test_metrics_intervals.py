"""Intervals: exact tails, people as the unit, and resampling equal to really repeating the pairs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperarc import metrics
from hyperarc.errors import DataError
from hyperarc.metrics.intervals import _beta_quantile


def at_least(successes: int, trials: int, share: float) -> float:
    """Chance of that many successes or more, term by term."""
    terms = (math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(successes, trials + 1))
    return math.fsum(terms)


class TestClopperPearson:
    @settings(deadline=None)
    @given(st.integers(1, 60), st.data(), st.sampled_from([0.8, 0.95, 0.999]))
    def test_tails_are_exact(self, trials: int, data: Any, confidence: float) -> None:
        successes = data.draw(st.integers(0, trials))
        low, high = (float(bound) for bound in metrics.clopper_pearson(successes, trials, confidence))
        tail = (1 - confidence) / 2
        if successes:
            assert at_least(successes, trials, low) == pytest.approx(tail, rel=1e-9)
        if successes < trials:
            assert 1 - at_least(successes + 1, trials, high) == pytest.approx(tail, rel=1e-7)
        assert 0.0 <= low <= successes / trials <= high <= 1.0
        assert (low == 0.0, high == 1.0) == (successes == 0, successes == trials)

    @pytest.mark.parametrize("confidence", [0.5, 0.95, 0.99, 0.999999])
    def test_equals_scipy_at_any_size(self, confidence: float) -> None:
        stats = pytest.importorskip("scipy.stats")
        rng = np.random.default_rng(0)
        trials = np.rint(10 ** rng.uniform(0, 9, 300))
        successes = np.rint(trials * rng.random(300) ** 4)
        low, high = metrics.clopper_pearson(successes, trials, confidence)
        tail = (1 - confidence) / 2
        some, left = successes > 0, successes < trials
        k, n = successes[some], trials[some]
        np.testing.assert_allclose(low[some], stats.beta.ppf(tail, k, n - k + 1), rtol=1e-9)
        k, n = successes[left], trials[left]
        np.testing.assert_allclose(high[left], stats.beta.isf(tail, k + 1, n - k), rtol=1e-9)

    def test_effective_counts_need_not_be_whole(self) -> None:
        stats = pytest.importorskip("scipy.stats")
        rng = np.random.default_rng(1)
        a, b = 10 ** rng.uniform(-0.5, 6, 200), 10 ** rng.uniform(-0.5, 6, 200)
        np.testing.assert_allclose(_beta_quantile(a, b, 0.025)[0], stats.beta.ppf(0.025, a, b), rtol=1e-9)

    def test_trillions_of_pairs(self) -> None:
        # 3 of 2.6e12 is Poisson: the bounds are those of chi squared, halved
        low, high = metrics.clopper_pearson(3, 2.6e12)
        assert (float(low), float(high)) == pytest.approx((0.618672122 / 2.6e12, 8.767273 / 2.6e12), rel=1e-6, abs=0)
        none = metrics.clopper_pearson(0, 1e15, 0.999999).high
        assert none == pytest.approx(-math.log(5e-7) / 1e15, rel=1e-9, abs=0)
        low, high = metrics.clopper_pearson(1.3e12, 2.6e12)
        assert high - low == pytest.approx(2 * 1.959964 * 0.5 / math.sqrt(2.6e12), rel=1e-4, abs=0)

    def test_bounds_turn_over_with_the_question(self) -> None:
        failed, passed = metrics.clopper_pearson([0, 3, 10], 10), metrics.clopper_pearson([10, 7, 0], 10)
        np.testing.assert_allclose(failed.low, 1 - passed.high, atol=1e-12)
        np.testing.assert_allclose(failed.high, 1 - passed.low, atol=1e-12)

    @pytest.mark.parametrize(
        ("successes", "trials", "confidence"),
        [(3, 2, 0.95), (-1, 2, 0.95), (0, 0, 0.95), (math.nan, 2, 0.95), (1, math.inf, 0.95), (1, 2, 1.0), (1, 2, 0.0)],
    )
    def test_nonsense_is_an_error(self, successes: float, trials: float, confidence: float) -> None:
        with pytest.raises(DataError, match=r"expected 0 <= successes|confidence should"):
            metrics.clopper_pearson(successes, trials, confidence)


def loop_effective(outcomes: list[bool], people: list[set[int]]) -> float:
    """p (1 - p) / V with V summed over all pairs of pairs that share somebody."""
    n, share = len(outcomes), sum(outcomes) / len(outcomes)
    group = len(set().union(*people))
    total = sum(
        (a - share) * (b - share)
        for a, first in zip(outcomes, people, strict=True)
        for b, second in zip(outcomes, people, strict=True)
        if first & second
    )
    variance = max(total / n**2 * group / (group - 1), share * (1 - share) / n)
    return share * (1 - share) / variance


class TestEffectiveTrials:
    @settings(deadline=None)
    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=30))
    def test_equals_plain_loops(self, pairs: list[tuple[bool, int, int]]) -> None:
        pairs = [*pairs, (True, 0, 1), (False, 2, 3)]
        outcomes, first, second = (list(column) for column in zip(*pairs, strict=True))
        both = [{a, b} for a, b in zip(first, second, strict=True)]
        found = metrics.effective_trials(outcomes, np.stack([first, second], axis=1))
        assert found == pytest.approx(loop_effective(outcomes, both))
        found = metrics.effective_trials(outcomes, first)
        assert found == pytest.approx(loop_effective(outcomes, [{a} for a in first]))

    def test_pairs_without_shared_people_count_in_full(self) -> None:
        outcomes = np.arange(1000) % 10 == 0
        assert metrics.effective_trials(outcomes, np.arange(1000)) == pytest.approx(1000, rel=2e-3)
        assert metrics.effective_trials(outcomes, np.arange(2000).reshape(-1, 2)) == pytest.approx(1000, rel=2e-3)

    def test_without_errors_people_are_counted(self) -> None:
        assert metrics.effective_trials(np.zeros(45), np.repeat(np.arange(5), 9)) == 5
        everyone = np.stack(np.triu_indices(10, 1), axis=1)
        assert metrics.effective_trials(np.zeros(45), everyone) == 5
        assert metrics.effective_trials(np.ones(2), [[0, 1], [2, 3]]) == 2

    def test_interval_covers_when_people_differ(self) -> None:
        """People with failure rates of their own, 10 pairs each: plain binomial intervals cover far too seldom."""
        rng, truth = np.random.default_rng(0), 0.1
        people, covered = np.repeat(np.arange(60), 10), np.zeros(2)
        for _ in range(200):
            rates = np.where(rng.random(60) < 0.2, 0.5, 0.0)
            failed = rng.random(600) < rates[people]
            worth = metrics.effective_trials(failed, people)
            for which, trials in enumerate((600, worth)):
                low, high = metrics.clopper_pearson(failed.mean() * trials, trials)
                covered[which] += low <= truth <= high
        assert covered[0] < 170
        assert covered[1] > 184

    def test_bad_input_is_named(self) -> None:
        bad = [
            (([True], [[0, 1, 2]]), "people should have shape"),
            (([], []), "people should have shape"),
            (([True, False], [0]), "outcomes should have shape"),
            (([True, False], [4, 4]), "one person"),
            (([2, 0], [0, 1]), "expected 0 or 1"),
        ]
        for arguments, words in bad:
            with pytest.raises(DataError, match=words):
                metrics.effective_trials(*arguments)


def drawn_pairs(seed: int, people: int = 12) -> metrics.PeoplePairs:
    """Scores on a coarse grid (ties), people of one or more genuine pairs."""
    rng = np.random.default_rng(seed)
    own = np.append(np.arange(people), rng.integers(0, people, 20))
    both = np.stack(np.triu_indices(people, 1), axis=1)
    genuine, impostor = rng.integers(3, 11, own.size) / 10, rng.integers(0, 8, len(both)) / 10
    return metrics.PeoplePairs(genuine, own, impostor, both)


def numbers(curve: metrics.Roc) -> list[float]:
    return [curve.tar_at_far(0.05), curve.tar_at_far(0.0), curve.eer(), curve.auc(), *curve.rates_at(0.55)]


class TestBootstrap:
    @settings(max_examples=10, deadline=None)
    @given(st.integers(0, 10**6))
    def test_equals_repeating_the_pairs(self, seed: int) -> None:
        """Weights against lists in which each pair really stands as often as its people were drawn."""
        pairs = drawn_pairs(seed)
        found = metrics.bootstrap_people(pairs, numbers, resamples=20, seed=seed)
        random, rows = np.random.default_rng(seed), []
        for _ in range(20):
            drawn = random.integers(0, 12, size=12).tolist()
            genuine = [
                score
                for score, person in zip(pairs.genuine, pairs.genuine_people, strict=True)
                for _ in range(drawn.count(person))
            ]
            impostor = [
                score
                for score, (a, b) in zip(pairs.impostor, pairs.impostor_people, strict=True)
                for _ in range(drawn.count(a) * drawn.count(b))
            ]
            if genuine and impostor:
                rows.append(numbers(metrics.roc(genuine, impostor)))
        np.testing.assert_allclose(found.values, rows, rtol=1e-12)
        assert found.empty == 20 - len(rows)
        np.testing.assert_allclose(found.interval.low, np.quantile(rows, 0.025, axis=0))
        np.testing.assert_allclose(found.interval.high, np.quantile(rows, 0.975, axis=0))

    def test_same_seed_same_numbers(self) -> None:
        one, other, third = (
            metrics.bootstrap_people(drawn_pairs(0), numbers, resamples=30, seed=seed).values for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(one, other)
        assert (one != third).any()

    def test_names_and_order_of_the_pairs_do_not_matter_to_the_spread(self) -> None:
        pairs = drawn_pairs(4)
        names = np.array([f"person {k:02d}" for k in range(12)])
        own, both = names[pairs.genuine_people[::-1]], names[pairs.impostor_people[:, ::-1]]
        flipped = metrics.PeoplePairs(pairs.genuine[::-1], own, pairs.impostor, both)
        one, other = (metrics.bootstrap_people(p, numbers, resamples=50).values for p in (pairs, flipped))
        np.testing.assert_allclose(one, other)

    def test_people_as_the_unit_make_wider_intervals(self) -> None:
        """20 people with 50 pairs each, half of the people always fail: 20 observations, not 1,000."""
        people = np.repeat(np.arange(20), 50)
        pairs = metrics.PeoplePairs(np.where(people % 2, 0.9, 0.1), people, [0.0, 0.0], [[0, 1], [2, 3]])
        found = metrics.bootstrap_people(pairs, lambda curve: curve.rates_at(0.5)[1], resamples=2000)
        spread = float(found.values.std())
        assert spread == pytest.approx(math.sqrt(0.25 / 20), rel=0.1)
        assert metrics.effective_trials(people % 2, people) == pytest.approx(19.0)
        assert found.empty > 0  # neither of the two impostor pairs was drawn; counted, not hidden

    def test_bad_pairs_are_named(self) -> None:
        bad: list[tuple[tuple[Any, ...], str]] = [
            (([], [], [0.1], [[0, 1]]), "genuine is empty"),
            (([0.9], [0], [math.nan], [[0, 1]]), "impostor holds nan at row 0"),
            (([0.9], [0, 1], [0.1], [[0, 1]]), "genuine_people should have shape"),
            (([0.9], [0], [0.1], [0]), "impostor_people should have shape"),
            (([0.9], [0], [0.1, 0.2], [[0, 1], [1, 1]]), "impostor pair 1 is of one person"),
            (([0.9], ["a"], [0.1], [[0, 1]]), "one kind of label"),
        ]
        for arguments, words in bad:
            with pytest.raises(DataError, match=words):
                metrics.PeoplePairs(*arguments)
        for options in ({"resamples": 1}, {"confidence": 1.0}, {"confidence": math.nan}):
            with pytest.raises(DataError, match="resamples"):
                metrics.bootstrap_people(drawn_pairs(0), numbers, **options)

    def test_two_people_may_never_meet_in_a_resample(self) -> None:
        pairs = metrics.PeoplePairs([0.9, 0.8], [0, 1], [0.1], [[0, 1]])

        def resample_often() -> None:
            for seed in range(50):
                metrics.bootstrap_people(pairs, numbers, resamples=2, seed=seed)

        with pytest.raises(DataError, match="none of 2 resamples"):
            resample_often()


class TestBootstrapOfFolds:
    @pytest.mark.parametrize("known", [True, False])
    def test_equals_repeating_the_pairs(self, known: bool) -> None:
        """Against lists in which each pair really stands as often as it was drawn, judged by the k-fold rule itself."""
        rng = np.random.default_rng(3)
        people = rng.integers(0, 12, (160, 2))
        people[::2, 1] = people[::2, 0]
        same, folds = people[:, 0] == people[:, 1], np.arange(160) // 4 % 4
        first = rng.normal(size=(160, 4))
        second = np.where(same[:, None], first, 0.0) + rng.normal(size=(160, 4))
        distances = metrics.pair_distances(first, second)
        given = people if known else None
        found = metrics.bootstrap_kfold(distances, same, folds, people=given, resamples=20, seed=7)
        random, means = np.random.default_rng(7), []
        for _ in range(20):
            units = 12 if known else 160
            drawn = np.bincount(random.integers(0, units, size=units), minlength=units)
            both = [int(drawn[a]) if a == b else int(drawn[a] * drawn[b]) for a, b in people.tolist()]
            rows = np.repeat(np.arange(160), both if known else drawn)
            means.append(metrics.kfold_accuracy(first[rows], second[rows], same[rows], folds[rows]).mean)
        np.testing.assert_allclose(found.values, means, rtol=1e-12)
        assert found.empty == 0

    def test_folds_without_pairs_are_left_out(self) -> None:
        people = [[0, 0], [0, 0], [1, 1], [1, 1], [2, 2], [2, 2]]  # one person a fold
        found = metrics.bootstrap_kfold([0.1, 0.2] * 3, [1, 0] * 3, [0, 0, 1, 1, 2, 2], people=people, resamples=100)
        assert 0 < found.empty < 100  # those that drew one person three times: one fold sets no threshold
        assert np.isfinite(found.values).all()


class TestPairsAsUnits:
    def test_equals_repeating_the_pairs(self) -> None:
        pairs = drawn_pairs(2)
        unknown = metrics.PeoplePairs(pairs.genuine, None, pairs.impostor, None)
        assert unknown.people == 0
        found = metrics.bootstrap_people(unknown, numbers, resamples=10, seed=5)
        random = np.random.default_rng(5)
        rows = []
        for _ in range(10):
            both = [kind[random.integers(0, kind.size, kind.size)] for kind in (pairs.genuine, pairs.impostor)]
            rows.append(numbers(metrics.roc(*both)))
        np.testing.assert_allclose(found.values, rows, rtol=1e-12)

    def test_people_of_one_kind_alone_are_no_people(self) -> None:
        with pytest.raises(DataError, match="impostor_people should have shape"):
            metrics.PeoplePairs([0.9, 0.8], [0, 1], [0.1], None)
