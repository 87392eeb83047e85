"""The fused sweep against the reference; run by test_fused_sweep.py, in Triton's interpreter or on a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import hyperarc
from hyperarc.heads.head import Head, create_head
from hyperarc.heads.sweep import (
    Plan,
    Precision,
    Skipped,
    Swept,
    UpdateInBackward,
    chunked_sweep,
    fused_launch,
    fused_sweep,
    reference_sweep,
)
from hyperarc.heads.sweep.fused import why_not_fused

DEVICE = "cpu" if fused_launch.INTERPRETED else "cuda"
BF16 = Precision(torch.bfloat16, torch.bfloat16)


@pytest.fixture(autouse=True)
def exact() -> None:
    torch.set_float32_matmul_precision("highest")


def drawn(rows: int, classes: int, dim: int, sub_centers: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Unit rows, centers and labels."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.nn.functional.normalize(torch.randn(rows, dim, generator=generator), dim=1)
    weight = torch.randn(classes, sub_centers, dim, generator=generator)
    labels = torch.randint(classes, (rows,), generator=generator)
    return vectors.to(DEVICE), weight.to(DEVICE), labels.to(DEVICE)


def swept(sweep: Any, batch: tuple[Tensor, Tensor, Tensor], plan: Plan) -> tuple[Swept, Tensor, Tensor]:
    """What the sweep answers, and the gradients of something that needs all of it."""
    rows, weight = (one.detach().clone().requires_grad_() for one in batch[:2])
    out = sweep(rows, weight, batch[2], plan)
    loss = torch.nn.functional.softplus(out.log_sum - plan.scale * out.target).mean()
    if out.nearest_k is not None:
        loss = loss + (out.nearest_k * torch.arange(1, 1 + out.nearest_k.shape[1], device=DEVICE)).sum()
    loss.backward()
    assert rows.grad is not None
    assert weight.grad is not None
    return out, rows.grad, weight.grad


def distance(one: Tensor, other: Tensor) -> float:
    return float((one.detach() - other.detach()).norm() / other.detach().norm())


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "foreign labels": {"foreign": True},
    "nearest three": {"top_k": 3},
    "centers of any length": {"normalize_centers": False},
    "large scale": {"scale": 500.0},
}


@pytest.mark.parametrize("sub_centers", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_the_reference(kind: str, sub_centers: int) -> None:
    """No size is a multiple of a tile; several runs and blocks."""
    rows, weight, labels = drawn(19, 50, 20, sub_centers)
    plan = Plan(**{"scale": 8.0, "memory_mb": 0.006, **KINDS[kind]})
    if plan.foreign:
        labels[::3] = -1
    found, expected = (swept(sweep, (rows, weight, labels), plan) for sweep in (fused_sweep, reference_sweep))
    torch.testing.assert_close(found[0].target, expected[0].target)
    torch.testing.assert_close(found[0].log_sum, expected[0].log_sum, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[0].nearest, expected[0].nearest)
    assert torch.equal(found[0].nearest_class, expected[0].nearest_class)
    if plan.top_k:
        torch.testing.assert_close(found[0].nearest_k, expected[0].nearest_k)
        assert torch.equal(found[0].nearest_k_class, expected[0].nearest_k_class)
    tolerance = 1e-4 if kind == "large scale" else 3e-6
    assert distance(found[1], expected[1]) < tolerance
    assert distance(found[2], expected[2]) < tolerance


MARGINS = [(name, sub_centers, None) for name in hyperarc.margin_names() for sub_centers in (1, 3)]
FILTERED = [(name, 1, 0.2) for name in ("arcface", "adaface", "curricularface", "mv_softmax")]


@pytest.mark.parametrize(("margin", "sub_centers", "tau"), MARGINS + FILTERED)
def test_every_margin(margin: str, sub_centers: int, tau: float | None) -> None:
    """With the inter-class filter and without; the losses that the kernels do not know go to the chunked sweep."""
    size: dict[str, Any] = {"num_classes": 40, "embedding_dim": 8, "sub_centers": sub_centers, "seed": 4}
    results = []
    for sweep in ("fused", "reference"):
        head = create_head(margin, **size, sweep=sweep, memory_mb=1e-3, inter_class_filter=tau).to(DEVICE)
        vectors, _, labels = drawn(7, 40, 8, 1)
        own = torch.nn.functional.normalize(head.centers.weight.detach()[labels, 0], dim=1)
        embeddings = (3 * own + 4 * vectors).requires_grad_()
        torch.manual_seed(0)  # ElasticFace draws its margins
        out = head(embeddings, labels)
        out.loss.backward()
        results.append((out.loss, embeddings.grad, head.centers.weight.grad, out.nearest_negative_cosine))
    for one, other in zip(*results, strict=True):
        assert distance(one, other) < 2e-5


def test_which_margins_the_kernels_know() -> None:
    """The rest of them, and why."""
    reasons = {}
    for name in hyperarc.margin_names():
        head = create_head(name, num_classes=5, embedding_dim=4)
        plan = head.plan(torch.zeros(2), torch.ones(2))
        reasons[name] = why_not_fused(torch.zeros(2, 4), plan)
    assert {name: reason for name, reason in reasons.items() if reason is not None} == {
        "adacos": "a scale chosen from the batch",
        "arcnegface": "this map of the negatives",
        "circle": "this map of the negatives",
        "sphereface2": "a binary loss",
        "sphereface_r": "this map of the negatives",
        "uniface": "a binary loss",
    }


@pytest.mark.parametrize("sub_centers", [1, 2])
def test_bf16_is_close(sub_centers: int) -> None:
    batch = drawn(19, 50, 20, sub_centers)
    plan = Plan(scale=16.0, memory_mb=0.006)
    exact = swept(reference_sweep, batch, plan)
    found = swept(fused_sweep, batch, Plan(scale=16.0, memory_mb=0.006, precision=BF16))
    torch.testing.assert_close(found[0].target, exact[0].target)  # in fp32 beside
    torch.testing.assert_close(found[0].log_sum, exact[0].log_sum, atol=16 * 2**-8, rtol=0)
    assert distance(found[1], exact[1]) < 2e-2
    assert distance(found[2], exact[2]) < 2e-2
    along = (found[2] * batch[1]).sum(dim=2).abs().max()  # what would change lengths is taken out
    assert float(along) < 2e-2 * float(found[2].norm())


@pytest.mark.parametrize("epsilon", [2**-3, 2**-8])
@pytest.mark.parametrize("seed", range(2))
def test_what_is_left_out_stays_within_its_bound(seed: int, epsilon: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bounds of heads/sweep/fused.py, on rows some of which have hard negatives and some easy targets."""
    rows, weight, labels = drawn(16, 160, 16, 1, seed)
    units = torch.nn.functional.normalize(weight[:, 0], dim=1)
    hard = (labels + 31) % len(weight)
    rows[:8] = torch.nn.functional.normalize(0.8 * units[hard[:8]] + 0.3 * rows[:8], dim=1)
    rows[8:12] = torch.nn.functional.normalize(2 * units[labels[8:12]] + rows[8:12], dim=1)
    plan = Plan(scale=64.0, memory_mb=0.005)
    monkeypatch.setattr("hyperarc.heads.sweep.fused.roundoff", lambda product: -1.0)
    exact = swept(fused_sweep, (rows, weight, labels), plan)
    monkeypatch.setattr("hyperarc.heads.sweep.fused.roundoff", lambda product: epsilon)
    found = swept(fused_sweep, (rows, weight, labels), plan)
    assert exact[0].skipped == Skipped(0.0)
    assert found[0].skipped is not None
    assert found[0].skipped.share is not None
    assert found[0].skipped.share > 0.4
    share = (exact[0].log_sum - 64.0 * exact[0].target).detach().sigmoid() / len(rows)
    bound = epsilon * 64.0 * float(share.max())
    to_rows = (found[1] - exact[1]).norm(dim=1)
    to_centers = (found[2] - exact[2]).norm(dim=2) * weight.norm(dim=2)
    assert 0 < float(to_rows.max()) <= bound
    assert 0 < float(to_centers.sum()) <= bound * len(rows)


