"""Tar files of faces: WebDataset shards and plain ones, well-formed and hostile."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hyperarc.data.face_set import open_faces
from hyperarc.data.formats.byte_file import LocalBytes
from hyperarc.data.formats.tar_index import INDEX
from hyperarc.data.formats.tar_members import FILE, members
from hyperarc.data.formats.tar_source import TarSource, shard_paths
from hyperarc.data.sources import Source, open_source
from hyperarc.errors import DataError
from hyperarc.faces.image import ImageLimits


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (value, 0, 255 - value)).save(buffer, "PNG")
    return buffer.getvalue()


def tar_of(path: Path, *files: tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def special(path: Path, name: str, kind: bytes, **more: object) -> Path:
    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo(name)
        member.type = kind
        for key, value in more.items():
            setattr(member, key, value)
        tar.addfile(member)
    return path


def people(source: Source) -> dict[str, str]:
    manifest = source.scan()
    return dict(zip(manifest.column("face").tolist(), manifest.column("person").tolist(), strict=True))


def told(source: Source) -> dict[str, tuple[str, ...]]:
    return {found.what: found.names for found in source.scan().findings}


# ---- layouts


def test_a_shard_of_webdataset(tmp_path: Path) -> None:
    described = {"person": "bob", "label": 3, "landmarks": list(range(10)), "color": "bgr"}
    path = tar_of(
        tmp_path / "shard.tar",
        ("000/0.jpg", png(0)),
        ("000/0.cls", b"42\n"),
        ("000/1.left.png", png(1)),
        ("000/1.right.png", png(2)),
        ("000/1.cls", b"9"),
        ("000/1.json", json.dumps(described).encode()),
        ("000/2.txt", b"7"),
        ("000/2.PNG", png(3)),
        ("000/3.png", png(4)),
        ("000/3.txt", b"a face in the street"),
        ("000/4.json", b'{"label": 5}'),
        ("000/4.png", png(5)),
        ("000/5.png", png(6)),
        ("000/5.json", b"[1]"),
        ("000/6.png", png(7)),
        ("000/6.cls", b"-1"),
    )
    source = open_source(path)
    assert isinstance(source, Source)
    assert people(source) == {
        "000/0.jpg": "42",
        "000/1.left.png": "bob",
        "000/1.right.png": "bob",
        "000/2.PNG": "7",
        "000/3.png": "000",
        "000/4.png": "5",
        "000/5.png": "000",
    }
    assert told(source) == {"faces whose label is below 0 skipped": ("000/6.png",)}
    manifest = source.scan()
    assert manifest.swapped.tolist() == [False, True, True, False, False, False, False]
    np.testing.assert_array_equal(manifest.landmarks[1].ravel(), np.arange(10))
    assert np.isnan(manifest.landmarks[0]).all()
    again = pickle.loads(pickle.dumps(source))
    for row, face in enumerate(people(source)):
        assert again.read(face) == png(row)
    assert source.image("000/0.jpg")[0, 0].tolist() == [0, 0, 255]
    with pytest.raises(DataError, match=r"shard\.tar:000/9\.png: no such face"):
        source.read("000/9.png")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_plain_tars(tmp_path: Path, form: int) -> None:
    long = "z" * 90 + "/" + "y" * 90 + ".png" if form == tarfile.USTAR_FORMAT else "z/" + "ü" * 120 + "/1.png"
    files = [("./ann/1.png", png(1)), ("train/bob/1.v2.png", png(2)), (long, png(3)), ("bob/notes.md", b"x")]
    hidden = ("__MACOSX/ann/._1.png", b"x"), ("loose.png", png(9))
    source = open_source(tar_of(tmp_path / "set.tar", *files, *hidden, form=form))
    assert people(source) == {"ann/1.png": "ann", "train/bob/1.v2.png": "train/bob", long: long.rpartition("/")[0]}
    assert [source.read(face) for face in people(source)] == [png(1), png(2), png(3)]
    assert told(source) == {
        "files of other kinds skipped": ("bob/notes.md",),
        "hidden files skipped": ("__MACOSX/ann/._1.png",),
        "pictures without a label or a person folder skipped": ("loose.png",),
    }


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar here")
def test_what_tar_itself_writes(tmp_path: Path) -> None:
    long = "person " + "x" * 120
    for name, data in (("ann/1.png", png(1)), (f"{long}/{'y' * 120}.png", png(2))):
        (tmp_path / "faces" / name).parent.mkdir(parents=True)
        (tmp_path / "faces" / name).write_bytes(data)
    (tmp_path / "faces" / "ann" / "link.png").symlink_to("1.png")
    subprocess.run(["tar", "-C", tmp_path / "faces", "-cf", tmp_path / "faces.tar", "."], check=True)
    source = open_source(tmp_path / "faces.tar")
    assert sorted(people(source).values()) == ["ann", long]
    assert {source.read(face) for face in people(source)} == {png(1), png(2)}
    assert told(source) == {"links skipped": ("ann/link.png",)}


def test_shards(tmp_path: Path) -> None:
    for number in range(3):
        files = [("0.png", png(number)), ("0.cls", str(number).encode())]
        tar_of(tmp_path / f"faces-{number:04d}.tar", *files)
    folder, pattern = open_source(tmp_path), open_source(tmp_path / "faces-{0001..0002}.tar")
    assert people(folder) == {f"faces-{n:04d}/0.png": str(n) for n in range(3)}
    assert people(pattern) == {f"faces-{n:04d}/0.png": str(n) for n in (1, 2)}
    assert pattern.name == "faces"
    assert pattern.read("faces-0002/0.png") == png(2)
    manifest = open_faces(tmp_path / "faces-{0001..0002}.tar").manifest.mark([0], "doubtful")
    manifest.write(tmp_path / "marked.parquet")
    assert open_faces(tmp_path / "marked.parquet").read(1) == png(2)
    with pytest.raises(DataError, match=r"faces-0003\.tar: cannot be opened"):
        open_source(tmp_path / "faces-{0001..0003}.tar")
    for bad in ("x{5..1}.tar", "x{0..9999999}.tar"):
        with pytest.raises(DataError, match="at most 1000000 shards"):
            shard_paths(bad)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"expected \.tar files, got none"):
        TarSource(tmp_path / "empty")


def test_many_shards_are_not_all_kept_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperarc.data.formats.tar_source._MOST_OPEN", 1)
    for number in range(2):
        tar_of(tmp_path / f"{number}.tar", ("a/0.png", png(number)))
    source = TarSource(tmp_path)
    assert [source.read(f"{number}/a/0.png") for number in range(2)] == [png(0), png(1)]
    assert all(shard._file is None for shard in source._shards)  # type: ignore[attr-defined]


# ---- what is no plain file, and what is damaged


def test_other_members_are_skipped_by_name(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "set.tar", ("a/1.png", png(1)))
    special(path, "a/hard.png", tarfile.LNKTYPE, linkname="/etc/passwd")
    special(path, "a/soft.png", tarfile.SYMTYPE, linkname="../../etc/passwd")
    special(path, "a/null.png", tarfile.CHRTYPE, devmajor=1, devminor=3)
    special(path, "a/pipe.png", tarfile.FIFOTYPE)
    special(path, "a/volume.png", b"V")
    special(path, "a", tarfile.DIRTYPE)
    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo("a/2.png")
        member.size = len(png(2))
        tar.addfile(member, io.BytesIO(png(2)))
    special(path, "a/sparse.png", tarfile.REGTYPE, pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
    source = open_source(path)
    assert people(source) == {"a/1.png": "a", "a/2.png": "a"}
    assert source.read("a/2.png") == png(2)
    assert told(source) == {
        "devices skipped": ("a/null.png", "a/pipe.png"),
        "links skipped": ("a/hard.png", "a/soft.png"),
        "others skipped": ("a/volume.png",),
        "sparse files skipped": ("a/sparse.png",),
    }


def test_old_gnu_sparse_files_are_stepped_over(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "set.tar", ("a/s.png", b""), ("a/1.png", png(1)))
    data = bytearray(path.read_bytes())
    data[156:157], data[482:483] = b"S", b"\1"
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data[:512] + bytes(504) + b"\0" * 8 + data[512:])
    assert people(open_source(path)) == {"a/1.png": "a"}


def test_what_was_added_later_counts(tmp_path: Path) -> None:
    source = open_source(tar_of(tmp_path / "a.tar", ("a/1.png", png(1)), ("a/2.png", png(2)), ("./a/1.png", png(3))))
    assert source.read("a/1.png") == png(3)
    assert told(source) == {"members skipped for a later one of their name": ("a/1.png",)}


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "a\\..\\..\\evil.png"])
def test_names_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"a\.tar: refused: the member name '.*evil\.png' leads out of the tar"):
        open_source(tar_of(tmp_path / "a.tar", ("a/1.png", png(1)), (name, png(2))))


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a/1.cls", b"ann", "expected a number, got b'ann'; give names"),
        ("a/1.cls", b"", "expected a number, got b''"),
        ("a/1.json", b"{", "unreadable JSON"),
        ("a/1.json", b"[" * 5000, "unreadable JSON"),
        ("a/1.json", b'{"label": true}', "expected a name or a number, got True"),
        ("a/1.json", b'{"landmarks": [1, 2]}', "expected ten numbers in landmarks"),
        ("a/1.json", b'{"landmarks": "x"}', "expected ten numbers in landmarks"),
        ("a/1.json", b'{"landmarks": [1,2,3,4,5,6,7,8,9,1e999]}', "expected ten numbers in landmarks"),
        ("a/1.json", b'{"color": "blue"}', "expected the color rgb or bgr, got 'blue'"),
    ],
)
def test_bad_labels_are_named(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    with pytest.raises(DataError, match=rf"a\.tar:{name}: {said}"):
        open_source(tar_of(tmp_path / "a.tar", ("a/1.png", png(1)), (name, data)))


def test_compressed_tars_are_refused(tmp_path: Path) -> None:
    data = tar_of(tmp_path / "a.tar", ("a/1.png", png(1))).read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(data))
    with pytest.raises(DataError, match=r"expected a plain tar, got a gzip file; unpack it once \(gzip -d\)"):
        open_source(tmp_path / "a.tar.gz")
    (tmp_path / "a.tar.xz").write_bytes(b"\xfd7zXZ" + bytes(600))
    with pytest.raises(DataError, match="got a compressed one"):
        open_source(tmp_path / "a.tar.xz")


def test_damage_is_named(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", ("a/1.png", png(1)), ("a/2.png", png(2)))
    whole = path.read_bytes()
    second = 512 + len(png(1)) + -len(png(1)) % 512
    pax = tar_of(tmp_path / "pax.tar", ("é" * 60 + "/1.png", png(1))).read_bytes()

    def sealed(data: bytes, at: int = 0) -> bytes:
        head = bytearray(data[at : at + 512])
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        return data[:at] + bytes(head) + data[at + 512 :]

    for data, said in (
        (b"", "got none: a: 1 shards without an end mark"),
        (b"x" * 100, "ends within a header, at byte 0"),
        (whole[: second + 100], f"ends within a header, at byte {second}"),
        (whole[: second + 530], rf"'a/2.png' of {len(png(2))} bytes reaches beyond|of {len(png(2))} bytes in a file"),
        (whole[:3] + b"x" + whole[4:], "does not match its checksum, at byte 0"),
        (whole[:148] + b"9" * 8 + whole[156:], "does not match its checksum"),
        (sealed(whole[:124] + b"0000009\0" + whole[132:]), "a size is b'0000009"),
        (sealed(whole[:124] + b"77777777777\0" + whole[136:]), "a member of 8589934591 bytes in a file"),
        (sealed(whole[:124] + b"\xff" * 12 + whole[136:]), "a member of -1 bytes in a file"),
        (sealed(whole[:124] + b"\x80" + b"\xff" * 11 + whole[136:]), "bytes in a file"),
        (sealed(pax[:124] + b"00000000000\0" + pax[136:]), "a name or header of 0 bytes"),
        (pax[:512] + b"9" + pax[513:], "a pax header cannot be read"),
        (pax[:512] + b"x" + pax[513:], "a pax header cannot be read"),
        (bytes(2048), "got none: nothing in it"),
    ):
        path.write_bytes(data)
        with pytest.raises(DataError, match=rf"a\.tar: .*{said}"):
            open_source(path)
    path.write_bytes(whole[: second + 512 + len(png(2))])
    source = open_source(path)
    assert source.read("a/2.png") == png(2)
    assert "shards without an end mark, which may be cut off" in told(source)


def test_a_size_in_a_pax_header(tmp_path: Path) -> None:
    files = {}
    for size in ("1", "x", "-5", "9" * 30):
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            member = tarfile.TarInfo("a/1.png")
            member.pax_headers = {"size": size}
            tar.addfile(member)
        try:
            files[size] = people(open_source(tmp_path / "a.tar"))
        except DataError as error:
            files[size] = {"error": str(error)}
    assert "a size is 'x'" in files["x"]["error"]
    assert "a size is '-5'" in files["-5"]["error"]
    assert "damaged tar" in files["9" * 30]["error"]


def test_a_tar_that_changes_or_is_cut_under_us(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", ("a/1.png", png(1)))
    source, copy = TarSource(path), pickle.dumps(TarSource(path))
    assert source.read("a/1.png") == png(1)
    with open(path, "r+b") as file:
        file.truncate(530)
    with pytest.raises(DataError, match=r"a\.tar:a/1\.png: cut off: expected \d+ bytes, got 18"):
        source.read("a/1.png")
    with pytest.raises(DataError, match="changed since it was scanned"):
        pickle.loads(copy).read("a/1.png")


def test_limits(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a.tar", ("a/1.png", png(1)))
    with pytest.raises(DataError, match="at most 10 bytes, got 11"):
        TarSource(path, limits=ImageLimits(bytes=10)).image("a/1.png")


# ---- the index beside shards


def indexed(folder: Path) -> Path:
    """Two shards and their index, written by hand."""
    sizes, rows = {}, []
    for number in range(2):
        path = tar_of(folder / f"{number}.tar", ("a/1.png", png(number)), ("a/1.json", b'{"person": "ann"}'))
        sizes[path.name] = path.stat().st_size
        rows.append({"face": f"{number}/a/1.png", "person": "bob", "shard": number, "offset": 512})
    table = pa.Table.from_pylist([{**row, "size": len(png(0))} for row in rows])
    pq.write_table(table.replace_schema_metadata({"hyperarc_shards": json.dumps(sizes)}), folder / INDEX)
    return folder


def test_an_index_beside_the_shards_is_gone_by(tmp_path: Path) -> None:
    source = open_source(indexed(tmp_path))
    assert people(source) == {"0/a/1.png": "bob", "1/a/1.png": "bob"}  # the index says so: nothing was walked through
    assert [source.read(f"{n}/a/1.png") for n in range(2)] == [png(0), png(1)]
    assert people(open_source(tmp_path / "{1..1}.tar")) == {"a/1.png": "ann"}  # a single one is walked through
    assert people(open_source(tmp_path / "{0..1}.tar")) == people(source)


def test_an_index_of_other_shards_is_not_used(tmp_path: Path) -> None:
    indexed(tmp_path)
    tar_of(tmp_path / "1.tar", ("c/1.png", png(3)), ("c/2.png", bytes(20_000)))
    source = open_source(tmp_path)
    assert people(source)["1/c/1.png"] == "c"
    assert "indexes beside the shards not used: of other shards" in told(source)
    for content in (b"", b"PAR1", b"x" * 100):
        (tmp_path / INDEX).write_bytes(content)
        assert people(open_source(tmp_path))["1/c/1.png"] == "c"


@pytest.mark.parametrize(
    ("column", "values", "refused"),
    [
        ("offset", [512, 10**6], True),
        ("offset", [-1, 512], True),
        ("size", [10**9, 5], True),
        ("size", [2**62, 5], True),
        ("shard", [0, 7], False),
        ("shard", [0, -1], False),
        ("person", [None, "x"], False),
        ("offset", ["x", "y"], False),
    ],
)
def test_an_index_that_lies(tmp_path: Path, column: str, values: list[object], refused: bool) -> None:
    table = pq.read_table(indexed(tmp_path) / INDEX)
    pq.write_table(table.set_column(table.column_names.index(column), column, pa.array(values)), tmp_path / INDEX)
    if refused:
        with pytest.raises(DataError, match="says that a face lies outside its shard"):
            open_source(tmp_path)
    else:
        assert people(open_source(tmp_path))["0/a/1.png"] == "ann"


# ---- any tar


NAMES = st.lists(st.text("ab./é_" + "x" * 3, min_size=1, max_size=300), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(NAMES, st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]), st.binary(max_size=1200))
def test_members_are_those_that_tarfile_finds(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], form: int, data: bytes
) -> None:
    path = tar_of(tmp_path_factory.mktemp("any") / "a.tar", *((name, data) for name in names), form=form)
    found = [(m.name.rstrip("/"), m.kind == FILE, m.offset, m.size) for m in members(LocalBytes(path))]
    with tarfile.open(path) as tar:
        assert found == [(m.name.rstrip("/"), m.isfile(), m.offset_data, m.size) for m in tar]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_bytes_are_read_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Changed and cut tars: faces, findings or a DataError, never anything else, and nothing is written."""
    folder = tmp_path_factory.mktemp("fuzz")
    path = tar_of(
        folder / "a.tar", ("é" * 60 + "/1.png", b"abc"), ("a/1.png", b"x" * 600), ("a/1.cls", b"3"), ("b/1.json", b"{}")
    )
    content = bytearray(path.read_bytes()[:6144])
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    at = data.draw(st.integers(0, 8)) * 512
    if data.draw(st.booleans()):  # let the changes pass the first gate
        head = content[at : at + 512]
        head[148:156] = b" " * 8
        content[at + 148 : at + 156] = b"%06o\0 " % (sum(head) & 0o777777)
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        source = TarSource(path)
        for face in people(source):
            source.read(face)
    except DataError as error:
        told = str(error)
        assert "a.tar" in told
    assert [entry.name for entry in folder.iterdir()] == ["a.tar"]
