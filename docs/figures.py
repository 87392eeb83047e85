"""The figures of README and docs, made of drawn faces and plots: ``python docs/figures.py [NAME...] [--out DIR]``.

The same code gives the same files: seeds are fixed, SVG files carry no date, and letters are stored as outlines. Those
of the losses are what ``hyperarc plots`` draws; each margin and auxiliary loss has one in ``losses/``, for its page.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import loss_pages
import numpy as np
import torch
from angle_scheme import angle_scheme
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from study_figures import STUDIES, inverted_faces

from hyperarc.commands.calibrate_report import curves_of
from hyperarc.commands.plots import draw, figure_names
from hyperarc.contract import Contract
from hyperarc.data.checks.measures import chroma, redness, small_of, thumbnails
from hyperarc.data.checks.picture_hash import describe, likeness
from hyperarc.data.drawn import NUISANCE_NAMES, Conditions, draw_faces, draw_nuisances, draw_people
from hyperarc.faces.alignment import align
from hyperarc.faces.augmentation.augmenter import Augmenter
from hyperarc.faces.quality import assess_quality, blur_px
from hyperarc.metrics.all_pairs import LabeledEmbeddings, Wanted, count_pairs
from hyperarc.metrics.all_pairs.layout import Layout
from hyperarc.metrics.all_pairs.plan import make_plan
from hyperarc.metrics.all_pairs.products import Int8
from hyperarc.protocols.calibration import Asked, Everyone, calibrate
from hyperarc.protocols.comparison import rank_models
from hyperarc.protocols.drawn_pairs import draw_pairs
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.pair_lists import Pairs
from hyperarc.protocols.pairs import evaluate_pairs
from hyperarc.protocols.people_pairs import score_people
from hyperarc.purification.centers import person_centers
from hyperarc.purification.limit import reached
from hyperarc.purification.overlap import overlap
from hyperarc.purification.people import People
from hyperarc.recipe.augmentation import Augmentation
from hyperarc.report.calibration_plots import error_curves
from hyperarc.report.comparison_plots import Panel, interval_panels
from hyperarc.report.overlap_plots import CosineTail, cosine_tail
from hyperarc.report.style import (
    BLUE,
    GREEN,
    GRID,
    INK,
    MUTED,
    ORANGE,
    VERMILLION,
    new_figure,
    save_figure,
    share_label,
    styled,
)

FOLDER = Path(__file__).parent / "figures"
FACES, ALIGNED, AUGMENTED, TOY = "drawn-faces", "aligned-faces", "augmentation", "toy-embeddings"
SHADES_DPI = 66  # of shades inside an SVG, to keep it small

# column of the contact sheet -> what differs from a studio picture (names of hyperarc.data.drawn.NUISANCE_NAMES)
COLUMNS: dict[str, dict[str, float]] = {
    "studio": {},
    "turned": {"yaw": -0.7, "light_x": -0.3},
    "profile": {"yaw": 1.0, "pitch": 0.05, "back_light": 0.35},
    "side light": {"light_x": 0.95, "light_strength": 0.95, "ambient": 0.22, "back_light": 0.2},
    "expression": {"smile": 1.0, "mouth_open": 0.55, "brow_raise": 0.5, "yaw": 0.2, "back_hue": 0.6, "back_color": 0.5},
    "other hair": {"hair_change": 0.9, "fringe": 0.9, "hair_volume": 0.9, "yaw": -0.25, "back_hue": 0.3},
    "glasses": {"glasses": 1.0, "frame_weight": 0.6, "frame_hue": 0.02, "yaw": 0.3, "pitch": 0.12},
    "poor camera": {"resolution_px": 30.0, "jpeg_quality": 25.0, "noise": 0.04, "exposure": -0.4, "yaw": -0.35},
}
PEOPLE = (4, 10, 19)  # of seed 0
TILE_PX, GAP_PX, HEADING_PX = 112, 6, 24


def drawn_faces() -> Image.Image:
    """Three people, one a row, under eight conditions, one a column."""
    everyone = draw_people(max(PEOPLE) + 1, seed=0)
    rng = np.random.default_rng(0)
    sheet = Image.new("RGB", _sheet_size(), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=14)
    for column, (name, changes) in enumerate(COLUMNS.items()):
        left = GAP_PX + column * (TILE_PX + GAP_PX)
        pen.text((left + TILE_PX // 2, HEADING_PX // 2 + 2), name, font=font, fill=MUTED, anchor="mm")
        scenes = draw_nuisances(len(PEOPLE), rng, Conditions.neutral())
        for nuisance, value in changes.items():
            scenes[:, NUISANCE_NAMES.index(nuisance)] = value
        faces = draw_faces(everyone[list(PEOPLE)], scenes).images
        for row, face in enumerate(faces):
            sheet.paste(Image.fromarray(face), (left, HEADING_PX + row * (TILE_PX + GAP_PX)))
    return sheet


def _sheet_size() -> tuple[int, int]:
    step = TILE_PX + GAP_PX
    return GAP_PX + len(COLUMNS) * step, HEADING_PX + len(PEOPLE) * step


# column of the sheet -> scale and tilt (degrees) of the face in its photo, and nuisances
PHOTOS: dict[str, tuple[float, float, dict[str, float]]] = {
    "straight": (1.1, 0, {}),
    "tilted": (0.75, 30, {"yaw": -0.2}),
    "small": (0.25, -8, {"yaw": 0.1}),
    "turned": (1.0, 6, {"yaw": 0.95}),
    "blurred": (1.0, -4, {"blur_px": 3.5, "yaw": 0.15}),
    "dark": (1.0, 5, {"exposure": -2.0, "light_strength": 0.1, "ambient": 0.1, "back_light": 0.1}),
    "side light": (1.1, 0, {"light_x": 1.0, "light_strength": 1.0, "ambient": 0.0, "back_light": 0.1}),
}
PHOTO_PX = 128


def aligned_faces() -> Image.Image:
    """Photos with their five points, the crops that alignment makes of them, and what is wrong with these."""
    person = draw_people(PEOPLE[1] + 1, seed=0)[PEOPLE[1] :]
    step, rng = PHOTO_PX + GAP_PX, np.random.default_rng(0)
    sheet = Image.new("RGB", (GAP_PX + len(PHOTOS) * step, HEADING_PX + PHOTO_PX + TILE_PX + 2 * GAP_PX + 36), "white")
    pen, font, small = ImageDraw.Draw(sheet), ImageFont.load_default(size=14), ImageFont.load_default(size=12)
    for column, (name, (scale, tilt_deg, changes)) in enumerate(PHOTOS.items()):
        scene = draw_nuisances(1, rng, Conditions.neutral())
        for nuisance, value in changes.items():
            scene[:, NUISANCE_NAMES.index(nuisance)] = value
        face = draw_faces(person, scene)
        photo, points = _photograph(face.images[0], face.landmarks[0], scale, tilt_deg)
        crop = align(photo, points)
        quality = assess_quality(crop, points)
        left, low = GAP_PX + column * step, HEADING_PX + PHOTO_PX + GAP_PX
        pen.text((left + PHOTO_PX // 2, HEADING_PX // 2 + 2), name, font=font, fill=MUTED, anchor="mm")
        sheet.paste(Image.fromarray(photo), (left, HEADING_PX))
        for x, y in points + (left, HEADING_PX):  # noqa: RUF005
            pen.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=ORANGE)
        sheet.paste(Image.fromarray(crop), (left + (PHOTO_PX - TILE_PX) // 2, low))
        reason = quality.reasons[0].split(",")[0].split(":")[0] if quality.reasons else "within limits"
        for row, line in enumerate((f"score {quality.score:.2f}", reason)):
            where = (left + PHOTO_PX // 2, low + TILE_PX + 10 + 16 * row)
            pen.text(where, line, font=small, fill=INK if row == 0 else MUTED, anchor="mm")
    return sheet


# column of the sheet -> what is done to every face of it, and the step that draws it
CHANGES: dict[str, tuple[dict[str, dict[str, object]], int]] = {
    "as it is": ({}, 0),
    "sunglasses": ({"sunglasses": {}}, 3),
    "mask": ({"mask": {}}, 9),
    "occlusion": ({"occlusion": {"side": [0.3, 0.4]}}, 4),
    "crop": ({"crop": {"area": [0.4, 0.7]}}, 1),
    "low resolution": ({"low_resolution": {"side": [0.15, 0.25]}}, 1),
    "blur": ({"blur": {"sigma_px": [0.5, 2.0], "motion_px": [0, 12]}}, 6),
    "color": ({"color": {"hue_deg": [-20, 20]}}, 3),
    "gray": ({"gray": {}}, 0),
    "jpeg": ({"jpeg": {"quality": [5, 12]}}, 0),
}


def augmented_faces() -> Image.Image:
    """Three people, one a row, under each augmentation, one a column; strongly, so that it shows."""
    step, rng = TILE_PX + GAP_PX, np.random.default_rng(0)
    scenes = draw_nuisances(len(PEOPLE), rng, Conditions.neutral())
    scenes[:, NUISANCE_NAMES.index("yaw")] = (0.0, -0.35, 0.3)
    faces = draw_faces(draw_people(max(PEOPLE) + 1, seed=0)[list(PEOPLE)], scenes)
    crops = torch.from_numpy(faces.images).permute(0, 3, 1, 2)
    sheet = Image.new("RGB", (GAP_PX + len(CHANGES) * step, HEADING_PX + len(PEOPLE) * step), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for column, (name, (sections, at)) in enumerate(CHANGES.items()):
        left = GAP_PX + column * step
        pen.text((left + TILE_PX // 2, HEADING_PX // 2 + 2), name, font=font, fill=MUTED, anchor="mm")
        section = Augmentation.model_validate({kind: {"p": 1.0, **values} for kind, values in sections.items()})
        changed = Augmenter(section, seed=0)(crops, at, landmarks=torch.from_numpy(faces.landmarks))
        for row, face in enumerate(changed.permute(0, 2, 3, 1).numpy()):
            sheet.paste(Image.fromarray(face), (left, HEADING_PX + row * step))
    return sheet


def checked_faces() -> Image.Image:
    """Drawn faces with a fault each, the file above, and what it is compared with or read as below."""
    person = draw_people(PEOPLE[1] + 1, seed=0)[PEOPLE[1] :]
    scenes = draw_nuisances(7, np.random.default_rng(2), Conditions.frontal())
    faces = draw_faces(np.repeat(person, 7, 0), scenes).images
    gray = np.repeat((faces[5] @ (0.299, 0.587, 0.114)).astype(np.uint8)[..., None], 3, axis=2)
    blurred = np.asarray(Image.fromarray(faces[6]).filter(ImageFilter.GaussianBlur(3.2)))
    small = Image.fromarray(faces[2]).resize((40, 40)).resize((TILE_PX, TILE_PX), Image.Resampling.BICUBIC)
    columns: list[tuple[str, NDArray[np.uint8], NDArray[np.uint8] | None]] = [
        ("exchanged", faces[0][..., ::-1], faces[0]),
        ("copy", faces[1], faces[1]),
        ("near copy", np.asarray(small), faces[2]),
        ("near copy", (faces[3][:, ::-1] * 0.7 + 50).astype(np.uint8), faces[3]),
        ("gray", gray, None),
        ("blurred", blurred, None),
    ]
    step = TILE_PX + GAP_PX
    sheet = Image.new("RGB", (GAP_PX + len(columns) * step, HEADING_PX + 2 * step + 14), "white")
    pen, font, small_font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14), ImageFont.load_default(size=12)
    for column, (name, above, below) in enumerate(columns):
        left = GAP_PX + column * step
        pen.text((left + TILE_PX // 2, HEADING_PX // 2 + 2), name, font=font, fill=MUTED, anchor="mm")
        sheet.paste(Image.fromarray(np.ascontiguousarray(above)), (left, HEADING_PX))
        text = _finding(above, below)
        if below is not None:
            sheet.paste(Image.fromarray(below), (left, HEADING_PX + step))
        low = HEADING_PX + (2 if below is not None else 1) * step
        pen.text((left + TILE_PX // 2, low + 4), text, font=small_font, fill=INK, anchor="mm")
    return sheet


def _finding(above: NDArray[np.uint8], below: NDArray[np.uint8] | None) -> str:
    """What the checks measure of a face, or of two."""
    small = np.stack([small_of(np.ascontiguousarray(face)) for face in (above, above if below is None else below)])
    if below is None:
        return f"chroma {chroma(small)[0]:.1f}" if chroma(small)[0] < 3 else f"{blur_px(above):.1f} px"
    if np.array_equal(above, below):
        return "equal pixels"
    if np.array_equal(above[..., ::-1], below):
        return f"redness {redness(small)[0]:+.2f}, {redness(small)[1]:+.2f}"
    cosines, mirrored = likeness(*np.split(describe(thumbnails(small)), 2))
    return f"likeness {cosines[0]:.2f}" + (", mirrored" if mirrored[0] else "")


def _photograph(
    face: NDArray[np.uint8], landmarks: NDArray[np.float32], scale: float, tilt_deg: float
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A face at a scale, tilted clockwise, in the middle of a photo of its backdrop; and where its points lie."""
    backdrop = tuple(face[0, -1].tolist())
    side = round(TILE_PX * scale)
    portrait = Image.fromarray(face).resize((side, side), Image.Resampling.LANCZOS)
    portrait = portrait.rotate(-tilt_deg, Image.Resampling.BICUBIC, expand=True, fillcolor=backdrop)
    photo = Image.new("RGB", (PHOTO_PX, PHOTO_PX), backdrop)
    photo.paste(portrait, ((PHOTO_PX - portrait.width) // 2, (PHOTO_PX - portrait.height) // 2))
    turn = side / TILE_PX * np.exp(1j * np.deg2rad(tilt_deg))
    place = (landmarks @ (1, 1j) - (TILE_PX - 1) / 2 * (1 + 1j)) * turn + (PHOTO_PX - 1) / 2 * (1 + 1j)
    return np.array(photo), np.stack([place.real, place.imag], axis=-1)


@styled
def sweep() -> Figure:
    """The N x C work of a head: one block of classes at a time, the target in a slot of its own."""
    figure = Figure(figsize=(7.6, 2.9))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 76), ylim=(0, 29))
    axes.axis("off")
    axes.text(2.2, 26.6, "One sweep over the classes", fontweight="bold", fontsize=10.5)
    _cells(axes)
    _measures(axes)
    _key(axes)
    _outcome(axes)
    return figure


