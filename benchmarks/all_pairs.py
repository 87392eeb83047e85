"""TAR at FAR over all pairs of one set: HyperArc in each precision, NumPy's matmul alone, and with scikit-learn's
roc_curve, a plain torch loop with a histogram, and faiss where it is installed.

Each runs in a process of its own, on the same drawn embeddings (five a person), in turn. Timed is what lies between the
embeddings and the rates: HyperArc reads them from a file, the others have them in memory. Of what gives no rates only
its products are told, measured on a part of the rows (--most-pairs).

A pair of a set among itself is needed once. HyperArc makes one product for it; the full matrix, block by block, has
two. The table tells both, in millions a second of CPU time: products, and pairs, each once.

    python benchmarks/all_pairs.py --pairs 1e8 --fars 1e-1 1e-2 1e-3 1e-4 1e-5 1e-6
    python benchmarks/all_pairs.py --pairs 1e10 --fars 1e-6 1e-7 1e-8 --contenders numpy "torch loop" faiss fp32 int8
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

SORTED, WRITE = "numpy + scikit-learn", "write"
CONTENDERS = ("numpy", SORTED, "torch loop", "faiss", "fp32", "int8", "auto")
SORTABLE = 2e8  # pairs whose scores fit in memory, with all that roc_curve makes of them
BLOCK = 1024


def write_embeddings(options: argparse.Namespace) -> None:
    """Unit embeddings and labels of enough faces, as files."""
    import numpy as np

    faces = math.ceil((1 + math.sqrt(1 + 8 * options.pairs)) / 2)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, max(2, faces // 5), faces)
    centers = rng.standard_normal((int(labels.max()) + 1, options.dim), dtype=np.float32)
    x = centers[labels] + np.float32(1.5) * rng.standard_normal((faces, options.dim), dtype=np.float32)
    np.save(f"{options.folder}/x.npy", x / np.linalg.norm(x, axis=1, keepdims=True))
    np.save(f"{options.folder}/labels.npy", labels)


def given(folder: str) -> tuple[Any, Any]:
    """The embeddings and labels in a folder."""
    import numpy as np

    return np.load(f"{folder}/x.npy"), np.load(f"{folder}/labels.npy")


def rows_of(x: Any, options: argparse.Namespace) -> range:
    """First rows of the blocks that are measured."""
    return range(0, min(len(x), max(BLOCK, int(options.most_pairs / len(x)))), BLOCK)


def run_numpy(x: Any, labels: Any, options: argparse.Namespace) -> tuple[float, dict[str, float]]:
    """Only the products; returns how many."""
    import numpy as np

    out = np.empty((BLOCK, 4096), dtype=np.float32)
    pairs = 0.0
    for row in rows_of(x, options):
        for column in range(0, len(x) - 4095, 4096):
            part = x[row : row + BLOCK]
            np.matmul(part, x[column : column + 4096].T, out=out[: len(part)])
            pairs += out[: len(part)].size
    return pairs, {}


def run_torch(x: Any, labels: Any, options: argparse.Namespace) -> tuple[float, dict[str, float]]:
    """Products and a histogram of 65,536 bins, as one would write it."""
    import torch

    x = torch.from_numpy(x)
    pairs, counts = 0.0, torch.zeros(65536)
    for row in rows_of(x, options):
        for columns in x.split(4096):
            scores = x[row : row + BLOCK] @ columns.T
            counts += torch.histc(scores, 65536, -1, 1)
            pairs += scores.numel()
    return pairs, {}


def run_faiss(x: Any, labels: Any, options: argparse.Namespace) -> tuple[float, dict[str, float]]:
    """Nearest neighbors by IndexFlatIP."""
    import faiss

    index = faiss.IndexFlatIP(x.shape[1])
    index.add(x)
    pairs = 0.0
    for row in rows_of(x, options):
        part = x[row : row + BLOCK]
        index.search(part, 2)
        pairs += len(part) * len(x)
    return pairs, {}


def run_sklearn(x: Any, labels: Any, options: argparse.Namespace) -> tuple[float, dict[str, float]]:
    """The whole matrix, its upper triangle, roc_curve, and the last point with FAR up to the target."""
    import numpy as np
    from sklearn.metrics import roc_curve

    upper = np.triu_indices(len(x), 1)
    scores, same = (x @ x.T)[upper], labels[upper[0]] == labels[upper[1]]
    far, tar, _ = roc_curve(same, scores, drop_intermediate=False)
    return float(len(scores)), {str(f): float(tar[np.searchsorted(far, f, side="right") - 1]) for f in options.fars}


def run_hyperarc(file: str, labels: Any, options: argparse.Namespace) -> tuple[float, dict[str, float]]:
    """All of HyperArc, from embeddings to rates."""
    from hyperarc.metrics.all_pairs import Execution, LabeledEmbeddings, Wanted, count_pairs

    faces = LabeledEmbeddings(file, labels)
    found = count_pairs(faces, wanted=Wanted(fars=tuple(options.fars)), execution=Execution(precision=options.run))
    return len(labels) * (len(labels) - 1) / 2, {str(point.target): point.tar for point in found.points}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the contender named, in this process."""
    import torch

    runs: dict[str, Any] = {"numpy": run_numpy, "torch loop": run_torch, "faiss": run_faiss, SORTED: run_sklearn}
    import hyperarc.metrics.all_pairs  # noqa: F401  importing is not timed

    torch.set_num_threads(options.threads)
    x, labels = given(options.folder)
    run = runs.get(options.run)
    if run is None:
        run, x = run_hyperarc, f"{options.folder}/x.npy"
    wall, cpu = time.perf_counter(), time.process_time()
    pairs, tar = run(x, labels, options)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"pairs": pairs, "wall_s": wall, "cpu_s": cpu, "peak_mb": peak_mb, "tar": tar}


