"""All pairs: equal to a full sort, whatever the windows, products, blocks, shards and processes."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperarc import metrics
from hyperarc.errors import DataError, HyperArcError, UsageError
from hyperarc.metrics.all_pairs import (
    AllPairs,
    Execution,
    LabeledEmbeddings,
    MissedWindowError,
    Wanted,
    choice,
    count,
    count_pairs,
    count_shard,
    layout,
    merge_counts,
    plan,
    sample,
    sweep,
)
from hyperarc.metrics.all_pairs.counts import Counts
from hyperarc.metrics.all_pairs.layout import matches
from hyperarc.metrics.all_pairs.plan import Window
from hyperarc.metrics.all_pairs.products import Bf16, Fp32, Int8, OffsetInt8
from hyperarc.metrics.all_pairs.scores import exact_scores
from hyperarc.metrics.all_pairs.tally import Tally

FARS = (0.3, 1e-1, 1e-2, 1e-3, 1e-4, 1e-6)
AMONG = ["all", "genuine", "none"]
CPU = torch.device("cpu")
PRODUCTS = [Fp32, Bf16, Int8, OffsetInt8]


def people(faces: int, count: int, dim: int = 32, seed: int = 0, noise: float = 1.0) -> LabeledEmbeddings:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, count, faces)
    centers = np.random.default_rng(99).normal(size=(count, dim))
    return LabeledEmbeddings((centers[labels] + noise * rng.normal(size=(faces, dim))).astype(np.float32), labels)


def units(embeddings: Any) -> Any:
    x = np.asarray(embeddings, dtype=np.float64)
    x = x / np.abs(x).max(axis=1, keepdims=True)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def slow_score(a: Any, b: Any) -> float:
    """The definition: the sum of the exact products, rounded to fp64 and then to fp32."""
    return float(np.float32(math.fsum((a.astype(np.float64) * b.astype(np.float64)).tolist())))


def sorted_scores(
    probes: LabeledEmbeddings, gallery: LabeledEmbeddings | None, wanted: Wanted
) -> tuple[list[tuple[float, int, int, bool]], list[tuple[float, int, int, bool]]]:
    """Every pair by itself, genuine and impostor: the plain version."""
    genuine, impostor = [], []
    for within in [False] * (gallery is not None) + [True] * (gallery is None or wanted.among_probes != "none"):
        other = probes if within or gallery is None else gallery
        left, right = units(probes.embeddings), units(other.embeddings)
        scores = np.array([[slow_score(a, b) for b in right] for a in left])
        for i in range(len(left)):
            for j in range(i + 1 if within else 0, len(right)):
                if probes.ids is not None and other.ids is not None and probes.ids[i] == other.ids[j]:
                    continue
                if probes.labels[i] == other.labels[j]:
                    genuine.append((float(scores[i, j]), i, j, within))
                elif not within or gallery is None or wanted.among_probes == "all":
                    impostor.append((float(scores[i, j]), i, j, within))
    return genuine, impostor


def assert_equals_sort(found: AllPairs, probes: LabeledEmbeddings, gallery: Any, wanted: Wanted) -> None:
    genuine, impostor = sorted_scores(probes, gallery, wanted)
    g, i = [p[0] for p in genuine], [p[0] for p in impostor]
    assert (found.genuine_pairs, found.impostor_pairs) == (len(g), len(i))
    assert found.genuine.sum() == len(g)
    for far, point in zip(wanted.fars, found.points, strict=True):
        assert point == metrics.operating_point(g, i, far), far
        assert point.tar == metrics.tar_at_far(g, i, far)
    assert found.unsupported == tuple(far for far in wanted.fars if far * len(i) < 1)
    for pairs, listed, sign in ((impostor, found.hardest, -1), (genuine, found.lowest, 1)):
        best = sorted(pairs, key=lambda p: (sign * p[0], p[3], p[1], p[2]))[: wanted.hardest]
        assert [dataclasses.astuple(pair) for pair in listed] == best
    if wanted.identification:
        assert found.best is not None
        for pairs, best_of in ((genuine, found.best.mate), (impostor, found.best.other)):
            best = np.full(len(probes.labels), -np.inf)
            for score, a, b, within in pairs:
                best[a] = max(best[a], score)
                if within:
                    best[b] = max(best[b], score)
            assert np.array_equal(best, best_of)
        alarm = np.full(0 if gallery is None else len(gallery.labels), -np.inf)
        for score, _, b, within in impostor:
            if not within:
                alarm[b] = max(alarm[b], score)
        assert np.array_equal(found.best.alarm, alarm)


def same(a: AllPairs, b: AllPairs) -> bool:
    """Equal in all numbers."""
    if (a.best is None) != (b.best is None):
        return False
    best = (
        a.best is None
        or b.best is None
        or all(np.array_equal(getattr(a.best, name), getattr(b.best, name)) for name in ("mate", "other", "alarm"))
    )
    lists = (a.points, a.hardest, a.lowest, a.unsupported) == (b.points, b.hardest, b.lowest, b.unsupported)
    return best and lists and np.array_equal(a.genuine, b.genuine)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan with windows and a real sample even for a few thousand pairs, with small tiles and blocks."""
    monkeypatch.setattr(plan, "FEW", 0)
    monkeypatch.setattr(sample, "LEAST", 1 << 10)
    monkeypatch.setitem(sweep.TILE, "cpu", (32, 48))
    monkeypatch.setattr(choice, "WORTH_MEASURING", 0)


