"""GroupFace: the labels of the ports, hand-computed networks and heads, groups that stay alive, recipe and artifact."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import hyperarc
from hyperarc.artifact import open_artifact
from hyperarc.backbones.groupface import GroupFace, GroupFCs, group_features
from hyperarc.backbones.necks import FeatureMap, build_neck
from hyperarc.commands.show import Show
from hyperarc.commands.train import Start, new_state, train
from hyperarc.contract import Contract
from hyperarc.data.drawn import draw_set
from hyperarc.encoder import model_input
from hyperarc.errors import HyperArcError, RecipeError, UnknownNameError
from hyperarc.heads.groupface import self_distributed_labels, similarity
from hyperarc.heads.head import create_head
from hyperarc.recipe import Recipe
from hyperarc.recipe.file import parse_recipe
from hyperarc.training.hardware import choose_hardware

SIZES: dict[str, Any] = {"num_classes": 6, "embedding_dim": 4}


def recipe_of(backbone: dict[str, Any], head: dict[str, Any]) -> Recipe:
    content = {
        "name": "grouped",
        "data": {"drawn": {"people": 6, "faces_per_person": 4}},
        "backbone": {"name": "iresnet_tiny", "embedding_dim": 16, "arguments": backbone},
        "head": {"margin": "groupface", **head},
        "optimizer": {"lr": 0.02},
        "schedule": {"kind": "constant", "epochs": 2},
        "training": {"batch_size": 8, "precision": "fp32", "threads": 1, "checkpoint_every": 3},
    }
    return parse_recipe(content, where="test")


NECK = {"neck": "groupface", "groups": 3, "shared_dim": 24, "hidden_dim": 8}
HEAD = {"arguments": {"groups": 3, "scale": 16.0, "margin": 0.2}}


# ---- labels


def test_labels_are_the_ports(shared: Path) -> None:
    with np.load(shared / "golden" / "groupface_label.npz", allow_pickle=False) as file:
        golden = dict(file)
    p = torch.tensor(golden["group_logits"]).softmax(dim=1)
    np.testing.assert_allclose(p, golden["group_prob"], rtol=1e-12)
    assert self_distributed_labels(p, p.mean(dim=0)).tolist() == golden["group_label"].tolist()
    assert golden["group_label"].tolist() != golden["naive_label"].tolist()
    head = create_head("groupface", groups=p.shape[1], group_momentum=0, **SIZES).double()
    expected = F.cross_entropy(torch.tensor(golden["group_logits"]), torch.tensor(golden["group_label"]))
    assert head.group_loss(torch.tensor(golden["group_logits"])).item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_expectation_by_hand() -> None:
    def logits(p: float) -> Tensor:
        return torch.tensor([[p, 1 - p], [p, 1 - p]]).log()

    for momentum, expected in ((0.5, (0.9, 0.7, 0.45)), (0.0, (0.9, 0.5, 0.2)), (0.75, (0.9, 0.8, 0.65))):
        head = create_head("groupface", groups=2, group_momentum=momentum, **SIZES)
        for share, running in zip((0.9, 0.5, 0.2), expected, strict=True):
            head.group_loss(logits(share))
            assert head.expectation.tolist() == pytest.approx([running, 1 - running])
        assert int(head.batches) == 3


def test_self_distribution_keeps_more_groups_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    faces = draw_set(people=16, faces_per_person=6, seed=0)
    pixels = model_input(torch.from_numpy(faces.images).permute(0, 3, 1, 2).contiguous(), Contract(), "cpu")
    features, labels = F.avg_pool2d(pixels, 14).flatten(1), torch.from_numpy(faces.labels).long()

    def groups_in_use(naive: bool, seed: int) -> float:
        """exp(entropy) of the groups' shares: 8 when all are equal, 1 when one has everything."""
        with monkeypatch.context() as patched:
            if naive:
                patched.setattr("hyperarc.heads.groupface.self_distributed_labels", lambda p, e: p.argmax(dim=1))
            torch.manual_seed(seed)
            network = GroupFace(features.shape[1], 16, groups=8, shared_dim=64, hidden_dim=32)
            head = create_head("groupface", num_classes=16, embedding_dim=16, groups=8, group_weight=1.0, scale=16)
            optimizer = torch.optim.SGD([*network.parameters(), *head.parameters()], lr=0.05, momentum=0.9)
            for _ in range(60):
                rows = torch.randperm(len(labels))[:32]
                optimizer.zero_grad()
                head(network(features[rows]), labels[rows]).loss.backward()
                optimizer.step()
            with torch.no_grad():
                shares = F.one_hot(network(features)[:, 16:].argmax(dim=1), 8).double().mean(dim=0)
        return float(torch.special.entr(shares).sum().exp())

    # no promise of even groups: one that has died stays dead, but fewer die (3.8 and 4.7 against 2.6 and 2.0 of 8)
    balanced, naive = (sum(groups_in_use(which, seed) for seed in (0, 1)) for which in (False, True))
    assert balanced > 1.4 * naive


