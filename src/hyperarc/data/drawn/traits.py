"""What makes a drawn person: the identity parameters, their ranges, and how they hang together.

A person is one row of float32 numbers, one per entry of :data:`TRAITS`. Shape traits live in [-1, 1] with 0
the average; shares and colors live in [0, 1].
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# name: (low, high, meaning)
TRAITS: dict[str, tuple[float, float, str]] = {
    "face_width": (-1, 1, "width of skull and cheeks, narrow to broad"),
    "face_length": (-1, 1, "distance from eyes to chin, short to long"),
    "jaw_width": (-1, 1, "jaw angle, V-shaped to square"),
    "chin_width": (-1, 1, "chin, pointed to broad"),
    "chin_forward": (-1, 1, "chin in profile, receding to jutting"),
    "cheekbones": (-1, 1, "cheekbones, flat to prominent"),
    "cheek_fullness": (-1, 1, "cheeks, hollow to round"),
    "forehead_slope": (-1, 1, "forehead in profile, upright to sloping"),
    "ear_size": (-1, 1, "ears, small and flat to large and standing out"),
    "skin_melanin": (0, 1, "skin, very fair to very dark"),
    "skin_undertone": (-1, 1, "skin, pink to olive"),
    "ruddiness": (0, 1, "redness of cheeks and nose"),
    "freckles": (0, 1, "freckles, none to many"),
    "eye_spacing": (-1, 1, "eyes, close-set to wide-set"),
    "eye_width": (-1, 1, "eye opening, short to long"),
    "eye_height": (-1, 1, "eye opening, narrow to round"),
    "eye_tilt": (-1, 1, "outer corner, drooping to raised"),
    "eye_depth": (-1, 1, "eyes, bulging to deep-set"),
    "eye_color": (0, 1, "iris, blue through green and hazel to nearly black"),
    "lid_crease": (0, 1, "upper lid, without a crease to a high crease"),
    "brow_height": (-1, 1, "brows, low to high above the eyes"),
    "brow_thickness": (-1, 1, "brows, thin to bushy"),
    "brow_arch": (-1, 1, "brows, straight to arched"),
    "brow_tilt": (-1, 1, "outer end of the brows, low to high"),
    "nose_length": (-1, 1, "nose, short to long"),
    "nose_width": (-1, 1, "wings of the nose, narrow to wide"),
    "nose_bridge": (-1, 1, "bridge, low and broad to high"),
    "nose_tip": (-1, 1, "tip, fine to bulbous"),
    "nose_forward": (-1, 1, "nose in profile, flat to long"),
    "mouth_width": (-1, 1, "mouth, narrow to wide"),
    "mouth_height": (-1, 1, "mouth, near the nose to near the chin"),
    "upper_lip": (-1, 1, "upper lip, thin to full"),
    "lower_lip": (-1, 1, "lower lip, thin to full"),
    "cupids_bow": (0, 1, "dip in the upper lip, flat to deep"),
    "hair_melanin": (0, 1, "hair, fair to black"),
    "hair_red": (0, 1, "hair, without red to red"),
    "hair_curl": (0, 1, "hair, straight to curly"),
    "hair_length": (0, 1, "usual hair length, cropped to below the shoulders"),
    "hairline": (-1, 1, "hairline, low to receding"),
    "beard": (0, 1, "usual beard, none to full"),
    "age": (0, 1, "age, 18 to 80 years: lines, grey hair, softer skin"),
    "mole_x": (-1, 1, "mole, across the face"),
    "mole_y": (-1, 1, "mole, down the face"),
    "mole_size": (0, 1, "mole, none to large"),
    "asymmetry": (-1, 1, "one brow and mouth corner higher than the other"),
}


def _squash(values: Floats) -> Floats:
    """Normal draws to (-1, 1): nearly untouched at the middle, never beyond the ends."""
    return np.asarray(np.tanh(values), dtype=np.float32)


def _share(values: Floats) -> Floats:
    """Normal draws to (0, 1), nearly uniform."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.8 * values), dtype=np.float32)


