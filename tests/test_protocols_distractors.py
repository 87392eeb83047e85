"""MegaFace, TinyFace, and the protocols over all pairs: files in their published layouts, numbers by plain loops."""

from __future__ import annotations

import itertools
import json
import math
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hyperarc.data.formats.mat_file import read_mat
from hyperarc.errors import DataError
from hyperarc.metrics import Searches, tar_at_far, threshold_at_far, tpir_at_fpir
from hyperarc.metrics.all_pairs import Wanted
from hyperarc.metrics.all_pairs import count as counting
from hyperarc.metrics.inputs import embedding_matrix
from hyperarc.protocols.all_pairs import AllPairs, AllVideoPairs, Rule
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.exact_counts import Side, count_pairs
from hyperarc.protocols.feature_files import read_features, read_matrix, write_features, write_matrix
from hyperarc.protocols.labelled_list import LabelledList, read_labelled_list
from hyperarc.protocols.megaface import (
    MegaFace,
    MegaFaceLists,
    read_megaface_lists,
    refined_distractors,
    refined_features,
)
from hyperarc.protocols.protocol import open_protocol
from hyperarc.protocols.tinyface import Named, TinyFace, average_precision
from hyperarc.recipe import Evaluation


def drawn(people: np.ndarray, noise: float = 0.8, dim: int = 8, seed: int = 0) -> np.ndarray:
    """One direction a person (people below 0: each its own), plus noise."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(int(people.max(initial=0)) + 1, dim))
    strangers = rng.normal(size=(len(people), dim))
    return np.where(people[:, None] >= 0, centers[people], strangers) + noise * rng.normal(size=(len(people), dim))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def told(result: Any) -> dict[str, float]:
    json.dumps(result.as_dict(), allow_nan=False)
    return {number.name: number.value for number in result.numbers}


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (112, 112)).save(path)


class TestFeatureFiles:
    def test_golden_bytes(self, shared: Path, tmp_path: Path) -> None:
        with np.load(shared / "golden" / "megaface_clean.npz") as case:
            content, features = case["one_input_file_bytes"].tobytes(), case["features_in"]
        (tmp_path / "alice").mkdir()
        (tmp_path / "alice" / "alice_0.png_algo.bin").write_bytes(content)
        assert np.array_equal(read_features(tmp_path, ["alice/alice_0.png"], "algo"), features[:1])
        write_features(tmp_path, ["bob/bob_0.png"], features[:1], "algo")
        assert (tmp_path / "bob" / "bob_0.png_algo.bin").read_bytes() == content

    def test_lfr2019_matrix(self, tmp_path: Path) -> None:
        write_matrix(tmp_path / "x.bin", np.arange(6.0).reshape(2, 3))
        assert struct.unpack("<4i", (tmp_path / "x.bin").read_bytes()[:16]) == (2, 3, 12, 5)
        assert read_matrix(tmp_path / "x.bin").tolist() == [[0, 1, 2], [3, 4, 5]]

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", r"expected a header"),
            (struct.pack("<4i", 2, 1, 4, 6) + bytes(8), r"expected a header .*, got \(2, 1, 4, 6\)"),
            (struct.pack("<4i", 2, 1, 4, 5) + bytes(7), "2 x 1 numbers need 24 bytes, got 23"),
            (struct.pack("<4i", 1, 2, 8, 5) + bytes(8), "expected one column, got 1 x 2"),
        ],
    )
    def test_damaged(self, tmp_path: Path, content: bytes, said: str) -> None:
        (tmp_path / "a.png_x.bin").write_bytes(content)
        with pytest.raises(DataError, match=said):
            read_features(tmp_path, ["a.png"], "x")
        with pytest.raises(DataError, match="no such file"):
            read_features(tmp_path, ["b.png"], "x")


class TestMegaFace:
    @pytest.fixture
    def lists(self) -> MegaFaceLists:
        """Six people with four probes each, 40 distractors; some of both are noise."""
        probes = tuple(f"p{n // 4}/{n}.png" for n in range(24))
        distractors = tuple(f"{n}/0/{n}.jpg" for n in range(40))
        noisy = np.zeros(24, np.bool_), np.zeros(40, np.bool_)
        noisy[0][[1, 22]], noisy[1][[3, 7]] = True, True
        return MegaFaceLists(probes, np.arange(24) // 4, distractors, *noisy)

    def test_golden_cleaning(self, shared: Path) -> None:
        index = json.loads((shared / "golden" / "index.json").read_text())
        every = index["cases"] + list(index["other"])
        about = next(case for case in every if isinstance(case, dict) and case.get("id") == "megaface_clean")
        with np.load(shared / "golden" / "megaface_clean.npz") as case:
            given, expected, noisy = case["features_in"], case["features_out"], case["is_noise"]
        people = np.array([ord(name.split("/")[1][0]) - ord("a") for name in about["names"][:9]])
        cleaned = refined_features(given[:9], people, noisy[:9])
        assert np.array_equal(cleaned[~noisy[:9]], expected[:9][~noisy[:9]])
        assert cleaned[noisy[:9]] == pytest.approx(expected[:9][noisy[:9]], abs=2e-3)
        assert np.array_equal(refined_distractors(given[9:], noisy[9:]), expected[9:])

    def test_by_a_plain_loop(self, lists: MegaFaceLists, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hyperarc.protocols.megaface._BLOCK", 16)
        protocol = MegaFace(lists)
        assert len(protocol.faces()) == 24 + 38
        vectors = drawn(np.concatenate([lists.people, np.full(38, -1)]), noise=0.5)
        embeddings = dict(zip(protocol.faces(), vectors, strict=True))
        del embeddings["facescrub_images/p2/9"], embeddings["megaface_images/5/0/5"]
        result = protocol.judge(Embedded.of(embeddings))
        units = {key: unit(v[None])[0] for key, v in embeddings.items()}
        for row in (1, 22):
            clean = [n for n in range(24) if n // 4 == row // 4 and n != row]
            center = sum(units[f"facescrub_images/p{n // 4}/{n}"] for n in clean if n != 9)
            units[f"facescrub_images/p{row // 4}/{row}"] = center / np.linalg.norm(center)
        strangers = np.stack([v for key, v in units.items() if key.startswith("megaface")])
        hits, searches, genuine = 0, 0, []
        for one, two in itertools.permutations(range(24), 2):
            if one // 4 != two // 4:
                continue
            searches += 1
            if 9 in (one, two):
                continue
            probe, mate = (units[f"facescrub_images/p{n // 4}/{n}"] for n in (one, two))
            hits += bool(probe @ mate > (strangers @ probe).max())
            if one < two:
                genuine.append(probe @ mate)
        impostor = np.concatenate([strangers @ v for key, v in units.items() if key.startswith("facescrub")])
        numbers = told(result)
        assert numbers["rank-1"] == pytest.approx(hits / searches)
        tar = tar_at_far(genuine, impostor, 1e-6) * 2 * len(genuine) / searches
        assert numbers["TAR at FAR 1e-06"] == pytest.approx(tar)
        assert (result.conditions["searches"], result.conditions["impostor_pairs"]) == (72, 23 * 37)
        assert (result.conditions["absent_probes"], result.conditions["absent_distractors"]) == (1, 1)
        assert numbers["rank-10"] > numbers["rank-1"]

    def test_published_layout(self, tmp_path: Path) -> None:
        lists = {
            "facescrub_lst": ["alice/alice_0.png", "alice/alice_1.png", "bob/bob_0.png"],
            "megaface_lst": ["root/100/0/0.jpg", "101/1/1.jpg"],
            "facescrub_noises.txt": ["# noises", "alice_1.png"],
            "megaface_noises.txt": ["101/1/1.jpg"],
        }
        for name, lines in lists.items():
            (tmp_path / name).write_text("\n".join(lines) + "\n")
        for image in (*lists["facescrub_lst"], "../megaface_images/100/0/0.jpg"):
            picture(tmp_path / "data" / "facescrub_images" / image)
        given = {"faces": str(tmp_path / "data"), "pairs": str(tmp_path)}
        protocol, faces = open_protocol(Evaluation(protocol="megaface", **given))
        assert len(faces) == 4
        assert protocol.faces()[0] == "facescrub_images/alice/alice_0"
        assert protocol.faces()[2:] == ["facescrub_images/bob/bob_0", "megaface_images/100/0/0"]
        read = read_megaface_lists(tmp_path)
        assert (read.noisy_probes.tolist(), read.noisy_distractors.tolist()) == ([False, True, False], [False, True])
        plain, _ = open_protocol(Evaluation(protocol="megaface", arguments={"refined": False}, **given))
        assert len(plain.faces()) == 5
        (tmp_path / "megaface_lst").write_text("100/0/0.jpg\n0.jpg\n")
        with pytest.raises(DataError, match=r"megaface_lst:2: expected a path of 3 parts"):
            read_megaface_lists(tmp_path)

    def test_a_person_of_noise_alone(self, lists: MegaFaceLists) -> None:
        noisy = lists.noisy_probes.copy()
        noisy[:4] = True
        protocol = MegaFace(replace(lists, noisy_probes=noisy))
        vectors = drawn(np.full(62, -1))
        with pytest.raises(DataError, match="probe 0 is noise, and its person has no clean probe"):
            protocol.judge(Embedded.of(dict(zip(protocol.faces(), vectors, strict=True))))


def score(one: np.ndarray, other: np.ndarray) -> np.float32:
    """Of two unit vectors, as the engine defines it."""
    return np.float32(math.fsum((one.astype(np.float64) * other.astype(np.float64)).tolist()))


def plain_pairs(first: Side, second: Side, among_probes: str) -> tuple[list[Any], list[Any]]:
    """All scores, genuine and impostor, pair by pair."""
    both = np.concatenate([first.units, second.units]).astype(np.float64)
    units = np.split(embedding_matrix(both, "units").astype(np.float32), [len(first)])
    genuine: list[Any] = []
    impostor: list[Any] = []
    for i, j in itertools.product(range(len(first)), range(len(second))):
        same = first.people[i] == second.people[j] >= 0
        (genuine if same else impostor).append(score(units[0][i], units[1][j]))
    for i, j in itertools.combinations(range(len(first)), 2):
        same = first.people[i] == first.people[j] >= 0
        if among_probes == "all" or (among_probes == "genuine" and same):
            (genuine if same else impostor).append(score(units[0][i], units[0][j]))
    return genuine, impostor


def plain_searches(probes: Side, distractors: Side) -> Searches:
    """Every probe among all other probes and the distractors; then every distractor among the probes."""
    gallery, people = np.concatenate([probes.units, distractors.units]), [*probes.people, *distractors.people]
    mate, other, rank = (np.full(len(gallery), start) for start in (-np.inf, -np.inf, 0))
    for i in range(len(gallery)):
        among = range(len(gallery)) if i < len(probes) else range(len(probes))
        same = [j for j in among if j != i and people[i] == people[j] >= 0]
        apart = [score(gallery[i], gallery[j]) for j in among if j != i and j not in same]
        mate[i] = max([score(gallery[i], gallery[j]) for j in same], default=-np.inf)
        other[i] = max(apart, default=-np.inf)
        rank[i] = 1 + sum(found >= mate[i] for found in apart) if same else 0
    return Searches(mate, other, rank)


class TestExactCounts:
    @settings(max_examples=60, deadline=None)
    @given(
        st.integers(0, 10_000),
        st.lists(st.integers(-2, 3), min_size=2, max_size=25),
        st.lists(st.integers(-2, 3), max_size=20),
        st.sampled_from(["all", "genuine", "none"]),
        st.booleans(),
    )
    def test_all_pairs_by_a_plain_loop(self, seed: int, one: Any, other: Any, among: Any, few: bool) -> None:
        rng = np.random.default_rng(seed)
        vectors = rng.integers(1, 3, (45, 3)) if few else rng.normal(size=(45, 5))
        units = unit(vectors).astype(np.float32)
        first = Side(units[: len(one)], np.array(one, np.int64))
        second = Side(units[45 - len(other) :], np.array(other, np.int64))
        fars = (0.3, 0.1, 0.03, 1e-6)
        genuine, impostor = plain_pairs(first, second, among)
        if not genuine or not impostor:
            with pytest.raises(DataError, match="there is no"):
                count_pairs(first, second, Wanted(fars=fars, among_probes=among))
            return
        counted = count_pairs(first, second, Wanted(fars=fars, among_probes=among))
        assert (counted.genuine_pairs, counted.impostor_pairs) == (len(genuine), len(impostor))
        for point in counted.points:
            assert point.tar == tar_at_far(genuine, impostor, point.target)
            assert point.threshold == threshold_at_far(genuine, impostor, point.target)
        assert counted.unsupported == tuple(far for far in fars if 1 / len(impostor) > far)

    def test_by_hand(self) -> None:
        """a and b of one person lie at cosine 0.8; a and c at 0, b and c at 0.6; nobody's d and e at 0.6 of a."""
        first = Side(np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 1, 0]], np.float32), np.array([7, 7, 9]))
        nobody = Side(np.array([[0.6, 0, 0.8], [0.6, 0, -0.8]], np.float32), np.array([-1, -1]))
        counted = count_pairs(first, nobody, Wanted(fars=(0.3, 0.2, 0.01), among_probes="all"))
        assert (counted.genuine_pairs, counted.impostor_pairs) == (1, 8)  # nobody is like nobody
        assert [point.true_accepts for point in counted.points] == [1, 1, 1]
        assert counted.unsupported == (0.01,)
        genuine = count_pairs(first, nobody, Wanted(fars=(0.3,), among_probes="genuine"))
        assert (genuine.genuine_pairs, genuine.impostor_pairs) == (1, 6)
        sides = Side(first.units[:2], np.array([9, -1])), Side(first.units[1:], np.array([-1, 9]))
        across = count_pairs(*sides, Wanted(fars=(0.4,)))
        # genuine: a with c at 0; impostors: a with b at 0.8, b with b's copy at 1 and c at 0.6
        assert (across.genuine_pairs, across.impostor_pairs, across.points[0].true_accepts) == (1, 3, 0)

    @pytest.mark.parametrize("seed", range(4))
    def test_identification_by_a_plain_loop(self, seed: int) -> None:
        people = np.repeat(np.arange(7), [5, 5, 5, 5, 5, 4, 1])  # the last has no mate
        units = unit(drawn(people, seed=seed)).astype(np.float32)
        probes = Side(units, people)
        nobody = Side(unit(drawn(np.full(50, -1), seed=seed + 9)).astype(np.float32), np.full(50, -1))
        wanted = Wanted(fars=(1e-2,), identification=True, among_probes="all")
        best = count_pairs(probes, nobody, wanted).best
        plain = plain_searches(probes, nobody)
        assert best is not None
        assert np.allclose(best.mate, plain.mate[:30], rtol=1e-6)
        assert np.allclose(best.other, plain.other[:30], rtol=1e-6)
        assert np.allclose(best.alarm, plain.other[30:], rtol=1e-6)
        assert best.mated == 29
        for fpir in (0.02, 0.1, 0.5):
            assert best.tpir(fpir) == tpir_at_fpir(plain, fpir).tpir

    def test_no_scores_are_held(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only what lies about the thresholds is kept, of 2.6 million pairs a few thousand."""
        kept: list[int] = []
        monkeypatch.setattr("hyperarc.metrics.all_pairs.plan.FEW", 0)
        resolve = counting.resolve
        total = lambda counts: sum(tally.total for tally in [counts.genuine, *counts.inside])  # noqa: E731
        monkeypatch.setattr(counting, "resolve", lambda counts: (kept.append(total(counts)), resolve(counts))[1])
        people = np.repeat(np.arange(400), 4)
        first = Side(unit(drawn(people, dim=32)).astype(np.float32), people)
        second = Side(unit(drawn(np.full(800, -1), dim=32, seed=1)).astype(np.float32), np.full(800, -1))
        counted = count_pairs(first, second, Wanted(fars=(1e-3, 1e-4), among_probes="all"))
        assert counted.impostor_pairs == 1600 * 1599 // 2 - 2400 + 1600 * 800
        assert 2400 < kept[0] < 100_000


class TestAllPairs:
    def test_one_kind_of_pair(self) -> None:
        protocol = AllPairs("x", LabelledList(("a", "b"), np.array([0, 0]), None, "list"), Rule((1e-3,)))
        with pytest.raises(DataError, match="no impostor pair among 1 pairs"):
            protocol.judge(Embedded.of({"a": [1.0, 0.0], "b": [0.0, 1.0]}))

    def test_a_known_face_whose_mates_are_absent_is_a_miss(self) -> None:
        people = np.array([0, 0, 1, 1, 2, -1, -1])
        listed = LabelledList(tuple("abcdexy"), people, None, "list")
        protocol = AllPairs("Trillion", listed, Rule((1e-2,), fpir=0.5))
        vectors = {"a": [1.0, 0.0, 0.0, 0.0], "b": [1.0, 0.1, 0.0, 0.0], "c": [0.0, 1.0, 0.0, 0.0]}
        vectors |= {"e": [0.0, 0.0, 1.0, 0.0], "x": [0.0, 0.0, 0.1, 1.0], "y": [0.0, 0.0, 0.0, 1.0]}
        # a and b find each other; c's only mate d is absent; e never had one
        assert told(protocol.judge(Embedded.of(vectors)))["TPIR at FPIR 0.5"] == 2 / 4
        with pytest.raises(DataError, match="no distractor has an embedding"):
            protocol.judge(Embedded.of({key: v for key, v in vectors.items() if key not in "xy"}))

    def test_identification_knows_no_sides(self) -> None:
        listed = LabelledList(tuple("ab"), np.array([0, 0]), np.array([0, 1]), "list")
        with pytest.raises(DataError, match="knows no sides"):
            AllPairs("Trillion", listed, Rule((1e-2,), fpir=0.5))

    def test_distractors_and_absent_faces(self) -> None:
        people = np.concatenate([np.repeat(np.arange(8), 4), np.full(30, -1)])
        names = tuple(f"f{n}" for n in range(62))
        protocol = AllPairs("Trillion", LabelledList(names, people, None, "list"), Rule((1e-2,), fpir=0.1))
        vectors = dict(zip(names, drawn(people, noise=0.3), strict=True))
        whole = told(protocol.judge(Embedded.of(vectors)))
        result = protocol.judge(Embedded.of({key: v for key, v in vectors.items() if key not in ("f0", "f40")}))
        fewer = told(result)
        assert result.conditions["genuine_pairs"] == 8 * 6 - 3
        assert result.conditions["absent_genuine_pairs"] == 3
        assert result.conditions["impostor_pairs"] == (31 * 30 // 2 - 45) + 31 * 29
        assert fewer["TAR at FAR 0.01"] <= 45 / 48 <= 1.0
        assert set(whole) == {"TAR at FAR 0.01", "TPIR at FPIR 0.1"}
        assert result.absent_faces == ("f0", "f40")

    def test_sides(self) -> None:
        people = np.tile(np.arange(6), 2)
        listed = LabelledList(tuple(f"f{n}" for n in range(12)), people, np.repeat([0, 1], 6), "list")
        vectors = drawn(people, noise=0.4)
        embedded = Embedded.of(dict(zip(listed.faces, vectors, strict=True)))
        result = AllPairs("Mask", listed, Rule((1e-1,))).judge(embedded)
        scores = unit(vectors)[:6] @ unit(vectors)[6:].T
        same = np.eye(6, dtype=np.bool_)
        assert told(result)["TAR at FAR 0.1"] == tar_at_far(scores[same], scores[~same], 0.1)
        assert (result.conditions["genuine_pairs"], result.conditions["impostor_pairs"]) == (6, 30)

    def test_videos_are_sums_of_unit_frames(self) -> None:
        people = np.repeat(np.arange(5), 3)
        listed = LabelledList(tuple(f"v{n}" for n in range(15)), people, None, "list")
        frames = [f"v{n}/{k}.jpg" for n in range(15) for k in range(2)]
        protocol = AllVideoPairs("LFR2019 video", listed, Rule((1e-1,)), [*frames, "stranger/1.jpg"])
        vectors = drawn(np.repeat(people, 2), noise=1.0)
        videos = unit(unit(vectors).reshape(15, 2, 8).sum(axis=1))
        result = protocol.judge(Embedded.of(dict(zip(protocol.faces(), vectors, strict=True))))
        plain = AllPairs("x", listed, Rule((1e-1,))).judge(Embedded.of(dict(zip(listed.faces, videos, strict=True))))
        assert told(result) == told(plain)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "holds no faces"),
            ("a.jpg\n", "list.txt:1: expected 'path person'"),
            ("a.jpg x\nb.jpg\n", "list.txt:2: expected 'path person'"),
            ("a.jpg x 2\n", "list.txt:1"),
            ("a.jpg x\nb.jpg x\na.png y\n", "list.txt:3: names a.png again, after row 1"),
        ],
    )
    def test_lists(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "list.txt").write_text(text)
        with pytest.raises(DataError, match=said):
            read_labelled_list(tmp_path / "list.txt")

    @pytest.mark.parametrize(
        ("name", "far"),
        [("trillionpairs", "1e-09"), ("lfr2019_image", "1e-08"), ("lfr2019_video", "0.0001"), ("mfr_all", "1e-06")],
    )
    def test_open(self, tmp_path: Path, name: str, far: str) -> None:
        for n in range(6):
            picture(tmp_path / "data" / f"v{n}" / "1.png")
        video = name.endswith("video")
        rows = [f"v{n}{'' if video else '/1.png'} {n // 2 if n < 4 else -1}" for n in range(6)]
        (tmp_path / "list.txt").write_text("\n".join(rows))
        given = {"faces": str(tmp_path / "data"), "pairs": str(tmp_path / "list.txt")}
        protocol, _ = open_protocol(Evaluation(protocol=name, **given))
        vectors = drawn(np.array([0, 0, 1, 1, -1, -1]), noise=0.1)
        result = protocol.judge(Embedded.of(dict(zip(sorted(protocol.faces()), vectors, strict=True))))
        assert result.numbers[0].name == f"TAR at FAR {far}"
        assert result.numbers[0].note == "too few impostor pairs for this FAR"
        assert result.conditions["impostor_pairs"] == 12
        with pytest.raises(DataError, match="expected rows 'path person side'"):
            open_protocol(Evaluation(protocol="mfr_mask", **given))


def mat_variable(name: str, value: Any) -> bytes:
    """A variable of a MATLAB 5 file: a list of texts, a text, or numbers."""

    def element(kind: int, data: bytes) -> bytes:
        if len(data) <= 4:
            return struct.pack("<HH", kind, len(data)) + data.ljust(4, b"\0")
        return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)

    def matrix(kind: int, shape: tuple[int, int], label: str, parts: bytes) -> bytes:
        head = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack("<2i", *shape))
        body = head + element(1, label.encode()) + parts
        return struct.pack("<II", 14, len(body)) + body

    def text(word: str) -> bytes:
        return matrix(4, (1, len(word)), "", element(4, word.encode("utf-16-le")))

    if isinstance(value[0], str):
        return matrix(1, (len(value), 1), name, b"".join(map(text, value)))
    return matrix(11, (len(value), 1), name, element(4, np.asarray(value, "<u2").tobytes()))


def write_mat(path: Path, variables: dict[str, Any], *, compressed: bool = True) -> Path:
    content = bytearray(b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM")
    for name, value in variables.items():
        data = mat_variable(name, value)
        packed = zlib.compress(data)
        content += struct.pack("<II", 15, len(packed)) + packed if compressed else data
    path.write_bytes(bytes(content))
    return path


class TestTinyFace:
    @pytest.mark.parametrize("compressed", [False, True])
    def test_mat_files(self, tmp_path: Path, compressed: bool) -> None:
        path = write_mat(tmp_path / "x.mat", {"names": ["a_1.jpg", "b"], "ids": [7, 300, 2]}, compressed=compressed)
        content = read_mat(path)
        assert content["names"] == ["a_1.jpg", "b"]
        assert content["ids"].tolist() == [7, 300, 2]

    def test_mat_files_of_scipy(self, tmp_path: Path) -> None:
        scipy_io = pytest.importorskip("scipy.io")
        cells = np.empty((2, 1), dtype=object)
        cells[:, 0] = ["1_1.jpg", "22_3.jpg"]
        scipy_io.savemat(tmp_path / "x.mat", {"s": cells, "n": np.array([[1], [70000]])}, do_compression=True)
        content = read_mat(tmp_path / "x.mat")
        assert (content["s"], content["n"].tolist()) == (["1_1.jpg", "22_3.jpg"], [1, 70000])

    @pytest.mark.parametrize("cut", [3, 127, 131, 150, 200])
    def test_damaged_mat_files(self, tmp_path: Path, cut: int) -> None:
        path = write_mat(tmp_path / "x.mat", {"probe_set": ["a_1.jpg"] * 9, "probe_ids": [1] * 9}, compressed=False)
        path.write_bytes(path.read_bytes()[:cut])
        held = "expected probe_set and probe_ids|damaged|expected a MATLAB file"
        for name in ("gallery_match_img_ID_pairs.mat", "probe_img_ID_pairs.mat"):
            (tmp_path / name).write_bytes(path.read_bytes())
        picture(tmp_path / "Probe" / "1.png")
        with pytest.raises(DataError, match=held):
            open_protocol(Evaluation(protocol="tinyface", faces=str(tmp_path), pairs=str(tmp_path)))

    def test_average_precision_of_the_released_script(self) -> None:
        """The released loop, entry by entry."""
        rng = np.random.default_rng(0)
        for _ in range(20):
            order = rng.permutation(30)
            good = set(range(int(rng.integers(1, 6))))
            recall = before = 0.0
            precision_before, hits, total = 1.0, 0, 0.0
            for n, entry in enumerate(order.tolist()):
                hits += entry in good
                recall, precision = hits / len(good), hits / (n + 1)
                total += (recall - before) * (precision_before + precision) / 2
                before, precision_before = recall, precision
            places = np.flatnonzero(np.isin(order, list(good))) + 1
            assert average_precision(places, len(good)) == pytest.approx(total, abs=1e-12)

    def test_by_a_plain_loop(self) -> None:
        probes = Named(tuple(f"Probe/{n}" for n in range(20)), np.arange(20) % 5)
        gallery = Named(tuple(f"Gallery_Match/{n}" for n in range(15)), np.arange(15) % 5)
        strangers = tuple(f"Gallery_Distractor/{n}" for n in range(60))
        protocol = TinyFace(probes, gallery, strangers)
        people = np.concatenate([probes.people, gallery.people, np.full(60, -1)])
        vectors = dict(zip(protocol.faces(), drawn(people, noise=0.9), strict=True))
        numbers = told(protocol.judge(Embedded.of(vectors)))
        units = unit(np.stack(list(vectors.values())).astype(np.float32))
        for rank in (1, 5):
            hits = 0
            for probe in range(20):
                nearest = np.argsort(-(units[20:] @ units[probe]))[:rank]
                hits += bool((people[20:][nearest] == people[probe]).any())
            assert numbers[f"rank-{rank}"] == hits / 20
        gone = {"Probe/3", "Gallery_Match/0", "Gallery_Distractor/1"}
        fewer = protocol.judge(Embedded.of({key: v for key, v in vectors.items() if key not in gone}))
        assert (fewer.conditions["absent_faces"], fewer.conditions["absent_probes"]) == (3, 1)
        assert told(fewer)["rank-50"] == 19 / 20

    def test_published_layout(self, tmp_path: Path) -> None:
        root = tmp_path / "Testing_Set"
        for key in ("Probe/1_1.jpg", "Probe/2_1.jpg", "Gallery_Match/1_2.jpg", "Gallery_Match/2_2.jpg"):
            picture(root / key)
        picture(root / "Gallery_Distractor" / "d.jpg")
        write_mat(root / "probe_img_ID_pairs.mat", {"probe_set": ["1_1.jpg", "2_1.jpg"], "probe_ids": [1, 2]})
        known = {"gallery_set": ["1_2.jpg", "2_2.jpg"], "gallery_ids": [1, 2]}
        write_mat(root / "gallery_match_img_ID_pairs.mat", known)
        protocol, faces = open_protocol(Evaluation(protocol="tinyface", faces=str(root), pairs=str(root)))
        assert set(protocol.faces()) == {key.removesuffix(".jpg") for key in faces.manifest.column("face").tolist()}
        with pytest.raises(DataError, match="probe a has nobody of its person in the gallery"):
            TinyFace(Named(("a",), np.array([1])), Named(("b",), np.array([2])), ())
