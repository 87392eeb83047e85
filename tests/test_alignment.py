"""Landmarks to crops: the released code's matrices and crops, borders, shrinking, templates, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hyperarc
from hyperarc.data.drawn import Conditions, draw_set
from hyperarc.errors import DataError, UnknownNameError
from hyperarc.faces import alignment
from hyperarc.faces.alignment import align, align_faces, sample_bilinear
from hyperarc.faces.face import Face
from hyperarc.faces.template import TEMPLATES, five_points, open_template, residual_px, similarity

POINTS = TEMPLATES["arcface_112"].points


@pytest.fixture(params=["opencv", "numpy"])
def either_warp(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to sample, as if OpenCV were not installed in the second."""
    if request.param == "opencv":
        pytest.importorskip("cv2")
    else:
        monkeypatch.setattr(alignment, "_opencv", lambda: None)
    return str(request.param)


def photographed(points: np.ndarray, shrink: float, angle: float = 0.0, at: complex = 0j) -> np.ndarray:
    """Points of a crop where they lie in a photo that is ``shrink`` times as large and turned by ``angle``."""
    place = (points @ (1, 1j) + 0.5 + 0.5j) * shrink * np.exp(1j * angle) + at - 0.5 - 0.5j
    return np.stack([place.real, place.imag], axis=-1)


def waves(shrink: float, period_px: float) -> np.ndarray:
    """A photo of 112 times ``shrink`` px full of rings of one period, around what is the middle of the crop."""
    side = int(112 * shrink) + 1
    y, x = np.mgrid[:side, :side] - (56 * shrink - 0.5)
    rings = np.rint(127.5 + 127.5 * np.cos(2 * np.pi / period_px * np.hypot(x, y)))
    return np.repeat(rings[..., None], 3, axis=2).astype(np.uint8)


