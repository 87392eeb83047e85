"""The head as its users see it: names, shapes, errors, sampling, memory, and the first loss to expect."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import hyperarc
from hyperarc.errors import DataError, HyperArcError, UnknownNameError
from hyperarc.heads.head import Head, create_head
from hyperarc.heads.output import HeadOutput


def batch(rows: int, dim: int, classes: int, seed: int = 99) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)  # a head of the same seed would have these rows as centers
    embeddings = torch.randn(rows, dim, generator=generator).requires_grad_()
    return embeddings, torch.randint(classes, (rows,), generator=generator)


def trained_step(head: Head, optimizer: torch.optim.Optimizer, seed: int) -> float:
    embeddings, labels = batch(6, 8, 40, seed)
    optimizer.zero_grad()
    loss = head(embeddings, labels).loss
    loss.backward()
    optimizer.step()
    return float(loss.detach())


# ---- names and shapes of design.md, section 4


@pytest.mark.parametrize("sub_centers", [1, 3])
def test_names_and_shapes(sub_centers: int) -> None:
    head = hyperarc.create_head(
        "arcface", num_classes=7, embedding_dim=4, sub_centers=sub_centers, sample_rate=1.0, seed=0, margin=0.4
    )
    embeddings, labels = batch(5, 4, 7)
    out = head(embeddings, labels)
    assert isinstance(out, HeadOutput)
    assert out.loss.shape == out.accuracy.shape == ()
    assert out.target_cosine.shape == out.nearest_negative_cosine.shape == (5,)
    assert isinstance(head.centers.weight, nn.Parameter)
    assert head.centers.weight.shape == (7, sub_centers, 4)
    assert head.margin.margin == 0.4
    assert head.logits(embeddings, labels).shape == (5, 7)
    assert out.loss.requires_grad
    assert not any(t.requires_grad for t in (out.target_cosine, out.nearest_negative_cosine, out.accuracy))


@pytest.mark.parametrize("name", hyperarc.margin_names())
def test_cosines_are_unmargined_cosines(name: str) -> None:
    arguments = {"bias": True} if name == "softmax" else {}
    head = create_head(name, num_classes=6, embedding_dim=4, sub_centers=2, **arguments)
    with torch.no_grad():
        head.centers.weight.normal_()
        if head.centers.bias is not None:
            head.centers.bias[3] = 50.0  # so that the bias alone decides which center is nearest
    embeddings, labels = batch(9, 4, 3)
    out = head(embeddings, labels)
    cosine = torch.einsum(
        "nd,ckd->nck", nn.functional.normalize(embeddings, dim=1), nn.functional.normalize(head.centers.weight, dim=2)
    ).amax(2)
    torch.testing.assert_close(out.target_cosine, cosine.gather(1, labels[:, None])[:, 0].detach())
    others = cosine.detach().scatter(1, labels[:, None], -2.0)
    nearest = others[:, 3] if arguments else others.amax(1)
    torch.testing.assert_close(out.nearest_negative_cosine, nearest)


def test_loss_is_the_cross_entropy_of_the_logits() -> None:
    head = create_head("arcface", num_classes=6, embedding_dim=4, scale=16.0)
    embeddings, labels = batch(9, 4, 6)
    expected = nn.functional.cross_entropy(head.logits(embeddings, labels), labels)
    torch.testing.assert_close(head(embeddings, labels).loss, expected)
    without = head.logits(embeddings, torch.full_like(labels, -1))
    torch.testing.assert_close(without, 16 * head.logits(embeddings, labels - 10) / 16)


def test_accuracy_counts_rows_nearer_to_their_own_center() -> None:
    head = create_head("norm_softmax", num_classes=3, embedding_dim=3)
    with torch.no_grad():
        head.centers.weight.copy_(torch.eye(3)[:, None])
    out = head(torch.eye(3), torch.tensor([0, 1, 1]))
    assert float(out.accuracy) == pytest.approx(2 / 3)


def test_the_same_seed_gives_the_same_centers_whatever_the_global_generator() -> None:
    one = create_head("arcface", num_classes=5, embedding_dim=4, seed=3)
    torch.rand(7)
    two = create_head("arcface", num_classes=5, embedding_dim=4, seed=3)
    other = create_head("arcface", num_classes=5, embedding_dim=4, seed=4)
    assert torch.equal(one.centers.weight, two.centers.weight)
    assert not torch.equal(one.centers.weight, other.centers.weight)


def test_float64_embeddings_are_computed_in_float64() -> None:
    head = create_head("cosface", num_classes=5, embedding_dim=4)
    embeddings, labels = batch(3, 4, 5)
    assert head(embeddings.double(), labels).loss.dtype == torch.float64
    assert head(embeddings.bfloat16(), labels).loss.dtype == torch.float32


# ---- errors


@pytest.mark.parametrize(
    ("embeddings", "labels", "kind", "said"),
    [
        (torch.zeros(3, 5), torch.zeros(3, dtype=torch.long), HyperArcError, r"expected embeddings \[N, 4\], got"),
        (torch.zeros(4), torch.zeros(4, dtype=torch.long), HyperArcError, r"expected embeddings \[N, 4\], got \[4\]"),
        (torch.zeros(3, 4), torch.zeros(3), HyperArcError, r"expected int64 labels \[3\], got torch.float32 \[3\]"),
        (torch.zeros(3, 4), torch.zeros(2, dtype=torch.long), HyperArcError, r"expected int64 labels \[3\]"),
        (torch.zeros(3, 4), torch.tensor([0, 6, 1]), DataError, r"batch row 1: label 6 is outside 0\.\.5"),
        (torch.zeros(3, 4), torch.tensor([0, 1, -1]), DataError, r"batch row 2: label -1 is outside 0\.\.5"),
    ],
)
def test_bad_batches(embeddings: torch.Tensor, labels: torch.Tensor, kind: type[Exception], said: str) -> None:
    head = create_head("arcface", num_classes=6, embedding_dim=4)
    with pytest.raises(kind, match=said):
        head(embeddings, labels)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"num_classes": 1}, "num_classes must be at least 2, got 1"),
        ({"embedding_dim": 0}, "embedding_dim must be at least 1"),
        ({"sub_centers": 0}, "sub_centers must be at least 1"),
        ({"sample_rate": 0.0}, r"sample_rate must be in \(0, 1\], got 0.0"),
        ({"sample_rate": 1.1}, "sample_rate must be in"),
        ({"memory_mb": 0}, "memory_mb must be positive"),
        ({"scale": -1.0}, "scale must be positive and finite"),
        ({"sweep": "chunkd"}, "unknown sweep 'chunkd'; did you mean 'chunked'"),
        ({"scale": "large"}, "argument scale of margin 'arcface' must be a number, got 'large'"),
        ({"margin": True}, "argument margin of margin 'arcface' must be a number, got True"),
        ({"inter_class_filter": "x"}, "argument inter_class_filter of margin 'arcface' must be a number, got 'x'"),
        ({"auxiliary": {"center": {"alpha": []}}}, "argument alpha of auxiliary loss 'center' must be a number"),
        ({"margn": 0.5}, "unknown argument of margin 'arcface': 'margn'; did you mean 'margin'"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(HyperArcError, match=said):
        create_head("arcface", **{"num_classes": 6, "embedding_dim": 4, **arguments})


def test_unknown_margin() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'arcface'"):
        create_head("arcfcae", num_classes=6, embedding_dim=4)


# ---- sampling (Partial FC)


@pytest.mark.parametrize(("rate", "classes"), [(0.1, 50), (0.5, 11), (0.99, 7)])
def test_sampling_takes_the_exact_number_with_all_positives(rate: float, classes: int) -> None:
    head = create_head("arcface", num_classes=classes, embedding_dim=4, sample_rate=rate)
    labels = torch.tensor([0, classes - 1, 0])
    for _ in range(20):
        chosen = head.centers.sample(labels)
        assert chosen is not None
        assert len(chosen) == max(int(rate * classes), 2)
        assert chosen.tolist() == sorted(set(chosen.tolist()))
        assert {0, classes - 1} <= set(chosen.tolist())


def test_more_positives_than_the_rate_allows_are_all_kept() -> None:
    head = create_head("arcface", num_classes=50, embedding_dim=4, sample_rate=0.02)
    chosen = head.centers.sample(torch.tensor([3, 1, 4, 1, 5]))
    assert chosen is not None
    assert chosen.tolist() == [1, 3, 4, 5]


def test_every_class_is_sampled_in_time() -> None:
    head = create_head("arcface", num_classes=30, embedding_dim=4, sample_rate=0.2)
    seen: set[int] = set()
    for _ in range(100):
        chosen = head.centers.sample(torch.tensor([0]))
        assert chosen is not None
        seen |= set(chosen.tolist())
    assert seen == set(range(30))


@pytest.mark.parametrize("sub_centers", [1, 2])
def test_only_sampled_rows_get_a_gradient(sub_centers: int) -> None:
    head = create_head("arcface", num_classes=40, embedding_dim=8, sample_rate=0.25, sub_centers=sub_centers)
    embeddings, labels = batch(6, 8, 40)
    before = head.centers.sampling_state.clone()
    chosen = head.centers.sample(labels)
    head.centers.sampling_state.copy_(before)
    assert chosen is not None
    head(embeddings, labels).loss.backward()
    gradient = head.centers.weight.grad
    assert gradient is not None
    touched = gradient.abs().sum(dim=(1, 2)).nonzero()[:, 0]
    assert touched.tolist() == chosen.tolist()


def test_sampled_loss_is_the_loss_over_the_sampled_classes() -> None:
    head = create_head("cosface", num_classes=40, embedding_dim=8, sample_rate=0.25)
    embeddings, labels = batch(6, 8, 40)
    before = head.centers.sampling_state.clone()
    chosen = head.centers.sample(labels)
    head.centers.sampling_state.copy_(before)
    assert chosen is not None
    logits = head.logits(embeddings, labels)[:, chosen]
    expected = nn.functional.cross_entropy(logits, torch.searchsorted(chosen, labels))
    torch.testing.assert_close(head(embeddings, labels).loss, expected)


def test_eval_mode_sweeps_all_and_draws_nothing() -> None:
    sampled = create_head("arcface", num_classes=40, embedding_dim=8, sample_rate=0.1).eval()
    whole = create_head("arcface", num_classes=40, embedding_dim=8).eval()
    state = sampled.centers.sampling_state.clone()
    embeddings, labels = batch(6, 8, 40)
    assert torch.equal(sampled(embeddings, labels).loss, whole(embeddings, labels).loss)
    assert torch.equal(sampled.centers.sampling_state, state)


def test_resumed_sampling_goes_on_where_it_was() -> None:
    def fresh() -> tuple[Head, torch.optim.Optimizer]:
        head = create_head("arcface", num_classes=40, embedding_dim=8, sample_rate=0.25, seed=5)
        return head, torch.optim.SGD(head.parameters(), lr=0.1)

    head, optimizer = fresh()
    losses = [trained_step(head, optimizer, seed) for seed in range(6)]
    first, optimizer = fresh()
    assert [trained_step(first, optimizer, seed) for seed in range(3)] == losses[:3]
    second, optimizer = fresh()
    second.load_state_dict(first.state_dict())
    assert [trained_step(second, optimizer, seed) for seed in range(3, 6)] == losses[3:]
    assert torch.equal(second.centers.weight, head.centers.weight)


# ---- bias of the plain softmax


@pytest.mark.parametrize("sweep", ["chunked", "reference"])
@pytest.mark.parametrize("sample_rate", [1.0, 0.5])
def test_softmax_bias_gradient(sweep: str, sample_rate: float) -> None:
    head = create_head(
        "softmax", bias=True, num_classes=40, embedding_dim=8, sweep=sweep, sample_rate=sample_rate, memory_mb=1e-3
    )
    bias = head.centers.bias
    assert bias is not None
    with torch.no_grad():
        bias.normal_()
    embeddings, labels = batch(6, 8, 40)
    before = head.centers.sampling_state.clone()
    chosen = head.centers.sample(labels)
    chosen = torch.arange(40) if chosen is None else chosen
    head.centers.sampling_state.copy_(before)
    head(embeddings, labels).loss.backward()
    logits = embeddings @ head.centers.weight[:, 0].T + bias
    expected = torch.autograd.grad(
        nn.functional.cross_entropy(logits[:, chosen], torch.searchsorted(chosen, labels)), bias
    )[0]
    assert bias.grad is not None
    torch.testing.assert_close(bias.grad, expected)


def test_no_bias_unless_asked() -> None:
    assert create_head("softmax", num_classes=4, embedding_dim=2).centers.bias is None
    assert create_head("arcface", num_classes=4, embedding_dim=2).centers.bias is None


# ---- the first loss


@pytest.mark.parametrize(
    "margin", ["arcface", "cosface", "norm_softmax", "softmax", "curricularface", "arcnegface", "sphereface2", "npt"]
)
@pytest.mark.parametrize(
    ("classes", "dim", "scale", "sub_centers", "sample_rate"),
    [
        (1000, 512, 64.0, 1, 1.0),
        (1000, 64, 16.0, 1, 1.0),
        (200, 128, 32.0, 1, 1.0),
        (300, 256, 32.0, 3, 1.0),
        (2000, 128, 32.0, 1, 0.1),
    ],
)
def test_expected_first_loss(
    margin: str, classes: int, dim: int, scale: float, sub_centers: int, sample_rate: float
) -> None:
    arguments = {} if margin in ("softmax", "npt") else {"scale": scale}
    head = create_head(
        margin, num_classes=classes, embedding_dim=dim, sub_centers=sub_centers, sample_rate=sample_rate, **arguments
    )
    embeddings, labels = batch(256, dim, classes)
    if sample_rate < 1:
        labels %= 100
    with torch.no_grad():
        measured = float(head(embeddings, labels).loss)
    assert measured == pytest.approx(head.expected_first_loss(), abs=max(0.6, 0.05 * measured))


def test_expected_first_loss_of_two_classes() -> None:
    head = create_head("softmax", num_classes=2, embedding_dim=4)
    assert head.expected_first_loss() == pytest.approx(math.log(2))
    assert math.isfinite(create_head("arcface", num_classes=2, embedding_dim=4).expected_first_loss())


# ---- memory


class LargestTensor(TorchDispatchMode):
    """Remembers the largest tensor that any operation returned, in elements, and its shape."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0
        self.shape: tuple[int, ...] = ()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, tuple | list) else (result,):
            if isinstance(one, torch.Tensor) and one.numel() > self.largest:
                self.largest, self.shape = one.numel(), tuple(one.shape)
        return result


