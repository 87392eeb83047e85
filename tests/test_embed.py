"""``hyperarc embed``: every kept face once, in order, in bounded memory, and the same bytes after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

from hyperarc.artifact import Artifact, open_artifact
from hyperarc.artifact.card import Card
from hyperarc.commands.embed import Job, embed
from hyperarc.commands.show import Show
from hyperarc.contract import Contract
from hyperarc.data.crops import cut, read_crops
from hyperarc.data.face_set import open_faces
from hyperarc.data.sources import ArraySource
from hyperarc.encoder import Encoder
from hyperarc.errors import DataError, HyperArcError

QUIET = Show(quiet=True)
PEOPLE, EACH = 5, 5
BROKEN = "p3/2.png"

# Embeds like the command, but waits at the n-th call of a function to be killed there.
_WORKER = """
import importlib, signal, sys
from pathlib import Path
from hyperarc.commands.embed import Job, embed
from hyperarc.commands.show import Show
data, out, artifact, place, name, calls = sys.argv[1:]
module, _, owner = place.partition(":")
holder = importlib.import_module(module)
holder = getattr(holder, owner) if owner else holder
original, left = getattr(holder, name), int(calls)

def waiting(*words, **options):
    global left
    left -= 1
    if left == 0:
        print("there", flush=True)
        signal.pause()
    return original(*words, **options)

setattr(holder, name, waiting)
embed(Path(data), Path(out), Job(Path(artifact), batch_size=2, part_rows=6), Show(quiet=True))
print("finished", flush=True)
"""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hyperarc.artifact import build_backbone, build_head, save_artifact
    from hyperarc.recipe.file import load_recipe

    recipe = load_recipe("demo", ["backbone.embedding_dim=16", "evaluation=[]"])
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "artifact"
    save_artifact(path, build_backbone(recipe), build_head(recipe, 2), recipe, ["ann", "bob"], Card())
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos") / "photos"
    rng = np.random.default_rng(0)
    for person in range(PEOPLE):
        (folder / f"p{person}").mkdir(parents=True)
        for picture in range(EACH):
            pixels = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"p{person}" / f"{picture}.png")
    (folder / BROKEN).write_bytes(b"no picture")
    return folder


def expected(artifact: Path, photos: Path, batch_size: int = 2) -> tuple[list[str], np.ndarray]:
    """Keys and embeddings in the manifest's order, one picture at a time."""
    keys = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.png"))
    keys.remove(BROKEN)
    encoder = open_artifact(artifact).encoder(batch_size=1)
    return keys, encoder.embed(np.stack([np.asarray(Image.open(photos / key)) for key in keys])).vectors


def job(artifact: Path, **changes: Any) -> Job:
    return Job(artifact, **{"batch_size": 2, "part_rows": 6, **changes})


# ---- the files


def test_parquet(run: Any, artifact: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "faces.parquet"
    done = run("embed", photos, out, "--artifact", artifact, "--json", "--batch-size", 4)
    assert done.code == 0, done.err
    keys, vectors = expected(artifact, photos)
    table = pq.read_table(out)
    assert table.column_names == ["face", "source", "person", "label", "norm", "vector"]
    assert str(table.schema.field("vector").type) == "fixed_size_list<element: float>[16]"
    assert table["face"].to_pylist() == keys
    assert table["person"].to_pylist() == [key.split("/")[0] for key in keys]
    assert table["label"].to_pylist() == [int(key[1]) for key in keys]
    assert set(table["source"].to_pylist()) == {"photos"}
    got = np.array(table["vector"].to_pylist(), np.float32)
    np.testing.assert_allclose(got, vectors, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(table["norm"].to_numpy(), np.linalg.norm(got, axis=1), rtol=1e-6)
    about = json.loads(table.schema.metadata[b"hyperarc"])
    contract = open_artifact(artifact).contract
    assert about["digest"] == contract.digest
    assert Contract.model_validate(about["contract"]) == contract
    told = json.loads(done.out)
    assert (told["faces"], told["embedding_dim"], told["contract"]) == (24, 16, contract.digest)
    assert [entry["face"] for entry in told["left_out"]] == [f"photos:{BROKEN}"]
    assert BROKEN in told["left_out"][0]["reason"]
    assert f"1 faces that cannot be read left out: 'photos:{BROKEN}'" in done.err
    assert [path.name for path in out.parent.iterdir()] == ["faces.parquet"]
    text = run("embed", photos, tmp_path / "two.parquet", "--artifact", artifact, "--quiet")
    assert text.out == f"{tmp_path / 'two.parquet'}: 24 faces, 16-d, contract {contract.digest}\n"
    assert not text.err


def test_npy_holds_the_same(artifact: Path, photos: Path, tmp_path: Path) -> None:
    embed(photos, tmp_path / "a.parquet", job(artifact), QUIET)
    embed(photos, tmp_path / "a.npy", job(artifact), QUIET)
    whole, table = pq.read_table(tmp_path / "a.parquet"), pq.read_table(tmp_path / "a.faces.parquet")
    vectors = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, np.array(whole["vector"].to_pylist(), np.float32))
    assert table.equals(whole.drop_columns("vector"))
    assert table.schema.metadata == whole.schema.metadata
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.faces.parquet", "a.npy", "a.parquet"]


def test_marks_and_color_orders_of_a_manifest_hold(artifact: Path, photos: Path, tmp_path: Path) -> None:
    manifest = open_faces(photos).manifest
    faces = manifest.column("face").tolist()
    left = [faces.index("p0/1.png"), faces.index(BROKEN)]
    blue = np.array([face == "p1/0.png" for face in faces])
    manifest.mark(left, "doubtful").recolored(blue, "bgr").write(tmp_path / "mine.parquet")
    done = embed(tmp_path / "mine.parquet", tmp_path / "out.npy", job(artifact), QUIET)
    assert (done["faces"], done["left_out"]) == (23, [])
    table = pq.read_table(tmp_path / "out.faces.parquet")
    keys, vectors = expected(artifact, photos)
    kept = [key for key in keys if key != "p0/1.png"]
    assert table["face"].to_pylist() == kept
    picture = np.asarray(Image.open(photos / "p1/0.png"))[None, ..., ::-1]
    vectors[keys.index("p1/0.png")] = open_artifact(artifact).encoder().embed(picture).vectors[0]
    same = vectors[[keys.index(key) for key in kept]]
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), same, rtol=1e-3, atol=1e-4)


