"""What `hyperarc check` costs: a pass that only decodes, the pass that also measures, and the search for near copies.

The faces are drawn, or those of ``--data``; both passes run in processes of their own with the same threads. The search
is timed on random descriptors, one in a hundred a noisy copy of another.

    python benchmarks/check.py --data lfw.zip --json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from loader import write_faces

from hyperarc.data.checks.faults import find_faults
from hyperarc.data.checks.picture_hash import near_pairs
from hyperarc.data.checks.statistics import measure_faces
from hyperarc.data.face_set import open_faces
from hyperarc.data.verification import verify_faces


def one_pass(way: str, data: Path, threads: int) -> dict[str, float]:
    """Wall and CPU seconds, and peak memory, of one pass over the faces."""
    faces = open_faces(data)
    start, cpu = time.perf_counter(), time.process_time()
    if way == "decode":
        verify_faces(faces.sources, faces.manifest, threads=threads)
    else:
        measured = measure_faces(faces.reader, np.arange(len(faces)), threads=threads)
        if way == "check":
            find_faults(faces.manifest, measured)
    wall, busy = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"faces": len(faces), "wall_s": round(wall, 2), "cpu_s": round(busy, 2), "peak_mb": round(peak)}


def search(count: int) -> dict[str, float]:
    """Seconds for near copies among so many descriptors, and the share of the copies that is found."""
    rng = np.random.default_rng(0)
    descriptors = rng.normal(0, 30, (count, 256)).clip(-127, 127).astype(np.int8)
    copies = count // 100
    noisy = descriptors[:copies] + rng.normal(0, 3, (copies, 256))
    descriptors[-copies:] = noisy.clip(-127, 127).astype(np.int8)
    start = time.process_time()
    pairs = near_pairs(descriptors)
    seconds = time.process_time() - start
    return {"descriptors": count, "cpu_s": round(seconds, 1), "copies_found": round(len(pairs) / copies, 4)}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Best CPU time of ``--repeats`` turns of each pass, every one in a process of its own."""
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or write_faces(Path(folder), options.faces, "jpeg")
        for _ in range(options.repeats):
            for way in ("decode", "measure", "check"):
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    one = pool.apply(one_pass, (way, data, options.threads))
                if way not in best or one["cpu_s"] < best[way]["cpu_s"]:
                    best[way] = one
    conditions = {name: getattr(options, name) for name in ("threads", "repeats")}
    return {
        **best,
        "ratio": round(best["check"]["cpu_s"] / best["decode"]["cpu_s"], 2),
        "search": search(options.search),
        "conditions": conditions | {"cpus": os.cpu_count(), "machine": platform.machine()},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, help="faces; default drawn JPEG files")
    parser.add_argument("--faces", type=int, default=2048)
    parser.add_argument("--search", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    result = measure(options)
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:12} {value}")


if __name__ == "__main__":
    main()
