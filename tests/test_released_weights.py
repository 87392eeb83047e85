"""Weights that others released: every dialect gives the numbers of its own network, and what does not fit is said."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor, nn

import hyperarc.artifact.state_file as state_file
from hyperarc.artifact import open_artifact
from hyperarc.artifact.fine_tuning import backbone_to_tune, take_pixels
from hyperarc.artifact.state_file import read_state
from hyperarc.backbones import create_backbone
from hyperarc.backbones.released import fit_released
from hyperarc.commands.importing import Stated, import_model
from hyperarc.commands.show import Show
from hyperarc.contract import Contract
from hyperarc.encoder import Encoder
from hyperarc.errors import ArtifactError, ContractError, HyperArcError, UnknownNameError, UsageError
from hyperarc.recipe.file import load_recipe

QUIET = Show(quiet=True)
RGB = Stated("arcface_torch")
State = dict[str, Tensor]


def trained(network: nn.Module, seed: int = 0) -> nn.Module:
    """As after a training: no weight or slope has the value that it began with, and statistics are those of faces."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(0.2, 1.2, generator=random)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.momentum = 1.0
        network.train()(faces())
    return network.eval()


def faces(count: int = 2) -> Tensor:
    return torch.rand((count, 3, 112, 112), generator=torch.Generator().manual_seed(1)) * 2 - 1


# ---- networks as other repositories write them


def block(i: int, o: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False) -> nn.Module:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    padding = 1 if kernel == 3 else 0
    layers["conv"] = nn.Conv2d(i, o, kernel, stride, padding, groups=groups, bias=False)
    layers["bn"] = nn.BatchNorm2d(o)
    if not linear:
        layers["prelu"] = nn.PReLU(o)
    return nn.Sequential(layers)


class Bottleneck(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, groups: int, stride: int) -> None:
        super().__init__()
        self.conv = block(channels_in, groups, 1)
        self.conv_dw = block(groups, groups, 3, stride, groups)
        self.project = block(groups, channels_out, 1, linear=True)
        self.residual = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.conv_dw(self.conv(x)))
        return x + out if self.residual else out