def by_loops(landmarks: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Umeyama (1991), equations 40 to 43, without reflection, by its singular value decomposition."""
    a, b = landmarks - landmarks.mean(0), template - template.mean(0)
    u, d, vt = np.linalg.svd(b.T @ a / len(a))
    keep = np.diag([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    turn = u @ keep @ vt * np.trace(np.diag(d) @ keep) / (a**2).sum(1).mean()
    return np.column_stack([turn, template.mean(0) - turn @ landmarks.mean(0)])


def test_similarity_is_umeyamas() -> None:
    points = np.random.default_rng(0).normal(100, 40, (50, 5, 2))  # half of them mirrored more than not
    for name, template in TEMPLATES.items():
        expected = np.stack([by_loops(one, template.points) for one in points])
        np.testing.assert_allclose(similarity(points, name), expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(similarity(points[7], name, 224), 2 * expected[7], rtol=1e-9)


def test_golden_matrices(shared: Path) -> None:
    with np.load(shared / "golden" / "alignment.npz") as golden:
        np.testing.assert_array_equal(POINTS.astype(np.float32), golden["template112"])
        # 1.5e-6 px come from the original's float32 means
        np.testing.assert_allclose(similarity(golden["landmarks"]), golden["M"], rtol=1e-6, atol=1e-6)


def test_golden_crops(shared: Path, either_warp: str) -> None:
    with np.load(shared / "golden" / "alignment.npz") as golden:
        crops = align_faces(list(golden["images"]), golden["landmarks"], antialias=False)
        assert np.abs(crops.astype(int) - golden["crops"]).max() <= 1
        # the photos are smooth: the filter changes nothing but the pixels at the edge of the photo
        crops = align_faces(list(golden["images"]), golden["landmarks"])
        far = np.abs(crops.astype(int) - golden["crops"]).max(-1)
        white = align_faces([np.full((200, 200, 3), 255, np.uint8)] * 7, golden["landmarks"])[..., 0]
        for difference, cover in zip(far, white, strict=True):
            padded = np.pad(cover == 255, 1, constant_values=True)
            inside = np.min([padded[y : y + 112, x : x + 112] for y in range(3) for x in range(3)], axis=0)
            assert inside.sum() > 1500
            assert difference[inside].max() <= 2
            assert (difference > 2).mean() < 0.003


def test_a_crop_at_its_own_scale_is_itself(either_warp: str) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (150, 160, 3), np.uint8)
    np.testing.assert_array_equal(align(photo, POINTS + np.array([20, 30])), photo[30:142, 20:132])
    narrow = TEMPLATES["sphereface_112x96"].points + np.array([20, 30])
    np.testing.assert_array_equal(align(photo, narrow, template="sphereface_112x96"), photo[30:142, 20:116])
    turned = photographed(POINTS, 1.0, np.pi / 2, 140 + 10j)
    assert np.abs(align(photo, turned).astype(int) - np.rot90(photo[10:122, 28:140])).max() <= 1


def test_outside_the_photo_is_black(either_warp: str) -> None:
    photo = np.full((60, 80, 3), 200, np.uint8)
    crop = align(photo, POINTS - np.array([30.5, 20]))
    assert (crop[20:80, 31:110] == 200).all()
    assert (crop[:20] == 0).all()
    assert (crop[80:] == 0).all()
    assert (crop[:, :30] == 0).all()
    assert (crop[20:80, 30] == 100).all()  # half a pixel of the photo
    small = align(np.full((240, 320, 3), 200, np.uint8), photographed(POINTS - np.array([30, 20]), 4.0))
    assert (small[20:80, 30:110] == 200).all()
    assert (small[:19] == 0).all()
    assert (small[81:] == 0).all()


def test_both_ways_to_sample_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    rng = np.random.default_rng(1)
    photo = rng.integers(0, 256, (300, 400, 3), np.uint8)
    points = np.stack([photographed(POINTS, s, a, 150 + 90j) for s, a in rng.uniform(0.4, 2.4, (12, 2))])
    fast = align_faces([photo] * 12, points)
    monkeypatch.setattr(alignment, "_opencv", lambda: None)
    assert np.abs(fast.astype(int) - align_faces([photo] * 12, points)).max() <= 1


def test_samples_are_bilinear_by_hand() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 1], image[1, 0], image[1, 1] = 80, 40, 160
    assert sample_bilinear(image, 0.25 + 0.5j, 1 + 0j, (1, 1))[0, 0, 0] == round(0.75 * 20 + 0.25 * 120)
    assert sample_bilinear(image, -3 - 3j, 100 + 0j, (1, 2))[0, :, 0].tolist() == [0, 80]  # the border is repeated


@pytest.mark.parametrize("shrink", [2.6, 3.3, 5.0, 7.6, 12.0])
def test_large_photos_do_not_alias(shrink: float, either_warp: str) -> None:
    """Waves too fine for the crop vanish; waves that it can show stay."""
    points = photographed(POINTS, shrink)
    fine = waves(shrink, period_px=0.62 * shrink + 0.8)
    assert align(fine, points, antialias=False).std() > 50
    assert align(fine, points).std() < 22
    coarse = waves(shrink, period_px=8 * shrink)
    ideal = waves(1.0, period_px=8)[:112, :112].astype(int)
    assert np.abs(align(coarse, points) - ideal).mean() < 4


def test_little_shrinking_is_the_released_warp() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (250, 250, 3), np.uint8)
    points = photographed(POINTS, 1.45, 0.1, 40 + 30j)
    np.testing.assert_array_equal(align(photo, points), align(photo, points, antialias=False))


@pytest.mark.parametrize("shrink", [1.0, 2.0, 3.7, 9.0])
def test_faces_stand_where_the_template_says(shrink: float, either_warp: str) -> None:
    """A dot at each landmark, turned and large, comes to the template's points, whatever filter is used."""
    points = photographed(POINTS, shrink, 0.3, (40 + 10j) * shrink)
    y, x = np.mgrid[: int(170 * shrink), : int(160 * shrink)]
    dots = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (2.0 * shrink) ** 2)) for px, py in points)
    crop = align(np.repeat((255 * np.minimum(dots, 1))[..., None], 3, 2).astype(np.uint8), points)[..., 0].astype(float)
    rows, columns = np.mgrid[:112, :112]
    for px, py in POINTS:
        near = crop * (np.hypot(columns - px, rows - py) < 7)
        center = (columns * near).sum() / near.sum(), (rows * near).sum() / near.sum()
        np.testing.assert_allclose(center, (px, py), atol=0.12)