# the drawing's grid: places of the cells, in tenths of an inch
ROWS, BLOCKS, WIDTH, CELL, BLOCK_GAP = 6, 3, 6, 2.1, 0.9
LEFT, BOTTOM = 8.4, 8.2
HIGH, WIDE = ROWS * CELL - 0.28, BLOCKS * WIDTH * CELL + (BLOCKS - 1) * BLOCK_GAP - 0.28
TARGETS = (2, 14, 8, 10, 5, 16)  # class of each row


def _cells(axes: Axes) -> None:
    for block, name in enumerate(("done", "block at hand", "to come")):
        held = block == 1
        left = LEFT + block * (WIDTH * CELL + BLOCK_GAP)
        for row in range(ROWS):
            for slot in range(WIDTH):
                is_target = TARGETS[row] == block * WIDTH + slot
                color = VERMILLION if is_target else (BLUE if held else GRID)
                alpha = (1.0 if held else 0.4) if is_target else (0.3 if held else 0.8)
                _box(axes, (left + slot * CELL, BOTTOM + (ROWS - 1 - row) * CELL), (CELL - 0.28,) * 2, color, alpha)
        middle = left + (WIDTH * CELL - 0.28) / 2
        axes.text(middle, BOTTOM - 1.7, name, ha="center", va="center", color=INK if held else MUTED, fontsize=8.5)
        if held:
            corner, size = (left - 0.45, BOTTOM - 0.45), (WIDTH * CELL + 0.62, HIGH + 0.9)
            axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=BLUE, linewidth=1.5))


