"""Augmentation: each change beside a plain form of it, one face at a time; and the same pixels however it is called."""

from __future__ import annotations

import io
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from hyperarc.commands.report import report_runs
from hyperarc.commands.show import Show
from hyperarc.commands.train import Start, train
from hyperarc.data.drawn import draw_set
from hyperarc.errors import DataError, RecipeError
from hyperarc.faces.augmentation import blur, color, drawing, framing, jpeg, mask, resolution, sunglasses
from hyperarc.faces.augmentation.augmenter import Augmenter, open_augmenter
from hyperarc.faces.template import TEMPLATES
from hyperarc.recipe.augmentation import (
    PRESETS,
    Augmentation,
    Blur,
    Color,
    Crop,
    Interpolation,
    Mask,
    Occlusion,
    Sunglasses,
)
from hyperarc.recipe.file import load_recipe, parse_recipe
from hyperarc.training.checkpoint import recipe_digest

Pictures = npt.NDArray[np.uint8]
Tensor = torch.Tensor
NAMES = [name for name in Augmentation.model_fields if name != "preset"]
WAYS: tuple[Interpolation, ...] = ("nearest", "bilinear", "area", "bicubic", "lanczos")
POINTS = torch.from_numpy(TEMPLATES["arcface_112"].points)


@pytest.fixture(scope="module")
def drawn() -> Pictures:
    return draw_set(people=4, faces_per_person=3, seed=5).images


@pytest.fixture(scope="module")
def faces(drawn: Pictures) -> Tensor:
    """As the loader gives them: channels last in memory, seen as channels first."""
    return torch.from_numpy(drawn).permute(0, 3, 1, 2)


def pictures(faces: Tensor) -> Pictures:
    return faces.permute(0, 2, 3, 1).contiguous().numpy()


def distance(one: npt.ArrayLike, other: npt.ArrayLike) -> npt.NDArray[np.int64]:
    return np.abs(np.asarray(one, dtype=np.int64) - np.asarray(other, dtype=np.int64))


def even(count: int, number: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((count, number)))


def only(name: str, p: float = 1.0, **values: Any) -> Augmentation:
    return Augmentation.model_validate({name: {"p": p, **values}})


# ---- framing


def test_crop_keeps_a_rectangle_in_place(drawn: Pictures, faces: Tensor) -> None:
    boxes = framing.draw_crops(even(len(faces), framing.CROP_DRAWS), Crop(), 112, 112)
    cropped = pictures(framing.crop(faces, boxes))
    for face, picture, (top, left, height, width) in zip(drawn, cropped, boxes.tolist(), strict=True):
        expected = np.zeros_like(face)
        expected[top : top + height, left : left + width] = face[top : top + height, left : left + width]
        assert (picture == expected).all()


def box_of(draws: list[float], section: Crop, height: int, width: int) -> list[int]:
    """As torchvision's RandomResizedCrop draws a box, one at a time."""
    for at in range(10):
        area = (section.area[0] + (section.area[1] - section.area[0]) * draws[at]) * height * width
        aspect = math.exp(math.log(section.aspect) * (2 * draws[10 + at] - 1))
        wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            return [math.floor(draws[20] * (height - tall + 1)), math.floor(draws[21] * (width - wide + 1)), tall, wide]
    return [0, 0, height, width]


@pytest.mark.parametrize("section", [Crop(), Crop(area=(0.9, 1.0), aspect=3.0), Crop(area=(1.0, 1.0), aspect=9.0)])
@pytest.mark.parametrize("shape", [(112, 112), (112, 96)])
def test_crops_are_drawn_as_torchvision_draws_them(section: Crop, shape: tuple[int, int]) -> None:
    draws = even(400, framing.CROP_DRAWS)
    boxes = framing.draw_crops(draws, section, *shape)
    assert boxes.tolist() == [box_of(row, section, *shape) for row in draws.tolist()]
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= torch.tensor(shape)).all()


