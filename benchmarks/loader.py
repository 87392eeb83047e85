"""Faces per second of the loader, against a plain torch Dataset that opens files with Pillow.

Both read the same drawn 112 x 112 faces in one run: HyperArc from one zip, the plain data set from a folder,
the way most training scripts do it (Pillow, to tensor, float, normalised, default collation).
The ratio is what to look at; the absolute numbers are this machine's.

    python benchmarks/loader.py --format jpeg --workers 0 --json
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from hyperarc.data.loader import Loader
from hyperarc.data.order import BatchOrder
from hyperarc.data.sources import ZipSource

SIDE = 112


class PlainDataset(Dataset[tuple[torch.Tensor, int]]):
    """The usual data set: a list of paths, one picture opened at a time."""

    def __init__(self, root: Path) -> None:
        self.paths = sorted(root.rglob("*.*"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        pixels = np.array(Image.open(self.paths[index]).convert("RGB"))
        if torch.rand(()) < 0.5:
            pixels = pixels[:, ::-1].copy()
        tensor = torch.from_numpy(pixels).permute(2, 0, 1).float().div(255).sub(0.5).div(0.5)
        return tensor, int(self.paths[index].parent.name)


def write_faces(folder: Path, count: int, kind: str) -> Path:
    """The same smooth random pictures as a zip and as a folder; returns the zip."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "faces.zip", "w") as archive:
        for i in range(count):
            coarse = Image.fromarray(rng.integers(0, 256, (14, 14, 3), np.uint8))
            buffer = io.BytesIO()
            coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, kind, quality=90)
            name = f"{i % 10}/{i}.{kind}"
            archive.writestr(name, buffer.getvalue())
            (folder / "plain" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "plain" / name).write_bytes(buffer.getvalue())
    return folder / "faces.zip"


def faces_per_second(batches: Any, count: int) -> float:
    """Consume an iterable of batches once."""
    start = time.perf_counter()
    for _ in batches:
        pass
    return count / (time.perf_counter() - start)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Best of ``--repeats`` passes of each, taken in turn so that both see the same machine."""
    best = {"hyperarc": 0.0, "hyperarc_cached": 0.0, "plain": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        source = ZipSource(write_faces(Path(folder), options.faces, options.format))
        manifest = source.scan()
        order = BatchOrder(len(manifest), options.batch)
        count = order.batches_per_epoch * options.batch
        settings = {"workers": options.workers}
        loader = Loader(source, manifest, order, **settings)
        cached = Loader(source, manifest, order, cache_bytes=2**31, **settings)
        plain = DataLoader(
            PlainDataset(Path(folder, "plain")),
            batch_size=options.batch,
            shuffle=True,
            drop_last=True,
            num_workers=options.workers,
        )
        faces_per_second(cached, count)  # fills the cache
        for _ in range(options.repeats):
            for name, batches in (("hyperarc", loader), ("hyperarc_cached", cached), ("plain", plain)):
                best[name] = max(best[name], faces_per_second(batches, count))
    return {
        **{f"{name}_faces_per_s": round(value, 1) for name, value in best.items()},
        "ratio": round(best["hyperarc"] / best["plain"], 2),
        "ratio_cached": round(best["hyperarc_cached"] / best["plain"], 2),
        "conditions": {
            **{name: getattr(options, name) for name in ("format", "faces", "batch", "workers", "repeats")},
            "cpus": os.cpu_count(),
            "machine": platform.machine(),
            "torch": torch.__version__,
        },
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--format", choices=["jpeg", "webp"], default="jpeg")
    parser.add_argument("--faces", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    result = measure(options)
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:30} {value}")


if __name__ == "__main__":
    main()
