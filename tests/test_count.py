"""``hyperarc count``: all pairs of files of embeddings, whole, killed, in processes and in shards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hyperarc.contract import Contract
from hyperarc.data.formats.embedding_files import table_beside, write_array, write_parquet
from hyperarc.data.formats.stored_embeddings import ParquetVectors, read_embeddings
from hyperarc.data.manifest import manifest_of
from hyperarc.errors import ContractError, DataError, HyperArcError
from hyperarc.metrics import clopper_pearson, operating_point
from hyperarc.metrics.all_pairs.counts import Counts
from hyperarc.protocols.counted_sides import labeled_sides, open_side
from hyperarc.protocols.feature_files import write_matrix
from hyperarc.report.pair_plots import BinnedPairs, counted_angles, counted_roc
from hyperarc.report.plots import Curve

DIM, PER_PART = 16, 70
CONTRACT = Contract(embedding_dim=DIM, model="a")
FARS = ("--far", "0.1", "--far", "0.01")


def drawn(faces: int, people: int, seed: int = 0) -> tuple[np.ndarray, list[str], list[str]]:
    """Embeddings, keys of their faces, people."""
    rng = np.random.default_rng(seed)
    who = rng.integers(0, people, faces)
    centers = np.random.default_rng(9).normal(size=(people, DIM))
    vectors = (centers[who] + rng.normal(size=(faces, DIM))).astype(np.float32)
    return vectors, [f"p{person}/{seed}-{row}.png" for row, person in enumerate(who)], [f"p{person}" for person in who]


def write(path: Path, given: tuple[np.ndarray, list[str], list[str]], contract: Contract = CONTRACT) -> Path:
    """As hyperarc embed does, in several parts."""
    vectors, faces, people = given
    manifest = manifest_of(faces, people, source="photos")
    rows = [np.arange(start, min(start + PER_PART, len(faces))) for start in range(0, len(faces), PER_PART)]
    parts = [(manifest.take(part), vectors[part]) for part in rows]
    if path.suffix == ".parquet":
        write_parquet(path, parts, contract)
    else:
        write_array(path, table_beside(path), parts, len(faces), contract)
    return path


def write_list(path: Path, faces: list[str], people: list[str]) -> Path:
    path.write_text("".join(f"{face} {person}\n" for face, person in zip(faces, people, strict=True)))
    return path


def counted(run: Any, *words: Any) -> dict[str, Any]:
    done = run("count", *words, "--json", "--quiet")
    assert done.code == 0, done.err
    return json.loads(done.out)


def rates(told: dict[str, Any]) -> Any:
    return told["genuine_pairs"], told["impostor_pairs"], told["points"], told["hardest_impostor"]


def plain_scores(vectors: np.ndarray, people: list[str]) -> tuple[np.ndarray, np.ndarray]:
    units = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    units = units.astype(np.float32).astype(np.float64)
    above = np.triu_indices(len(units), 1)
    scores = (units @ units.T)[above].astype(np.float32)
    same = np.array(people)[above[0]] == np.array(people)[above[1]]
    return scores[same], scores[~same]


def test_every_kind_of_file_gives_the_rates_of_a_sort(run: Any, tmp_path: Path) -> None:
    vectors, faces, people = given = drawn(200, 20)
    genuine, impostor = plain_scores(vectors, people)
    write(tmp_path / "a.parquet", given)
    write(tmp_path / "b.npy", given)
    write_matrix(tmp_path / "c.bin", vectors)
    people_list = write_list(tmp_path / "list.txt", faces, people)
    told = counted(run, tmp_path / "a.parquet", *FARS, "--hardest", 3)
    for point, far in zip(told["points"], (0.1, 0.01), strict=True):
        expected = operating_point(genuine, impostor, far)
        assert (point["tar"], point["threshold"]) == (expected.tar, pytest.approx(expected.threshold, abs=1e-7))
        assert (point["false_accepts"], point["measured_far"]) == (expected.false_accepts, expected.far)
        low, high = clopper_pearson(expected.true_accepts, expected.genuine_pairs)
        assert point["tar_interval"] == [float(low), float(high)]
        assert point["angle_deg"] == pytest.approx(np.rad2deg(np.arccos(point["threshold"])))
    assert (told["contract"], told["flip"], told["embeddings"]) == (CONTRACT.digest, "sum", "a.parquet")
    assert (told["embeddings_faces"], told["embeddings_people"]) == (200, len(set(people)))
    first, second = told["hardest_impostor"][0]["faces"]
    assert told["hardest_impostor"][0]["cosine"] == pytest.approx(impostor.max(), abs=1e-7)
    assert people[faces.index(first)] != people[faces.index(second)]
    page = Path(told["report"]).read_text()
    assert told["report"] == str(tmp_path / "a-pairs.html")
    for text in ("TAR at FAR 0.01", CONTRACT.digest, first, "False accept rate", "95 % interval"):
        assert text in page
    assert rates(counted(run, tmp_path / "b.npy", *FARS, "--hardest", 3)) == rates(told)
    listed = counted(run, tmp_path / "c.bin", *FARS, "--hardest", 3, "--people", people_list)
    assert listed["contract"] == "not stated"
    assert listed["points"] == told["points"]
    assert sorted(path.name for path in tmp_path.glob(".*")) == []  # nothing unfinished is left
    text = run("count", tmp_path / "a.parquet", *FARS, "--far", 1e-6)
    assert "TAR " in text.out
    assert "too few impostor pairs for this FAR" in text.out


def test_a_gallery_with_strangers_and_the_same_pictures(run: Any, tmp_path: Path) -> None:
    vectors, faces, people = drawn(60, 8)
    others, more, whose = drawn(90, 8, seed=1)
    # the first ten probes stand in the gallery, too; the last forty of the gallery are nobody's
    gallery = np.concatenate([others, vectors[:10]]), more + faces[:10], whose + people[:10]
    persons = ["-1" if 50 <= row < 90 else person for row, person in enumerate(gallery[2])]
    write(tmp_path / "probes.npy", (vectors, faces, people))
    write(tmp_path / "gallery.parquet", gallery)
    order = np.random.default_rng(0).permutation(100)  # a list beside a table goes by names
    names = write_list(tmp_path / "l.txt", [gallery[1][k] for k in order], [persons[k] for k in order])
    both = tmp_path / "probes.npy", "--gallery", tmp_path / "gallery.parquet", "--gallery-people", names
    told = counted(run, *both, "--far", 0.1)
    same = [(a, b) for a, p in enumerate(people) for b, q in enumerate(persons) if p == q and faces[a] != gallery[1][b]]
    assert told["genuine_pairs"] == len(same)
    assert told["impostor_pairs"] == 60 * 100 - 10 - len(same)
    assert (told["gallery_strangers"], told["gallery_faces"]) == (40, 100)
    among = counted(run, *both, "--far", 0.1, "--among-probes", "all")
    assert among["genuine_pairs"] + among["impostor_pairs"] == 60 * 100 - 10 + 60 * 59 // 2


def test_foreign_contracts_are_refused(run: Any, tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", drawn(30, 4))
    write(tmp_path / "b.parquet", drawn(30, 4, seed=1), CONTRACT.model_copy(update={"model": "b"}))
    error = run("count", tmp_path / "a.parquet", "--gallery", tmp_path / "b.parquet").complaint()
    assert "cannot be compared" in error
    assert "model 'a' against 'b'" in error
    vectors, faces, people = drawn(30, 4)
    write_matrix(tmp_path / "c.bin", vectors)
    unknown = open_side(tmp_path / "c.bin", write_list(tmp_path / "list.txt", faces, people))
    with pytest.raises(ContractError, match=r"c\.bin: nobody says under which contract"):
        labeled_sides([open_side(tmp_path / "a.parquet"), unknown])


def test_shards_are_merged_without_the_embeddings(run: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", drawn(300, 30))
    whole = counted(run, path, *FARS, "--hardest", 2)
    files = [tmp_path / f"{k}.npz" for k in (1, 2, 3)]
    for k, file in enumerate(files, 1):
        done = run("count", path, *FARS, "--hardest", 2, "--shard", f"{k}/3", "--counts", file, "--precision", "fp32")
        assert done.out == f"shard {k}/3 is counted: {file}\n"
    path.unlink()
    merged = counted(run, "--merge", *files, "--out", tmp_path / "merged.html")
    assert rates(merged)[:3] == rates(whole)[:3]
    assert merged["contract"] == CONTRACT.digest
    assert merged["hardest_impostor"][0]["faces"][0].startswith("row ")
    assert "All pairs: a.parquet" in (tmp_path / "merged.html").read_text()
    assert "shards are missing: 2/3" in run("count", "--merge", files[0], files[2]).complaint()
    write(path, drawn(300, 30, seed=5))
    run("count", path, *FARS, "--hardest", 2, "--shard", "2/3", "--counts", tmp_path / "other.npz")
    assert "other.npz: was counted of something else" in run(
        "count", "--merge", files[0], tmp_path / "other.npz", files[2]
    ).complaint()
    assert "holds counts of other embeddings" in run("count", path, *FARS, "--counts", files[0]).complaint()


def test_wrong_usage(run: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", drawn(30, 4))
    assert run("count", path, path).code == 2
    assert run("count", path, "--shard", "1/2").code == 2
    assert "such as 3/8" in run("count", path, "--shard", "0/2", "--counts", tmp_path / "c.npz").complaint(2)
    assert "did you mean 'int8'" in run("count", path, "--precision", "int9").complaint(2)
    assert "between 0 and 1" in run("count", path, "--far", "0").complaint(2)
    assert "device cannot be used" in run("count", path, "--device", "cuda:77").complaint()
    assert "no such file" in run("count", tmp_path / "absent.parquet").complaint()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("nan", r"a\.parquet holds a NaN or infinity in row 90"),
        ("zero", r"a\.parquet is a zero vector in row 90"),
        ("nobody", r"1 faces have no person, the first being p\d/0-90\.png"),
        ("one person", "there is no impostor pair among 4950 pairs"),
        ("all apart", "there is no genuine pair"),
        ("no contract", "does not say under which contract"),
        ("no persons", "no file of embeddings that can be read: .*person"),
        ("no vectors", "holds faces without their vectors"),
        ("other dimension", r"expected embeddings \[100, 15\], as its faces and contract say, got \[100, 16\]"),
        ("null vector", "holds faces without a vector"),
        ("cut off", "no file of embeddings that can be read"),
    ],
)
def test_bad_embeddings_are_one_error(run: Any, tmp_path: Path, broken: str, said: str) -> None:
    vectors, faces, people = drawn(100, 9)
    if broken in ("nan", "zero"):
        vectors[90] = np.nan if broken == "nan" else 0.0
    if broken in ("one person", "all apart"):
        people = ["p"] * 100 if broken == "one person" else [f"p{n}" for n in range(100)]
    people[90] = "" if broken == "nobody" else people[90]
    dim = DIM - 1 if broken == "other dimension" else DIM
    path = write(tmp_path / "a.parquet", (vectors, faces, people))
    table = pq.read_table(path)
    contract = Contract(embedding_dim=dim)
    about = {b"hyperarc": json.dumps({"contract": contract.model_dump(), "digest": contract.digest}).encode()}
    if broken == "no contract":
        pq.write_table(table.replace_schema_metadata({}), path)
    if broken == "other dimension":
        pq.write_table(table.replace_schema_metadata(about), path)
    if broken in ("no persons", "no vectors"):
        pq.write_table(table.drop_columns("person" if broken == "no persons" else "vector"), path)
    if broken == "null vector":
        column = pa.array([None if row == 3 else v for row, v in enumerate(vectors.tolist())], table["vector"].type)
        pq.write_table(table.set_column(5, table.schema.field("vector"), column), path)
    if broken == "cut off":
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(HyperArcError, match=said):
        _ = count_through(run, path)


def count_through(run: Any, path: Path) -> None:
    raise DataError(run("count", path, "--far", "0.1").complaint())


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    vectors, faces, people = drawn(100, 9)
    path = write(tmp_path / "a.npy", (vectors, faces, people))
    np.save(path, vectors[:99])
    with pytest.raises(DataError, match=r"expected embeddings \[100, 16\], as its faces .* say, got \[99, 16\]"):
        open_side(path)
    table_beside(path).unlink()
    with pytest.raises(DataError, match="nobody says whose embeddings these are"):
        open_side(path)
    with pytest.raises(DataError, match=r"expected 100 vectors as .*list\.txt says, got 99 of 16"):
        open_side(path, write_list(tmp_path / "list.txt", faces, people))
    write(path, (vectors, faces, people))
    with pytest.raises(DataError, match=r"does not name 1 faces, the first being p\d/0-99\.png"):
        open_side(path, write_list(tmp_path / "short.txt", faces[:99], people[:99]))
    with pytest.raises(DataError, match="got a third column"):
        open_side(path, write_list(tmp_path / "sides.txt", faces, [f"{person} 1" for person in people]))
    with pytest.raises(DataError, match=r"expected a \.parquet or \.npy of embeddings"):
        open_side(tmp_path / "list.txt")


def test_parquet_is_read_by_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, faces, people = drawn(200, 9)
    path = write(tmp_path / "a.parquet", (vectors, faces, people))
    read = ParquetVectors(path)
    assert read.shape == (200, DIM)
    for start, stop in ((0, 200), (0, 70), (69, 71), (140, 140), (150, 999), (5, 5)):
        assert np.array_equal(read[start:stop], vectors[start:stop])
    reads: list[int] = []
    group = read._file.read_row_group
    monkeypatch.setattr(read._file, "read_row_group", lambda k, **how: (reads.append(k), group(k, **how))[1])
    for row in range(200):
        read[row : row + 1]
    assert reads == [0, 1, 2]
    assert np.array_equal(read_embeddings(path).vectors, vectors)
    monkeypatch.setattr("hyperarc.data.formats.stored_embeddings._MOST_IN_GROUP", 70 * DIM * 4 - 1)
    with pytest.raises(DataError, match="has a row group of 70 vectors"):
        ParquetVectors(path)


def test_figures_of_binned_pairs() -> None:
    rng = np.random.default_rng(0)
    genuine, impostor = (np.clip(rng.normal(mean, 0.1, size), -1, 1) for mean, size in ((0.6, 5000), (0.0, 40_000)))
    edges = np.linspace(-1.0, 1.0, 2001)
    pairs = BinnedPairs(edges, *(np.histogram(scores, edges)[0] for scores in (genuine, impostor)))
    curve = pairs.curve()
    assert (np.diff(curve.far) >= 0).all()
    assert (np.diff(curve.tar) >= 0).all()
    assert curve.far[0] * 40_000 >= 30  # where the sample tells a rate
    assert curve.tar[np.searchsorted(curve.far, 0.01)] == pytest.approx(np.mean(genuine >= np.quantile(impostor, 0.99)))
    axes = counted_angles(pairs, Curve("", [1e-3, 1e-2], [70.0, 80.0])).axes[0]
    for name, scores in (("Same person", genuine), ("Two people", impostor)):
        label = next(text for text in axes.get_legend_handles_labels()[1] if text.startswith(name))
        median = float(label.split()[-1].removesuffix("°"))
        assert median == pytest.approx(np.rad2deg(np.arccos(np.median(scores))), abs=0.15)
    exact = counted_roc(pairs, Curve("", [1e-6, 1e-5], [0.5, 0.6])).axes[0]
    assert exact.get_xlim()[0] == pytest.approx(1e-6, rel=0.03)
    with pytest.raises(DataError, match="expected 2000 counts, some above 0"):
        BinnedPairs(edges, np.zeros(2000, np.int64), pairs.impostors)


SLOW = """
import sys, time
from hyperarc import cli
from hyperarc.metrics.all_pairs import Execution, plan, sweep
plan.FEW = 0
pause, sys.argv = float(sys.argv[1]), ["hyperarc", "count", *sys.argv[2:]]
count, made = sweep.Sweep.count, Execution.__post_init__
def slow(self, index):
    count(self, index)
    print(index, flush=True)
    time.sleep(pause)
