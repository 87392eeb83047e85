"""One head step, ArcFace, forward and backward over all classes: HyperArc's sweep beside what one would use otherwise.

Every contender runs in processes of its own, as switches such as huge pages are set before torch loads; processes take
turns, and each measures the rate of a plain matrix product between its steps. Reported are medians: seconds a step (CPU
seconds with one thread, which other programs disturb less), the share of that product's rate on three products (6 B C d
operations), and the peak of resident memory above weights and gradient. All must agree on the loss first.

    python benchmarks/head.py --classes 100000 --batch 512 --json
    python benchmarks/head.py --classes 1000000 --batch 128 --memory-mb 272 --rounds 1

Contenders: ``plain`` is normalize, product, margin, cross-entropy, as arcface_torch has it, with torch's default
switches; ``plain_switched`` the same with huge pages and freed memory kept; ``compiled`` that under torch.compile, in
bf16 where the processor has it; ``pml`` the ArcFaceLoss of pytorch-metric-learning as shipped, where it is installed.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SWITCHED = {"plain_switched", "compiled", "hyperarc_fp32", "hyperarc_bf16"}
NAMES = ["plain", "plain_switched", "compiled", "pml", "hyperarc_fp32", "hyperarc_bf16"]
SCALE, MARGIN = 64.0, 0.5


def measure_one(options: argparse.Namespace) -> dict[str, Any]:
    """What one contender takes, in this process."""
    import torch

    from hyperarc.heads.sweep.precision import choose_precision, has_bf16
    from hyperarc.training.hardware import keep_freed_memory

    name = options.worker
    torch.set_num_threads(options.threads)
    if name in SWITCHED:
        torch.set_float32_matmul_precision(options.matmul)
        keep_freed_memory()
    dtype = "bf16" if name == "compiled" and has_bf16("cpu") else "fp32"
    if name == "hyperarc_bf16":
        dtype = "bf16" if choose_precision("bf16", "cpu").product else "fp32, bf16 kept"
    step, gradient_bytes = _contender(name, options, dtype)
    rate = _product_rate(options, dtype)
    loss = step()  # touches its memory, and compiles
    ctypes.CDLL(None).malloc_trim(0)
    idle = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    seconds, rates = [], []
    for _ in range(options.steps):
        rates.append(rate())
        start = _clock(options)
        step()
        seconds.append(_clock(options) - start)
    return {
        "seconds": seconds,
        "gflops": rates,
        "loss": loss,
        "peak_mb": (_resident("VmHWM") - idle - gradient_bytes) / 1e6,
        "dtype": dtype,
    }


def _contender(name: str, options: argparse.Namespace, dtype: str) -> tuple[Callable[[], float], int]:
    """A step that answers the loss and drops its gradients, and the bytes of the centers' gradient."""
    import torch

    import hyperarc

    size = {"num_classes": options.classes, "embedding_dim": options.dim}
    precision = {"memory_mb": options.memory_mb, "precision": name.removeprefix("hyperarc_")}
    head = hyperarc.create_head("arcface", **size, **(precision if name.startswith("hyperarc") else {}))
    weight, generator = head.centers.weight, torch.Generator().manual_seed(1)
    labels = torch.randint(options.classes, (options.batch,), generator=generator)
    # embeddings that lean to their centers, as after some training: hard negatives are then few, targets easy
    own = torch.nn.functional.normalize(weight.detach()[labels, 0], dim=1)
    noise = torch.randn(options.batch, options.dim, generator=generator) / options.dim**0.5
    embeddings = (20 * (own + noise)).requires_grad_()
    if name == "pml":
        from pytorch_metric_learning.losses import ArcFaceLoss

        pml = ArcFaceLoss(options.classes, options.dim, margin=math.degrees(MARGIN), scale=SCALE)
        with torch.no_grad():
            pml.W.copy_(weight[:, 0].T)
        del head, weight
        return _step(lambda: pml(embeddings, labels), [embeddings, pml.W]), pml.W.nbytes
    if name.startswith("hyperarc"):
        return _step(lambda: head(embeddings, labels).loss, [embeddings, weight]), weight.nbytes
    centers = weight.detach()[:, 0].requires_grad_()
    dense = torch.compile(_dense) if name == "compiled" else _dense

    def loss() -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
            return dense(embeddings, centers, labels)

    return _step(loss, [embeddings, centers]), centers.nbytes


