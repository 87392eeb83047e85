"""Calibrated probabilities: at the optimum, monotone, prior in and out, and measured by proper scores."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hyperarc import metrics
from hyperarc.errors import DataError

SCORES = st.lists(st.integers(-6, 6).map(lambda k: k / 7), min_size=1, max_size=25)
FITS = [metrics.fit_logistic, metrics.fit_isotonic]


def drawn(seed: int = 0, genuine: int = 4000, impostor: int = 16000) -> tuple[np.ndarray, np.ndarray]:
    """Two normals of one width, whose log-likelihood ratio is 25 (score - 0.3)."""
    rng = np.random.default_rng(seed)
    return rng.normal(0.55, 0.1 * math.sqrt(2), genuine), rng.normal(0.05, 0.1 * math.sqrt(2), impostor)


def loop_pool(genuine: list[float], impostor: list[float]) -> dict[float, float]:
    """Share of genuine pairs of each score after pooling, two neighbours at a time; one of each kind at both ends."""
    levels = sorted({*genuine, *impostor})
    blocks: list[list[Any]] = [[1, 2, []]]
    blocks += [[genuine.count(s), genuine.count(s) + impostor.count(s), [s]] for s in levels]
    blocks += [[1, 2, []]]
    row = 0
    while row + 1 < len(blocks):
        (right, total, held), (other_right, other_total, other_held) = blocks[row : row + 2]
        if right * other_total >= other_right * total:
            blocks[row : row + 2] = [[right + other_right, total + other_total, held + other_held]]
            row = max(row - 1, 0)
        else:
            row += 1
    return {score: right / total for right, total, held in blocks for score in held}


class TestLogistic:
    @settings(max_examples=30, deadline=None)
    @given(SCORES, SCORES)
    def test_gradient_of_the_likelihood_vanishes(self, genuine: list[float], impostor: list[float]) -> None:
        if np.mean(genuine) < np.mean(impostor) - 1e-6:
            with pytest.raises(DataError, match="lower than impostor"):
                metrics.fit_logistic(genuine, impostor)
            return
        fitted = metrics.fit_logistic(genuine, impostor)
        g, i = len(genuine), len(impostor)
        scores = np.array([*genuine, *impostor])
        targets = np.repeat([(g + 1) / (g + 2), 1 / (i + 2)], [g, i])
        off = fitted.probability(scores, prior=g / (g + i)) - targets
        if fitted.slope > 0:
            assert abs(off.sum()) < 1e-6
            assert abs((off * scores).sum()) < 1e-6

    def test_equals_scikit_learn(self) -> None:
        linear = pytest.importorskip("sklearn.linear_model")
        genuine, impostor = drawn(genuine=50, impostor=200)
        fitted = metrics.fit_logistic(genuine, impostor)
        # every pair twice, once per label, weighted by Platt's targets
        scores, targets = np.concatenate([genuine, impostor]), np.repeat([51 / 52, 1 / 202], [50, 200])
        model = linear.LogisticRegression(C=1e12, tol=1e-12, max_iter=10_000)
        model.fit(np.tile(scores, 2)[:, None], np.repeat([1, 0], 250), np.concatenate([targets, 1 - targets]))
        assert fitted.slope == pytest.approx(model.coef_[0, 0], rel=1e-4)
        assert fitted.offset + math.log(50 / 200) == pytest.approx(model.intercept_[0], rel=1e-4)

    def test_finds_the_true_ratio_whatever_the_prior_of_the_set(self) -> None:
        for impostor in (4000, 40_000, 400_000):
            fitted = metrics.fit_logistic(*drawn(genuine=4000, impostor=impostor))
            assert fitted.slope == pytest.approx(25, rel=0.06)
            assert fitted.offset == pytest.approx(-7.5, rel=0.06)

    def test_scale_of_the_scores_does_not_matter(self) -> None:
        genuine, impostor = drawn(genuine=50, impostor=50)
        plain = metrics.fit_logistic(genuine, impostor).probability(genuine)
        for scale, shift in ((1e-6, 0.0), (1e6, -3e6), (180.0, 1000.0)):
            fitted = metrics.fit_logistic(genuine * scale + shift, impostor * scale + shift)
            np.testing.assert_allclose(fitted.probability(genuine * scale + shift), plain, rtol=1e-6)

    def test_separated_and_constant_scores_stay_finite(self) -> None:
        fitted = metrics.fit_logistic([0.9, 0.8], [0.1, 0.0])
        assert 0 < fitted.slope < 100
        assert metrics.fit_logistic([0.3, 0.3], [0.3]).probability([0.3, 9.0]).tolist() == [0.5, 0.5]
        lonely = metrics.fit_logistic([0.9], [0.1] * 10_000)
        assert np.isfinite(lonely.log_likelihood_ratio([-1.0, 1.0])).all()

    def test_reversed_scores_are_an_error(self) -> None:
        with pytest.raises(DataError, match="negate distances"):
            metrics.fit_logistic([0.1, 0.2], [0.8, 0.9])


class TestIsotonic:
    @settings(deadline=None)
    @given(SCORES, SCORES)
    def test_equals_pooling_by_hand(self, genuine: list[float], impostor: list[float]) -> None:
        shares = loop_pool(genuine, impostor)
        fitted = metrics.fit_isotonic(genuine, impostor)
        prior = len(genuine) / (len(genuine) + len(impostor))
        found = fitted.probability(list(shares), prior=prior)
        np.testing.assert_allclose(found, list(shares.values()), rtol=1e-9)

    def test_equals_scikit_learn(self) -> None:
        isotonic = pytest.importorskip("sklearn.isotonic")
        genuine, impostor = drawn(genuine=300, impostor=900)
        scores = np.concatenate([[-9, -9, 9, 9], genuine, impostor])
        labels = np.concatenate([[1, 0, 1, 0], np.ones(300), np.zeros(900)])
        expected = isotonic.IsotonicRegression().fit(scores, labels).predict(scores[4:])
        found = metrics.fit_isotonic(genuine, impostor).probability(scores[4:], prior=0.25)
        np.testing.assert_allclose(found, expected, rtol=1e-9)

    @settings(deadline=None)
    @given(SCORES, SCORES)
    def test_monotone_maps_of_the_scores_do_not_matter(self, genuine: list[float], impostor: list[float]) -> None:
        one = metrics.fit_isotonic(genuine, impostor).probability(genuine)
        other = metrics.fit_isotonic(np.exp(genuine), np.exp(impostor)).probability(np.exp(genuine))
        np.testing.assert_allclose(one, other, rtol=1e-9)

    def test_learns_a_bend_that_a_line_cannot(self) -> None:
        rng = np.random.default_rng(0)
        genuine, impostor = rng.random(4000) ** 0.2, rng.random(4000) ** 3
        held_out = rng.random(4000) ** 0.2, rng.random(4000) ** 3
        costs = []
        for fit in FITS:
            fitted = fit(genuine, impostor)
            costs.append(metrics.cllr(*(fitted.log_likelihood_ratio(scores) for scores in held_out)))
        assert costs[1] < costs[0] < 1

    def test_a_million_pairs_are_quick(self) -> None:
        genuine, impostor = drawn(genuine=20_000, impostor=1_000_000)
        fitted = metrics.fit_isotonic(genuine, impostor)
        assert len(fitted.knots) < 2000
        assert fitted.log_likelihood_ratio([0.3])[0] == pytest.approx(0, abs=0.6)


@pytest.mark.parametrize("fit", FITS)
class TestBothMaps:
    @settings(max_examples=30, deadline=None)
    @given(genuine=SCORES, impostor=SCORES)
    @example(genuine=[-3 / 7, -6 / 7, -6 / 7], impostor=[-5 / 7])  # equal means: the slope is rounding alone
    def test_never_falling_and_never_certain(self, fit: Any, genuine: list[float], impostor: list[float]) -> None:
        fitted = fit(*sorted((genuine, impostor), key=np.mean, reverse=True))
        shares = fitted.probability(np.linspace(-1, 1, 101))
        assert (np.diff(shares) >= 0).all()
        assert (shares > 0).all()
        assert (shares < 1).all()

    def test_prior_shifts_the_log_odds(self, fit: Any) -> None:
        fitted = fit(*drawn(), prior=0.2)
        half = fitted.probability([0.3, 0.35], prior=0.5)
        odds = half / (1 - half) * 0.2 / 0.8
        np.testing.assert_allclose(fitted.probability([0.3, 0.35]), odds / (1 + odds))

    def test_calibrated_on_pairs_it_has_not_seen(self, fit: Any) -> None:
        fitted = fit(*drawn(0))
        genuine, impostor = drawn(1, genuine=9000, impostor=1000)  # another share of genuine pairs
        scores, same = np.concatenate([genuine, impostor]), np.repeat([True, False], [9000, 1000])
        right, wrong = (fitted.probability(scores, prior=prior) for prior in (0.9, 0.2))
        assert metrics.calibration_error(right, same) < 0.01
        assert metrics.log_loss(right, same) < metrics.log_loss(wrong, same)
        assert metrics.brier(right, same) < metrics.brier(wrong, same)

    def test_plain_json_there_and_back(self, fit: Any) -> None:
        fitted = fit(*drawn(genuine=60, impostor=90), prior=np.float64(0.1))
        again = metrics.probability_map(json.loads(json.dumps(fitted.as_dict(), allow_nan=False)))
        assert again == fitted
        assert (again.prior, again.genuine, again.impostor) == (0.1, 60, 90)
        np.testing.assert_array_equal(again.probability([0.1, 0.3]), fitted.probability([0.1, 0.3]))

    def test_bad_input_is_named(self, fit: Any) -> None:
        bad: list[tuple[tuple[Any, ...], str]] = [
            (([], [0.1]), "genuine is empty"),
            (([0.1], []), "impostor is empty"),
            (([0.1, math.nan], [0.1]), "genuine holds nan at row 1"),
            (([0.9], [math.inf]), "impostor holds inf at row 0"),
            (([0.9], [0.1], 0.0), "prior"),
            (([0.9], [0.1], math.nan), "prior"),
        ]
        for arguments, words in bad:
            with pytest.raises(DataError, match=words):
                fit(*arguments)
        for scores, prior in (([math.nan], None), ([0.1], 1.0)):
            with pytest.raises(DataError):
                fit([0.9], [0.1]).probability(scores, prior=prior)


def test_maps_that_are_none() -> None:
    good = metrics.fit_logistic([0.9], [0.1]).as_dict()
    bent = metrics.fit_isotonic([0.9, 0.7], [0.1, 0.2]).as_dict()
    bad = [
        ({}, "unknown kind"),
        ({**good, "kind": "spline"}, "unknown kind"),
        ({**good, "slope": -1.0}, "finite slope"),
        ({**good, "slope": "steep"}, "not a logistic map"),
        ({**good, "knots": [1.0]}, "not a logistic map"),
        ({key: value for key, value in good.items() if key != "offset"}, "not a logistic map"),
        ({**good, "prior": 1.0}, "prior"),
        ({**bent, "knots": bent["knots"][::-1]}, "knots rising"),
        ({**bent, "ratios": bent["ratios"][:-1]}, "as many ratios"),
    ]
    for plain, words in bad:
        with pytest.raises(DataError, match=words):
            metrics.probability_map(plain)


def loop_calibration_error(shares: list[float], same: list[bool], bins: int) -> float:
    error = 0.0
    for row in range(bins):
        held = [(p, s) for p, s in zip(shares, same, strict=True) if min(int(p * bins), bins - 1) == row]
        if held:
            gap = abs(sum(p for p, _ in held) / len(held) - sum(s for _, s in held) / len(held))
            error += gap * len(held) / len(shares)
    return error


JUDGED = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30)


class TestScoringRules:
    @given(JUDGED, st.integers(1, 20))
    def test_equal_plain_loops(self, judged: list[tuple[float, bool]], bins: int) -> None:
        shares, same = (list(column) for column in zip(*judged, strict=True))
        assert metrics.calibration_error(shares, same, bins) == pytest.approx(
            loop_calibration_error(shares, same, bins), abs=1e-12
        )
        assert metrics.brier(shares, same) == pytest.approx(np.mean([(p - s) ** 2 for p, s in judged]))
        right = [p if s else 1 - p for p, s in judged]
        expected = math.inf if min(right) == 0 else -sum(map(math.log, right)) / len(right)
        assert metrics.log_loss(shares, same) == pytest.approx(expected, abs=1e-12)

    def test_equal_scikit_learn(self) -> None:
        ranking = pytest.importorskip("sklearn.metrics")
        rng = np.random.default_rng(0)
        shares = rng.random(500)
        same = rng.random(500) < shares
        assert metrics.log_loss(shares, same) == pytest.approx(ranking.log_loss(same, shares))
        assert metrics.brier(shares, same) == pytest.approx(ranking.brier_score_loss(same, shares))

    def test_cllr_of_the_true_ratio_is_the_best(self) -> None:
        genuine, impostor = drawn()

        def cost(slope: float, offset: float) -> float:
            return metrics.cllr(slope * genuine + offset, slope * impostor + offset)

        best = cost(25, -7.5)
        assert best < min(cost(15, -7.5), cost(40, -7.5), cost(25, -5), cost(25, -10))
        assert cost(-25, 7.5) > 1
        assert metrics.cllr([1000.0], [-1000.0]) == 0.0
        assert metrics.cllr([-1000.0], [-1000.0]) == pytest.approx(500 / math.log(2))  # no overflow

    @pytest.mark.parametrize("rule", [metrics.log_loss, metrics.brier, metrics.calibration_error])
    def test_bad_input_is_named(self, rule: Any) -> None:
        bad = [
            (([], []), "probability is empty"),
            (([1.2], [True]), "in 0..1"),
            (([-0.1], [True]), "in 0..1"),
            (([math.nan], [True]), "nan"),
            (([0.5], [True, False]), "same should have shape"),
            (([0.5], [3]), "expected 0 or 1"),
        ]
        for arguments, words in bad:
            with pytest.raises(DataError, match=words):
                rule(*arguments)

    def test_no_bins_and_infinite_ratios(self) -> None:
        with pytest.raises(DataError, match="bins"):
            metrics.calibration_error([0.5], [True], bins=0)
        with pytest.raises(DataError, match="genuine holds inf"):
            metrics.cllr([math.inf], [0.0])
