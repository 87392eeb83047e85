"""Inversion: priors as DeepInversion and the paper have them, searches that resume, targets of either kind."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hyperarc
from hyperarc.contract import Contract
from hyperarc.encoder import model_input
from hyperarc.errors import DataError, HyperArcError
from hyperarc.inversion import (
    BatchNormPrior,
    ClassGoal,
    EmbeddingGoal,
    Inversion,
    Priors,
    Search,
    image_norm,
    out_of_range,
    shortness,
    to_pixels,
    total_variation,
    usual_length,
)
from hyperarc.inversion.batch_norm import normalize_with_moments
from hyperarc.inversion.pixels import bounds_of

SMALL = Contract(height=16, width=16, embedding_dim=8)
NONE = Priors(batch_norm=0, total_variation=0, image_norm=0, length=0)


def plain(iterations: int) -> Search:
    """Full size from the first step, no shifts: pictures of 16 px have nothing coarse."""
    return replace(Search.paper(iterations), rate=0.05, flip=True)


def small_net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Flatten(), nn.Linear(72, 8), nn.BatchNorm1d(8),
    )  # fmt: skip
    with torch.no_grad():
        for _ in range(20):  # statistics of smooth pictures
            net(torch.nn.functional.interpolate(torch.rand(32, 3, 4, 4) * 2 - 1, (16, 16), mode="bilinear"))
    return net.eval()


# ---- priors


@pytest.fixture
def golden_priors(shared: Path) -> dict[str, Tensor]:
    case = np.load(shared / "golden" / "inversion_priors.npz")
    return {name: torch.from_numpy(np.asarray(case[name])) for name in case.files}


def test_priors_as_deepinversion_and_the_paper(golden_priors: dict[str, Tensor]) -> None:
    g = golden_priors
    for kind in ("l1", "l2"):
        x = g["x"].clone().requires_grad_()
        value = total_variation(x, kind)
        value.backward()
        torch.testing.assert_close(value.detach(), g[f"tv_{kind}"])
        torch.testing.assert_close(x.grad, g[f"grad_tv_{kind}"])
    for statistics, name in (("paper", "paper_eq8"), ("deepinversion", "bn_norm")):
        layer = nn.BatchNorm2d(3).double().eval()
        layer.running_mean, layer.running_var = g["running_mean"].clone(), g["running_var"].clone()
        prior = BatchNormPrior(layer, Priors(statistics=statistics, first_layer=1))  # type: ignore[arg-type]
        x = g["x"].clone().requires_grad_()
        with prior.watching():
            layer(x)
        prior.value().backward()
        torch.testing.assert_close(prior.value().detach(), g[name])
        torch.testing.assert_close(x.grad, g[f"grad_{name}"])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_moments_are_those_of_var_mean(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    values = (5 + 3 * torch.randn(4, 6, 5, 7, dtype=torch.float64)).contiguous(memory_format=layout)
    scale, shift = torch.randn(6).double(), torch.randn(6).double()
    torch.autograd.gradcheck(lambda x: normalize_with_moments(x, scale, shift), values.requires_grad_())
    variance, mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)
    normalized = values * scale[:, None, None] + shift[:, None, None]
    for found, expected in zip(normalize_with_moments(values, scale, shift), (normalized, mean, variance), strict=True):
        torch.testing.assert_close(found, expected)
    low = values.detach().to(torch.bfloat16).requires_grad_()
    found = normalize_with_moments(low, scale.float(), shift.float())
    assert [tensor.dtype for tensor in found] == [torch.bfloat16, torch.float32, torch.float32]
    torch.testing.assert_close(found[2].double(), variance, rtol=0.02, atol=0)
    found[0].sum().backward()
    assert low.grad is not None
    assert low.grad.dtype == torch.bfloat16


def test_a_watched_network_returns_what_it_returned() -> None:
    net = small_net().double()
    with torch.no_grad():
        for layer in net:  # type: ignore[attr-defined]
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 2)
                layer.bias.normal_()
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    with BatchNormPrior(net, Priors(neck=True)).watching():
        watched = net(images)
    torch.testing.assert_close(watched, net(images))
    assert not any("forward" in vars(module) for module in net.modules())  # nobody watches any more


def test_pictures_with_the_remembered_statistics_cost_nothing() -> None:
    x = torch.randn(6, 3, 5, 5, dtype=torch.float64)
    layer = nn.BatchNorm2d(3).double().eval()
    layer.running_mean = x.mean(dim=(0, 2, 3))
    layer.running_var = x.var(dim=(0, 2, 3), correction=0)
    for statistics in ("paper", "deepinversion"):
        prior = BatchNormPrior(layer, Priors(statistics=statistics))
        with prior.watching():
            layer(x)
        assert float(prior.value()) < 1e-12


def test_first_layer_and_neck() -> None:
    net = small_net()
    x = torch.randn(4, 3, 16, 16)
    values = {}
    alike = Priors(first_layer=1)
    for name, priors in {"plain": alike, "first": Priors(), "neck": replace(alike, neck=True)}.items():
        prior = BatchNormPrior(net, priors)
        with prior.watching(), torch.no_grad():
            net(x)
        values[name] = prior
    plain = values["plain"]
    assert (plain.layers, values["neck"].layers) == (2, 3)
    more = (values["first"].value() - plain.value()).item()
    assert more == pytest.approx(9 * plain._found[0].item(), rel=1e-5)


def test_image_norm_and_range_by_hand() -> None:
    images = torch.stack([torch.full((3, 2, 2), 2.0), torch.zeros(3, 2, 2)])
    assert float(image_norm(images)) == pytest.approx(math.sqrt(12 * 4) / 2)
    assert float(out_of_range(images, bounds_of(Contract()))) == pytest.approx(0.5)


def test_total_variation_of_pictures_does_not_depend_on_the_batch() -> None:
    images = torch.randn(2, 3, 6, 5)
    alone = [float(total_variation(image[None])) for image in images]  # l2
    assert float(total_variation(images, "picture")) == pytest.approx(sum(alone) / 2, rel=1e-5)
    assert float(total_variation(images.repeat(4, 1, 1, 1), "picture")) == pytest.approx(sum(alone) / 2, rel=1e-5)


def test_usual_length_is_what_the_last_batchnorm_gives() -> None:
    net = small_net()
    last = net[-1]  # type: ignore[index]
    with torch.no_grad():
        last.weight.uniform_(0.5, 2)
        last.bias.normal_()
        net.train()
        rows = net(torch.randn(4096, 3, 16, 16))  # its own statistics, as in training
    length = usual_length(net, 8)
    assert length is not None
    assert float(rows.square().sum(dim=1).mean().sqrt()) == pytest.approx(length, rel=1e-3)
    assert usual_length(net[:-1], 8) is None  # type: ignore[index]
    assert usual_length(net, 9) is None
    assert usual_length(nn.Sequential(nn.BatchNorm1d(4, affine=False)), 4) == pytest.approx(2)


def test_shortness_makes_embeddings_longer() -> None:
    usual = usual_length(small_net(), 8)
    assert usual is not None
    lengths = []
    for priors in (NONE, replace(NONE, length=4.0)):
        found = Inversion(small_net(), SMALL, EmbeddingGoal(torch.eye(8)[:3]), plain(60), priors).run().images()
        lengths.append(float(small_net()(found).detach().norm(dim=1).mean()))
    assert lengths[0] < lengths[1]
    assert lengths[1] > 1.1 * usual
    assert float(shortness(torch.full((1, 4), usual), usual)) == 0.0  # twice the usual


def test_weights_are_checked() -> None:
    with pytest.raises(HyperArcError, match="weight batch_norm of the priors should be 0 or more, got -1"):
        Priors(batch_norm=-1)
    with pytest.raises(HyperArcError, match=r"has no BatchNorm .* total variation, image norm and range still apply"):
        BatchNormPrior(nn.Sequential(nn.Conv2d(3, 4, 3)), Priors())
    with pytest.raises(HyperArcError, match="layer 1 keeps no running statistics"):
        BatchNormPrior(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), Priors())


# ---- pixels


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_pixels_go_there_and_back(color: Any) -> None:
    contract = Contract(color=color, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
    faces = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    seen = model_input(torch.from_numpy(faces).permute(0, 3, 1, 2), contract, "cpu")
    np.testing.assert_array_equal(to_pixels(seen, contract), faces)
    bounds = bounds_of(contract)
    assert bool(((seen >= bounds.low - 1e-5) & (seen <= bounds.high + 1e-5)).all())


# ---- goals


def test_goals_by_hand() -> None:
    goal = EmbeddingGoal([[3.0, 0.0], [0.0, 1.0]])
    got = torch.tensor([[1.0, 1.0], [0.0, 5.0]])
    assert goal.cosine(got).tolist() == pytest.approx([math.sqrt(0.5), 1.0])
    assert float(goal.loss(got)) == pytest.approx((2 - 2 * math.sqrt(0.5)) / 2)
    head = hyperarc.create_head("arcface", num_classes=4, embedding_dim=8, scale=16)
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    classes = ClassGoal(head.train(), [2, 0])
    rows = torch.randn(2, 8)
    torch.testing.assert_close(classes.loss(rows), head(rows, torch.tensor([2, 0])).loss)
    torch.testing.assert_close(
        classes.cosine(rows), torch.cosine_similarity(rows, head.centers.weight[[2, 0], 0]), rtol=1e-5, atol=1e-6
    )
    assert all(torch.equal(before[name], tensor) for name, tensor in head.state_dict().items())


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([1.0, 2.0], r"expected embeddings \[N, d\] to invert"),
        ([[1.0, 2.0], [0.0, 0.0]], "embedding row 1: a target is zero, NaN or infinite"),
        ([[math.nan, 2.0]], "embedding row 0"),
    ],
)
def test_bad_targets(targets: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        EmbeddingGoal(targets)


def test_bad_labels() -> None:
    head = hyperarc.create_head("cosface", num_classes=4, embedding_dim=8)
    for labels, told in (([4], r"got \[4\]"), ([-1, 0], r"got \[-1\]"), ([], "got")):
        with pytest.raises(DataError, match=f"the 4 people that the head knows, {told}"):
            ClassGoal(head, labels)


# ---- the search


@pytest.mark.parametrize("kind", ["embedding", "class"])
def test_search_reaches_its_targets(kind: str) -> None:
    net = small_net()
    goal: Any = EmbeddingGoal(torch.randn(3, 8))
    if kind == "class":
        goal = ClassGoal(hyperarc.create_head("arcface", num_classes=5, embedding_dim=8, scale=16), [0, 3, 4])
    search = Inversion(net, SMALL, goal, plain(200), NONE)
    before = search.scores()
    after = search.run().scores()
    assert (after > 0.8).all(), (before, after)
    assert (after > before).all()
    assert search.images().shape == (3, 3, 16, 16)
    assert all(not parameter.requires_grad for parameter in net.parameters())


def test_batchnorm_prior_brings_statistics_near() -> None:
    net, targets = small_net(), torch.randn(4, 8)

    def apart(weight: float) -> float:
        priors = replace(NONE, batch_norm=weight)
        search = Inversion(net, SMALL, EmbeddingGoal(targets), plain(150), priors).run()
        prior = BatchNormPrior(net, Priors())
        with prior.watching(), torch.no_grad():
            net(search.images())
        return float(prior.value())

    assert apart(1.0) < 0.3 * apart(0.0)


@pytest.mark.parametrize("stop", [1, 13, 20, 25])
def test_resumed_search_ends_with_the_same_bytes(stop: int) -> None:
    how = Search(iterations=40, rate=0.05, jitter_px=2, resolutions=(0.5, 1.0), schedule="cosine", warmup=5)
    goal = EmbeddingGoal(torch.randn(2, 8, generator=torch.Generator().manual_seed(1)))
    whole = Inversion(small_net(), SMALL, goal, how).run().images()
    first = Inversion(small_net(), SMALL, goal, how).run(stop)
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    second = Inversion(small_net(), SMALL, goal, how)
    second.load(state)
    assert second.step == stop
    assert torch.equal(second.run().images(), whole)


def test_another_seed_is_another_face_and_the_same_seed_the_same() -> None:
    goal = EmbeddingGoal(torch.eye(8)[:2])
    a, b, c = (
        Inversion(small_net(), SMALL, goal, Search(iterations=5, seed=seed)).run().images() for seed in (0, 0, 1)
    )
    assert torch.equal(a, b)
    assert not torch.allclose(a, c)


def test_values_stay_in_the_range_of_pixels() -> None:
    contract = Contract(height=16, width=16, embedding_dim=8, mean=(0, 0, 0), std=(255, 255, 255))
    images = Inversion(small_net(), contract, EmbeddingGoal(torch.eye(8)[:2]), Search(iterations=5)).run().images()
    assert float(images.min()) >= 0
    assert float(images.max()) <= 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"iterations": 0}, "at least 1 iteration"),
        ({"rate": 0.0}, "a positive rate"),
        ({"resolutions": (0.5,)}, r"the last of the resolutions should be 1, got \(0.5,\)"),
        ({"resolutions": (0.01, 1.0)}, "between 0.1 and 1"),
    ],
)
def test_bad_search(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(HyperArcError, match=message):
        Search(**wrong)


def test_targets_of_another_model() -> None:
    with pytest.raises(DataError, match="expected targets of 8 values as this model's embeddings, got 5"):
        Inversion(small_net(), SMALL, EmbeddingGoal(torch.eye(5)))
    with pytest.raises(DataError, match="the model returns 8 values, its contract says otherwise"):
        Inversion(small_net(), Contract(height=16, width=16), EmbeddingGoal(torch.eye(8)))


def test_loss_that_is_not_finite_is_told() -> None:
    search = Inversion(small_net(), SMALL, EmbeddingGoal(torch.eye(8)[:2]), Search(iterations=5), Priors())
    with torch.no_grad():
        search.backbone[0].weight.fill_(math.nan)  # type: ignore[index]
    with pytest.raises(HyperArcError, match="the loss is nan at step 0"):
        search.run()
