"""Detection: faces and policies, YuNet's searches and second looks, ONNX files decoded by hand, MTCNN."""

from __future__ import annotations

import contextlib
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import hyperarc
from hyperarc import Face
from hyperarc.errors import DataError, HyperArcError, UnknownNameError
from hyperarc.faces import detection
from hyperarc.faces.choice import choose_faces
from hyperarc.faces.detection import detector_names, open_detector
from hyperarc.faces.detectors import yunet
from hyperarc.faces.detectors.mtcnn import MTCNN
from hyperarc.faces.detectors.yunet import YuNet
from hyperarc.faces.face import Detector
from hyperarc.faces.image import decode
from hyperarc.faces.overlap import overlaps, suppress
from hyperarc.faces.template import TEMPLATES, residual_px

Pixels = npt.NDArray[np.uint8]

NOWHERE = np.zeros((5, 2), np.float32)
POINTS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])


def face(left: float, top: float, right: float, bottom: float, score: float = 0.9) -> Face:
    return Face(np.array([left, top, right, bottom], np.float32), NOWHERE, score)


def test_a_face_is_checked_and_cannot_be_changed() -> None:
    one = face(10, 20, 50, 70)
    assert (one.width, one.height, one.score) == (40, 50, 0.9)
    assert one.box.dtype == one.landmarks.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        one.box[0] = 3
    with pytest.raises(DataError, match=r"expected box of a face as finite numbers \[4\]"):
        Face(np.zeros(5, np.float32), NOWHERE, 0.5)
    with pytest.raises(DataError, match="landmarks"):
        Face(np.zeros(4, np.float32), NOWHERE + np.nan, 0.5)


def test_policies_by_hand() -> None:
    # photo of 100 x 100: areas 900, 400, 144; distances from the center (50, 50) squared: 1850, 200, 0
    border, near, middle = face(0, 10, 30, 40, 0.7), face(50, 30, 70, 50, 0.8), face(44, 44, 56, 56, 0.9)
    faces = [border, near, middle]
    assert choose_faces(faces, (100, 100)) == [middle, near, border]
    assert choose_faces(faces, (100, 100, 3), "largest") == [border]
    # 900 - 2 * 1850 < 400 - 2 * 200 = 0 < 144
    assert choose_faces(faces, (100, 100), "central") == [middle]
    assert choose_faces(faces[:2], (100, 100), "central") == [near]
    assert choose_faces([], (100, 100), "central") == []
    with pytest.raises(UnknownNameError, match="'largest'"):
        choose_faces(faces, (100, 100), "larges")


@pytest.mark.parametrize("policy", ["all", "largest", "central"])
def test_ties_do_not_depend_on_the_order_of_faces(policy: str) -> None:
    # alike but for their place, each at one distance from the center
    four = [face(40 + x, 40 + y, 60 + x, 60 + y) for x, y in ((20, 0), (-20, 0), (0, 20), (0, -20))]
    for turn in range(4):
        first = choose_faces(four[turn:] + four[:turn], (100, 100), policy)[0]
        assert first is four[1]
    assert choose_faces([*four, face(40, 60, 60, 80, 0.95)], (100, 100), policy)[0].score == 0.95


def test_suppression_equals_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (80, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (80, 2))], axis=1)
    scores = rng.choice([0.2, 0.5, 0.8], 80)

    def union_share(a: Any, b: Any) -> float:
        x, y = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        shared = max(x, 0) * max(y, 0)
        return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))

    kept: list[int] = []
    for k in sorted(range(80), key=lambda k: (-scores[k], k)):
        if all(union_share(boxes[k], boxes[other]) <= 0.4 for other in kept):
            kept.append(k)
    assert suppress(boxes, scores) == kept
    assert 5 < len(kept) < 60
    np.testing.assert_allclose(overlaps(boxes[0], boxes), [union_share(boxes[0], box) for box in boxes], atol=1e-12)
    assert suppress(np.zeros((0, 4)), []) == []
    assert overlaps([3, 3, 3, 3], [[3, 3, 3, 3]]).tolist() == [0]  # no area, no division by it


