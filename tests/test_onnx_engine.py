"""ONNX graphs as backbones: the same numbers as torch, whatever the batch; and every wrong graph is one clear error."""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import hyperarc
from hyperarc.artifact import MODEL, open_artifact
from hyperarc.artifact.onnx_backbone import OnnxBackbone
from hyperarc.artifact.onnx_graph import OnnxGraph, parse_graph, read_graph
from hyperarc.backbones import create_backbone
from hyperarc.commands.evaluate import Models, evaluate, evaluation_of
from hyperarc.commands.importing import Stated, import_model
from hyperarc.commands.show import Show
from hyperarc.contract import CONVENTIONS, Contract
from hyperarc.encoder import Encoder
from hyperarc.errors import ArtifactError, HyperArcError, UnknownNameError
from hyperarc.onnx_session import providers_for
from hyperarc.protocols.pairs import PairsResult, read_cfp_pairs

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

HIGH, WIDE, DIM = 28, 24, 6  # the shape of the 112 x 96 template
CONTRACT = Contract(embedding_dim=DIM, height=HIGH, width=WIDE, template="sphereface_112x96")
QUIET = Show(quiet=True)


def weight(channels_last: bool = False, seed: int = 0) -> np.ndarray:
    matrix = np.random.default_rng(seed).normal(size=(DIM, 3, HIGH, WIDE)).astype(np.float32) / 30
    order = matrix.transpose(0, 2, 3, 1) if channels_last else matrix
    return np.ascontiguousarray(order.reshape(DIM, -1).T)


def linear(
    batch: Any = "n",
    *,
    shape: tuple[Any, ...] = (3, HIGH, WIDE),
    kind: int = TensorProto.FLOAT,
    nodes: tuple[Any, ...] = (),
    outputs: tuple[tuple[str, list[Any]], ...] = (("embedding", ["n", DIM]),),
    matrix: np.ndarray | None = None,
) -> Any:
    """A model: embedding = flattened crop times a matrix; more nodes and outputs as given."""
    matrix = weight() if matrix is None else matrix
    matrix = matrix.astype(helper.tensor_dtype_to_np_dtype(kind))
    first = (
        helper.make_node("Flatten", ["faces"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "matrix"], ["embedding"]),
    )
    graph = helper.make_graph(
        [*first, *nodes],
        "linear",
        [helper.make_tensor_value_info("faces", kind, [batch, *shape])],
        [helper.make_tensor_value_info(name, kind, axes) for name, axes in outputs],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="by hand", producer_version="1")


def graph_of(model: Any) -> OnnxGraph:
    return parse_graph(model.SerializeToString(), Path("mine.onnx"))


def saved(model: Any, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def faces(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, HIGH, WIDE, 3), dtype=np.uint8)


def by_hand(crops: np.ndarray) -> np.ndarray:
    """Flip-summed embeddings of the linear model, in float64."""
    pixels = (crops.astype(np.float64) - 127.5) / 127.5
    both = pixels + pixels[:, :, ::-1]
    return both.transpose(0, 3, 1, 2).reshape(len(crops), 3 * HIGH * WIDE) @ weight().astype(np.float64)


# ---- the same numbers


