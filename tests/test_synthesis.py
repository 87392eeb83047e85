"""Synthesis: people who do not exist keep away from those who do; arcs of the sphere by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperarc.errors import DataError
from hyperarc.geometry import unit
from hyperarc.inversion.synthesis import arc, nearest_arcs, new_targets, turned


def people(count: int = 60, dimension: int = 24, seed: int = 0) -> Tensor:
    return unit(torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed)))


def degrees(a: Tensor, b: Tensor) -> Tensor:
    return torch.rad2deg((unit(a.double()) @ unit(b.double()).T).clamp(-1, 1).arccos())


# ---- people who do not exist


def test_new_people_keep_their_distance() -> None:
    centers = people() * torch.linspace(0.5, 3, 60)[:, None]  # lengths do not matter
    found = new_targets(centers, 40, least_arc_deg=55, seed=1)
    vectors = torch.from_numpy(found.vectors)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(40))
    arcs, nearest = degrees(vectors, centers).min(dim=1)
    np.testing.assert_allclose(found.arcs_deg, arcs.numpy(), atol=1e-4)
    assert found.nearest.tolist() == nearest.tolist()
    assert found.arcs_deg.min() >= 55
    among = degrees(vectors, vectors).fill_diagonal_(180)
    assert float(among.min()) >= 55 - 1e-4


def test_the_least_arc_comes_from_the_data() -> None:
    centers = people(21)
    among = degrees(centers, centers).fill_diagonal_(180).min(dim=1).values
    assert new_targets(centers, 1).least_arc_deg == pytest.approx(float(among.quantile(0.05)), abs=1e-5)


def test_sub_centers_of_one_person_are_no_neighbors() -> None:
    ours = people(21)
    doubled = torch.stack([ours, ours], dim=1)  # both sub-centers of a person in one place
    one, two = new_targets(ours, 5, seed=3), new_targets(doubled, 5, seed=3)
    assert two.least_arc_deg == pytest.approx(one.least_arc_deg)
    np.testing.assert_allclose(two.vectors, one.vectors, atol=1e-6)
    assert two.nearest.tolist() == one.nearest.tolist()
    apart = torch.stack([ours, people(21, seed=9)], dim=1)
    found = new_targets(apart, 8, least_arc_deg=50)
    assert degrees(torch.from_numpy(found.vectors), apart.flatten(0, 1)).min() >= 50 - 1e-4


def test_they_are_spread_as_people_are() -> None:
    # people lie in the first 4 of 12 dimensions, on one side of the sphere
    flat = torch.zeros(500, 12)
    flat[:, :4] = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) + torch.tensor([2.0, 0, 0, 0])
    vectors = torch.from_numpy(new_targets(flat, 1000, least_arc_deg=0).vectors)
    assert vectors[:, 4:].abs().max() < 1e-5
    torch.testing.assert_close(vectors.mean(dim=0), unit(flat).mean(dim=0), atol=0.08, rtol=0)


def test_more_people_begin_with_the_same() -> None:
    few, many = (new_targets(people(), count, least_arc_deg=50, seed=7) for count in (4, 30))
    np.testing.assert_array_equal(few.vectors, many.vectors[:4])
    assert not np.array_equal(few.vectors, new_targets(people(), 4, least_arc_deg=50, seed=8).vectors)


def test_a_full_sphere_is_told() -> None:
    with pytest.raises(DataError, match=r"too full: \d of 50 new people found room 80.0 degrees from the 6 people"):
        new_targets(torch.eye(6), 50, least_arc_deg=80)


@pytest.mark.parametrize(
    ("centers", "count", "least", "message"),
    [
        (torch.eye(3)[0], 1, None, r"expected centers \[C, d\] or \[C, K, d\] of at least two people, got \[3\]"),
        (torch.eye(3)[:1], 1, None, r"at least two people, got \[1, 1, 3\]"),
        (torch.zeros(2, 3), 1, None, "a center is zero, NaN or infinite"),
        (torch.full((2, 3), math.nan), 1, None, "a center is zero, NaN or infinite"),
        (torch.eye(3), 0, None, "expected at least one new person and an arc in 0..180, got 0"),
        (torch.eye(3), 1, 180.0, "an arc in 0..180, got 1 and 180"),
    ],
)
def test_what_cannot_be_drawn_from(centers: Tensor, count: int, least: float | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        new_targets(centers, count, least)


# ---- arcs


def test_an_arc_has_equal_steps() -> None:
    a, b = people(2, 64) * 5
    points = arc(a, b, 9)
    torch.testing.assert_close(points.norm(dim=1), torch.ones(9))
    torch.testing.assert_close(points[[0, -1]], unit(torch.stack([a, b])))
    steps = degrees(points[:-1], points[1:]).diagonal()
    whole = float(degrees(a[None], b[None]))
    torch.testing.assert_close(steps, torch.full((8,), whole / 8, dtype=torch.float64), atol=1e-3, rtol=0)


def test_arcs_of_nearly_equal_and_nearly_opposite_points() -> None:
    a = torch.eye(3)[0]
    assert torch.equal(arc(a, a, 4), a.expand(4, 3))
    near = arc([1.0, 0, 0], [1.0, 1e-5, 0], 3)
    assert near[1, 1].item() == pytest.approx(5e-6, rel=1e-4)
    far = arc([1.0, 0, 0], [-1.0, 1e-3, 0], 3)
    torch.testing.assert_close(far[1], torch.tensor([0.0, 1.0, 0.0]), atol=1e-3, rtol=0)
    with pytest.raises(DataError, match="opposite points, with no shortest arc"):
        arc([1.0, 0, 0], [-2.0, 0, 0], 3)


@pytest.mark.parametrize(
    ("start", "end", "steps", "message"),
    [
        ([1.0, 0.0], [1.0, 0.0, 0.0], 3, r"expected two targets \[d\] .*, got \[\[2\], \[3\]\] and 3"),
        ([1.0, 0.0], [0.0, 1.0], 1, "at least 2 steps"),
        ([0.0, 0.0], [0.0, 1.0], 3, "one end of the arc is zero, NaN or infinite"),
        ([math.nan, 0.0], [0.0, 1.0], 3, "one end of the arc is zero, NaN or infinite"),
    ],
)
def test_no_arcs(start: list[float], end: list[float], steps: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        arc(start, end, steps)


@pytest.mark.parametrize("angle_deg", [0.0, 10.0, 90.0, 180.0])
def test_turned_by_the_very_angle(angle_deg: float) -> None:
    vectors = people(20, 32) * 3
    away = turned(vectors, angle_deg, seed=4)
    wanted = torch.full((20,), angle_deg, dtype=torch.float64)
    torch.testing.assert_close(degrees(vectors, away).diagonal(), wanted, atol=0.03, rtol=0)
    assert torch.equal(away, turned(vectors, angle_deg, seed=4))
    with pytest.raises(DataError, match=r"an angle in 0..180, got .* and 181"):
        turned(vectors, 181)


def test_nearest_arcs_by_hand() -> None:
    centers = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[-3.0, 0.0], [-1.0, 0.0]]])
    angles = torch.deg2rad(torch.tensor([10.0, 80.0, 150.0]))
    degrees_found, owners = nearest_arcs(torch.stack([angles.cos(), angles.sin()], dim=1) * 4, centers)
    np.testing.assert_allclose(degrees_found, [10, 10, 30], atol=1e-4)
    assert owners.tolist() == [0, 0, 1]
    with pytest.raises(DataError, match=r"expected vectors \[N, 2\] as the centers, got \[1, 3\]"):
        nearest_arcs([[1.0, 0.0, 0.0]], centers)
