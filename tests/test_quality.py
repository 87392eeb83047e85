"""Measures of crops against drawn faces, whose pose, blur and light are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hyperarc.data.drawn import NUISANCE_NAMES, Conditions, DrawnFaces, draw_faces, draw_nuisances, draw_people
from hyperarc.errors import DataError
from hyperarc.faces.alignment import align
from hyperarc.faces.quality import Quality, QualityLimits, assess_quality, blur_px, pose_deg
from hyperarc.faces.template import TEMPLATES

POINTS = TEMPLATES["arcface_112"].points
COUNT = 48


def drawn(conditions: Conditions, **nuisances: np.ndarray | float) -> DrawnFaces:
    """People under conditions, with some nuisances set."""
    scenes = draw_nuisances(COUNT, np.random.default_rng(0), conditions)
    for name, values in nuisances.items():
        scenes[:, NUISANCE_NAMES.index(name)] = values
    return draw_faces(draw_people(COUNT, seed=0), scenes)


def truth(faces: DrawnFaces, name: str) -> np.ndarray:
    return faces.nuisances[:, NUISANCE_NAMES.index(name)].astype(np.float64)


def qualities(faces: DrawnFaces) -> list[Quality]:
    return [assess_quality(face, points) for face, points in zip(faces.images, faces.landmarks, strict=True)]


def correlation(measured: list[float] | np.ndarray, true: np.ndarray) -> float:
    return float(np.corrcoef(measured, true)[0, 1])


@pytest.fixture(scope="module")
def everyday() -> DrawnFaces:
    """The default conditions, sharp but for blur of up to 4 px, and a little noise."""
    blur = np.linspace(0, 4, COUNT)
    return drawn(Conditions(), blur_px=blur, resolution_px=112, jpeg_quality=100, noise=0.01)


def test_pose_follows_the_true_pose(everyday: DrawnFaces) -> None:
    true = np.degrees([truth(everyday, name) for name in ("yaw", "pitch", "roll")])
    found = pose_deg(everyday.landmarks).T
    for measured, angle, least, most_off in zip(found, true, (0.98, 0.85, 0.9), (5, 5, 3), strict=True):
        assert correlation(measured, angle) > least
        assert np.abs(measured - angle).mean() < most_off


def test_pose_by_hand() -> None:
    """The model turned, bowed and tilted by known angles, seen from afar, gives these angles."""
    rng = np.random.default_rng(0)
    model = np.column_stack([POINTS, [0, 0, 22.4, 4.6, 4.6]])
    for yaw, pitch, roll in rng.uniform(-1.2, 1.2, (10, 3)):
        (sy, cy), (sp, cp), (sr, cr) = ((math.sin(a), math.cos(a)) for a in (yaw, pitch, roll))
        turn_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        turn_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        turn_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        seen = (turn_z @ turn_x @ turn_y @ model.T).T[:, :2] * 2.5 + 70
        np.testing.assert_allclose(pose_deg(seen), np.degrees([yaw, pitch, roll]), atol=1e-6)


def test_blur_follows_the_true_blur(everyday: DrawnFaces) -> None:
    measured = np.array([blur_px(face) for face in everyday.images])
    true = truth(everyday, "blur_px")
    assert correlation(measured, true) > 0.9
    assert np.abs(measured - true).mean() < 0.6
    assert measured[true < 0.2].max() < 1.2


def test_blur_is_told_in_px_of_a_crop_of_112() -> None:
    face = drawn(Conditions.neutral(), blur_px=1.5).images[0]
    twice = align(face, POINTS, size=224)
    assert blur_px(twice) == pytest.approx(blur_px(face), abs=0.25)
    assert blur_px(np.full((112, 112, 3), 90, np.uint8)) == math.inf


def test_light_follows_the_true_light() -> None:
    faces = drawn(Conditions.neutral(), light_x=np.linspace(-1, 1, COUNT), light_strength=0.9, ambient=0.3)
    assert correlation([q.side_difference for q in qualities(faces)], truth(faces, "light_x")) > 0.95
    faces = drawn(Conditions.neutral(), exposure=np.linspace(-2, 2, COUNT))
    found = qualities(faces)
    by_skin = [q.brightness for q in found]
    assert correlation(by_skin, truth(faces, "exposure")) > 0.7  # the rest is the people's skin
    assert np.mean(by_skin[-8:]) > 1.8 * np.mean(by_skin[:8])


def test_measures_by_hand() -> None:
    face = np.zeros((112, 112, 3), np.uint8)
    face[:, 57:] = 200
    found = assess_quality(face, POINTS * 0.25 + 9)
    assert found.source_px == pytest.approx(28)
    assert found.residual_px == pytest.approx(0, abs=1e-9)
    assert found.side_difference == pytest.approx(1)
    assert found.brightness == pytest.approx(200 * 0.49, abs=3)
    assert found.clipped == pytest.approx(0.51, abs=0.015)
    assert found.yaw_deg == pytest.approx(0, abs=1e-9)
    assert found.reasons == (
        "small: 28 px of the photo, at least 40",
        f"{100 * found.clipped:.0f} % black or white, at most 25",
        "sides differ by 100 %, at most 30",
    )
    assert found.score == pytest.approx(2 ** -((1 / 0.3) ** 2))


def test_every_fault_is_named() -> None:
    sharp = drawn(Conditions.neutral()).images[0]
    turned = drawn(Conditions.neutral(), yaw=1.1).landmarks[0]
    bowed = drawn(Conditions.neutral(), pitch=0.6).landmarks[0]
    tilted = (POINTS - 56) @ np.array([[0.5, 0.866], [-0.866, 0.5]]) + 56
    odd = POINTS.copy()
    odd[2] += (0, -40)
    cases = {
        "small": (sharp, POINTS / 3),
        "landmarks": (sharp, odd),
        "turned": (sharp, turned),
        "bowed": (sharp, bowed),
        "tilted by 60": (sharp, tilted),
        "blurred": (drawn(Conditions.neutral(), blur_px=4.0).images[0], POINTS),
        "dark": ((sharp * 0.15).astype(np.uint8), POINTS),
        "bright": ((255 - (255 - sharp) * 0.15).astype(np.uint8), POINTS),
        "black or white": ((sharp * 4.0).clip(0, 255).astype(np.uint8), POINTS),
        "sides differ": ((sharp * np.linspace(-0.7, 1.2, 112).clip(0.05)[:, None]).astype(np.uint8), POINTS),
    }
    assert assess_quality(sharp, POINTS).reasons == ()
    for word, (face, points) in cases.items():
        found = assess_quality(face, points)
        assert any(word in reason for reason in found.reasons), (word, found)
        assert found.score < 0.5


def test_score_and_reasons_agree(everyday: DrawnFaces) -> None:
    found = qualities(everyday)
    assert all((q.score < 0.5) == bool(q.reasons) for q in found)
    assert 0 < sum(bool(q.reasons) for q in found) < COUNT
    face, points = everyday.images[0], everyday.landmarks[0]
    lenient = QualityLimits(yaw_deg=180, pitch_deg=180, roll_deg=180, blur_px=50, residual_px=99, clipped=1)
    assert assess_quality(face, points, lenient).score >= assess_quality(face, points).score


def test_other_template_and_sizes() -> None:
    faces = drawn(Conditions.neutral())
    photo, points = faces.images[0], faces.landmarks[0]
    full, narrow = assess_quality(align(photo, points), points), None
    crop = align(photo, points, template="sphereface_112x96")
    narrow = assess_quality(crop, points, template="sphereface_112x96")
    assert narrow.brightness == pytest.approx(full.brightness, abs=0.5)
    assert narrow.yaw_deg == full.yaw_deg
    with pytest.raises(DataError, match=r"expected a crop uint8 \[112, 112, 3\], got uint8 \(112, 96, 3\)"):
        assess_quality(crop, points)


def test_short_embeddings_are_doubtful_where_a_limit_is_known() -> None:
    drawn = draw_people(1, 0)
    faces = draw_faces(drawn, draw_nuisances(1, np.random.default_rng(0), Conditions.neutral()))
    crop, points = faces.images[0], faces.landmarks[0]
    limits = QualityLimits(norm=20.0)
    plain = assess_quality(crop, points, limits)
    assert plain.norm is None
    assert assess_quality(crop, points, norm=3.0).score == plain.score  # no limit: reported only
    assert assess_quality(crop, points, limits, norm=25.0).reasons == plain.reasons
    short = assess_quality(crop, points, limits, norm=10.0)
    assert (short.norm, short.score) == (10.0, 2.0**-4)
    assert short.reasons == (*plain.reasons, "embedding of length 10.0, at least 20")
    assert assess_quality(crop, points, limits, norm=0.0).score < 1e-9
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(DataError, match="length of an embedding"):
            assess_quality(crop, points, norm=wrong)
