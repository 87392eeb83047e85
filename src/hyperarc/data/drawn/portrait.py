"""Drawn faces from their knobs: shape, paint, light, hair, wear, camera."""

from __future__ import annotations

import numpy as np

from hyperarc.data.drawn.camera import Bytes, develop, draw_backgrounds, shade
from hyperarc.data.drawn.colors import hair_color, hue, skin_color, tint
from hyperarc.data.drawn.features import draw_brows, draw_eyes, draw_mouth, draw_nose
from hyperarc.data.drawn.hair import see_hair, style_hair
from hyperarc.data.drawn.head import (
    SIZE,
    Floats,
    Knobs,
    build_lathe,
    build_noses,
    fade,
    landmark_points,
    place,
    plan_face,
)
from hyperarc.data.drawn.sitter import Sitters, shape_face
from hyperarc.data.drawn.skin import draw_skin
from hyperarc.data.drawn.surface import normals, see_head, sight
from hyperarc.data.drawn.wear import put_glasses, put_mask
from hyperarc.data.drawn.window import paint, window

_NECK_ROW = 60  # no neck shows above this row of the crop


def draw_portraits(t: Knobs, n: Knobs, seed: int) -> tuple[Bytes, Floats]:
    """Pictures uint8 [B, 112, 112, 3] and landmarks float32 [B, 5, 2] (px) of B faces."""
    plan = plan_face(t, n)
    lathe = build_lathe(t, plan.chin)
    points = landmark_points(plan, lathe, t["asymmetry"])
    pose = place(points, n)
    u, v = sight(pose)
    surface = see_head(lathe, build_noses(t, plan, lathe), pose, u, v)
    albedo = np.empty((3, len(t), SIZE, SIZE), dtype=np.float32)
    skin, natural = skin_color(t), hair_color(t)
    f = Sitters(t, n, plan, lathe, pose, skin, natural, np.arange(len(t)), surface, albedo)
    shape_face(f)
    draw_skin(f)
    draw_eyes(f)
    draw_brows(f)
    draw_nose(f)
    draw_mouth(f)
    masked = f.pick(n["mask"])
    if masked is not None:
        put_mask(masked)
    light, noise_from = _light(f, (u, v), seed)
    landmarks = np.concatenate(pose.pixels(*points), axis=2)
    return develop(light, n, noise_from), landmarks


def _light(f: Sitters, view: tuple[Floats, Floats], seed: int) -> tuple[Floats, list[int]]:
    """Hair, light and all layers from back to front, [3, B, 112, 112]; and where each picture's noise starts."""
    t, n, pose, surface = f.t, f.n, f.pose, f.surface
    style = style_hair(t, n, f.hair)
    hair = see_hair(f.lathe, style, pose, view, surface.ahead)
    # hair shades the skin just below it, then covers it
    f.albedo[:, :, 3:] *= 1 - 0.35 * hair.front[:, :-3]
    paint(f.albedo, hair.front, hair.albedo)
    paint(surface.w, hair.soft, hair.w)
    face = shade(f.albedo, normals(surface.w, pose.scale), n, 0.05 + 0.05 * n["skin_shine"])
    scenes = (n["scene"].ravel() * 2**24).astype(np.int64).tolist()
    draws = np.array([np.random.default_rng([seed, scene]).random(5) for scene in scenes], dtype=np.float32)
    light = draw_backgrounds(n, draws[:, :4])
    paint(light, hair.behind, style.color * (0.42 * (n["ambient"] + 0.5 * n["light_strength"])))
    _draw_neck(f, light)
    bare = 1 - hair.front
    for side in (-1.0, 1.0):
        _draw_ears(f, light, side, None)
    paint(light, np.maximum(surface.cover, hair.front), face)
    for side in (-1.0, 1.0):
        _draw_ears(f, light, side, bare)
    wearing = f.pick(n["glasses"] + n["sunglasses"])
    if wearing is not None:
        put_glasses(wearing, light, bare)
    return light, (draws[:, 4] * 2**16).astype(np.int64).tolist()


