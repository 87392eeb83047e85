"""Auxiliary losses: the authors' numbers, hand-computed cases, the rules of their centers and mining."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperarc.errors import HyperArcError, UnknownNameError
from hyperarc.geometry import unit
from hyperarc.heads.auxiliary import auxiliary_names, create_auxiliary
from hyperarc.heads.head import create_head
from hyperarc.heads.shard import Cut, Shard


def load(shared: Path, case: str) -> dict[str, np.ndarray]:
    with np.load(shared / "golden" / f"{case}.npz", allow_pickle=False) as file:
        return dict(file)


def tensors(golden: dict[str, np.ndarray]) -> tuple[Tensor, Tensor, Tensor]:
    embeddings = torch.tensor(golden["emb"], requires_grad=True)
    centers = torch.tensor(golden["weight"])[:, None] if "weight" in golden else torch.zeros(1, 1, 1)
    return embeddings, torch.tensor(golden["labels"]), centers.requires_grad_()


@pytest.mark.parametrize("case", ["mxnet_old_intra", "mxnet_old_intra_arc"])
def test_intra_is_the_authors(shared: Path, case: str) -> None:
    golden = load(shared, case)
    embeddings, labels, centers = tensors(golden)
    loss = create_auxiliary("intra")(embeddings, labels, Shard.whole(centers))
    loss.backward()
    np.testing.assert_allclose(loss.item(), golden["aux_loss"][0], rtol=1e-8)
    scale = 0.7 if case.endswith("arc") else 1.0
    for ours, theirs in ((embeddings.grad, golden["grad_emb_aux"]), (centers.grad[:, 0], golden["grad_weight_aux"])):
        np.testing.assert_allclose(scale * ours, theirs, rtol=1e-4, atol=1e-6 * np.abs(theirs).max())


def test_inter_as_released(shared: Path) -> None:
    golden = load(shared, "mxnet_old_inter")
    embeddings, labels, centers = tensors(golden)
    loss = create_auxiliary("inter", variant="released")(embeddings, labels, Shard.whole(centers))
    loss.backward()
    np.testing.assert_allclose(loss.item(), golden["aux_loss"][0], rtol=1e-8)
    theirs = golden["grad_weight_aux"]
    np.testing.assert_allclose(centers.grad[:, 0], theirs, rtol=1e-6, atol=1e-8 * np.abs(theirs).max())


def test_inter_as_in_the_paper() -> None:
    torch.manual_seed(0)
    centers = torch.randn(7, 1, 5, dtype=torch.float64)
    labels = torch.tensor([3, 1, 3, 6])
    directions = unit(centers[:, 0])
    expected = 0.0
    for y in labels.tolist():
        for j in range(7):
            if j != y:
                expected -= math.acos(float(directions[y] @ directions[j])) / (math.pi * len(labels) * 6)
    loss = create_auxiliary("inter")(torch.zeros(4, 5, dtype=torch.float64), labels, Shard.whole(centers))
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    rows = torch.zeros(4, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda w: create_auxiliary("inter")(rows, labels, Shard.whole(w)), centers.requires_grad_()
    )


@pytest.mark.parametrize(
    ("case", "kind", "alpha"), [("mxnet_triplet", "euclidean", 0.3), ("mxnet_atriplet", "angular", 0.35)]
)
def test_triplets_are_the_authors(shared: Path, case: str, kind: str, alpha: float) -> None:
    golden = load(shared, case)
    embeddings = torch.tensor(golden["emb"], requires_grad=True)
    anchor, positive, negative = unit(embeddings).chunk(3)  # blocks of anchors, positives, negatives
    loss = create_auxiliary("triplet", kind=kind, margin=alpha).loss(anchor, positive, negative)
    loss.backward()
    np.testing.assert_allclose(loss.item(), golden["loss"][0], rtol=1e-8)
    theirs = golden["grad_emb"]
    np.testing.assert_allclose(embeddings.grad, theirs, rtol=1e-6, atol=1e-8 * np.abs(theirs).max())


@pytest.mark.parametrize("mining", ["all", "hard", "semihard"])
def test_mining_and_its_mean(shared: Path, mining: str) -> None:
    golden = load(shared, f"pml_triplet_{mining}")
    embeddings, labels, _ = tensors(golden)
    triplet = create_auxiliary("triplet", kind="euclidean", margin=0.35, mining=mining, mean="nonzero")
    mined = {tuple(map(int, t)) for t in zip(*triplet.mine(unit(embeddings).detach(), labels), strict=True)}
    theirs = {tuple(map(int, t)) for t in zip(golden["anchor"], golden["positive"], golden["negative"], strict=True)}
    assert mined == theirs
    loss = triplet(embeddings, labels, Shard.whole(torch.zeros(1, 1, 1)))
    loss.backward()
    np.testing.assert_allclose(loss.item(), golden["loss"], rtol=1e-9)
    np.testing.assert_allclose(embeddings.grad, golden["grad_emb"], rtol=1e-6, atol=1e-10)


def test_batch_hard(shared: Path) -> None:
    golden = load(shared, "pml_batchhard")
    embeddings, labels, _ = tensors(golden)
    mined = create_auxiliary("triplet", mining="batch_hard").mine(unit(embeddings).detach(), labels)
    for ours, name in zip(mined, ("anchor", "positive", "negative"), strict=True):
        assert ours.tolist() == golden[name].tolist()


def test_no_triplets_no_loss() -> None:
    embeddings = torch.randn(3, 4, requires_grad=True)
    for mining in ("all", "hard", "semihard", "batch_hard"):
        centers = Shard.whole(torch.zeros(1, 1, 4))
        loss = create_auxiliary("triplet", mining=mining)(embeddings, torch.tensor([0, 1, 2]), centers)
        loss.backward()
        assert loss.item() == 0.0


def test_center_moves_as_in_caffe(shared: Path) -> None:
    golden = load(shared, "center_caffe")
    embeddings, labels, _ = tensors(golden)
    center = create_auxiliary("center", alpha=0.5)
    center.for_classes(Cut.of(len(golden["centers"])), golden["centers"].shape[1])
    center.double().centers.copy_(torch.tensor(golden["centers"]))
    loss = center(embeddings, labels, Shard.whole(torch.zeros(1, 1, 1)))
    loss.backward()
    np.testing.assert_allclose(loss.item(), golden["loss"], rtol=1e-12)
    np.testing.assert_allclose(embeddings.grad, golden["grad_emb"], rtol=1e-10)
    np.testing.assert_allclose(center.centers, golden["centers_after_alpha0p5"], rtol=1e-10)
    absent = np.setdiff1d(np.arange(len(golden["centers"])), golden["labels"])
    assert np.array_equal(center.centers[absent], golden["centers"][absent])
    assert center.weight == 0.003
    before = center.centers.clone()
    center.eval()(embeddings, labels, Shard.whole(torch.zeros(1, 1, 1)))
    assert torch.equal(center.centers, before)


def test_center_is_half_of_the_popular_port(shared: Path) -> None:
    """KaiyangZhou's port leaves the factor 1/2 out, and its clamp adds 1e-12 for each class but the own."""
    golden = load(shared, "center_kaiyangzhou")
    embeddings, labels, _ = tensors(golden)
    center = create_auxiliary("center")
    center.for_classes(Cut.of(len(golden["weight"])), golden["weight"].shape[1])
    center.double().centers.copy_(torch.tensor(golden["weight"]))
    loss = center(embeddings, labels, Shard.whole(torch.zeros(1, 1, 1)))
    loss.backward()
    np.testing.assert_allclose(2 * loss.item() + (len(golden["weight"]) - 1) * 1e-12, golden["loss"], rtol=1e-12)
    np.testing.assert_allclose(2 * embeddings.grad, golden["grad_emb"], rtol=1e-10)