# ---- the network


def plain(network: GroupFace, features: Tensor, hard: bool) -> Tensor:
    """vbar, row by row and group by group."""
    x = network.shared(features)
    v = network.instance(x)
    p = network.decision(v).softmax(dim=1)
    fcs = network.group_fcs
    bias = fcs.bias.reshape(fcs.weight.shape[:2])
    rows = []
    for i in range(len(x)):
        groups = [fcs.weight[k] @ x[i] + bias[k] for k in range(len(bias))]
        mixed = sum((q * g for q, g in zip(p[i], groups, strict=True)), torch.zeros(()))
        rows.append(v[i] + (groups[int(p[i].argmax())] if hard else mixed))
    return torch.stack(rows)


@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_the_network_is_the_plain_loops(assignment: str) -> None:
    torch.manual_seed(0)
    network = GroupFace(7, 4, groups=5, shared_dim=6, hidden_dim=8, assignment=assignment).double()
    features = torch.randn(9, 7, dtype=torch.float64)
    out = network(features)
    assert out.shape == (9, 9)
    torch.testing.assert_close(out[:, :4], plain(network, features, assignment == "hard"))
    weights = [p for p in network.parameters() if p.requires_grad]
    ours, theirs = (
        torch.autograd.grad(v.square().sum(), weights, materialize_grads=True)
        for v in (out[:, :4], plain(network, features, assignment == "hard"))
    )
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two)
    network.eval()
    torch.testing.assert_close(network(features), plain(network, features, assignment == "hard"))


def test_hard_and_soft_by_hand() -> None:
    x, logits = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[0.75, 0.25], [0.25, 0.75]]).log()
    # 0.75 * 1 + 0.25 * (2 + 5) and 0.25 * 3 + 0.75 * (6 + 5); the first of the first, the second of the second
    for assignment, expected in (("soft", [[2.5], [9.0]]), ("hard", [[1.0], [11.0]])):
        fcs = GroupFCs(2, 1, 2, assignment)
        with torch.no_grad():
            fcs.weight.copy_(torch.tensor([[[1.0, 0.0]], [[2.0, 0.0]]]))
            fcs.bias.copy_(torch.tensor([0.0, 5.0]))
        torch.testing.assert_close(fcs(x, logits), torch.tensor(expected))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_a_traced_graph_takes_any_batch(assignment: str) -> None:
    torch.manual_seed(0)
    network = GroupFace(7, 4, groups=5, shared_dim=6, hidden_dim=8, assignment=assignment).eval()
    with torch.no_grad():
        traced = torch.jit.trace(network, torch.randn(3, 7))
        many = torch.randn(20, 7)
        torch.testing.assert_close(traced(many), network(many))


