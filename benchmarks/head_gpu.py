"""One head step on a GPU, ArcFace, bf16 products: the fused sweep beside the chunked, dense torch and torch.compile.

Every contender runs in a process of its own: medians of seconds a step by the GPU's own clock, the share of the rate of
a plain bf16 product of the same depth, counted on three products (6 B C d operations), and the most memory beyond
weights and gradient. ``fused_update`` moves the centers by SGD with momentum in the backward pass, so that 29 million
of them should fit one GPU of 141 GB; its memory is counted beyond weights and momentum. What does not fit says so.

    python benchmarks/head_gpu.py --classes 100000 1000000 10000000 29000000 --json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

NAMES = ["dense", "compiled", "chunked", "fused", "fused_update"]


def measure_one(options: argparse.Namespace) -> dict[str, Any]:
    """What one contender takes, in this process."""
    import torch

    import hyperarc
    from hyperarc.heads.sweep import UpdateInBackward

    torch.manual_seed(1)
    name, (classes,), batch, dim = options.worker, options.classes, options.batch, options.dim
    sweep = {"sweep": name.removesuffix("_update"), "precision": "bf16", "memory_mb": options.memory_mb}
    size = {"num_classes": classes, "embedding_dim": dim}
    head = hyperarc.create_head("arcface", **size, **(sweep if name in NAMES[2:] else {})).cuda()
    labels = torch.randint(classes, (batch,), device="cuda")
    weight = head.centers.weight
    own = torch.nn.functional.normalize(weight.detach()[labels, 0], dim=1)
    embeddings = (20 * (own + torch.randn(batch, dim, device="cuda") / dim**0.5)).requires_grad_()
    held = 2 * weight.nbytes
    if name == "fused_update":
        head.update = UpdateInBackward(torch.optim.SGD([weight], lr=1e-6, momentum=0.9, fused=True), weight)
    loss = _loss(name, head, embeddings, labels)
    rate, out = _product_rate(batch, dim), 0.0
    for _ in range(2):  # tunes and compiles
        out = _step(loss, embeddings, weight)
    torch.cuda.reset_peak_memory_stats()
    seconds = [_seconds(lambda: _step(loss, embeddings, weight)) for _ in range(options.steps)]
    peak = torch.cuda.max_memory_allocated() - held
    return {"seconds": seconds, "product_tflops": rate / 1e12, "peak_mb": peak / 1e6, "loss": out}


def _loss(name: str, head: Any, embeddings: Any, labels: Any) -> Callable[[], Any]:
    import torch
    from head import MARGIN, SCALE
    from torch.nn import functional as F

    if name in NAMES[2:]:
        return lambda: head(embeddings, labels).loss

    def dense(centers: Any) -> Any:
        cosine = F.linear(F.normalize(embeddings), F.normalize(centers)).float().clamp(-1, 1)
        own = cosine.gather(1, labels[:, None])
        target = torch.cos(torch.acos(own.clamp(-1 + 1e-7, 1 - 1e-7)) + MARGIN)
        return F.cross_entropy(SCALE * cosine.scatter(1, labels[:, None], target), labels)

    made = torch.compile(dense) if name == "compiled" else dense

    def loss() -> Any:
        with torch.autocast("cuda", torch.bfloat16):
            return made(head.centers.weight[:, 0])

    return loss


def _step(loss: Callable[[], Any], embeddings: Any, weight: Any) -> float:
    value = loss()
    value.backward()
    embeddings.grad = weight.grad = None
    return float(value.detach())


def _seconds(work: Callable[[], object]) -> float:
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1e3


def _product_rate(batch: int, dim: int) -> float:
    """Operations a second of a plain product, best of some."""
    import torch

    left, right = (torch.randn(n, dim, device="cuda", dtype=torch.bfloat16) for n in (batch, 65536))
    best = min(_seconds(lambda: torch.mm(left, right.T)) for _ in range(20))
    return 2 * batch * dim * 65536 / best


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All contenders at all sizes."""
    rows = []
    for classes in options.classes:
        for name in options.only:
            command = [sys.executable, __file__, "--worker", name, "--classes", str(classes)]
            for key in ("batch", "dim", "steps", "memory_mb"):
                command += ["--" + key.replace("_", "-"), str(getattr(options, key))]
            done = subprocess.run(command, capture_output=True, text=True)
            row: dict[str, Any] = {"classes": classes, "contender": name}
            if done.returncode:
                if "OutOfMemoryError" not in done.stderr:
                    raise SystemExit(f"{name}: {done.stderr[-2000:]}")
                rows.append(row | {"skipped": "does not fit"})
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            seconds = statistics.median(found["seconds"])
            share = 6 * options.batch * classes * options.dim / seconds / 1e12 / found["product_tflops"]
            rows.append(row | found | {"seconds": seconds, "share": share})
        losses = [row["loss"] for row in rows if row["classes"] == classes and "loss" in row]
        assert not losses or max(losses) - min(losses) < 0.02 * max(losses), losses
    return rows


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--steps", type=int, default=10, help="timed steps, after two others")
    parser.add_argument("--memory-mb", type=float, default=256.0, help="of the sweeps")
    parser.add_argument("--only", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--worker", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("head_gpu.py: skipped, as there is no CUDA device")
        return
    if options.worker:
        print(json.dumps(measure_one(options)))
        return
    rows = measure(options)
    if options.json:
        print(json.dumps({**vars(options), "device": torch.cuda.get_device_name(), "rows": rows}, indent=2))
        return
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, B={options.batch} d={options.dim}")
    print("| classes | head | s/step | of the product's rate | peak MB |\n|---|---|---|---|---|")
    for row in rows:
        figures = row.get("skipped") or f"{row['seconds']:.4f} | {100 * row['share']:.0f} % | {row['peak_mb']:.0f}"
        print(f"| {row['classes']:,} | {row['contender']} | {figures} |")


if __name__ == "__main__":
    main()
