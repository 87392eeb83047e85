"""Packing between all kinds of files: bytes kept, the same bytes each time, and after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hyperarc import unfinished as unfinished_file
from hyperarc.data import packing as packing_file
from hyperarc.data.drawn import draw_set
from hyperarc.data.face_set import FaceSet, open_faces
from hyperarc.data.formats.face_writer import Packed, Place, ShardLimits
from hyperarc.data.formats.list_columns import fixed_points
from hyperarc.data.formats.member_names import member_stems
from hyperarc.data.formats.tar_index import INDEX
from hyperarc.data.formats.zip_writer import ZipWriter
from hyperarc.data.manifest import manifest_of
from hyperarc.data.packing import Packing, pack
from hyperarc.data.row import Row
from hyperarc.errors import DataError, HyperArcError, UnknownNameError, UsageError

SHARDED = {"tar": Packing("tar", ShardLimits(faces=4)), "parquet": Packing("parquet", ShardLimits(faces=5))}
PLAIN = {kind: Packing(kind) for kind in packing_file.KINDS}
EVERY = {**PLAIN, **{f"{kind}_shards": one for kind, one in SHARDED.items()}}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn faces in files of several kinds."""
    root = tmp_path_factory.mktemp("drawn") / "faces"
    faces = draw_set(people=4, faces_per_person=4, seed=7)
    for row, (pixels, label) in enumerate(zip(faces.images, faces.labels.tolist(), strict=True)):
        person = root / ("group/p3" if label == 3 else f"p{label}")
        person.mkdir(parents=True, exist_ok=True)
        kind = ("JPEG", "PNG", "WEBP", "BMP")[row % 4]
        name = ("a.jpg", "b v2.0.png", "c.webp", "ü.bmp")[row % 4]
        Image.fromarray(pixels).save(person / name, kind)
    return root


def contents(place: Path) -> dict[str, bytes]:
    if place.is_file():
        return {"": place.read_bytes()}
    return {str(p.relative_to(place)): p.read_bytes() for p in sorted(place.rglob("*")) if p.is_file()}


def of_people(files: dict[str, bytes]) -> dict[str, set[bytes]]:
    """The pictures of each person, whatever their names."""
    found: dict[str, set[bytes]] = {}
    for name, data in files.items():
        found.setdefault(name.rpartition("/")[0], set()).add(data)
    return found


def packed(source: Path, target: Path, one: Packing) -> Path:
    pack(open_faces(source), target, one)
    return target


def place(folder: Path, kind: str) -> Path:
    return folder / (f"{kind}.{kind}" if kind in ("zip", "tar", "parquet") else kind)


# ---- round trips


@pytest.mark.parametrize("kind", EVERY)
def test_every_kind_and_back(drawn: Path, tmp_path: Path, kind: str) -> None:
    target = packed(drawn, place(tmp_path, kind), EVERY[kind])
    back = packed(target, tmp_path / "back", Packing("folder", verify=False))
    if kind == "rec":  # records know people, not names
        assert of_people(contents(back)) == of_people(contents(drawn))
    elif kind.startswith("tar"):  # WebDataset cuts names at the first dot
        assert contents(back) == {k.replace("v2.0", "v2_0"): v for k, v in contents(drawn).items()}
    else:
        assert contents(back) == contents(drawn)
    again = packed(drawn, place(tmp_path / "again", kind), EVERY[kind])
    assert contents(again) == contents(target)
    assert not list(tmp_path.rglob(".*"))


def test_a_long_way_round(drawn: Path, tmp_path: Path) -> None:
    here = drawn
    for kind in ("rec", "tar", "zip", "parquet", "list", "rec", "tar_shards", "parquet_shards", "folder"):
        here = packed(here, place(tmp_path, kind + "1" if (tmp_path / kind).exists() else kind), EVERY[kind])
    assert of_people(contents(here)) == of_people(contents(drawn))
    assert all(name.endswith((".jpg", ".png", ".webp", ".bmp")) for name in contents(here))