@pytest.mark.parametrize("kind", ["among", "gallery", "both", "genuine", "ids"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "auto"])
@pytest.mark.usefixtures("small_windows")
def test_equals_a_full_sort(kind: str, precision: Any) -> None:
    probes, gallery = people(150, 25), None if kind == "among" else people(110, 30, seed=1)
    if kind == "ids":
        gallery = LabeledEmbeddings(np.concatenate([gallery.embeddings, probes.embeddings[:20]]),
                                    np.concatenate([gallery.labels, probes.labels[:20]]),
                                    [f"g{k}" for k in range(110)] + [f"p{k}" for k in range(20)])  # fmt: skip
        probes = dataclasses.replace(probes, ids=[f"p{k}" for k in range(150)])
    among: Any = {"both": "all", "genuine": "genuine"}.get(kind, "none")
    wanted = Wanted(fars=FARS, hardest=7, identification=True, among_probes=among)
    found = count_pairs(probes, gallery, wanted, Execution(precision=precision))
    assert_equals_sort(found, probes, gallery, wanted)


def test_only_what_is_asked_for_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The windows are narrow: most pairs are counted by the product alone."""
    monkeypatch.setattr(plan, "FEW", 0)
    faces = people(1500, 100)
    made = plan.make_plan(layout.Layout(faces), Wanted(fars=(0.1, 0.01)), with_digest=False)
    assert len(made.windows) == 2
    counts = Counts(made)
    swept = sweep.Sweep(layout.Layout(faces), counts, Fp32(CPU), CPU)
    for cell in range(made.cells):
        swept.count(cell)
    assert all(0 < tally.total < made.impostors // 10 for tally in counts.inside)
    assert counts.above.min() > 0


@pytest.mark.usefixtures("small_windows")
def test_ties_duplicates_and_few_people() -> None:
    rng = np.random.default_rng(3)
    few = rng.integers(-1, 2, size=(12, 8))[rng.integers(0, 12, 160)]  # many equal vectors, many equal scores
    few[(few == 0).all(axis=1), 0] = 1
    faces = LabeledEmbeddings(few, rng.integers(0, 3, 160))
    wanted = Wanted(fars=FARS, hardest=20, identification=True)
    for precision in ("fp32", "int8"):
        found = count_pairs(faces, wanted=wanted, execution=Execution(precision=precision))  # type: ignore[arg-type]
        assert_equals_sort(found, faces, None, wanted)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 60), st.integers(0, 60), st.integers(2, 9), st.sampled_from(AMONG))
def test_equals_a_full_sort_of_random_sets(seed: int, faces: int, others: int, dim: int, among: Any) -> None:
    probes = people(faces, 3, dim, seed)
    gallery = people(others, 4, dim, seed + 1) if others else None
    wanted = Wanted(fars=FARS, hardest=3, identification=True, among_probes=among)
    genuine, impostor = sorted_scores(probes, gallery, wanted)
    if genuine and impostor:
        assert_equals_sort(count_pairs(probes, gallery, wanted), probes, gallery, wanted)
    else:
        with pytest.raises(DataError, match="there is no"):
            count_pairs(probes, gallery, wanted)


def test_small_and_large_windows_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers from scoring all pairs exactly and from narrow windows, at every block size."""
    faces, wanted = people(1500, 100), Wanted(fars=FARS, hardest=5, identification=True)
    all_exact = count_pairs(faces, wanted=wanted)
    monkeypatch.setattr(plan, "FEW", 0)
    for block, precision in ((64, "fp32"), (256, "int8"), (1024, "bf16"), (2048, "fp32")):
        monkeypatch.setattr(layout, "SMALLEST_BLOCK", block)
        execution = Execution(precision=precision)  # type: ignore[arg-type]
        assert same(count_pairs(faces, wanted=wanted, execution=execution), all_exact), block