def test_occlusion_is_a_square_that_the_border_may_cut(drawn: Pictures, faces: Tensor) -> None:
    section = Occlusion(side=(0.2, 0.6))
    boxes = framing.draw_squares(even(len(faces), 3), section, 112, 112)
    covered = pictures(framing.occlude(faces, boxes))
    for face, picture, (top, left, tall, wide) in zip(drawn, covered, boxes.tolist(), strict=True):
        expected = face.copy()
        expected[max(top, 0) : max(top + tall, 0), max(left, 0) : max(left + wide, 0)] = 128
        assert (picture == expected).all()
        assert tall == wide
        assert 0.2 * 112 - 1 <= tall <= 0.6 * 112 + 1


def test_noise_is_a_hash_of_seed_and_place() -> None:
    def lowbias32(x: int) -> int:
        x ^= x >> 16
        x = x * 0x7FEB352D % 2**32
        x ^= x >> 15
        x = x * 0x3C6EF372 % 2**32
        return x ^ x >> 16

    seeds = torch.tensor([0, 1, 2**31 - 1])
    noise = framing.noise(seeds, torch.empty(3, 3, 40, 40, dtype=torch.uint8))
    for seed, values in zip(seeds.tolist(), noise.flatten(1).tolist(), strict=True):
        assert values[:500] == [lowbias32((seed * 0x9E3779B1 + place) % 2**32) % 256 for place in range(500)]
    counts = torch.bincount(noise.flatten().long(), minlength=256).double()
    assert float(((counts - counts.mean()) ** 2 / counts.mean()).sum()) < 350  # chi-squared, 255 degrees: 0.01 % above


# ---- low resolution


def plain_weights(size: int, wanted: int, way: str, antialias: bool) -> npt.NDArray[np.float64]:
    """The resampling matrix, tap by tap."""
    ratio, matrix = size / wanted, np.zeros((wanted, size))
    wide = ratio if antialias and ratio > 1 else 1.0
    a, lobes = (-0.5, 3) if antialias else (-0.75, 4)
    for out in range(wanted):
        if way == "nearest":
            matrix[out, math.floor(out * ratio + 1e-9)] = 1
            continue
        if way == "area":
            for i in range(size):
                matrix[out, i] = max(0.0, min((out + 1) * ratio, i + 1) - max(out * ratio, i)) / ratio
            continue
        for i in range(-4, size + 4):
            if antialias and not 0 <= i < size:
                continue
            x = abs(i - ((out + 0.5) * ratio - 0.5)) / wide
            weight = 0.0
            if way == "bilinear":
                weight = max(0.0, 1 - x)
            elif way == "bicubic" and x < 1:
                weight = (a + 2) * x**3 - (a + 3) * x**2 + 1
            elif way == "bicubic" and x < 2:
                weight = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
            elif way == "lanczos" and x < lobes:
                weight = float(np.sinc(x) * np.sinc(x / lobes))
            matrix[out, min(max(i, 0), size - 1)] += weight
    return matrix / matrix.sum(1, keepdims=True)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("size", "wanted"), [(24, 24), (24, 7), (24, 12), (7, 24), (5, 6), (1, 9), (9, 1)])
def test_weights(size: int, wanted: int, way: Interpolation, antialias: bool) -> None:
    matrix = resolution.weights(size, wanted, way, antialias=antialias)
    assert np.abs(matrix - plain_weights(size, wanted, way, antialias)).max() < 1e-12


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("way", ["bilinear", "bicubic"])
def test_weights_are_those_of_torch(way: Any, antialias: bool) -> None:
    for size, wanted in ((112, 30), (30, 112), (112, 97)):
        row = torch.eye(size, dtype=torch.float64)[:, None, None]  # one unit row for each pixel
        theirs = F.interpolate(row, (1, wanted), mode=way, antialias=antialias, align_corners=False)[:, 0, 0].T
        assert np.abs(resolution.weights(size, wanted, way, antialias=antialias) - theirs.numpy()).max() < 1e-6


