"""Folders, zips and arrays of faces, well-formed and hostile."""

from __future__ import annotations

import errno
import io
import os
import pickle
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperarc.data.sources import (
    ArraySource,
    FolderSource,
    Source,
    ZipLimits,
    ZipSource,
    combine,
    open_source,
)
from hyperarc.errors import DataError
from hyperarc.faces.image import ImageLimits


def png(value: int = 0, side: int = 16) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (value, 0, 255 - value)).save(buffer, "PNG")
    return buffer.getvalue()


FILES = {
    "ann/1.png": png(1),
    "ann/2.PNG": png(2),
    "train/bob/1.png": png(3),
    "train/bob/notes.txt": b"x",
    "loose.png": png(4),
    "__MACOSX/ann/._1.png": b"x",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "people"
    for name, data in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "carl").mkdir()
    (root / "train" / "dora").mkdir()
    return root


@pytest.fixture(params=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def packed(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "people.zip"
    with zipfile.ZipFile(path, "w", request.param) as archive:
        archive.mkdir("carl")
        archive.mkdir("train/dora")
        for name, data in FILES.items():
            archive.writestr(name, data)
    return path


def zip_with(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def check_people(source: Source) -> None:
    manifest = source.scan()
    assert isinstance(source, Source)
    assert [(r.face, r.person, r.label) for r in manifest.rows] == [
        ("ann/1.png", "ann", 0),
        ("ann/2.PNG", "ann", 0),
        ("train/bob/1.png", "train/bob", 1),
    ]
    found = {f.what: f.names for f in manifest.findings}
    assert found["people without faces"] == ("carl", "train/dora")
    assert found["files of other kinds skipped"] == ("train/bob/notes.txt",)
    assert found["pictures outside a person folder skipped"] == ("loose.png",)
    assert source.image("ann/2.PNG")[0, 0].tolist() == [2, 0, 253]
    assert source.read("ann/1.png") == FILES["ann/1.png"]
    again = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(again.image("train/bob/1.png"), source.image("train/bob/1.png"))
    with pytest.raises(DataError, match=r"ann/9\.png"):
        source.read("ann/9.png")


def test_folder(folder: Path) -> None:
    check_people(open_source(folder))


def test_folders_that_cannot_be_listed_are_told_as_such(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def closed(path: Any) -> Any:
        if not isinstance(path, int) and Path(path).name in ("ann", "dora"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    for name in ("bob", "carl"):
        shutil.rmtree(next(folder.rglob(name)))
    (folder / "carl").mkdir()
    shutil.copytree(folder / "ann", folder / "eve")
    monkeypatch.setattr("hyperarc.data.formats.folder_source.os.scandir", closed)
    found = {f.what: f.names for f in FolderSource(folder).scan().findings}
    assert found["folders that cannot be listed (Permission denied) skipped"] == ("ann", "train/dora")
    assert found["people without faces"] == ("carl",)
    (folder / "loose.png").unlink()
    for face in (folder / "eve").iterdir():
        face.unlink()
    with pytest.raises(DataError, match=r"but no jpg.*; 2 folders cannot be listed; see who may read them"):
        FolderSource(folder).scan()


def test_zip(packed: Path) -> None:
    check_people(open_source(packed))
    assert ZipSource(packed).name == "people"
    assert ZipSource(packed, name="mine").scan().sources == ("mine",)


def test_folder_links_are_followed_once(folder: Path) -> None:
    (folder / "loop").symlink_to(folder)
    (folder / "eve").symlink_to(folder / "ann")
    found = {f.what: f.names for f in FolderSource(folder).scan().findings}
    assert set(found["links to folders seen before skipped"]) & {"loop", "eve", "ann"}


def test_names_that_are_no_text_are_counted(folder: Path) -> None:
    try:
        with open(os.path.join(os.fsencode(folder), b"ann", b"\xff.png"), "wb") as file:
            file.write(png())
    except OSError:
        pytest.skip("this file system only takes UTF-8 names")
    found = {f.what: f.count for f in FolderSource(folder).scan().findings}
    assert found["files with unreadable names skipped"] == 1


def test_missing_and_unfit_places_are_explained(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"did you mean '.*people'\?"):
        open_source(tmp_path / "peple")
    with pytest.raises(DataError, match=r"did you mean '.*people'\?"):
        FolderSource(tmp_path / "poeple" / "ann")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"person/face\.jpg; got 0 folders and 0 other files"):
        open_source(tmp_path / "empty").scan()
    (tmp_path / "empty" / "1.png").write_bytes(png())
    with pytest.raises(DataError, match=r"1 pictures directly at the top \('1\.png'\)"):
        open_source(tmp_path / "empty").scan()
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(DataError, match=r"note\.txt:1: expected a header .*; got 'x'"):
        open_source(tmp_path / "note.txt").scan()
    (tmp_path / "note.bin").write_bytes(b"\0x")
    with pytest.raises(DataError, match="a file that is none of them"):
        open_source(tmp_path / "note.bin")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04" + b"\0" * 50)
    with pytest.raises(DataError, match="expected a zip"):
        ZipSource(tmp_path / "cut.zip")


def test_keys_that_lead_outside_are_refused(folder: Path) -> None:
    (folder.parent / "secret.png").write_bytes(png())
    for key in ("../secret.png", "ann/../../secret.png", str(folder.parent / "secret.png")):
        with pytest.raises(DataError, match="leads out"):
            FolderSource(folder).read(key)


@pytest.mark.parametrize(
    "name", ["../evil.png", "ann/../../evil.png", "/etc/evil.png", "C:\\evil.png", "a\\..\\..\\evil.png"]
)
def test_zip_names_that_lead_outside_are_refused_by_name(name: str, tmp_path: Path) -> None:
    path = zip_with(tmp_path / "evil.zip", ("ann/1.png", png()), (name, png()))
    with pytest.raises(DataError, match=r"evil\.zip: refused: the member name '.*evil\.png' leads out"):
        ZipSource(path)


def test_encrypted_and_oddly_packed_members_are_refused(tmp_path: Path) -> None:
    path = zip_with(tmp_path / "a.zip", ("ann/1.png", png()))
    data = bytearray(path.read_bytes())
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(DataError, match=r"'ann/1\.png' is encrypted"):
        ZipSource(tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("ann/1.png", png())
    with pytest.raises(DataError, match="packed by method 14"):
        ZipSource(tmp_path / "c.zip")


def test_zip_bombs_are_refused(tmp_path: Path) -> None:
    path = zip_with(tmp_path / "bomb.zip", ("ann/1.png", b"\0" * 5_000_000))
    assert path.stat().st_size < 6000
    small = ZipLimits(image=ImageLimits(bytes=1_000_000))
    with pytest.raises(DataError, match=r"'ann/1\.png' has 5000000 bytes; at most 1000000"):
        ZipSource(path, limits=small)
    # The same with a directory that lies about the inflated size.
    data = path.read_bytes()
    at = data.rfind(b"PK\x01\x02") + 24
    (tmp_path / "liar.zip").write_bytes(data[:at] + (100).to_bytes(4, "little") + data[at + 4 :])
    with pytest.raises(DataError, match=r"ann/1\.png: damaged zip member: expected 100 bytes"):
        ZipSource(tmp_path / "liar.zip", limits=small).read("ann/1.png")
    many = zip_with(tmp_path / "many.zip", ("ann/1.png", png()), ("ann/2.png", png()))
    with pytest.raises(DataError, match="at most 1 members, got 2"):
        ZipSource(many, limits=ZipLimits(members=1))


def test_damaged_zip_members_are_named(packed: Path, tmp_path: Path) -> None:
    data = bytearray(packed.read_bytes())
    with zipfile.ZipFile(packed) as archive:
        info = archive.getinfo("ann/1.png")
    start = info.header_offset + 30 + len("ann/1.png")
    data[start + info.compress_size // 2] ^= 0xFF
    (tmp_path / "bad.zip").write_bytes(data)
    with pytest.raises(DataError, match=r"bad\.zip:ann/1\.png: damaged zip member"):
        ZipSource(tmp_path / "bad.zip").read("ann/1.png")


def test_long_local_extra_fields_are_read_past(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("ann/1.png")
    info.extra = b"\x99\x99" + (2000).to_bytes(2, "little") + b"\0" * 2000
    path = zip_with(tmp_path / "extra.zip", (info, png(7)), ("ann/2.png", png(8)))
    assert ZipSource(path).read("ann/1.png") == png(7)
    assert zlib.crc32(ZipSource(path).read("ann/2.png")) == zlib.crc32(png(8))


def test_a_zip_that_changes_under_us_is_noticed(packed: Path) -> None:
    source = ZipSource(packed)
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("ann/3.png", png())
    with pytest.raises(DataError, match="changed since it was scanned"):
        source.read("ann/1.png")


def test_array() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    source = ArraySource(images, ["bob", "ann", "bob"], name="drawn")
    manifest = source.scan()
    assert isinstance(source, Source)
    assert (manifest.labels.tolist(), manifest.people) == ([1, 0, 1], ("ann", "bob"))
    key = manifest.row(2).face
    np.testing.assert_array_equal(source.image(key), images[2])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(source.read(key)))), images[2])
    for bad in ("bob/0000009", "ann/0000002", "x", "bob/-1"):
        with pytest.raises(DataError, match="no such face"):
            source.image(bad)
    with pytest.raises(DataError, match="3 persons"):
        ArraySource(images, ["bob"])
    with pytest.raises(DataError, match=r"got float32 \[3, 16, 16, 3\]"):
        ArraySource(images.astype(np.float32), ["a"] * 3)  # type: ignore[arg-type]


def test_real_zips(shared: Path) -> None:
    sources = [open_source(shared / "data" / name) for name in ("casia14.zip", "celeba200.zip")]
    whole = combine(sources)
    assert (len(whole), whole.num_people) == (1649 + 4088, 14 + 199)
    for row in (0, len(whole) - 1):
        face = whole.row(row)
        source = next(s for s in sources if s.name == face.source)
        assert source.image(face.face).shape == (112, 112, 3)
