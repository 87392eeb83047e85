"""Steps of an inversion against a bare loop of forward, backward and Adam, side by side.

HyperArc's step goes towards embeddings with all its priors: BatchNorm statistics, total variation, length, shifts and
flips. The bare loop has the same distance of embeddings and no prior at all; ``plain`` runs it as torch is shipped,
``switched`` under the switches of HyperArc's command line (huge pages, freed memory kept, channels last). Every side
runs in processes of its own, which take turns; CPU seconds of a step, medians without each process's first.

    python benchmarks/inversion.py --backbone mbf --batch 64 --json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

DIM = 512
SIDES = ("hyperarc", "switched", "plain")


def our_step(backbone: str, batch: int) -> Callable[[], Any]:
    """A step of HyperArc's search."""
    import torch

    from hyperarc.backbones import create_backbone
    from hyperarc.contract import Contract
    from hyperarc.inversion import EmbeddingGoal, Inversion, Search

    torch.manual_seed(0)
    model = create_backbone(backbone, embedding_dim=DIM).to(memory_format=torch.channels_last)
    goal = EmbeddingGoal(torch.randn(batch, DIM))
    search = Inversion(model, Contract(embedding_dim=DIM), goal, Search(iterations=10_000))
    return lambda: search.run(1)


def bare_step(backbone: str, batch: int, channels_last: bool) -> Callable[[], Any]:
    """Forward, backward and Adam, without priors."""
    import torch
    from torch.nn.functional import normalize

    from hyperarc.backbones import create_backbone

    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = create_backbone(backbone, embedding_dim=DIM).eval().requires_grad_(False).to(memory_format=layout)
    targets = normalize(torch.randn(batch, DIM))
    images = torch.randn(batch, 3, 112, 112).contiguous(memory_format=layout).requires_grad_()
    optimizer = torch.optim.Adam([images], lr=0.1)

    def step() -> None:
        optimizer.zero_grad()
        (normalize(model(images)) - targets).square().sum(dim=1).mean().backward()
        optimizer.step()

    return step


def worker(side: str, options: argparse.Namespace) -> None:
    """One process's share: print the CPU seconds of its steps and its peak memory."""
    import torch

    torch.set_num_threads(options.threads)
    if side != "plain":
        from hyperarc.training.hardware import keep_freed_memory

        keep_freed_memory()
    name, batch = options.backbone, options.batch
    step = our_step(name, batch) if side == "hyperarc" else bare_step(name, batch, side == "switched")
    seconds = []
    for _ in range(options.steps + 1):
        begun = time.process_time()
        step()
        seconds.append(time.process_time() - begun)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds[1:], "peak_mb": peak_mb}))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All sides in turn, ``rounds`` times."""
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    peak = dict.fromkeys(SIDES, 0.0)
    for _ in range(options.rounds):
        for side in SIDES:
            command = [sys.executable, __file__, "--side", side]
            for name in ("backbone", "batch", "steps", "threads"):
                command += [f"--{name}", str(getattr(options, name))]
            switches = {} if side == "plain" else {"THP_MEM_ALLOC_ENABLE": "1"}
            out = subprocess.run(command, env={**os.environ, **switches}, check=True, capture_output=True, text=True)
            told = json.loads(out.stdout.splitlines()[-1])
            seconds[side] += told["seconds"]
            peak[side] = max(peak[side], told["peak_mb"])
    median = {side: statistics.median(values) for side, values in seconds.items()}
    row: dict[str, Any] = {"backbone": options.backbone, "batch": options.batch, "threads": options.threads}
    for side in SIDES:
        row |= {f"{side}_s": round(median[side], 3), f"{side}_peak_mb": round(peak[side])}
    row |= {f"ratio_to_{side}": round(median[side] / median["hyperarc"], 3) for side in SIDES[1:]}
    return row


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="mbf")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        worker(options.side, options)
        return
    row = measure(options)
    if options.json:
        print(json.dumps(row))
        return
    for name, value in row.items():
        print(f"{name:20} {value}")


if __name__ == "__main__":
    main()