def test_low_resolution_as_opencv(drawn: Pictures, faces: Tensor) -> None:
    cv2 = pytest.importorskip("cv2")
    names = dict(zip(WAYS, ("NEAREST", "LINEAR", "AREA", "CUBIC", "LANCZOS4"), strict=True))
    ways = [(down, up) for down in WAYS for up in WAYS]
    shares = even(len(ways), 1)[:, 0].mul(0.8).add(0.2).tolist()
    repeated = faces[torch.arange(len(ways)) % len(faces)]
    got = pictures(resolution.lower_resolution(repeated, shares, ways, antialias=False))
    for picture, face, share, (down, up) in zip(got, pictures(repeated), shares, ways, strict=True):
        small = cv2.resize(face, (int(share * 112),) * 2, interpolation=getattr(cv2, f"INTER_{names[down]}"))
        theirs = cv2.resize(small, (112, 112), interpolation=getattr(cv2, f"INTER_{names[up]}"))
        away = distance(picture, theirs)
        assert away.max() <= 3, (down, up, share)  # OpenCV calculates in fixed point
        assert away.mean() < 0.3, (down, up, share)


def test_low_resolution_as_pillow(faces: Tensor) -> None:
    for way in ("bilinear", "bicubic", "lanczos"):
        known = Image.Resampling[way.upper()]
        got = pictures(resolution.lower_resolution(faces[:2], [0.35] * 2, [(way, "bilinear")] * 2))
        for picture, face in zip(got, pictures(faces), strict=False):
            small = Image.fromarray(face).resize((39, 39), known)
            away = distance(picture, np.array(small.resize((112, 112), Image.Resampling.BILINEAR)))
            assert away.max() <= 2
            assert away.mean() < 0.3


# ---- blur


