"""The chunked sweep's own matters: precision, memory, labels of elsewhere, and centers that move in backward."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import hyperarc
from hyperarc.errors import HyperArcError, UnknownNameError
from hyperarc.heads.head import Head, create_head
from hyperarc.heads.sweep import (
    Plan,
    Precision,
    SweepSize,
    UpdateInBackward,
    choose_precision,
    chunked_sweep,
    footprint,
    reference_sweep,
)
from hyperarc.recipe import Data, DrawnData, Optimizer, Recipe, Training
from hyperarc.recipe.sections import HeadSection
from hyperarc.training.checkpoint import recipe_digest
from hyperarc.training.optimizer import clip, make_optimizer

CLASSES, DIM, ROWS = 60, 8, 16
BF16 = {"products": Precision(torch.bfloat16, torch.bfloat16), "kept": Precision(None, torch.bfloat16)}


def drawn(rows: int = ROWS, classes: int = CLASSES, seed: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, DIM, generator=generator), torch.randint(classes, (rows,), generator=generator)


def swept(sweep: Any, weight: Tensor, labels: Tensor, plan: Plan) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Target and log-sum of unit rows, and the gradients of something that needs both."""
    rows = torch.nn.functional.normalize(drawn(len(labels))[0].to(weight.dtype), dim=1).requires_grad_()
    weight = weight.detach().requires_grad_()
    out = sweep(rows, weight, labels, plan)
    torch.nn.functional.softplus(out.log_sum - 32 * out.target).mean().backward()
    assert rows.grad is not None
    assert weight.grad is not None
    return out.target.detach(), out.log_sum.detach(), rows.grad, weight.grad


def centers(sub_centers: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(CLASSES, sub_centers, DIM, generator=torch.Generator().manual_seed(1)).to(dtype)


# ---- numbers


@pytest.mark.parametrize("sub_centers", [1, 3])
@pytest.mark.parametrize("scale", [8.0, 64.0, 3000.0])
@pytest.mark.parametrize("memory_mb", [1e-3, 0.01, 8.0])
def test_equal_to_the_dense_sweep_at_any_scale(scale: float, memory_mb: float, sub_centers: int) -> None:
    """3000 is far beyond what fp32 holds without a running maximum."""
    _, labels = drawn()
    plan = Plan(scale=scale, memory_mb=memory_mb)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-3 if scale > 100 else 2e-5)):
        weight = centers(sub_centers, dtype)
        expected = swept(reference_sweep, weight, labels, plan)
        for one, other in zip(swept(chunked_sweep, weight, labels, plan), expected, strict=True):
            assert float((one - other).norm() / other.norm()) < tolerance


@pytest.mark.parametrize("kind", BF16)
@pytest.mark.parametrize("sub_centers", [1, 2])
def test_bf16_is_close(kind: str, sub_centers: int) -> None:
    _, labels = drawn()
    weight = centers(sub_centers)
    exact = swept(chunked_sweep, weight, labels, Plan(scale=32.0))
    target, log_sum, to_rows, to_weight = swept(chunked_sweep, weight, labels, Plan(scale=32.0, precision=BF16[kind]))
    torch.testing.assert_close(target, exact[0])  # computed beside, in fp32
    assert float((log_sum - exact[1]).abs().max()) < (0.15 if kind == "products" else 1e-5)
    tolerance = 0.06 if kind == "products" else 6e-3
    for one, other in ((to_rows, exact[2]), (to_weight, exact[3])):
        assert 0 < float((one - other).norm() / other.norm()) < tolerance