def test_a_loss_of_the_nearest_alone_needs_no_sums_in_backward() -> None:
    head = create_head("npt", num_classes=40, embedding_dim=8, top_k=2, sweep="fused").to(DEVICE)
    vectors, _, labels = drawn(7, 40, 8, 1)
    out = head(vectors.requires_grad_(), labels)
    assert out.skipped is not None
    assert out.skipped.share is None
    out.loss.backward()
    assert out.skipped.share == 1.0


def test_the_same_bits_every_time() -> None:
    batch = drawn(19, 50, 20, 1)
    plan = Plan(scale=8.0, memory_mb=0.006, top_k=2)
    one, other = (swept(fused_sweep, batch, plan) for _ in range(2))
    for a, b in ((one[0].log_sum, other[0].log_sum), (one[1], other[1]), (one[2], other[2])):
        assert torch.equal(a, b)


def test_edges() -> None:
    """One class; a center without direction; a target so easy that its term would swallow the sum."""
    rows, weight, _ = drawn(3, 1, 8, 1)
    alone = swept(fused_sweep, (rows, weight, torch.zeros(3, dtype=torch.int64, device=DEVICE)), Plan(scale=8.0))
    assert bool((alone[0].log_sum == -torch.inf).all())
    assert not alone[1].any()
    rows, weight, labels = drawn(4, 20, 8, 1)
    weight[7] = 0.0
    assert not swept(fused_sweep, (rows, weight, labels), Plan(scale=8.0))[2][7].any()
    weight = torch.eye(8, device=DEVICE)[:, None]
    out = swept(fused_sweep, (torch.eye(8, device=DEVICE), weight, torch.arange(8, device=DEVICE)), Plan(scale=64.0))
    assert bool(torch.isfinite(out[1]).all())
    torch.testing.assert_close(out[0].log_sum, torch.full((8,), 7.0, device=DEVICE).log())