def _measures(axes: Axes) -> None:
    axes.text(LEFT + WIDE / 2, 23.3, "C class centers wⱼ", ha="center", fontsize=9)
    axes.add_patch(_arrow((LEFT, 22.4), (LEFT + WIDE, 22.4), "|-|"))
    axes.text(4.6, BOTTOM + HIGH / 2, "N embeddings xᵢ", ha="center", va="center", rotation=90, fontsize=9)
    axes.add_patch(_arrow((6.6, BOTTOM), (6.6, BOTTOM + HIGH), "|-|"))


def _key(axes: Axes) -> None:
    entries = (
        (VERMILLION, 1.0, "true class, in its own slot", LEFT),
        (BLUE, 0.3, "negatives, held now", LEFT + 17.3),
        (GRID, 0.8, "not in memory", LEFT + 32.0),
    )
    for color, alpha, text, left in entries:
        _box(axes, (left, 2.2), (1.4, 1.4), color, alpha)
        axes.text(left + 2.1, 2.85, text, va="center", fontsize=8.2, color=MUTED)


def _outcome(axes: Axes) -> None:
    left = LEFT + WIDE + 1.2
    axes.add_patch(_arrow((left, BOTTOM + HIGH / 2), (left + 3.0, BOTTOM + HIGH / 2), "-|>"))
    parts = (
        (VERMILLION, "tᵢ", "s · target(cosine\nof the true class)"),
        (BLUE, "nᵢ", "log-sum-exp of\ns · all negatives"),
        (ORANGE, "max", "nearest negative,\nfor the log"),
    )
    for place, (color, sign, text) in enumerate(parts):
        bottom = BOTTOM + HIGH - 3.2 - place * 4.55
        _box(axes, (left + 3.9, bottom), (4.4, 3.2), color, 0.16, rounding=0.5)
        axes.text(left + 6.1, bottom + 1.6, sign, ha="center", va="center", fontsize=9.5, fontweight="bold")
        axes.text(left + 9.1, bottom + 1.6, text, va="center", fontsize=8.2, linespacing=1.2)
    axes.text(left + 3.9, 2.85, "lossᵢ = softplus(nᵢ − tᵢ)", va="center", fontsize=9.5, fontweight="bold")