@pytest.mark.parametrize(
    ("rows", "classes", "dim", "memory_mb", "arguments"),
    [
        (256, 20_000, 64, 8.0, {}),
        (64, 4_000, 32, 0.5, {"inter_class_filter": 0.3}),
        (96, 4_000, 32, 0.5, {"sub_centers": 2}),
        (4, 2_000, 512, 0.5, {}),  # few rows: the centers' own gradient is then the larger part
    ],
)
def test_no_tensor_of_the_chunked_sweep_is_larger_than_its_memory(
    rows: int, classes: int, dim: int, memory_mb: float, arguments: dict[str, Any]
) -> None:
    head = create_head("arcface", num_classes=classes, embedding_dim=dim, memory_mb=memory_mb, **arguments)
    embeddings, labels = batch(rows, dim, classes)
    weight = head.centers.weight.numel()
    with LargestTensor() as seen:
        head(embeddings, labels).loss.backward()
    assert seen.largest <= max(weight, memory_mb * 2**20 / 4), seen.shape
    assert rows < dim or seen.largest < rows * classes  # the N x C matrix never is


def test_the_measure_of_memory_sees_the_dense_sweep() -> None:
    head = create_head("arcface", num_classes=2000, embedding_dim=8, sweep="reference")
    embeddings, labels = batch(64, 8, 2000)
    with LargestTensor() as seen:
        head(embeddings, labels).loss.backward()
    assert seen.largest >= 64 * 2000