@pytest.mark.parametrize("margin", hyperarc.margin_names())
@pytest.mark.parametrize("kind", BF16)
def test_every_margin_in_bf16(margin: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for precision in (BF16[kind], Precision()):
        monkeypatch.setattr("hyperarc.heads.head.choose_precision", lambda name, device, it=precision: it)
        torch.manual_seed(0)  # ElasticFace draws its margins
        head = create_head(margin, num_classes=CLASSES, embedding_dim=DIM, seed=3)
        embeddings, labels = drawn()
        loss = head(embeddings, labels).loss
        loss.backward()
        assert head.centers.weight.grad is not None
        found.append((float(loss.detach()), head.centers.weight.grad))
    assert found[0][0] == pytest.approx(found[1][0], rel=0.02, abs=0.02)
    assert float((found[0][1] - found[1][1]).norm() / found[1][1].norm()) < 0.15


def test_float64_is_never_rounded() -> None:
    embeddings, labels = drawn()
    heads = [create_head("arcface", num_classes=CLASSES, embedding_dim=DIM, precision=p) for p in ("fp32", "bf16")]
    losses = [head.double()(embeddings.double(), labels).loss for head in heads]
    assert torch.equal(*losses)


def test_names_of_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    where = "hyperarc.heads.sweep.precision.has_bf16"
    monkeypatch.setattr(where, lambda device: True)
    assert choose_precision("auto", "cpu") == choose_precision("bf16", "cpu") == BF16["products"]
    assert choose_precision("fp32", "cpu") == Precision()
    monkeypatch.setattr(where, lambda device: False)
    assert choose_precision("auto", "cpu") == Precision()
    assert choose_precision("bf16", "cpu") == BF16["kept"]  # emulated products would be slower
    with pytest.raises(UnknownNameError, match="did you mean 'bf16'"):
        create_head("arcface", num_classes=4, embedding_dim=4, precision="bf61")


def test_easy_targets_leave_no_nan() -> None:
    """A target that carries the whole sum: taken from the finished sum instead of left out, the rest would be NaN."""
    weight = torch.eye(DIM)[:, None].repeat(2, 1, 1)[: DIM + 1]
    weight[DIM] = -weight[0]
    rows = torch.eye(DIM).requires_grad_()
    out = chunked_sweep(rows, weight, torch.arange(DIM), Plan(scale=64.0))
    torch.nn.functional.softplus(out.log_sum - 64 * out.target).sum().backward()
    assert bool(torch.isfinite(out.log_sum).all())
    assert float(out.log_sum[0].detach()) == pytest.approx(math.log(DIM - 1 + math.exp(-64)), abs=1e-5)
    assert rows.grad is not None
    assert bool(torch.isfinite(rows.grad).all())


def test_true_classes_of_elsewhere() -> None:
    """Two shards, each with labels that count from its first class, add up to the whole."""
    weight, (_, labels) = centers(dtype=torch.float64), drawn()
    rows = torch.nn.functional.normalize(drawn()[0].double(), dim=1)
    whole = chunked_sweep(rows, weight, labels, Plan(scale=16.0))
    cut = 25
    parts = [
        chunked_sweep(rows, w, labels - at, Plan(scale=16.0)) for w, at in ((weight[:cut], 0), (weight[cut:], cut))
    ]
    torch.testing.assert_close(parts[0].target + parts[1].target, whole.target)
    torch.testing.assert_close(torch.logaddexp(parts[0].log_sum, parts[1].log_sum), whole.log_sum)
    torch.testing.assert_close(torch.maximum(parts[0].nearest, parts[1].nearest), whole.nearest)


def test_a_center_without_direction_gets_no_gradient() -> None:
    weight = centers()
    weight[7] = 0.0
    _, labels = drawn()
    for sweep in (reference_sweep, chunked_sweep):
        assert not swept(sweep, weight, labels, Plan(scale=8.0))[3][7].any()


def test_a_bias_wants_centers_that_keep_their_length() -> None:
    with pytest.raises(HyperArcError, match="normalize_centers=False"):
        Plan(bias=torch.zeros(3))


# ---- memory


def peak_of(head: Head, rows: int, classes: int) -> int:
    """Bytes that torch holds at one time in a step beyond the gradients, by its profiler."""
    embeddings, labels = torch.randn(rows, head.centers.weight.shape[2]).requires_grad_(), torch.arange(rows) % classes
    head(embeddings, labels).loss.backward()
    embeddings.grad = head.centers.weight.grad = None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        head(embeddings, labels).loss.backward()
    held = peak = 0
    for event in profiler.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    gradients = embeddings.numel() if head.update else head.centers.weight.numel() + embeddings.numel()
    return peak - gradients * 4


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({"memory_mb": 1.0}, {}),
        ({"memory_mb": 8.0}, {}),
        ({"memory_mb": 1.0, "sub_centers": 3}, {}),
        ({"memory_mb": 1.0, "precision": "bf16"}, {"kept_bytes": 2}),
        ({"memory_mb": 1.0, "inter_class_filter": 0.3}, {"maps_negatives": True}),
        ({"memory_mb": 1.0}, {"updates": True}),
    ],
)
def test_the_footprint_is_what_is_held(arguments: dict[str, Any], size: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.setattr("hyperarc.heads.sweep.precision.has_bf16", lambda device: False)
    rows, classes, dim = 64, 6000, 64
    head = create_head("arcface", num_classes=classes, embedding_dim=dim, **arguments)
    if "updates" in size:
        head.update = UpdateInBackward(torch.optim.SGD(head.parameters(), lr=0.1), head.centers.weight)
    sizes = {"sub_centers": 1, "memory_mb": arguments["memory_mb"], **size}
    sizes["sub_centers"] = arguments.get("sub_centers", 1)
    held = footprint(SweepSize(rows, classes, dim, **sizes))
    assert held.total <= arguments["memory_mb"] * 2**20
    # beside it are a dozen small tensors of rows and margin, 2 % of so little; one block too many would be 40 %
    assert 0.8 * held.total < peak_of(head, rows, classes) <= 1.05 * held.total


def test_a_block_is_never_less_than_a_class() -> None:
    held = footprint(SweepSize(rows=512, classes=1000, dim=512, memory_mb=1e-6))
    assert (held.width, held.kept_blocks, held.kept) == (1, 0, 0)
    assert footprint(SweepSize(rows=4, classes=10, dim=4, memory_mb=64)).kept_blocks == 1


# ---- the step of the centers in backward

OPTIMIZER: dict[str, Any] = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}


