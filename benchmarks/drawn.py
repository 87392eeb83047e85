"""Drawn faces: faces per second on one core, by conditions, and how far raw pixels get on pairs of them.

python benchmarks/drawn.py [--faces 64] [--rounds 10] [--json]
"""

from __future__ import annotations

import argparse
import json
import platform
import time

import numpy as np

from hyperarc.data.drawn import Conditions, draw_faces, draw_nuisances, draw_people, draw_set

CONDITIONS = {
    "default": Conditions(),
    "neutral": Conditions.neutral(),
    "profile": Conditions.profile(),
    "low_quality": Conditions.low_quality(),
}


def faces_per_second(conditions: Conditions, faces: int, rounds: int) -> dict[str, float]:
    """Rates of ``rounds`` batches of ``faces`` new people each: by the clock, and by this process's CPU time.

    On a machine that does nothing else both agree; on a shared one the second says what a free core would do, less
    what the neighbors take of its caches.
    """
    clock, cpu = [], []
    draw_faces(draw_people(4, seed=0), draw_nuisances(4, np.random.default_rng(0), conditions))  # fills the caches
    for seed in range(rounds):
        people = draw_people(faces, seed)
        scenes = draw_nuisances(faces, np.random.default_rng(seed), conditions)
        start, start_cpu = time.perf_counter(), time.process_time()
        draw_faces(people, scenes, seed)
        clock.append(faces / (time.perf_counter() - start))
        cpu.append(faces / (time.process_time() - start_cpu))
    rates = {"best": max(clock), "median": float(np.median(clock)), "cpu_best": max(cpu)}
    return {f"faces_per_s_{name}": round(rate, 1) for name, rate in rates.items()}


def pixel_accuracy(people: int, faces_per_person: int, pairs: int, seed: int) -> float:
    """10-fold accuracy of the cosine of mean-free pixels on balanced random pairs, default conditions."""
    drawn = draw_set(people, faces_per_person, seed=seed)
    flat = drawn.images.reshape(len(drawn.images), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    rng = np.random.default_rng(seed)
    labels = drawn.labels
    truth = np.arange(pairs) % 2 == 0
    first = rng.integers(len(labels), size=pairs)
    second = [
        int(rng.choice(np.flatnonzero(((labels == labels[a]) == same) & (np.arange(len(labels)) != a))))
        for a, same in zip(first.tolist(), truth.tolist(), strict=True)
    ]
    score = (flat[first] * flat[second]).sum(1)
    folds = rng.permutation(pairs) % 10
    hits = []
    for fold in range(10):
        held = folds == fold
        cuts = np.unique(score[~held])
        cut = cuts[((score[~held][None] >= cuts[:, None]) == truth[~held][None]).mean(1).argmax()]
        hits.append(float(((score[held] >= cut) == truth[held]).mean()))
    return round(float(np.mean(hits)), 4)


def main() -> None:
    """Measure and print one row a condition, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=64, help="faces in a batch")
    parser.add_argument("--rounds", type=int, default=10, help="batches timed")
    parser.add_argument("--people", type=int, default=120, help="people of the pixel pairs, 6 faces each")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    where = {"processor": platform.processor() or platform.machine(), "threads": 1, "batch": given.faces}
    rows = {name: faces_per_second(kind, given.faces, given.rounds) for name, kind in CONDITIONS.items()}
    pixels = pixel_accuracy(given.people, 6, 1200, seed=0)
    if given.json:
        print(json.dumps({"where": where, "rendering": rows, "pixel_accuracy_10fold": pixels}, indent=2))
        return
    print(f"faces per second, {where}")
    print("| conditions  | best | median | best by CPU time |")
    print("|-------------|------|--------|------------------|")
    for name, row in rows.items():
        best, median, cpu = row.values()
        print(f"| {name:11} | {best:4.0f} | {median:6.0f} | {cpu:16.0f} |")
    print(f"10-fold accuracy of raw pixels: {100 * pixels:.1f} % ({given.people} people x 6 faces, 1200 pairs)")


if __name__ == "__main__":
    main()
