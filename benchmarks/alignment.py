"""Aligned crops per second of one core, against OpenCV and scikit-image used one face at a time.

A face is a 250 x 250 photo with five landmarks, as in LFW, or a larger photo of the same face. OpenCV is used as in
most scripts, by ``estimateAffinePartial2D`` and ``warpAffine``, scikit-image by ``SimilarityTransform`` and ``warp``.
Only HyperArc filters before shrinking. Rates are by CPU time, best of ``--rounds`` turns, so that others tell less.

    python benchmarks/alignment.py --faces 64 --json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hyperarc.faces import alignment
from hyperarc.faces.alignment import Pixels, align_faces
from hyperarc.faces.template import TEMPLATES, Floats

Way = Callable[[list[Pixels], Floats], object]
TEMPLATE = TEMPLATES["arcface_112"].points


def photos(count: int, side: int) -> tuple[list[Pixels], Floats]:
    """Random photos whose faces fill 145 of 250 px, each turned and shifted a little."""
    rng = np.random.default_rng(0)
    turn = side / 250 * 1.3 * np.exp(1j * rng.uniform(-0.2, 0.2, (count, 1)))
    place = (TEMPLATE @ (1, 1j) - 56 - 66j) * turn + side / 2 * (1 + 1j) + rng.normal(0, 2, (count, 5))
    images = [rng.integers(0, 256, (side, side, 3), np.uint8) for _ in range(count)]
    return images, np.stack([place.real, place.imag], axis=-1)


def by_opencv(images: list[Pixels], landmarks: Floats) -> npt.NDArray[np.uint8]:
    """One face at a time, as most scripts do it."""
    import cv2

    faces = []
    for image, points in zip(images, landmarks, strict=True):
        matrix, _ = cv2.estimateAffinePartial2D(points, TEMPLATE, method=cv2.LMEDS)
        faces.append(cv2.warpAffine(image, matrix, (112, 112)))
    return np.stack(faces)


def by_skimage(images: list[Pixels], landmarks: Floats) -> npt.NDArray[np.uint8]:
    """One face at a time with scikit-image."""
    from skimage.transform import SimilarityTransform, warp  # type: ignore[import-not-found]

    faces = []
    for image, points in zip(images, landmarks, strict=True):
        fit = SimilarityTransform()
        fit.estimate(points, TEMPLATE)
        faces.append(warp(image, fit.inverse, output_shape=(112, 112), preserve_range=True).astype(np.uint8))
    return np.stack(faces)


def without_opencv(images: list[Pixels], landmarks: Floats) -> npt.NDArray[np.uint8]:
    """HyperArc as where OpenCV is not installed."""
    kept, alignment._opencv = alignment._opencv, lambda: None
    try:
        return align_faces(images, landmarks)
    finally:
        alignment._opencv = kept


def ways() -> dict[str, Way]:
    """What is installed."""
    found: dict[str, Way] = {"hyperarc, numpy": without_opencv}
    if importlib.util.find_spec("cv2"):
        import cv2

        cv2.setNumThreads(1)
        found = {"hyperarc": align_faces, **found, "opencv": by_opencv}
    if importlib.util.find_spec("skimage"):
        found["scikit-image"] = by_skimage
    return found


def measure(side: int, faces: int, rounds: int) -> dict[str, float]:
    """Best rate of each way, taken in turn."""
    images, landmarks = photos(faces, side)
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, way in ways().items():
            start = time.process_time()
            way(images, landmarks)
            best[name] = max(best.get(name, 0.0), faces / (time.process_time() - start))
    return {name: round(rate, 1) for name, rate in best.items()}


def main() -> None:
    """Measure and print one row a size of photo, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--faces", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sides", type=int, nargs="+", default=[250, 500, 1000], help="photos, px")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    where = {"machine": platform.machine(), "threads": 1, "faces": options.faces, "rounds": options.rounds}
    rows = {side: measure(side, options.faces, options.rounds) for side in options.sides}
    if options.json:
        print(json.dumps({"where": where, "faces_per_cpu_s": rows}))
        return
    print(f"faces per second of CPU time, {where}")
    print(f"| photo | {' | '.join(rows[options.sides[0]])} |\n|{'---|' * (1 + len(rows[options.sides[0]]))}")
    for side, row in rows.items():
        print(f"| {side} px | {' | '.join(f'{rate:.0f}' for rate in row.values())} |")


if __name__ == "__main__":
    main()
