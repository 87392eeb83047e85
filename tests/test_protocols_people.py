"""Own folder, fairness by a column, and iQIYI-VID."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from hyperarc.data.face_set import open_faces
from hyperarc.errors import DataError, UnknownNameError, UsageError
from hyperarc.metrics import clopper_pearson, effective_trials, mean_average_precision, threshold_at_far
from hyperarc.protocols.drawn_pairs import draw_pairs
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.fairness import Fairness
from hyperarc.protocols.iqiyi import IqiyiVid, VideoSet, read_video_labels
from hyperarc.protocols.pairs import Pairs
from hyperarc.protocols.protocol import open_protocol
from hyperarc.protocols.video_mlp import MlpPlan, probabilities, train_mlp
from hyperarc.recipe import Evaluation


def drawn(people: np.ndarray, noise: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(int(people.max()) + 1, 16))
    return centers[people] + noise * rng.normal(size=(len(people), 16))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 people with 4 pictures each."""
    folder = tmp_path_factory.mktemp("people")
    for n in range(96):
        place = folder / f"p{n // 4:02d}"
        place.mkdir(exist_ok=True)
        Image.new("RGB", (112, 112), (n, 0, 0)).save(place / f"{n}.png")
    return folder


class TestDrawnPairs:
    @pytest.mark.parametrize("count", [40, 96, 1000])
    def test_balanced_seeded_and_people_whole(self, count: int) -> None:
        people = np.repeat(np.arange(24), 4)
        pairs = draw_pairs(people, count, seed=1)
        again, other = draw_pairs(people, count, seed=1), draw_pairs(people, count, seed=2)
        assert np.array_equal(pairs.first, again.first)
        assert not np.array_equal(pairs.first, other.first)
        assert pairs.same.mean() == 0.5
        assert len(pairs.same) == min(count, 2 * 24 * 6)
        assert np.array_equal(people[pairs.first] == people[pairs.second], pairs.same)
        both = np.stack([pairs.first, pairs.second], axis=1)[pairs.same]
        genuine = {frozenset(pair) for pair in both.tolist()}
        assert len(genuine) == pairs.same.sum()
        assert all(len(pair) == 2 for pair in genuine)
        fold_of: dict[int, set[int]] = {person: set() for person in range(24)}
        for side in (pairs.first, pairs.second):
            for row, fold in zip(side.tolist(), pairs.folds.tolist(), strict=True):
                fold_of[int(people[row])].add(fold)
        assert max(map(len, fold_of.values())) == 1
        turns = np.bincount(people[pairs.first[pairs.same]], minlength=24)
        assert turns.max() - turns.min() <= 2  # one inside a fold

    def test_long_people_and_singles(self) -> None:
        people = np.concatenate([np.zeros(2000, np.int64), np.repeat([1, 2, 3, 4], 2), [5, -1, -1]])
        pairs = draw_pairs(people, 200, seed=0)
        assert not np.isin(people[np.concatenate([pairs.first, pairs.second])], (5, -1)).any()
        with pytest.raises(DataError, match="expected at least four people with two faces, got 3"):
            draw_pairs(np.repeat(np.arange(3), 2), 40, seed=0)

    def test_folder(self, people: Path) -> None:
        evaluation = Evaluation(protocol="folder", faces=str(people), arguments={"count": 100}, seed=5)
        protocol, faces = open_protocol(evaluation)
        assert protocol.pairs is not None
        assert (len(protocol.pairs), len(faces)) == (100, 96)
        again, _ = open_protocol(evaluation)
        assert again.pairs is not None
        assert again.pairs.first == protocol.pairs.first
        number = {key: int(key[1:3]) for key in protocol.faces()}
        labels = np.array(list(number.values()))
        result = protocol.judge(Embedded.of(dict(zip(number, drawn(labels, 0.1), strict=True))))
        assert result.numbers[0].value > 0.95
        with pytest.raises(UsageError, match="at least 40 pairs"):
            open_protocol(evaluation.model_copy(update={"arguments": {"count": 8}}))