def plain_blur(face: Pictures, kernel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    reach, total = len(kernel) // 2, np.zeros(face.shape)
    wide = np.pad(face.astype(np.float64), ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    for row in range(len(kernel)):
        for column in range(len(kernel)):
            total += kernel[row, column] * wide[row : row + face.shape[0], column : column + face.shape[1]]
    return total


def test_blur_is_convolution_with_the_border_repeated(drawn: Pictures, faces: Tensor) -> None:
    draws = even(4, blur.DRAWS)
    kernels = blur.draw_kernels(draws, Blur(motion_px=(2, 9)))
    got = pictures(blur.blur(faces[:4], kernels))
    for picture, face, kernel in zip(got, drawn, kernels.numpy(), strict=False):
        assert np.abs(picture - plain_blur(face, kernel)).max() <= 0.5 + 1e-3


def test_kernels() -> None:
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    axis = torch.arange(-6, 7, dtype=torch.float64)
    gaussian = torch.exp(-(axis**2) / (2 * 1.5**2))
    plane = gaussian[:, None] * gaussian
    assert torch.allclose(blur.blur_kernels(1.5 * one, zero, zero, 13)[0], plane / plane.sum())
    moved = blur.blur_kernels(zero, 9 * one, zero, 13)[0]  # to the side: one row, about even over 9 px
    assert float(moved[6, 2:11].sum()) > 0.9
    assert 0.08 < float(moved[6, 3:10].min()) < float(moved[6, 3:10].max()) < 0.13
    down = blur.blur_kernels(zero, 9 * one, torch.full((1,), math.pi / 2, dtype=torch.float64), 13)[0]
    assert torch.allclose(down, moved.T)


# ---- color


def plain_jitter(face: Pictures, factors: list[float], order: list[int]) -> npt.NDArray[np.float64]:
    values = face.astype(np.float64)
    for which in order:
        gray = values @ (0.299, 0.587, 0.114)
        if which < 3:
            toward = (0.0, gray.mean(), gray[..., None])[which]
            values = np.clip(factors[which] * values + (1 - factors[which]) * toward, 0, 255)
    return values


def pillow_jitter(face: Pictures, factors: list[float], order: list[int]) -> Pictures:
    image = Image.fromarray(face)
    for which in order:
        if which < 3:
            kind = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[which]
            image = kind(image).enhance(factors[which])
    return np.array(image)


def test_color_as_written_and_as_pillow(drawn: Pictures, faces: Tensor) -> None:
    factors, orders = color.draw_factors(even(len(faces), color.DRAWS), Color())
    assert len({tuple(order) for order in orders.tolist()}) > 5
    got = pictures(color.jitter_color(faces, factors, orders))
    for picture, face, values, order in zip(got, drawn, factors.tolist(), orders.tolist(), strict=True):
        assert np.abs(picture - plain_jitter(face, values, order)).max() <= 0.5 + 1e-2
        away = distance(picture, pillow_jitter(face, values, order))
        assert away.max() <= 4  # Pillow cuts to whole numbers after each
        assert away.mean() < 2


def test_turning_the_hue(faces: Tensor) -> None:
    def turned(crops: Tensor, degrees: float) -> Tensor:
        factors = torch.tensor([[1, 1, 1, math.radians(degrees)]], dtype=torch.float64).expand(len(crops), 4)
        return color.jitter_color(crops, factors, torch.tensor([[0, 1, 2, 3]]).expand(len(crops), 4))

    gray = color.turn_gray(faces)
    assert torch.equal(turned(gray, 77), gray)
    assert distance(turned(faces, 360), faces).max() <= 1
    muted = color.jitter_color(  # away from the borders of the color space, where clipping would tell
        faces // 2 + 64,
        torch.tensor([[1, 1, 0.4, 0]], dtype=torch.float64).expand(len(faces), 4),
        torch.tensor([[0, 1, 2, 3]]).expand(len(faces), 4),
    )
    assert distance(turned(turned(muted, 50), -50), muted).max() <= 2
    assert distance(color.turn_gray(turned(muted, 50)), color.turn_gray(muted)).max() <= 1
    red = torch.tensor([200, 60, 60], dtype=torch.uint8).view(1, 3, 1, 1)
    assert turned(red, 120).flatten().argmax() == 2  # I toward Q: red, blue, green


def test_gray_as_pillow(drawn: Pictures, faces: Tensor) -> None:
    for picture, face in zip(pictures(color.turn_gray(faces)), drawn, strict=True):
        assert distance(picture, np.array(Image.fromarray(face).convert("L"))[..., None]).max() <= 1


# ---- jpeg


def saved(face: Pictures, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    Image.fromarray(face).save(buffer, "JPEG", quality=quality, subsampling=2)
    return Image.open(buffer)


def test_quantization_tables_are_those_of_libjpeg(drawn: Pictures) -> None:
    qualities = torch.arange(1, 101)
    tables = jpeg.quantization(qualities)
    for quality, (light, chroma) in zip(qualities.tolist(), tables.tolist(), strict=True):
        theirs = saved(drawn[0], quality).quantization  # type: ignore[attr-defined]
        assert light == list(theirs[0])
        assert chroma == list(theirs[1])


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 90, 100])
def test_jpeg_as_pillow(quality: int, drawn: Pictures, faces: Tensor) -> None:
    got = pictures(jpeg.compress(faces, torch.full((len(faces),), quality)))
    theirs = np.stack([np.array(saved(face, quality)) for face in drawn])
    away, lost = distance(got, theirs), distance(drawn, theirs)
    assert away.mean() < 0.7
    assert away.mean() < 0.5 * lost.mean()
    assert (away <= 2).mean() > 0.97


@pytest.mark.parametrize(("height", "width"), [(112, 96), (50, 70), (20, 9)])
def test_jpeg_of_other_sizes(height: int, width: int, drawn: Pictures) -> None:
    crops = drawn[:, 12 : 12 + height, 10 : 10 + width]
    got = jpeg.compress(torch.from_numpy(crops).permute(0, 3, 1, 2), torch.full((len(crops),), 60))
    theirs = np.stack([np.array(saved(np.ascontiguousarray(crop), 60)) for crop in crops])
    assert distance(pictures(got), theirs).mean() < 1.0


# ---- drawn on faces


def test_coverage_is_the_share_of_a_pixel() -> None:
    fine = 16
    y, x = np.mgrid[: 40 * fine, : 40 * fine] / fine + 0.5 / fine - 0.5
    inside = ((x - 19.3) / 12) ** 2 + ((y - 18.6) / 8) ** 2 <= 1
    expected = inside.reshape(40, fine, 40, fine).mean((1, 3))
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    level = (((columns - 19.3) / 12) ** 2 + ((rows - 18.6) / 8) ** 2).sqrt() - 1
    got = drawing.coverage(level[None])[0].numpy()
    assert np.abs(got - expected).max() < 0.12
    assert abs(got.sum() / (math.pi * 12 * 8) - 1) < 0.005


def test_the_frame_of_a_face() -> None:
    turn = torch.tensor([[math.cos(0.4), math.sin(0.4)], [-math.sin(0.4), math.cos(0.4)]], dtype=torch.float64)
    points = torch.stack([POINTS, POINTS @ turn * 0.8 + torch.tensor([30.0, -5.0])]).round()
    canvas = drawing.open_canvas(torch.full((2, 3, 112, 112), 100.0), points)
    for face in range(2):
        x, y = points[face].long().T
        at = torch.stack([canvas.across[face, y, x], canvas.down[face, y, x]], dim=1)
        assert at[0].tolist() == pytest.approx([-0.5, 0], abs=0.02)
        assert at[1].tolist() == pytest.approx([0.5, 0], abs=0.02)
        assert at[3:].sum(0).tolist() == pytest.approx([0, 2 * 1.155], abs=0.05)


PUT_ON: dict[str, Any] = {
    "sunglasses": lambda faces, points, draws: sunglasses.put_on_sunglasses(faces, points, draws, Sunglasses()),
    "mask": lambda faces, points, draws: mask.put_on_mask(faces, points, draws, Mask()),
}


@pytest.mark.parametrize("name", PUT_ON)
def test_what_is_worn_hides_what_it_should_and_nothing_else(name: str) -> None:
    gray = torch.full((64, 3, 112, 112), 120, dtype=torch.uint8)
    gray[:, :, ::2] = 90  # so that what shines through is seen
    draws = even(64, 9)
    draws[:, 5] = draws[:, 5].clamp(min=0.2)  # the masks over the nose
    worn = PUT_ON[name](gray, POINTS.expand(64, 5, 2), draws)
    changed = (distance(worn, gray).max(1) > 3).mean(0)  # share of the faces, [H, W]
    eyes, mouth = [(52, 38), (52, 73)], [(92, 42), (92, 70), (82, 56)]
    hidden, free = (eyes, mouth) if name == "sunglasses" else (mouth, eyes)
    assert all(changed[at] > 0.9 for at in hidden)
    assert all(changed[at] == 0 for at in free)
    assert changed[:25].max() == 0  # the forehead
    assert 0.05 < changed.mean() < 0.5


@pytest.mark.parametrize("name", PUT_ON)
def test_what_is_worn_moves_with_the_face(name: str) -> None:
    gray = torch.full((8, 3, 144, 144), 120, dtype=torch.uint8)
    points, draws, shift = (POINTS + torch.tensor([8.0, 4.0])).expand(8, 5, 2), even(8, 9), torch.tensor([11.0, 7.0])
    here, there = PUT_ON[name](gray, points, draws), PUT_ON[name](gray, points + shift, draws)
    assert distance(here[:, :, 4:-20, 4:-20], there[:, :, 11:-13, 15:-9]).max() <= 1


@pytest.mark.parametrize("name", PUT_ON)
def test_gray_pictures_stay_gray(name: str, faces: Tensor) -> None:
    worn = PUT_ON[name](color.turn_gray(faces), POINTS.expand(len(faces), 5, 2), even(len(faces), 9))
    assert distance(worn.amax(1), worn.amin(1)).max() <= 1


@pytest.mark.parametrize("name", PUT_ON)
def test_points_in_one_place_still_give_pixels(name: str, faces: Tensor) -> None:
    one = POINTS[None]
    for points in (torch.full((1, 5, 2), 50.0), one * torch.tensor([0.0, 1.0]), one.flip(1), -1e6 * one):
        assert PUT_ON[name](faces[:1], points, even(1, 9)).shape == (1, 3, 112, 112)


def test_masks_of_the_kinds_asked_for() -> None:
    face = torch.full((40, 3, 112, 112), 140, dtype=torch.uint8)
    face[:, 0] += 60
    draws = even(40, 9)

    def worn(*kinds: Any) -> Tensor:
        return mask.put_on_mask(face, POINTS.expand(40, 5, 2), draws, Mask(kinds=kinds))

    together = worn("surgical", "cloth", "respirator")
    alone = [worn("surgical"), worn("cloth"), worn("respirator")]
    assert not torch.equal(alone[0], alone[1])
    which = (draws[:, 0] * 3).long().tolist()
    assert torch.equal(together, torch.stack([alone[kind][place] for place, kind in enumerate(which)]))


# ---- the augmenter


@pytest.mark.parametrize("name", NAMES)
def test_nobody_or_everybody(name: str, faces: Tensor) -> None:
    assert torch.equal(Augmenter(only(name, p=0.0), 0)(faces, 3), faces)
    before = faces.clone()
    sure = {"low_resolution": {"side": [0.3, 0.5]}, "crop": {"area": [0.2, 0.8]}}.get(name, {})
    changed = Augmenter(only(name, **sure), 0)(faces, 3)
    assert (changed != faces).flatten(1).any(1).all()
    assert torch.equal(faces, before)
    assert changed.dtype == torch.uint8
    some = Augmenter(only(name, p=0.4, **sure), 0)(faces, 3)
    touched = (some != faces).flatten(1).any(1)
    assert 0 < int(touched.sum()) < len(faces)
    if name not in ("sunglasses", "mask"):
        assert torch.equal(some[touched], changed[touched])


SECTIONS = {name: Augmentation(preset=name) for name in PRESETS if name != "none"}  # type: ignore[arg-type]
SECTIONS |= {"all": Augmentation.model_validate({name: {"p": 0.5} for name in NAMES} | {"blur": {"motion_px": [0, 9]}})}


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS)
def test_pixels_follow_from_seed_and_step_alone(section: Augmentation, faces: Tensor) -> None:
    augmenter = Augmenter(section, seed=7)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    whole = [augmenter(faces, step) for step in range(4)]
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    for step in (3, 0, 2):  # in any order, in any layout, and under any state of the world's random numbers
        torch.manual_seed(step)
        assert torch.equal(Augmenter(section, seed=7)(faces.contiguous(), step), whole[step])
        for ranks in (2, 3, 12):
            parts = faces.chunk(ranks)
            done = [augmenter(part, step, rank=rank, world_size=ranks) for rank, part in enumerate(parts)]
            assert torch.equal(torch.cat(done), whole[step])
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(Augmenter(section, seed=8)(faces, 0), whole[0])


