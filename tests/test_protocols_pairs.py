"""Protocols that compare faces or videos one by one, read in their published layouts, behind one interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperarc import protocol_names
from hyperarc.contract import Contract
from hyperarc.data.formats.pair_pack import write_pair_pack
from hyperarc.errors import ContractError, DataError, UnknownNameError, UsageError
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.line_pairs import read_line_pairs, read_ytf_splits
from hyperarc.protocols.pair_protocols import PairsProtocol
from hyperarc.protocols.pairs import Pairs, evaluate_pairs
from hyperarc.protocols.pooling import group, mean_of_frames, pool_sums
from hyperarc.protocols.protocol import check_evaluation, open_protocol
from hyperarc.protocols.video_pairs import VideoPairs
from hyperarc.recipe import Evaluation


def vectors_of(keys: list[str], person: Any, noise: float = 0.3, seed: int = 0) -> dict[str, np.ndarray]:
    """One direction a person, plus noise."""
    rng = np.random.default_rng(seed)
    people: dict[str, np.ndarray] = {}
    return {key: people.setdefault(person(key), rng.normal(size=16)) + noise * rng.normal(size=16) for key in keys}


def line_pairs(path: Path, count: int = 20, header: str = "") -> Path:
    rows = [f"Ann_{n}_{k}.jpg 1" for n in range(count) for k in (1, 2)]
    rows += [f"{name}_{n}_1.jpg 0" for n in range(count) for name in ("Bob", "Cy")]
    path.write_text(header + "\r\n".join(rows) + "\r\n")
    return path


def pictures(folder: Path, keys: list[str]) -> Path:
    for number, key in enumerate(keys):
        place = folder / f"{key}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (112, 112), (number % 256, 0, 0)).save(place)
    return folder


class TestEmbedded:
    def test_faces_by_key(self) -> None:
        embedded = Embedded.of({"a/1.jpg": [3.0, 4.0], "a/2.png": [0.0, 1.0]}, data="mine", device="cpu")
        assert list(embedded) == ["a/1", "a/2"]
        assert embedded.rows(["a/2", "b/1"]).tolist() == [1, -1]
        assert embedded.units.round(2).tolist() == pytest.approx(np.array([[0.6, 0.8], [0, 1]]))
        assert embedded.conditions() == {"flip": "not stated", "contract": "not stated", "device": "cpu"}

    @pytest.mark.parametrize(
        ("vectors", "said"),
        [
            ({"a": [0.0, 0.0], "b": [1.0, 0.0]}, "embedding of a is zero, NaN or infinite"),
            ({"a": [1.0, 0.0], "b": [np.nan, 0.0]}, "embedding of b is zero, NaN or infinite"),
            ({"a": [1.0, 0.0], "b": [np.inf, 0.0]}, "embedding of b is zero, NaN or infinite"),
            ({"a.png": [1.0], "a.jpg": [2.0]}, "two faces are a without their endings"),
            ({"a": [1.0], "b": [2.0, 3.0]}, "expected embeddings of one length"),
            ({}, "expected embeddings of one length, got shapes of none"),
        ],
    )
    def test_bad_embeddings(self, vectors: dict[str, Any], said: str) -> None:
        with pytest.raises(DataError, match=said):
            Embedded.of(vectors)

    def test_most_faces_absent(self) -> None:
        embedded = Embedded.of({"a": [1.0]})
        assert embedded.require_most(["a", "b"], "mine") == ("b",)
        with pytest.raises(DataError, match="mine: 2 of 3 faces have no embedding, the first being b, c"):
            embedded.require_most(["a", "b", "c"], "mine")

    def test_a_foreign_contract_is_refused(self) -> None:
        ours = Embedded.of({"a": [1.0]}, contract=Contract())
        assert ours.joined(Embedded.of({"b": [2.0]}, contract=Contract())).faces == ("a", "b")
        theirs = Embedded.of({"b": [2.0]}, contract=Contract(flip="none"))
        with pytest.raises(ContractError, match="cannot be compared"):
            ours.joined(theirs)


class TestRegistry:
    def test_every_name_is_listed(self) -> None:
        asked = {"lfw", "cfp_ff", "cfp_fp", "pairs", "drawn", "agedb_30", "calfw", "cplfw", "xqlfw", "ytf"}
        assert asked <= set(protocol_names())

    def test_the_docs_tell_of_every_name(self) -> None:
        page = (Path(__file__).resolve().parents[1] / "docs" / "judging.md").read_text(encoding="utf-8")
        rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
        assert set(protocol_names()) - {"mean_norm"} <= {name for row in rows for name in row.strip(" `").split("`, `")}

    @pytest.mark.parametrize(
        ("evaluation", "error", "said"),
        [
            ({"protocol": "cplwf"}, UnknownNameError, "unknown protocol 'cplwf'; did you mean 'cplfw'"),
            ({"protocol": "lfw"}, UsageError, "protocol lfw needs faces and pairs"),
            ({"protocol": "cplfw"}, UsageError, "protocol cplfw needs faces"),
            ({"protocol": "drawn", "faces": "x"}, UsageError, "x: protocol drawn takes no faces"),
            ({"protocol": "lfw", "faces": "nowhere", "pairs": "x"}, DataError, "evaluation lfw: nothing there"),
            ({"protocol": "ytf", "arguments": {"frames": 1}}, UnknownNameError, "unknown argument of protocol 'ytf'"),
        ],
    )
    def test_complaints(self, evaluation: dict[str, Any], error: type[Exception], said: str) -> None:
        with pytest.raises(error, match=said):
            check_evaluation(Evaluation(**evaluation))

    def test_pairs_through_the_interface_are_the_same_numbers(self) -> None:
        keys = [f"p{n}/{k}" for n in range(20) for k in (1, 2)]
        pairs = Pairs("mine", keys[::2] * 2, keys[1::2] + keys[3::2] + keys[1:2], [1] * 20 + [0] * 20, [0, 1] * 20)
        vectors = vectors_of(keys, lambda key: key.split("/")[0], noise=0.8)
        contract = Contract()
        protocol = PairsProtocol(pairs)
        assert sorted(protocol.faces()) == sorted(keys)
        ours = protocol.judge(Embedded.of(vectors, contract=contract, data="drawn", device="cpu"))
        before = evaluate_pairs(
            pairs, {k: v.astype(np.float32) for k, v in vectors.items()}, contract=contract, data="drawn", device="cpu"
        )
        assert ours.as_dict() == before.as_dict()
        assert ours.numbers[0].value == before.accuracy
        assert ours.headline().startswith(f"{100 * before.accuracy:.2f} +- ")
        assert [curve.kind for curve in ours.curves] == ["roc"]


class TestTwoLines:
    def test_calfw_layout(self, tmp_path: Path) -> None:
        pairs = read_line_pairs(line_pairs(tmp_path / "pairs_CALFW.txt"), "CALFW")
        assert (len(pairs), pairs.first[1], pairs.second[-1]) == (40, "Ann_1_1", "Cy_19_1")
        assert np.bincount(pairs.folds, weights=pairs.same).tolist() == [2.0] * 10
        assert np.bincount(pairs.folds).tolist() == [4] * 10

    def test_cplfw_official_list(self, shared: Path) -> None:
        pairs = read_line_pairs(shared / "data" / "protocols" / "cplfw" / "pairs_CPLFW.txt", "CPLFW")
        assert len(pairs) == 6000
        assert np.bincount(pairs.folds, weights=pairs.same).tolist() == [300.0] * 10
        person = [key.rsplit("_", 1)[0] for key in pairs.first]
        other = [key.rsplit("_", 1)[0] for key in pairs.second]
        assert [a == b for a, b in zip(person, other, strict=True)] == pairs.same.tolist()

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("a.jpg 1\n", "two rows make a pair, got 1 rows"),
            ("", "two rows make a pair, got 0 rows"),
            ("a.jpg 1\nb.jpg 0\n", "x.txt:2: the flags of a pair differ: 1 and 0"),
            ("a.jpg 1\nb.jpg c 1\n", "x.txt:2: expected 'picture flag'"),
            ("a.jpg 1\nb.jpg 1\n", "expected at least 10 genuine pairs, one a fold, got 1"),
        ],
    )
    def test_errors_name_the_row(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "x.txt").write_text(text)
        with pytest.raises(DataError, match=said):
            read_line_pairs(tmp_path / "x.txt", "x")

    def test_from_text_and_from_a_pack(self, tmp_path: Path) -> None:
        files = line_pairs(tmp_path / "pairs_CPLFW.txt", header="name same_person\r\n")
        pairs = read_line_pairs(files, "CPLFW")
        faces = pictures(tmp_path / "data" / "aligned images", pairs.faces())
        protocol, found = open_protocol(
            Evaluation(protocol="cplfw", faces=str(faces.parent), pairs=str(files))
        )
        assert (protocol.name, len(found), len(protocol.faces())) == ("CPLFW", 80, 80)
        picture = (faces / "Ann_0_1.png").read_bytes()
        write_pair_pack(tmp_path / "cplfw.bin", [picture] * 80, [True, False] * 20)
        packed, found = open_protocol(Evaluation(protocol="cplfw", faces=str(tmp_path / "cplfw.bin")))
        assert (packed.name, len(packed.faces())) == ("CPLFW", 80)
        for name, title in (("agedb_30", "AgeDB-30"), ("calfw", "CALFW")):
            assert open_protocol(Evaluation(protocol=name, faces=str(tmp_path / "cplfw.bin"))).protocol.name == title


SPLITS = "split number, pair number, first name, second name, is same\n"


class TestVideos:
    @pytest.fixture
    def splits(self, tmp_path: Path) -> Path:
        rows = []
        for split in (1, 2):
            for n in range(10):
                rows.append(f"{split}, {2 * n + 1}, P{n}/0, P{n}/{split}, 1")
                rows.append(f"{split}, {2 * n + 2}, P{n}/0, P{(n + split) % 10}/1, 0")
        (tmp_path / "splits.txt").write_text(SPLITS + "\n".join(rows) + "\n")
        return tmp_path / "splits.txt"

    def test_a_video_is_the_normalized_mean_of_its_unit_frames(self, splits: Path) -> None:
        pairs = read_ytf_splits(splits)
        assert (pairs.name, len(pairs), pairs.folds.max()) == ("YTF splits", 40, 1)
        frames = [f"{video}/{video.replace('/', '.')}.{k}.jpg" for video in pairs.faces() for k in range(3)]
        protocol = VideoPairs(pairs, [*frames, "Stranger/0/1.jpg"])
        assert len(protocol.faces()) == 90
        vectors = vectors_of(protocol.faces(), lambda key: key.split("/")[0], noise=1.5)
        result = protocol.judge(Embedded.of(vectors))
        videos = {}
        for video in pairs.faces():
            units = [v / np.linalg.norm(v) for key, v in vectors.items() if key.rpartition("/")[0] == video]
            videos[video] = np.mean(units, axis=0)
        plain = evaluate_pairs(pairs, videos)
        assert result.genuine == pytest.approx(plain.genuine, abs=1e-6)
        assert result.accuracy == plain.accuracy
        assert (result.conditions["videos"], result.conditions["faces"]) == (30, 90)
        json.dumps(result.as_dict(), allow_nan=False)

    def test_absent_frames_and_videos_are_counted(self, splits: Path) -> None:
        pairs = read_ytf_splits(splits)
        protocol = VideoPairs(pairs, [f"{video}/{k}" for video in pairs.faces() for k in range(2)])
        vectors = vectors_of(protocol.faces(), lambda key: key.split("/")[0])
        gone = [key for key in vectors if key.startswith("P3/0/") or key == "P4/0/1"]
        result = protocol.judge(Embedded.of({key: v for key, v in vectors.items() if key not in gone}))
        assert (result.conditions["absent_faces"], result.conditions["absent_videos"]) == (3, 1)
        assert result.absent_faces == ("P3/0",)
        assert len(result.absent_pairs) == 4  # 4 rows begin with this video

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            ("1, 1, P0/0, P0/1", "splits.txt:2: expected 'split, pair, first, second, same'"),
            ("1, 1, P0/0, P0/1, 2", "splits.txt:2"),
            ("x, 1, P0/0, P0/1, 1", "splits.txt:2"),
            ("1, 1, , P0/1, 1", "splits.txt:2"),
            ("3, 1, P0/0, P0/1, 1\n1, 1, P0/0, P1/1, 0", "splits.txt: fold indices should cover .* fold 1 is empty"),
            ("", "holds no pairs"),
        ],
    )
    def test_errors_name_the_row(self, tmp_path: Path, row: str, said: str) -> None:
        (tmp_path / "splits.txt").write_text(SPLITS + row + "\n")
        with pytest.raises(DataError, match=said):
            read_ytf_splits(tmp_path / "splits.txt")

    def test_open(self, splits: Path, tmp_path: Path) -> None:
        videos = read_ytf_splits(splits).faces()
        frames = pictures(tmp_path / "frames", [f"{video}/{k}" for video in videos for k in (1, 2)])
        protocol, faces = open_protocol(Evaluation(protocol="ytf", faces=str(frames), pairs=str(splits)))
        assert (len(protocol.faces()), len(faces)) == (60, 60)
        with pytest.raises(DataError, match="no video has a frame; the first is P0/0"):
            VideoPairs(read_ytf_splits(splits), ["P0/1.jpg"])


def test_pooling_equals_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperarc.protocols.pooling._AT_A_TIME", 7)
    rng = np.random.default_rng(1)
    vectors, weights = rng.normal(size=(60, 4)), rng.uniform(0.5, 2, 60)
    numbers = rng.integers(0, 9, 60) * 3
    sums = pool_sums(vectors, group(numbers), weights)
    plain = [(vectors[numbers == n] * weights[numbers == n, None]).sum(axis=0) for n in np.unique(numbers)]
    assert sums == pytest.approx(np.array(plain), abs=1e-12)
    with pytest.raises(DataError, match="add up to a zero vector"):
        mean_of_frames(np.array([[1.0, 0.0], [-1.0, 0.0]], np.float32), np.array([0, 0]), 1)