@pytest.mark.usefixtures("small_windows")
def test_a_window_that_misses_costs_another_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    faces, wanted = people(200, 20), Wanted(fars=(0.1, 0.01))
    right = count_pairs(faces, wanted=wanted)
    make, cautions = plan.make_plan, []

    def misled(where: Any, what: Wanted, *, with_digest: bool) -> Any:
        cautions.append(what.caution)
        made = make(where, what, with_digest=with_digest)
        wrong = (Window(0.98, 0.99), Window(0.995, math.inf))
        return made if len(cautions) > 1 else dataclasses.replace(made, windows=wrong)

    monkeypatch.setattr(count, "make_plan", misled)
    assert same(count_pairs(faces, wanted=wanted), right)
    assert cautions == [1.0, 64.0]


@pytest.mark.usefixtures("small_windows")
def test_threshold_just_above_a_window_is_not_guessed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The score to exceed is the last of its window: the next impostor may lie beyond."""
    faces, wanted = people(200, 20), Wanted(fars=(0.1,))
    _, impostor = sorted_scores(faces, None, wanted)
    falling = sorted((p[0] for p in impostor), reverse=True)
    rejected = np.float32(falling[int(0.1 * len(falling))])
    above = float(np.nextafter(rejected, np.float32(2)))
    make, short = plan.make_plan, (Window(-1.0, above),)
    monkeypatch.setattr(count, "make_plan", lambda *a, **k: dataclasses.replace(make(*a, **k), windows=short))
    count_shard((0, 1), faces, wanted=wanted, execution=Execution(counts_file=tmp_path / "c.npz"))
    with pytest.raises(MissedWindowError, match="caution=64"):
        merge_counts([tmp_path / "c.npz"])


# ---- products and scores


@pytest.mark.parametrize("kind", PRODUCTS)
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([3, 64, 512]), st.sampled_from(["normal", "spiky", "sparse"]))
def test_products_keep_their_bound(kind: Any, seed: int, dim: int, shape: str) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(80, dim))
    if shape == "spiky":
        x = x**5
    if shape == "sparse":
        x *= rng.random(x.shape) < 2 / dim
        x[:, 0] += 1e-3
    unit = torch.from_numpy(units(x))
    product = kind(CPU)
    rows, columns = product.rows(unit[:33]), product.columns(unit[33:])
    seen = product.multiply(rows, columns).double() * (rows.step * columns.step)
    off = (seen - unit[:33].double() @ unit[33:].double().T).abs().max()
    assert float(off) <= product.bound(rows, columns, dim)


@pytest.mark.parametrize(("kind", "reached"), [(Bf16, 0.4), (Int8, 0.65), (OffsetInt8, 0.65)])
def test_bounds_are_nearly_reached(kind: Any, reached: float) -> None:
    """y points where x was rounded, so all that was rounded off x adds up: the bound is not loose by much."""
    product, worst = kind(CPU), 0.0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = torch.from_numpy(units(rng.normal(size=(1, 64))))
        rows = product.rows(x)
        whole = rows.values.double() - (90 if kind is OffsetInt8 else 0)
        residual = x.double() - whole * rows.step
        y = torch.from_numpy(units(residual.numpy()))
        columns = product.columns(y)
        seen = product.multiply(rows, columns).double() * (rows.step * columns.step)
        off = float((seen - x.double() @ y.double().T).abs())
        bound = product.bound(rows, columns, 64)
        assert off <= bound
        worst = max(worst, off / bound)
    assert worst > reached


def test_a_product_less_precise_than_its_bound_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    multiply = Fp32.multiply
    monkeypatch.setattr(Fp32, "multiply", lambda *given: multiply(*given) + 1e-3)
    with pytest.raises(HyperArcError, match="off by 0"):
        count_pairs(people(40, 4))


def test_fp32_means_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting that lets products be made in bf16 is put back around every product, and left as it was."""
    seen = []
    mm = torch.mm
    monkeypatch.setattr(torch, "mm", lambda *a: (seen.append(torch.get_float32_matmul_precision()), mm(*a))[1])
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        count_pairs(people(40, 4))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert set(seen) == {Fp32(CPU).setting}


