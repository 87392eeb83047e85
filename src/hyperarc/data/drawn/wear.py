"""What faces wear: glasses, sunglasses and masks."""

from __future__ import annotations

import numpy as np

from hyperarc.data.drawn.colors import constant, hue
from hyperarc.data.drawn.head import Floats, fade
from hyperarc.data.drawn.sitter import Sitters
from hyperarc.data.drawn.window import paint, window

_SMOKE = constant(0.05, 0.05, 0.06)


def put_mask(f: Sitters) -> None:
    """Cover nose, mouth and chin in the paint, and smooth the depth under the cloth."""
    n, rows = f.n, f.faces
    far, y, _ = f.surface.spots[:, rows]
    far, z = np.minimum(far, 45), f.surface.z[rows]
    low = y - 9.5 - 0.011 * far * far
    inner = z + 27.0
    cloth = fade(np.minimum(low, inner) * 0.9 + 0.5)
    string = fade((1.1 - np.abs(low - 6.0 + 0.25 * inner)) * 0.9) * (inner < 0.5)
    cover = np.maximum(cloth, string * 0.9) * n["mask"]
    tone = 1 - 0.16 * fade(np.sin(y * 0.62 + 0.4) * 2 - 1.0)
    tone *= 1 - 0.22 * fade(1.6 - np.abs(low - 1.6))
    turn = n["mask_hue"]
    color = hue(turn, 0.10 + 0.35 * np.abs(2 * turn - 1), 0.92 - 0.75 * (turn > 0.85))
    planes = f.albedo[:, rows]
    paint(planes, cover, tone * color)
    f.albedo[:, rows] = planes
    w = f.surface.w[rows]
    f.surface.w[rows] = w + cover * (0.55 * (f.surface.bare[rows] + 2 - w))


def put_glasses(f: Sitters, light: Floats, bare: Floats) -> None:
    """Draw frames and lenses over the lit pictures ``light`` [3, N, 112, 112], in a plane before the eyes."""
    n, pose, eye_x = f.n, f.pose, f.plan.eye_x
    shown, shape = np.maximum(n["glasses"], np.minimum(1.0, 2 * n["sunglasses"])), n["glasses_shape"]
    depth = f.lathe.front(0.0, -4.0) + 6.5
    width, height = 14.2 + 1.2 * shape, 11.5 - 3.2 * shape
    thick = 0.8 + 0.9 * n["frame_weight"]
    color = hue(n["frame_hue"], 0.55, 0.12 + 0.45 * n["frame_hue"])
    _draw_arm(f, light, bare, (eye_x + width, depth, thick, shown * 0.9, color))
    cx, cy = pose.pixels(0.0, 1.0, depth)
    part = window(f.faces, (cx, cy), (46 * pose.scale, 24 * pose.scale))
    # the ray through each pixel meets the plane z = depth at (x, y)
    back = np.linalg.inv(pose.matrix()[:, :2, :2])
    px, py = part.x - cx, part.y - cy
    x = px * back[:, :1, :1] + py * back[:, :1, 1:]
    y = px * back[:, 1:, :1] + py * back[:, 1:, 1:]
    far = np.abs(x)
    across = np.abs(far - eye_x) * (1 / width)
    corner = 1.0 - 0.65 * shape
    # a rounded box: shape 0 gives a circle, 1 a box
    bx = np.maximum(across - (1 - corner), 0)
    by = np.maximum(np.abs(y) * (1 / height) - (1 - corner), 0)
    inside = (corner - np.sqrt(bx * bx + by * by)) * np.minimum(width, height)
    planes = part.cut(light)
    lens = fade(inside + 0.5) * shown
    glare = fade(1 - np.abs(across * 0.9 + y * 0.08 - 0.3) * 3.2) * lens
    paint(planes, lens * np.minimum(n["sunglasses"] * 0.97, 0.97), _SMOKE)
    planes += glare * (0.05 + 0.05 * n["light_strength"])
    frame = fade(thick - np.abs(inside) + 0.5)
    bridge = fade(thick - np.abs(y + 3.0 - 0.04 * x * x) + 0.3) * (far < eye_x - width * 0.9)
    arm = fade(thick - np.abs(y + 3.5) + 0.3) * (far > eye_x + width) * (far < eye_x + width + 1.5)
    paint(planes, np.maximum(np.maximum(frame, bridge), arm) * (0.95 * shown), color)
    part.put(light, planes)


def _draw_arm(f: Sitters, light: Floats, bare: Floats, arm: tuple[Floats, Floats, Floats, Floats, Floats]) -> None:
    """The temple on the side turned toward the viewer, from the hinge to the ear, where ``bare`` of hair."""
    x, depth, thick, shown, color = arm
    side = -np.sign(f.pose.sin_yaw)
    x0, y0 = f.pose.pixels(side * (x + 1), -3.0, depth - 1)
    x1, y1 = f.pose.pixels(side * (x + 5), -1.0, -40.0)
    dx, dy = x1 - x0, y1 - y0
    center = ((x0 + x1) / 2, (y0 + y1) / 2)
    part = window(f.faces, center, (np.abs(dx) / 2 + 4, np.abs(dy) / 2 + 4))
    px, py = part.x - x0, part.y - y0
    share = fade((px * dx + py * dy) / (dx * dx + dy * dy + 1))
    px = px - share * dx
    py = py - share * dy
    cover = fade(thick + 0.5 - np.sqrt(px * px + py * py))
    cover *= part.cut(bare) * shown
    planes = part.cut(light)
    paint(planes, cover, color)
    part.put(light, planes)
