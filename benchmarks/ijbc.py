"""IJB-C's size, made up: files in its layout, 469,375 faces, 23,124 templates, 15.66 million pairs.

Timed is all but the embedding of the faces: reading the files, pooling, scoring, rates; 1:1 and 1:N, each in a process
of its own. Beside them the same 1:1 as scripts do it: text read by NumPy, a loop over templates and media, products in
chunks, scikit-learn's roc_curve.

    python benchmarks/ijbc.py --share 1 --json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

FACES, TEMPLATES, SUBJECTS, PAIRS, GENUINE, DIM = 469_375, 23_124, 3_531, 15_658_489, 19_557, 512
FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
CONTENDERS = ("1:1", "1:N", "1:1 plain")


def sizes(share: float) -> tuple[int, int, int, int, int]:
    """Faces, templates, subjects, pairs and genuine pairs at this share of IJB-C."""
    return tuple(max(20, round(share * size)) for size in (FACES, TEMPLATES, SUBJECTS, PAIRS, GENUINE))  # type: ignore[return-value]


def write_meta(meta: Path, share: float) -> None:
    """The files of ``meta``, and the subject of every face in ``subjects.npy``."""
    rng = np.random.default_rng(0)
    faces, templates, subjects, pairs, genuine = sizes(share)
    of_template = np.concatenate([np.repeat(np.arange(subjects), 2), rng.integers(0, subjects, templates)])[:templates]
    rng.shuffle(of_template)
    template = np.sort(np.concatenate([np.arange(templates), rng.integers(0, templates, faces - templates)]))
    medium = template * 100 + rng.integers(0, 20, faces)
    np.save(meta / "subjects.npy", of_template[template])
    with open(meta / "ijbc_face_tid_mid.txt", "w") as file:
        file.writelines(f"{row}.jpg {t} {m}\n" for row, (t, m) in enumerate(zip(template, medium, strict=True)))
    points, scores = " ".join(["50.5"] * 10), rng.uniform(0.5, 1, faces)
    with open(meta / "ijbc_name_5pts_score.txt", "w") as file:
        file.writelines(f"{row}.jpg {points} {score:.6f}\n" for row, score in enumerate(scores))
    first, second = rng.integers(0, templates, (2, pairs))
    by_subject = np.argsort(of_template, kind="stable")
    neighbors = np.flatnonzero(of_template[by_subject][1:] == of_template[by_subject][:-1])
    own = rng.choice(neighbors, genuine)
    first[:genuine], second[:genuine] = by_subject[own], by_subject[own + 1]
    label = (of_template[first] == of_template[second]).astype(int)
    table = np.stack([first, second, label], axis=1)
    with open(meta / "ijbc_template_pair_label.txt", "w") as file:
        for part in np.array_split(table, 200):
            file.write("".join(f"{a} {b} {c}\n" for a, b, c in part.tolist()))
    seen, one_each = np.unique(of_template, return_index=True)
    for name, half in (("G1", one_each[seen % 2 == 0]), ("G2", one_each[seen % 2 == 1])):
        rows = "".join(f"{t},{of_template[t]}\n" for t in half)
        (meta / f"ijbc_1N_gallery_{name}.csv").write_text("TEMPLATE_ID,SUBJECT_ID\n" + rows)
    probes = np.setdiff1d(np.arange(templates), one_each)
    rows = "".join(f"{t},{of_template[t]}\n" for t in probes)
    (meta / "ijbc_1N_probe_mixed.csv").write_text("TEMPLATE_ID,SUBJECT_ID\n" + rows)


def draw_embeddings(meta: Path) -> np.ndarray:
    """Embeddings of all faces: a center for each subject, and noise of its own for each face."""
    rng = np.random.default_rng(1)
    subject = np.load(meta / "subjects.npy")
    vectors = rng.standard_normal((int(subject.max()) + 1, DIM), dtype=np.float32)[subject]
    for part in np.array_split(vectors, 64):
        part += 3 * rng.standard_normal(part.shape, dtype=np.float32)
    return vectors


def run_hyperarc(meta: Path, vectors: np.ndarray, way: str) -> dict[str, float]:
    """The protocol, from its files to numbers."""
    from hyperarc.protocols.embedded import Embedded
    from hyperarc.protocols.ijb import Switches, TemplateIdentification, TemplateVerification
    from hyperarc.protocols.ijb_files import read_subjects, read_template_pairs, read_templates

    members = read_templates(meta, "ijbc")
    known = np.unique(members.templates)
    protocol: Any
    if way == "1:1":
        protocol = TemplateVerification("IJB-C", members, read_template_pairs(meta, "ijbc", known), Switches())
    else:
        galleries = {name: read_subjects(meta / f"ijbc_1N_gallery_{name}.csv", known) for name in ("G1", "G2")}
        probes = read_subjects(meta / "ijbc_1N_probe_mixed.csv", known)
        protocol = TemplateIdentification("IJB-C", members, galleries, probes, Switches())
    found = protocol.judge(Embedded(members.faces, vectors))
    return {number.name: number.value for number in found.numbers}


def run_plain(meta: Path, vectors: np.ndarray, way: str) -> dict[str, float]:
    """As scripts do it: loops over templates and media, products in chunks, scikit-learn's curve."""
    from sklearn.metrics import roc_curve

    face = np.loadtxt(meta / "ijbc_face_tid_mid.txt", dtype=str)
    quality = np.loadtxt(meta / "ijbc_name_5pts_score.txt", dtype=str)[:, -1].astype(np.float32)
    template, medium = face[:, 1].astype(int), face[:, 2].astype(int)
    pairs = np.loadtxt(meta / "ijbc_template_pair_label.txt", dtype=int)
    vectors = vectors * quality[:, None]
    units = np.zeros((template.max() + 1, vectors.shape[1]))
    for one in np.unique(template):
        (rows,) = np.where(template == one)
        media = medium[rows]
        pooled = sum(vectors[rows[media == each]].mean(axis=0) for each in np.unique(media))
        units[one] = pooled / np.linalg.norm(pooled)
    scores = np.zeros(len(pairs))
    for start in range(0, len(pairs), 100_000):
        part = pairs[start : start + 100_000]
        scores[start : start + 100_000] = np.sum(units[part[:, 0]] * units[part[:, 1]], axis=1)
    far, tar, _ = roc_curve(pairs[:, 2], scores)
    far, tar = far[::-1], tar[::-1]
    return {f"TAR at FAR {target:g}": float(tar[np.argmin(np.abs(far - target))]) for target in FARS}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the contender named, in this process."""
    meta = Path(options.meta)
    vectors = draw_embeddings(meta)
    run = run_plain if options.run == "1:1 plain" else run_hyperarc
    wall, cpu = time.perf_counter(), time.process_time()
    numbers = run(meta, vectors, options.run)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"wall_s": wall, "cpu_s": cpu, "peak_mb": peak, "vectors_mb": vectors.nbytes / 2**20, "numbers": numbers}


def main() -> None:
    """Write the files, run each contender in a process, check that 1:1 agrees, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.1, help="of IJB-C's size")
    parser.add_argument("--contenders", nargs="+", default=CONTENDERS, choices=CONTENDERS)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--meta", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.run:
        print(json.dumps(measure(options)))
        return
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_meta(Path(folder), options.share)
        for name in options.contenders:
            command = [sys.executable, __file__, "--run", name, "--meta", folder]
            rows[name] = json.loads(subprocess.check_output(command, env=os.environ))
    if {"1:1", "1:1 plain"} <= rows.keys():
        ours, plain = rows["1:1"]["numbers"], rows["1:1 plain"]["numbers"]
        assert all(abs(ours[name] - plain[name]) < 2e-4 for name in plain), (ours, plain)
    if options.json:
        print(json.dumps({"share": options.share, "rows": rows}, indent=2))
        return
    faces, templates, _, pairs, _ = sizes(options.share)
    print(f"{faces:,} faces, {templates:,} templates, {pairs:,} pairs, d={DIM}")
    print("| | wall s | CPU s | peak MB | of these the embeddings |\n|---|---|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['wall_s']:.1f} | {row['cpu_s']:.1f} | {row['peak_mb']:.0f} | {row['vectors_mb']:.0f} |")


if __name__ == "__main__":
    main()