def test_commands(run: Any, drawn: Path, tmp_path: Path) -> None:
    for words in (
        ["faces.zip"],
        ["faces.tar"],
        ["faces.parquet"],
        ["rec"],
        ["shards", "--to", "tar", "--shard-faces", "3", "--shuffle", "1"],
        ["sized", "--to", "parquet", "--shard-mb", "0.05"],
        ["listed", "--to", "list"],
    ):
        done = run("pack", drawn, tmp_path / words[0], *words[1:], "--json")
        told = json.loads(done.out)
        assert (done.code, told["faces"], told["people"], told["findings"]) == (0, 16, 4, [])
        assert run("unpack", tmp_path / words[0], tmp_path / f"{words[0]}-back", "--quiet").code == 0
        assert of_people(contents(tmp_path / f"{words[0]}-back")) == of_people(contents(drawn))
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == [*(f"{n:06d}.tar" for n in range(6)), INDEX]
    assert len(list((tmp_path / "sized").iterdir())) > 2
    for words, said in (
        (["x", "--to", "tra"], "expected rec, zip, tar, parquet, folder, list, got 'tra'"),
        (["x.zip", "--shard-faces", "3"], "expected shards of tar or parquet, got zip"),
        (["x.tar", "--shard-faces", "3"], "expected the name of a folder for shards; call it x"),
        (["x", "--to", "tar", "--shard-faces", "0"], "at least one face"),
        (["x", "--shuffle", "3"], "a .rec is written person by person"),
        (["x.zip", "--flat"], "only a .rec can be flat"),
        (["faces.zip"], "refused to overwrite"),
    ):
        done = run("pack", drawn, tmp_path / words[0], *words[1:])
        assert said in done.complaint(1 if "refused" in said else 2), words
    assert not [path for path in tmp_path.iterdir() if path.name.startswith((".", "x"))]


def test_shuffled_shards_hold_everybody(drawn: Path, tmp_path: Path) -> None:
    for target, seed in (("a", 1), ("b", 1), ("c", 2)):
        packed(drawn, tmp_path / target, Packing("tar", ShardLimits(faces=8), shuffle=seed))
    assert contents(tmp_path / "a") == contents(tmp_path / "b") != contents(tmp_path / "c")
    with tarfile.open(tmp_path / "a" / "000000.tar") as tar:
        assert len({name.rpartition("/")[0] for name in tar.getnames()}) > 2


# ---- what the files are for others


def test_others_read_our_zip(drawn: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed(drawn, tmp_path / "a.zip", Packing("zip"))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == contents(drawn)
        assert all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())


def test_a_zip_beyond_4_gib(tmp_path: Path) -> None:
    """64-bit places and counts, tried with a hole in the file and many small members."""
    target = tmp_path / "large.zip"
    writer = ZipWriter(Place(target, tmp_path, {}))
    writer.add(Packed("a/0.png", b"first", ROW))
    state = writer.pause()
    with open(target, "r+b") as file:
        file.truncate(2**32 + 5)
    writer = ZipWriter(Place(target, tmp_path, {**state, "size": 2**32 + 5}))
    for number in range(1, 70_000):
        writer.add(Packed(f"a/{number}.png", b"x", ROW))
    writer.finish()
    with zipfile.ZipFile(target) as archive:
        assert len(archive.namelist()) == 70_000
        assert archive.read("a/0.png") == b"first"
        assert archive.read("a/69999.png") == b"x"


def test_others_read_our_shards(drawn: Path, tmp_path: Path) -> None:
    target = packed(drawn, tmp_path / "a.tar", Packing("tar"))
    assert target.stat().st_size % 10_240 == 0
    with tarfile.open(target) as tar:
        found = tar.getmembers()
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in found} == {(0, 0, 0, "", "", 0o644)}
        samples: dict[str, dict[str, bytes]] = {}
        for member in found:  # as WebDataset groups them: neighbors of one key
            folder, _, base = member.name.rpartition("/")
            stem, _, kind = base.partition(".")
            data = tar.extractfile(member)
            assert data is not None
            samples.setdefault(f"{folder}/{stem}", {})[kind] = data.read()
    assert len(samples) == 16
    assert all("json" in sample and len(sample) == 2 for sample in samples.values())
    assert json.loads(samples["group/p3/a"]["json"]) == {"label": 0, "person": "group/p3"}


