"""Verification packs: read without running what they ask for, written, and the commands that pack and unpack."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import pickletools
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hyperarc.commands.evaluate import evaluation_of
from hyperarc.data.formats.pair_pack import PackLimits, PairPack, write_pair_pack
from hyperarc.data.formats.plain_pickle import PlainArray, read_plain_pickle
from hyperarc.data.sources import FolderSource, RecordSource, Source
from hyperarc.errors import DataError, UsageError
from hyperarc.protocols.protocol import open_protocol


def png(value: int, side: int = 112) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (value, 0, 255 - value)).save(buffer, "PNG")
    return buffer.getvalue()


class Asks:
    """Pickles as a call of ``what`` with ``arguments``."""

    def __init__(self, what: Any, *arguments: Any) -> None:
        self.what, self.arguments = what, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.what, self.arguments


# ---- golden packs


@pytest.mark.parametrize("name", ["verif_pairs.bin", "verif_pairs_ndarray_py2style.bin"])
def test_golden_packs(name: str, shared: Path) -> None:
    expected = json.loads((shared / "golden" / "verif_pairs_expected.json").read_text())
    pack = PairPack(shared / "golden" / name)
    assert isinstance(pack, Source)
    assert list(pack.same) == expected["issame"]
    faces = [key for pair in zip(pack.first, pack.second, strict=True) for key in pair]
    assert [hashlib.sha256(pack.read(face)).hexdigest() for face in faces] == expected["sha256"]
    assert [list(pack.image(face).shape) for face in faces] == expected["shapes"]
    assert pack.scan().column("face").tolist() == faces
    assert pickle.loads(pickle.dumps(pack)).read(faces[3]) == pack.read(faces[3])
    for face in ("00000006/first", "00000000/third", "x", "-1/first"):
        with pytest.raises(DataError, match="no such face in this pack"):
            pack.read(face)


def test_a_pack_comes_back(tmp_path: Path) -> None:
    pictures, same = [png(1), png(2), png(1), png(3)], [np.bool_(True), False]
    write_pair_pack(tmp_path / "x.bin", iter(pictures), same)  # type: ignore[arg-type]
    assert pickle.loads((tmp_path / "x.bin").read_bytes()) == (pictures, [True, False])
    pack = PairPack(tmp_path / "x.bin")
    assert (pack._pictures, pack.same) == (pictures, (True, False))
    with pytest.raises(DataError, match="two pictures a pair, got 4 for 3"):
        write_pair_pack(tmp_path / "y.bin", pictures, [True] * 3)
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_kind_of_picture_and_flag(protocol: int, tmp_path: Path) -> None:
    kinds = [b"bytes", bytearray(b"bytearray"), np.frombuffer(b"array", np.uint8), np.zeros((7, 1), np.uint8)]
    whole = [b"bytes", b"bytearray", b"array", bytes(7)]
    for same in ([True, False], [1, 0], [np.bool_(True), np.bool_(False)], (True, False), np.array([True, False])):
        (tmp_path / "x.bin").write_bytes(pickle.dumps((kinds, same), protocol))
        pack = PairPack(tmp_path / "x.bin")
        assert (pack._pictures, pack.same) == (whole, (True, False))


def test_python_2_strings(tmp_path: Path) -> None:
    """What Python 2 wrote for ([str, str], [True]): opcodes that Python 3 never writes."""
    old = b"\x80\x02]q\x00(T\x05\x00\x00\x00\xff\xd8\xff\x00aU\x03\xff\x80be]q\x01\x88a\x86q\x02."
    (tmp_path / "old.bin").write_bytes(old)
    assert PairPack(tmp_path / "old.bin")._pictures == [b"\xff\xd8\xff\x00a", b"\xff\x80b"]


# ---- hostile pickles


@pytest.mark.parametrize(
    ("hostile", "named"),
    [
        (Asks(os.system, "true"), "'posix.system'"),
        (Asks(eval, "1"), "'builtins.eval'"),
        (Asks(getattr, "x", "y"), "'builtins.getattr'"),
        (Asks(subprocess.Popen, "true"), "Popen'"),
        (Asks(np.frombuffer, b"x"), "'numpy.frombuffer'"),
        (np.array([object()]), "an array of dtype 'O8'"),
        (np.zeros(3, np.float64), "an array of dtype 'f8'"),
        ({"a": 1}, "opcode EMPTY_DICT"),
        (1.5, "opcode BINFLOAT"),
        (Path, "'pathlib.Path'"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_a_pickle_asks_for_is_refused_by_name(hostile: Any, named: str, protocol: int, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(pickle.dumps(([b"a", hostile], [True]), protocol))
    named = named.replace("builtins", "__builtin__") if protocol == 2 else named
    with pytest.raises(DataError, match=rf"x\.bin: byte \d+: refused: the pickle asks for .*{named}; do not trust"):
        PairPack(tmp_path / "x.bin")


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "'os.system'"),
        (b"(S'true'\nios\nsystem\n.", "opcode INST for 'os system'"),
        (b"(cos\nsystem\nS'true'\no.", "'os.system'"),
        (b"Pid\n.", "opcode PERSID for 'id'"),
        (b"\x82\x01.", "opcode EXT1"),
        (b"cnumpy\nndarray\n)\x81.", "opcode NEWOBJ"),
        (b"cnumpy\nndarray\n)R.", "a call of 'numpy.ndarray'"),
        (b"\x97.", "opcode NEXT_BUFFER"),
        (b"\x8c\x02os\x94\x8c\x06system\x93.", "'os.system'"),
        (b"X\x04\x00\x00\x00evil)R.", "did not expect a str"),
        (b")R.", "operand is missing"),
        (b"0.", "opcode POP"),
        (b"(]e.", "operand is missing"),
        (b"t.", "mark is missing"),
        (b".", "operand is missing"),
        (b"g7\n.", "nothing was remembered as 7"),
        (b"r\xff\xff\xff\xff.", "operand is missing"),
        (b"", "pickle exhausted before seeing STOP"),
        (b"\x80\x04]", "pickle exhausted before seeing STOP"),
        (b"\xff", "unknown"),
        (b"B\xff\xff\xff\x7fabc.", "expected 2147483647 bytes"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.", "expected 9223372036854775807 bytes"),
        (b"I" + b"9" * 9999 + b"\n.", "limit"),
        (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00utf-8tR.", "not written as latin-1"),
        (b"c_codecs\nencode\n(X\x02\x00\x00\x00\xc4\x80X\x06\x00\x00\x00latin1tR.", "ordinal not in range"),
        (b"c_codecs\nencode\n(K\x01K\x01K\x01K\x01K\x01tR.", "a call with 5 arguments"),
        (b"cnumpy.core.multiarray\nscalar\n)R.", "no bool"),
        (b"cnumpy.core.multiarray\n_reconstruct\n)R)b.", "state of 0 parts"),
        (b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01NNNNtb.", "without bytes, dtype or shape"),
    ],
)
def test_programs_are_refused_or_said_to_be_damaged(program: bytes, said: str) -> None:
    with pytest.raises(DataError, match=rf"^evil: byte \d+: .*{said}"):
        read_plain_pickle(program, "evil")


def test_nothing_grows_beyond_the_file() -> None:
    # one text, made into bytes again and again
    text = b"X" + (60_000).to_bytes(4, "little") + b"a" * 60_000
    bomb = b"c_codecs\nencode\nq\x00" + text + b"q\x01X\x06\x00\x00\x00latin1q\x02]("
    bomb += b"h\x00h\x01h\x02\x86R" * 50 + b"e."
    with pytest.raises(DataError, match="unpacks to more than its own size"):
        read_plain_pickle(bomb, "bomb")
    # a memo slot far away costs no memory
    assert read_plain_pickle(b"]r\xff\xff\xff\xff.", "far") == []
    # shapes that multiply to the right number through large ones, or hold what is no number
    for shape in ((2**70, 0), (-1, -3), (1.0, 3), ("3",), (1,) * 40, (2,)):
        honest = pickletools.optimize(pickle.dumps(np.zeros(3, np.uint8), 2))
        lying = honest.replace(b"K\x03\x85", pickletools.optimize(pickle.dumps(shape, 2))[2:-1], 1)
        assert lying != honest
        with pytest.raises(DataError, match=r"shape does not fit its 3 bytes|opcode BINFLOAT"):
            read_plain_pickle(lying, "lying")
    assert read_plain_pickle(honest, "honest") == PlainArray(bytes(3))


CONTENTS = [
    ([], "expected a pickle of two lists"),
    (b"x", "expected a pickle of two lists"),
    (([b"a", b"b"], None), "expected a pickle of two lists"),
    ((b"ab", [True]), "expected a pickle of two lists"),
    (([], []), "got 0 pictures and 0 pairs"),
    (([b"a"] * 3, [True]), "got 3 pictures and 1 pairs"),
    (([b"a"] * 12, [True] * 6), "1 to 5 pairs"),
    (([b"a", "b"], [True]), "expected bytes as picture 1, got str"),
    (([b"a", [b"b"]], [True]), "expected bytes as picture 1, got list"),
    (([b"a", b"b"], [2]), "expected True or False for pair 0, got int"),
    (([b"a", b"b"], ["yes"]), "expected True or False for pair 0, got str"),
    (([b"a" * 5000, b"b"], [True]), "at most 4000 bytes"),
]


@pytest.mark.parametrize(("content", "said"), CONTENTS)
def test_other_contents_are_refused(content: Any, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=r"x\.bin: .*" + said):
        PairPack(tmp_path / "x.bin", limits=PackLimits(bytes=4000, pairs=5))


def test_missing_packs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.bin: cannot read the pack: No such file"):
        PairPack(tmp_path / "absent.bin")
    with pytest.raises(DataError, match="needs a list of pairs"):
        PairPack(tmp_path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_pickle_is_read_or_refused(data: st.DataObject) -> None:
    protocol = data.draw(st.integers(0, 5))
    arrays = [np.frombuffer(b"abc", np.uint8), b"\xff\xd8"]
    content = bytearray(pickle.dumps((arrays, np.array([True])), protocol))
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content))) if data.draw(st.booleans()) else len(content)
    made = bytes(content[:cut]) if data.draw(st.booleans()) else data.draw(st.binary(max_size=40)) + b"."
    try:
        read_plain_pickle(made, "fuzz")
    except DataError as error:
        told = str(error)
        assert told.startswith("fuzz: byte ")


# ---- commands


@pytest.fixture
def people(tmp_path: Path) -> Path:
    root = tmp_path / "people"
    for person in range(6):
        for number in range(3):
            place = root / f"p{person}" / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(png(40 * person + number))
    return root


def pairs_file(tmp_path: Path, folds: bool = False) -> Path:
    rows = [(f"p{p}/0.png", f"p{p}/{k}.png", 1) for p in range(6) for k in (1, 2)]
    rows += [(f"p{p}/0.png", f"p{(p + 1) % 6}/{k}.png", 0) for p in range(6) for k in (1, 2)]
    rows = [row for pair in zip(rows[:12], rows[12:], strict=True) for row in pair]
    path = tmp_path / "mine.csv"
    path.write_text("".join(f"{a},{b},{s}{f',{n % 2}' if folds else ''}\n" for n, (a, b, s) in enumerate(rows)))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("flat", [False, True])
def test_faces_are_packed_and_unpacked(run: Any, people: Path, tmp_path: Path, flat: bool) -> None:
    (people / "p0" / "bad.jpg").write_bytes(b"no picture")
    words = ["pack", people, tmp_path / "packed", *(["--flat"] if flat else [])]
    done = run(*words, "--json")
    told = json.loads(done.out)
    assert (done.code, told["faces"], told["people"], told["width"]) == (0, 18, 6, 112)
    assert told["findings"] == ["1 unreadable faces left out: 'people:p0/bad.jpg'"]
    assert told["findings"][0] in done.err
    assert sorted(contents(tmp_path / "packed")) == ["people.txt", "property", "train.idx", "train.rec"]
    assert len((tmp_path / "packed" / "train.idx").read_text().splitlines()) == (18 if flat else 18 + 6 + 1)
    assert RecordSource(tmp_path / "packed").image("p3/" + f"{9 + (not flat):08d}")[0, 0].tolist() == [120, 0, 135]
    again = run(*words)
    assert again.code == 1
    assert "packed: refused to overwrite what stands there" in again.err
    done = run("unpack", tmp_path / "packed", tmp_path / "unpacked", "--quiet", "--json")
    told = json.loads(done.out)
    assert (done.err, told["faces"], told["people"], told["findings"]) == ("", 18, 6, [])
    (people / "p0" / "bad.jpg").unlink()
    assert list(contents(tmp_path / "unpacked").values()) == list(contents(people).values())
    assert FolderSource(tmp_path / "unpacked").scan().people == FolderSource(people).scan().people
    assert "refused to overwrite" in run("unpack", tmp_path / "packed", tmp_path / "unpacked").err
    words[1:3] = [tmp_path / "unpacked", tmp_path / "again"]
    assert run(*words, "--quiet").code == 0
    assert contents(tmp_path / "again") == contents(tmp_path / "packed")


def test_pairs_are_packed_and_unpacked(run: Any, people: Path, tmp_path: Path) -> None:
    words = ["pack", people, tmp_path / "x.bin", "--pairs", pairs_file(tmp_path)]
    told = json.loads(run(*words, "--json").out)
    assert (told["faces"], told["pairs"], told["folds_kept"]) == (18, 24, True)
    pictures, same = pickle.loads((tmp_path / "x.bin").read_bytes())
    assert (len(pictures), same) == (48, [True, False] * 12)
    assert pictures[2:4] == [(people / "p0" / "0.png").read_bytes(), (people / "p1" / "1.png").read_bytes()]
    assert "refused to overwrite" in run(*words).err
    told = json.loads(run("unpack", tmp_path / "x.bin", tmp_path / "unpacked", "--json").out)
    assert (told["faces"], told["pairs"], told["findings"]) == (48, 24, [])
    unpacked = tmp_path / "unpacked"
    words = ["pack", unpacked / "faces", tmp_path / "y.bin", "--pairs", unpacked / "pairs.csv"]
    assert run(*words).code == 0
    assert (tmp_path / "y.bin").read_bytes() == (tmp_path / "x.bin").read_bytes()
    folds = run("pack", people, tmp_path / "z.bin", "--pairs", pairs_file(tmp_path, folds=True), "--json")
    assert not json.loads(folds.out)["folds_kept"]
    assert "the folds of the list are not kept" in folds.err


def test_a_pack_is_a_protocol(people: Path, tmp_path: Path) -> None:
    write_pair_pack(tmp_path / "mine.bin", [png(value) for value in range(24)], [True, False] * 6)
    evaluation = evaluation_of({"protocol": "pairs", "faces": str(tmp_path / "mine.bin"), "pairs": None})
    protocol, faces = open_protocol(evaluation)
    pairs = protocol.pairs
    assert pairs is not None
    assert (pairs.name, len(pairs), pairs.same.tolist()) == ("mine", 12, [True, False] * 6)
    assert faces.sources[0].image(pairs.second[1])[0, 0].tolist() == [3, 0, 252]
    with pytest.raises(UsageError, match="people: the protocol needs pairs besides these faces; give their list"):
        open_protocol(evaluation_of({"protocol": "pairs", "faces": str(people), "pairs": None}))


def test_wrong_usage(run: Any, people: Path, tmp_path: Path) -> None:
    (people / "p1" / "small.png").write_bytes(png(1, side=96))
    (tmp_path / "lonely.csv").write_text("p0/0,p9/0,1\np0/0,p1/0,0\n" * 10)
    (tmp_path / "odd.bin").write_bytes(pickle.dumps(([b"a", b"b"], [True])))
    for words, said in (
        (("pack", people, tmp_path / "x.bin"), "expected the name of a folder; give --pairs"),
        (("pack", people, tmp_path / "x.rec"), "give a folder to make; it will hold train.rec"),
        (("pack", people, tmp_path / "x", "--pairs", pairs_file(tmp_path)), "call it x.bin"),
        (("pack", people, tmp_path / "x"), "people:p1/small.png: expected faces of one size, 112x112, got 96x96"),
        (("pack", people, tmp_path / "x.bin", "--pairs", tmp_path / "lonely.csv"), "the first being 'p9/0'"),
        (("pack", tmp_path / "absent", tmp_path / "x"), "expected a folder, zip, tar, .rec or list of faces"),
        (("unpack", tmp_path / "absent", tmp_path / "x"), "expected a folder, zip, tar, .rec or list of faces"),
        (("unpack", tmp_path / "odd.bin", tmp_path / "x"), "expected pictures, got other content alone"),
    ):
        done = run(*words)
        assert said in done.complaint(2 if "give" in said or "call it" in said else 1)
    assert not list(tmp_path.glob("x*"))
    assert not list(tmp_path.glob(".*"))