def test_three_layers_decide() -> None:
    network = GroupFace(7, 4, groups=5, shared_dim=6, hidden_dim=8)
    linear = [tuple(m.weight.shape) for m in network.decision.modules() if isinstance(m, torch.nn.Linear)]
    assert linear == [(8, 4), (8, 8), (5, 8)]
    assert network.group_fcs.weight.shape == (5, 4, 6)


@pytest.mark.parametrize("name", ["iresnet_tiny", "mbf"])
def test_any_backbone_can_have_groups(name: str) -> None:
    backbone = hyperarc.create_backbone(name, 8, input_size=32, **NECK)
    faces = torch.randn(4, 3, 32, 32)
    assert backbone(faces).shape == (4, 11)
    assert backbone.eval()(faces).shape == (4, 8)
    assert hyperarc.create_backbone(name, 8, input_size=32).groups == 0


def test_wrong_arguments_of_the_neck() -> None:
    with pytest.raises(UnknownNameError, match="'groups'"):
        hyperarc.create_backbone("iresnet_tiny", groups=4)
    with pytest.raises(UnknownNameError, match="did you mean 'groups'"):
        hyperarc.create_backbone("iresnet_tiny", neck="groupface", gruops=4)
    with pytest.raises(UnknownNameError, match="argument of neck 'gap': 'groups'"):
        build_neck("gap", FeatureMap(8, 7, 16), groups=4)
    for bad in ({"groups": 1}, {"groups": True}, {"shared_dim": 0}, {"hidden_dim": 0.5}, {"assignment": "firm"}):
        with pytest.raises(HyperArcError, match=f"expected {next(iter(bad))}"):
            hyperarc.create_backbone("iresnet_tiny", neck="groupface", **bad)


# ---- the head


@pytest.mark.parametrize(
    "arguments",
    [
        {"over": "arcface", "margin": 0.4},
        {"over": "cosface", "margin": 0.2, "scale": 20.0, "sub_centers": 3},
        {"over": "curricularface", "sample_rate": 0.7, "momentum": 0.9},
        {"over": "magface", "auxiliary": {"intra": {"weight": 0.3}}},
    ],
    ids=lambda a: str(a["over"]),
)
def test_the_head_is_its_margin_and_the_group_loss(arguments: dict[str, Any]) -> None:
    torch.manual_seed(0)
    given, labels = 20 * torch.randn(8, 7), torch.randint(6, (8,))
    head = create_head("groupface", groups=3, group_weight=0.25, seed=4, **SIZES, **arguments)
    alone = create_head(arguments["over"], seed=4, **SIZES, **{k: v for k, v in arguments.items() if k != "over"})
    out, margin = head(given, labels), alone(given[:, :4], labels)
    p = given[:, 4:].softmax(dim=1)
    group = F.cross_entropy(given[:, 4:], (p - p.mean(dim=0)).argmax(dim=1))
    assert out.loss.item() == pytest.approx(margin.loss.item() + 0.25 * group.item(), rel=1e-6)
    assert out.auxiliary["group"].item() == pytest.approx(group.item(), rel=1e-6)
    assert set(out.auxiliary) == {*margin.auxiliary, "group"}
    torch.testing.assert_close(out.target_cosine, margin.target_cosine)
    assert head.expected_first_loss() == pytest.approx(alone.expected_first_loss() + 0.25 * math.log(3))
    evaluated = head.eval()(given[:, :4], labels)
    assert evaluated.loss.item() == pytest.approx(alone.eval()(given[:, :4], labels).loss.item())
    assert "group" not in evaluated.auxiliary


def test_gradients_of_the_head() -> None:
    torch.manual_seed(0)
    head = create_head("groupface", groups=3, group_momentum=0, group_weight=0.5, scale=4, **SIZES).double()
    labels = torch.tensor([0, 3, 3, 5])
    given = torch.randn(4, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda e: head(e, labels).loss, given)


