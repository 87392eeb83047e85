"""Identification and ranked lists: equal to plain loops and to the released script; ties never help."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperarc import metrics
from hyperarc.errors import DataError
from hyperarc.metrics import searches as searches_file

SEEDS = st.integers(0, 10**6)


def drawn(seed: int, probes: int = 25, gallery: int = 12) -> tuple[Any, Any, Any, Any]:
    """Probes, gallery and labels: five directions (many tied cosines), people with several entries, or none."""
    rng = np.random.default_rng(seed)
    points = np.stack([np.arange(-2.0, 3.0), np.ones(5)], axis=1)
    p, g = points[rng.integers(0, 5, probes)], points[rng.integers(0, 5, gallery)]
    return p, g, rng.integers(0, 9, probes), rng.integers(0, 6, gallery)


def loop_search(p: Any, g: Any, p_labels: Any, g_labels: Any) -> list[tuple[float, float, int]]:
    """(best mate, best other, rank) of each probe, entry by entry, on cosines rounded to hold ties together."""
    found = []
    for vector, label in zip(p, p_labels, strict=True):
        cosines = [round(float(vector @ w / np.linalg.norm(vector) / np.linalg.norm(w)), 9) for w in g]
        mates = [c for c, other in zip(cosines, g_labels, strict=True) if other == label]
        others = [c for c, other in zip(cosines, g_labels, strict=True) if other != label]
        best = max(mates, default=-math.inf)
        rank = 1 + sum(c >= best for c in others) if mates else 0
        found.append((best, max(others, default=-math.inf), rank))
    return found


def tied(found: metrics.Searches) -> list[tuple[float, float, int]]:
    """What :func:`loop_search` holds, of the fast search."""
    columns = found.mate.round(9).tolist(), found.other.round(9).tolist(), found.rank.tolist()
    return list(zip(*columns, strict=True))


class TestSearch:
    @settings(max_examples=30, deadline=None)
    @given(SEEDS)
    def test_equals_plain_loops(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        p, g = rng.normal(size=(25, 4)), rng.normal(size=(12, 4))
        labels = rng.integers(0, 9, 25), rng.integers(0, 6, 12)
        assert tied(metrics.search_gallery(p, g, *labels)) == loop_search(p, g, *labels)

    def test_ties_count_against_the_mate(self) -> None:
        same = np.ones((3, 2))
        found = metrics.search_gallery(same, same, [0, 1, 2], [0, 1, 2])
        assert found.rank.tolist() == [3, 3, 3]
        assert metrics.cmc(found, [1, 2, 3]).tolist() == [0.0, 0.0, 1.0]

    @settings(max_examples=20, deadline=None)
    @given(SEEDS)
    def test_order_of_the_gallery_does_not_matter(self, seed: int) -> None:
        p, g, p_labels, g_labels = drawn(seed)
        shuffled = np.random.default_rng(seed).permutation(len(g))
        found = metrics.search_gallery(p, g, p_labels, g_labels)
        again = metrics.search_gallery(p, g[shuffled], p_labels, g_labels[shuffled])
        for name in ("mate", "other", "rank"):
            np.testing.assert_array_equal(getattr(found, name), getattr(again, name))

    def test_blocks_agree(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rng = np.random.default_rng(0)
        p, g, labels = rng.normal(size=(70, 8)), rng.normal(size=(30, 8)), np.arange(70) % 30
        whole = metrics.search_gallery(p, g, labels, np.arange(30))
        script = metrics.insightface_tpir(p, g, labels, np.arange(30))
        monkeypatch.setattr(searches_file, "COSINES_AT_A_TIME", 100)
        assert tied(metrics.search_gallery(p, g, labels, np.arange(30))) == tied(whole)
        for one, other in zip(metrics.insightface_tpir(p, g, labels, np.arange(30)), script, strict=True):
            assert (one.tpir, one.threshold) == pytest.approx((other.tpir, other.threshold))

    def test_rank_1_agrees_with_rank1_where_everybody_has_a_mate(self) -> None:
        rng = np.random.default_rng(3)
        p, g, labels = rng.normal(size=(50, 8)), rng.normal(size=(20, 8)), rng.integers(0, 20, 50)
        names = np.array([f"person {label}" for label in range(20)])
        found = metrics.search_gallery(p, g, names[labels], names)
        assert metrics.cmc(found, 1)[0] == metrics.rank1(p, g, labels, np.arange(20))

    def test_cmc_rises_to_one(self) -> None:
        found = metrics.search_gallery(*drawn(1))
        curve = metrics.cmc(found, range(1, 13))
        assert (np.diff(curve) >= 0).all()
        assert curve[-1] == 1.0

    def test_bad_sides_are_named(self) -> None:
        eye, zero, hole = np.eye(3), np.eye(3), np.eye(3)
        zero[1], hole[2, 0] = 0.0, np.nan
        bad = [
            ((eye, np.eye(4), [0, 1, 2], [0, 1, 2, 3]), "dimension 3"),
            ((eye, eye, [0, 1], [0, 1, 2]), "probe_labels"),
            ((eye, zero, [0, 1, 2], [0, 1, 2]), "gallery is a zero vector in row 1"),
            ((hole, eye, [0, 1, 2], [0, 1, 2]), "probes holds a NaN or infinity in row 2"),
            ((eye, eye, ["a", "b", "c"], [0, 1, 2]), "one kind of label"),
            ((np.empty((0, 3)), eye, [], [0, 1, 2]), "at least one face"),
        ]
        for arguments, words in bad:
            with pytest.raises(DataError, match=words):
                metrics.search_gallery(*arguments)
            with pytest.raises(DataError, match=words):
                metrics.insightface_tpir(*arguments)

    def test_searches_that_contradict_themselves(self) -> None:
        one, two = np.ones(1), np.ones(2)
        with pytest.raises(DataError, match="one length"):
            metrics.Searches(one, two, np.ones(2, dtype=np.int64))
        with pytest.raises(DataError, match="NaN"):
            metrics.Searches(one * np.nan, one, np.ones(1, dtype=np.int64))
        with pytest.raises(DataError, match="exactly where"):
            metrics.Searches(one, one, np.zeros(1, dtype=np.int64))


class TestOpenSet:
    @settings(max_examples=30, deadline=None)
    @given(SEEDS, st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]), st.integers(1, 4))
    def test_equals_plain_loops(self, seed: int, fpir: float, rank: int) -> None:
        rng = np.random.default_rng(seed)
        # scores on a coarse grid, so that mates and strangers tie
        mated = [(float(rng.integers(0, 9)) / 8, int(rng.integers(1, 6))) for _ in range(20)]
        strangers = [float(rng.integers(0, 9)) / 8 for _ in range(15)]
        found = metrics.Searches(
            np.array([score for score, _ in mated] + [-np.inf] * 15),
            np.array([0.0] * 20 + strangers),
            np.array([place for _, place in mated] + [0] * 15),
        )
        best = 0.0
        for threshold in [math.inf, *strangers, *(score for score, _ in mated)]:
            if sum(score >= threshold for score in strangers) / 15 <= fpir:
                best = max(best, sum(score >= threshold and place <= rank for score, place in mated) / 20)
        result = metrics.tpir_at_fpir(found, fpir, rank)
        assert result.tpir == best
        assert result.measured_fpir <= fpir
        hits = [score >= result.threshold and place <= rank for score, place in mated]
        assert sum(hits) / 20 == best
        assert (result.mated, result.non_mated) == (20, 15)

    def test_a_better_score_behind_another_person_is_no_hit(self) -> None:
        found = metrics.Searches(np.array([0.9, -np.inf]), np.array([0.95, 0.1]), np.array([2, 0]))
        assert metrics.tpir_at_fpir(found, 0.0).tpir == 0.0
        assert metrics.tpir_at_fpir(found, 0.0, rank=2).tpir == 1.0

    def test_one_class_is_an_error(self) -> None:
        mates = metrics.Searches(np.ones(2), np.zeros(2), np.ones(2, dtype=np.int64))
        strangers = metrics.Searches(np.full(2, -np.inf), np.zeros(2), np.zeros(2, dtype=np.int64))
        with pytest.raises(DataError, match="every probe has a mate"):
            metrics.tpir_at_fpir(mates, 0.1)
        for measure in (lambda: metrics.tpir_at_fpir(strangers, 0.1), lambda: metrics.cmc(strangers)):
            with pytest.raises(DataError, match="no probe has a mate"):
                measure()
        for rank in (0, -1):
            with pytest.raises(DataError, match="rank"):
                metrics.tpir_at_fpir(mates, 0.1, rank)
        with pytest.raises(DataError, match="ranks"):
            metrics.cmc(mates, [0, 1])
        with pytest.raises(DataError, match="ranks"):
            metrics.cmc(mates, [1.5])


class TestInsightFaceScript:
    def test_equals_the_released_script(self, shared: Path) -> None:
        case = np.load(shared / "golden" / "ijb1n.npz")
        sides = (case["probe_feats"], case["gallery_feats"], case["probe_subjects"], case["gallery_subjects"])
        found = metrics.search_gallery(*sides)
        np.testing.assert_array_equal(metrics.cmc(found), case["top1_top5_top10"])
        points = metrics.insightface_tpir(*sides, fars=case["far_tpir_threshold"][:, 0])
        rows = [(point.far, point.tpir, point.threshold) for point in points]
        np.testing.assert_allclose(rows, case["far_tpir_threshold"], rtol=0, atol=1e-9)  # printed with ten digits

    def test_sets_it_does_not_know(self) -> None:
        eye = np.eye(3)
        bad = [
            ((eye, eye, [0, 1, 5], [0, 1, 2]), "probe 2 has 0 mates"),
            ((eye, eye, [0, 1, 1], [0, 1, 1]), "probe 1 has 2 mates"),
            ((eye, eye, [0, 1, 2], [0, 1, 2], [3.0]), "fars"),
            ((eye, eye, [0, 1, 2], [0, 1, 2], [0.0]), "fars"),
            ((eye, eye, [0, 1, 2], [0, 1, 2], []), "fars"),
            ((eye, eye, [0, 1, 2], [0, 1, 2], [math.nan]), "fars"),
        ]
        for arguments, words in bad:
            with pytest.raises(DataError, match=words):
                metrics.insightface_tpir(*arguments)


def loop_average_precision(scores: list[float], relevant: list[bool], k: int) -> float:
    ranked = sorted(zip(scores, relevant, strict=True), key=lambda item: (-item[0], item[1]))
    hits, total = 0, 0.0
    for place, (_, wanted) in enumerate(ranked[:k], start=1):
        hits += wanted
        total += wanted * hits / place
    return total / min(sum(relevant), k)


LISTS = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40).filter(
    lambda items: any(wanted for _, wanted in items)
)


class TestAveragePrecision:
    @given(LISTS, st.integers(1, 45), st.randoms(use_true_random=False))
    def test_equals_plain_loops_in_any_order(self, items: list[tuple[int, bool]], k: int, random: Any) -> None:
        scores, relevant = zip(*items, strict=True)
        expected = loop_average_precision(list(scores), list(relevant), k)
        assert metrics.average_precision(scores, relevant, k) == pytest.approx(expected, rel=1e-12)
        random.shuffle(items)
        scores, relevant = zip(*items, strict=True)
        assert metrics.average_precision(np.exp(scores), relevant, k) == pytest.approx(expected, rel=1e-12)

    def test_perfect_and_worst_lists(self) -> None:
        scores, wanted = -np.arange(300.0), np.arange(300) < 150
        assert metrics.average_precision(scores, wanted) == 1.0
        assert metrics.average_precision(-scores, wanted) == 0.0
        assert metrics.average_precision(np.zeros(300), wanted) == 0.0

    def test_whole_list_equals_scikit_learn(self) -> None:
        ranking = pytest.importorskip("sklearn.metrics")
        rng = np.random.default_rng(0)
        scores, wanted = rng.normal(size=200), rng.random(200) < 0.2
        expected = ranking.average_precision_score(wanted, scores)
        assert metrics.average_precision(scores, wanted, k=200) == pytest.approx(expected)

    def test_mean_over_queries(self) -> None:
        rng = np.random.default_rng(0)
        scores, wanted = rng.normal(size=(5, 200)), rng.random((5, 200)) < 0.2
        rows = [metrics.average_precision(s, w, 20) for s, w in zip(scores, wanted, strict=True)]
        assert metrics.mean_average_precision(scores, wanted, 20) == pytest.approx(np.mean(rows))

    @pytest.mark.parametrize(
        ("scores", "relevant", "k", "words"),
        [
            ([[0.1, 0.2], [0.3, 0.4]], [[True, False], [False, False]], 1, "query 1: no item is relevant"),
            ([[0.1, math.nan]], [[True, False]], 1, "query 0: scores holds nan at row 1"),
            ([[0.1, 0.2]], [[True]], 1, "queries, items"),
            ([[0.1, 0.2]], [[True, False]], 0, "k should be"),
            (np.empty((0, 3)), np.empty((0, 3)), 1, "queries, items"),
        ],
    )
    def test_bad_lists_are_named(self, scores: Any, relevant: Any, k: int, words: str) -> None:
        with pytest.raises(DataError, match=words):
            metrics.mean_average_precision(scores, relevant, k)