def at_once(self):
    made(self)
    object.__setattr__(self, "save_every_s", 0.0)
sweep.Sweep.count, Execution.__post_init__ = slow, at_once
cli.main()
"""


def test_killed_it_goes_on(run: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", drawn(600, 40))
    right = rates(counted(run, path, *FARS))
    words = [sys.executable, "-c", SLOW]
    child = subprocess.Popen([*words, "0.05", str(path), *FARS], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    first = [child.stdout.readline() for _ in range(8)]
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = tmp_path / ".a-pairs.unfinished.npz"
    done = int(Counts.from_bytes(kept.read_bytes()).done.sum())
    assert len(first) - 1 <= done < 55
    again = subprocess.run([*words, "0", str(path), *FARS, "--json"], capture_output=True, text=True, check=True)
    cells, _, told = again.stdout.partition("{")
    assert len(cells.split()) == 55 - done
    assert f"going on with {kept}" in again.stderr
    assert rates(json.loads("{" + told)) == right
    assert not kept.exists()


def test_two_processes_share_the_work(run: Any, tmp_path: Path) -> None:
    """Started as torchrun starts them."""
    path = write(tmp_path / "a.npy", drawn(500, 40))
    right = rates(counted(run, path, *FARS))
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20000 + os.getpid() % 20000), "WORLD_SIZE": "2"}
    words = [sys.executable, "-m", "hyperarc", "count", str(path), *FARS, "--json", "--quiet"]
    ranks = [
        subprocess.Popen(words, env={**os.environ, **told, "RANK": rank, "LOCAL_RANK": rank}, stdout=subprocess.PIPE)
        for rank in ("0", "1")
    ]
    outs = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    found = json.loads(outs[0])
    assert rates(found) == right
    assert found["processes"] == 2
    assert outs[1] == b""  # one of them tells
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a-pairs.html", "a.faces.parquet", "a.npy"]