@pytest.mark.parametrize("batch", ["n", 1, 2, 4])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_by_hand_whatever_the_batch(batch: Any, count: int) -> None:
    encoder = Encoder(OnnxBackbone(graph_of(linear(batch)), size=(HIGH, WIDE)), CONTRACT, batch_size=4)
    embedded = encoder.embed(faces(count))
    assert embedded.vectors.dtype == np.float32
    assert embedded.vectors.shape == (count, DIM)
    np.testing.assert_allclose(embedded.vectors, by_hand(faces(count)), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def small() -> torch.nn.Module:
    torch.manual_seed(0)
    backbone = create_backbone("iresnet_tiny", embedding_dim=16)
    for name, buffer in backbone.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    return backbone.eval()


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_torch_and_onnx_runtime_agree(small: torch.nn.Module, batch: int | None) -> None:
    file = io.BytesIO()
    axes = {"faces": {0: "n"}, "embedding": {0: "n"}} if batch is None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = {"input_names": ["faces"], "output_names": ["embedding"], "dynamic_axes": axes}
        torch.onnx.export(small, (torch.zeros(batch or 2, 3, 112, 112),), file, dynamo=False, **names)
    backbone = OnnxBackbone(parse_graph(file.getvalue(), Path("small.onnx")))
    assert (backbone.height, backbone.width, backbone.embedding_dim) == (112, 112, 16)
    crops = np.random.default_rng(1).integers(0, 256, (5, 112, 112, 3), dtype=np.uint8)
    contract = Contract(embedding_dim=16, color="bgr")
    expected = Encoder(small, contract).embed(crops).vectors
    got = Encoder(backbone, contract).embed(crops).vectors
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4 * float(np.abs(expected).max()))


def test_channels_last_and_half_precision() -> None:
    turned = linear(shape=(HIGH, WIDE, 3), matrix=weight(channels_last=True))
    encoder = Encoder(OnnxBackbone(graph_of(turned)), CONTRACT)
    np.testing.assert_allclose(encoder.embed(faces(3)).vectors, by_hand(faces(3)), rtol=1e-4, atol=1e-4)
    half = Encoder(OnnxBackbone(graph_of(linear(kind=TensorProto.FLOAT16))), CONTRACT).embed(faces(3)).vectors
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, by_hand(faces(3)), rtol=0.02, atol=0.02)


def test_open_sizes_are_given() -> None:
    model = linear(shape=(3, "h", "w"))
    backbone = OnnxBackbone(graph_of(model), size=(HIGH, WIDE))
    assert (backbone.height, backbone.width) == (HIGH, WIDE)
    with pytest.raises(ArtifactError, match=r"'faces' \['n', 3, 'h', 'w'\] leaves the size .* open; give --height"):
        OnnxBackbone(graph_of(model))


def test_it_runs_on_as_many_threads_as_torch() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        options = OnnxBackbone(graph_of(linear()))._session.get_session_options()
    finally:
        torch.set_num_threads(before)
    assert options.intra_op_num_threads == 2


# ---- which output


NORM = helper.make_node("ReduceL2", ["embedding"], ["norm"], axes=[1], keepdims=1)
TWICE = helper.make_node("Add", ["embedding", "embedding"], ["twice"])


def test_a_norm_beside_the_embedding_is_no_candidate() -> None:
    model = linear(nodes=(NORM,), outputs=(("norm", ["n", 1]), ("embedding", ["n", DIM])))
    assert OnnxBackbone(graph_of(model)).output == "embedding"


def test_one_of_several_is_named_and_changes_the_digest(tmp_path: Path) -> None:
    model = linear(nodes=(TWICE,), outputs=(("embedding", ["n", DIM]), ("twice", ["n", DIM])))
    with pytest.raises(ArtifactError, match="several outputs may be the embedding: embedding, twice; choose one with"):
        OnnxBackbone(graph_of(model))
    with pytest.raises(ArtifactError, match=r"expected an output 'twise', the graph has .*; did you mean 'twice'"):
        OnnxBackbone(graph_of(model), output="twise")
    file = saved(model, tmp_path / "two.onnx")
    done = [
        import_model(file, tmp_path / name, Stated("arcface_torch", output=name), QUIET)
        for name in ("embedding", "twice")
    ]
    assert done[0]["digest"] != done[1]["digest"]
    assert done[0]["source_sha256"] == done[1]["source_sha256"]
    one, two = (hyperarc.load_encoder(tmp_path / name).embed(faces(3)).vectors for name in ("embedding", "twice"))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-5)


def test_declared_output_shapes_are_not_believed() -> None:
    """InsightFace's graphs take any batch and declare a batch of one."""
    backbone = OnnxBackbone(graph_of(linear(outputs=(("embedding", [1, DIM]),))))
    vectors = Encoder(backbone, CONTRACT).embed(faces(3)).vectors
    np.testing.assert_allclose(vectors, by_hand(faces(3)), rtol=1e-4, atol=1e-4)