class Still:
    """Finds what it is told."""

    def __init__(self, *faces: Face) -> None:
        self.faces = list(faces)

    def detect(self, image: Pixels) -> list[Face]:
        return self.faces


def test_detect_takes_any_detector() -> None:
    photo = np.zeros((100, 200, 3), np.uint8)
    left, middle = face(0, 0, 60, 60, 0.8), face(80, 30, 120, 70, 0.7)
    assert isinstance(Still(), Detector)
    assert hyperarc.detect(photo, Still(middle, left)) == [left, middle]
    assert hyperarc.detect(photo, Still(left, middle), policy="central") == [middle]
    assert hyperarc.detect(photo, Still()) == []


ODD: dict[str, Any] = {
    "empty": np.zeros((0, 10, 3), np.uint8),
    "gray": np.zeros((10, 10), np.uint8),
    "four channels": np.zeros((10, 10, 4), np.uint8),
    "float": np.zeros((10, 10, 3)),
    "list": [[1, 2], [3, 4]],
    "nothing": None,
}


@pytest.mark.parametrize("image", ODD.values(), ids=ODD)
def test_what_is_no_photo_is_refused(image: Any) -> None:
    with pytest.raises(DataError, match=r"expected a photo uint8 \[H, W, 3\], RGB, got .*; open pictures with"):
        hyperarc.detect(image, Still())


def test_unknown_detectors_and_arguments_are_named() -> None:
    assert {"mtcnn", "yunet"} <= set(detector_names())
    with pytest.raises(UnknownNameError, match="did you mean 'yunet'"):
        open_detector("yunett")
    with pytest.raises(UnknownNameError, match="did you mean 'min_score'"):
        open_detector("yunet", min_scor=0.5)
    with pytest.raises(HyperArcError, match="must be a number"):
        open_detector("yunet", min_score="high")


class Blobs:
    """Stands in for OpenCV's FaceDetectorYN: a face is what is red, and it looks at BGR, so at the last channel.

    It sees faces of 16 to 300 px, as YuNet does, and remembers at what sizes it was asked.
    """

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []
        self.least = 0.0
        self.blind: Callable[[float], bool] = lambda height: not 16 <= height <= 300

    def setInputSize(self, size: tuple[int, int]) -> None:
        self.size = size

    def setScoreThreshold(self, least: float) -> None:
        self.least = least

    def detect(self, canvas: Pixels) -> tuple[int, Any]:
        import cv2

        assert canvas.dtype == np.uint8
        assert canvas.shape[1::-1] == tuple(self.size)
        self.sizes.append(tuple(self.size))
        red = (canvas[..., 2] > 128) & (canvas[..., 0] < 64)
        count, _, stats, _ = cv2.connectedComponentsWithStats(red.astype(np.uint8))
        rows = []
        for x, y, width, height, _ in stats[1:count]:
            if not self.blind(height) and self.least <= 0.9:
                points = POINTS * (width, height) + (x, y)
                rows.append([x, y, width, height, *points.ravel(), 0.9])
        return 1, np.array(rows, np.float32) if rows else None


@pytest.fixture
def blobs(monkeypatch: pytest.MonkeyPatch) -> Blobs:
    found = Blobs()
    monkeypatch.setattr(yunet, "_open", lambda model: found)
    return found


def photo_of(shape: tuple[int, int], *boxes: tuple[int, int, int, int]) -> Pixels:
    photo = np.full((*shape, 3), 200, np.uint8)
    for left, top, right, bottom in boxes:
        photo[max(top, 0) : bottom, max(left, 0) : right] = (255, 0, 0)
    return photo


