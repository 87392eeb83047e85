"""Template protection: laws of each kind, the attack by known pairs, and what leaks or stays useful, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hyperarc.errors import DataError, UsageError
from hyperarc.inversion.leakage import Photos, leakage, share_of, usefulness
from hyperarc.inversion.protection import Noise, Plain, Protection, Rotation, Signs, Truncation, recover_rotation
from hyperarc.metrics import clopper_pearson

KEY, OTHER = b"0123456789abcdef", b"fedcba9876543210"


def faces(people: int = 40, each: int = 4, dimension: int = 64) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Templates of people who are well apart, of all lengths, and labels."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(people, 1, dimension))
    found = (centers + 0.5 * rng.normal(size=(people, each, dimension))) * rng.uniform(0.5, 20, (people, each, 1))
    return found.reshape(-1, dimension).astype(np.float32), np.repeat(np.arange(people), each)


def cosines(templates: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return templates.astype(np.float64) @ templates.T.astype(np.float64)


# ---- kinds


@pytest.mark.parametrize("protection", [Plain(), Rotation(KEY), Signs(), Noise(30), Truncation(16)])
def test_laws_of_every_kind(protection: Protection) -> None:
    templates, _ = faces()
    stored = protection(templates)
    assert stored.dtype == np.float32
    assert stored.shape == templates.shape
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(stored, protection(templates))  # whoever comes again is found
    np.testing.assert_allclose(stored, protection(templates * 3), atol=1e-6)  # lengths tell nothing
    for bad in (np.full((2, 64), np.nan), np.zeros((2, 64)), np.zeros(64)):
        with pytest.raises(DataError):
            protection(bad)


def test_a_rotation_keeps_cosines_and_hides_templates() -> None:
    templates, _ = faces(dimension=256)
    plain, stored, again = Plain()(templates), Rotation(KEY)(templates), Rotation(OTHER)(templates)
    np.testing.assert_allclose(cosines(stored), cosines(plain), atol=1e-6)
    for one, two in ((plain, stored), (stored, again)):  # a template and itself, as if of two random directions
        own = np.einsum("nd,nd->n", one, two)
        assert abs(own.mean()) < 4 / math.sqrt(256 * len(own))
        assert own.std() == pytest.approx(1 / math.sqrt(256), rel=0.25)
    matrix = Rotation(KEY).matrix(64)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(64), atol=1e-12)


def test_a_key_gives_the_same_rotation_for_ever() -> None:
    # computed once with the same formulas: a stored gallery is worth nothing when these change
    expected = [0.36787361818789654, 0.5072481198229405, -0.7793384027349335]
    np.testing.assert_allclose(Rotation(KEY).matrix(3)[0], expected, atol=1e-12)
    assert "0123" not in repr(Rotation(KEY))
    with pytest.raises(UsageError, match="expected a key of at least 8 bytes, got 5"):
        Rotation(b"short")


def test_rotations_favor_no_direction() -> None:
    matrices = [Rotation(b"key %6d" % number).matrix(64) for number in range(6)]
    traces = [np.trace(matrix) for matrix in matrices]  # mean 0, std 1; QR as it comes turns them all one way
    assert abs(np.mean(traces)) < 3 / math.sqrt(6)
    assert 0.4 < np.mean([np.diagonal(matrix) > 0 for matrix in matrices]) < 0.6
    assert np.std(matrices) == pytest.approx(1 / 8, rel=1e-2)


def test_known_pairs_undo_a_rotation() -> None:
    templates, _ = faces(people=60, each=2, dimension=32)
    stored, plain = Rotation(KEY)(templates), Plain()(templates)
    exact = stored[32:] @ recover_rotation(templates[:32], stored[:32])
    np.testing.assert_allclose(exact, plain[32:], atol=1e-4)
    partly = stored[32:] @ recover_rotation(templates[:8], stored[:8])
    reached = np.einsum("nd,nd->n", partly, plain[32:])
    assert 0.1 < reached.mean() < 0.7
    with pytest.raises(DataError, match=r"as many plain as stored templates, got \[8, 32\] and \[7, 32\]"):
        recover_rotation(templates[:8], stored[:7])


def test_signs_noise_and_truncation_by_hand() -> None:
    templates, _ = faces(dimension=512)
    plain = Plain()(templates)
    # of a normal vector: E |x| / sqrt(E x^2) = sqrt(2 / pi)
    assert np.einsum("nd,nd->n", plain, Signs()(templates)).mean() == pytest.approx(math.sqrt(2 / math.pi), abs=0.01)
    turned = np.einsum("nd,nd->n", plain, Noise(30)(templates))
    np.testing.assert_allclose(turned, math.cos(math.radians(30)), atol=1e-5)
    cut = Truncation(128)(templates)
    assert not cut[:, 128:].any()
    assert np.einsum("nd,nd->n", plain, cut).mean() == pytest.approx(0.5, abs=0.02)
    with pytest.raises(DataError, match="at least 600 values"):
        Truncation(600)(templates)


# ---- what leaks


def test_leakage_by_hand() -> None:
    angles = np.radians([0, 20, 40, 90, 100, 180])
    photos = Photos(np.stack([np.cos(angles), np.sin(angles)], axis=1), ["a", "a", "a", "b", "b", "c"])
    found = leakage([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], photos, [0, 3, 5], threshold=math.cos(math.radians(30)))
    assert (found.same_photo.accepted, found.same_photo.pairs) == (2, 3)
    # a: the photo at 20 degrees and not that at 40; b: that at 10; c has no other photo
    assert found.other_photos is not None
    assert (found.other_photos.accepted, found.other_photos.pairs) == (2, 3)
    np.testing.assert_allclose(found.cosines, [1, 1, -1], atol=1e-12)
    assert found.as_dict()["same_photo"]["share"] == pytest.approx(2 / 3)
    single = leakage([[1.0, 0.0], [0.0, 1.0]], Photos([[1.0, 0.0], [0.0, 1.0]], [7, 8]), [0, 1], threshold=0.5)
    assert single.other_photos is None
    with pytest.raises(DataError, match="expected a row of 6 labelled photos for each of 1 inverted"):
        leakage([[1.0, 0.0]], photos, [6], threshold=0.5)


def test_shares_count_people() -> None:
    one_each = share_of([True] * 6 + [False] * 4, np.arange(10))
    low, high = clopper_pearson(5.4, 9)  # the spread of ten people is known as from nine
    assert (one_each.low, one_each.high) == pytest.approx((float(low), float(high)))
    many = share_of(np.repeat([True] * 6 + [False] * 4, 50), np.repeat(np.arange(10), 50))
    assert many.share == one_each.share
    assert many.high - many.low > 0.9 * (one_each.high - one_each.low)  # 500 pairs are ten people still
    assert share_of([True, True], [1, 2]).high == 1


# ---- what stays useful


def test_what_each_kind_keeps() -> None:
    templates, labels = faces(people=60, each=4)
    plain = usefulness(templates, labels)
    assert plain.tar.share > 0.99
    assert (plain.tar.pairs, plain.impostor_pairs, plain.far) == (60 * 6, 240 * 239 // 2 - 360, 1e-3)
    rotated = usefulness(Rotation(KEY)(templates), labels)
    assert rotated.tar.share == plain.tar.share
    assert rotated.eer == pytest.approx(plain.eer, abs=1e-4)
    assert usefulness(Noise(60)(templates), labels).tar.share < usefulness(Noise(30)(templates), labels).tar.share
    assert usefulness(Truncation(8)(templates), labels).tar.share < plain.tar.share
    assert plain.as_dict()["tar"]["pairs"] == 360


def test_two_keys_cannot_be_linked() -> None:
    templates, labels = faces(people=60, each=4)
    linked = usefulness(Rotation(KEY)(templates), labels, Rotation(OTHER)(templates))
    assert linked.tar.share < 0.02
    assert linked.eer == pytest.approx(0.5, abs=0.06)
    assert usefulness(Signs()(templates), labels, Signs()(templates)).tar.share > 0.9


def test_nobody_to_verify() -> None:
    for labels in ([0, 1, 2], [0, 0, 0]):
        with pytest.raises(DataError, match="at least two people, and one with two faces"):
            usefulness(np.eye(3), labels)