# ---- wrong graphs


def two_inputs() -> Any:
    model = linear()
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["n", 1]))
    return model


def foreign_operator() -> Any:
    model = linear(nodes=(helper.make_node("Sum", ["embedding"], ["more"], domain="somebody.else"),))
    model.opset_import.append(helper.make_opsetid("somebody.else", 1))
    return model


def four_axes() -> Any:
    model = linear(outputs=(("flat", None),))
    model.graph.node[0].CopyFrom(helper.make_node("Identity", ["faces"], ["flat"]))
    del model.graph.node[1:]
    return model


WRONG: dict[str, tuple[Any, str]] = {
    "two inputs": (two_inputs, "expected one input, the crops; got faces, mask"),
    "rank": (lambda: linear(shape=(3, HIGH * WIDE)), r"expected a float input \[N, 3, H, W\] or .*'n', 3, 672"),
    "channels": (
        lambda: linear(shape=(1, HIGH, WIDE), matrix=weight()[: HIGH * WIDE]),
        r"expected a float input .*\['n', 1, 28, 24\]",
    ),
    "double": (lambda: linear(kind=TensorProto.DOUBLE), r"expected a float input .* got 'faces' tensor\(double\)"),
    "size": (lambda: linear(shape=(3, WIDE, HIGH)), "expected a graph for crops of 24x28 px, it takes 28x24"),
    "huge batch": (lambda: linear(10**9), r".* in batches of at most 1 GiB, got \[1000000000, 3, 28, 24\]"),
    "matrix": (lambda: linear(matrix=weight()[:-1]), "ONNX Runtime (refuses|cannot run) it"),
    "operator": (foreign_operator, "ONNX Runtime refuses it: .*somebody.else"),
    "output of four axes": (four_axes, r"expected a float output \[1, d\] of 1 crops, got flat \[1, 3, 28, 24\]"),
    "only a norm": (lambda: linear(nodes=(NORM,), outputs=(("norm", ["n", 1]),)), r"expected .*, got norm \[1, 1\]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_graphs(name: str) -> None:
    make, message = WRONG[name]
    with pytest.raises(ArtifactError, match=f"^mine.onnx: {message}"):
        OnnxBackbone(graph_of(make()), size=(HIGH, WIDE))


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x08", b"\x00" * 64])
def test_files_that_are_no_graphs(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"x\.onnx: not an ONNX file"):
        read_graph(tmp_path / "x.onnx")


def test_files_that_are_not_there_or_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match=r"absent\.onnx: no such ONNX file"):
        read_graph(tmp_path / "absent.onnx")
    with pytest.raises(ArtifactError, match="cannot be read: Is a directory"):
        read_graph(tmp_path)
    file = saved(linear(), tmp_path / "x.onnx")
    content = file.read_bytes()
    for length in range(1, len(content), len(content) // 7):
        file.write_bytes(content[:length])
        with pytest.raises(ArtifactError):
            OnnxBackbone(read_graph(file))
    monkeypatch.setattr("hyperarc.artifact.onnx_graph.MOST_BYTES", 3)
    with pytest.raises(ArtifactError, match="expected at most 2 GiB in one ONNX file, got "):
        read_graph(file)


def test_damaged_bytes_are_one_clear_error(capfd: pytest.CaptureFixture[str]) -> None:
    """Never a traceback of another package, and nothing on standard output, where results go."""
    content = linear(nodes=(NORM,), outputs=(("norm", ["n", 1]), ("embedding", ["n", DIM]))).SerializeToString()
    header = [*range(200), *range(len(content) - 500, len(content))]  # the rest are weights
    refused = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        damaged = bytearray(content)
        for place in rng.choice(header, rng.choice([1, 2, 5])):
            damaged[place] = rng.integers(256)
        try:
            OnnxBackbone(parse_graph(bytes(damaged), Path("mine.onnx")), size=(HIGH, WIDE))
        except ArtifactError as error:
            refused.append(str(error))
    assert len(refused) > 10
    assert all(message.startswith("mine.onnx: ") for message in refused)
    assert capfd.readouterr() == ("", "")


def test_names_that_are_no_text() -> None:
    content = linear().SerializeToString().replace(b"faces", b"f\xffces")
    with pytest.raises(ArtifactError, match=r"^mine\.onnx: (names in it are no UTF-8|ONNX Runtime refuses it)"):
        OnnxBackbone(parse_graph(content, Path("mine.onnx")))


def test_a_graph_that_keeps_to_one_crop_is_told(tmp_path: Path) -> None:
    shape = numpy_helper.from_array(np.array([1, DIM], np.int64), "shape")
    node = helper.make_node("Reshape", ["embedding", "shape"], ["one"])
    model = linear(nodes=(node,), outputs=(("one", None),))
    model.graph.initializer.append(shape)
    with pytest.raises(ArtifactError, match="ONNX Runtime cannot run it on a batch of 6: "):
        import_model(saved(model, tmp_path / "x.onnx"), tmp_path / "out", Stated("arcface_torch"), QUIET)


# ---- weights in other files


def external(tmp_path: Path) -> tuple[Path, Any]:
    folder = tmp_path / "external"
    folder.mkdir()
    model = linear()
    place = {"location": "weights.bin", "size_threshold": 0, "convert_attribute": True}
    onnx.save_model(model, folder / "x.onnx", save_as_external_data=True, **place)
    return folder / "x.onnx", onnx.load(folder / "x.onnx", load_external_data=False)


def relocate(file: Path, model: Any, **entries: object) -> None:
    kept = {e.key: e.value for e in model.graph.initializer[0].external_data} | {k: str(v) for k, v in entries.items()}
    del model.graph.initializer[0].external_data[:]
    for key, value in kept.items():
        model.graph.initializer[0].external_data.add(key=key, value=value)
    file.write_bytes(model.SerializeToString())


def test_external_weights_are_taken_in(tmp_path: Path) -> None:
    file, _ = external(tmp_path)
    assert (file.parent / "weights.bin").stat().st_size >= weight().nbytes
    done = import_model(file, tmp_path / "out", Stated("arcface_torch"), QUIET)
    assert done["source_sha256"] == done["sha256"], "the digest is that of the file with its weights"
    vectors = hyperarc.load_encoder(tmp_path / "out").embed(faces(2)).vectors
    np.testing.assert_allclose(vectors, by_hand(faces(2)), rtol=1e-4, atol=1e-4)
    with pytest.raises(ArtifactError, match="keeps weights in other files; import the ONNX file again"):
        parse_graph(file.read_bytes(), file)


def test_external_weights_must_lie_in_the_folder(tmp_path: Path) -> None:
    file, model = external(tmp_path)
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(weight().nbytes))
    (file.parent / "link").symlink_to(secret)
    for place in ("../secret", str(secret), "link", "deeper/../../secret"):
        relocate(file, model, location=place)
        with pytest.raises(ArtifactError, match="leads out of the folder; copy the ONNX file and its data"):
            read_graph(file)
    for place in ("absent.bin", "", "."):
        relocate(file, model, location=place)
        with pytest.raises(ArtifactError, match=f"external data {place!r} is missing"):
            read_graph(file)


def test_external_weights_must_be_there_in_full(tmp_path: Path) -> None:
    file, model = external(tmp_path)
    for entries in ({"length": 10**9}, {"offset": 10**9}, {"offset": -4}, {"length": -1}):
        relocate(file, model, **{"offset": 0, "length": 4, **entries})
        with pytest.raises(ArtifactError, match=r"external data weights\.bin is too short"):
            read_graph(file)
    relocate(file, model, offset="x")
    with pytest.raises(ArtifactError, match="offset or length is no number"):
        read_graph(file)
    relocate(file, model, offset=0, length=4)
    with pytest.raises(ArtifactError):
        OnnxBackbone(read_graph(file))
    os.truncate(file.parent / "weights.bin", 1 << 31)  # sparse
    relocate(file, model, offset=0, length=1 << 31)
    with pytest.raises(ArtifactError, match="at most 2 GiB of weights"):
        read_graph(file)


def test_external_weights_of_nested_graphs_are_found(tmp_path: Path) -> None:
    inner = helper.make_graph([], "inner", [], [helper.make_tensor_value_info("m", TensorProto.FLOAT, [1])])
    tensor = numpy_helper.from_array(np.ones(1, np.float32), "m")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    inner.initializer.append(tensor)
    choice = helper.make_node("If", ["c"], ["m"], then_branch=inner, else_branch=inner)
    file = saved(linear(nodes=(choice,)), tmp_path / "x.onnx")
    with pytest.raises(ArtifactError, match="leads out of the folder"):
        read_graph(file)


# ---- devices and packages


def test_never_another_device_than_asked_for() -> None:
    cuda = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert [name for name, _ in providers_for("cpu", cuda)] == ["CPUExecutionProvider"]
    assert providers_for("cuda:1", cuda)[0] == ("CUDAExecutionProvider", {"device_id": 1})
    with pytest.raises(HyperArcError, match=r"device cuda:0: expected an ONNX Runtime for cuda, .*onnxruntime-gpu"):
        providers_for("cuda:0", ["CPUExecutionProvider"])
    with pytest.raises(HyperArcError, match=r"device mps: expected an ONNX Runtime for mps, .*; use cpu or cuda"):
        providers_for("mps", cuda)


def test_moving_it_opens_it_on_the_other_device(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = OnnxBackbone(graph_of(linear()))
    before = backbone._session
    backbone.to("cpu").to(memory_format=torch.channels_last)
    assert backbone._session is before
    with pytest.raises(HyperArcError, match="device meta: expected an ONNX Runtime for meta"):
        Encoder(backbone, CONTRACT, device="meta")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_where_there_is_none() -> None:
    with pytest.raises(HyperArcError, match=r"device cuda: the device cannot be used: .*; use cpu"):
        Encoder(OnnxBackbone(graph_of(linear())), CONTRACT, device="cuda")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_the_extra_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = linear().SerializeToString()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(HyperArcError, match=r"pip install 'hyperarc\[onnx\]'"):
        OnnxBackbone(parse_graph(content, Path("mine.onnx")))


# ---- import


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    file = saved(linear(), tmp_path / "linear.onnx")
    import_model(file, tmp_path / "artifact", Stated("arcface_torch", card={"licence": "MIT"}), QUIET)
    return tmp_path / "artifact"


def test_an_imported_artifact_is_one_like_others(imported: Path) -> None:
    assert sorted(p.name for p in imported.iterdir()) == ["card.md", "contract.json", MODEL]
    assert (imported / MODEL).read_bytes() == (imported.parent / "linear.onnx").read_bytes()
    artifact = open_artifact(imported)
    assert artifact.recipe is None
    assert artifact.backbone_name == MODEL
    assert artifact.contract.model_copy(update={"model": ""}) == CONTRACT
    encoder = hyperarc.load_encoder(imported, batch_size=3)
    embedded = encoder.embed(faces(7))
    assert embedded.contract == artifact.contract.digest
    np.testing.assert_allclose(embedded.vectors, by_hand(faces(7)), rtol=1e-4, atol=1e-4)
    front = yaml.safe_load((imported / "card.md").read_text().split("---")[1])
    assert front["licence"] == "MIT"
    assert front["source"] == "linear.onnx"
    assert front["opset"] == "ai.onnx 17"
    assert front["producer"] == "by hand 1"
    assert front["sha256"].startswith(artifact.contract.model)
    assert front["contract"] == artifact.contract.digest


def test_the_contract_covers_the_graph(imported: Path) -> None:
    other = linear(matrix=weight(seed=1)).SerializeToString()
    (imported / MODEL).write_bytes(other)
    with pytest.raises(ArtifactError, match=r"model\.onnx: damaged or foreign: these are not the weights"):
        hyperarc.load_encoder(imported)
    (imported / MODEL).unlink()
    with pytest.raises(ArtifactError, match=r"recipe\.yaml: missing from the artifact"):
        hyperarc.load_encoder(imported)


def test_a_contract_that_does_not_fit_the_graph(imported: Path) -> None:
    contract = json.loads((imported / "contract.json").read_text())
    for change, message in (
        ({"embedding_dim": 7}, "says 7 values an embedding, it returns 6"),
        ({"height": 112, "width": 112}, "expected a graph for crops of 112x112 px, it takes 24x28"),
    ):
        (imported / "contract.json").write_text(json.dumps(contract | change))
        with pytest.raises(ArtifactError, match=message):
            hyperarc.load_encoder(imported)


def test_what_an_imported_artifact_lacks_is_said(imported: Path, tmp_path: Path, run: Any) -> None:
    with pytest.raises(ArtifactError, match="expected an artifact that training left, with a head"):
        open_artifact(imported).head()
    small = ["demo", "data={drawn: {people: 4, faces_per_person: 4}}", "evaluation=[]", "training.batch_size=8"]
    said = run("train", *small, "--run", tmp_path / "run", "--from", imported).complaint()
    assert "with a backbone to train on; this one was imported from an ONNX file" in said


def test_a_graph_may_teach(tmp_path: Path, small: torch.nn.Module, run: Any) -> None:
    pooled = linear(shape=(3, 112, 112), matrix=np.random.default_rng(0).normal(size=(37632, 8)).astype(np.float32))
    pooled.graph.output[0].CopyFrom(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 8]))
    import_model(saved(pooled, tmp_path / "x.onnx"), tmp_path / "teacher", Stated("magface"), QUIET)
    student = [
        "demo", "data={drawn: {people: 4, faces_per_person: 4}}", "evaluation=[]", "training.batch_size=8",
        "schedule={kind: constant, epochs: 1, warmup_epochs: 0}", "backbone.embedding_dim=8",
    ]  # fmt: skip
    section = f"distillation={{teacher: {tmp_path / 'teacher'}, class_weight: %s}}"
    ran = run("train", *student, section % 0, "--run", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert f"taught by model.onnx of {tmp_path / 'teacher'}" in ran.err.replace("\n", "")
    said = run("train", *student, section % 0.1, "--run", tmp_path / "other").complaint()
    assert "with a head (centers and margin state); this one was imported from an ONNX file" in said


@pytest.mark.parametrize("name", CONVENTIONS)
def test_conventions(name: str, tmp_path: Path) -> None:
    """input = (pixel - mean) / std, by the formulas of the authors' code for one gray level."""
    gray = 100.0
    expected = {
        "arcface_torch": (gray / 255 - 0.5) / 0.5,
        "adaface": (gray / 255 - 0.5) / 0.5,
        "magface": gray / 255,
        "npt": (gray - 127.5) / 128,
        "mxnet": gray,
        "imagenet": (gray / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]),
    }
    import_model(saved(linear(), tmp_path / "x.onnx"), tmp_path / "out", Stated(name), QUIET)
    contract = open_artifact(tmp_path / "out").contract
    assert contract.color == ("bgr" if name in ("adaface", "magface") else "rgb")
    np.testing.assert_allclose((gray - np.array(contract.mean)) / contract.std, np.full(3, expected[name]), rtol=1e-6)