@styled
def groupface() -> Figure:
    """The neck and head of GroupFace: a face's own representation, and a mixture of its groups'."""
    figure = Figure(figsize=(7.6, 2.9))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 76), ylim=(0, 29))
    axes.axis("off")
    axes.text(2.2, 26.6, "GroupFace", fontweight="bold", fontsize=10.5)
    axes.text(13.2, 26.6, "a face's own representation, and a mixture of its groups'", fontsize=8.5, color=MUTED)
    _stage(axes, (2.2, 10.9), (8.4, 5.6), MUTED, "backbone", "flat map\nof features")
    _stage(axes, (13.6, 10.9), (8.4, 5.6), MUTED, "x", "FC, BN\nshared, 4096")
    _stage(axes, (26.4, 17.8), (9.4, 5.6), BLUE, "v", "FC, BN\nits own, 512")
    for shift in (1.2, 0.6, 0.0):
        words = () if shift else ("v\u1d33\u1d4f", "K FCs\n512 each")
        _stage(axes, (26.4 + shift, 3.4 + shift), (9.4, 5.6), GREEN, *words)
    _stage(axes, (40.4, 10.9), (9.4, 5.6), ORANGE, "p", "three FCs,\nsoftmax")
    _stage(axes, (40.4, 3.4), (9.4, 5.6), GREEN, "v\u1d33", "sum of pₖ v\u1d33\u1d4f, or\nthe likeliest")
    _stage(axes, (52.4, 10.9), (9.4, 5.6), ORANGE, "G*", "argmax p − E[p]\nin training only")
    _stage(axes, (65.2, 3.4), (8.6, 20.0), VERMILLION, "v̄", "v + v\u1d33\nembedding,\nto the margin")
    arrows = (
        ((10.6, 13.7), (13.6, 13.7)), ((22.0, 14.7), (26.4, 19.4)), ((22.0, 12.7), (26.4, 7.4)),
        ((35.8, 18.8), (40.4, 15.2)), ((45.1, 10.9), (45.1, 9.0)), ((49.8, 13.7), (52.4, 13.7)),
        ((35.8, 20.8), (65.2, 20.8)), ((37.0, 6.2), (40.4, 6.2)), ((49.8, 6.2), (65.2, 6.2)),
    )  # fmt: skip
    for start, end in arrows:
        axes.add_patch(_arrow(start, end, "-|>"))
    return figure