def sample_traits(count: int, rng: np.random.Generator) -> Floats:
    """Draw people [count, len(TRAITS)]; the first rows do not depend on ``count``.

    Four hidden draws a person tie the traits together as in people: a share of melanin (skin, hair, iris), two
    for ancestry (nose, lids, lips, curl), and one from female to male features (jaw, brows, beard, hair length).

    Example:
        >>> sample_traits(3, np.random.default_rng(0)).shape == (3, len(TRAITS))
        True
    """
    normal = rng.standard_normal((count, len(TRAITS) + 4), dtype=np.float32)
    melanin, south, east, male = (normal[:, len(TRAITS) + k] for k in range(4))
    dark = _share(melanin)
    male = _squash(1.6 * male)
    rows = {name: 0.55 * normal[:, k] for k, name in enumerate(TRAITS)}
    south = _squash(0.6 * south + 1.2 * (dark - 0.5))
    east = _squash(0.9 * east) * (1 - np.abs(2 * dark - 0.8)).clip(0, 1)
    rows["jaw_width"] += 0.5 * male
    rows["chin_width"] += 0.4 * male
    rows["face_length"] += 0.2 * male
    rows["brow_thickness"] += 0.55 * male
    rows["brow_height"] -= 0.4 * male
    rows["brow_arch"] -= 0.35 * male
    rows["nose_width"] += 0.45 * south + 0.1 * male
    rows["nose_bridge"] -= 0.4 * south + 0.4 * east
    rows["nose_forward"] -= 0.35 * east
    rows["upper_lip"] += 0.45 * south - 0.2 * male
    rows["lower_lip"] += 0.4 * south - 0.15 * male
    rows["eye_tilt"] += 0.35 * east
    rows["eye_height"] -= 0.35 * east
    rows["face_width"] += 0.25 * east
    for name, (low, _, _) in TRAITS.items():
        if low < 0:
            rows[name] = _squash(rows[name])
    rows["skin_melanin"] = dark
    rows["ruddiness"] = _share(1.6 * rows["ruddiness"]) * (1 - 0.6 * dark)
    rows["freckles"] = (_share(2.5 * rows["freckles"]) - 0.45).clip(0) * 1.8 * (1 - dark).clip(0, 1)
    rows["eye_color"] = (_share(1.8 * rows["eye_color"]) + 1.7 * dark - 0.45 + 0.5 * np.abs(east)).clip(0, 1)
    rows["lid_crease"] = (_share(1.6 * rows["lid_crease"]) + 0.25 - 0.8 * east.clip(0)).clip(0, 1)
    rows["cupids_bow"] = _share(1.8 * rows["cupids_bow"])
    rows["hair_melanin"] = (_share(1.8 * rows["hair_melanin"]) + 1.5 * dark - 0.35 + 0.6 * east.clip(0)).clip(0, 1)
    rows["hair_red"] = (_share(2.5 * rows["hair_red"]) - 0.5).clip(0) * 2 * (1 - 1.3 * dark).clip(0, 1)
    rows["hair_curl"] = (_share(1.8 * rows["hair_curl"]) * 0.7 + 0.5 * south - 0.3 * east.clip(0)).clip(0, 1)
    rows["hair_length"] = _share(1.2 * rows["hair_length"] - 1.1 * male)
    rows["age"] = _share(2.0 * rows["age"])
    rows["hairline"] = (rows["hairline"] * 0.7 + 0.5 * male * rows["age"]).clip(-1, 1)
    rows["beard"] = ((_share(2.2 * rows["beard"]) - 0.25) * 1.4).clip(0, 1) * (male > 0.05)
    rows["mole_size"] = (_share(2.5 * rows["mole_size"]) - 0.35).clip(0) * 1.5
    return np.stack([np.asarray(rows[name], dtype=np.float32) for name in TRAITS], axis=1)