def test_augmentations_come_and_go_without_changing_the_others(faces: Tensor) -> None:
    one = Augmenter(only("gray", p=0.5), 0)(faces, 0)
    untouched = (Augmenter(only("jpeg", p=0.5), 0)(faces, 0) == faces).flatten(1).all(1)
    both = Augmenter(Augmentation.model_validate({"gray": {"p": 0.5}, "jpeg": {"p": 0.5}}), 0)(faces, 0)
    assert untouched.any()
    assert torch.equal(both[untouched], one[untouched])


@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_do_not_wrap_around(value: int) -> None:
    plain = torch.full((16, 3, 112, 112), value, dtype=torch.uint8)
    for name in ("low_resolution", "blur", "gray"):
        assert torch.equal(Augmenter(only(name), 0)(plain, 0), plain)
    assert distance(Augmenter(only("jpeg"), 0)(plain, 0), plain).max() <= 5  # rounding of the blocks' means
    squares = (torch.arange(112) // 4 % 2 * 255).to(torch.uint8)
    board = (squares[:, None] ^ squares).expand(16, 3, 112, 112)
    changed = Augmenter(only("low_resolution", side=[0.7, 1.0], interpolations=["lanczos"]), 0)(board, 0)
    assert distance(changed, board).mean() < 90  # rings overshoot and are cut, not turned around


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.integers(9, 60), st.integers(9, 60), st.integers(0, 2**63 - 1), st.integers(0, 10**9))
def test_any_batch(count: int, height: int, width: int, seed: int, step: int) -> None:
    crops = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, height, width), np.uint8))
    size = max(16, height)
    points = (POINTS * size / 112).expand(count, 5, 2)
    changed = Augmenter(SECTIONS["all"], seed)(crops, step, landmarks=points)
    assert changed.shape == crops.shape
    assert changed.dtype == torch.uint8