def test_the_users_word_goes_before_the_conventions(tmp_path: Path, run: Any) -> None:
    file = saved(linear(), tmp_path / "x.onnx")
    options = ["--like", "imagenet", "--color", "bgr", "--std", 1, 2, 4, "--flip", "none", "--licence", "CC0"]
    ran = run("import", file, tmp_path / "out", *options, "--json", "--quiet")
    assert ran.code == 0, ran.err
    assert not ran.err
    done = json.loads(ran.out)
    contract = open_artifact(tmp_path / "out").contract
    assert done["contract"] == json.loads(contract.model_dump_json())
    assert done["digest"] == contract.digest
    assert (contract.color, contract.std, contract.flip) == ("bgr", (1.0, 2.0, 4.0), "none")
    assert contract.mean == (123.675, 116.28, 103.53)
    assert done["batch_difference"] < 1e-5


def test_import_prints_the_contract(tmp_path: Path, run: Any) -> None:
    ran = run("import", saved(linear(), tmp_path / "x.onnx"), tmp_path / "out", "--like", "adaface")
    assert "color          bgr" in ran.out
    assert f"contract {open_artifact(tmp_path / 'out').contract.digest}" in ran.out
    assert "by hand 1, opset ai.onnx 17, output embedding" in ran.err


def test_import_refuses_what_is_unclear(tmp_path: Path, run: Any) -> None:
    file = saved(linear(), tmp_path / "x.onnx")
    nothing = run("import", file, tmp_path / "o").complaint(2)
    assert "not stated: color, mean, std; give --like arcface_torch|" in nothing
    assert "not stated: mean, std" in run("import", file, tmp_path / "o", "--color", "rgb").complaint(2)
    assert "did you mean 'adaface'" in run("import", file, tmp_path / "o", "--like", "ada_face").complaint(2)
    assert "--color: " in run("import", file, tmp_path / "o", "--like", "npt", "--color", "gbr").complaint(2)
    zero = run("import", file, tmp_path / "o", "--like", "npt", "--std", 0, 1, 1)
    assert "expected finite means and positive stds" in zero.complaint(2)
    narrow = run("import", file, tmp_path / "o", "--like", "npt", "--width", 16)
    assert "expected both or neither" in narrow.complaint(2)
    assert "unknown template" in run("import", file, tmp_path / "o", "--like", "npt", "--template", "x").complaint(2)
    assert not (tmp_path / "o").exists()
    (tmp_path / "o").mkdir()
    assert "refused to overwrite" in run("import", file, tmp_path / "o", "--like", "npt").complaint()


