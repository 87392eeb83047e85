"""Error-versus-reject curves: equal to turning pairs away level by level; what useless and wrong qualities give."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperarc import metrics
from hyperarc.errors import DataError

PAIRS = st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30)


def loop_error_reject(failed: list[bool], quality: list[int]) -> list[tuple[float, float, float]]:
    points = []
    for level in sorted(set(quality)):
        kept = [fails for fails, q in zip(failed, quality, strict=True) if q >= level]
        points.append((1 - len(kept) / len(failed), sum(kept) / len(kept), float(level)))
    return points


class TestErrorReject:
    @given(PAIRS, st.floats(0.05, 1.0))
    def test_equals_plain_loops(self, pairs: list[tuple[bool, int, int]], limit: float) -> None:
        failed, first, second = (list(column) for column in zip(*pairs, strict=True))
        scores = [0.1 if fails else 0.9 for fails in failed]
        curve = metrics.error_reject(scores, np.stack([first, second], axis=1), threshold=0.5)
        points = loop_error_reject(failed, [min(a, b) for a, b in zip(first, second, strict=True)])
        np.testing.assert_allclose(np.stack([curve.rejected, curve.fnmr, curve.quality], axis=1), points, atol=1e-12)
        fine = (np.arange(20_000) + 0.5) / 20_000 * limit
        heights = [curve.fnmr[np.searchsorted(curve.rejected, share, side="right") - 1] for share in fine[::20]]
        assert curve.area(limit) == pytest.approx(np.mean(heights) * limit, abs=0.01)

    @given(PAIRS)
    def test_monotone_maps_of_the_quality_do_not_matter(self, pairs: list[tuple[bool, int, int]]) -> None:
        failed, first, second = (np.array(column) for column in zip(*pairs, strict=True))
        scores, quality = np.where(failed, 0.1, 0.9), np.stack([first, second], axis=1)
        curve = metrics.error_reject(scores, quality, 0.5)
        mapped = metrics.error_reject(scores[::-1], np.exp(quality)[::-1], 0.5)
        np.testing.assert_array_equal(curve.rejected, mapped.rejected)
        np.testing.assert_array_equal(curve.fnmr, mapped.fnmr)

    def test_gain_tells_good_from_useless_from_misleading(self) -> None:
        rng = np.random.default_rng(0)
        scores = rng.random(4000)
        threshold = np.quantile(scores, 0.1)
        gains = [
            metrics.error_reject(scores, quality, threshold).gain()
            for quality in (scores, scores + rng.normal(size=4000), rng.random(4000), -scores)
        ]
        assert gains[0] == pytest.approx(1.0)
        assert 0.05 < gains[1] < 0.95
        assert abs(gains[2]) < 0.1
        assert gains[3] < -1.0

    def test_limits_cut_the_area(self) -> None:
        curve = metrics.error_reject([0.1, 0.9, 0.9, 0.9], [1, 2, 3, 4], 0.5)
        assert curve.area(0.1) == pytest.approx(0.025)
        assert curve.area(0.5) == pytest.approx(0.25 * 0.25)
        assert curve.gain(0.5) == 1.0

    @pytest.mark.parametrize(
        ("scores", "quality", "threshold", "words"),
        [
            ([], [], 0.5, "genuine is empty"),
            ([0.5], [[1.0], [2.0]], 0.5, "quality should have shape"),
            ([0.5, 0.6], [[1.0, 2.0], [1.0, math.nan]], 0.5, "quality holds nan"),
            ([0.5, math.inf], [1.0, 2.0], 0.5, "genuine holds inf at row 1"),
            ([0.5], [1.0], math.nan, "threshold is NaN"),
        ],
    )
    def test_bad_input_is_named(self, scores: Any, quality: Any, threshold: float, words: str) -> None:
        with pytest.raises(DataError, match=words):
            metrics.error_reject(scores, quality, threshold)

    def test_no_failure_has_no_gain(self) -> None:
        for threshold in (0.0, 1.0):
            with pytest.raises(DataError, match="no quality could change"):
                metrics.error_reject([0.5, 0.6], [1.0, 2.0], threshold).gain()
        with pytest.raises(DataError, match="limit"):
            metrics.error_reject([0.5], [1.0], 0.6).area(0.0)
