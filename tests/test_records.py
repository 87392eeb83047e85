"""InsightFace's record files, well-formed and hostile: read, written, trained on."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hyperarc.data.face_set import FaceSet
from hyperarc.data.formats.record_index import read_index, read_people, read_property, rebuild_index
from hyperarc.data.formats.record_writer import RecordWriter
from hyperarc.data.formats.recordio import MAGIC, RecordFile, RecordLimits, chunks, packed
from hyperarc.data.formats.records import RecordSource
from hyperarc.data.manifest import Manifest
from hyperarc.data.packing import Packing, pack
from hyperarc.data.sources import ArraySource, FolderSource, Source, open_source
from hyperarc.data.training_set import open_training_set
from hyperarc.errors import DataError, HyperArcError
from hyperarc.faces.image import ImageLimits
from hyperarc.recipe import Data


def write_records(source: Source, manifest: Manifest, folder: Path, *, flat: bool = False) -> None:
    pack(FaceSet((source,), manifest), folder, Packing("rec", flat=flat))


def plain_records(rec: bytes) -> list[tuple[int, bytes]]:
    """A second reader, written from the description of the format: byte at which each record begins, its bytes."""
    records: list[tuple[int, bytes]] = []
    at = 0
    while at < len(rec):
        magic, word = struct.unpack_from("<II", rec, at)
        assert magic == 0xCED7230A
        kind, length = word >> 29, word & 0x1FFFFFFF
        data = rec[at + 8 : at + 8 + length]
        assert len(data) == length
        if kind in (0, 1):
            records.append((at, data))
        else:
            records[-1] = (records[-1][0], records[-1][1] + struct.pack("<I", magic) + data)
        padding = rec[at + 8 + length : at + 8 + (length + 3) // 4 * 4]
        assert padding == bytes(len(padding))
        at += 8 + (length + 3) // 4 * 4
    return records


def plain_record(data: bytes) -> tuple[list[float], int, int, bytes]:
    flag, label, number, number2 = struct.unpack_from("<IfQQ", data)
    labels = list(struct.unpack_from(f"<{flag}f", data, 24)) if flag else [label]
    return labels, number, number2, data[24 + 4 * flag :]


def jpeg(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (112, 112), (value, 0, 255 - value)).save(buffer, "JPEG")
    return buffer.getvalue()


def write(folder: Path, *records: tuple[int, float | Sequence[float], bytes]) -> Path:
    with RecordWriter(folder) as writer:
        for key, label, payload in records:
            writer.add(key, label, payload)
    return folder / "train.rec"


@pytest.fixture(params=["rec_grouped", "rec_flat"])
def golden(request: pytest.FixtureRequest, shared: Path) -> Path:
    return shared / "golden" / request.param


# ---- golden files


def test_golden_records_are_read(golden: Path) -> None:
    expected = json.loads((golden / "expected.json").read_text())["records"]
    file, index = RecordFile(golden / "train.rec"), read_index(golden / "train.idx", 100)
    assert index.keys.tolist() == [record["key"] for record in expected]
    assert index.offsets.tolist() == [record["offset"] for record in expected]
    heads = file.heads(index.offsets)
    assert not heads.problem.any()
    for row, record in enumerate(expected):
        got = file.record(int(index.offsets[row]))
        assert (got.flag, list(got.label)) == (record["flag_as_unpacked"], record["label"])
        assert (got.id, got.id2, len(got.payload)) == (record["id"], record["id2"], record["payload_len"])
        assert hashlib.sha256(got.payload).hexdigest() == record["payload_sha256"]
        told = (heads.flag[row], heads.label[row], heads.id[row], heads.payload[row])
        assert told == (got.flag, got.label[0], got.id, len(got.payload))
    rebuilt = rebuild_index(file)
    assert (rebuilt.keys.tolist(), rebuilt.offsets.tolist()) == (index.keys.tolist(), index.offsets.tolist())
    assert rebuilt.findings == ()


def test_golden_files_are_written_byte_by_byte(golden: Path, tmp_path: Path) -> None:
    index = [tuple(map(int, line.split("\t"))) for line in (golden / "train.idx").read_text().splitlines()]
    file = RecordFile(golden / "train.rec")
    with RecordWriter(tmp_path) as writer:
        for key, offset in index:
            record = file.record(offset)
            label = record.label if record.flag else record.label[0]
            assert record.id == key
            writer.add(key, label, record.payload, id2=record.id2)
    for name in ("train.rec", "train.idx"):
        assert (tmp_path / name).read_bytes() == (golden / name).read_bytes()


def test_golden_faces(shared: Path, tmp_path: Path) -> None:
    golden = shared / "golden" / "rec_grouped"
    source = open_source(golden)
    manifest = source.scan()
    assert isinstance(source, Source)
    assert (source.name, manifest.findings) == ("rec_grouped", ())
    assert manifest.people == ("00000000", "00000001", "00000002")
    assert manifest.labels.tolist() == [0, 0, 0, 1, 2, 2]
    assert manifest.row(3).face == "00000001/00000004"
    images = json.loads((golden / "expected.json").read_text())["images"]
    faces = manifest.faces(np.arange(6))
    assert [hashlib.sha256(source.read(face)).hexdigest() for face in faces] == [one["sha256"] for one in images]
    assert source.image(faces[0]).shape == (112, 112, 3)
    # what we make of these faces is the file that MXNet made of them
    write_records(source, manifest, tmp_path / "ours")
    for name in ("train.rec", "train.idx", "property"):
        assert (tmp_path / "ours" / name).read_bytes() == (golden / name).read_bytes()
    with pytest.raises(HyperArcError, match="refused to overwrite"):
        write_records(source, manifest, tmp_path / "ours")


def test_golden_flat_faces_with_a_label_vector(shared: Path) -> None:
    source = RecordSource(shared / "golden" / "rec_flat" / "train.rec")
    manifest = source.scan()
    assert manifest.labels[3] == manifest.labels[4] == 2  # classes 0, 1, 4, ...: a vector's first number
    assert source.read("00000005/00000005") == MAGIC * 3 + b"x"
    told = [str(found) for found in manifest.findings]
    assert "rec_flat: 1 records without a picture skipped: '7'" in told
    assert any("classes beyond the 2 of property" in line for line in told)


# ---- our own files


def people_folder(root: Path) -> Path:
    for person, count in (("ann", 3), ("bob/sister", 1), ("carl", 2)):
        (root / person).mkdir(parents=True)
        for number in range(count):
            (root / person / f"{number}.jpg").write_bytes(jpeg(40 * number + len(person)))
    return root


@pytest.mark.parametrize("flat", [False, True])
def test_a_folder_comes_back(tmp_path: Path, flat: bool) -> None:
    folder = FolderSource(people_folder(tmp_path / "people"))
    manifest = folder.scan()
    write_records(folder, manifest, tmp_path / "packed", flat=flat)
    rec = (tmp_path / "packed" / "train.rec").read_bytes()
    found = {plain_record(data)[1]: (at, *plain_record(data)) for at, data in plain_records(rec)}
    lines = (tmp_path / "packed" / "train.idx").read_text().splitlines()
    assert {int(k): int(v) for k, v in (line.split("\t") for line in lines)} == {k: v[0] for k, v in found.items()}
    faces = [folder.read(face) for face in manifest.faces(np.arange(6))]
    first = 0 if flat else 1
    assert [found[first + i][4] for i in range(6)] == faces
    assert [found[first + i][1] for i in range(6)] == [[0.0], [0.0], [0.0], [1.0], [2.0], [2.0]]
    if flat:
        assert len(found) == 6
    else:
        assert [found[key][1] for key in (7, 8, 9, 0)] == [[1.0, 4.0], [4.0, 5.0], [5.0, 7.0], [7.0, 10.0]]
        assert [found[key][3] for key in (1, 7, 0)] == [0, 0, 1]
    assert (tmp_path / "packed" / "property").read_text() == "3,112,112\n"
    again = open_source(tmp_path / "packed")
    back = again.scan()
    assert back.people == manifest.people == ("ann", "bob/sister", "carl")
    assert back.findings == ()
    assert [again.read(face) for face in back.faces(np.arange(6))] == faces
    assert back.row(3).face == f"bob/sister/{first + 3:08d}"


@settings(max_examples=60, deadline=None)
@given(
    payload=st.lists(st.one_of(st.just(MAGIC), st.binary(max_size=9)), max_size=8).map(b"".join),
    label=st.one_of(st.integers(0, 2**24 - 1).map(float), st.lists(st.floats(width=32, allow_nan=False), min_size=1)),
)
def test_any_payload_comes_back(payload: bytes, label: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    rec = write(folder, (1, label, payload), (2, 7.0, b"next"))
    wanted = list(label) if isinstance(label, list) else [label]
    assert next(plain_record(data) for _, data in plain_records(rec.read_bytes())) == (wanted, 1, 0, payload)
    got = RecordFile(rec).record(0)
    assert (list(got.label), got.payload) == (wanted, payload)
    assert rebuild_index(RecordFile(rec)).keys.tolist() == [1, 2]


def read_in_another_process(source: Source, faces: list[str], answers: Any) -> None:
    answers.put([hashlib.sha256(source.read(face)).hexdigest() for face in faces])


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_worker_processes(shared: Path, start: str) -> None:
    source = open_source(shared / "golden" / "rec_grouped")
    faces = source.scan().faces(np.arange(6))
    here = [hashlib.sha256(source.read(face)).hexdigest() for face in faces]
    context = multiprocessing.get_context(start)
    answers = context.Queue()
    workers = [context.Process(target=read_in_another_process, args=(source, faces, answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert [answers.get(timeout=120) for _ in workers] == [here, here]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0


def test_a_file_that_changes_under_us_is_noticed(tmp_path: Path) -> None:
    source = RecordSource(write(tmp_path, (0, 1.0, b"face")))
    copy = pickle.loads(pickle.dumps(source))
    assert copy.read("00000001/00000000") == b"face"
    copy = pickle.dumps(source)
    write(tmp_path, (0, 1.0, b"another"))
    with pytest.raises(DataError, match="changed since it was scanned"):
        pickle.loads(copy).read("00000001/00000000")


def test_a_file_that_is_cut_off_under_us_is_told_of(tmp_path: Path) -> None:
    """With a memory map this would end the process."""
    rec = write(tmp_path, (0, 1.0, b"x" * 20_000), (1, 1.0, b"y" * 20_000))
    source = RecordSource(rec)
    assert source.read("00000001/00000000") == b"x" * 20_000
    with open(rec, "r+b") as file:
        file.truncate(12_000)
    for face in ("00000001/00000000", "00000001/00000001"):
        with pytest.raises(DataError, match=r"damaged record: (the file was cut off|no record begins)"):
            source.read(face)
    rec.with_suffix(".idx").unlink()
    with pytest.raises(DataError, match="expected records, got none"):
        RecordSource(rec)


# ---- indexes


def test_without_an_index_it_is_rebuilt(tmp_path: Path) -> None:
    folder = FolderSource(people_folder(tmp_path / "people"))
    write_records(folder, folder.scan(), tmp_path / "packed")
    whole = RecordSource(tmp_path / "packed").scan()
    (tmp_path / "packed" / "train.idx").unlink()
    assert RecordSource(tmp_path / "packed").scan().table.equals(whole.table)
    # ids that recur name nothing: records are counted instead
    rec = write(tmp_path, (5, 0.0, b"a"), (5, 1.0, b"b"))
    rec.with_suffix(".idx").unlink()
    assert RecordSource(rec).scan().column("face").tolist() == ["00000000/00000000", "00000001/00000001"]


def test_damaged_stretches_are_stepped_over(tmp_path: Path) -> None:
    rec = write(tmp_path, *((key, 0.0, bytes([key]) * 37) for key in range(4)), (9, 0.0, b"four" + MAGIC + b"end"))
    rec.with_suffix(".idx").unlink()
    data = bytearray(rec.read_bytes())
    at = [place for place, _ in plain_records(bytes(data))]
    data[at[1] + 4 : at[1] + 8] = b"\xff\xff\xff\x1f"  # a length of half a gigabyte
    data[at[3]] ^= 1  # no magic number
    rec.write_bytes(data)
    source = RecordSource(rec)
    manifest = source.scan()
    assert manifest.column("face").tolist() == ["00000000/00000000", "00000000/00000002", "00000000/00000009"]
    name = tmp_path.name
    assert [str(f) for f in manifest.findings] == [
        f"{name}: 2 damaged records skipped: 'byte {at[1]}', 'byte {at[3]}'"
    ]
    rec.write_bytes(data[:-4])  # the last part of the split record is cut
    assert "byte " + str(at[4]) in str(RecordSource(rec).scan().findings[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Empty"),
        ("1 0\n", "Expected 2 columns, got 1"),
        ("1\t0\n2\t\n", "invalid value ''"),
        ("1\t0\nx\t4\n", "invalid value 'x'"),
        ("1\t0\t3\n", "Expected 2 columns, got 3"),
        ("-1\t0\n", "keys from 0 on"),
        ("1\t99999999999999999999999\n", "invalid value"),
        ("\0\xff", "Expected 2 columns"),
        ("1\t0\n" * 30, "1 to 20 records"),
        ("1\t0\n" * 3000, "at most 20 records"),
    ],
)
def test_bad_indexes_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "train.idx"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"train\.idx: .*" + said.replace("(", r"\(")):
        read_index(path, 20)


def test_an_index_that_points_elsewhere(tmp_path: Path) -> None:
    rec = write(tmp_path, (0, 0.0, b"zero"), (1, 1.0, b"one"))
    size = rec.stat().st_size
    places = {2: size, 3: size * 1000, 4: 2**62, 5: -4, 6: 2, 7: 4, 8: 8, 9: size - 8}
    lines = "".join(f"{key}\t{place}\n" for key, place in places.items())
    with open(rec.with_suffix(".idx"), "a") as file:
        file.write(lines + "0\t0\n")
    source = RecordSource(rec)
    told = {f.what: f.names for f in source.scan().findings}
    assert told["records outside the file skipped"] == ("2", "3", "4", "5", "6", "9")
    assert told["damaged records skipped"] == ("7", "8")
    assert told["index lines skipped for a later one of their key"] == ("0",)
    for key in places:
        with pytest.raises(DataError, match=rf"train\.rec:00000000/{key:08d}: damaged record: "):
            source.read(f"00000000/{key:08d}")
    for face in ("00000000/00000011", "00000001/00000000", "x", "../1", "00000000/" + "9" * 40):
        with pytest.raises(DataError, match=r"no such face|the record is of class"):
            source.read(face)


# ---- records


def test_lengths_that_lie(tmp_path: Path) -> None:
    huge = packed(0.0, 3, b"")[4:]
    lies = {
        "long.rec": (MAGIC + (2**29 - 1).to_bytes(4, "little"), "reach beyond the file"),
        "kind.rec": (MAGIC + (5 << 29 | 40).to_bytes(4, "little"), "where none belongs"),
        "later.rec": (MAGIC + (2 << 29 | 40).to_bytes(4, "little"), "where none belongs"),
        "alone.rec": (MAGIC + (1 << 29 | 40).to_bytes(4, "little"), "no record begins|outside the file"),
        "short.rec": (MAGIC + (8).to_bytes(4, "little"), "expected a header of 24 bytes, got 8"),
        "labels.rec": (MAGIC + (40).to_bytes(4, "little") + b"\xff\xff\xff\xff" + huge, "4294967295 numbers"),
        "many.rec": (MAGIC + (1 << 29).to_bytes(4, "little"), "where none belongs|no record"),
    }
    good = chunks(packed(1.0, 0, b"good"))
    for name, (bad, said) in lies.items():
        path = tmp_path / name
        path.write_bytes(good + bad + bytes(48 - len(bad)))
        path.with_suffix(".idx").write_text(f"0\t0\n1\t{len(good)}\n")
        source = RecordSource(path)
        assert [str(f) for f in source.scan().findings] == [f"{path.stem}: 1 damaged records skipped: '1'"]
        with pytest.raises(DataError, match=rf"{name}:00000000/00000001: damaged record: .*({said})"):
            source.read("00000000/00000001")
        path.with_suffix(".idx").unlink()
        assert RecordSource(path).scan().column("face").tolist() == ["00000001/00000000"]


def test_limits(tmp_path: Path) -> None:
    rec = write(tmp_path, (0, 0.0, b"x" * 100), (1, [1.0] * 9, b"y"), (2, 2.0, b"z"), (3, 0.0, MAGIC + b"x" * 100))
    small = RecordLimits(labels=8, image=ImageLimits(bytes=50))
    source = RecordSource(rec, limits=small)
    assert [f.names for f in source.scan().findings] == [("0", "1", "3")]
    for face, said in (("00000000/00000000", "longer than the 50 bytes"), ("00000001/00000001", "9 numbers")):
        with pytest.raises(DataError, match=said):
            source.read(face)
    with pytest.raises(DataError, match="at most 3 records"):
        rebuild_index(RecordFile(rec, RecordLimits(records=3)))
    head = MAGIC + (1 << 29 | 24).to_bytes(4, "little") + bytes(24)
    rec.write_bytes(head + (MAGIC + (2 << 29).to_bytes(4, "little")) * 2000 + MAGIC + (3 << 29).to_bytes(4, "little"))
    with pytest.raises(DataError, match="cut into more than 1024 parts"):
        RecordFile(rec).record(0)
    with pytest.raises(DataError, match="magic number 2000 times"):
        chunks(MAGIC * 2000)


def test_labels_that_are_no_class(tmp_path: Path) -> None:
    labels = [0.0, -1.0, 0.5, float("nan"), float("inf"), 2.0**24, 3.0]
    manifest = RecordSource(write(tmp_path, *((k, label, b"x") for k, label in enumerate(labels)))).scan()
    assert manifest.people == ("00000000", "00000003")
    assert [f.names for f in manifest.findings] == [("1", "2", "3", "4", "5")]


def test_grouped_headers_that_lie(tmp_path: Path) -> None:
    faces = [(key, 0.0, b"x") for key in (1, 2, 4)]
    rec = write(tmp_path, *faces, (5, (1.0, 4.0), b""), (0, (5.0, 6.0), b""))
    assert [str(f).partition(": ")[2] for f in RecordSource(rec).scan().findings] == [
        "1 records that are missing in the index: '3'"
    ]
    write(tmp_path, *faces, (5, (1.0, 4.0), b""), (0, (2.0**25, 2.0**25), b""))  # float32 rounds such a place
    assert len(RecordSource(rec).scan()) == 3
    for label in (float("nan"), -3.0, 0.0, float("inf")):
        write(tmp_path, *faces, (0, (label, 6.0), b""))
        with pytest.raises(DataError, match="expected record 0 to say where the faces end"):
            RecordSource(rec).scan()
    write(tmp_path, (5, (1.0, 4.0), b""), (0, (1.0, 2.0), b""))
    with pytest.raises(DataError, match="expected faces, got 2 records and none"):
        RecordSource(rec).scan()


def test_files_beside(tmp_path: Path) -> None:
    rec = write(tmp_path, (0, 0.0, b"x"), (1, 2.0, b"y"))
    for text in ("", "3", "3,112", "a,112,112", "-3,112,112", "9" * 30 + ",1,1", "1,2,3\n4,5,6", "1" * 9999):
        (tmp_path / "property").write_text(text)
        with pytest.raises(DataError, match="property: expected"):
            RecordSource(rec)
    (tmp_path / "property").write_text("4,112,112")
    assert read_property(tmp_path / "property") == (4, 112, 112)
    assert str(RecordSource(rec).scan().findings[0]).endswith("2 classes without faces: '1', '3'")
    for text, said in (
        ("ann\n../bob\ncarl\n", r"people\.txt:2: '\.\./bob' is no name of a folder"),
        ("ann\n/bob\ncarl\n", "is no name"),
        ("ann\n\ncarl\n", "is no name"),
        ("ann\nbob\nann\n", r"people\.txt:3: 'ann' stands twice"),
    ):
        (tmp_path / "people.txt").write_text(text)
        with pytest.raises(DataError, match=said):
            RecordSource(rec)
    (tmp_path / "people.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match="UTF-8"):
        read_people(tmp_path / "people.txt")
    (tmp_path / "people.txt").write_text("ann\nbob\n")
    with pytest.raises(DataError, match="names 2 classes, but there is a class 2"):
        RecordSource(rec).scan()


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.rec: cannot be opened"):
        RecordSource(tmp_path)
    (tmp_path / "train.rec").write_bytes(b"")
    with pytest.raises(DataError, match="expected records, got 0 bytes"):
        open_source(tmp_path)
    (tmp_path / "train.rec").write_bytes(bytes(4000))
    with pytest.raises(DataError, match="expected records, got none"):
        open_source(tmp_path / "train.rec")
    (tmp_path / "train.rec").write_bytes((MAGIC + b"\xff\xff\xff\xff") * 20_000)
    with pytest.raises(DataError, match="at most 10000 of them damaged"):
        open_source(tmp_path / "train.rec")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_bytes_are_read_or_refused(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Changed and cut files of every kind: faces, findings or a DataError, never anything else."""
    folder = tmp_path_factory.mktemp("fuzz")
    faces = (1, 0.0, b"abc" + MAGIC), (2, [1.0, 2.0], MAGIC * 2)
    rec = write(folder, *faces, (3, (1.0, 3.0), b""), (0, (3.0, 4.0), b""))
    for path in (rec, rec.with_suffix(".idx")):
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(0, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    if data.draw(st.booleans()):
        os.unlink(rec.with_suffix(".idx"))
    try:
        source = RecordSource(rec)
        manifest = source.scan()
    except DataError as error:
        told = str(error)
        assert "train." in told
        return
    for face in manifest.faces(np.arange(len(manifest))):
        assert len(source.read(face)) > 0


def test_writing_refuses_what_cannot_be_read_back(tmp_path: Path) -> None:
    crops = np.zeros((2, 112, 112, 3), np.uint8)
    for name in ("a\nb", "../a", "C:a"):
        source = ArraySource(crops, ["ann", name])
        with pytest.raises(DataError, match="expected names of folders, got"):
            write_records(source, source.scan(), tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_recipes_train_on_records(tmp_path: Path) -> None:
    folder = FolderSource(people_folder(tmp_path / "people"))
    write_records(folder, folder.scan(), tmp_path / "packed")
    (tmp_path / "packed" / "train.idx").unlink()
    faces = open_training_set(Data(sources=({"path": str(tmp_path / "packed")},)))  # type: ignore[arg-type]
    assert faces.kept.people == ("ann", "bob/sister", "carl")
    assert (faces.kept.column("width") == 112).all()


def test_split_records_are_one_source(tmp_path: Path) -> None:
    halves = [(0, 0.0, b"a"), (1, 3.0, b"b")], [(2, 1.0, b"c"), (9, 3.0, b"d"), (10, 7.5, b"e")]
    for part, records in enumerate(halves):
        rec = write(tmp_path, *records)
        rec.rename(tmp_path / f"train.part{part:03d}.rec")
        rec.with_suffix(".idx").rename(tmp_path / f"train.part{part:03d}.idx")
    (tmp_path / "train.part001.idx").unlink()  # made anew
    (tmp_path / "property").write_text("4,112,112")
    source = open_source(tmp_path)
    manifest = source.scan()
    assert isinstance(source, Source)
    assert [(row.face, row.person) for row in manifest.rows] == [
        ("train.part000/00000000/00000000", "00000000"),
        ("train.part000/00000003/00000001", "00000003"),
        ("train.part001/00000001/00000002", "00000001"),
        ("train.part001/00000003/00000009", "00000003"),
    ]
    again = pickle.loads(pickle.dumps(source))
    assert [again.read(face) for face in manifest.faces(np.arange(4))] == [b"a", b"b", b"c", b"d"]
    assert [str(found).partition(": ")[2] for found in manifest.findings] == [
        "1 records whose label is no class index skipped in train.part001: '10'",
        "1 classes without faces: '2'",
    ]
    (tmp_path / "people.txt").write_text("ann\nbob\ncarl\ndora\n")
    assert open_source(tmp_path).scan().people == ("ann", "bob", "dora")
    for face, said in (("train.part002/00000000/00000000", "no such file"), ("train.part000/ann/9", "no such face")):
        with pytest.raises(DataError, match=said):
            open_source(tmp_path).read(face)
    (tmp_path / "train.part000.rec").write_bytes(bytes(4000))
    (tmp_path / "train.part000.idx").unlink()
    with pytest.raises(DataError, match=r"train\.part000\.rec: expected records, got none"):
        open_source(tmp_path)
