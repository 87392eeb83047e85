"""Exchanged colors: noticed when they cost accuracy, and only then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperarc.data.face_set import open_faces
from hyperarc.protocols.color_order import ColorOrder, compare_color_orders, sample_pairs, separation
from hyperarc.protocols.pairs import Pairs

HIGH, WIDE, PEOPLE = 28, 24, 25


def separation_by_hand(genuine: list[float], impostor: list[float]) -> float:
    def spread(scores: list[float]) -> float:
        mean = sum(scores) / len(scores)
        return sum((score - mean) ** 2 for score in scores) / len(scores)

    pooled = ((spread(genuine) + spread(impostor)) / 2) ** 0.5
    return (sum(genuine) / len(genuine) - sum(impostor) / len(impostor)) / pooled


def test_separation() -> None:
    genuine, impostor = [0.5, 0.9, 0.7], [0.1, -0.1, 0.2, 0.0]
    got = float(separation(np.array(genuine), np.array(impostor)))
    assert got == pytest.approx(separation_by_hand(genuine, impostor))
    rows = separation(np.array([genuine, genuine[::-1]]), np.array([impostor, impostor]))
    assert rows == pytest.approx([got, got])
    assert float(separation(np.ones(3), np.ones(2))) == 0


def made(noise: float, seed: int, people: int = 60) -> tuple[Pairs, dict[str, np.ndarray]]:
    """Half of the pairs genuine; the more noise, the worse the embeddings."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(size=(people, 8))
    vectors = {f"{p}/{i}": centers[p] + noise * rng.normal(size=8) for p in range(people) for i in range(2)}
    first = [f"{p}/0" for p in range(people)] * 2
    second = [f"{p}/1" for p in range(people)] + [f"{(p + 1) % people}/1" for p in range(people)]
    same = [True] * people + [False] * people
    return Pairs("made", first, second, same, 2), {k: v.astype(np.float32) for k, v in vectors.items()}


def compared(given: float, exchanged: float, seeds: tuple[int, int] = (1, 2)) -> ColorOrder:
    pairs, as_is = made(given, seeds[0])
    return compare_color_orders(pairs, sample_pairs(pairs, as_is), as_is, made(exchanged, seeds[1])[1])


def test_the_better_order_is_told() -> None:
    order = compared(0.9, 0.4)
    assert order.exchanged_is_better
    assert order.exchanged > order.separation > 0
    assert (order.genuine, order.impostor) == (60, 60)
    assert f"separation {order.exchanged:.2f} instead of {order.separation:.2f}" in order.warning()
    assert order == compared(0.9, 0.4), "chance is drawn the same way every time"


def test_no_warning_without_a_clear_difference() -> None:
    assert not compared(0.4, 0.8).exchanged_is_better
    alarms = [compared(0.6, 0.6, (2 * i, 2 * i + 1)).exchanged_is_better for i in range(40)]
    assert sum(alarms) == 0
    pairs, as_is = made(0.5, 1)
    gray = compare_color_orders(pairs, sample_pairs(pairs, as_is), as_is, as_is)
    assert gray.certainty == 0, "gray pictures are the same both ways"


def test_sampled_pairs() -> None:
    first, second = [f"a{i}" for i in range(1000)], [f"b{i}" for i in range(1000)]
    pairs = Pairs("long", first, second, np.arange(1000) % 4 == 0, 2)
    present = {*first, *second} - {"a0", "b999"}
    rows = sample_pairs(pairs, present)
    assert len(rows) == len(set(rows.tolist())) == 400
    assert pairs.same[rows].sum() == 200
    assert 0 not in rows
    assert 999 not in rows
    assert rows.min() < 20
    assert rows.max() > 980
    few = Pairs("few", first[:60], second[:60], np.arange(60) < 19, 2)
    assert len(sample_pairs(few, present)) == 0