def test_the_template_follows_the_shape(tmp_path: Path) -> None:
    for shape, template in (((112, 112), "arcface_112"), ((112, 96), "sphereface_112x96"), ((20, 18), None)):
        length = 3 * shape[0] * shape[1]
        matrix = np.random.default_rng(0).normal(size=(length, DIM)).astype(np.float32)
        file = saved(linear(shape=(3, *shape), matrix=matrix), tmp_path / "x.onnx")
        out = tmp_path / f"{shape[1]}"
        if template is None:
            with pytest.raises(HyperArcError, match="no template has the shape 18x20; give --template"):
                import_model(file, out, Stated("npt"), QUIET)
        else:
            import_model(file, out, Stated("npt"), QUIET)
            assert open_artifact(out).contract.template == template


def mean_of_the_batch() -> Any:
    """As of batch normalization left in training mode."""
    middle = helper.make_node("ReduceMean", ["embedding"], ["middle"], axes=[0], keepdims=1)
    node = helper.make_node("Sub", ["embedding", "middle"], ["centered"])
    rest = helper.make_node("Add", ["embedding", "centered"], ["rest"])
    return linear(nodes=(middle, node, rest), outputs=(("rest", ["n", DIM]),))


SENSELESS = {
    "not a number": (
        lambda: linear(nodes=(helper.make_node("Sqrt", ["embedding"], ["root"]),), outputs=(("root", ["n", DIM]),)),
        "embeddings that are NaN or infinite",
    ),
    "deaf": (lambda: linear(matrix=np.zeros_like(weight())), "random pictures get zero or equal embeddings: this is"),
    "batch": (mean_of_the_batch, r"depend on the rest of the batch: alone and among 6 they differ by \d+\.\d%"),
}


