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
    "adaptiveface": {"margin_init": (0.0, 0.0), "penalty_weight": 0.0, "scale": 64.0},
    "adaface": {"margin": 0.0, "eps": 0.0},
    "arcface": {"margin": 0.0},
    "arcnegface": {"margin": 0.0, "alpha": 1.0, "sigma": 1e9},
    "combined": {"m1": 1.0, "m2": 0.0, "m3": 0.0},
    "cosface": {"margin": 0.0},
    "elasticface": {"margin": 0.0, "sigma": 0.0},
    "magface": {"l_margin": 0.0, "u_margin": 0.0, "penalty_weight": 0.0},
    "mv_softmax": {"margin": 0.0, "t": 0.0, "scale": 64.0},
    "norm_softmax": {},
    "sphereface": {"margin": 1.0},
    "sphereface_r": {"margin": 1.0, "scale": 64.0},
}
# losses other than the cross-entropy of their logits: hinges, and binary ones
NO_SOFTMAX = {"npt", "sphereface2", "uniface"}
# no margin to take away: no scale (softmax, a_softmax), its own scale (adacos), cosines reshaped even without a margin
# (curricularface, circle), no cosine at all (x2_softmax)
RESHAPED = {"curricularface", "circle", "x2_softmax"}
NO_ZERO_MARGIN = NO_SOFTMAX | RESHAPED | {"softmax", "a_softmax", "adacos", "adacos_fixed"}
# weights that get no gradient, which finite differences cannot know; tests/test_margins_by_hand.py checks the slopes
WEIGHTED = {"circle", "arcnegface"}
NOT_NORMALIZED = {"softmax", "a_softmax"}
# margins that draw at random are held still; so is AdaFace's running mean, moved near the embeddings' lengths
ARGUMENTS: dict[str, dict[str, object]] = {
    "elasticface": {"sigma": 0.0},
    "adaface": {"t_alpha": 1.0},
    "magface": {"l_a": 2.0, "u_a": 30.0, "penalty_weight": 100.0},
    "npt": {"top_k": 3},
}
# the published default of these rises where the cosine crosses 0 ("easy") or beyond pi (no handling in the code)
RISING: dict[str, dict[str, object]] = {
    "mv_softmax": {"easy": False, "kind": "am"},
    "magface": {"beyond_pi": "threshold"},
    "elasticface": {"kind": "cos"},
}
# arguments under which the gradient is the formula's: AdaFace holds the embedding's length constant, h = 0 takes it out
TRUE_GRADIENT: dict[str, dict[str, object]] = {
    "adaface": {"h": 0.0},
    "sphereface2": {"gradient": "analytic"},
    "sphereface_r": {"gradient": "analytic"},
}


def head_and_batch(name: str, sweep: str, sub_centers: int, dtype: torch.dtype = torch.float64, **arguments: object):
    arguments = {**ARGUMENTS.get(name, {}), **arguments}
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
    """The loss as the papers write it, one row and one class at a time; the margin's state as it stands."""
    margin, weight = head.margin, head.centers.weight
    losses = []
    for x, y in zip(embeddings, labels.tolist(), strict=True):
        norm = x.norm()[None]
        row = x / x.norm() if margin.normalizes_embeddings else x
        cosines = [max(row @ (w / w.norm() if margin.normalizes_centers else w) for w in centers) for centers in weight]
        own = cosines[y][None]
        target = margin.scale * margin.target(own, norm, torch.tensor([y]))
        threshold = margin.threshold(own.detach(), norm.detach())
        threshold = None if threshold is None else threshold[:, None]
        others = torch.stack([c for j, c in enumerate(cosines) if j != y])
        logits = margin.scale * margin.negative(others[None], threshold)
        offset = margin.offset()
        log_sum = logits.logsumexp(1) if offset is None else (1 + torch.exp(logits + offset)).log().sum(1)
        nearest = others.sort(descending=True).values[None, : margin.top_k] if margin.top_k else None
        losses.append(margin.loss(target, log_sum, nearest)[0])
    penalty = margin.penalty(embeddings.norm(dim=1))
    loss = torch.stack(losses).mean()
    return loss if penalty is None else loss + penalty


@pytest.mark.parametrize("sub_centers", [1, 3])
@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("name", margin_names())
def test_equals_a_plain_loop_in_value_and_gradient(name: str, sweep: str, sub_centers: int) -> None:
    head, embeddings, labels = head_and_batch(name, sweep, sub_centers)
    got = head(embeddings, labels)  # first, since it moves the margin's state
    expected = plain_loop(head, embeddings, labels)
    inputs = (embeddings, head.centers.weight, *head.margin.parameters())
    wanted = torch.autograd.grad(expected, inputs)
    grads = torch.autograd.grad(got.loss, inputs)
    torch.testing.assert_close(got.loss, expected, rtol=1e-10, atol=1e-12)
    for one, other in zip(grads, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("name", [n for n in margin_names() if n not in NO_SOFTMAX])
def test_loss_is_the_cross_entropy_of_the_logits(name: str, sweep: str) -> None:
    head, embeddings, labels = head_and_batch(name, sweep, 1)
    loss = head(embeddings, labels).loss
    penalty = head.margin.penalty(embeddings.norm(dim=1))
    expected = F.cross_entropy(head.logits(embeddings, labels), labels)
    torch.testing.assert_close(loss, expected if penalty is None else expected + penalty)


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


@pytest.mark.parametrize("name", [n for n in margin_names() if n not in NO_ZERO_MARGIN])
def test_zero_margin_is_the_normalized_softmax(name: str) -> None:
    head, embeddings, labels = head_and_batch(name, "chunked", 1, **ZERO_MARGIN[name])
    plain, _, _ = head_and_batch("norm_softmax", "chunked", 1)
    torch.testing.assert_close(head(embeddings, labels).loss, plain(embeddings, labels).loss)


@pytest.mark.parametrize("sub_centers", [1, 3])
@pytest.mark.parametrize("name", margin_names())
def test_chunked_is_dense_whatever_the_memory(name: str, sub_centers: int) -> None:
    head, embeddings, labels = head_and_batch(name, "chunked", sub_centers)
    head(embeddings, labels)
    head.eval()  # state at rest, so that every sweep is asked the same
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
    head(embeddings, labels)
    head.eval()
    with torch.autocast("cpu", torch.bfloat16):
        close = head(embeddings.bfloat16(), labels).loss
    torch.testing.assert_close(close, head(embeddings, labels).loss, rtol=0.02, atol=0.02)
    assert close.dtype == torch.float32


@pytest.mark.parametrize("name", margin_names())
def test_target_logit_never_rises_with_its_angle(name: str) -> None:
    head, _, _ = head_and_batch(name, "chunked", 1, **RISING.get(name, {}))
    theta = torch.linspace(0, math.pi, 2001, dtype=torch.float64)
    norm = torch.full_like(theta, 30.0)
    product = theta.cos() if head.margin.normalizes_embeddings else 30.0 * theta.cos()
    target = head.margin.target(product, norm, torch.zeros(len(theta), dtype=torch.long))
    assert (target.diff() <= 1e-9).all()


@pytest.mark.parametrize("name", [n for n in margin_names() if n not in WEIGHTED])
def test_gradcheck(name: str) -> None:
    head, embeddings, labels = head_and_batch(name, "chunked", 1, **TRUE_GRADIENT.get(name, {}))
    head(embeddings, labels)
    head.eval()  # state at rest
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