def test_others_read_our_parquet(drawn: Path, tmp_path: Path) -> None:
    table = pq.read_table(packed(drawn, tmp_path / "a.parquet", Packing("parquet")))
    assert {row["image"]["path"]: row["image"]["bytes"] for row in table.to_pylist()} == contents(drawn)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == table.column_names == ["image", "label", "person"]


# ---- what is known of faces beside the picture


def described(drawn: Path) -> FaceSet:
    faces = open_faces(drawn)
    points = np.arange(160, dtype=np.float32).reshape(16, 10) / 7
    manifest = faces.manifest.recolored(np.arange(16) % 3 == 0, "bgr")
    manifest = manifest.with_columns(landmarks=fixed_points(points, np.arange(16) % 2 == 0))
    return faces.with_manifest(manifest.mark([5], "blurred"))


@pytest.mark.parametrize("kind", [kind for kind in EVERY if kind.startswith(("tar", "parquet", "list"))])
def test_landmarks_and_colors_are_kept(drawn: Path, tmp_path: Path, kind: str) -> None:
    faces = described(drawn)
    done = pack(faces, tmp_path / kind, EVERY[kind])
    marked = faces.manifest.row(5).face
    assert [str(found) for found in done.findings] == [f"1 faces left out by their marks: {marked!r}"]
    back = open_faces(tmp_path / kind / "faces.csv" if kind == "list" else tmp_path / kind)
    kept = faces.kept().manifest
    order = {faces.kept().read(row): row for row in range(len(kept))}
    rows = np.array([order[back.read(row)] for row in range(len(back))])
    assert sorted(rows.tolist()) == list(range(15))
    np.testing.assert_array_equal(back.manifest.landmarks, kept.landmarks[rows])
    np.testing.assert_array_equal(back.manifest.swapped, kept.swapped[rows])
    assert back.manifest.people == kept.people


@pytest.mark.parametrize("kind", ["rec", "zip", "folder"])
def test_what_is_not_kept_is_told(drawn: Path, tmp_path: Path, kind: str) -> None:
    done = pack(described(drawn), tmp_path / kind, EVERY[kind])
    told = [str(found) for found in done.findings]
    assert f"7 faces whose landmarks the {kind} does not tell" in told
    assert f"6 faces whose colors, which are exchanged, the {kind} does not tell" in told