class TestFairness:
    def judged(self, gone: tuple[str, ...] = ()) -> tuple[Pairs, dict[str, str], np.ndarray, Any]:
        """Two groups, the embeddings of the second one twice as noisy."""
        labels = np.repeat(np.arange(40), 5)
        names = [f"p{label:02d}/{n}" for n, label in enumerate(labels.tolist())]
        groups = {name: "north" if label < 20 else "south" for name, label in zip(names, labels.tolist(), strict=True)}
        parts = [draw_pairs(np.where(half, labels, -1), 300, seed=0) for half in (labels < 20, labels >= 20)]
        first, second = (np.concatenate([getattr(part, side) for part in parts]) for side in ("first", "second"))
        same = np.concatenate([part.same for part in parts])
        pairs = Pairs("mine", [names[row] for row in first], [names[row] for row in second], same)
        noise = np.where(labels < 20, 0.6, 1.2)[:, None]
        vectors = drawn(labels, 0.0) + noise * np.random.default_rng(5).normal(size=(200, 16))
        there = {name: v for name, v in zip(names, vectors, strict=True) if name not in gone}
        result = Fairness(pairs, groups, 0.05, "region").judge(Embedded.of(there))
        units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        cosines = np.einsum("pd,pd->p", units[first], units[second])
        absent = np.array([a in gone or b in gone for a, b in zip(pairs.first, pairs.second, strict=True)])
        return pairs, groups, np.where(absent, 0.0, cosines), result

    @pytest.mark.parametrize("gone", [(), ("p00/0", "p30/152")])
    def test_by_a_plain_loop(self, gone: tuple[str, ...]) -> None:
        pairs, groups, cosines, result = self.judged(gone)
        numbers = {number.name: number.value for number in result.numbers}
        threshold = threshold_at_far(cosines[pairs.same], cosines[~pairs.same], 0.05)
        assert result.conditions["threshold"] == pytest.approx(threshold, abs=1e-6)
        rates = []
        for group in ("north", "south"):
            inside = np.array([groups[key] == group for key in pairs.first])
            rates.append(float(np.mean(cosines[inside & pairs.same] < threshold)))
            assert numbers[f"FRR, {group}"] == pytest.approx(rates[-1])
            assert numbers[f"FAR, {group}"] == pytest.approx(float(np.mean(cosines[inside & ~pairs.same] >= threshold)))
        assert numbers["FRR spread"] == pytest.approx(max(rates) - min(rates))
        assert numbers["FRR ratio"] == pytest.approx(max(rates) / min(rates))
        assert result.conditions["absent_faces"] == len(gone)
        assert {curve.label for curve in result.curves} == {"north", "south"}
        json.dumps(result.as_dict(), allow_nan=False)

    def test_small_groups_are_named(self) -> None:
        result_pairs, groups, scores, result = self.judged()
        inside = np.array([groups[key] == "south" for key in result_pairs.first]) & result_pairs.same
        assert result.conditions["small_groups"] == "north, south"  # 150 of 600 impostor pairs
        notes = {number.name: number.note for number in result.numbers}
        assert "150 impostor pairs of 600 needed" in notes["FAR, north"]
        intervals = {number.name: number.interval for number in result.numbers}
        low, high = intervals["FRR, south"] or (1.0, 0.0)
        people = np.array([key[:3] for key in result_pairs.first])[inside]
        missed = scores[inside] < threshold_at_far(scores[result_pairs.same], scores[~result_pairs.same], 0.05)
        worth = effective_trials(missed, people)
        assert (low, high) == pytest.approx([float(end) for end in clopper_pearson(missed.mean() * worth, worth)])
        assert worth < 150  # pairs of 20 people
        assert result.conditions["intervals"] == "95 %, Clopper-Pearson, people as the unit"

    def test_complaints(self) -> None:
        pairs = Pairs("mine", ["a/1", "a/1", "b/1", "b/1"], ["a/2", "b/1", "b/2", "a/2"], [1, 0, 1, 0], 2)
        groups = {"a/1": "x", "a/2": "x", "b/1": "y", "b/2": "y"}
        with pytest.raises(DataError, match="group 'x' has 1 genuine and 0 impostor pairs inside it"):
            Fairness(pairs, groups, 0.1, "region")
        with pytest.raises(DataError, match="b/2: has no region"):
            Fairness(pairs, {**groups, "b/2": ""}, 0.1, "region")
        with pytest.raises(DataError, match="expected at least two groups in region, got x"):
            Fairness(pairs, dict.fromkeys(groups, "x"), 0.1, "region")

    def test_open_by_a_column(self, people: Path, tmp_path: Path) -> None:
        manifest = open_faces(people).manifest
        region = ["north" if int(key[1:3]) < 12 else "south" for key in manifest.column("face").tolist()]
        manifest.write(tmp_path / "plain.parquet")
        table = pq.read_table(tmp_path / "plain.parquet").append_column("region", pa.array(region))
        pq.write_table(table, tmp_path / "faces.parquet")
        given = {"faces": str(tmp_path / "faces.parquet")}
        protocol, _ = open_protocol(
            Evaluation(protocol="fairness", arguments={"column": "region", "far": 0.1}, **given)
        )
        assert protocol.pairs is not None
        assert (len(protocol.pairs), protocol.name) == (288, f"{people.name} by region")
        (tmp_path / "people.csv").write_text("person,region\n" + "".join(f"p{n:02d},{n % 2}\n" for n in range(24)))
        asked = {"column": "region", "groups": str(tmp_path / "people.csv")}
        by_table, _ = open_protocol(Evaluation(protocol="fairness", faces=str(people), arguments=asked))
        assert isinstance(by_table, Fairness)
        assert by_table.names == ["0", "1"]
        with pytest.raises(UnknownNameError, match="'regoin'; did you mean 'region'"):
            open_protocol(Evaluation(protocol="fairness", arguments={"column": "regoin"}, **given))
        with pytest.raises(UsageError, match="protocol fairness needs faces and column"):
            open_protocol(Evaluation(protocol="fairness", **given))