@pytest.mark.parametrize("name", SENSELESS)
def test_senseless_graphs(name: str, tmp_path: Path) -> None:
    make, message = SENSELESS[name]
    with pytest.raises(ArtifactError, match=f"x.onnx: .*{message}"):
        import_model(saved(make(), tmp_path / "x.onnx"), tmp_path / "out", Stated("npt"), QUIET)
    assert not (tmp_path / "out").exists()


def test_unknown_conventions_are_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match="unknown convention 'x'; known: adaface, arcface_torch, imagenet"):
        import_model(Path("absent.onnx"), Path("absent"), Stated("x"), QUIET)


# ---- somebody's model on real faces


@pytest.fixture
def mobilefacenet(shared: Path, tmp_path: Path) -> Path:
    import_model(shared / "models" / "mobilefacenet.onnx", tmp_path / "mobilefacenet", Stated("imagenet"), QUIET)
    return tmp_path / "mobilefacenet"


def judged(run: Any, artifact: Path, shared: Path, pairs: Path) -> dict[str, Any]:
    out = artifact.parent / "report.html"
    data = ["--data", shared / "data" / "lfw.zip", "--pairs", pairs, "--out", out]
    ran = run("evaluate", artifact, "--protocol", "lfw", *data, "--json", "--quiet")
    assert ran.code == 0, ran.err
    result: dict[str, Any] = json.loads(ran.out)
    return result