@pytest.mark.parametrize("sample_rate", [1.0, 0.5])
def test_added_to_a_head(sample_rate: float) -> None:
    torch.manual_seed(0)
    sizes = {"num_classes": 20, "embedding_dim": 8, "sample_rate": sample_rate}
    chosen = {"triplet": {"mining": "batch_hard", "weight": 0.5}, "intra": {}, "inter": {}, "center": {"weight": 0.1}}
    plain, head = create_head("arcface", **sizes), create_head("arcface", **sizes, auxiliary=chosen)
    embeddings, labels = torch.randn(8, 8, requires_grad=True), torch.tensor([0, 0, 5, 5, 9, 9, 19, 19])
    out, alone = head(embeddings, labels), plain(embeddings, labels)
    assert list(out.auxiliary) == list(chosen)
    weights = {"triplet": 0.5, "intra": 1.0, "inter": 1.0, "center": 0.1}
    expected = alone.loss + sum(weights[name] * value for name, value in out.auxiliary.items())
    torch.testing.assert_close(out.loss, expected)
    assert alone.auxiliary == {}
    out.loss.backward()
    assert head.centers.weight.grad.isfinite().all()
    assert "auxiliary.center.centers" in head.state_dict()


def test_names_and_bad_arguments() -> None:
    assert auxiliary_names() == ["center", "inter", "intra", "triplet"]
    with pytest.raises(UnknownNameError, match="did you mean 'triplet'"):
        create_auxiliary("tripelt")
    with pytest.raises(UnknownNameError, match="did you mean 'mining'"):
        create_auxiliary("triplet", minning="all")
    for name, bad in (("triplet", {"mining": "easy"}), ("inter", {"variant": "x"}), ("center", {"alpha": 2.0})):
        with pytest.raises(HyperArcError):
            create_auxiliary(name, **bad)
    with pytest.raises(HyperArcError, match="weight must not be negative"):
        create_auxiliary("intra", weight=-1.0)