class TestIqiyi:
    @pytest.fixture
    def sets(self) -> tuple[VideoSet, VideoSet, list[str], np.ndarray]:
        train = VideoSet(tuple(f"T{n}" for n in range(40)), np.arange(40) % 5 + 1)
        test = VideoSet(tuple(f"V{n}" for n in range(30)), np.arange(30) % 6)  # 0: nobody of the list
        frames = [f"{video}/{k}.jpg" for video in (*train.videos, *test.videos) for k in range(3)]
        people = np.repeat(np.concatenate([train.people, np.where(test.people == 0, 6, test.people)]), 3)
        return train, test, frames, people

    def test_centers_by_a_plain_loop(self, sets: tuple[VideoSet, VideoSet, list[str], np.ndarray]) -> None:
        train, test, frames, people = sets
        protocol = IqiyiVid(train, test, frames, None)
        vectors = drawn(people, 1.5)
        result = protocol.judge(Embedded.of(dict(zip(protocol.faces(), vectors, strict=True))))
        numbers = {number.name: number.value for number in result.numbers}
        for pooling in ("mean", "weighted by norm"):
            unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
            videos = (unit if pooling == "mean" else vectors).reshape(70, 3, 16).mean(axis=1)
            videos /= np.linalg.norm(videos, axis=1, keepdims=True)
            centers = np.stack([videos[:40][train.people == person].sum(axis=0) for person in range(1, 6)])
            scores = centers / np.linalg.norm(centers, axis=1, keepdims=True) @ videos[40:].T
            expected = mean_average_precision(scores, test.people == np.arange(1, 6)[:, None], 100)
            assert numbers[f"mAP@100, centers, {pooling}"] == pytest.approx(expected, abs=1e-6)
        assert (result.conditions["people"], result.conditions["test_videos"]) == (5, 30)
        json.dumps(result.as_dict(), allow_nan=False)

    def test_absent_videos_stand_last(self, sets: tuple[VideoSet, VideoSet, list[str], np.ndarray]) -> None:
        train, test, frames, people = sets
        protocol = IqiyiVid(train, test, frames, None)
        vectors = dict(zip(protocol.faces(), drawn(people, 0.05), strict=True))
        gone = [key for key in vectors if key.startswith(("V1/", "T0/")) or key == "V2/1"]
        result = protocol.judge(Embedded.of({key: v for key, v in vectors.items() if key not in gone}))
        told = result.conditions
        assert (told["absent_test_videos"], told["absent_training_videos"], told["absent_frames"]) == (1, 1, 7)
        # person 1 has five test videos: four perfect hits, the fifth among the last of 30
        assert result.numbers[0].value == pytest.approx((4 + (4 + 5 / 30) / 5) / 5, abs=1e-9)

    def test_the_classifier_learns_and_repeats(self, sets: tuple[VideoSet, VideoSet, list[str], np.ndarray]) -> None:
        train, test, frames, people = sets
        plan = MlpPlan(width=32, epochs=20, batch_size=16)
        features = drawn(np.arange(60) % 4, 0.5).astype(np.float32)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        torch.manual_seed(3)
        state = torch.get_rng_state()
        one, two = (probabilities(train_mlp(features, np.arange(60) % 4, 4, plan), features) for _ in range(2))
        assert np.array_equal(one, two)
        assert torch.equal(torch.get_rng_state(), state)
        assert one.sum(axis=1) == pytest.approx(np.ones(60), abs=1e-5)
        assert np.mean(one.argmax(axis=1) == np.arange(60) % 4) > 0.95
        protocol = IqiyiVid(train, test, frames, plan)
        result = protocol.judge(Embedded.of(dict(zip(protocol.faces(), drawn(people, 0.8), strict=True))))
        numbers = {number.name: number.value for number in result.numbers}
        assert numbers["mAP@100, MLP, mean"] > 0.8
        with pytest.raises(DataError, match="at least two people"):
            train_mlp(features, np.zeros(60, np.int64), 1, plan)

    def test_files(self, tmp_path: Path) -> None:
        (tmp_path / "train_gt.txt").write_text("A.mp4 1\nB.mp4 2\n")
        (tmp_path / "val_gt.txt").write_text("1 C.mp4 D.mp4\n2 E.mp4\n")
        for video in "ABCDE":
            (tmp_path / "frames" / video).mkdir(parents=True)
            Image.new("RGB", (112, 112)).save(tmp_path / "frames" / video / "1.png")
        given = {"faces": str(tmp_path / "frames"), "pairs": str(tmp_path), "arguments": {"mlp": False}}
        protocol, faces = open_protocol(Evaluation(protocol="iqiyi", **given))
        assert (len(protocol.faces()), len(faces)) == (5, 5)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "names no videos"),
            ("A.mp4 1\nB.mp4\n", "x.txt:2: expected 'video person'"),
            ("A.mp4 1\nA.mp4 2\n", "x.txt:2: names A.mp4 again"),
            ("A.mp4 B.mp4 1\n", "x.txt:1"),
            ("7\n", "x.txt:1"),
        ],
    )
    def test_errors_name_the_row(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "x.txt").write_text(text)
        with pytest.raises(DataError, match=said):
            read_video_labels(tmp_path / "x.txt")

    def test_videos_in_both_lists(self) -> None:
        both = VideoSet(("A", "B"), np.array([1, 2]))
        with pytest.raises(DataError, match="2 videos are in both lists, the first being A"):
            IqiyiVid(both, both, ["A/1"], None)