@pytest.mark.parametrize("shape", [(250, 250), (600, 400), (400, 1300), (3000, 2000)])
@pytest.mark.parametrize("share", [0.04, 0.1, 0.3, 0.9])
def test_faces_of_any_size_are_found_where_they_are(blobs: Blobs, shape: tuple[int, int], share: float) -> None:
    height = max(16, round(share * min(shape)))
    width = round(height * 0.75)
    left, top = (shape[1] - width) * 2 // 3, (shape[0] - height) // 3
    box = (left, top, left + width, top + height)
    (found,) = YuNet(Path("any.onnx")).detect(photo_of(shape, box))
    tolerance = max(1.0, height / 96 * 1.5)  # a pixel and a half of the second look
    np.testing.assert_allclose(found.box, box, atol=tolerance)
    np.testing.assert_allclose(found.landmarks, POINTS * (width, height) + (left, top), atol=tolerance)


def test_small_and_large_faces_of_one_photo_come_once_each(blobs: Blobs) -> None:
    boxes = [(100, 200, 1600, 2200), (1800, 100, 1840, 150), (1700, 2500, 1900, 2800)]
    found = YuNet(Path("any.onnx")).detect(photo_of((3000, 2000), *boxes))
    assert sorted(round(float(one.box[0]), -2) for one in found) == [100, 1700, 1800]


def test_a_face_at_the_border_keeps_its_place(blobs: Blobs) -> None:
    (found,) = YuNet(Path("any.onnx")).detect(photo_of((300, 400), (340, 220, 400, 300)))
    np.testing.assert_allclose(found.box, (340, 220, 400, 300), atol=2)


def test_what_the_second_look_does_not_confirm_is_left_out(blobs: Blobs) -> None:
    blobs.blind = lambda height: height > 40  # sees it when searching, 0.1 of 250 px, and not when it is large
    assert YuNet(Path("any.onnx")).detect(photo_of((250, 250), (100, 100, 125, 125))) == []


def test_searches_shrink_and_never_enlarge(blobs: Blobs) -> None:
    # 160 with a border of a quarter on each side; then sizes of at least one and a half times the one before
    for shape, sizes in (
        ((100, 60), [(110, 150)]),
        ((250, 250), [(240, 240), (250, 250)]),
        ((800, 400), [(160, 240), (320, 640)]),
        ((1000, 500), [(160, 240), (320, 640), (500, 1000)]),
        ((5000, 2500), [(160, 240), (320, 640), (960, 1920)]),
    ):
        blobs.sizes.clear()
        assert YuNet(Path("any.onnx")).detect(photo_of(shape)) == []
        assert blobs.sizes == sizes
    blobs.sizes.clear()
    YuNet(Path("any.onnx"), sizes=[640, 320]).detect(photo_of((1000, 1000)))
    assert blobs.sizes == [(480, 480), (640, 640)]


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (3, 2), (31, 33)])
def test_tiny_and_thin_photos_have_no_faces(blobs: Blobs, shape: tuple[int, int]) -> None:
    assert YuNet(Path("any.onnx")).detect(photo_of(shape)) == []