def _stage(
    axes: Axes, corner: tuple[float, float], size: tuple[float, float], color: str, name: str = "", text: str = ""
) -> None:
    """A box with a bold name over one or more lines; opaque with a white edge, so that boxes can lie on one another."""
    _box(axes, (corner[0] - 0.2, corner[1] - 0.2), (size[0] + 0.4, size[1] + 0.4), "white", 1.0, rounding=0.6)
    _box(axes, corner, size, color, 0.16, rounding=0.5)
    middle, half = corner[0] + size[0] / 2, corner[1] + size[1] / 2
    height = 0.5 * text.count("\n")
    axes.text(middle, half + 0.8 + height, name, ha="center", va="center", fontsize=9, fontweight="bold")
    axes.text(middle, half - 0.9, text, ha="center", va="center", fontsize=7.4, color=MUTED, linespacing=1.15)


def _box(
    axes: Axes, corner: tuple[float, float], size: tuple[float, float], color: str, alpha: float, rounding: float = 0.15
) -> None:
    style = f"round,pad=0,rounding_size={rounding}"
    axes.add_patch(FancyBboxPatch(corner, *size, style, color=color, alpha=alpha, linewidth=0))


def _arrow(start: tuple[float, float], end: tuple[float, float], style: str) -> FancyArrowPatch:
    scale = 2.2 if style == "|-|" else 10.0
    return FancyArrowPatch(
        start, end, arrowstyle=style, color=MUTED, linewidth=1.0, shrinkA=0, shrinkB=0, mutation_scale=scale
    )