def test_other_things_than_faces_are_refused(faces: Tensor) -> None:
    augmenter = Augmenter(SECTIONS["all"], 0)
    for wrong in (faces.float(), faces[:, :1], faces[0]):
        with pytest.raises(DataError, match=r"expected uint8 faces \[N, 3, H, W\], got"):
            augmenter(wrong, 0)
    glasses = Augmenter(only("sunglasses"), 0)
    with pytest.raises(DataError, match="expected finite landmarks"):
        glasses(faces, 0, landmarks=torch.full((len(faces), 5, 2), math.nan))
    with pytest.raises(DataError, match="expected finite landmarks"):
        glasses(faces, 0, landmarks=torch.zeros(len(faces), 4, 2))
    assert glasses(faces[:0], 0).shape == (0, 3, 112, 112)


def test_landmarks_of_the_faces_are_followed() -> None:
    turned = draw_set(people=2, faces_per_person=4, seed=2)
    crops = torch.from_numpy(turned.images).permute(0, 3, 1, 2)
    points = torch.from_numpy(turned.landmarks)
    augmenter = Augmenter(only("sunglasses", opacity=[0.98, 0.98]), 0)
    own = augmenter(crops, 0, landmarks=points)
    assert not torch.equal(own, augmenter(crops, 0))
    inside = (points[:, :2] > 6).all((1, 2)) & (points[:, :2] < 106).all((1, 2))
    for face in torch.nonzero(inside)[:, 0].tolist():
        for x, y in points[face, :2].round().long().tolist():
            assert (own[face, :, y, x] != crops[face, :, y, x]).any()


