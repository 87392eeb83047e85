"""Lists of faces: text with and without a header, Parquet with paths or pictures; well-formed and hostile."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hyperarc.data.face_set import open_faces
from hyperarc.data.formats.face_list import ListSource
from hyperarc.data.formats.key_table import KeyTable
from hyperarc.data.formats.parquet_source import ParquetSource
from hyperarc.data.sources import Source, open_source
from hyperarc.errors import DataError


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (value, 0, 255 - value)).save(buffer, "PNG")
    return buffer.getvalue()


PEOPLE = {"ann/1.png": "17", "ann/2.png": "17", "bob/a b.png": "3"}


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """A folder with the faces that the lists name."""
    for number, path in enumerate(PEOPLE):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(png(number))
    return tmp_path


def listed(place: Path, text: str, name: str = "train.txt") -> Path:
    (place / name).write_text(text, encoding="utf-8")
    return place / name


def check(source: Source) -> None:
    manifest = source.scan()
    assert isinstance(source, Source)
    assert dict(zip(manifest.column("face").tolist(), manifest.column("person").tolist(), strict=True)) == PEOPLE
    assert manifest.findings == ()
    assert manifest.labels.tolist() == [0, 0, 1]  # of "17" and "3" in sorted order
    again = pickle.loads(pickle.dumps(source))
    for number, face in enumerate(PEOPLE):
        assert again.read(face) == png(number)
        assert source.image(face)[0, 0].tolist() == [number, 0, 255 - number]


@pytest.mark.parametrize(
    "text",
    [
        "path,label\nann/1.png,17\nann/2.png,17\nbob/a b.png,3\n",
        '\ufeffLabel;File_Name;other\n17;ann/1.png;x\n\n17;"ann/2.png";y\r\n3;bob/a b.png;z',
        "identity\timage\n17\tann/1.png\n17\t./ann/2.png\n3\tbob/a b.png\n",
        "ann/1.png 17\nann/2.png 17\nbob/a b.png 3\n",
        "ann/1.png\t17\r\n\r\nann/2.png\t17\r\nbob/a b.png\t3\r\n",
        "ann/1.png,17\nann/2.png, 17\nbob/a b.png,3",
        "0\t17.000000\tann/1.png\n1\t17.000000\tann/2.png\n2\t3.000000\tbob/a b.png\n",
        "0\t17\t0.5\tann/1.png\n1\t17\t0.5\tann/2.png\n2\t3\t0\tbob/a b.png\n",
        "1\tann/1.png\t17\n1\tann/2.png\t17\n1\tbob/a b.png\t3\n",
        "1\tann/1.png\t17\n0\tann/2.png\t17\t1\t2\t3\t4\n0\tbob/a b.png\t3\t1\t2\t3\t4\n",
    ],
    ids=["csv", "quoted", "tsv", "two", "two_tabs", "two_commas", "mxnet", "mxnet_vector", "aligned", "boxes"],
)
def test_kinds_of_lists(faces: Path, text: str) -> None:
    check(open_source(listed(faces, text)))
    check(open_faces(listed(faces, text)).sources[0])


def test_a_list_elsewhere_names_its_folder(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("lists")
    path = listed(elsewhere, "".join(f"{faces}/{face},{person}\n" for face, person in PEOPLE.items()))
    with pytest.raises(DataError, match=r"train\.txt:1: refused: the path '/.*' leads out of .*train\.txt@FOLDER"):
        open_source(path).scan()
    check(open_source(f"{path}@{faces}"))
    opened = open_faces(f"{path}@{faces}")
    opened.manifest.mark([0], "doubtful").write(elsewhere / "marked.parquet")
    again = open_faces(elsewhere / "marked.parquet")  # the manifest knows both the list and the folder
    assert again.read(2) == png(2)
    assert again.manifest.row(0).reason == "doubtful"
    with pytest.raises(DataError, match="the folder that the list starts from, got nothing there"):
        open_source(f"{path}@{faces}/gone")
    with pytest.raises(DataError, match="leads out of"):
        open_source(f"{path}@{faces / 'ann'}").scan()


@pytest.mark.parametrize("bad", ["../a.png", "ann/../../a.png", "/etc/a.png", "C:\\a.png", "a\\..\\a.png", "\\a.png"])
def test_paths_that_lead_outside_are_refused(faces: Path, bad: str) -> None:
    with pytest.raises(DataError, match=r"train\.txt:2: refused: the path .* leads out"):
        open_source(listed(faces, f"ann/1.png 1\n{bad} 2\n")).scan()
    for table in ({"path": ["x.png", bad], "label": [1, 2]},):
        pq.write_table(pa.table(table), faces / "list.parquet")
        with pytest.raises(DataError, match=r"list\.parquet: row 2: refused: the path"):
            open_source(faces / "list.parquet").scan()
    with pytest.raises(DataError, match="leads out of the folder"):
        ListSource(listed(faces, "ann/1.png 1")).read("../secret.png")


def test_repeated_paths_are_told_of(faces: Path) -> None:
    text = "ann/1.png 1\nbob/a b.png -1\nann/1.png 1\nann/2.png 1\nann/2.png 2\nbob/a b.png 2\n"
    manifest = open_source(listed(faces, text)).scan()
    assert manifest.column("face").tolist() == ["ann/1.png", "ann/2.png", "bob/a b.png"]
    assert [str(found) for found in manifest.findings] == [
        "train: 1 faces whose label is below 0 skipped: 'bob/a b.png'",
        "train: 2 rows whose path was listed before skipped: 'ann/1.png', 'ann/2.png'",
        "train: 1 faces listed under several people left out: 'ann/2.png'",
    ]
    assert manifest.keep.tolist() == [True, False, True]
    assert manifest.row(1).reason == "listed under several people"


def test_what_else_a_list_may_say(faces: Path) -> None:
    header = "path,person,WIDTH,height,keep,reason,color," + ",".join(f"{a}{n}" for n in range(1, 6) for a in "xy")
    ten = ",".join(map(str, range(10)))
    rows = [
        f"ann/1.png,ann,112,96,true,,,{ten}",
        "ann/2.png,ann,,,0,blurred,BGR" + "," * 10,
        "bob/a b.png,bob,0,0,no,,rgb" + "," * 10,
    ]
    manifest = open_source(listed(faces, "\n".join([header, *rows]))).scan()
    assert [(row.width, row.height, row.keep, row.reason) for row in manifest.rows] == [
        (112, 96, True, ""),
        (0, 0, False, "blurred"),
        (0, 0, False, "left out by the list"),
    ]
    assert manifest.swapped.tolist() == [False, True, False]
    np.testing.assert_array_equal(manifest.landmarks[0], np.arange(10, dtype=np.float32).reshape(5, 2))
    assert np.isnan(manifest.landmarks[1:]).all()


@pytest.mark.parametrize(
    "header",
    [
        [f"lm_{a}{n}" for n in range(1, 6) for a in "xy"],
        [f"P{n}{a}" for n in range(1, 6) for a in "XY"],
        ["landmarks"],
    ],
)
def test_spellings_of_landmarks(faces: Path, header: list[str]) -> None:
    ten = ["1.5", "2", "3", "4", "5", "6", "7", "8", "9", "10"]
    cells = [" ".join(ten)] if len(header) == 1 else ten
    text = "\t".join(["path", "name", *header]) + "\nann/1.png\tann\t" + "\t".join(cells) + "\n"
    manifest = open_source(listed(faces, text + "ann/2.png\tann" + "\t" * len(header))).scan()
    assert manifest.landmarks[0].ravel().tolist() == [float(value) for value in ten]
    assert np.isnan(manifest.landmarks[1]).all()


def test_landmarks_of_insightface_stand_x_before_y(faces: Path) -> None:
    numbers = "\t".join(map(str, [1, 2, 3, 4, *range(10, 15), *range(20, 25)]))
    manifest = open_source(listed(faces, f"1\tann/1.png\t0\n0\tann/2.png\t0\t{numbers}\n", "old.lst")).scan()
    assert manifest.landmarks[1].tolist() == [[x, x + 10] for x in range(10, 15)]
    assert np.isnan(manifest.landmarks[0]).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "got an empty file"),
        ("\n \n", "got an empty file"),
        ("who,img_nm\nann,ann/1.png\n", r":1: expected a header with a column of paths"),
        ("ann/1.png 1\nann/2.png\n", r":2: expected path and label, got 'ann/2.png'"),
        ("\nann/1.png 1\n\n\nx\n", r":5: expected path and label"),
        ("0\t1\ta.png\nx\t1\tb.png\n", r":2: expected index, label and path"),
        ("1\ta.png\t1\n2\tb.png\t1\n", r":2: expected aligned"),
        ("1\ta.png\t1\n1\tb.png\t1\t5\n", r":2: expected nothing, a box .*, got 1 numbers"),
        ("1\ta.png\t1\n1\tb.png\t1" + "\tx" * 14, r":2: expected a number in the landmarks, got 'x'"),
        ("path,label\na.png,1\nb.png\n", r"Row #3: Expected 2 columns, got 1"),
        ("path,label\na.png,1\n\nb.png, \n", r":4: expected a person, got nothing"),
        ("path,label\n,1\n", r":2: refused: the path ''"),
        ("path,label,path\na.png,1,a.png\n", r":1: expected columns of different names"),
        ("path,label,width\na.png,1,12\nb.png,1,wide\n", r":3: expected a whole number in column 'width', got 'wide'"),
        ("path,label,width\na.png,1,99999999999\n", r":2: expected a whole number in column 'width'"),
        ("path,label,keep\na.png,1,yes\nb.png,1,perhaps\n", r":3: expected true or false in column 'keep'"),
        ("path,label,color\na.png,1,blue\n", r":2: expected rgb or bgr in column 'color', got 'blue'"),
        ("path,label,lm\na.png,1,1 2 3\n", r":2: expected ten numbers in columns 'lm'"),
        ("path,label," + ",".join(f"{a}{n}" for n in range(1, 6) for a in "xy") + "\na.png,1,1" + "," * 9, "got fewer"),
        ("a.png -1\n", "expected faces, got 1 that name nobody"),
        ("path,label\n", "expected faces, got 0 that name nobody"),
    ],
)
def test_bad_lists_are_named(faces: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=r"train\.txt.*" + said):
        open_source(listed(faces, text)).scan()


def test_lists_that_are_no_text(faces: Path) -> None:
    (faces / "train.txt").write_bytes(b"ann/1.png 1\n" * 500 + b"\xff.png 1\n")
    with pytest.raises(DataError, match=r"train\.txt:501: expected UTF-8 text"):
        open_source(faces / "train.txt").scan()
    with pytest.raises(DataError, match="cannot read the list"):
        ListSource(faces / "gone.txt").scan()
    with pytest.raises(DataError, match=r"cannot read the face: No such file"):
        ListSource(listed(faces, "ann/9.png 1\n")).read("ann/9.png")


# ---- Parquet


def test_a_parquet_list_of_paths(faces: Path) -> None:
    columns = {"label": [17, 17, 3], "file_name": list(PEOPLE), "landmarks": [[1.0] * 10, None, None]}
    pq.write_table(pa.table(columns), faces / "list.parquet")
    check(open_source(faces / "list.parquet"))
    assert open_faces(faces / "list.parquet").manifest.landmarks[0].tolist() == [[1.0, 1.0]] * 5
    pq.write_table(pa.table({"label": [1.5], "path": ["a.png"]}), faces / "list.parquet")
    with pytest.raises(DataError, match="numbers with fractions"):
        open_source(faces / "list.parquet").scan()


PICTURES = [{"bytes": png(number), "path": path} for number, path in enumerate(PEOPLE)]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def hugging_face(path: Path, names: list[str] | None = None, **columns: Any) -> Path:
    table = pa.table({"image": pa.array(PICTURES, IMAGE), **columns})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=2)
    return path


def test_hugging_face_layout(tmp_path: Path) -> None:
    check(open_source(hugging_face(tmp_path / "a.parquet", label=[17, 17, 3])))
    check(open_source(hugging_face(tmp_path / "a.parquet", names=["17", "3"], label=[0, 0, 1])))
    check(open_faces(hugging_face(tmp_path / "a.parquet", person=["17", "17", "3"], label=[5, 6, 7])).sources[0])
    hugging_face(tmp_path / "a.parquet", names=["17"], label=[0, 0, 1])
    with pytest.raises(DataError, match="names 1 classes, but there is a class 1"):
        open_source(tmp_path / "a.parquet")


def test_shards_and_bare_bytes(tmp_path: Path) -> None:
    for shard, rows in (("train-00000-of-00002.parquet", [0, 1]), ("train-00001-of-00002.parquet", [2])):
        data = [PICTURES[row]["bytes"] for row in rows]
        pq.write_table(pa.table({"label": ["ann"] * len(rows), "jpg": data}), tmp_path / shard)
    source = open_source(tmp_path)
    assert isinstance(source, ParquetSource)
    assert source.scan().column("face").tolist() == ["ann/00000000", "ann/00000001", "ann/00000002"]
    assert [source.read(f"ann/{row:08d}") for row in (2, 0, 1)] == [png(2), png(0), png(1)]
    with pytest.raises(DataError, match="no such face"):
        source.read("ann/00000003")


def test_parquet_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    for table, said in (
        ({"x": [1]}, "expected a column of pictures or of paths, got x"),
        ({"path": ["a"]}, "expected a column of people, got path"),
        ({"image": [b"x"]}, "expected a column of people, got image"),
        ({"image": [b"x"], "label": [None]}, "row 1: expected a person"),
        ({"face": ["a"], "source": ["b"], "person": ["x"]}, "a manifest"),
    ):
        pq.write_table(pa.table(table), path)
        with pytest.raises(DataError, match=said):
            open_source(path).scan()
    hugging_face(path, label=[1, 1, 1])
    source = ParquetSource(path)
    copy = pickle.dumps(source)
    hugging_face(path, label=[1, 1, 222222])
    with pytest.raises(DataError, match="changed since it was scanned"):
        pickle.loads(copy).read("ann/1.png")
    monkeypatch.setattr("hyperarc.data.formats.parquet_source._GROUP_LIMIT", 10)
    with pytest.raises(DataError, match="expected row groups of at most 10 bytes"):
        ParquetSource(path)
    table = pa.table({"image": pa.array([{"bytes": None, "path": "x.png"}], IMAGE), "label": [1]})
    pq.write_table(table, path)
    monkeypatch.undo()
    with pytest.raises(DataError, match="holds no picture"):
        ParquetSource(path).read("x.png")


def test_few_row_groups_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperarc.data.formats.parquet_source._CACHE", 1)
    source = ParquetSource(hugging_face(tmp_path / "a.parquet", label=[1, 1, 1]))
    for face in [*PEOPLE] * 2:
        source.read(face)
        assert len(source._groups) == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=4), unique=True, min_size=1), st.text(max_size=4))
def test_keys_are_found_as_a_dictionary_finds_them(keys: list[str], wanted: str) -> None:
    plain = {key: row for row, key in enumerate(keys)}
    table = KeyTable(pa.array(keys, pa.large_string()))
    for key in [*keys, wanted]:
        assert table.find(key) == plain.get(key)
    assert table.rows(pa.array([*keys, wanted], pa.large_string())).tolist() == [
        plain.get(key, -1) for key in [*keys, wanted]
    ]


# ---- any bytes


def use(path: Path) -> None:
    """Read whatever can be; nothing but a DataError may come of it."""
    try:
        source = open_source(path)
        for row in source.scan().rows:
            source.read(row.face)
    except DataError as error:
        told = str(error)
        assert path.name in told or "leads out" in told or "cannot read the face" in told


TEXT = st.one_of(
    st.binary(max_size=200),
    st.text("\t,;|\" \n\r./\\x1-", max_size=60).map(str.encode),
    st.lists(st.sampled_from(["path", "label", "a.png", "1", "0", "-1", "\t", ",", "\n", '"', " ", "x1", "é"])).map(
        lambda words: "".join(words).encode()
    ),
)


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "list.csv").write_bytes(data)
    use(folder / "list.csv")


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_any_parquet_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = hugging_face(tmp_path_factory.mktemp("any") / "a.parquet", label=[17, 17, 3])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(4, len(content)))] if data.draw(st.booleans()) else content)
    use(path)