@pytest.mark.parametrize("name", ["arcface", "curricularface", "adacos", "npt", "sphereface2"])
@pytest.mark.parametrize("sub_centers", [1, 2])
def test_kept_blocks_change_nothing(name: str, sub_centers: int) -> None:
    """With memory for no block, some blocks and all blocks the same loss and gradients, twice over."""
    results = []
    for memory_mb in (1e-3, 0.02, 64.0):
        head = create_head(name, num_classes=90, embedding_dim=8, sub_centers=sub_centers, seed=2, memory_mb=memory_mb)
        rows, labels = batch(16, 8, 90)
        embeddings = rows.detach().double().requires_grad_()
        loss = head.double()(embeddings, labels).loss
        gradients = torch.autograd.grad(loss, [embeddings, head.centers.weight], retain_graph=True)
        again = torch.autograd.grad(loss, [embeddings, head.centers.weight])
        assert all(torch.equal(one, other) for one, other in zip(gradients, again, strict=True))
        results.append((loss, *gradients))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0])


def test_blocks_are_kept_while_memory_lasts() -> None:
    """The products of the backward pass: with memory for all cosines none is made again."""
    products = {}
    for memory_mb in (0.01, 64.0):
        head = create_head("arcface", num_classes=400, embedding_dim=8, memory_mb=memory_mb)
        embeddings, labels = batch(16, 8, 400)
        loss = head(embeddings, labels).loss
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            loss.backward()
        products[memory_mb] = sum(e.count for e in profiler.key_averages() if e.key in ("aten::mm", "aten::addmm_"))
    assert products[64.0] == 2  # one block: the gradients of rows and centers
    assert products[0.01] > 2 * 10  # many blocks, most of them made again