def test_a_step_in_backward_is_the_ordinary_step() -> None:
    results = []
    for in_backward in (False, True):
        head: Head = create_head("arcface", num_classes=40, embedding_dim=8, sweep="fused", memory_mb=1e-3).to(DEVICE)
        optimizer = torch.optim.SGD(head.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
        if in_backward:
            head.update = UpdateInBackward(optimizer, head.centers.weight)
        for step in range(2):
            optimizer.zero_grad()
            vectors, _, labels = drawn(7, 40, 8, 1, seed=step)
            head(vectors.requires_grad_(), labels).loss.backward()
            assert (head.centers.weight.grad is None) == in_backward
            optimizer.step()
        results.append(head.centers.weight.detach())
    torch.testing.assert_close(*results)


# ---- at size, on a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("sub_centers", [1, 3])
@pytest.mark.parametrize("plan", [Plan(scale=32.0), Plan(scale=32.0, top_k=6), Plan(scale=32.0, foreign=True)])
def test_equal_to_the_chunked_at_size(plan: Plan, sub_centers: int) -> None:
    batch = drawn(301, 50_003, 200, sub_centers)
    found, expected = (swept(sweep, batch, plan) for sweep in (fused_sweep, chunked_sweep))
    torch.testing.assert_close(found[0].log_sum, expected[0].log_sum)
    assert distance(found[1], expected[1]) < 1e-5
    assert distance(found[2], expected[2]) < 1e-5


@pytest.mark.gpu
def test_slopes_at_size() -> None:
    """Along some directions the loss moves as the gradient says; differences in float64, by the reference."""
    rows, weight, labels = drawn(64, 3001, 96, 1)
    _, to_rows, to_weight = swept(fused_sweep, (rows, weight, labels), Plan(scale=16.0))
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        way = torch.randn(rows.shape, generator=generator).to(rows), torch.randn(weight.shape, generator=generator)
        way = way[0], way[1].to(weight)
        ends = []
        for sign in (-1e-4, 1e-4):
            moved = rows.double() + sign * way[0], weight.double() + sign * way[1]
            out = reference_sweep(*moved, labels, Plan(scale=16.0))
            ends.append(torch.nn.functional.softplus(out.log_sum - 16.0 * out.target).mean())
        slope = float((to_rows * way[0]).sum() + (to_weight * way[1]).sum())
        assert slope == pytest.approx(float(ends[1] - ends[0]) / 2e-4, rel=1e-3)