def overlap_tail() -> Figure:
    """Two sets of synthetic embeddings, 40 people in both: pairs that reach a cosine, counted and expected."""
    random = np.random.default_rng(0)
    world = random.normal(size=(3960, 96))
    sides = []
    for people, faces, seed in ((world[:500], 12, 1), (world[460:], 3, 2)):
        labels = np.repeat(np.arange(len(people)), faces)
        scattered = people[labels] + 1.6 * np.random.default_rng(seed).normal(size=(len(labels), 96))
        sides.append(People(centers=person_centers(scattered, labels)))
    found = overlap(*sides)
    cosines, counted = reached(found.counts)
    assert found.impostors is not None
    expected = np.array([found.impostors.expected(cosine) for cosine in cosines.tolist()])
    return cosine_tail(CosineTail(cosines, counted, expected, found.limit))


def calibration_errors() -> Figure:
    """FAR and FRR of 240 synthetic people; some look like many others, some are hard to know again."""
    random, people, faces = np.random.default_rng(0), 240, 6
    leaning, blur = 0.25 * random.normal(size=(people, 1)), 0.8 * np.exp(0.25 * random.normal(size=(people, 1)))
    labels = np.repeat(np.arange(people), faces)
    centers = random.normal(size=(people, 64)) + leaning
    vectors = centers[labels] + blur[labels] * random.normal(size=(len(labels), 64))
    keys = tuple(f"{label}/{number}" for number, label in enumerate(labels.tolist()))
    drawn = draw_pairs(labels, 2000, seed=0)
    first, second = ([keys[row] for row in rows] for rows in (drawn.first, drawn.second))
    pairs = Pairs("drawn", first, second, drawn.same, drawn.folds)
    embedded = Embedded(keys, vectors.astype(np.float32))
    scored = score_people(pairs, embedded, dict(zip(keys, labels.tolist(), strict=True)))
    everyone = Everyone(LabeledEmbeddings(embedded.vectors, labels), keys)
    found = calibrate(scored, Asked((1e-1, 1e-2, 1e-3, 1e-4, 1e-5)), Contract(), {}, everyone)
    return error_curves(curves_of(found))