def test_exact_scores_equal_the_definition() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 64))
    x[1::2] = x[::2] + 1e-7 * rng.normal(size=(30, 64))  # scores near 1
    x[0], x[2] = np.eye(64)[0], np.eye(64)[1]  # a score of 0
    unit = torch.from_numpy(units(x))
    r, c = np.divmod(np.arange(3600), 60)
    expected = [slow_score(unit[i].numpy(), unit[j].numpy()) for i, j in zip(r, c, strict=True)]
    assert exact_scores(unit, unit, r, c).tolist() == expected  # dense
    few = rng.choice(3600, 40, replace=False)
    assert exact_scores(unit, unit, r[few], c[few]).tolist() == [expected[k] for k in few]  # gathered


def test_scores_that_fp64_sums_get_wrong_are_summed_exactly() -> None:
    """1 + 2^-24 is halfway between two fp32 numbers; what decides is 2^-53 more, lost in a sum from left to right."""
    x = torch.tensor([[1.0, 2.0**-12, 2.0**-27, 2.0**-27]])
    y = torch.tensor([[1.0, 2.0**-12, 2.0**-26, 2.0**-26]])
    products = (x.double() * y.double())[0]
    left_to_right = float(np.float32(sum(products.tolist())))
    exact = float(exact_scores(x, y, np.array([0]), np.array([0]))[0])
    assert (left_to_right, exact) == (1.0, 1.0 + 2.0**-23)


def test_tally_is_a_sorted_list(monkeypatch: pytest.MonkeyPatch) -> None:
    from hyperarc.metrics.all_pairs import tally as tallies

    monkeypatch.setattr(tallies, "WAITING", 50)
    rng = np.random.default_rng(0)
    scores = (rng.integers(-20, 20, 1000) / 16).astype(np.float32)
    first, second = Tally(), Tally()
    for part in np.array_split(scores[:600], 17):
        first.add(part)
    second.add(scores[600:])
    first.merge(second)
    rising = np.sort(scores)
    assert first.total == 1000
    assert np.array_equal(np.repeat(first.values, first.counts), rising)
    for rank in (1, 2, 500, 1000):
        assert first.largest(rank) == rising[-rank]
    for limit in (-2.0, -0.25, 0.0, 0.3, 1.1875, 3.0):
        assert first.above(limit) == (scores > limit).sum()
        assert first.least_above(limit) == min(scores[scores > limit], default=math.inf)


def test_matches_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MATCHES_AT_A_TIME", 7)
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, 4, 30), rng.integers(0, 5, 9)
    parts = list(matches(rows, columns))
    found = np.concatenate([np.stack(part, axis=1) for part in parts])
    assert len(parts) > 5
    assert all(len(r) <= 9 for r, _ in parts)
    expected = np.argwhere(rows[:, None] == columns)
    assert np.array_equal(found[np.lexsort(found.T[::-1])], expected)