def test_sizes_scale_the_template() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    assert align(photo, POINTS + 60, size=224).shape == (224, 224, 3)
    assert align(photo, POINTS + 60, size=56, template="sphereface_112x96").shape == (56, 48, 3)
    np.testing.assert_array_equal(open_template("arcface_112", 224).points, 2 * POINTS)


def test_68_points_reduce_to_five() -> None:
    points = np.random.default_rng(0).normal(100, 30, (2, 68, 2))
    five = five_points(points)
    np.testing.assert_allclose(five[1, 0], (points[1, 36] + points[1, 39]) / 2)
    np.testing.assert_allclose(five[1, 1], (points[1, 42] + points[1, 45]) / 2)
    np.testing.assert_array_equal(five[1, 2:], points[1, [30, 48, 54]])
    photo = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    np.testing.assert_array_equal(align_faces([photo] * 2, points), align_faces([photo] * 2, five))


def test_residual_tells_doubtful_points() -> None:
    assert residual_px(photographed(POINTS, 3.0, 0.7, 5 + 9j)) < 1e-9
    moved = POINTS + np.random.default_rng(0).normal(0, 5, (5, 2))
    matrix = similarity(moved)
    errors = [np.linalg.norm(matrix[:, :2] @ m + matrix[:, 2] - p) for m, p in zip(moved, POINTS, strict=True)]
    assert residual_px(moved) == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    frontal = residual_px(draw_set(20, 1, conditions=Conditions.frontal()).landmarks)
    profile = residual_px(draw_set(20, 1, conditions=Conditions.profile()).landmarks)
    assert frontal.max() < 5
    assert profile.min() > frontal.mean()
    assert residual_px(POINTS[[1, 0, 2, 4, 3]]) > 15


def test_what_cannot_be_aligned_is_refused() -> None:
    photo = np.zeros((200, 200, 3), np.uint8)
    with pytest.raises(DataError, match=r"\[\.\.\., 5, 2\].*\[1, 4, 2\]"):
        align(photo, POINTS[:4])
    with pytest.raises(DataError, match="finite"):
        align(photo, POINTS * np.nan)
    with pytest.raises(DataError, match="one place"):
        align(photo, np.full((5, 2), 50.0))
    with pytest.raises(DataError, match=r"200 x 200 px"):
        align(photo, POINTS + 500)
    with pytest.raises(DataError, match=r"face 1: expected an image uint8 \[H, W, 3\], got uint8 \[9, 9\]"):
        align_faces([photo, photo[:9, :9, 0]], [POINTS, POINTS])
    with pytest.raises(DataError, match="float64"):
        align(photo / 255, POINTS)
    with pytest.raises(DataError, match=r"expected landmarks \[1, 5, 2\], one set an image, got \[2, 5, 2\]"):
        align_faces([photo], [POINTS, POINTS])
    with pytest.raises(DataError, match="16 to 1024"):
        align(photo, POINTS, size=4000)
    with pytest.raises(UnknownNameError, match="did you mean 'arcface_112'"):
        align(photo, POINTS, template="arcface_122")


def test_absurd_points_stay_bounded() -> None:
    """Landmarks thousands of times as far apart as the photo is wide: one crop, mostly black, no great grid."""
    photo = np.full((200, 300, 3), 255, np.uint8)
    crop = align(photo, photographed(POINTS, 5000.0, 0.2) - 280_000)
    assert crop.shape == (112, 112, 3)
    assert crop.mean() < 1
    assert align(photo, photographed(POINTS, 0.001) + 100).min() == 255


def test_the_front_door_is_the_same() -> None:
    assert hyperarc.align is align


def test_a_face_in_place_of_its_landmarks_is_told_of() -> None:
    face = Face([0, 0, 9, 9], np.ones((5, 2)), 0.9)
    with pytest.raises(DataError, match="no array of numbers; of a Face give its landmarks"):
        align(np.zeros((50, 50, 3), np.uint8), face)  # type: ignore[arg-type]