def test_unreadable_and_odd_faces_are_told_of(tmp_path: Path) -> None:
    root = tmp_path / "faces"
    (root / "ann").mkdir(parents=True)
    image = Image.new("RGB", (112, 112))
    image.save(root / "ann" / "1.png")
    image.save(root / "ann" / "gif.png", "GIF")
    (root / "ann" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = pack(open_faces(root), tmp_path / "a.zip", Packing("zip"))
    told = [str(found) for found in done.findings]
    assert told[0].startswith("1 unreadable faces left out: 'faces:ann/bad.png'")
    assert told[1] == "faces: 1 faces whose file is no JPEG, PNG, WebP or BMP skipped: 'ann/gif.png'"
    assert len(done.manifest) == len(open_faces(tmp_path / "a.zip")) == 1
    assert len(pack(open_faces(root), tmp_path / "rec", Packing("rec")).manifest) == 2  # records hold anything
    with pytest.raises(DataError, match="other content alone"):
        pack(open_faces(root).with_manifest(open_faces(root).manifest.mark([0, 1], "x")), tmp_path / "b", PLAIN["zip"])


# ---- names


ROW = Row("a/1.png", "set", "a", 0, None, 0, 0, "rgb", True, "")


@pytest.mark.parametrize(
    ("faces", "people", "stems"),
    [
        (["ann/1.jpg", "ann/1.png", "ann/2.png"], ["ann"] * 3, ["ann/1_jpg", "ann/1_png", "ann/2"]),
        (["x/1.jpg", "y/1.jpg", "y/2.jpg"], ["7", "7", "7"], ["7/x_1", "7/y_1", "7/2"]),
        (["ann/v1.0.jpg", "0000012", "ann\\c.png"], ["ann", "bob", "c"], ["ann/v1.0", "bob/0000012", "c/ann_c"]),
        (["a/.png", ".x.png"], ["a", "b"], ["a/_", "b/_x"]),
    ],
)
def test_names_in_files(faces: list[str], people: list[str], stems: list[str]) -> None:
    assert member_stems(manifest_of(faces, people, source="s")).to_pylist() == stems


def test_names_of_webdataset_hold_no_dots() -> None:
    manifest = manifest_of(["v.1/a.b.jpg", "v.1/a_b.jpg"], ["v.1", "v.1"], source="s")
    with pytest.raises(DataError, match=r"cannot be told apart by name: 'v\.1/a\.b\.jpg' and 'v\.1/a_b\.jpg'"):
        member_stems(manifest, dots=False)
    assert member_stems(manifest.take(np.array([0])), dots=False).to_pylist() == ["v.1/a_b"]


@pytest.mark.parametrize("person", ["../a", "/a", "a\nb", ".a", "C:a", "a//b", "a/", ""])
def test_people_that_are_no_folders_are_refused(tmp_path: Path, person: str) -> None:
    manifest = manifest_of(["x.jpg"], [person], source="s")
    with pytest.raises(DataError, match="expected names of folders, got"):
        member_stems(manifest)


def test_a_source_cannot_write_outside(drawn: Path, tmp_path: Path) -> None:
    """A list that names a person ``../../evil`` is refused before anything is written."""
    (drawn / "evil.csv").write_text('path,person\np0/a.jpg,"../../evil"\n')
    try:
        for kind, one in EVERY.items():
            with pytest.raises(DataError, match="expected names of folders"):
                pack(open_faces(drawn / "evil.csv"), tmp_path / "deep" / kind, one)
    finally:
        (drawn / "evil.csv").unlink()
    assert not [path for path in tmp_path.rglob("*") if path.name != "deep"]


# ---- killed


NURSERY = """
import json, os, sys, time
from pathlib import Path
from hyperarc.data import packing
from hyperarc.data.face_set import FaceSet, open_faces
from hyperarc.data.formats.face_writer import ShardLimits
from hyperarc.data.packing import Packing, pack
import hyperarc.data.formats.parquet_writer as parquet_writer
packing.PAUSE_EVERY_S, parquet_writer._GROUP_FACES = 0.0, 2
read = FaceSet.read

def work(source, target, kind, shards, stop_at):
    def slow(self, row):
        if row == stop_at:
            print("there", flush=True)
            time.sleep(600)
        return read(self, row)
    FaceSet.read = slow
    one = Packing(kind, ShardLimits(shards or None), verify=kind != "folder")
    print(len(pack(open_faces(source), Path(target), one).manifest), flush=True)

for line in sys.stdin:  # each job in a process of its own, which need not load everything again
    child = os.fork()
    if child == 0:
        print(os.getpid(), flush=True)
        work(*json.loads(line))
        os._exit(0)
    os.waitpid(child, 0)
"""


class Nursery:
    """Runs packing in processes that may be killed."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", NURSERY], stdin=-1, stdout=-1, text=True)

    def start(self, source: Path, target: Path, kind: str, shards: int = 0, stop_at: int = -1) -> tuple[int, str]:
        """The process, and what it says first: ``there`` at the row where it waits, or how many faces it packed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(source), str(target), kind, shards, stop_at]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline()), self.process.stdout.readline().strip()


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    one = Nursery()
    yield one
    one.process.kill()
    one.process.communicate()