def steps(head: Head, *, in_backward: bool, count: int = 3, **options: Any) -> tuple[Tensor, Tensor | None]:
    """Centers and their momentum after some steps."""
    optimizer = torch.optim.SGD(head.parameters(), **{**OPTIMIZER, **options}, fused=True)
    if in_backward:
        head.update = UpdateInBackward(optimizer, head.centers.weight)
    torch.manual_seed(0)  # ElasticFace draws its margins
    for step in range(count):
        optimizer.zero_grad()
        embeddings, labels = drawn(seed=step)
        head(embeddings.to(head.centers.weight.dtype).requires_grad_(), labels).loss.backward()
        assert (head.centers.weight.grad is None) == in_backward
        optimizer.step()
    return head.centers.weight.detach(), optimizer.state[head.centers.weight].get("momentum_buffer")


@pytest.mark.parametrize("margin", hyperarc.margin_names())
@pytest.mark.parametrize("sub_centers", [1, 2])
def test_a_step_in_backward_is_the_ordinary_step(margin: str, sub_centers: int) -> None:
    size = {"num_classes": CLASSES, "embedding_dim": DIM, "sub_centers": sub_centers, "memory_mb": 0.01}
    heads = [create_head(margin, **size, seed=4).double() for _ in range(2)]
    ordinary, in_backward = (steps(head, in_backward=way) for head, way in zip(heads, (False, True), strict=True))
    torch.testing.assert_close(in_backward, ordinary, rtol=1e-12, atol=1e-14)
    for (name, one), (_, other) in zip(heads[0].named_parameters(), heads[1].named_parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=name)


@pytest.mark.parametrize("options", [{"momentum": 0.0}, {"nesterov": True}, {"weight_decay": 0.0}])
def test_kinds_of_sgd(options: dict[str, Any]) -> None:
    heads = [create_head("arcface", num_classes=CLASSES, embedding_dim=DIM) for _ in range(2)]
    ordinary, in_backward = (
        steps(head, in_backward=way, **options) for head, way in zip(heads, (False, True), strict=True)
    )
    torch.testing.assert_close(in_backward, ordinary)