def test_a_zip_gives_what_the_folder_gives(artifact: Path, photos: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for path in photos.rglob("*.png"):
            archive.write(path, path.relative_to(photos))
    for data, out in ((photos, "folder.npy"), (tmp_path / "photos.zip", "zip.npy")):
        embed(data, tmp_path / out, job(artifact, workers=4), QUIET)
    assert (tmp_path / "folder.npy").read_bytes() == (tmp_path / "zip.npy").read_bytes()


# ---- kills


KILLS = {
    "before the first part": ("numpy", "savez", 1, False),
    "between parts": ("numpy", "savez", 3, True),
    "between embeddings": ("hyperarc.encoder:Encoder", "embed", 8, True),
    "while the file is made": ("pyarrow.parquet:ParquetWriter", "write_table", 2, True),
    "before the last renaming": ("shutil", "rmtree", 1, None),
}


def killed(where: tuple[str, str, int, Any], data: Path, out: Path, artifact: Path) -> None:
    place, name, calls, _ = where
    words = [sys.executable, "-c", _WORKER, data, out, artifact, place, name, str(calls)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def uninterrupted(artifact: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as the processes to be killed
    try:
        for name in ("out.parquet", "out.npy"):
            embed(photos, folder / name, job(artifact), QUIET)
    finally:
        torch.set_num_threads(before)
    return folder


@pytest.mark.parametrize(
    ("where", "name"), [*((where, "out.parquet") for where in KILLS), ("while the file is made", "out.npy")]
)
def test_killed_at_any_time_the_bytes_are_the_same(
    where: str, name: str, artifact: Path, photos: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    out = tmp_path / name
    killed(KILLS[where], photos, out, artifact)
    resumed = KILLS[where][3]
    if resumed is None:  # it was renamed already, only the work folder stayed
        assert out.read_bytes() == (uninterrupted / name).read_bytes()
        return
    assert not out.exists()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        done = embed(photos, out, job(artifact), QUIET)
    finally:
        torch.set_num_threads(before)
    assert done["resumed"] is resumed
    assert (done["faces"], len(done["left_out"])) == (24, 1)
    for made in [name] if name == "out.parquet" else [name, "out.faces.parquet"]:
        assert (tmp_path / made).read_bytes() == (uninterrupted / made).read_bytes(), made
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_finished_parts_are_not_embedded_again(
    artifact: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.parquet"
    embedded: list[int] = []
    original = Encoder.embed

    def stopping(self: Encoder, faces: np.ndarray, *words: Any) -> Any:
        if len(embedded) == 7:
            raise KeyboardInterrupt
        embedded.append(len(faces))
        return original(self, faces, *words)

    monkeypatch.setattr(Encoder, "embed", stopping)
    with pytest.raises(KeyboardInterrupt):
        embed(photos, out, job(artifact), QUIET)
    parts = tmp_path / ".out.parquet.unfinished" / "parts"
    assert sorted(path.name for path in parts.iterdir()) == ["000000000000.npz", "000000000006.npz"]
    monkeypatch.setattr(Encoder, "embed", original)
    seen: list[int] = []
    monkeypatch.setattr(Encoder, "embed", lambda self, f, *w: seen.append(len(f)) or original(self, f, *w))
    embed(photos, out, job(artifact), QUIET)
    assert sum(seen) == 24 - 12


def test_parts_of_other_work_are_refused(artifact: Path, photos: Path, tmp_path: Path, run: Any) -> None:
    out = tmp_path / "out.parquet"
    killed(KILLS["between parts"], photos, out, artifact)
    with pytest.raises(HyperArcError, match=r"begun otherwise: batch_size was 2, is 3; start it as before, or remove"):
        embed(photos, out, job(artifact, batch_size=3), QUIET)
    manifest = open_faces(photos).manifest
    manifest.mark([0], "doubtful").write(tmp_path / "fewer.parquet")
    with pytest.raises(HyperArcError, match="begun otherwise: faces was"):
        embed(tmp_path / "fewer.parquet", out, job(artifact), QUIET)
    assert "part_rows was 6, is 4096" in run("embed", photos, out, "--artifact", artifact).complaint()


# ---- what is refused


def test_faces_of_another_size_are_named(run: Any, artifact: Path, tmp_path: Path) -> None:
    for name, size in (("a", 112), ("b", 96)):
        (tmp_path / "faces" / name).mkdir(parents=True)
        Image.new("RGB", (size, 112)).save(tmp_path / "faces" / name / "1.png")
    said = run("embed", tmp_path / "faces", tmp_path / "out.npy", "--artifact", artifact).complaint()
    assert "faces:b/1.png: expected a face of 112x112 pixels, got 96x112; align the faces" in said
    assert not (tmp_path / "out.npy").exists()


def test_wrong_words(run: Any, artifact: Path, photos: Path, tmp_path: Path) -> None:
    said = run("embed", photos, tmp_path / "out.csv", "--artifact", artifact).complaint(2)
    assert "expected the name of a .parquet or .npy; call it out.csv.parquet" in said
    (tmp_path / "out.npy").write_bytes(b"mine")
    assert "refused to overwrite" in run("embed", photos, tmp_path / "out.npy", "--artifact", artifact).complaint()
    (tmp_path / "new.faces.parquet").write_bytes(b"mine")
    assert "refused to overwrite" in run("embed", photos, tmp_path / "new.npy", "--artifact", artifact).complaint()
    assert (tmp_path / "new.faces.parquet").read_bytes() == b"mine"
    assert "no such artifact" in run("embed", photos, tmp_path / "x.npy", "--artifact", tmp_path / "no").complaint()
    manifest = open_faces(photos).manifest
    manifest.mark(np.ones(len(manifest), np.bool_), "all").write(tmp_path / "none.parquet")
    said = run("embed", tmp_path / "none.parquet", tmp_path / "x.npy", "--artifact", artifact).complaint()
    assert "expected faces, got none that is kept" in said


def test_no_face_that_can_be_read(run: Any, artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "faces" / "a").mkdir(parents=True)
    (tmp_path / "faces" / "a" / "1.png").write_bytes(b"no picture")
    said = run("embed", tmp_path / "faces", tmp_path / "out.npy", "--artifact", artifact, "--quiet").complaint()
    assert "none of the faces can be read; see that their files are there, then remove" in said


class _Overflowing(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        vectors = images.flatten(1)[:, :16].clone()
        vectors[-1] = torch.inf
        return vectors


def test_embeddings_that_are_not_finite_are_named(
    artifact: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Artifact, "backbone", lambda self: _Overflowing())
    with pytest.raises(DataError, match=r"photos:p0/1\.png: its embedding is NaN or infinite"):
        embed(photos, tmp_path / "out.npy", job(artifact), QUIET)


# ---- reading ahead


class _Watched(ArraySource):
    """Tells which faces were read."""

    def __init__(self, count: int) -> None:
        super().__init__(np.zeros((count, 112, 112, 3), np.uint8), ["a"] * count)
        self.seen: list[int] = []
        self.fifth = threading.Event()

    def image(self, face: str) -> Any:
        self.seen.append(int(face.rpartition("/")[2]))
        if self.seen[-1] == 4:
            self.fifth.set()
        return super().image(face)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_next_batches_are_read_while_one_is_used(threads: int) -> None:
    from hyperarc.data.face_set import FaceReader

    source = _Watched(100)
    reader = FaceReader(source, source.scan())
    read = read_crops(reader, cut(np.arange(100), 2), Contract(), threads=threads)
    assert next(read).rows.tolist() == [0, 1]
    assert source.fifth.wait(timeout=60), "nothing was read ahead"
    assert [batch.rows.tolist() for batch in read] == [[2 * i, 2 * i + 1] for i in range(1, 50)]
    assert sorted(source.seen) == list(range(100))


def test_no_more_is_read_ahead_than_a_few_batches() -> None:
    from hyperarc.data.face_set import FaceReader

    source = _Watched(1000)
    taken = []

    def batches() -> Any:
        for batch in cut(np.arange(1000), 10):
            taken.append(len(batch))
            yield batch

    read = read_crops(FaceReader(source, source.scan()), batches(), Contract())
    next(read)
    assert len(taken) == 5
    read.close()
    assert len(source.seen) <= 50