# ---- where embeddings come from


@pytest.mark.usefixtures("small_windows")
def test_files_maps_and_tensors_are_the_same_faces(tmp_path: Path) -> None:
    faces, wanted = people(150, 20), Wanted(fars=(0.1, 0.01), hardest=3)
    right = count_pairs(faces, wanted=wanted)
    np.save(tmp_path / "x.npy", faces.embeddings)
    given: list[Any] = [tmp_path / "x.npy", str(tmp_path / "x.npy"), np.load(tmp_path / "x.npy", mmap_mode="r")]
    for embeddings in [*given, torch.from_numpy(faces.embeddings), faces.embeddings * 2.0**100]:
        other = LabeledEmbeddings(embeddings, torch.from_numpy(faces.labels))
        assert same(count_pairs(other, wanted=wanted), right)
    assert same(count_pairs(LabeledEmbeddings(given[0], [f"n{k}" for k in faces.labels]), wanted=wanted), right)


def test_bad_input_is_named(tmp_path: Path) -> None:
    faces = people(3000, 30, dim=8)
    x = np.asarray(faces.embeddings)

    def refuse(match: str, probes: LabeledEmbeddings, *more: Any) -> None:
        with pytest.raises(DataError, match=match):
            count_pairs(probes, *more)

    for value, word in ((np.nan, "NaN or infinity in row 2500"), (np.inf, "NaN or infinity in row 2500")):
        broken = x.copy()
        broken[2500, 3] = value
        refuse(word, LabeledEmbeddings(broken, faces.labels))
    broken = x.copy()
    broken[2999] = 0
    refuse("zero vector in row 2999", LabeledEmbeddings(broken, faces.labels))
    refuse(r"labels of the probes should have shape \(3000,\)", LabeledEmbeddings(x, faces.labels[:-1]))
    refuse(r"ids of the probes should have shape", LabeledEmbeddings(x, faces.labels, ids=[1, 2]))
    refuse("no impostor pair", LabeledEmbeddings(x, np.zeros(3000)))
    refuse("no genuine pair", LabeledEmbeddings(x, np.arange(3000)))
    refuse("dimension 8, the gallery 9", faces, LabeledEmbeddings(np.ones((4, 9)), [1, 2, 3, 4]))
    refuse("should be", LabeledEmbeddings(x[0], faces.labels))
    refuse("hold numbers", faces, LabeledEmbeddings(x, [str(label) for label in faces.labels]))
    refuse("no .npy file", LabeledEmbeddings(tmp_path / "absent.npy", faces.labels))
    np.save(tmp_path / "fortran.npy", np.asfortranarray(x))
    refuse("column by column", LabeledEmbeddings(tmp_path / "fortran.npy", faces.labels))
    np.save(tmp_path / "short.npy", x)
    with open(tmp_path / "short.npy", "r+b") as file:
        file.truncate(60_000)
    refuse("ends before its last row", LabeledEmbeddings(tmp_path / "short.npy", faces.labels))
    for bad in ({"fars": (0.0,)}, {"fars": (1.0,)}, {"hardest": -1}, {"caution": 0.5}):
        with pytest.raises(UsageError):
            Wanted(**bad)  # type: ignore[arg-type]
    with pytest.raises(HyperArcError, match="int8"):
        Execution(precision="int9")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="save_every_s"):
        Execution(save_every_s=-1)
    with pytest.raises(HyperArcError, match="give at least"):
        count_pairs(faces, execution=Execution(memory_mb=10))
    with pytest.raises(DataError, match="not asked for"):
        count_pairs(faces).at(0.5)


# ---- shards, processes, interruption


