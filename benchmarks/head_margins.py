"""Cost of one head step (forward and backward, all classes) of every margin, against norm_softmax.

Every round takes the margins in a new order and puts a norm_softmax step on both sides of each, so that a machine whose
speed moves does not favor one; a round's ratio is the margin's time over the mean of the two. Reported is the median
ratio over the rounds. Times are CPU seconds of the process, which other programs on the machine disturb less.

    python benchmarks/head_margins.py --classes 100000 --batch 512 --dim 512 --rounds 3 --json
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import time
from typing import Any

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the command line sets it

import torch

import hyperarc
from hyperarc.heads.head import Head
from hyperarc.training.hardware import keep_freed_memory

BASE = "norm_softmax"


class Step:
    """One head with its batch; calling it times one forward and backward."""

    def __init__(self, margin: str, options: argparse.Namespace, **arguments: Any) -> None:
        size = {"num_classes": options.classes, "embedding_dim": options.dim}
        self.head: Head = hyperarc.create_head(margin, **size, memory_mb=options.memory_mb, **arguments)
        generator = torch.Generator().manual_seed(1)
        self.labels = torch.randint(options.classes, (options.batch,), generator=generator)
        # embeddings that lean to their centers, as after some training: hard negatives are then few, targets easy
        own = torch.nn.functional.normalize(self.head.centers.weight.detach()[self.labels, 0], dim=1)
        noise = torch.randn(options.batch, options.dim, generator=generator) / options.dim**0.5
        self.embeddings = (20 * (own + noise)).requires_grad_()

    def __call__(self) -> float:
        start = time.process_time()
        self.head(self.embeddings, self.labels).loss.backward()
        seconds = time.process_time() - start
        self.embeddings.grad = self.head.centers.weight.grad = None
        return seconds


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Median CPU seconds and ratio to norm_softmax of every margin."""
    names = [name for name in options.margins or hyperarc.margin_names() if name != BASE]
    seconds: dict[str, list[float]] = {name: [] for name in (BASE, *names)}
    ratios: dict[str, list[float]] = {name: [] for name in names}
    base = Step(BASE, options)
    base()
    order = random.Random(0)
    for _ in range(options.rounds):
        before = base()
        for name in order.sample(names, len(names)):
            step = Step(name, options)
            step()  # the first touches its memory
            mine, after = step(), base()
            seconds[name].append(mine)
            ratios[name].append(2 * mine / (before + after))
            seconds[BASE].append(after)
            before = after
    rows = [{"margin": BASE, "seconds": statistics.median(seconds[BASE]), "ratio": 1.0}]
    for name in names:
        ratio = statistics.median(ratios[name])
        rows.append({"margin": name, "seconds": statistics.median(seconds[name]), "ratio": ratio})
    return rows


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-mb", type=float, default=176.0)
    parser.add_argument("--margins", nargs="*", help="default: all")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    rows = measure(options)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if options.json:
        print(json.dumps({**vars(options), "rows": rows, "peak_mb": peak_mb}, indent=2))
        return
    size = f"B={options.batch} C={options.classes:,} d={options.dim}"
    print(f"{size}, fp32, {options.threads} threads, {options.memory_mb:g} MiB")
    print(f"| margin | CPU s/step | against {BASE} |\n|---|---|---|")
    for row in sorted(rows, key=lambda row: row["ratio"]):
        print(f"| {row['margin']} | {row['seconds']:.2f} | {row['ratio']:.2f} |")


if __name__ == "__main__":
    main()
