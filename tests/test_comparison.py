"""Intervals of judged pairs, and which of several models is best: told only where it can be told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hyperarc.errors import DataError
from hyperarc.metrics import clopper_pearson, effective_trials
from hyperarc.protocols.comparison import rank_models
from hyperarc.protocols.line_pairs import read_line_pairs
from hyperarc.protocols.pair_intervals import share_interval
from hyperarc.protocols.pairs import Pairs, PairsResult, evaluate_pairs
from hyperarc.protocols.result import Measured, Number, Resampled

PEOPLE, EACH = 60, 5


def listed(people: bool = True) -> Pairs:
    """300 genuine and 300 impostor pairs of 60 people, in ten folds of six people."""
    first, second, same, folds = [], [], [], []
    for person in range(PEOPLE):
        other = person // 6 * 6 + (person + 1) % 6
        for face in range(EACH):
            first += [f"p{person:02d}/{face}"] * 2
            second += [f"p{person:02d}/{(face + 1) % EACH}", f"p{other:02d}/{face}"]
            same += [True, False]
            folds += [person // 6] * 2
    if not people:
        first, second = ([f"all/{key.replace('/', '-')}" for key in keys] for keys in (first, second))
    return Pairs("listed", first, second, same, folds)


def judged(pairs: Pairs, noise: float, seed: int = 0) -> PairsResult:
    """Some people are harder than others."""
    rng = np.random.default_rng(seed)
    centers, hard = rng.normal(size=(PEOPLE, 16)), rng.uniform(0.3, 2.0, PEOPLE)
    draws = np.random.default_rng(seed + 1).normal(size=(PEOPLE, EACH, 16))
    vectors = {}
    for key in pairs.faces():
        person, face = map(int, key.removeprefix("all/").removeprefix("p").replace("-", "/").split("/"))
        vectors[key] = centers[person] + noise * hard[person] * draws[person, face]
    return evaluate_pairs(pairs, vectors)


class TestIntervals:
    def test_people_are_the_unit(self) -> None:
        known, unknown = judged(listed(), 0.9), judged(listed(people=False), 0.9)
        assert known.accuracy == unknown.accuracy
        assert known.conditions["intervals"] == "95 %, people drawn again 1,000 times"
        assert unknown.conditions["intervals"] == (
            "95 %, people unknown: pairs taken as independent, drawn again 1,000 times"
        )
        for name in ("accuracy", "TAR at FAR 0.01", "EER"):
            (low, high), (narrow_low, narrow_high) = known.intervals[name], unknown.intervals[name]
            assert high - low > 1.3 * (narrow_high - narrow_low), name

    def test_the_wider_of_bootstrap_and_binomial(self) -> None:
        result, pairs = judged(listed(), 0.9), listed()
        assert pairs.people is not None
        point = result.tar_at_far[1]
        accepted = result.genuine >= point.threshold
        people = pairs.people[pairs.same][:, 0]
        worth = effective_trials(accepted, people)
        exact = clopper_pearson(accepted.mean() * worth, worth)
        low, high = np.quantile(result.resampled.values["TAR at FAR 0.01"], [0.025, 0.975])
        assert point.interval == pytest.approx((min(low, exact.low), max(high, exact.high)))
        assert point.interval == result.intervals["TAR at FAR 0.01"]
        assert share_interval(accepted, people) == pytest.approx([float(end) for end in exact])

    def test_without_errors_people_still_bound_the_rate(self) -> None:
        result = judged(listed(), 0.02)
        assert result.accuracy == 1.0
        low, high = result.intervals["accuracy"]
        assert high == 1.0
        assert 0.85 < low < 0.95  # as 30 trials, the most pairs of 60 people that share nobody
        assert "EER" not in result.intervals  # nothing to resample, no share of trials
        assert "AUC" not in result.intervals

    def test_unsupported_rates_have_none_and_are_not_compared(self) -> None:
        result = judged(listed(), 0.9)
        numbers = {number.name: number for number in result.numbers}
        assert numbers["TAR at FAR 0.001"].interval is None  # 300 impostor pairs
        assert numbers["TAR at FAR 0.001"].better == ""
        assert [number.name for number in result.telling] == ["accuracy", "TAR at FAR 0.01"]

    def test_same_pairs_same_intervals(self) -> None:
        one, other = judged(listed(), 0.9), judged(listed(), 0.9)
        assert one.intervals == other.intervals
        assert one.as_dict() == other.as_dict()

    def test_people_are_read_from_names(self, tmp_path: Any) -> None:
        rows = [f"Ann_{n}_000{k}.jpg 1" for n in range(10) for k in (1, 2)]
        rows += [f"{name}_{n}_0001.jpg 0" for n in range(10) for name in ("Bob", "Cy")]
        (tmp_path / "pairs_CALFW.txt").write_text("\n".join(rows))
        people = read_line_pairs(tmp_path / "pairs_CALFW.txt", "CALFW").people
        assert people is not None
        assert (people[:10, 0] == people[:10, 1]).all()
        assert len(np.unique(people)) == 30

    def test_folders_that_contradict_the_flags_are_no_people(self) -> None:
        assert Pairs("mine", ["a/1", "a/1"], ["b/2", "c/1"], [1, 0], 2).people is None
        assert Pairs("mine", ["0/first", "1/first"], ["0/second", "1/second"], [1, 0], 2).people is None


class TestRanking:
    def test_a_clear_winner(self) -> None:
        pairs = listed()
        ranked = {one.name: one for one in rank_models([judged(pairs, noise) for noise in (0.9, 0.4, 1.4)])}
        assert ranked["accuracy"].best == ranked["EER"].best == ranked["AUC"].best == (1,)
        assert ranked["accuracy"].level == ranked["EER"].level == ()
        assert ranked["accuracy"].basis == "resamples"
        assert (ranked["TAR at FAR 0.001"].best, ranked["TAR at FAR 0.001"].basis) == ((), "none")

    def test_what_models_share_cancels(self) -> None:
        """Their intervals overlap widely, and still every resample says which is better."""
        pairs = listed()
        ranked = rank_models([judged(pairs, noise) for noise in (0.6, 0.9)])[0]
        (low, _), (_, high) = (number.interval or (0.0, 0.0) for number in ranked.numbers)
        assert low < high
        assert (ranked.best, ranked.level) == ((0,), ())

    def test_hardly_different_models_are_level(self) -> None:
        pairs = listed()
        one, other = judged(pairs, 0.9), judged(pairs, 0.9 + 1e-3)
        for place, number in enumerate(rank_models([one, other])[:3]):
            assert sorted((*number.best, *number.level)) == [0, 1], place
        assert rank_models([one, one])[0].best == (0, 1)

    def test_by_plain_differences(self) -> None:
        """Six resamples of a thousand may favor the other; a seventh makes them level."""
        for against, level in ((4, ()), (6, (1,))):
            gain = np.ones(1000)
            gain[:against] = -1.0
            results = [
                Measured("x", (Number("n", value),), {}, resampled=Resampled("same", {"n": values}))
                for value, values in ((0.9, gain), (0.8, np.zeros(1000)))
            ]
            assert rank_models(results)[0].level == level

    def test_lower_errors_are_better(self) -> None:
        values = (0.2, 0.1, 0.115)
        numbers = [Number("FRR", one, interval=(one - 0.01, one + 0.01), better="lower") for one in values]
        ranked = rank_models([Measured("x", (number,), {}) for number in numbers])[0]
        assert (ranked.best, ranked.level, ranked.basis) == ((1,), (2,), "intervals")

    def test_numbers_without_intervals_are_ranked_and_said_to_be_so(self) -> None:
        ranked = rank_models([Measured("x", (Number("rank-1", value),), {}) for value in (0.2, 0.3)])[0]
        assert (ranked.best, ranked.level, ranked.basis) == ((1,), (), "none")

    def test_other_pairs_are_refused(self) -> None:
        results = [judged(pairs, 0.9) for pairs in (listed(), listed(people=False))]
        with pytest.raises(DataError, match="listed: the 2 models were judged by different pairs"):
            rank_models(results)