def test_wrong_arguments_of_the_head() -> None:
    head = create_head("groupface", groups=3, **SIZES)
    for shape in ((5, 4), (5, 8), (7,)):
        with pytest.raises(HyperArcError, match=r"logits of 3 groups \[N, 4 \+ 3\].*neck='groupface', groups=3"):
            head(torch.zeros(shape), torch.zeros(5, dtype=torch.int64))
    with pytest.raises(UnknownNameError, match="did you mean 'groupface'"):
        create_head("gruopface", **SIZES)
    with pytest.raises(UnknownNameError, match="over 'cosface': 'gruops'; did you mean 'groups'"):
        create_head("groupface", over="cosface", gruops=2, **SIZES)
    for bad in ({"groups": 1}, {"group_weight": -1.0}, {"group_momentum": 1.0}):
        with pytest.raises(HyperArcError, match=next(iter(bad))):
            create_head("groupface", **bad, **SIZES)


def test_similarity_by_hand() -> None:
    vectors = (torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[4.0, 3.0], [0.0, 2.0]]))
    hidden = (torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 8.0], [1.0, 1.0]]))
    assert similarity(vectors, hidden).tolist() == pytest.approx([0.96 - 0.1 * 2, 0.0])
    assert similarity(vectors, hidden, beta=0.5, gamma=1.0).tolist() == pytest.approx([0.96 - 4, 0.0])


# ---- recipe, checkpoint and artifact


def test_neck_and_head_must_fit() -> None:
    for neck, head, message in (
        ({}, HEAD, r"head groupface expects .* 3 groups, .*gives none; use \{neck: groupface, groups: 3\}"),
        ({**NECK, "groups": 4}, HEAD, r"3 groups, .*gives 4; use \{neck: groupface, groups: 3\}"),
        (NECK, {"margin": "arcface"}, "head arcface expects a backbone with no groups, .*gives 3; use another neck"),
    ):
        recipe = recipe_of(neck, head)
        with pytest.raises(RecipeError, match=message):
            new_state(recipe, 6, choose_hardware(recipe.training))


@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_a_run_is_resumed_and_kept(assignment: str, tmp_path: Path) -> None:
    recipe = recipe_of({**NECK, "assignment": assignment}, HEAD)
    whole = train(recipe, tmp_path / "whole", Start(), Show(quiet=True))
    rows = whole.log()
    assert all(0 < row["group"] < 2 * math.log(3) for row in rows)
    assert rows[0]["loss"] == pytest.approx(rows[0]["expected_first_loss"], rel=0.35)

    middle = tmp_path / "whole" / "checkpoints" / "step-00000003.safetensors"
    assert train(recipe, tmp_path / "resumed", Start(resume=str(middle)), Show(quiet=True)).finished
    for name in ("weights.safetensors", "head.safetensors"):
        one, two = ((tmp_path / run / "artifact" / name).read_bytes() for run in ("whole", "resumed"))
        assert one == two, name
    artifact = open_artifact(tmp_path / "whole" / "artifact")
    head = artifact.head()
    assert int(head.batches) == len(rows) == 6
    assert float(head.expectation.sum()) == pytest.approx(1.0)
    assert not torch.equal(head.expectation, torch.full((3,), 1 / 3))

    faces = draw_set(people=2, faces_per_person=2, seed=1).images
    encoder = artifact.encoder()
    assert encoder.embed(faces).vectors.shape == (len(faces), 16)
    pixels = torch.from_numpy(faces).permute(0, 3, 1, 2).contiguous()
    vectors, hidden = group_features(encoder.backbone, model_input(pixels, encoder.contract, "cpu"))
    table = similarity((vectors[:, None], vectors), (hidden[:, None], hidden))
    cosine = F.cosine_similarity(vectors[:, None], vectors, dim=2)
    torch.testing.assert_close(table, cosine - 0.1 * (hidden[:, None] - hidden).norm(dim=2) ** (1 / 3))
    with pytest.raises(HyperArcError, match="expected a backbone with the neck groupface"):
        group_features(hyperarc.create_backbone("iresnet_tiny", 8), torch.zeros(1, 3, 112, 112))