def _draw_neck(f: Sitters, light: Floats) -> None:
    """Neck and shoulders: a standing cylinder and a slope of cloth, lit like the head."""
    t, n, pose = f.t, f.n, f.pose
    x, y = pose.pixels(0.0, 44.0, -40.0)
    radius = (25.0 + 2.5 * t["jaw_width"] + 1.0 * t["face_width"]) * pose.scale
    columns = np.arange(SIZE, dtype=np.float32) - x
    rows = np.arange(_NECK_ROW, SIZE, dtype=np.float32)[:, None]
    # a cylinder's light depends on the column alone, the shadow of the chin on the row
    nx = (columns * (1 / radius)).clip(-1, 1)
    normal = np.empty((3, len(t), 2, SIZE), dtype=np.float32)
    normal[0, :, 0], normal[0, :, 1] = nx[:, 0], 0.5 * nx[:, 0]
    normal[1, :, 0], normal[1, :, 1] = 0.15, -0.35
    normal[2, :, 0], normal[2, :, 1] = np.sqrt(1 - nx * nx)[:, 0], 0.8
    strips = np.empty((3, len(t), 2, SIZE), dtype=np.float32)
    strips[:, :, :1] = f.skin
    strips[:, :, 1:] = hue(n["cloth_hue"], 0.65, 0.12 + 0.75 * n["cloth_light"])
    shade(strips, (normal[0], normal[1], normal[2]), n)
    under = light[:, :, _NECK_ROW:]
    shaded = 0.35 + 0.25 * fade((rows - y - 10) * (1 / 30))
    beside = np.abs(columns) - radius
    paint(under, fade(0.5 - beside) * (rows > y - 20), strips[:, :, :1] * shaded)
    # the collar: a dip before the neck, shoulders falling away beside it
    line = np.maximum(beside * 0.18, beside * -0.7) + (y + 8 * pose.scale)
    paint(under, fade(rows - line + 0.5), strips[:, :, 1:])


def _draw_ears(everyone: Sitters, light: Floats, side: float, bare: Floats | None) -> None:
    """Ears as small domes with a dark bowl: behind the head (``bare`` None) or on it where ``bare`` of hair."""
    turned = everyone.pose.sin_yaw * -side
    f = everyone.pick((turned > -0.3) & (turned <= 0.06) if bare is None else turned > 0.06)
    if f is None:
        return
    t, pose = f.t, f.pose
    size = (1 + 0.16 * t["ear_size"]) * pose.scale
    x, y = pose.pixels(side * (f.lathe.slice_at(6.0)[0] + 0.5 + 0.8 * t["ear_size"]), 6.5, -43.0)
    wide, high = (3.6 * pose.cos_yaw + 7.5 * np.abs(pose.sin_yaw)) * size, 10.5 * size
    part = window(f.faces, (x, y), (wide * 1.4 + 2, high + 2))
    dx = (part.x - x) * (1 / wide)
    dy = (part.y - y) * (1 / high)
    lobe = dx * (1 + 0.25 * dy)
    r2 = lobe * lobe + dy * dy
    dome = np.sqrt(np.maximum(1 - 0.8 * r2, 0.05))
    bowl = fade(1.2 - 3.2 * ((lobe + 0.1 * side) ** 2 + dy * dy * 0.8))
    planes = tint(f.skin, 1.0, 0.85, 0.85) * (1 - 0.5 * bowl)
    shade(planes, (lobe * 0.9, np.broadcast_to(dy * 0.7, lobe.shape), dome), f.n)
    cover = fade((1 - np.sqrt(r2)) * np.minimum(wide, high) + 0.5)
    if bare is not None:
        cover *= part.cut(bare)
    under = part.cut(light)
    paint(under, cover, planes)
    part.put(light, under)
