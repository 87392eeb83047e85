"""SCRFD and RetinaFace: ONNX files built here, whose outputs are constants, decoded by hand and by plain loops."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import hyperarc
from hyperarc.errors import DataError, HyperArcError, UnknownNameError
from hyperarc.faces.detection import open_detector
from hyperarc.faces.detectors.decoding import decode_anchors, decode_distances
from hyperarc.faces.detectors.graph import output_names
from hyperarc.faces.detectors.onnx_file import OnnxDetector

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

Array = npt.NDArray[np.float32]
STRIDES = (8, 16, 32)


def write_model(path: Path, outputs: Sequence[Array], side: int | str = 640, names: Sequence[str] = ()) -> Path:
    """An ONNX file that takes pictures of a side, or of any, and whatever it is given answers with these outputs."""
    named = list(zip(names or [str(400 + k) for k in range(len(outputs))], outputs, strict=True))
    proto, helper = onnx.TensorProto.FLOAT, onnx.helper
    nodes = [
        helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(array.astype(np.float32), name))
        for name, array in named
    ]
    taken = helper.make_tensor_value_info("input.1", proto, [1, 3, side, side if isinstance(side, int) else "w"])
    given = [helper.make_tensor_value_info(name, proto, array.shape) for name, array in named]
    graph = helper.make_graph(nodes, "detector", [taken], given)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def distances(side: int = 640, batch: bool = False) -> list[Array]:
    """Nine empty outputs of SCRFD: scores, boxes, landmarks, each for strides 8, 16, 32."""
    sizes = [(2 * (side // stride) ** 2, last) for last in (1, 4, 10) for stride in STRIDES]
    return [np.zeros((1, *size) if batch else size, np.float32) for size in sizes]


def anchors(side: int = 640) -> list[Array]:
    """Nine empty outputs of RetinaFace, as MXNet orders them: strides 32, 16, 8, each with scores, boxes, landmarks."""
    return [
        np.zeros((1, last, side // stride, side // stride), np.float32)
        for stride in reversed(STRIDES)
        for last in (4, 8, 20)
    ]


def with_a_face(batch: bool = False, side: int = 640) -> list[Array]:
    """Stride 16, column 5, row 3, second prediction: the place is (80, 48) px."""
    outputs = distances(side, batch)
    row = 2 * (3 * (side // 16) + 5) + 1
    outputs[1][..., row, 0] = 0.8
    outputs[4][..., row, :] = (1, 2, 3, 4)
    outputs[7][..., row, :] = (0, 0, 1, 0, 0.5, 1, 0, 2, 1, 2)
    return outputs


PHOTO = np.full((320, 640, 3), 255, np.uint8)  # fills the upper half of the input
BOX = [80 - 16, 48 - 32, 80 + 48, 48 + 64]
LANDMARKS = [[80, 48], [96, 48], [88, 64], [80, 80], [96, 80]]


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("order", [range(9), [3, 8, 1, 0, 6, 4, 7, 2, 5]])
def test_scrfd_by_hand(tmp_path: Path, batch: bool, order: Sequence[int]) -> None:
    outputs = with_a_face(batch)
    path = write_model(tmp_path / "weights.onnx", [outputs[k] for k in order])
    (one,) = hyperarc.detect(PHOTO, path)
    assert one.box.tolist() == BOX
    assert one.landmarks.tolist() == LANDMARKS
    assert one.score == pytest.approx(0.8)
    (half,) = open_detector(path).detect(PHOTO[::2, ::2])  # enlarged to the same input
    assert (half.box * 2).tolist() == BOX
    (high,) = open_detector(path).detect(np.zeros((1280, 100, 3), np.uint8))
    assert (high.landmarks / 2).tolist() == LANDMARKS


def test_retinaface_by_hand(tmp_path: Path) -> None:
    # stride 8, column 10, row 4, first anchor: 32 px wide around (80 + 7.5, 32 + 7.5)
    outputs = anchors()
    scores, boxes, points = outputs[6:]
    scores[0, :2] = 1  # background everywhere
    scores[0, 2, 4, 10] = 0.9
    boxes[0, :4, 4, 10] = (0.25, -0.5, math.log(2), 0)
    points[0, :10, 4, 10] = (-0.5, -0.25, 0.5, -0.25, 0, 0, -0.25, 0.5, 0.25, 0.5)
    (one,) = hyperarc.detect(PHOTO, write_model(tmp_path / "r50.onnx", outputs))
    # the center moves to (95.5, 23.5); 64 px wide and 32 high, from the first to the last pixel
    np.testing.assert_allclose(one.box, [64, 8, 127, 39], atol=1e-4)
    np.testing.assert_allclose(one.landmarks, [[71.5, 31.5], [103.5, 31.5], [87.5, 39.5], [79.5, 55.5], [95.5, 55.5]])
    assert one.score == pytest.approx(0.9)


def loops_of_distances(outputs: list[Array], height: int, width: int, least: float) -> list[list[float]]:
    rows = []
    for scores, boxes, points, stride in zip(outputs[:3], outputs[3:6], outputs[6:], STRIDES, strict=True):
        row = 0
        for y in range(height // stride):
            for x in range(width // stride):
                for _ in range(2):
                    if scores[row, 0] >= least:
                        a, b, c, d = (float(v) for v in boxes[row])
                        found = [x - a, y - b, x + c, y + d]
                        for k in range(5):
                            found += [x + float(points[row, 2 * k]), y + float(points[row, 2 * k + 1])]
                        rows.append([v * stride for v in found] + [float(scores[row, 0])])
                    row += 1
    return rows


def loops_of_anchors(outputs: list[Array], height: int, width: int, least: float) -> list[list[float]]:
    rows = []
    for at, stride in enumerate(reversed(STRIDES)):
        scores, boxes, points = (output[0].astype(np.float64) for output in outputs[3 * at : 3 * at + 3])
        for k, side in enumerate({8: (32, 16), 16: (128, 64), 32: (512, 256)}[stride]):
            for y in range(height // stride):
                for x in range(width // stride):
                    if scores[2 + k, y, x] < least:
                        continue
                    # the anchor from its first to its last pixel: 16 px around (7.5, 7.5), scaled
                    left, top = x * stride + 7.5 - (side - 1) / 2, y * stride + 7.5 - (side - 1) / 2
                    right, bottom = left + side - 1, top + side - 1
                    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
                    dx, dy, dw, dh = boxes[4 * k : 4 * k + 4, y, x]
                    to_x, to_y = dx * side + middle_x, dy * side + middle_y
                    wide, high = math.exp(dw) * side, math.exp(dh) * side
                    found = [to_x - 0.5 * (wide - 1), to_y - 0.5 * (high - 1)]
                    found += [to_x + 0.5 * (wide - 1), to_y + 0.5 * (high - 1)]
                    for n in range(5):
                        found.append(points[10 * k + 2 * n, y, x] * side + middle_x)
                        found.append(points[10 * k + 2 * n + 1, y, x] * side + middle_y)
                    rows.append([*found, scores[2 + k, y, x]])
    return rows


@pytest.mark.parametrize("kind", ["distances", "anchors"])
def test_decoding_equals_plain_loops(kind: str) -> None:
    rng = np.random.default_rng(3)
    height, width = 64, 96
    if kind == "distances":
        sizes: Any = [(2 * (height // s) * (width // s), last) for last in (1, 4, 10) for s in STRIDES]
    else:
        sizes = [(1, last, height // s, width // s) for s in reversed(STRIDES) for last in (4, 8, 20)]
    outputs = [rng.uniform(0, 1, size).astype(np.float32) for size in sizes]
    decode, loops = {
        "distances": (decode_distances, loops_of_distances),
        "anchors": (decode_anchors, loops_of_anchors),
    }[kind]
    wanted = np.array(sorted(loops(outputs, height, width, 0.6)))
    found = decode(outputs, (height, width), 0.6)
    assert len(found) == len(wanted) > 50
    np.testing.assert_allclose(found[np.lexsort(found.T[::-1])], wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("empty", "white", "black"), [(distances, 127.5 / 128, -127.5 / 128), (anchors, 255, 0)])
def test_what_the_network_is_given(tmp_path: Path, empty: Any, white: float, black: float) -> None:
    detector = OnnxDetector(write_model(tmp_path / "weights.onnx", empty()))
    given = []
    run = detector._run
    detector._run = lambda pixels: given.append(pixels) or run(pixels)  # type: ignore[method-assign,func-returns-value]
    photo = np.zeros((32, 64, 3), np.uint8)
    photo[..., 0] = 255
    assert detector.detect(photo) == []
    (pixels,) = given
    assert pixels.dtype == np.float32
    assert pixels.shape == (640, 640, 3)
    np.testing.assert_allclose(pixels[:320, :, 0], white, rtol=1e-6)  # red first
    np.testing.assert_allclose(pixels[:320, :, 1:], black, atol=1e-6)
    np.testing.assert_allclose(pixels[320:], black, atol=1e-6)


def test_overlapping_and_unsure_faces_are_left_out(tmp_path: Path) -> None:
    outputs = with_a_face()
    twin = 2 * (3 * 40 + 5)
    outputs[1][twin, 0], outputs[4][twin], outputs[1][7, 0] = 0.9, (1, 2, 3, 4.1), 0.45
    path = write_model(tmp_path / "weights.onnx", outputs)
    assert [one.score for one in open_detector(path).detect(PHOTO)] == [pytest.approx(0.9)]
    assert len(open_detector(path, min_score=0.4).detect(PHOTO)) == 2
    assert open_detector(path, min_score=0.95).detect(PHOTO) == []


def test_sizes(tmp_path: Path) -> None:
    free = write_model(tmp_path / "any.onnx", with_a_face(side=320), side="h")
    (one,) = open_detector(free, size=320).detect(PHOTO)
    assert (one.box / 2).tolist() == BOX
    with pytest.raises(DataError, match=r"expected a face detector .* got expected one output \[12800, 1\]"):
        open_detector(free).detect(PHOTO)
    fixed = write_model(tmp_path / "fixed.onnx", with_a_face(side=320), side=320)
    assert len(open_detector(fixed).detect(PHOTO)) == 1
    with pytest.raises(HyperArcError, match=r"a size that 32 divides and the file takes, got 640; it takes 320 x 320"):
        open_detector(fixed, size=640)
    for size in (100, 0, -32):
        with pytest.raises(HyperArcError, match=f"got {size}.*; it takes any x any px"):
            open_detector(free, size=size)


def test_values_that_are_not_finite_are_no_faces(tmp_path: Path) -> None:
    outputs = with_a_face()
    outputs[1][0, 0], outputs[4][0] = 0.9, np.nan
    assert len(hyperarc.detect(PHOTO, write_model(tmp_path / "weights.onnx", outputs))) == 1


def test_other_files_are_refused(tmp_path: Path, shared: Path) -> None:
    nine = write_model(tmp_path / "nine.onnx", [np.zeros((4, 2), np.float32)] * 9)
    with pytest.raises(DataError, match=r"nine\.onnx: expected a face detector with five landmarks .* take det_10g"):
        open_detector(nine)
    six = write_model(tmp_path / "six.onnx", distances()[:6])
    with pytest.raises(DataError, match="got a graph with the outputs 400, 401, 402, 403, 404, 405"):
        open_detector(six)
    with pytest.raises(DataError, match="with the outputs output0"):
        open_detector(shared / "models" / "mobilefacenet.onnx")
    with pytest.raises(DataError, match=r"gone\.onnx: cannot be read: No such file"):
        open_detector(tmp_path / "gone.onnx")
    with pytest.raises(UnknownNameError, match="unknown argument of OnnxDetector 'sizes'"):
        open_detector(nine, sizes=(640,))


def test_without_onnxruntime_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(tmp_path / "weights.onnx", distances())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(HyperArcError, match=r"ONNX Runtime is not installed; pip install 'hyperarc\[onnx\]'"):
        open_detector(path)


def test_names_of_outputs_as_onnx_reads_them(tmp_path: Path, shared: Path) -> None:
    for path in (
        write_model(tmp_path / "weights.onnx", distances(64), side=64),
        shared / "models" / "yunet_n_dynamic.onnx",
    ):
        assert output_names(path) == [output.name for output in onnx.load(str(path)).graph.output]


def test_damaged_files_are_named(tmp_path: Path) -> None:
    whole = write_model(tmp_path / "weights.onnx", distances(32), side=32).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.onnx"
    refused = 0
    for trial in range(300):
        data = bytearray(whole[: len(whole) * trial // 300])
        if trial % 2 and data:
            data[int(rng.integers(len(data)))] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            output_names(path)
        except DataError as error:
            refused += str(path) in str(error)
    assert refused > 200
    for data in (b"", b"\xff" * 20, b"version https://git-lfs.github.com/spec/v1"):
        path.write_bytes(data)
        with pytest.raises(DataError, match="expected an ONNX file"):
            open_detector(path)
    path.write_bytes(whole[:-40] + bytes(40))
    with pytest.raises(DataError):
        open_detector(path)