def test_somebodys_model_on_some_pairs(mobilefacenet: Path, shared: Path, run: Any, tmp_path: Path) -> None:
    lines = (shared / "data" / "protocols" / "lfw" / "pairs.txt").read_text().splitlines()
    few = [f"{2}\t{50}", *lines[1:51], *lines[301:351], *lines[601:651], *lines[901:951]]
    (tmp_path / "pairs.txt").write_text("\n".join(few) + "\n")
    result = judged(run, mobilefacenet, shared, tmp_path / "pairs.txt")
    assert result["conditions"]["pairs"] == 200
    assert result["accuracy"] >= 0.97
    assert result["auc"] > 0.99


@pytest.mark.slow
def test_somebodys_model_reaches_its_published_accuracy(mobilefacenet: Path, shared: Path, run: Any) -> None:
    result = judged(run, mobilefacenet, shared, shared / "data" / "protocols" / "lfw" / "pairs.txt")
    assert result["conditions"]["pairs"] == 6000
    assert result["accuracy"] >= 0.991  # 99.23 +- 0.32 % published with these crops


def first_best(cosines: Any, same: Any, folds: Any, step: float) -> float:
    """Accuracy over folds as the numbers beside the shared faces were made: cosines in steps, the first best."""
    correct = np.stack([(cosines > at) == same for at in np.arange(-1, 1, step)])
    best = [correct[:, folds != fold].mean(axis=1).argmax() for fold in range(10)]
    return float(np.mean([correct[place, folds == fold].mean() for fold, place in enumerate(best)]))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "published", "ours"), [("FF", 0.9934, 0.9943), ("FP", 0.8661, 0.8664)])
def test_somebodys_model_on_frontal_and_profile_faces(
    kind: Any, published: float, ours: float, mobilefacenet: Path, shared: Path
) -> None:
    asked = {"protocol": f"cfp_{kind.lower()}", "faces": str(shared / "data" / "cfp.zip")}
    asked["pairs"] = str(shared / "data" / "protocols" / "cfp")
    result = evaluate(Models([mobilefacenet]), [evaluation_of(asked)], QUIET)[0].judgements[0].result
    assert isinstance(result, PairsResult)
    assert abs(result.accuracy - ours) < 2e-4
    pairs = read_cfp_pairs(Path(asked["pairs"]), kind)
    cosines = np.empty(len(pairs))
    cosines[pairs.same], cosines[~pairs.same] = result.genuine, result.impostor
    assert abs(first_best(cosines, pairs.same, pairs.folds, 0.0025) - published) < 1e-4