class Row(nn.Module):
    def __init__(self, channels: int, blocks: int, groups: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*(Bottleneck(channels, channels, groups, 1) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out


class TheirMobileFaceNet(nn.Module):
    """Table 1 of the paper with the names of InsightFace_Pytorch, or the later ones from ``sep`` on."""

    def __init__(self, dim: int, later: bool) -> None:
        super().__init__()
        self.conv1 = block(3, 64, 3, 2)
        self.conv2_dw = block(64, 64, 3, groups=64)
        self.conv_23 = Bottleneck(64, 64, 128, 2)
        self.conv_3 = Row(64, 4, 128)
        self.conv_34 = Bottleneck(64, 128, 256, 2)
        self.conv_4 = Row(128, 6, 256)
        self.conv_45 = Bottleneck(128, 128, 512, 2)
        self.conv_5 = Row(128, 2, 256)
        if later:
            self.sep, self.sep_bn, self.prelu = nn.Conv2d(128, 512, 1, bias=False), nn.BatchNorm2d(512), nn.PReLU(512)
            self.GDC_dw, self.GDC_bn = nn.Conv2d(512, 512, 7, groups=512, bias=False), nn.BatchNorm2d(512)
            self.features, self.last_bn = nn.Conv2d(512, dim, 1, bias=False), nn.BatchNorm2d(dim)
        else:
            self.conv_6_sep, self.conv_6_dw = block(128, 512, 1), block(512, 512, 7, groups=512, linear=True)
            self.conv_6_flatten = nn.Flatten()
            self.linear, self.bn = nn.Linear(512, dim, bias=False), nn.BatchNorm1d(dim)

    def forward(self, x: Tensor) -> Tensor:
        for module in self.children():
            x = module(x)
        return x.flatten(1)


class Unit(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if channels_in != channels:
            convolution = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.shortcut_layer = nn.Sequential(convolution, nn.BatchNorm2d(channels))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(channels_in),
            nn.Conv2d(channels_in, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return out


class TheirIR(nn.Module):
    """AdaFace's Backbone of mode ir; stages and widths as given, to have it small."""

    def __init__(self, blocks: tuple[int, ...], widths: tuple[int, ...], stem_stride: int, side: int) -> None:
        super().__init__()
        stem = nn.Conv2d(3, widths[0], 3, stem_stride, 1, bias=False)
        self.input_layer = nn.Sequential(stem, nn.BatchNorm2d(widths[0]), nn.PReLU(widths[0]))
        units, before = [], widths[0]
        for count, width in zip(blocks, widths, strict=True):
            units += [Unit(before, width, 2), *(Unit(width, width, 1) for _ in range(count - 1))]
            before = width
        self.body = nn.Sequential(*units)
        fc = nn.Linear(before * side**2, 24)
        norm = nn.BatchNorm1d(24, affine=False)
        self.output_layer = nn.Sequential(nn.BatchNorm2d(before), nn.Dropout(0.4), nn.Flatten(), fc, norm)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.output_layer(self.body(self.input_layer(x)))
        return out


def make(name: str, dim: int = 16, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return trained(create_backbone(name, embedding_dim=dim))


def tiny_ir() -> TheirIR:
    return TheirIR((1, 1, 1, 1), (16, 32, 64, 128), stem_stride=2, side=4)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        pytest.param(lambda: TheirMobileFaceNet(24, later=False), "mobilefacenet", id="InsightFace_Pytorch"),
        pytest.param(lambda: TheirMobileFaceNet(24, later=True), "mobilefacenet", id="later"),
        pytest.param(tiny_ir, "iresnet_tiny", id="AdaFace, tiny"),
        pytest.param(lambda: TheirIR((2, 2, 2, 2), (64, 128, 256, 512), 1, 7), "iresnet18", id="AdaFace, 18"),
    ],
)
def test_each_dialect_gives_the_numbers_of_its_network(build: Callable[[], nn.Module], name: str) -> None:
    torch.manual_seed(0)
    network = trained(build())
    expected = network(faces())
    found = fit_released(network.state_dict())
    assert (found.backbone, found.embedding_dim, found.left_out) == (name, 24, ())
    ours = create_backbone(name, 24)
    ours.load_state_dict(found.state)
    torch.testing.assert_close(ours.eval()(faces()), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_the_shortcut_that_adaface_lacks_has_the_statistics_of_what_it_sees() -> None:
    """So that priors on BatchNorm statistics, which look at every BatchNorm, ask for nothing that faces lack."""
    network = trained(tiny_ir())
    state = fit_released(network.state_dict()).state
    for statistic in ("running_mean", "running_var"):
        assert torch.equal(state[f"layer1.0.downsample.1.{statistic}"], state[f"layer1.0.bn1.{statistic}"])


def test_mobilefacenet_is_table_1_of_its_paper() -> None:
    backbone, seen = make("mobilefacenet", 128), []
    for stage in (*backbone.layers, backbone.conv_sep, backbone.features.layers[0]):
        stage.register_forward_hook(lambda _module, _inputs, out: seen.append(tuple(out.shape[1:])))
    assert backbone(faces(1)).shape == (1, 128)
    assert seen == [
        (64, 56, 56), (64, 56, 56), (64, 28, 28), (64, 28, 28), (128, 14, 14), (128, 14, 14), (128, 7, 7), (128, 7, 7),
        (512, 7, 7), (512, 1, 1),
    ]  # fmt: skip
    repeats = [len(stage.layers) for stage in backbone.layers if type(stage).__name__ == "Residual"]
    assert repeats == [5 - 1, 6, 2]  # n of the table; the first of a stage has the stride, and no shortcut


# ---- files of weights


@pytest.mark.parametrize(
    ("name", "form"),
    [(name, "plain") for name in ("iresnet_tiny", "mbf", "mobilefacenet")]
    + [("iresnet_tiny", form) for form in ("wrapped", "checkpoint", "old", "half", "safetensors")],
)
def test_our_own_names_load_as_they_are(name: str, form: str, tmp_path: Path) -> None:
    backbone = make(name)
    state, path = backbone.state_dict(), tmp_path / "theirs.pth"
    if form == "safetensors":
        path = tmp_path / "theirs.safetensors"
        save_file(state, path)
    elif form == "wrapped":
        head = {"head.kernel": torch.zeros(16, 5), "head.t": torch.zeros(1), "module.fc.weight": torch.zeros(5, 16)}
        torch.save({f"module.backbone.{key}": value for key, value in state.items()} | head, path)
    elif form == "checkpoint":
        torch.save({"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}}, path)
    elif form == "old":
        state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
        torch.save(state, path, _use_new_zipfile_serialization=False)
    elif form == "half":
        torch.save({key: value.half() if value.is_floating_point() else value for key, value in state.items()}, path)
    else:
        torch.save(state, path)
    done = import_model(path, tmp_path / "artifact", RGB, QUIET)
    assert (done["backbone"], done["contract"]["embedding_dim"]) == (name, 16)
    assert len(done["left_out"]) == (3 if form == "wrapped" else 0)
    again = open_artifact(tmp_path / "artifact").backbone()
    expected = backbone(faces())
    tolerance = (2e-2 if form == "half" else 1e-6) * expected.abs().max().item()
    torch.testing.assert_close(again(faces()), expected, rtol=0, atol=tolerance)


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    torch.save(make("iresnet_tiny").state_dict(), tmp_path / "theirs.pth")
    card = {"source": "somewhere", "licence": "MIT"}
    import_model(tmp_path / "theirs.pth", tmp_path / "artifact", Stated("adaface", card=card), QUIET)
    return tmp_path / "artifact"


def test_the_artifact_is_one_like_others(imported: Path) -> None:
    names = ["backbone.yaml", "card.md", "contract.json", "weights.safetensors"]
    assert sorted(path.name for path in imported.iterdir()) == names
    artifact = open_artifact(imported)
    assert artifact.recipe is None
    assert artifact.backbone_name == "iresnet_tiny"
    assert artifact.network is not None
    assert yaml.safe_load((imported / "backbone.yaml").read_text()) == {"backbone": artifact.network.model_dump()}
    assert artifact.contract.color == "bgr"
    assert artifact.contract.embedding_dim == 16
    assert artifact.encoder().embed(np.zeros((1, 112, 112, 3), np.uint8)).vectors.shape == (1, 16)
    card = (imported / "card.md").read_text()
    assert "Licence: MIT" in card
    assert "Imported from somewhere" in card
    with pytest.raises(ArtifactError, match=r"with a head .* imported from a file of weights"):
        artifact.head()
    (imported / "backbone.yaml").write_text("backbone: {name: iresnet_tiny, embedding_dim: 16, depth: 3}")
    with pytest.raises(HyperArcError, match=r"backbone.yaml: unknown key 'backbone.depth'"):
        open_artifact(imported)


def test_another_size_is_another_backbone(tmp_path: Path) -> None:
    torch.save(create_backbone("iresnet_tiny", 8, input_size=64).state_dict(), tmp_path / "x.pt")
    with pytest.raises(ArtifactError, match=r"fc.weight \[8, 512\] for \[8, 2048\]"):
        import_model(tmp_path / "x.pt", tmp_path / "out", Stated("mxnet", backbone="iresnet_tiny"), QUIET)
    import_model(tmp_path / "x.pt", tmp_path / "out", Stated("mxnet", size=(64, 64)), QUIET)
    artifact = open_artifact(tmp_path / "out")
    assert (artifact.contract.height, artifact.contract.width) == (64, 64)
    assert artifact.backbone()(torch.zeros(1, 3, 64, 64)).shape == (1, 8)


# ---- fine-tuning


@pytest.mark.parametrize("changes", [{"color": "bgr"}, {"std": (128, 64, 255)}, {"color": "bgr", "std": (1, 2, 3)}])
def test_a_model_of_other_pixels_is_trained_on_as_the_same_model(changes: dict[str, Any]) -> None:
    theirs, ours = Contract(embedding_dim=16, **changes), Contract(embedding_dim=16)
    crops = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    backbone = make("iresnet_tiny")
    expected = Encoder(backbone, theirs).embed(crops).vectors
    take_pixels(backbone, theirs, ours)
    np.testing.assert_allclose(Encoder(backbone, ours).embed(crops).vectors, expected, atol=2e-4 * abs(expected).max())


@pytest.mark.parametrize("changes", [{"mean": (0, 0, 0)}, {"template": "sphereface_112x96"}, {"height": 96}])
def test_a_model_of_other_crops_is_not(changes: dict[str, Any]) -> None:
    theirs = Contract(embedding_dim=16, **changes)
    with pytest.raises(ContractError, match=f"training takes crops of {next(iter(changes))} .* it was"):
        take_pixels(make("iresnet_tiny"), theirs, Contract(embedding_dim=16))


def test_imported_weights_are_trained_on(imported: Path, tmp_path: Path, run: Any) -> None:
    small = [
        "demo", "data={drawn: {people: 4, faces_per_person: 4}}", "evaluation=[]", "training.batch_size=8",
        "schedule={kind: constant, epochs: 1, warmup_epochs: 0}", "optimizer.lr=1e-6",
        "training.freeze_batchnorm=true",
    ]  # fmt: skip
    said = run("train", *small, "--run", tmp_path / "run", "--from", imported).complaint()
    assert "copy the backbone section of the artifact's backbone.yaml" in said
    theirs = ["backbone={name: iresnet_tiny, embedding_dim: 16}"]
    ran = run("train", *small, *theirs, "--run", tmp_path / "run", "--from", imported)
    assert ran.code == 0, ran.err
    assert "fine-tuning the backbone of" in ran.err
    tuned = open_artifact(tmp_path / "run" / "artifact")
    assert tuned.contract.color == "rgb"
    before = backbone_to_tune(open_artifact(imported), load_recipe("demo", theirs))
    torch.testing.assert_close(tuned.backbone()(faces()), before(faces()), rtol=1e-2, atol=1e-2)


# ---- what does not fit


def damaged(change: str) -> State:
    state = make("iresnet_tiny").state_dict()
    if change == "missing":
        return {name: tensor for name, tensor in state.items() if not name.startswith(("bn2.", "fc."))}
    if change == "left over":
        return state | {"layer1.0.se.fc1.weight": torch.zeros(1), "fc.weights": torch.zeros(5, 16)}
    if change == "of another shape":
        return state | {"conv1.weight": torch.zeros(16, 1, 3, 3)}
    if change == "none":
        return {"conv1.0.weight": torch.zeros(64, 3, 3, 3), "dw_conv.bn1.weight": torch.zeros(64)}
    if change == "two":
        return {f"{who}.{name}": tensor for who in ("teacher", "student") for name, tensor in state.items()}
    if change == "nan":
        state["bn1.running_var"][3] = torch.nan
    if change == "negative":
        state["bn1.running_var"][3] = -5
    if change == "whole numbers":
        state["prelu.weight"] = state["prelu.weight"].int()
    if change == "scalars":
        names = ("body.0.res_layer.0.running_mean", "body.0.res_layer.0.running_var", "output_layer.4.running_mean")
        return dict.fromkeys(("body.0.res_layer.0.weight", *names), torch.ones(()))
    if change == "no norm":
        return {name: tensor for name, tensor in state.items() if name not in ("features.weight", "features.bias")}
    if change == "no statistics":
        return {name: tensor for name, tensor in state.items() if "running" not in name}
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "expected all weights of iresnet_tiny, .*: 6 missing: bn2.weight, bn2.bias, .* and 2 more$"),
        ("left over", "2 left over: layer1.0.se.fc1.weight, fc.weights$"),
        ("of another shape", r"1 of another shape: conv1.weight \[16, 1, 3, 3\] for \[16, 3, 3, 3\]$"),
        ("none", "expected the tensors of one of .*; got conv1.0.weight, dw_conv.bn1.weight; export"),
        ("two", "expected one backbone, got 2, under 'teacher.', 'student.'; save the state dict of one"),
        ("nan", "expected finite floating-point weights, bn1.running_var holds others$"),
        ("negative", "embeddings that are NaN or infinite"),
        ("whole numbers", "expected finite floating-point weights, prelu.weight holds others$"),
        ("no statistics", "which has a vector features.running_mean as long as an embedding; got none$"),
        ("scalars", r"expected AdaFace's IR, which has a vector features.running_mean .*; got \[\]$"),
        ("no norm", "2 missing: features.weight, features.bias$"),
    ],
)
def test_weights_that_do_not_fit_are_refused(change: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.pth"
    torch.save(damaged(change), path)
    with pytest.raises(ArtifactError, match=message) as caught:
        import_model(path, tmp_path / "out", RGB, QUIET)
    assert str(caught.value).startswith(f"{path}: ")
    assert not (tmp_path / "out").exists()


def write(kind: str, path: Path) -> None:
    network = make("iresnet_tiny")
    whole: dict[str, Any] = {"an endless checkpoint": 1}
    whole["model"] = whole
    contents: dict[str, Any] = {
        "module": network,
        "list": [torch.zeros(3)],
        "numbers": {"state_dict": {"conv1.weight": 3}},
        "sparse": {"conv1.weight": torch.zeros(3, 3).to_sparse()},
        "view": {"conv1.weight": torch.zeros(1).expand(10**6, 10**6)},
        "nothing": {},
        "endless": whole,
    }
    if kind in contents:
        torch.save(contents[kind], path)
    elif kind == "torchscript":
        torch.jit.script(nn.Linear(2, 2)).save(path)
    elif kind in ("cut", "cut old"):
        torch.save(network.state_dict(), path, _use_new_zipfile_serialization=kind == "cut")
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    elif kind != "absent":
        path.write_bytes({"empty": b"", "text": b"<html>Not found</html>"}[kind])


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated", "ignore:Sparse", "error:.*torch.load")
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("module", "names and tensors alone: it holds Python's hyperarc.backbones.iresnet.IResNet; if you trust"),
        ("torchscript", "expected a state dict, names and tensors alone: it is a TorchScript module; if you trust"),
        ("list", "it holds list; if you trust"),
        ("numbers", "'conv1.weight' in it is no plain tensor but int; if"),
        ("sparse", "'conv1.weight' in it is no plain tensor but Tensor; if"),
        ("view", "'conv1.weight' in it is no plain tensor but Tensor; if"),
        ("nothing", "it holds nothing; if"),
        ("endless", "'an endless checkpoint' in it is no plain tensor but int; if"),
        ("cut", "not a file of torch.save, or damaged: "),
        ("cut old", "not a file of torch.save, or damaged: "),
        ("empty", "not a file of torch.save, or damaged: "),
        ("text", "not a file of torch.save, or damaged: "),
        ("absent", "cannot be read: No such file"),
    ],
)
def test_files_that_hold_no_state_dict_are_refused(kind: str, message: str, tmp_path: Path) -> None:
    write(kind, tmp_path / "theirs.pth")
    with pytest.raises(ArtifactError, match=message):
        read_state(tmp_path / "theirs.pth")


def test_damaged_safetensors_and_huge_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    save_file(make("iresnet_tiny").state_dict(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="not a safetensors file, or damaged"):
        read_state(path)
    torch.save({"zeros": torch.zeros(1000)}, tmp_path / "x.pth")
    monkeypatch.setattr(state_file, "MOST_BYTES", 4000)
    for file in (path, tmp_path / "x.pth"):
        with pytest.raises(ArtifactError, match="expected at most 4,000 bytes of weights, got"):
            read_state(file)


def test_wrong_usage(tmp_path: Path, imported: Path) -> None:
    path, out = tmp_path / "theirs.pth", tmp_path / "out"
    wrong = {
        "not stated: color, mean, std": Stated(),
        "--output goes with an ONNX file": Stated("magface", output="embedding"),
        "square crops, --height and --width say 96x112": Stated("magface", size=(112, 96)),
        "unknown convention 'arcface_toch'": Stated("arcface_toch"),
    }
    for message, stated in wrong.items():
        with pytest.raises(UsageError, match=message):
            import_model(path, out, stated, QUIET)
    with pytest.raises(UsageError, match="--backbone goes with weights"):
        import_model(tmp_path / "x.onnx", out, Stated("magface", backbone="mbf"), QUIET)
    with pytest.raises(UnknownNameError, match="unknown backbone 'iresnet_tinny'; did you mean 'iresnet_tiny'"):
        import_model(path, out, Stated("magface", backbone="iresnet_tinny"), QUIET)
    with pytest.raises(ArtifactError, match="weights of iresnet18, as arcface_torch's IResNet has them: 60 missing"):
        import_model(path, out, Stated("magface", backbone="iresnet18"), QUIET)
    with pytest.raises(HyperArcError, match="refused to overwrite"):
        import_model(path, imported, RGB, QUIET)


def test_the_command_line_says_what_it_took(tmp_path: Path, run: Any) -> None:
    state = {f"arcface.{name}": tensor for name, tensor in TheirMobileFaceNet(8, later=True).state_dict().items()}
    torch.save(state | {"head.weight": torch.zeros(5, 8)}, tmp_path / "theirs.pth")
    ran = run("import", tmp_path / "theirs.pth", tmp_path / "out", "--like", "arcface_torch")
    assert ran.code == 0, ran.err
    assert "mobilefacenet, named as by InsightFace_Pytorch's MobileFaceNet" in ran.err
    assert "left out, as no part of the backbone: head.weight" in ran.err
    assert f"artifact {tmp_path / 'out'}, contract" in ran.out


# ---- somebody's weights on real faces


@pytest.fixture
def casia(shared: Path, tmp_path: Path) -> Path:
    done = import_model(shared / "models" / "arcface_mobilefacenet.pth", tmp_path / "casia", RGB, QUIET)
    assert (done["backbone"], done["contract"]["embedding_dim"]) == ("mobilefacenet", 128)
    return tmp_path / "casia"


def judged(run: Any, artifact: Path, shared: Path, pairs: Path) -> dict[str, Any]:
    data = ["--data", shared / "data" / "lfw.zip", "--pairs", pairs, "--out", artifact.parent / "report.html"]
    ran = run("evaluate", artifact, "--protocol", "lfw", *data, "--json", "--quiet")
    assert ran.code == 0, ran.err
    result: dict[str, Any] = json.loads(ran.out)
    return result


def test_somebodys_weights_on_some_pairs(casia: Path, shared: Path, run: Any, tmp_path: Path) -> None:
    lines = (shared / "data" / "protocols" / "lfw" / "pairs.txt").read_text().splitlines()
    few = [f"{2}\t{50}", *lines[1:51], *lines[301:351], *lines[601:651], *lines[901:951]]
    (tmp_path / "pairs.txt").write_text("\n".join(few) + "\n")
    result = judged(run, casia, shared, tmp_path / "pairs.txt")
    assert result["conditions"]["pairs"] == 200
    assert result["accuracy"] >= 0.96
    assert result["auc"] > 0.99


@pytest.mark.slow
def test_somebodys_weights_on_lfw(casia: Path, shared: Path, run: Any) -> None:
    result = judged(run, casia, shared, shared / "data" / "protocols" / "lfw" / "pairs.txt")
    assert result["conditions"]["pairs"] == 6000
    assert result["accuracy"] == pytest.approx(0.9875, abs=5e-4)  # docs/results.md


def test_a_network_of_another_kind_is_told_so(shared: Path) -> None:
    state = read_state(shared / "models" / "mobilefacenet.pt")
    with pytest.raises(ArtifactError, match=r"got conv1.0.weight, .* export the model to ONNX and import that"):
        fit_released(state)
