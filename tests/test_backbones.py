"""Backbones: official values and keys, necks, precision, checkpointing, and errors that say how to mend."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hyperarc.backbones.iresnet as iresnet_file
import hyperarc.backbones.mobilefacenet as mobilefacenet_file
from hyperarc.backbones import backbone_names, create_backbone
from hyperarc.backbones.prelu import PReLU
from hyperarc.errors import HyperArcError, UnknownNameError

SEED = 20000
GOLDEN = {
    "iresnet18": "r18",
    "iresnet34": "r34",
    "iresnet50": "r50",
    "iresnet100": "r100",
    "iresnet200": "r200",
    "mbf": "mbf",
    "mbf_large": "mbf_large",
}
PARAMETERS = {
    "iresnet18": 24_025_600,
    "iresnet34": 34_139_328,
    "iresnet50": 43_590_848,
    "iresnet100": 65_156_160,
    "iresnet200": 118_833_920,
    "mobilefacenet": 1_200_512,
    "mbf": 2_059_520,
    "mbf_large": 6_314_880,
}


@pytest.fixture
def float64() -> Iterator[None]:
    """Backbones and tensors are made in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def golden_value(index: int, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """Entry ``key``, number ``index`` of the state dict, by the fill rule in golden/index.json."""
    random = np.random.RandomState(SEED + index)
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if key.endswith("running_var"):
        return random.uniform(0.5, 1.5, shape)
    if key.endswith("running_mean") or (len(shape) == 1 and key.endswith(".bias")):
        return random.randn(*shape) * 0.1
    if len(shape) == 1:
        return random.uniform(0.3, 0.9, shape)
    return random.randn(*shape) / np.sqrt(np.prod(shape[1:]))


def golden_backbone(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """The filled backbone, its faces and the upstream gradient, all float64."""
    backbone = create_backbone(name)
    state = backbone.state_dict()
    backbone.load_state_dict(
        {k: torch.as_tensor(golden_value(i, k, tuple(v.shape))) for i, (k, v) in enumerate(state.items())}
    )
    random = np.random.RandomState(SEED + 999983)
    faces = torch.as_tensor(random.uniform(-1, 1, (2, 3, 112, 112)))
    return backbone, faces, torch.as_tensor(random.randn(2, 512))


def close(got: Tensor, expected: np.ndarray, relative: float = 1e-9) -> None:
    """``got`` equals ``expected`` up to ``relative`` of the largest entry."""
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=0, atol=relative * np.abs(expected).max())


def make(name: str, seed: int = 0, **args: Any) -> nn.Module:
    torch.manual_seed(seed)
    return create_backbone(name, embedding_dim=32, **args)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_state_dict_is_the_official_one(shared: Path, name: str) -> None:
    official = json.loads((shared / "golden/backbones_state_dict.json").read_text())["models"][GOLDEN[name]]
    with torch.device("meta"):
        backbone = create_backbone(name)
    entries = [[key, list(value.shape)] for key, value in backbone.state_dict().items()]
    assert len(entries) == official["num_entries"]
    if "entries" in official:
        assert entries == [entry[:2] for entry in official["entries"]]
    if "num_trainable" in official:
        assert sum(p.numel() for p in backbone.parameters() if p.requires_grad) == official["num_trainable"]


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_parameter_count(name: str) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in create_backbone(name).parameters()) == PARAMETERS[name]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["iresnet18", "mbf", pytest.param("iresnet50", marks=pytest.mark.slow)])
def test_eval_forward_is_the_official_one(shared: Path, name: str) -> None:
    golden = np.load(shared / f"golden/backbone_{GOLDEN[name]}.npz")
    backbone, faces, _ = golden_backbone(name)
    with torch.no_grad():
        close(backbone.eval()(faces), golden["out_eval"])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("name", "checkpoint"), [("iresnet18", False), ("mbf", False), ("mbf", True)])