@pytest.mark.parametrize(
    ("kind", "shards"),
    [("rec", 0), ("zip", 0), ("tar", 0), ("tar", 4), ("parquet", 0), ("parquet", 5), ("folder", 0), ("list", 0)],
)
def test_a_killed_pack_goes_on_and_ends_with_the_same_bytes(
    drawn: Path, tmp_path: Path, nursery: Nursery, kind: str, shards: int
) -> None:
    target, whole = tmp_path / "killed", tmp_path / "whole"
    kept = []
    for stop_at in (3, 11):
        process, said = nursery.start(drawn, target, kind, shards, stop_at)
        assert said == "there"
        os.kill(process, signal.SIGKILL)
        assert not target.exists()
        kept.append(json.loads((tmp_path / ".killed.unfinished" / "parts" / "progress.json").read_text())["row"])
    assert 0 < kept[0] <= 3 < kept[1] <= 11  # the second start went on where the first was killed
    assert [nursery.start(drawn, place, kind, shards)[1] for place in (target, whole)] == ["16", "16"]
    assert contents(target) == contents(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "whole"]


def test_what_happens_between_two_starts(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another set, other options and another process are told apart; a face written half is written again."""
    monkeypatch.setattr(packing_file, "PAUSE_EVERY_S", 0.0)
    target, faces = tmp_path / "a", open_faces(drawn)
    read = FaceSet.read

    def failing(self: FaceSet, row: int) -> bytes:
        if row == 7:
            raise DataError("gone", where="p1/a.jpg")
        return read(self, row)

    monkeypatch.setattr(FaceSet, "read", failing)
    with pytest.raises(DataError, match="gone"):
        pack(faces, target, Packing("folder"))
    monkeypatch.undo()
    content = tmp_path / ".a.unfinished" / "content"
    begun = sorted(contents(content))
    assert len(begun) == 7
    (content / begun[-1]).write_bytes(b"beyond what was known to be whole")
    state = tmp_path / ".a.unfinished" / "parts" / "progress.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "row": 5}))
    elsewhere = shutil.copytree(drawn, tmp_path / "elsewhere" / drawn.name)
    for other, said in (
        (lambda: pack(faces, target, Packing("zip")), "begun otherwise: kind was folder, is zip"),
        (lambda: pack(faces.with_manifest(faces.manifest.mark([0], "x")), target, PLAIN["folder"]), "manifest was"),
        (lambda: pack(open_faces(elsewhere), target, Packing("folder")), "sources.faces was"),
    ):
        with pytest.raises(HyperArcError, match=said):
            other()
    monkeypatch.setattr(unfinished_file, "version", lambda name: "0.0")
    with pytest.raises(HyperArcError, match=r"hyperarc was [^ ]+, is 0\.0"):
        pack(faces, target, Packing("folder"))
    monkeypatch.undo()
    pack(faces, target, Packing("folder"))
    assert contents(target) == contents(drawn)


def test_two_at_once_are_kept_apart(drawn: Path, tmp_path: Path, nursery: Nursery) -> None:
    process, said = nursery.start(drawn, tmp_path / "a.zip", "zip", stop_at=5)
    assert said == "there"
    with pytest.raises(HyperArcError, match="another process is at work on it"):
        pack(open_faces(drawn), tmp_path / "a.zip", Packing("zip"))
    os.kill(process, signal.SIGKILL)
    assert nursery.start(drawn, tmp_path / "a.zip", "zip")[1] == "16"
    assert len(open_faces(tmp_path / "a.zip")) == 16


def test_options_that_do_not_fit() -> None:
    with pytest.raises(UnknownNameError, match="got 'rar'"):
        Packing("rar")
    with pytest.raises(UsageError, match="at least one face and one byte"):
        ShardLimits(bytes=0)


def test_a_full_disk_is_told_and_the_work_is_kept(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: ZipWriter, face: Packed) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(ZipWriter, "add", full)
    with pytest.raises(HyperArcError, match="the disk is full; start again; finished parts are kept"):
        pack(open_faces(drawn), tmp_path / "a.zip", Packing("zip"))
    monkeypatch.undo()
    pack(open_faces(drawn), tmp_path / "a.zip", Packing("zip"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