def test_boxes_that_no_face_has_do_no_harm(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = [[-900, -900, 5, 5], [0, 0, 1e6, 1], [5, 5, 1e-3, 1e-3], [40.32, 40.32, 1e-3, 1e-3]]
    odd += [[9, 9, np.nan, 9], [9, 9, np.inf, 9]]
    rows = np.array([[*box, *POINTS.ravel(), 0.9] for box in odd], np.float32)
    monkeypatch.setattr(blobs, "detect", lambda canvas: blobs.sizes.append(canvas.shape[:2]) or (1, rows))
    found = YuNet(Path("any.onnx")).detect(photo_of((250, 250)))
    assert all(np.isfinite(one.box).all() for one in found)
    assert max(max(size) for size in blobs.sizes) < 500


def test_scores_and_sizes_are_checked() -> None:
    for args in ({"min_score": 0.0}, {"min_score": 1.5}, {"sizes": ()}, {"sizes": (8, 640)}):
        with pytest.raises(HyperArcError, match="expected min_score between 0 and 1 and sizes from 32 px on"):
            YuNet(Path("any.onnx"), **args)  # type: ignore[arg-type]


def test_without_opencv_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(HyperArcError, match=r"OpenCV is not installed; pip install 'hyperarc\[detect\]'"):
        YuNet(Path("any.onnx"))


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.onnx: expected an ONNX file of YuNet, found none"):
        YuNet(tmp_path / "gone.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(DataError, match=r"bad\.onnx: OpenCV .* cannot run it as YuNet"):
        YuNet(tmp_path / "bad.onnx")


def test_opencv_is_as_talkative_after_as_before(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import cv2

    log = getattr(cv2.utils, "logging", cv2)
    before = log.getLogLevel()
    (tmp_path / "bad.onnx").write_bytes(b"bad")
    with pytest.raises(DataError):
        YuNet(tmp_path / "bad.onnx")
    assert log.getLogLevel() == before > 0
    assert capfd.readouterr().err == ""


def test_detect_opens_a_detector_once(blobs: Blobs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HYPERARC_MODELS", str(tmp_path))
    (tmp_path / "yunet_n_640_640.onnx").write_bytes(b"of the user")
    detection._kept.cache_clear()
    photo = photo_of((250, 250), (100, 100, 150, 160))
    with pytest.warns(UserWarning, match="not the released file of this name"):
        assert len(hyperarc.detect(photo)) == 1
    (tmp_path / "yunet_n_640_640.onnx").unlink()
    assert len(hyperarc.detect(photo, policy="largest")) == 1
    detection._kept.cache_clear()


@pytest.fixture(scope="module")
def real(shared: Path) -> YuNet:
    return YuNet(shared / "models" / "yunet_n_dynamic.onnx")


def portraits(shared: Path, count: int) -> list[Pixels]:
    files = sorted((shared / "data" / "raw" / "lfw").rglob("*.jpg"))
    return [decode(file.read_bytes()) for file in files[:: len(files) // count][:count]]


def test_faces_of_real_photos(shared: Path, real: YuNet) -> None:
    import cv2

    threads = cv2.getNumThreads()
    for photo in portraits(shared, 12):
        (one,) = hyperarc.detect(photo, real, policy="central")
        assert one.score > 0.85
        assert 80 < one.height < 170
        assert residual_px(one.landmarks) < 7
        np.testing.assert_allclose(one.box.reshape(2, 2).mean(0), (125, 125), atol=20)
    assert cv2.getNumThreads() == threads


@pytest.mark.slow
def test_every_photo_of_the_raw_sets_has_its_face(shared: Path, real: YuNet) -> None:
    for name, most in (("lfw", 7.0), ("photos", 15.0)):
        for file in sorted((shared / "data" / "raw" / name).rglob("*.jpg")):
            photo = decode(file.read_bytes())
            (one,) = hyperarc.detect(photo, real, policy="central")
            assert residual_px(one.landmarks) < most, file
    for file in sorted((shared / "data" / "raw" / "dirty").iterdir()):
        with contextlib.suppress(DataError):
            assert hyperarc.detect(decode(file.read_bytes()), real) == [], file


def test_faces_from_tiny_to_huge_keep_their_landmarks(shared: Path, real: YuNet) -> None:
    import cv2

    (photo,) = portraits(shared, 1)
    (wanted,) = hyperarc.detect(photo, real, policy="central")
    large = cv2.resize(photo, None, fx=10, fy=10, interpolation=cv2.INTER_CUBIC)
    scene = np.full((3000, 4000, 3), 90, np.uint8)
    scene[400:2900, 300:2800] = large
    scene[200:300, 3400:3500] = cv2.resize(photo, (100, 100), interpolation=cv2.INTER_AREA)
    huge, tiny = sorted(real.detect(scene), key=lambda one: -one.height)
    eyes_px = float(np.linalg.norm(wanted.landmarks[1] - wanted.landmarks[0]))
    for found, ratio, corner in ((huge, 10, (300, 400)), (tiny, 0.4, (3400, 200))):
        back = (found.landmarks - corner) / ratio
        assert np.linalg.norm(back - wanted.landmarks, axis=1).mean() < 0.12 * eyes_px


def test_faces_that_fill_a_crop_are_found(shared: Path, real: YuNet) -> None:
    from hyperarc.faces.alignment import align

    for photo in portraits(shared, 6):
        (one,) = hyperarc.detect(photo, real, policy="central")
        crop = align(photo, one.landmarks)
        (again,) = hyperarc.detect(crop, real, policy="central")
        error = np.linalg.norm(again.landmarks - TEMPLATES["arcface_112"].points, axis=1).mean()
        assert error < 2 * residual_px(one.landmarks) + 3
        assert hyperarc.detect(crop[16:96, 16:96], real) != []


def test_one_detector_serves_threads_and_travels_to_processes(shared: Path, real: YuNet) -> None:
    photos = portraits(shared, 6)
    alone = [real.detect(photo)[0].box for photo in photos]
    with ThreadPoolExecutor(3) as pool:
        together = [found[0].box for found in pool.map(real.detect, photos)]
    np.testing.assert_array_equal(alone, together)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(real)).detect(photos[0])[0].box, alone[0])


def test_a_yunet_file_is_known_by_its_outputs(shared: Path, tmp_path: Path) -> None:
    other = tmp_path / "renamed.onnx"
    other.write_bytes((shared / "models" / "yunet_n_dynamic.onnx").read_bytes())
    detector = open_detector(other, min_score=0.7)
    assert isinstance(detector, YuNet)
    assert detector.min_score == 0.7


class Dicts:
    """Answers as the package mtcnn does."""

    def detect_faces(self, image: Pixels) -> list[dict[str, Any]]:
        names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
        points = dict(zip(names, [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10)], strict=True))
        unsure = {"box": [0, 0, 5, 5], "confidence": 0.4, "keypoints": points}
        return [unsure, {"box": [10, 20, 30, 40], "confidence": 0.99, "keypoints": dict(reversed(points.items()))}]


class Arrays:
    """Answers as the package facenet_pytorch does."""

    def __init__(self, keep_all: bool = True) -> None:
        self.keep_all = keep_all

    def detect(self, image: Pixels, landmarks: bool) -> tuple[Any, Any, Any]:
        assert landmarks
        assert self.keep_all
        if image.max() == 0:
            return None, [None], None
        points = np.arange(1, 21, dtype=np.float32).reshape(2, 5, 2)
        return np.array([[10, 20, 40, 60], [0, 0, 9, 9]]), np.array([0.93, 0.99]), points


def test_mtcnn_of_both_packages() -> None:
    photo = np.full((100, 100, 3), 9, np.uint8)
    (one,) = MTCNN(Dicts()).detect(photo)
    assert one.box.tolist() == [10, 20, 40, 60]
    assert one.landmarks.ravel().tolist() == list(range(1, 11))
    first, second = MTCNN(Arrays()).detect(photo)
    assert (first.score, second.score) == (0.99, 0.93)
    assert second.landmarks.ravel().tolist() == list(range(1, 11))
    assert MTCNN(Arrays()).detect(photo * 0) == []


def test_mtcnn_takes_the_package_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mtcnn", "facenet_pytorch"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(HyperArcError, match="MTCNN is not installed; pip install mtcnn, or facenet-pytorch"):
        open_detector("mtcnn")
    monkeypatch.setitem(sys.modules, "facenet_pytorch", SimpleNamespace(MTCNN=Arrays))
    assert len(open_detector("mtcnn", min_score=0.95).detect(np.full((9, 9, 3), 9, np.uint8))) == 1
    monkeypatch.setitem(sys.modules, "mtcnn", SimpleNamespace(MTCNN=Dicts))
    assert open_detector("mtcnn").detect(np.full((9, 9, 3), 9, np.uint8))[0].score == 0.99
