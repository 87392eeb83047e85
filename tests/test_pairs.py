"""Lists of pairs: what the files say, what the embeddings make of it, and errors that name the row."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hyperarc import metrics
from hyperarc.contract import Contract
from hyperarc.errors import DataError
from hyperarc.protocols.pairs import (
    Pairs,
    evaluate_pairs,
    face_key,
    read_cfp_pairs,
    read_lfw_pairs,
    read_own_pairs,
)


def drawn_embeddings(pairs: Pairs, noise: float = 1.0) -> dict[str, np.ndarray]:
    """One direction per person (the folder of the key) plus noise."""
    rng = np.random.default_rng(0)
    people: dict[str, np.ndarray] = {}
    vectors = {}
    for key in pairs.faces():
        person = people.setdefault(key.split("/")[0], rng.normal(size=16))
        vectors[key] = person + noise * rng.normal(size=16)
    return vectors


@pytest.fixture
def pairs() -> Pairs:
    """40 pairs of 20 people with 3 pictures each, genuine and impostor in turn."""
    first = [f"p{row // 2 % 20:02d}/1" for row in range(40)]
    second = [f"p{row // 2 % 20:02d}/2" if row % 2 == 0 else f"p{(row // 2 + 7) % 20:02d}/3" for row in range(40)]
    return Pairs("drawn", first, second, [row % 2 == 0 for row in range(40)], 4)


class TestLfw:
    def test_official_list(self, shared: Path) -> None:
        pairs = read_lfw_pairs(shared / "data" / "protocols" / "lfw" / "pairs.txt")
        assert len(pairs) == 6000
        assert np.bincount(pairs.folds, weights=pairs.same).tolist() == [300.0] * 10
        assert (pairs.first[0], pairs.second[0]) == (
            "Abel_Pacheco/Abel_Pacheco_0001",
            "Abel_Pacheco/Abel_Pacheco_0004",
        )
        assert pairs.second[300] == "Dean_Barker/Dean_Barker_0001"
        with zipfile.ZipFile(shared / "data" / "lfw.zip") as faces:
            assert set(pairs.faces()) <= {face_key(name) for name in faces.namelist()}

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("300\nAnn 1 2\n", r"pairs.txt:1: expected a first line"),
            ("2 1\nAnn 1 2\nAnn 1 Bob 3\nBob 1 2\n", "need 4 rows, got 3"),
            ("2 1\nAnn 1 2\nAnn 1 3\nBob 1 2\nBob 2 Cy 1\n", r"pairs.txt:3: expected 'name1 n1 name2 n2'"),
            (
                "2 1\nAnn 1 2\nAnn 1 Bob x\nBob 1 2\nBob 2 Cy 1\n",
                r"pairs.txt:3: expected a whole number, got 'x'",
            ),
            ("", "first line"),
        ],
    )
    def test_errors_name_the_row(self, tmp_path: Path, text: str, words: str) -> None:
        (tmp_path / "pairs.txt").write_text(text)
        with pytest.raises(DataError, match=words):
            read_lfw_pairs(tmp_path / "pairs.txt")

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no such file"):
            read_lfw_pairs(tmp_path / "absent.txt")


class TestCfp:
    @pytest.mark.parametrize(("kind", "absent_pairs"), [("FF", 0), ("FP", 43)])
    def test_official_lists(self, shared: Path, kind: str, absent_pairs: int) -> None:
        pairs = read_cfp_pairs(shared / "data" / "protocols" / "cfp", kind)
        assert len(pairs) == 7000
        assert np.bincount(pairs.folds, weights=pairs.same).tolist() == [350.0] * 10
        assert all(key.split("/")[1].startswith("frontal_") for key in pairs.first)
        view = "frontal_" if kind == "FF" else "profile_"
        assert all(key.split("/")[1].startswith(view) for key in pairs.second)
        with zipfile.ZipFile(shared / "data" / "cfp.zip") as faces:
            there = {face_key(name) for name in faces.namelist()}
        embeddings = {key: v for key, v in drawn_embeddings(pairs).items() if key in there}
        result = evaluate_pairs(pairs, embeddings)
        assert len(result.absent_pairs) == result.conditions["absent_pairs"] == absent_pairs

    @pytest.fixture
    def small(self, tmp_path: Path) -> Path:
        for view in "FP":
            name = {"F": "frontal", "P": "profile"}[view]
            rows = [f"{p} ../Data/Images/{p:03d}/{name}/01.jpg " for p in (1, 2)]
            (tmp_path / f"Pair_list_{view}.txt").write_text("\n".join(rows) + "\n")
        for fold in ("01", "02"):
            folder = tmp_path / "Split" / "FP" / fold
            folder.mkdir(parents=True)
            (folder / "same.txt").write_text("1,1\n2,2\n")
            (folder / "diff.txt").write_text("1,2\n")
        return tmp_path

    def test_small_list(self, small: Path) -> None:
        pairs = read_cfp_pairs(small, "FP")
        assert pairs.second[:3] == ("001/profile_01", "002/profile_01", "002/profile_01")
        assert pairs.folds.tolist() == [0, 0, 0, 1, 1, 1]

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            ("1,2", "do not belong into same.txt"),
            ("1,9", "number 9"),
            ("1", "two numbers"),
            ("1,b", "whole number"),
        ],
    )
    def test_errors_name_the_row(self, small: Path, row: str, words: str) -> None:
        (small / "Split" / "FP" / "02" / "same.txt").write_text(f"1,1\n{row}\n")
        with pytest.raises(DataError, match=rf"02.same\.txt:2: .*{words}"):
            read_cfp_pairs(small, "FP")

    def test_unknown_kind_and_missing_split(self, small: Path) -> None:
        with pytest.raises(DataError, match="'FF' or 'FP'"):
            read_cfp_pairs(small, "PP")  # type: ignore[arg-type]
        with pytest.raises(DataError, match="expected folders"):
            read_cfp_pairs(small, "FF")


class TestOwn:
    @pytest.mark.parametrize("separator", [",", "\t"])
    @pytest.mark.parametrize("header", ["", "a{0}b{0}same\n"])
    def test_reads_both_separators(self, tmp_path: Path, separator: str, header: str) -> None:
        rows = [("x/1.jpg", "x/2.jpg", "1"), ("x/1.jpg", "y/1.png", "0")]
        text = header.format(separator) + "".join(separator.join(row) + "\n" for row in rows)
        (tmp_path / "mine.csv").write_text(text)
        pairs = read_own_pairs(tmp_path / "mine.csv", folds=2)
        assert (pairs.name, pairs.first, pairs.second) == ("mine", ("x/1", "x/1"), ("x/2", "y/1"))
        assert pairs.same.tolist() == [True, False]

    def test_fold_column_is_kept(self, tmp_path: Path) -> None:
        (tmp_path / "mine.csv").write_text("a,b,same,fold\nx,y,1,1\nx,z,0,0\nz,y,0,1\n")
        assert read_own_pairs(tmp_path / "mine.csv").folds.tolist() == [1, 0, 1]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("x,y,1\nx,z\n", r"mine.csv:2: .* got 2 cells"),
            ("x,y,1\n\nx,z,maybe\n", r"mine.csv:3: expected 1 \(same\) or 0"),
            ("x,y,1\nx,x,1\n", r"mine.csv:2: expected two different faces"),
            ("x,y,1,0\nx,z,0,b\n", r"mine.csv:2: expected a whole number"),
            ("x,y,1\nx,z,0\n", "2 pairs cannot fill 10 folds"),
            ("", "holds no pairs"),
            ("a,b,same\n", "holds no pairs"),
        ],
    )
    def test_errors_name_the_row(self, tmp_path: Path, text: str, words: str) -> None:
        (tmp_path / "mine.csv").write_text(text)
        with pytest.raises(DataError, match=words):
            read_own_pairs(tmp_path / "mine.csv")


class TestEvaluate:
    def test_equals_the_metrics(self, pairs: Pairs) -> None:
        vectors = drawn_embeddings(pairs)
        result = evaluate_pairs(pairs, vectors)
        a, b = (np.array([vectors[key] for key in keys]) for keys in (pairs.first, pairs.second))
        folded = metrics.kfold_accuracy(a, b, pairs.same, 4)
        cosines = np.cos(metrics.angle(a, b))
        assert result.accuracy == folded.mean
        assert result.accuracy_std == folded.std
        np.testing.assert_allclose(result.genuine, cosines[pairs.same])
        np.testing.assert_allclose(result.impostor, cosines[~pairs.same])
        np.testing.assert_allclose(result.fold_thresholds, 1 - folded.thresholds / 2)
        assert result.eer == metrics.eer(result.genuine, result.impostor)
        assert [p.tar for p in result.tar_at_far] == [
            metrics.tar_at_far(result.genuine, result.impostor, far) for far in (1e-1, 1e-2, 1e-3, 1e-4)
        ]

    def test_small_fars_are_marked(self, pairs: Pairs) -> None:
        result = evaluate_pairs(pairs, drawn_embeddings(pairs))
        assert result.smallest_far == 1 / 20
        assert [p.supported for p in result.tar_at_far] == [True, False, False, False]

    @pytest.mark.parametrize("wrap", [lambda v: v, lambda v: {k + ".JPG": x for k, x in v.items()}, lambda v: v.get])
    def test_mapping_endings_and_functions_agree(self, pairs: Pairs, wrap: Callable) -> None:
        vectors = drawn_embeddings(pairs)
        assert evaluate_pairs(pairs, wrap(vectors)).auc == evaluate_pairs(pairs, vectors).auc

    def test_absent_faces_score_zero_and_are_listed(self, pairs: Pairs) -> None:
        vectors = drawn_embeddings(pairs)
        del vectors["p03/1"], vectors["p05/2"]
        result = evaluate_pairs(pairs, vectors, hardest=100)
        assert result.absent_faces == ("p03/1", "p05/2")
        assert result.absent_pairs == (6, 7, 10)
        assert (result.genuine[3], result.impostor[3], result.genuine[5]) == (0.0, 0.0, 0.0)
        assert result.conditions["absent_faces"] == 2
        rows = {pair.row for pair in (*result.hardest_genuine, *result.hardest_impostor)}
        assert rows == set(range(40)) - {6, 7, 10}

    def test_hardest_are_the_worst_first(self, pairs: Pairs) -> None:
        result = evaluate_pairs(pairs, drawn_embeddings(pairs), hardest=3)
        assert [p.cosine for p in result.hardest_impostor] == sorted(result.impostor.tolist(), reverse=True)[:3]
        assert [p.cosine for p in result.hardest_genuine] == sorted(result.genuine.tolist())[:3]
        worst = result.hardest_impostor[0]
        assert (pairs.first[worst.row], pairs.second[worst.row]) == (worst.first, worst.second)

    def test_conditions_and_json(self, pairs: Pairs) -> None:
        contract = Contract(embedding_dim=16)
        result = evaluate_pairs(pairs, drawn_embeddings(pairs), contract=contract, data="drawn", device="cpu")
        plain = json.loads(json.dumps(result.as_dict(), allow_nan=False))
        assert plain["conditions"] == {
            "data": "drawn", "pairs": 40, "genuine_pairs": 20, "impostor_pairs": 20, "folds": 4, "faces": 60,
            "absent_faces": 0, "absent_pairs": 0, "flip": "sum", "contract": contract.digest, "device": "cpu",
            "intervals": "95 %, people drawn again 1,000 times",
        }  # fmt: skip
        assert plain["accuracy"] == result.accuracy

    def test_reversed_embeddings_still_give_json(self, pairs: Pairs) -> None:
        first = set(pairs.first)
        vectors = {key: v * (1 if key in first else -1) for key, v in drawn_embeddings(pairs, 0.1).items()}
        json.dumps(evaluate_pairs(pairs, vectors).as_dict(), allow_nan=False)

    def test_bad_embeddings_are_named(self, pairs: Pairs) -> None:
        vectors = drawn_embeddings(pairs)
        bad = [
            ({}, "60 of 60 faces have no embedding"),
            ({**vectors, "p01/2": np.zeros(16)}, "p01/2 is zero"),
            ({**vectors, "p01/2": np.full(16, np.nan)}, "p01/2 is zero, NaN"),
            ({**vectors, "p01/2": np.ones(4)}, r"p01/2 has shape \(4,\)"),
            ({**vectors, "p01/2.jpg": np.ones(16)}, "one key without their endings"),
        ]
        for embeddings, words in bad:
            with pytest.raises(DataError, match=words):
                evaluate_pairs(pairs, embeddings)

    def test_bad_lists(self) -> None:
        with pytest.raises(DataError, match="got 1 and 2"):
            Pairs("x", ["a"], ["b", "c"], [True], 2)
        with pytest.raises(DataError, match="got 0 and 0"):
            Pairs("x", [], [], [], 2)
        with pytest.raises(DataError, match="x: all 2 pairs are of one person, expected both kinds"):
            Pairs("x", ["a", "b"], ["c", "d"], [1, 1], 2)
        with pytest.raises(DataError, match="x: all 2 pairs are of two people"):
            Pairs("x", ["a", "b"], ["c", "d"], [0, 0], 2)