@pytest.mark.usefixtures("small_windows")
def test_shards_of_any_kind_add_up(tmp_path: Path) -> None:
    faces, gallery = people(300, 30), people(200, 30, seed=5)
    wanted = Wanted(fars=FARS, hardest=6, identification=True, among_probes="all")
    right = count_pairs(faces, gallery, wanted)
    for shards in (1, 2, 5):
        files = [tmp_path / f"{shards}-{k}.npz" for k in range(shards)]
        for k, file in enumerate(files):
            precision: Any = ("fp32", "int8", "bf16")[k % 3]
            count_shard((k, shards), faces, gallery, wanted, Execution(precision=precision, counts_file=file))
        assert same(merge_counts(files[::-1]), right), shards


@pytest.mark.usefixtures("small_windows")
def test_foreign_damaged_and_missing_shards_are_refused(tmp_path: Path) -> None:
    faces, wanted = people(300, 30), Wanted(fars=(0.1,))
    files = [tmp_path / f"{k}.npz" for k in range(3)]
    for k, file in enumerate(files):
        count_shard((k, 3), faces, wanted=wanted, execution=Execution(counts_file=file))
    changed = np.array(faces.embeddings)
    changed[7, 0] += 1e-6
    foreign = tmp_path / "foreign.npz"
    count_shard((2, 3), LabeledEmbeddings(changed, faces.labels), None, wanted, Execution(counts_file=foreign))
    damaged = tmp_path / "damaged.npz"
    content = bytearray(files[2].read_bytes())
    content[len(content) // 2] ^= 255
    damaged.write_bytes(content)
    cut = tmp_path / "cut.npz"
    cut.write_bytes(files[2].read_bytes()[:-200])
    unfinished = tmp_path / "unfinished.npz"
    counts = Counts.from_bytes(files[2].read_bytes())
    counts.done[-1] = False
    counts.save(unfinished)
    for last, match in (
        (foreign, "foreign.npz: was counted of something else"), (damaged, "damaged.npz: .*damaged"),
        (cut, "cut.npz: .*damaged"), (unfinished, "unfinished.npz: is not finished"),
        (tmp_path / "absent.npz", "absent.npz: no such"), (files[1], "1.npz: is the same shard"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=match):
            merge_counts([files[0], files[1], last])
    with pytest.raises(DataError, match="shards are missing: 3/3"):
        merge_counts(files[:2])
    with pytest.raises(DataError, match="no counts files"):
        merge_counts([])
    with pytest.raises(DataError, match="name another file"):
        count_shard((1, 3), faces, wanted=wanted, execution=Execution(counts_file=files[0]))
    with pytest.raises(DataError, match="there is no shard"):
        count_shard((3, 3), faces, wanted=wanted, execution=Execution(counts_file=files[0]))
    with pytest.raises(DataError, match="counted into a file"):
        count_shard((0, 3), faces, wanted=wanted)


KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from hyperarc.metrics.all_pairs import *
from hyperarc.metrics.all_pairs import plan, sweep
plan.FEW = 0
folder, pause = Path(sys.argv[1]), float(sys.argv[2])
count = sweep.Sweep.count
seen = open(folder / "cells.txt", "a", buffering=1)
def slow(self, index):
    count(self, index)
    print(index, file=seen)
    time.sleep(pause)
sweep.Sweep.count = slow
x, labels = np.load(folder / "x.npy"), np.load(folder / "labels.npy")
execution = Execution(counts_file=folder / "c.npz", save_every_s=0.0)
count_shard((0, 1), LabeledEmbeddings(x, labels), wanted=Wanted(fars=(0.1, 0.01), hardest=3), execution=execution)
"""


def test_killed_at_any_time_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces, wanted = people(600, 40), Wanted(fars=(0.1, 0.01), hardest=3)
    np.save(tmp_path / "x.npy", faces.embeddings)
    np.save(tmp_path / "labels.npy", faces.labels)
    cells, file = tmp_path / "cells.txt", tmp_path / "c.npz"
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path), "0.02"])
    deadline = time.monotonic() + 60
    while not cells.exists() or len(cells.read_text().split()) < 17:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    counted = len(cells.read_text().split())
    kept = int(Counts.from_bytes(file.read_bytes()).done.sum())
    assert counted - 1 <= kept < 55  # at most the cell at work is lost
    seen: list[int] = []
    monkeypatch.setattr(plan, "FEW", 0)
    count_cell = sweep.Sweep.count
    monkeypatch.setattr(sweep.Sweep, "count", lambda self, index: (seen.append(index), count_cell(self, index)))
    count_shard((0, 1), faces, wanted=wanted, execution=Execution(counts_file=file))
    assert len(seen) == 55 - kept
    assert same(merge_counts([file]), count_pairs(faces, wanted=wanted))


RANK = """
import pickle, sys
import numpy as np
import torch.distributed as dist
from hyperarc.metrics.all_pairs import *
from hyperarc.metrics.all_pairs import plan
plan.FEW = 0
dist.init_process_group("gloo")
x, labels = np.load(sys.argv[1] + "/x.npy"), np.load(sys.argv[1] + "/labels.npy")
wanted = Wanted(fars=(0.1, 0.01), hardest=3, identification=True)
execution = Execution(counts_file=sys.argv[1] + "/c.npz")
found = count_pairs(LabeledEmbeddings(x, labels), wanted=wanted, execution=execution)
np.save(f"{sys.argv[1]}/{dist.get_rank()}.npy", [p.threshold for p in found.points] + [p.tar for p in found.points]
        + [p.score for p in found.hardest + found.lowest] + found.best.other.tolist())
dist.destroy_process_group()
"""


def test_two_processes_count_as_one(tmp_path: Path) -> None:
    faces = people(500, 40)
    np.save(tmp_path / "x.npy", faces.embeddings)
    np.save(tmp_path / "labels.npy", faces.labels)
    found = count_pairs(faces, wanted=Wanted(fars=(0.1, 0.01), hardest=3, identification=True))
    assert found.best is not None
    right = [p.threshold for p in found.points] + [p.tar for p in found.points]
    right += [p.score for p in found.hardest + found.lowest] + found.best.other.tolist()
    store = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20000 + os.getpid() % 20000), "WORLD_SIZE": "2"}
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK, str(tmp_path)], env={**os.environ, **store, "RANK": str(rank)})
        for rank in range(2)
    ]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    for rank in range(2):
        assert np.load(tmp_path / f"{rank}.npy").tolist() == right
    assert len(list(tmp_path.glob("c.*-of-2.npz"))) == 2


def test_progress_tells_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    faces = people(300, 20)
    clock = iter(range(10_000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    count_pairs(faces, execution=Execution(progress=seen.append))
    assert seen[-1].pairs_done == seen[-1].pairs_total == 300 * 299 // 2
    assert seen[-1].left_s == 0 < seen[0].left_s
    assert "of 4.48e+04 pairs" in str(seen[0])
    assert str(seen[-1]).endswith("0:00:00 left")


MEMORY = """
import sys
import numpy as np
from hyperarc.metrics.all_pairs import *
labels = np.load(sys.argv[1] + "/labels.npy")
def peak():  # of this process alone: ru_maxrss holds that of whoever started it, too
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
wanted = Wanted(fars=(1e-2, 1e-5, 1e-8), hardest=5)
file = sys.argv[1] + "/x.npy"
for embeddings in (file, np.load(file, mmap_mode="r")):
    count_pairs(LabeledEmbeddings(embeddings, labels), wanted=wanted, execution=Execution(memory_mb=512))
print(peak() // 1024, (peak() - before) // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_matrix(tmp_path: Path) -> None:
    """2e8 pairs, whose scores alone would take 0.8 GB, from a file of 240 MB and from a memory map of it."""
    faces = people(20_000, 5000, dim=3000, noise=2.0)
    np.save(tmp_path / "x.npy", faces.embeddings)
    np.save(tmp_path / "labels.npy", faces.labels)
    out = subprocess.check_output([sys.executable, "-c", MEMORY, str(tmp_path)], text=True)
    peak_mb, added_mb = map(int, out.split())
    assert peak_mb < 2048
    assert added_mb < 550