def _dense(embeddings: Any, centers: Any, labels: Any) -> Any:
    """ArcFace as most write it."""
    import torch
    import torch.nn.functional as F

    cosine = F.linear(F.normalize(embeddings), F.normalize(centers)).float().clamp(-1, 1)
    own = cosine.gather(1, labels[:, None])
    target = torch.cos(torch.acos(own.clamp(-1 + 1e-7, 1 - 1e-7)) + MARGIN)
    return F.cross_entropy(SCALE * cosine.scatter(1, labels[:, None], target), labels)


def _step(loss: Callable[[], Any], leaves: list[Any]) -> Callable[[], float]:
    def step() -> float:
        value = loss()
        value.backward()
        for leaf in leaves:
            leaf.grad = None
        return float(value.detach())

    return step


def _product_rate(options: argparse.Namespace, dtype: str) -> Callable[[], float]:
    """Measures GFLOP/s of a plain product of the sweep's kind."""
    import torch

    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    left, right = torch.randn(options.batch, options.dim).to(kind), torch.randn(8192, options.dim).to(kind)
    out = torch.empty(options.batch, 8192, dtype=kind)

    def rate() -> float:
        start = _clock(options)
        for _ in range(16):
            torch.mm(left, right.T, out=out)
        return 16 * 2 * options.batch * options.dim * 8192 / (_clock(options) - start) / 1e9

    rate()
    return rate


def _clock(options: argparse.Namespace) -> float:
    return time.process_time() if options.threads == 1 else time.perf_counter()


def _resident(field: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All contenders in turns, and what their processes say."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in options.only}
    for _ in range(options.rounds):
        for name in options.only:
            environment = os.environ | {"THP_MEM_ALLOC_ENABLE": "1" if name in SWITCHED else "0"}
            command = [sys.executable, __file__, "--worker", name]
            for key in ("classes", "batch", "dim", "steps", "threads", "memory_mb", "matmul"):
                command += ["--" + key.replace("_", "-"), str(getattr(options, key))]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{name}: {done.stderr[-2000:]}")
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    losses = [run["loss"] for runs in found.values() for run in runs]
    assert max(losses) - min(losses) < 0.02 * max(losses), losses
    return [_row(name, runs, options) for name, runs in found.items()]


def _row(name: str, runs: list[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    seconds = [s for run in runs for s in run["seconds"]]
    floors = [6 * options.batch * options.classes * options.dim / g / 1e9 for run in runs for g in run["gflops"]]
    return {
        "contender": name,
        "switches": f"huge pages, kept heap, {options.matmul}" if name in SWITCHED else "torch's defaults",
        "dtype": runs[0]["dtype"],
        "seconds": statistics.median(seconds),
        "best_seconds": min(seconds),
        "share": statistics.median([f / s for f, s in zip(floors, seconds, strict=True)]),
        "peak_mb": max(run["peak_mb"] for run in runs),
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=2, help="processes of each contender")
    parser.add_argument("--steps", type=int, default=3, help="timed steps of a process, after its first")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-mb", type=float, default=176.0, help="of the sweep")
    parser.add_argument("--matmul", choices=("highest", "medium"), default="highest", help="where switches are on")
    parser.add_argument("--only", nargs="*", choices=NAMES, help="default: all that are installed")
    parser.add_argument("--worker", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure_one(options)))
        return
    there = importlib.util.find_spec("pytorch_metric_learning") is not None
    options.only = options.only or [name for name in NAMES if name != "pml" or there]
    rows = measure(options)
    if options.json:
        print(json.dumps({**vars(options), "rows": rows}, indent=2))
        return
    kind = "CPU" if options.threads == 1 else "wall"
    size = f"B={options.batch} C={options.classes:,} d={options.dim}"
    print(f"{size}, {options.threads} threads, {options.memory_mb:g} MiB for the sweep")
    print(f"| head | switches | numbers | {kind} s/step | of the product's rate | peak MB |\n|---|---|---|---|---|---|")
    for row in rows:
        figures = f"{row['seconds']:.2f} | {100 * row['share']:.0f} % | {row['peak_mb']:.0f}"
        print(f"| {row['contender']} | {row['switches']} | {row['dtype']} | {figures} |")


if __name__ == "__main__":
    main()
