"""Augmented faces per second of one core, against Pillow and NumPy one face at a time, as loaders mostly do it.

Both start from uint8 faces in memory and end with them. Each augmentation is measured on every face (p = 1), the
presets as they are. Rates are by CPU time, best of ``--rounds`` turns over several batches, both ways in turn.

    python benchmarks/augmentation.py --batch 128 --json
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageEnhance, ImageFilter

from hyperarc.data.drawn import draw_set
from hyperarc.faces.augmentation.augmenter import Augmenter
from hyperarc.recipe.augmentation import Augmentation

Pictures = npt.NDArray[np.uint8]
Change = Callable[[Pictures, np.random.Generator], Pictures]
FILTERS = [Image.Resampling[name] for name in ("NEAREST", "BILINEAR", "BOX", "BICUBIC", "LANCZOS")]


def crop(face: Pictures, rng: np.random.Generator) -> Pictures:
    """A rectangle in place, the rest black."""
    size = len(face)
    while True:
        area, aspect = rng.uniform(0.2, 1.0) * size**2, np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        wide, tall = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if wide <= size and tall <= size:
            break
    top, left = rng.integers(size - tall + 1), rng.integers(size - wide + 1)
    black = np.zeros_like(face)
    black[top : top + tall, left : left + wide] = face[top : top + tall, left : left + wide]
    return black


def low_resolution(face: Pictures, rng: np.random.Generator) -> Pictures:
    """Down and up, each by a random filter."""
    side = int(rng.uniform(0.2, 1.0) * len(face))
    down, up = rng.integers(len(FILTERS), size=2)
    small = Image.fromarray(face).resize((side, side), FILTERS[down])
    return np.asarray(small.resize((len(face), len(face)), FILTERS[up]))


def color(face: Pictures, rng: np.random.Generator) -> Pictures:
    """Brightness, contrast, saturation in random order."""
    image = Image.fromarray(face)
    for place in rng.permutation(3):
        kind = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[place]
        image = kind(image).enhance(rng.uniform(0.5, 1.5))
    return np.asarray(image)


def blur(face: Pictures, rng: np.random.Generator) -> Pictures:
    """Gaussian, which Pillow approximates by boxes."""
    return np.asarray(Image.fromarray(face).filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 2.0))))


def gray(face: Pictures, rng: np.random.Generator) -> Pictures:
    """Gray in three channels."""
    return np.asarray(Image.fromarray(face).convert("L").convert("RGB"))


def jpeg(face: Pictures, rng: np.random.Generator) -> Pictures:
    """Written to memory and read again."""
    buffer = io.BytesIO()
    Image.fromarray(face).save(buffer, "JPEG", quality=int(rng.integers(30, 96)), subsampling=2)
    return np.asarray(Image.open(buffer))


def occlusion(face: Pictures, rng: np.random.Generator) -> Pictures:
    """A gray square."""
    half = int(rng.uniform(0.1, 0.25) * len(face))
    y, x = rng.integers(len(face), size=2)
    covered = face.copy()
    covered[max(y - half, 0) : y + half, max(x - half, 0) : x + half] = 128
    return covered


PLAIN: dict[str, Change] = {
    "crop": crop, "low_resolution": low_resolution, "color": color, "blur": blur, "gray": gray, "jpeg": jpeg,
    "occlusion": occlusion,
}  # fmt: skip


def one_at_a_time(faces: Pictures, names: dict[str, float], rng: np.random.Generator) -> Pictures:
    """The plain way: each face through each change with its probability."""
    done = []
    for face in faces:
        for name, p in names.items():
            if rng.random() < p:
                face = PLAIN[name](face, rng)
        done.append(face)
    return np.stack(done)


def measure(faces: Pictures, section: Augmentation, rounds: int, batches: int) -> dict[str, float | None]:
    """Best rate of both ways, in turn; the plain one where there is such."""
    crops = torch.from_numpy(faces).permute(0, 3, 1, 2)
    augmenter, names = Augmenter(section, 0), {name: step.p for name, step in section.steps().items()}
    ways: dict[str, Callable[[int], object]] = {"hyperarc": lambda step: augmenter(crops, step)}
    if names.keys() <= PLAIN.keys():
        ways["plain"] = lambda step: one_at_a_time(faces, names, np.random.default_rng(step))
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            for step in range(batches):
                way(step)
            best[name] = max(best.get(name, 0.0), batches * len(faces) / (time.process_time() - start))
    return {"hyperarc": round(best["hyperarc"]), "plain": round(best["plain"]) if "plain" in best else None}


def main() -> None:
    """Measure and print one row an augmentation, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=4, help="steps of a round")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    torch.set_num_threads(1)
    faces = np.resize(draw_set(people=8, faces_per_person=8, seed=0).images, (options.batch, 112, 112, 3))
    known = (*PLAIN, "sunglasses", "mask")
    sections = {name: Augmentation.model_validate(name) for name in ("adaface", "arcface_torch_dali", "occluded")}
    sections |= {f"{name}, every face": Augmentation.model_validate({name: {"p": 1.0}}) for name in known}
    rows = {name: measure(faces, section, options.rounds, options.batches) for name, section in sections.items()}
    where = {"machine": platform.machine(), "threads": 1, "batch": options.batch, "rounds": options.rounds}
    if options.json:
        print(json.dumps({"where": where, "faces_per_cpu_s": rows}))
        return
    print(f"faces per second of CPU time, {where}")
    print("| augmentation | HyperArc | one at a time | ratio |\n|---|---|---|---|")
    for name, row in rows.items():
        fast, slow = row["hyperarc"] or 0, row["plain"]
        print(f"| {name} | {fast} | {slow or '-'} | {f'{fast / slow:.1f}' if slow else '-'} |")


if __name__ == "__main__":
    main()