@styled
def all_pairs() -> Figure:
    """Synthetic embeddings: where a threshold is expected, and which pairs an int8 product leaves in doubt."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(1500), 3)
    vectors = random.normal(size=(1500, 256))[labels] + 1.3 * random.normal(size=(labels.size, 256))
    faces, wanted, far = LabeledEmbeddings(vectors.astype(np.float32), labels), Wanted(fars=(1e-3,)), 1e-3
    layout = Layout(faces)
    window = make_plan(layout, wanted, with_digest=False).windows[0]
    product, unit = Int8(torch.device("cpu")), torch.from_numpy(layout.probes.vectors.block(0, 2048))
    slack = product.bound(product.rows(unit), product.columns(unit), unit.shape[1])
    found = count_pairs(faces, wanted=wanted)
    middles, low, high = (found.edges[1:] + found.edges[:-1]) / 2, window.low - slack, window.high + slack
    sampled = found.sampled_impostors
    impostors = sampled * (found.impostor_pairs / sampled.sum())
    figure, (axes,) = new_figure(7.2, 3.9)
    edges = np.arange(-0.25, 0.605, 0.01)
    kinds = (("two people (a sample, scaled)", impostors, VERMILLION), ("one person", found.genuine, BLUE))
    for name, counts, color in kinds:
        columns, _ = np.histogram(middles, edges, weights=counts)
        axes.stairs(np.maximum(columns, 0.1), edges, fill=True, color=color, alpha=0.3, linewidth=0, label=name)
    share = sampled[(middles > low) & (middles < high)].sum() / sampled.sum()
    doubt = f"in doubt for int8, scored exactly: {100 * share:.2g} % of the pairs"
    axes.axvspan(low, high, color=ORANGE, alpha=0.22, linewidth=0, label=doubt)
    axes.axvspan(window.low, window.high, color=ORANGE, alpha=0.55, linewidth=0, label="where the threshold must lie")
    axes.axvline(found.at(far).threshold, ymax=0.86, color=INK, linewidth=1.2)
    axes.text(found.at(far).threshold, 1.2e7, f"FAR {share_label(far)}", ha="center", va="bottom", fontsize=8)
    axes.text(low - 0.015, 4e6, "surely below", ha="right", va="center", fontsize=8, color=MUTED)
    axes.text(high + 0.015, 4e6, "surely above", ha="left", va="center", fontsize=8, color=MUTED)
    axes.set(yscale="log", xlim=(-0.25, 0.6), ylim=(1, 5e7), xlabel="Cosine", ylabel="Pairs per 0.01")
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(share_label)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


SHEETS = {
    FACES: drawn_faces,
    ALIGNED: aligned_faces,
    AUGMENTED: augmented_faces,
    "checked-faces": checked_faces,
    "inverted-faces": inverted_faces,
}
MODELS = {"r100": 0.8, "r50": 0.81, "r18": 0.92}  # length of the noise beside that of a person's direction
LISTS = {"frontal": 0.42, "profile": 0.75}  # by which the list makes it longer


def comparison() -> Figure:
    """Three models on two lists of pairs as the comparison page shows them; embeddings are random directions."""
    people, faces = np.repeat(np.arange(200), 5), np.tile(np.arange(5), 200)
    keys = [f"{person}/{face}" for person, face in zip(people, faces, strict=True)]
    turn, stranger = np.roll(keys, -1), np.roll(keys, -7)
    folds = np.tile(people // 20, 2)
    rng = np.random.default_rng(0)
    centers, noise = rng.normal(size=(200, 24))[people], rng.normal(size=(1000, 24))
    own = rng.normal(size=(3, 1000, 24))  # of each model; the rest of the noise is the picture's
    panels = []
    for name, harder in LISTS.items():
        last = faces == 4  # its neighbor is of the next person
        second = np.where(last, [f"{person}/0" for person in people], turn)
        pairs = Pairs(name, keys * 2, [*second, *stranger], np.arange(2000) < 1000, folds)
        results = []
        for length, extra in zip(MODELS.values(), own, strict=True):
            vectors = centers + 2.0 * harder * length * (0.9 * noise + 0.45 * extra)
            results.append(evaluate_pairs(pairs, dict(zip(keys, vectors, strict=True))))
        for ranked in rank_models(results)[0], rank_models(results)[2]:
            values = {m: (n.value, *(n.interval or (None, None))) for m, n in zip(MODELS, ranked.numbers, strict=True)}
            best, level = ([list(MODELS)[place] for place in places] for places in (ranked.best, ranked.level))
            panels.append(Panel(f"{name}, {ranked.name}", values, best, level))
    return interval_panels([panels[0], panels[2], panels[3]])


SCHEMES = {
    "sweep": sweep,
    "groupface": groupface,
    "overlap": overlap_tail,
    "angles": angle_scheme,
    "calibration": calibration_errors,
    "all-pairs": all_pairs,
    "comparison": comparison,
    **STUDIES,
}


def figure_files() -> dict[str, Path]:
    """Every figure by name, with its file below ``docs/figures``."""
    files = {name: Path(f"{name}.svg") for name in (*SCHEMES, *figure_names())}
    files |= {name: Path(f"{name}.png") for name in (*SHEETS, TOY)}  # pictures of faces
    return files | {loss.name: Path("losses", f"{loss.name}.svg") for loss in loss_pages.all_losses()}


def main(names: list[str], folder: Path) -> None:
    """Draw the named figures, or all, into ``folder``; elsewhere than in docs/ as PNG beside, to be looked at."""
    files = figure_files()
    for name in names or files:
        path = folder / files[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        if name in SHEETS:
            small_png(SHEETS[name](), path)
            continue
        figure = SCHEMES[name]() if name in SCHEMES else draw(name)
        save_figure(figure, path, SHADES_DPI if path.suffix == ".svg" else 200)
        if name == TOY:
            with Image.open(path) as picture:
                small_png(picture.convert("RGB"), path)
        elif folder != FOLDER:
            save_figure(figure, path.with_suffix(".png"))


def small_png(picture: Image.Image, path: Path) -> None:
    """With a palette: a third of the size, and no difference that shows."""
    palette = picture.quantize(256)  # Pillow dithers to a given palette only
    picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw the figures of the docs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="none draws all")
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    if unknown := set(given.names) - set(figure_files()):
        parser.error(f"no figure {', '.join(unknown)}; known: {', '.join(figure_files())}")
    main(given.names, given.out)