# ---- hyperarc evaluate


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """People who differ in red; green and blue say nothing."""
    folder = tmp_path_factory.mktemp("red") / "faces"
    rng = np.random.default_rng(0)
    for person in range(PEOPLE):
        red = rng.integers(0, 256, (HIGH, WIDE))
        (folder / f"p{person:02d}").mkdir(parents=True)
        for picture in range(2):
            pixels = rng.integers(0, 256, (HIGH, WIDE, 3))
            pixels[..., 0] = (red + rng.integers(-60, 60, red.shape)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"p{person:02d}" / f"{picture}.png")
    rows = [f"p{p:02d}/0,p{(p + step) % PEOPLE:02d}/1,{int(step == 0)}" for p in range(PEOPLE) for step in (0, 1)]
    (folder.parent / "pairs.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file that looks at the first channel alone."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    matrix = np.random.default_rng(1).normal(size=(3, HIGH, WIDE, 32)).astype(np.float32)
    matrix[1:] = 0
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["faces"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "matrix"], ["embedding"]),
        ],
        "red",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["n", 3, HIGH, WIDE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 32])],
        [numpy_helper.from_array(matrix.reshape(-1, 32), "matrix")],
    )
    path = tmp_path_factory.mktemp("model") / "red.onnx"
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def judged(run: Any, model: Path, faces: Path, pairs: Path, out: Path, color: str) -> tuple[dict[str, Any], str]:
    """The conditions of an evaluation, and what was said beside it."""
    artifact = out / color
    assert run("import", model, artifact, "--like", "npt", "--color", color).code == 0
    words = ["--protocol", "pairs", "--data", faces, "--pairs", pairs, "--json", "--out", out / "report.html"]
    done = run("evaluate", artifact, *words)
    assert done.code == 0, done.err
    return json.loads(done.out)["conditions"], " ".join(done.err.split())


def test_the_right_order_is_not_warned_of(run: Any, model: Path, faces: Path, tmp_path: Path) -> None:
    conditions, said = judged(run, model, faces, faces.parent / "pairs.csv", tmp_path, "rgb")
    assert conditions["red_blue_exchanged_better"] is False
    assert conditions["separation"] > 2 > abs(conditions["separation_red_blue_exchanged"])
    assert "warning" not in said


def test_a_model_of_the_other_order_is_warned_of(run: Any, model: Path, faces: Path, tmp_path: Path) -> None:
    conditions, said = judged(run, model, faces, faces.parent / "pairs.csv", tmp_path, "bgr")
    assert conditions["red_blue_exchanged_better"] is True
    numbers = [conditions[name] for name in ("separation_red_blue_exchanged", "separation")]
    assert numbers[0] > 2 > abs(numbers[1])
    assert "warning: these faces score better with red and blue exchanged: separation " in said
    assert f"{numbers[0]:.2f} instead of {numbers[1]:.2f} standard deviations over 25 genuine and 25 impostor" in said
    assert "the other --color" in said


def test_faces_of_the_other_order_are_warned_of(run: Any, model: Path, faces: Path, tmp_path: Path) -> None:
    swapped = tmp_path / "swapped"
    for path in faces.rglob("*.png"):
        target = swapped / path.relative_to(faces)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(Image.open(path))[..., ::-1].copy()).save(target)
    pairs = faces.parent / "pairs.csv"
    conditions, said = judged(run, model, swapped, pairs, tmp_path / "plain", "rgb")
    assert conditions["red_blue_exchanged_better"] is True
    assert "say color bgr in their manifest" in said
    manifest = open_faces(swapped).manifest
    manifest.recolored(np.ones(len(manifest), np.bool_), "bgr").write(tmp_path / "swapped.parquet")
    conditions, said = judged(run, model, tmp_path / "swapped.parquet", pairs, tmp_path / "mended", "rgb")
    assert conditions["red_blue_exchanged_better"] is False
    assert "warning" not in said


@pytest.mark.slow
def test_real_faces(run: Any, shared: Path, tmp_path: Path) -> None:
    """Real models lose little by it, so little that their accuracy does not show it."""
    pytest.importorskip("onnxruntime")
    lines = (shared / "data" / "protocols" / "lfw" / "pairs.txt").read_text().splitlines()
    few = ["2\t100", *lines[1:101], *lines[301:401], *lines[601:701], *lines[901:1001]]
    (tmp_path / "pairs.txt").write_text("\n".join(few) + "\n")
    said = {}
    for color in ("rgb", "bgr"):
        artifact = tmp_path / color
        words = ["--mean", 127.5, 127.5, 127.5, "--std", 58, 58, 58, "--color", color, "--flip", "none"]
        assert run("import", shared / "models" / "mobilefacenet.onnx", artifact, *words).code == 0
        words = ["--protocol", "lfw", "--data", shared / "data" / "lfw.zip", "--pairs", tmp_path / "pairs.txt"]
        done = run("evaluate", artifact, *words, "--json", "--out", tmp_path / "report.html")
        assert done.code == 0, done.err
        said[color] = json.loads(done.out)["conditions"]["red_blue_exchanged_better"]
    assert said == {"rgb": False, "bgr": True}
