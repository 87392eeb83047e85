"""Data on its way to the loader: a manifest of a million rows, random reads of a .rec, and decoders.

The manifest is opened and streamed in a process of its own, whose highest memory is told. Random reads go through every
record of one file once, in an order that both readers share; the plain reader seeks and reads with one open file, as
MXNet's own reader in Python does. Decoders get the same drawn faces as JPEG and WebP, quality 90, from memory.
Figures are the best of ``--rounds`` turns, taken in turn.

    python benchmarks/data.py --rows 1000000 --json
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import json
import os
import platform
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hyperarc.data.drawn import draw_set
from hyperarc.data.formats.list_columns import fixed_points
from hyperarc.data.formats.record_writer import RecordWriter
from hyperarc.data.formats.records import RecordSource
from hyperarc.data.manifest import manifest_of
from hyperarc.faces.image import decode

OPENING = """
import json, sys, time
from hyperarc.data.manifest import read_manifest
start = time.perf_counter()
manifest = read_manifest(sys.argv[1])
opened = time.perf_counter()
faces = sum(1 for _ in manifest.rows)
streamed = time.perf_counter()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))  # rusage would count the parent's memory, too
peak = int(status["VmHWM"].split()[0]) / 1024
print(json.dumps({"open_s": opened - start, "stream_s": streamed - opened, "peak_mb": peak, "faces": faces}))
"""


def manifest_figures(folder: Path, rows: int, rounds: int) -> dict[str, float]:
    """Seconds to open and to go through a manifest with landmarks, and the process's highest memory in MiB."""
    faces = [f"{row // 50:07d}/{row:08d}.jpg" for row in range(rows)]
    people = [face.partition("/")[0] for face in faces]
    points = np.random.default_rng(0).random((rows, 10), np.float32) * 112
    manifest = manifest_of(faces, people, source="web", size=(112, 112))
    landmarks = fixed_points(points, np.zeros(rows, np.bool_))
    manifest.with_columns(landmarks=landmarks).write(folder / "manifest.parquet")
    words = [sys.executable, "-c", OPENING, str(folder / "manifest.parquet")]
    told = [json.loads(subprocess.check_output(words)) for _ in range(rounds)]
    assert all(one["faces"] == rows for one in told)
    best = {name: round(min(one[name] for one in told), 2) for name in ("open_s", "stream_s")}
    return {**best, "peak_mb": round(max(one["peak_mb"] for one in told))}


def plain_reads(path: Path, index: dict[int, int], keys: Iterable[int]) -> Iterator[bytes]:
    """Payloads by key, by seeking and reading."""
    with open(path, "rb") as file:
        for key in keys:
            file.seek(index[key])
            _, word = struct.unpack("<II", file.read(8))
            data = file.read(word & (2**29 - 1))
            flag, _, _, _ = struct.unpack("<IfQQ", data[:24])
            yield data[24 + 4 * flag :]


def record_figures(folder: Path, records: int, rounds: int) -> dict[str, float]:
    """Records a second read in random order, by the plain reader and by the source."""
    rng = np.random.default_rng(0)
    with RecordWriter(folder) as writer:
        for number in range(records):
            writer.add(number, float(number // 20), b"\xff\xd8\xff" + rng.bytes(int(rng.integers(3000, 7000))))
    source = RecordSource(folder)
    order = rng.permutation(records)
    keys = source.scan().faces(order)
    index = dict(np.loadtxt(folder / "train.idx", np.int64).tolist())
    numbers = order.tolist()
    assert list(plain_reads(source.path, index, numbers[:50])) == [source.read(key) for key in keys[:50]]
    readers = {
        "plain": lambda: sum(map(len, plain_reads(source.path, index, numbers))),
        "hyperarc": lambda: sum(len(source.read(key)) for key in keys),
    }
    rates = best_rates(readers, records, rounds)
    return {**{f"{name}_records_per_s": rate for name, rate in rates.items()}, "ratio": ratio(rates)}


def decode_figures(kind: str, rounds: int) -> dict[str, float]:
    """Pictures a second decoded to RGB, one thread."""
    faces = draw_set(people=16, faces_per_person=16, seed=0)
    files = []
    for pixels in faces.images:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind, quality=90)
        files.append(buffer.getvalue())
    readers: dict[str, Callable[[], object]] = {
        "hyperarc": lambda: [decode(data) for data in files],
        "pillow": lambda: [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in files],
    }
    try:
        import cv2

        def with_opencv() -> list[Any]:
            return [cv2.cvtColor(cv2.imdecode(np.frombuffer(d, np.uint8), 1), cv2.COLOR_BGR2RGB) for d in files]

        cv2.setNumThreads(1)
        assert np.abs(with_opencv()[0].astype(int) - decode(files[0])).mean() < 2
        readers["opencv"] = with_opencv
    except ImportError:
        pass
    return {f"{name}_per_s": rate for name, rate in best_rates(readers, len(files), rounds).items()}


def best_rates(readers: dict[str, Callable[[], object]], count: int, rounds: int) -> dict[str, float]:
    """Best rate of each, one after the other in each round."""
    best = dict.fromkeys(readers, 0.0)
    for _ in range(rounds):
        for name, read in readers.items():
            start = time.perf_counter()
            read()
            best[name] = max(best[name], count / (time.perf_counter() - start))
    return {name: round(rate) for name, rate in best.items()}


def ratio(rates: dict[str, float]) -> float:
    """HyperArc's rate to the plain one."""
    return round(rates["hyperarc"] / rates["plain"], 2)


def versions() -> dict[str, str]:
    """Of what decodes and reads."""
    found = {}
    for name in ("pyarrow", "pillow", "simplejpeg", "opencv-python-headless"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result: dict[str, Any] = {
            "manifest": manifest_figures(Path(folder), options.rows, options.rounds),
            "rec": record_figures(Path(folder), options.records, options.rounds),
            "jpeg": decode_figures("JPEG", options.rounds),
            "webp": decode_figures("WEBP", options.rounds),
        }
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    sizes = {name: getattr(options, name) for name in ("rows", "records", "rounds")}
    result["conditions"] = {**sizes, **machine, **versions()}
    if options.json:
        print(json.dumps(result))
        return
    for name, figures in result.items():
        print(name, *(f"  {what:24} {value}" for what, value in figures.items()), sep="\n")


if __name__ == "__main__":
    main()