def main() -> None:
    """Parse, run each contender in a process, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=float, default=1e7)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fars", type=float, nargs="+", default=[1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
    parser.add_argument("--contenders", nargs="+", default=CONTENDERS, help="of these, or bf16")
    parser.add_argument("--most-pairs", type=float, default=1e9, help="measured of what only makes products")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.run == WRITE:
        write_embeddings(options)
        return
    if options.run:
        print(json.dumps(measure(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        # in a process of its own: the peak of whoever starts another counts for that one, too
        subprocess.check_call([sys.executable, __file__, *sys.argv[1:], "--run", WRITE, "--folder", folder])
        rows = measured(options, folder)
    check(rows)
    if options.json:
        print(json.dumps({**vars(options), "rows": rows}, indent=2))
    else:
        show(options, rows)


def measured(options: argparse.Namespace, folder: str) -> dict[str, dict[str, Any]]:
    """The best round of each contender."""
    rows: dict[str, dict[str, Any]] = {}
    threads = str(options.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    needs = {"faiss": "faiss", SORTED: "sklearn"}
    for _ in range(options.rounds):
        for name in options.contenders:
            if name in needs and importlib.util.find_spec(needs[name]) is None:
                print(f"{name}: not installed, left out", file=sys.stderr)
                continue
            if name == SORTED and options.pairs > SORTABLE:
                print(f"{name}: the scores of {options.pairs:.3g} pairs do not fit, left out", file=sys.stderr)
                continue
            command = [sys.executable, __file__, *sys.argv[1:], "--run", name, "--folder", folder]
            found = json.loads(subprocess.check_output(command, env=environment))
            if name not in rows or found["cpu_s"] < rows[name]["cpu_s"]:
                rows[name] = found
    return rows


def show(options: argparse.Namespace, rows: dict[str, dict[str, Any]]) -> None:
    """The table."""
    print(f"{options.pairs:.3g} pairs, d={options.dim}, {options.threads} threads, best of {options.rounds}")
    titles = ("contender", "products", "ratio", "pairs once", "ratio", "CPU s", "wall s", "peak MB", "rates")
    print("| " + " | ".join(titles) + " |\n|" + "---|" * len(titles))
    base = rows["numpy"]["pairs"] / rows["numpy"]["cpu_s"] if "numpy" in rows else math.nan
    for name, row in rows.items():
        rate = row["pairs"] / row["cpu_s"]
        told = "-" if not row["tar"] else "of rounded scores" if name == SORTED else "exact"
        once = rate if row["tar"] else rate / 2  # the full matrix holds every pair twice
        seconds = [f"{row[kind]:.1f}" if row["tar"] else "-" for kind in ("cpu_s", "wall_s")]
        cells = [name, f"{rate / 1e6:.1f}", f"{rate / base:.2f}", f"{once / 1e6:.1f}", f"{once / (base / 2):.2f}"]
        print("| " + " | ".join([*cells, *seconds, f"{row['peak_mb']:.0f}", told]) + " |")


def check(rows: dict[str, dict[str, Any]]) -> None:
    """All that give rates give the same: HyperArc's to the last digit, those of rounded scores to a pair or two."""
    rates = {name: row["tar"] for name, row in rows.items() if row["tar"]}
    exact = [tar for name, tar in rates.items() if name != SORTED]
    assert all(tar == exact[0] for tar in exact), rates
    for tar in rates.values():
        assert all(abs(tar[far] - exact[0][far]) < 1e-3 for far in tar if exact), rates


if __name__ == "__main__":
    main()