def test_training_step_is_the_official_one(shared: Path, name: str, checkpoint: bool) -> None:
    golden = np.load(shared / f"golden/backbone_{GOLDEN[name]}.npz")
    backbone, faces, upstream = golden_backbone(name)
    backbone.checkpoint = checkpoint
    faces.requires_grad_()
    embeddings = backbone.train()(faces)
    embeddings.backward(upstream)
    assert faces.grad is not None
    close(upstream, golden["upstream"], 0.0)
    close(embeddings, golden["out_train"])
    close(faces.grad[:, :, 50:60, 50:60], golden["grad_input_patch"], 1e-6)
    assert faces.grad.abs().sum().item() == pytest.approx(golden["grad_input_abs_sum"].item(), rel=1e-6)
    assert faces.grad.sum().item() == pytest.approx(golden["grad_input_sum"].item(), rel=1e-6, abs=1e-6)
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    first = backbone.get_submodule("bn1" if name == "iresnet18" else "layers.0.layers.1")
    close(first.get_buffer("running_mean"), golden["first_running_mean_after"])
    close(norms[-1].get_buffer("running_mean"), golden["last_running_mean_after"])
    close(norms[-1].get_buffer("running_var"), golden["last_running_var_after"])
    assert {int(norm.get_buffer("num_batches_tracked")) for norm in norms} == {1}


@pytest.mark.parametrize("name", ["iresnet_tiny", "mbf"])
def test_checkpoint_changes_nothing_but_memory(name: str) -> None:
    plain, checkpointed = make(name, input_size=48), make(name, input_size=48, checkpoint=True)
    faces = torch.randn(4, 3, 48, 48)
    for backbone in (plain, checkpointed):
        backbone.train()(faces).square().mean().backward()
    for (key, a), (_, b) in zip(plain.named_parameters(), checkpointed.named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5, msg=key)
    for (key, a), (_, b) in zip(plain.named_buffers(), checkpointed.named_buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=key)


def test_official_initialisation() -> None:
    backbone = make("iresnet18")
    assert backbone.get_parameter("layer4.1.conv2.weight").std().item() == pytest.approx(0.1, rel=0.01)
    features = backbone.get_parameter("features.weight")
    assert not features.requires_grad
    assert bool((features == 1).all())
    assert torch.equal(
        make("mbf", seed=3).state_dict()["conv_sep.layers.0.weight"],
        make("mbf", seed=3).state_dict()["conv_sep.layers.0.weight"],
    )


@pytest.mark.parametrize("name", ["iresnet_tiny", "mbf"])
@pytest.mark.parametrize("neck", ["bn_dropout_fc_bn", "gap", "gdc"])
@pytest.mark.parametrize("input_size", [112, 40])
def test_necks_give_embeddings(name: str, neck: str, input_size: int) -> None:
    backbone = make(name, neck=neck, input_size=input_size).eval()
    assert backbone(torch.randn(2, 3, input_size, input_size)).shape == (2, 32)


@pytest.mark.parametrize("neck", ["bn_dropout_fc_bn", "gap", "gdc"])
def test_dropout_and_bn_eps_reach_the_neck(neck: str) -> None:
    backbone = make("iresnet_tiny", neck=neck, dropout=0.5, bn_eps=2e-5)
    faces = torch.randn(2, 3, 112, 112)
    assert {m.p for m in backbone.modules() if isinstance(m, nn.Dropout)} == {0.5}
    assert {m.eps for m in backbone.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)} == {2e-5}
    assert not torch.equal(backbone.train()(faces), backbone(faces))


@pytest.mark.parametrize("name", ["iresnet_tiny", "mbf"])
def test_autocast_keeps_the_last_layers_in_float32(name: str) -> None:
    backbone = make(name).eval()
    seen: dict[str, torch.dtype] = {}
    for key in ("features", "layer2" if name == "iresnet_tiny" else "layers.3"):
        backbone.get_submodule(key).register_forward_hook(
            lambda module, inputs, out, key=key: seen.update({key: out.dtype})
        )
    faces = torch.randn(4, 3, 112, 112)
    with torch.no_grad():
        full = backbone(faces)
        with torch.autocast("cpu", torch.bfloat16):
            half = backbone(faces)
    assert list(seen.values()) == [torch.bfloat16, torch.float32]
    assert half.dtype == torch.float32
    assert nn.functional.cosine_similarity(full, half).min() > 0.99


