"""Everything about a picture of a drawn face that is not the person: the nuisances and how they are drawn."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Rows = dict[str, npt.NDArray[np.floating]]

# name: (low, high, meaning); angles in radians
NUISANCES: dict[str, tuple[float, float, str]] = {
    "yaw": (-1.2, 1.2, "head turned toward the right of the picture, rad"),
    "pitch": (-0.6, 0.6, "head bowed, rad"),
    "roll": (-0.6, 0.6, "head tilted clockwise, rad"),
    "shift_x_px": (-8, 8, "crop off to the side, px"),
    "shift_y_px": (-8, 8, "crop off up or down, px"),
    "zoom": (0.8, 1.25, "crop too wide (< 1) or too tight (> 1)"),
    "light_x": (-1, 1, "key light from the left to from the right"),
    "light_y": (-1, 1, "key light from above to from below"),
    "light_strength": (0, 1, "key light, off to hard"),
    "light_warmth": (-1, 1, "light, cold to warm"),
    "ambient": (0, 1, "light from all around"),
    "exposure": (-2, 2, "picture too dark or too bright, stops"),
    "skin_shine": (0, 1, "skin, matte to shining"),
    "smile": (-1, 1, "mouth corners, down to up"),
    "mouth_open": (0, 1, "mouth, closed to open"),
    "eyes_open": (0.15, 1.3, "eyes, nearly shut to wide; 1 is usual"),
    "gaze_x": (-1, 1, "look to the left to the right"),
    "gaze_y": (-1, 1, "look up to down"),
    "brow_raise": (-1, 1, "brows down to up"),
    "frown": (0, 1, "brows drawn together"),
    "age_lines": (0, 1, "years added since the other pictures"),
    "makeup": (0, 1, "lipstick, lashes, lids"),
    "beard_grown": (0, 1, "beard, shaven to grown; shows where the person has one"),
    "hair_change": (-1, 1, "hair shorter or longer than the person's usual"),
    "hair_volume": (0, 1, "hair, flat to full"),
    "fringe": (0, 1, "fringe, combed back to down to the brows"),
    "part": (-0.6, 0.6, "parting, left to right"),
    "dye": (0, 1, "hair dye, none to full"),
    "dye_hue": (0, 1, "hue of the dye, turns"),
    "glasses": (0, 1, "glasses, none to worn"),
    "glasses_shape": (0, 1, "lenses, round to boxed"),
    "frame_weight": (0, 1, "frames, wire to heavy"),
    "frame_hue": (0, 1, "hue and lightness of the frames"),
    "sunglasses": (0, 1, "lenses, none through smoked to black"),
    "mask": (0, 1, "face mask, none to worn"),
    "mask_hue": (0, 1, "hue of the mask; beyond 0.85 black"),
    "cloth_hue": (0, 1, "hue of the clothes, turns"),
    "cloth_light": (0, 1, "clothes, dark to light"),
    "back_hue": (0, 1, "hue of the background, turns"),
    "back_color": (0, 1, "background, grey to colorful"),
    "back_light": (0, 1, "background, dark to light"),
    "back_pattern": (0, 1, "background, plain through blurred to striped"),
    "blur_px": (0, 4, "Gaussian blur, sigma in px"),
    "noise": (0, 0.2, "sensor noise, share of full scale"),
    "resolution_px": (8, 112, "size the picture once had, px; 112 is full"),
    "jpeg_quality": (5, 100, "JPEG quality; 100 is uncompressed"),
    "scene": (0, 1, "seed of background shapes and noise"),
}

_DRAWS = 3 * len(NUISANCES)


def scene_uniforms(count: int, rng: np.random.Generator) -> Floats:
    """The raw draws [count, D] that :func:`scene_rows` turns into nuisances."""
    return rng.random((count, _DRAWS), dtype=np.float32)


def scene_gate(draws: Floats) -> Floats:
    """Of each row the one draw [count] that no nuisance uses, to choose rows by."""
    return draws[:, 3 * list(NUISANCES).index("scene") + 1]


class _Draws:
    """Three uniform draws a nuisance, in the shapes that nuisances need."""

    def __init__(self, draws: Floats) -> None:
        self.value = {name: draws[:, 3 * k] for k, name in enumerate(NUISANCES)}
        self.gate = {name: draws[:, 3 * k + 1] for k, name in enumerate(NUISANCES)}
        self._more = {name: draws[:, 3 * k + 2] for k, name in enumerate(NUISANCES)}

    def signed(self, name: str) -> Floats:
        """Uniform in (-1, 1)."""
        return 2 * self.value[name] - 1

    def bell(self, name: str) -> Floats:
        """Triangular in (-1, 1): stands in for a bell curve, bounded and cheap."""
        return self.value[name] + self._more[name] - 1

    def sometimes(self, name: str, share: float, amount: Floats) -> Floats:
        """``amount`` in a ``share`` of the rows, else 0."""
        return np.asarray(np.where(self.gate[name] < share, amount, 0), dtype=np.float32)


def scene_rows(draws: Floats, limits: dict[str, float]) -> Floats:
    """Nuisances [count, len(NUISANCES)] from uniform draws, row by row; ``limits`` are the conditions."""
    all_draws = _Draws(draws)
    rows: Rows = dict(all_draws.value)
    _set_pose_and_light(rows, all_draws, limits)
    _set_looks(rows, all_draws, limits)
    _set_background_and_camera(rows, all_draws, limits)
    return np.stack([np.asarray(rows[name], dtype=np.float32) for name in NUISANCES], axis=1)


def _set_pose_and_light(rows: Rows, draws: _Draws, limits: dict[str, float]) -> None:
    low_yaw, high_yaw = math.radians(limits["yaw_from_deg"]), math.radians(limits["yaw_deg"])
    turned = np.abs(draws.signed("yaw"))
    rows["yaw"] = np.sign(draws.signed("yaw")) * (low_yaw + (high_yaw - low_yaw) * turned * np.sqrt(turned))
    rows["pitch"] = math.radians(limits["pitch_deg"]) * draws.bell("pitch")
    rows["roll"] = math.radians(limits["roll_deg"]) * draws.bell("roll")
    rows["shift_x_px"] = limits["shift_px"] * draws.bell("shift_x_px")
    rows["shift_y_px"] = limits["shift_px"] * draws.bell("shift_y_px")
    rows["zoom"] = 1 + limits["zoom"] * draws.bell("zoom")
    light = limits["light"]
    rows["light_x"] = light * draws.signed("light_x")
    rows["light_y"] = -0.35 + light * 0.6 * draws.bell("light_y")
    rows["light_strength"] = 0.55 + light * 0.40 * draws.signed("light_strength")
    rows["light_warmth"] = light * draws.bell("light_warmth")
    rows["ambient"] = 0.48 + light * 0.28 * draws.signed("ambient")
    rows["exposure"] = light * 0.6 * draws.bell("exposure")
    rows["skin_shine"] = 0.3 + light * 0.3 * draws.signed("skin_shine")


def _set_looks(rows: Rows, draws: _Draws, limits: dict[str, float]) -> None:
    mood = limits["expression"]
    rows["smile"] = mood * (0.2 + 0.8 * draws.bell("smile"))
    rows["mouth_open"] = draws.sometimes("mouth_open", 0.3 * mood, draws.value["mouth_open"])
    rows["eyes_open"] = 1 + mood * (
        0.15 * draws.bell("eyes_open") - draws.sometimes("eyes_open", 0.07, draws.value["gaze_x"] * 0.6)
    )
    for name in ("gaze_x", "gaze_y", "brow_raise"):
        rows[name] = mood * draws.bell(name)
    rows["frown"] = draws.sometimes("frown", 0.25, mood * draws.value["frown"])
    rows["age_lines"] = limits["age_lines"] * draws.value["age_lines"] ** 2
    rows["makeup"] = draws.sometimes("makeup", limits["makeup"], 0.3 + 0.7 * draws.value["makeup"])
    rows["beard_grown"] = 1 - draws.sometimes("beard_grown", limits["shaven"], draws.value["beard_grown"])
    rows["hair_change"] = draws.sometimes("hair_change", limits["hair_change"], draws.signed("hair_change"))
    rows["hair_volume"] = 0.4 + limits["hair_change"] * (draws.value["hair_volume"] - 0.4)
    rows["fringe"] = draws.sometimes("fringe", limits["hair_change"], draws.value["fringe"])
    rows["part"] = 0.25 + limits["hair_change"] * (0.6 * draws.signed("part") - 0.25)
    rows["dye"] = draws.sometimes("dye", limits["dye"], 0.5 + 0.5 * draws.value["dye"])
    rows["glasses"] = draws.sometimes("glasses", limits["glasses"], np.ones_like(draws.value["glasses"]))
    rows["sunglasses"] = draws.sometimes("sunglasses", limits["sunglasses"], 0.6 + 0.4 * draws.value["sunglasses"])
    rows["mask"] = draws.sometimes("mask", limits["mask"], np.ones_like(draws.value["mask"]))


def _set_background_and_camera(rows: Rows, draws: _Draws, limits: dict[str, float]) -> None:
    plain = 1 - limits["background"]
    rows["back_color"] = limits["background"] * draws.value["back_color"]
    rows["back_light"] = plain * 0.6 + limits["background"] * draws.value["back_light"]
    rows["back_pattern"] = limits["background"] * draws.value["back_pattern"]
    rows["blur_px"] = draws.sometimes(
        "blur_px", limits["blur"], limits["blur_px"] * (0.3 + 0.7 * draws.value["blur_px"])
    )
    rows["noise"] = limits["noise"] * draws.value["noise"] ** 2
    coarse = limits["lowest_px"] * (112 / limits["lowest_px"]) ** draws.value["resolution_px"]
    rows["resolution_px"] = np.where(draws.gate["resolution_px"] < limits["low_resolution"], coarse, 112)
    poor = limits["lowest_quality"] + (95 - limits["lowest_quality"]) * draws.value["jpeg_quality"]
    rows["jpeg_quality"] = np.where(draws.gate["jpeg_quality"] < limits["jpeg"], poor, 100)