@pytest.mark.gpu
def test_the_same_on_a_gpu(faces: Tensor) -> None:
    augmenter = Augmenter(SECTIONS["all"], 0)
    for step in range(4):
        there = augmenter(faces.cuda(), step)
        assert there.device.type == "cuda"
        away = distance(there.cpu(), augmenter(faces, step))
        assert (away <= 2).mean() > 0.99


# ---- in recipes and in training


def test_presets_and_what_is_given_beside_them() -> None:
    assert Augmentation().steps() == {}
    assert open_augmenter(Augmentation(preset="none"), 0) is None
    dali = Augmentation.model_validate("arcface_torch_dali")
    assert list(dali.steps()) == ["low_resolution", "blur", "color", "gray"]
    assert [step.p for step in dali.steps().values()] == [0.1, 0.2, 0.2, 0.1]
    ada = Augmentation(preset="adaface").steps()
    assert {name: step.p for name, step in ada.items()} == {"crop": 0.2, "low_resolution": 0.2, "color": 0.2}
    mixed = Augmentation.model_validate({"preset": "adaface", "low_resolution": {"p": 0.5}, "color": None, "jpeg": {}})
    assert list(mixed.steps()) == ["crop", "low_resolution", "jpeg"]
    assert mixed.low_resolution is not None
    assert (mixed.low_resolution.p, mixed.low_resolution.antialias) == (0.5, False)
    assert Augmentation.model_validate(mixed.model_dump(mode="json")) == mixed


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("adafce", "data.augmentation.preset: Input should be 'none', 'adaface'"),
        ({"low_resolutio": {}}, "unknown key 'data.augmentation.low_resolutio'; did you mean 'low_resolution'?"),
        ({"jpeg": {"quallity": [1, 2]}}, "unknown key 'data.augmentation.jpeg.quallity'; did you mean 'quality'?"),
        ({"jpeg": {"quality": [50, 40]}}, r"expected \[least, most\], got \[50, 40\]"),
        ({"crop": {"p": 1.5}}, "data.augmentation.crop.p: Input should be less than or equal to 1, got 1.5"),
        ({"mask": {"kinds": []}}, "data.augmentation.mask.kinds: Tuple should have at least 1 item"),
        ([1], "data.augmentation: Input should be"),
    ],
)
def test_bad_sections(given: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        parse_recipe({"name": "x", "data": {"drawn": {}, "augmentation": given}}, where="here")


def test_digests() -> None:
    plain = load_recipe("demo")
    assert recipe_digest(load_recipe("demo", ["data.augmentation=none"])) == recipe_digest(plain)
    ada = recipe_digest(load_recipe("demo", ["data.augmentation=adaface"]))
    assert ada != recipe_digest(plain)
    assert ada != recipe_digest(load_recipe("demo", ["data.augmentation={preset: adaface, crop: {p: 0.3}}"]))
    spelled = load_recipe("demo", ["data.augmentation={crop: {}, low_resolution: {antialias: false}, color: {}}"])
    assert recipe_digest(spelled) == ada


TINY = {
    "name": "tiny",
    "data": {"drawn": {"people": 8, "faces_per_person": 6}, "augmentation": {n: {"p": 0.4} for n in NAMES}},
    "backbone": {"name": "iresnet_tiny", "embedding_dim": 16},
    "schedule": {"epochs": 1},
    "training": {"batch_size": 8, "accumulate": 2, "threads": 1, "checkpoint_every": 2, "keep_checkpoints": 9},
}


def weights_of(folder: Path) -> bytes:
    return (folder / "artifact" / "weights.safetensors").read_bytes()


def test_a_resumed_run_sees_the_same_faces(tmp_path: Path) -> None:
    recipe, quiet = parse_recipe(TINY, where="tiny"), Show(quiet=True)
    whole = train(recipe, tmp_path / "whole", Start(), quiet)
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped" / "artifact")
    for path in sorted((tmp_path / "stopped" / "checkpoints").glob("*.safetensors"))[1:]:
        path.unlink()
    with_workers = parse_recipe({**TINY, "data": {**TINY["data"], "workers": 2}}, where="tiny")  # type: ignore[dict-item]
    train(with_workers, tmp_path / "stopped", Start(resume="auto"), quiet)
    assert weights_of(tmp_path / "stopped") == weights_of(tmp_path / "whole")
    plain = parse_recipe({**TINY, "data": {"drawn": TINY["data"]["drawn"]}}, where="tiny")  # type: ignore[index]
    train(plain, tmp_path / "plain", Start(), quiet)
    assert weights_of(tmp_path / "plain") != weights_of(tmp_path / "whole")
    page = report_runs("Title", "", {"whole": whole}, tmp_path / "report.html").read_text()
    assert "The same as the model sees them in training" in page