def test_of_a_sampled_step_only_the_sampled_move() -> None:
    """Momentum and decay of their rows alone, as in arcface_torch's Partial FC."""
    size = {"num_classes": CLASSES, "embedding_dim": DIM, "sample_rate": 0.5, "seed": 2}
    plain = create_head("arcface", **size).double()
    weight = plain.centers.weight
    momentum = torch.zeros_like(weight)
    for step in range(3):
        embeddings, labels = drawn(seed=step)
        before = plain.centers.sampling_state.clone()
        chosen = plain.centers.sample(labels)
        plain.centers.sampling_state.copy_(before)
        (gradient,) = torch.autograd.grad(plain(embeddings.double(), labels).loss, weight)
        with torch.no_grad():
            assert chosen is not None
            momentum[chosen] = 0.9 * momentum[chosen] + gradient[chosen] + 5e-4 * weight[chosen]
            weight[chosen] -= 0.05 * momentum[chosen]
    moved, kept = steps(create_head("arcface", **size, memory_mb=0.01).double(), in_backward=True)
    torch.testing.assert_close(moved, weight.detach())
    torch.testing.assert_close(kept, momentum)


def test_the_norm_of_the_gradient_is_told_and_not_limited() -> None:
    recipe = Optimizer(lr=0.1, clip_norm=1e-3, update_in_backward=True)
    heads = [create_head("arcface", num_classes=CLASSES, embedding_dim=DIM, memory_mb=0.01) for _ in range(2)]
    make_optimizer(recipe, torch.nn.Linear(2, 2), heads[0])
    embeddings, labels = drawn()
    for head in heads:
        head(embeddings, labels).loss.backward()
    torch.testing.assert_close(clip(heads[0], 1e-3), clip(heads[1], 1e9))
    expected = heads[1].centers.weight.detach() * (1 - 0.1 * 5e-4) - 0.1 * heads[1].centers.weight.grad
    torch.testing.assert_close(heads[0].centers.weight.detach(), expected)


def test_judging_moves_nothing() -> None:
    head = create_head("arcface", num_classes=CLASSES, embedding_dim=DIM)
    head.update = UpdateInBackward(torch.optim.SGD(head.parameters(), lr=0.1), head.centers.weight)
    before = head.centers.weight.detach().clone()
    embeddings, labels = drawn()
    head.eval()(embeddings.requires_grad_(), labels).loss.backward()
    assert torch.equal(head.centers.weight, before)
    assert head.centers.weight.grad is not None


def test_what_update_in_backward_does_not_go_with() -> None:
    head = create_head("arcface", num_classes=CLASSES, embedding_dim=DIM)
    with pytest.raises(HyperArcError, match="expects SGD, got AdamW"):
        UpdateInBackward(torch.optim.AdamW(head.parameters()), head.centers.weight)
    with pytest.raises(HyperArcError, match="without dampening"):
        UpdateInBackward(torch.optim.SGD(head.parameters(), momentum=0.9, dampening=0.1), head.centers.weight)
    with pytest.raises(HyperArcError, match="that holds the centers"):
        UpdateInBackward(torch.optim.SGD(torch.nn.Linear(2, 2).parameters()), head.centers.weight)
    on = Optimizer(update_in_backward=True)
    for sections, said in (
        ({"optimizer": Optimizer(update_in_backward=True, name="adamw")}, "optimizer.name is sgd"),
        ({"optimizer": on, "training": Training(accumulate=2)}, "training.accumulate is 1"),
        ({"optimizer": on, "training": Training(precision="fp16")}, "training.precision is not fp16"),
        ({"optimizer": on, "head": HeadSection(auxiliary={"inter": {}})}, "nothing but the margin moves the centers"),
    ):
        with pytest.raises(ValueError, match=said):
            Recipe(name="x", data=Data(drawn=DrawnData()), **sections)


def test_older_checkpoints_know_nothing_of_it() -> None:
    plain = Recipe(name="x", data=Data(drawn=DrawnData()))
    moved = [
        plain.model_copy(update={"optimizer": Optimizer(update_in_backward=True)}),
        plain.model_copy(update={"head": HeadSection(precision="fp32")}),
    ]
    assert len({recipe_digest(recipe) for recipe in (plain, *moved)}) == 3
    assert recipe_digest(plain) == "0fa424ac6aab3179"