@pytest.mark.parametrize(
    ("margin", "arguments"),
    [
        ("arcface", {}),
        ("arcface", {"sub_centers": 2}),
        ("arcface", {"inter_class_filter": 0.1}),
        ("circle", {}),
        ("sphereface_r", {}),
        ("sphereface2", {}),
    ],
)
def test_memory_held_at_one_time(margin: str, arguments: dict[str, Any]) -> None:
    """Sum of what lives at one time, by torch's own profiler, beside inputs, results and gradients."""
    classes, dim, rows, memory_mb = 6000, 32, 64, 0.5
    head = create_head(margin, num_classes=classes, embedding_dim=dim, memory_mb=memory_mb, **arguments)
    embeddings, labels = batch(rows, dim, classes)
    head(embeddings, labels).loss.backward()  # warm: the gradients' own memory exists
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        head(embeddings, labels).loss.backward()
    held = peak = 0
    for event in profiler.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    gradients = (head.centers.weight.numel() + embeddings.numel()) * 4
    assert gradients < peak <= gradients + memory_mb * 2**20, f"{(peak - gradients) / 2**20:.2f} MiB held"


def test_a_margin_of_a_class_stays_with_it_when_classes_are_sampled() -> None:
    head = create_head("adaptiveface", num_classes=40, embedding_dim=8, sample_rate=0.25, scale=1.0, penalty_weight=0.0)
    head.margin.margins.data = torch.linspace(0, 1, 40)
    embeddings, labels = torch.randn(6, 8), torch.tensor([3, 39, 17, 17, 0, 25])
    seen: list[Tensor] = []
    target = head.margin.target
    head.margin.target = lambda cosine, norm, labels: seen.append(labels) or target(cosine, norm, labels)
    head(embeddings, labels).loss.backward()
    assert torch.equal(seen[0], labels)
    assert head.margin.margins.grad.nonzero()[:, 0].tolist() == [0, 3, 17, 25, 39]
