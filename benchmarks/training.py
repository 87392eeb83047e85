"""Training faces per second and peak memory, against the same model in a minimal plain PyTorch loop.

Both sides train the same backbone with ArcFace on the same random faces, alternately and each in a process of its own:
HyperArc with its real loop (loader, augmentation by flips, chunked head, log, gradient clipping), the plain loop as
most scripts write it (tensors ready in memory, dense head, default SGD). The ratio is what to look at.

    python benchmarks/training.py --backbone mbf --batch 64 --json
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PEOPLE, DIM = 1000, 512


def plain_steps(backbone: str, batch: int, steps: int) -> Iterator[float]:
    """Seconds of each step of the loop that every tutorial shows."""
    import torch
    import torch.nn.functional as F

    from hyperarc.backbones import create_backbone

    torch.manual_seed(0)
    model = create_backbone(backbone, embedding_dim=DIM).train()
    weight = torch.nn.Parameter(torch.randn(PEOPLE, DIM) * 0.01)
    optimizer = torch.optim.SGD([*model.parameters(), weight], lr=0.01, momentum=0.9, weight_decay=5e-4)
    faces = torch.randint(0, 256, (batch * 2, 3, 112, 112), dtype=torch.uint8)
    labels = torch.arange(batch * 2) % PEOPLE
    for step in range(steps):
        start = time.perf_counter()
        part = slice(batch * (step % 2), batch * (step % 2) + batch)
        images = faces[part].float().div(127.5).sub(1)
        cosine = F.linear(F.normalize(model(images)), F.normalize(weight)).clamp(-1 + 1e-6, 1 - 1e-6)
        own = F.one_hot(labels[part], PEOPLE).bool()
        logits = 64 * torch.where(own, torch.cos(cosine.acos() + 0.5), cosine)
        loss = F.cross_entropy(logits, labels[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield time.perf_counter() - start


def our_steps(backbone: str, batch: int, steps: int) -> Iterator[float]:
    """Seconds of each step of HyperArc's loop."""
    import numpy as np

    from hyperarc.commands.show import Show
    from hyperarc.commands.train import new_state
    from hyperarc.contract import Contract
    from hyperarc.data.loader import Loader
    from hyperarc.data.order import BatchOrder
    from hyperarc.data.sources import ArraySource
    from hyperarc.recipe.file import parse_recipe
    from hyperarc.training.checkpoint import Checkpoints
    from hyperarc.training.hardware import choose_hardware
    from hyperarc.training.loop import Plan, train
    from hyperarc.training.watch import JsonLog

    content = {
        "name": "bench",
        "data": {"drawn": {"people": 2}},
        "backbone": {"name": backbone, "embedding_dim": DIM},
        "training": {"batch_size": batch, "checkpoint_every": 10**6, "checkpoint_every_s": 1e9},
        "optimizer": {"lr": 0.01},
    }
    recipe = parse_recipe(content, where="bench")
    hardware = choose_hardware(recipe.training)
    images = np.random.default_rng(0).integers(0, 256, (batch * 2, 112, 112, 3), np.uint8)
    source = ArraySource(images, [f"{i % PEOPLE:04d}" for i in range(batch * 2)])
    state = new_state(recipe, PEOPLE, hardware)
    loader = Loader(source, source.scan(), BatchOrder(batch * 2, batch), stop_step=steps)
    plan = Plan(recipe, Contract(embedding_dim=DIM), hardware, steps + 1, lambda step: 1.0, lambda batch: [])
    with tempfile.TemporaryDirectory() as folder, Show(quiet=True).steps(steps, 0, "bench") as bar:
        log = JsonLog(Path(folder) / "log.jsonl", 0)
        stamps = [time.perf_counter()]
        stamp = _Stamps(stamps)
        train(state, plan, loader, [log, bar, stamp], Checkpoints(Path(folder), recipe))
        log.close()
    yield from (later - sooner for sooner, later in itertools.pairwise(stamps))


class _Stamps:
    def __init__(self, stamps: list[float]) -> None:
        self.stamps = stamps

    def __call__(self, row: Any) -> None:
        self.stamps.append(time.perf_counter())

    def close(self) -> None:
        """Nothing to close."""


def worker(side: str, backbone: str, batch: int, steps: int) -> None:
    """One process's share: print the seconds of its steps and its peak memory."""
    seconds = list((our_steps if side == "hyperarc" else plain_steps)(backbone, batch, steps))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds[1:], "peak_mb": peak_mb}))


def measure(backbone: str, batch: int, steps: int, rounds: int) -> dict[str, Any]:
    """Both sides in turn, ``rounds`` times; medians over all steps but each process's first."""
    seconds: dict[str, list[float]] = {"hyperarc": [], "plain": []}
    peak = {"hyperarc": 0.0, "plain": 0.0}
    for _ in range(rounds):
        for side in seconds:
            command = [sys.executable, __file__, "--side", side, "--backbone", backbone]
            command += ["--batch", str(batch), "--steps", str(steps)]
            # the switch that HyperArc's command line sets; the plain loop runs as it is shipped
            switches = {"THP_MEM_ALLOC_ENABLE": "1"} if side == "hyperarc" else {}
            out = subprocess.run(command, env={**os.environ, **switches}, check=True, capture_output=True, text=True)
            told = json.loads(out.stdout.splitlines()[-1])
            seconds[side] += told["seconds"]
            peak[side] = max(peak[side], told["peak_mb"])
    median = {side: statistics.median(values) for side, values in seconds.items()}
    return {
        "backbone": backbone,
        "batch": batch,
        "steps_each": len(seconds["plain"]),
        "hyperarc_faces_per_s": round(batch / median["hyperarc"], 2),
        "plain_faces_per_s": round(batch / median["plain"], 2),
        "ratio": round(median["plain"] / median["hyperarc"], 3),
        "hyperarc_peak_mb": round(peak["hyperarc"]),
        "plain_peak_mb": round(peak["plain"]),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--backbone", default="mbf")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--side", choices=["hyperarc", "plain"], help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.side:
        worker(options.side, options.backbone, options.batch, options.steps)
        return
    result = measure(options.backbone, options.batch, options.steps, options.rounds)
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
