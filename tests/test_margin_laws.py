"""Laws that every registered margin obeys, with sub-centers or without, in either sweep.

A new margin file is found and tested here by itself; what it must be told is only in EXCEPTIONS.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperarc.heads.head import Head, create_head
from hyperarc.margins import margin_names

CLASSES, DIM, BATCH = 23, 16, 12
SWEEPS = ("reference", "chunked")
# margin -> arguments under which it is the normalized softmax
ZERO_MARGIN = {
    "arcface": {"margin": 0.0},
    "combined": {"m1": 1.0, "m2": 0.0, "m3": 0.0},
    "cosface": {"margin": 0.0},
    "norm_softmax": {},
}
NOT_NORMALIZED = {"softmax"}


def head_and_batch(name: str, sweep: str, sub_centers: int, dtype: torch.dtype = torch.float64, **arguments: object):
    head = create_head(
        name,
        num_classes=CLASSES,
        embedding_dim=DIM,
        sub_centers=sub_centers,
        seed=3,
        sweep=sweep,
        memory_mb=0.004,  # about two classes a block
        **arguments,
    ).to(dtype)
    generator = torch.Generator().manual_seed(5)
    embeddings = 3 * torch.randn(BATCH, DIM, generator=generator, dtype=torch.float64)
    labels = torch.randint(CLASSES, (BATCH,), generator=generator)
    # some rows near their center, some opposite, the rest anywhere
    own = head.centers.weight.detach()[labels, 0].double()
    embeddings[:4] = 200 * own[:4] + 0.3 * embeddings[:4]
    embeddings[4:6] = -200 * own[4:6] + 0.3 * embeddings[4:6]
    return head, embeddings.to(dtype).requires_grad_(), labels


def plain_loop(head: Head, embeddings: Tensor, labels: Tensor) -> Tensor:
    """The loss as the papers write it, one row and one class at a time."""
    margin, weight = head.margin, head.centers.weight
    losses = []
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        row = x / x.norm() if margin.normalizes_embeddings else x
        logits = []
        for j, centers in enumerate(weight):
            products = [row @ (w / w.norm() if margin.normalizes_centers else w) for w in centers]
            cosine = max(products)
            if j == y:
                cosine = margin.target(cosine[None], x.norm()[None], torch.tensor([y]))[0]
            logits.append(margin.scale * cosine)
        losses.append(torch.stack(logits).logsumexp(0) - logits[y])
    return torch.stack(losses).mean()


@pytest.mark.parametrize("sub_centers", [1, 3])
@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("name", margin_names())
def test_equals_a_plain_loop_in_value_and_gradient(name: str, sweep: str, sub_centers: int) -> None:
    head, embeddings, labels = head_and_batch(name, sweep, sub_centers)
    expected = plain_loop(head, embeddings, labels)
    wanted = torch.autograd.grad(expected, (embeddings, head.centers.weight))
    got = head(embeddings, labels)
    grads = torch.autograd.grad(got.loss, (embeddings, head.centers.weight))
    torch.testing.assert_close(got.loss, expected, rtol=1e-10, atol=1e-12)
    for one, other in zip(grads, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("name", margin_names())
def test_loss_is_the_cross_entropy_of_the_logits(name: str, sweep: str) -> None:
    head, embeddings, labels = head_and_batch(name, sweep, 1)
    logits = head.logits(embeddings, labels)
    torch.testing.assert_close(head(embeddings, labels).loss, F.cross_entropy(logits, labels))


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("name", margin_names())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_is_finite_at_the_poles_and_at_norm_zero(name: str, sweep: str, dtype: torch.dtype) -> None:
    head, _, labels = head_and_batch(name, sweep, 1, dtype)
    own = head.centers.weight.detach()[labels, 0]
    across = torch.linalg.svd(own[2:3]).Vh[-1]
    embeddings = torch.stack([own[0], -own[1], across, torch.zeros(DIM, dtype=dtype), *own[4:]]).requires_grad_()
    out = head(embeddings, labels)
    out.loss.backward()
    assert out.loss.isfinite()
    assert embeddings.grad.isfinite().all()
    assert head.centers.weight.grad.isfinite().all()
    assert embeddings.grad.abs().max() < 1e5


@pytest.mark.parametrize("name", [n for n in margin_names() if n not in NOT_NORMALIZED])
def test_zero_margin_is_the_normalized_softmax(name: str) -> None:
    head, embeddings, labels = head_and_batch(name, "chunked", 1, **ZERO_MARGIN[name])
    plain, _, _ = head_and_batch("norm_softmax", "chunked", 1)
    torch.testing.assert_close(head(embeddings, labels).loss, plain(embeddings, labels).loss)


@pytest.mark.parametrize("sub_centers", [1, 3])
@pytest.mark.parametrize("name", margin_names())
def test_chunked_is_dense_whatever_the_memory(name: str, sub_centers: int) -> None:
    head, embeddings, labels = head_and_batch(name, "chunked", sub_centers)
    results = []
    for memory_mb in (1e-6, 0.01, 0.02, 64.0):
        head.memory_mb = memory_mb
        out = head(embeddings, labels)
        results.append((out.loss, *torch.autograd.grad(out.loss, (embeddings, head.centers.weight))))
    head.sweep = "reference"
    out = head(embeddings, labels)
    dense = (out.loss, *torch.autograd.grad(out.loss, (embeddings, head.centers.weight)))
    for result in results:
        for one, other in zip(result, dense, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", margin_names())
def test_half_precision_embeddings_stay_close(name: str) -> None:
    head, embeddings, labels = head_and_batch(name, "chunked", 1, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        close = head(embeddings.bfloat16(), labels).loss
    torch.testing.assert_close(close, head(embeddings, labels).loss, rtol=0.02, atol=0.02)
    assert close.dtype == torch.float32


@pytest.mark.parametrize("name", margin_names())
def test_target_logit_never_rises_with_its_angle(name: str) -> None:
    head, _, _ = head_and_batch(name, "chunked", 1)
    theta = torch.linspace(0, math.pi, 2001, dtype=torch.float64)
    ones = torch.ones_like(theta)
    target = head.margin.target(theta.cos(), 30 * ones, torch.zeros(len(theta), dtype=torch.long))
    assert (target.diff() <= 1e-9).all()


@pytest.mark.parametrize("name", margin_names())
def test_gradcheck(name: str) -> None:
    head, embeddings, labels = head_and_batch(name, "chunked", 1)
    weight = head.centers.weight

    def loss(x: Tensor, w: Tensor) -> Tensor:
        weight.data = w.data
        return head(x, labels).loss

    # in respect of the embeddings; the centers' gradient is held to the plain loop above
    assert torch.autograd.gradcheck(lambda x: loss(x, weight), (embeddings,), eps=1e-6, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("sub_centers", [1, 3])
@pytest.mark.parametrize("name", margin_names())
def test_state_survives_save_and_load(name: str, sub_centers: int, tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    head, embeddings, labels = head_and_batch(name, "chunked", sub_centers)
    head(embeddings, labels)
    save_file(head.state_dict(), tmp_path / "head.safetensors")
    other, _, _ = head_and_batch(name, "chunked", sub_centers)
    other.load_state_dict(load_file(tmp_path / "head.safetensors"))
    assert torch.equal(head(embeddings, labels).loss, other(embeddings, labels).loss)


@pytest.mark.parametrize("name", [n for n in margin_names() if n not in NOT_NORMALIZED])
def test_gradients_are_tangent(name: str) -> None:
    head, embeddings, labels = head_and_batch(name, "chunked", 1)
    if head.margin.penalty(embeddings.norm(dim=1)) is not None:
        pytest.skip("a penalty on the norm moves the embedding along itself")
    head(embeddings, labels).loss.backward()
    along = (embeddings * embeddings.grad).sum(1) / embeddings.norm(dim=1)
    assert along.abs().max() < 1e-9
    centers = head.centers.weight
    assert ((centers * centers.grad).sum(2) / centers.norm(dim=2)).abs().max() < 1e-9