def test_whole_backbone_in_bfloat16() -> None:
    backbone = make("iresnet_tiny").eval().to(torch.bfloat16)
    assert backbone(torch.randn(1, 3, 112, 112, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_tiny_stays_tiny() -> None:
    backbone = make("iresnet_tiny").eval()
    macs: list[int] = []
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda m, inputs, out: macs.append(m.weight.numel() * out[0, 0].numel()))
    with torch.no_grad():
        backbone(torch.randn(1, 3, 112, 112))
    assert sum(macs) < 0.03e9
    assert sum(p.numel() for p in backbone.parameters()) < 1e6


@pytest.mark.parametrize("file", [iresnet_file, mobilefacenet_file])
def test_prelu_is_the_cheap_one(file: Any) -> None:
    assert file.PReLU is PReLU


@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (7, 3), (2, 3, 4)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_prelu_equals_torch(shape: tuple[int, ...], channels_last: bool) -> None:
    y = torch.randn(shape, dtype=torch.float64)
    y.view(-1)[0] = 0.0
    if channels_last and len(shape) == 4:
        y = y.to(memory_format=torch.channels_last)
    results = []
    for kind in (PReLU, nn.PReLU):
        module, leaf = kind(3).double(), y.clone(memory_format=torch.preserve_format).requires_grad_()
        out = module(leaf)
        out.backward(torch.linspace(-2, 2, y.numel(), dtype=torch.float64).view(shape))
        results.append((out, leaf.grad, module.weight.grad))
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    leaf = y.clone().add_(0.01).requires_grad_()
    assert torch.autograd.gradcheck(PReLU(3).double(), leaf)
    assert torch.autograd.gradgradcheck(PReLU(3).double(), leaf)


@pytest.mark.parametrize("shape", [(2, 3, 112, 96), (2, 3, 128, 128), (2, 1, 112, 112), (3, 112, 112)])
@pytest.mark.parametrize("name", ["iresnet_tiny", "mbf"])
def test_faces_of_another_shape_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(HyperArcError) as error:
        make(name)(torch.zeros(shape))
    assert "expected faces [N, 3, 112, 112]" in str(error.value)
    assert f"got {list(shape)}" in str(error.value)


def test_unknown_names_list_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown backbone 'iresnet51'.*'iresnet50'"):
        create_backbone("iresnet51")
    with pytest.raises(UnknownNameError, match=r"backbone iresnet50: unknown argument 'droput'.*'dropout'"):
        create_backbone("iresnet50", droput=0.4)
    with pytest.raises(UnknownNameError, match="unknown argument 'depth'"):
        create_backbone("mbf", depth=3)
    with pytest.raises(UnknownNameError, match=r"unknown neck 'gpa'.*'gap'"):
        create_backbone("iresnet_tiny", neck="gpa")


@pytest.mark.parametrize(
    "args",
    [
        {"embedding_dim": 0},
        {"embedding_dim": "512"},
        {"input_size": 8},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"stem_stride": 3},
    ],
)
def test_values_that_cannot_be_used(args: dict[str, Any]) -> None:
    with pytest.raises(HyperArcError, match="expected"):
        create_backbone("iresnet_tiny", **args)


@pytest.mark.parametrize(("stride", "side"), [(1, 7), (2, 4), (4, 2)])
def test_stem_stride(stride: int, side: int) -> None:
    backbone = create_backbone("iresnet_tiny", 8, stem_stride=stride).eval()
    assert backbone.get_submodule("fc").in_features == 128 * side * side
    assert backbone(torch.zeros(2, 3, 112, 112)).shape == (2, 8)
    usual = create_backbone("iresnet_tiny", 8).state_dict()
    assert (stride == 2) == all(usual[name].shape == t.shape for name, t in backbone.state_dict().items())


def test_names() -> None:
    assert set(backbone_names()) >= {*PARAMETERS, "iresnet_tiny"}
