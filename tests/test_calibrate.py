"""``hyperarc calibrate``: thresholds and probabilities measured, kept in the artifact, and given out with care."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from hyperarc import metrics
from hyperarc.artifact import CALIBRATION, Calibration, Card, build_backbone, build_head, open_artifact, save_artifact
from hyperarc.artifact.calibration import read_calibration, write_calibration
from hyperarc.commands.calibrate import Job, calibrate_artifact
from hyperarc.commands.show import Show
from hyperarc.contract import Contract
from hyperarc.data.formats.pair_pack import write_pair_pack
from hyperarc.encoder import model_input
from hyperarc.errors import ArtifactError, ContractError, DataError, HyperArcError, UnknownNameError, UsageError
from hyperarc.metrics.all_pairs import LabeledEmbeddings
from hyperarc.protocols.calibration import Asked, Calibrated, Everyone, calibrate
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.pair_lists import Pairs
from hyperarc.protocols.people_pairs import score_people
from hyperarc.recipe.file import load_recipe

CONTRACT = Contract(embedding_dim=16, model="test")
QUIET = Show(quiet=True)


def crowd(people: int, each: int, seed: int = 0, noise: float = 0.7) -> tuple[Embedded, dict[str, int]]:
    """Embeddings of people, and who each face is."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), each)
    vectors = rng.normal(size=(people, 16))[labels] + noise * rng.normal(size=(labels.size, 16))
    keys = tuple(f"p{label}/{number}" for number, label in enumerate(labels.tolist()))
    person_of = dict(zip(keys, labels.tolist(), strict=True))
    return Embedded(keys, vectors.astype(np.float32), CONTRACT, "crowd", "cpu"), person_of


def every_pair(embedded: Embedded, person_of: dict[str, int]) -> Pairs:
    keys = np.array(embedded.faces, dtype=object)
    first, second = np.triu_indices(len(keys), 1)
    who = np.array([person_of[key] for key in keys])
    return Pairs("every", keys[first], keys[second], who[first] == who[second], np.arange(first.size) % 2)


def calibrated(people: int = 40, each: int = 4, asked: Asked | None = None, *, all_pairs: bool = False) -> Calibrated:
    embedded, person_of = crowd(people, each)
    scored = score_people(every_pair(embedded, person_of), embedded, person_of)
    faces = LabeledEmbeddings(embedded.vectors, list(person_of.values()))
    everyone = Everyone(faces, embedded.faces) if all_pairs else None
    return calibrate(scored, asked or Asked(), CONTRACT, {"data": "crowd"}, everyone)


@pytest.fixture(scope="module")
def of_pairs() -> Calibration:
    return calibrated().calibration


@pytest.fixture
def artifact(model: Path, tmp_path: Path) -> Path:
    """A copy of the artifact that a test may change."""
    return shutil.copytree(model, tmp_path / "net")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve people of one pattern each, four faces with noise."""
    root, rng = tmp_path_factory.mktemp("data") / "faces", np.random.default_rng(0)
    for person in range(12):
        pattern = np.kron(rng.integers(0, 200, (7, 7, 3)), np.ones((16, 16, 1)))
        (root / f"P{person:02d}").mkdir(parents=True)
        for face in range(4):
            pixels = (pattern + rng.normal(0, 25, pattern.shape) + 20).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"P{person:02d}" / f"{face}.png")
    return root


@pytest.fixture(scope="module")
def model(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained backbone whose batch norms have seen these faces, so that faces alike stay alike."""
    recipe = load_recipe("demo", ["backbone.embedding_dim=16"])
    torch.manual_seed(0)
    backbone = build_backbone(recipe).train()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1.0
    crops = np.stack([np.asarray(Image.open(path)) for path in sorted(faces.rglob("*.png"))])
    with torch.no_grad():
        backbone(model_input(torch.from_numpy(crops).permute(0, 3, 1, 2), Contract(), "cpu"))
    place = tmp_path_factory.mktemp("model") / "net"
    save_artifact(place, backbone.eval(), build_head(recipe, 2), recipe, ["a", "b"], Card())
    return place


class TestNumbers:
    def test_by_hand(self) -> None:
        """Faces on a circle, of which every angle is known."""
        degrees = {"a1": 0, "a2": 30, "b1": 90, "b2": 147, "c1": 190, "c2": 200, "d1": 280, "d2": 300}
        vectors = {key: [np.cos(np.deg2rad(d)), np.sin(np.deg2rad(d))] for key, d in degrees.items()}
        embedded = Embedded.of(vectors, contract=CONTRACT)
        person_of = {key: "abcd".index(key[0]) for key in degrees}
        impostor = [("a2", "b1"), ("b2", "c1"), ("c2", "d1"), ("d2", "a1")]  # 60, 43, 80 and 60 degrees
        impostor += [("a1", "b1"), ("b1", "c1"), ("c1", "d1"), ("d1", "a1")]  # 90, 100, 90 and 80
        genuine = [("a1", "a2"), ("b1", "b2"), ("c1", "c2"), ("d1", "d2")]  # 30, 57, 10 and 20
        first, second = zip(*genuine, *impostor, strict=True)
        pairs = Pairs("hand", first, second, [1] * 4 + [0] * 8, [0, 1] * 6)
        scored = score_people(pairs, embedded, person_of)
        found = calibrate(scored, Asked((0.125, 0.4, 0.01), "logistic"), CONTRACT, {}).calibration
        assert [one.target for one in found.fars] == [0.4, 0.125, 0.01]
        laxest, lax, strict = found.fars
        # three of eight may be accepted: both pairs at 60 degrees and the one at 43
        assert laxest.threshold is not None
        assert lax.threshold is not None
        assert strict.threshold is not None
        assert laxest.threshold.angle_deg == pytest.approx(60.0, abs=1e-4)
        assert (laxest.far.accepted, laxest.far.pairs, laxest.far.share) == (3, 8, 0.375)
        # one of eight: the laxest threshold for it is the genuine pair at 57 degrees
        assert lax.threshold.cosine == pytest.approx(np.cos(np.deg2rad(57.0)), abs=1e-6)
        assert (lax.far.accepted, lax.tar.accepted, lax.tar.share) == (1, 4, 1.0)
        assert (strict.far.accepted, strict.tar.share) == (0, 0.75)
        assert strict.threshold.angle_deg == pytest.approx(30.0, abs=1e-4)
        assert (strict.pairs_to_bound, strict.pairs_to_measure, strict.supported) == (300, 3000, False)
        assert (laxest.pairs_to_bound, laxest.supported) == (8, laxest.far.worth >= 0.95 * 8)
        assert found.best_accuracy.rate == pytest.approx(15 / 16)
        assert found.best_accuracy.threshold.angle_deg == pytest.approx(57.0, abs=1e-4)
        assert found.probability_map.prior == 0.5
        assert found.conditions["people"] == 4

    @settings(max_examples=25, deadline=None)
    @given(
        st.integers(0, 50),
        st.lists(st.floats(1e-6, 0.9), min_size=1, max_size=6, unique=True),
        st.sampled_from(["isotonic", "logistic"]),
    )
    def test_laws(self, seed: int, fars: list[float], kind: str) -> None:
        embedded, person_of = crowd(12, 3, seed)
        scored = score_people(every_pair(embedded, person_of), embedded, person_of)
        found = calibrate(scored, Asked(fars, kind), CONTRACT, {}).calibration
        assert [one.target for one in found.fars] == sorted(fars, reverse=True)
        cosines = [2.0 if one.threshold is None else one.threshold.cosine for one in found.fars]
        assert cosines == sorted(cosines)  # they fall as the FAR rises
        for one in found.fars:
            assert one.far.share <= one.target
            assert one.far.low <= one.far.share <= one.far.high
            assert one.far.worth <= one.far.pairs
        probabilities = found.probability(np.linspace(-1.0, 1.0, 50))
        assert (np.diff(probabilities) >= 0).all()
        assert (found.probability(np.linspace(-1.0, 1.0, 50), prior=0.01) <= probabilities).all()
        assert Calibration.model_validate_json(found.model_dump_json()) == found

    def test_all_pairs_are_as_listing_them(self) -> None:
        one, all_of_them = calibrated(), calibrated(all_pairs=True)
        for listed, counted in zip(one.calibration.fars, all_of_them.calibration.fars, strict=True):
            assert (listed.far.accepted, listed.far.pairs) == (counted.far.accepted, counted.far.pairs)
            assert listed.tar.accepted == counted.tar.accepted
            assert listed.far.worth == pytest.approx(counted.far.worth, rel=1e-6)
            assert listed.threshold is not None
            assert counted.threshold is not None
            assert listed.threshold.cosine == pytest.approx(counted.threshold.cosine, abs=1e-6)
        assert one.calibration.probability_map == all_of_them.calibration.probability_map
        np.testing.assert_allclose(one.rates.far.shares, all_of_them.rates.far.shares, atol=1e-3)
        assert all_of_them.calibration.conditions["thresholds_from"] == "all pairs of the faces"
        assert [pair.first for pair in one.hardest] == [pair.first for pair in all_of_them.hardest]

    def test_warnings_say_how_many_pairs_and_people(self) -> None:
        found = calibrated(asked=Asked((1e-2, 1e-4)))
        strict = found.calibration.fars[1]
        assert (strict.far.pairs, strict.supported) == (12480, False)
        worth = strict.far.pairs / strict.far.worth
        said = f"FAR 0.0001 is not supported by 12,480 impostor pairs of 40 people, worth {strict.far.worth:,.0f}: some"
        assert found.warnings[0].startswith(said)
        needed = int(found.warnings[0].split("some ")[1].split(" ")[0].replace(",", ""))
        assert needed == pytest.approx(30_000 * worth, rel=0.1)
        assert any("only 40 people" in warning for warning in found.warnings)
        # of all pairs of n people there are n^2 / 2, so fewer more people are needed
        asked = Asked((1e-2, 1e-5))
        people = [
            int(one.warnings[0].split("about ")[1].split(" ")[0].replace(",", ""))
            for one in (calibrated(asked=asked), calibrated(asked=asked, all_pairs=True))
        ]
        assert people[1] == pytest.approx(np.sqrt(people[0] * 40), rel=0.1)

    def test_one_person_may_not_hide(self) -> None:
        embedded, person_of = crowd(40, 4)
        person_of = {key: min(label, 30) for key, label in person_of.items()}
        scored = score_people(every_pair(embedded, person_of), embedded, person_of)
        found = calibrate(scored, Asked((0.1,), "logistic"), CONTRACT, {})
        assert any("one person has 81 % of the genuine pairs" in warning for warning in found.warnings)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"fars": (0.0,)}, "far should lie between 0 and 1, got 0.0"),
            ({"fars": (1.0,)}, "far should lie between"),
            ({"fars": (float("nan"),)}, "far should lie between"),
            ({"fars": ()}, "expected 1 to 64 rates, got 0"),
            ({"prior": 0.0}, "a prior should lie between 0 and 1"),
            ({"prior": 1.5}, "a prior should lie between 0 and 1"),
        ],
    )
    def test_nonsense_is_asked(self, change: dict[str, Any], words: str) -> None:
        with pytest.raises(UsageError, match=words):
            Asked(**change)
        with pytest.raises(UnknownNameError, match="unknown map 'isotomic'; did you mean 'isotonic'"):
            Asked(kind="isotomic")


class TestPeople:
    def test_absent_faces_are_left_out_and_counted(self) -> None:
        embedded, person_of = crowd(20, 4)
        pairs = every_pair(embedded, person_of)
        there = Embedded(embedded.faces[:-3], embedded.vectors[:-3], CONTRACT)
        scored = score_people(pairs, there, person_of)
        found = calibrate(scored, Asked((0.1,)), CONTRACT, {})
        assert found.calibration.conditions["absent_faces"] == 3
        assert found.calibration.conditions["pairs_left_out"] == 80 * 79 // 2 - 77 * 76 // 2
        assert any("3 faces are absent" in warning for warning in found.warnings)
        few = Embedded(embedded.faces[:20], embedded.vectors[:20], CONTRACT)
        with pytest.raises(DataError, match="60 of 80 faces have no embedding"):
            score_people(pairs, few, person_of)

    def test_nan_is_named(self) -> None:
        embedded, _ = crowd(3, 2)
        vectors = embedded.vectors.copy()
        vectors[4, 2] = np.nan
        with pytest.raises(DataError, match="embedding of p2/4 is zero, NaN or infinite"):
            Embedded(embedded.faces, vectors, CONTRACT)

    def test_genuine_pairs_tell_people_where_data_do_not(self) -> None:
        embedded, person_of = crowd(20, 4)
        nobody = dict.fromkeys(person_of, 0)  # one folder for all
        pairs = every_pair(embedded, person_of)
        scored = score_people(pairs, embedded, nobody)
        assert scored.contradictions == int((~pairs.same).sum())
        known = score_people(pairs, embedded, person_of)
        found, right = (calibrate(one, Asked((0.1,)), CONTRACT, {}) for one in (scored, known))
        assert found.calibration.fars == right.calibration.fars  # all of a person's faces are linked
        assert any("do not tell who the people are" in warning for warning in found.warnings)
        assert found.calibration.conditions["people_told_by"] == "genuine pairs alone"

    def test_a_list_that_contradicts_itself(self) -> None:
        embedded = Embedded.of({key: [1.0, place] for place, key in enumerate(("a", "b", "c", "d"))})
        pairs = Pairs("mine", ["a", "b", "a"], ["b", "c", "c"], [1, 1, 0], 2)
        with pytest.raises(DataError, match="mine: a and c are an impostor pair, but genuine pairs of the list"):
            score_people(pairs, embedded, {}).people_pairs()

    @pytest.mark.parametrize("same", [0, 1])
    def test_pairs_of_one_class(self, same: int) -> None:
        embedded = Embedded.of({key: [1.0, place] for place, key in enumerate(("a", "b", "c"))})
        pairs = Pairs("mine", ["a", "b"], ["b", "x"], [same, 1 - same], 2)  # x is absent
        with pytest.raises(DataError, match=f"mine: {same} of 1 pairs are genuine; both kinds are needed"):
            score_people(pairs, embedded, {}).people_pairs()


class TestInUse:
    def test_thresholds_are_given_out_with_care(self, of_pairs: Calibration) -> None:
        threshold = of_pairs.threshold(0.01)
        assert threshold == of_pairs.fars[1].threshold.cosine  # type: ignore[union-attr]
        needed = "FAR 0.0001 is not supported: it needs 30,000 .* 300,000 to be measured, the 12,480 pairs .* are worth"
        with pytest.raises(DataError, match=needed):
            of_pairs.threshold(1e-4)
        with pytest.raises(DataError, match=r"FAR 0.002 was not calibrated; use .*0.01.* calibrate with --far 0.002"):
            of_pairs.verify(0.5, 0.002)

    def test_shapes_are_kept(self, of_pairs: Calibration) -> None:
        threshold = of_pairs.threshold(0.01)
        assert bool(of_pairs.verify(threshold, 0.01)) is True
        assert of_pairs.verify([[threshold, threshold - 0.01]], 0.01).tolist() == [[True, False]]
        assert of_pairs.verify(torch.tensor([1.0, -1.0]), 0.01).tolist() == [True, False]
        assert of_pairs.probability(0.9).shape == ()
        assert of_pairs.probability(np.zeros((2, 3))).shape == (2, 3)
        assert float(of_pairs.probability(0.9, prior=1e-6)) < float(of_pairs.probability(0.9))

    @pytest.mark.parametrize("cosine", [np.nan, 1.5, -40.0, "0.5", None, [0.5, np.inf]])
    def test_what_is_no_cosine(self, of_pairs: Calibration, cosine: Any) -> None:
        with pytest.raises(DataError, match=r"expected cosines in -1..1"):
            of_pairs.verify(cosine, 0.01)
        with pytest.raises(DataError, match=r"expected cosines in -1..1"):
            of_pairs.probability(cosine)

    @pytest.mark.parametrize("prior", [0.0, 1.0, -1.0, float("nan")])
    def test_what_is_no_prior(self, of_pairs: Calibration, prior: float) -> None:
        with pytest.raises(DataError, match="a prior should lie between 0 and 1"):
            of_pairs.probability(0.5, prior=prior)


def _changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[str], str]:
    def changed(text: str) -> str:
        content = json.loads(text)
        change(content)
        return json.dumps(content)

    return changed


DAMAGE = {
    "cut off": lambda text: text[:-20],
    "empty": lambda text: "",
    "another thing": lambda text: "[1, 2]",
    "a digit of a share": _changed(lambda c: c["fars"][0]["far"].update(share=0.05)),
    "an interval": _changed(lambda c: c["fars"][0]["far"].update(low=0.5)),
    "the order": _changed(lambda c: c["fars"].reverse()),
    "a threshold": _changed(lambda c: c["fars"][1]["threshold"].update(cosine=-0.3)),
    "a rate made supported": _changed(lambda c: c["fars"][-1].update(supported=True)),
    "NaN": lambda text: text.replace('"brier": ', '"brier": NaN, "x": ', 1),
    "a string for a number": _changed(lambda c: c["equal_error"].update(rate="0.01")),
    "another map": _changed(lambda c: c["probability_map"].update(kind="magic")),
    "knots": _changed(lambda c: c["probability_map"]["knots"].reverse()),
    "NaN in the map": lambda text: text.replace('"prior": 0.5', '"prior": NaN', 1),
    "no pairs of the map": _changed(lambda c: c["probability_map"].update(genuine=-3)),
    "a further key": _changed(lambda c: c.update(more=1)),
    "many rates": _changed(lambda c: c.update(fars=c["fars"] * 40)),
    "many conditions": _changed(lambda c: c["conditions"].update({str(k): k for k in range(99)})),
}


class TestFile:
    def test_there_and_back(self, of_pairs: Calibration, tmp_path: Path) -> None:
        assert write_calibration(tmp_path, of_pairs) == tmp_path / CALIBRATION
        assert read_calibration(tmp_path, CONTRACT) == of_pairs
        content = json.loads((tmp_path / CALIBRATION).read_text())
        assert content["contract"] == CONTRACT.digest
        assert not any(tmp_path.glob(".*"))

    @pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
    def test_damaged(self, of_pairs: Calibration, tmp_path: Path, damage: Callable[[str], str]) -> None:
        path = write_calibration(tmp_path, of_pairs)
        before = path.read_text()
        path.write_text(damage(before))
        assert path.read_text() != before
        with pytest.raises(ArtifactError, match=r"calibration.json: damaged: .*; calibrate again with --force"):
            read_calibration(tmp_path, CONTRACT)

    def test_absent_foreign_and_huge(self, of_pairs: Calibration, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match="the artifact is not calibrated; run hyperarc calibrate"):
            read_calibration(tmp_path, CONTRACT)
        path = write_calibration(tmp_path, of_pairs)
        foreign = Contract(embedding_dim=16, model="other")
        digests = f"of contract {CONTRACT.digest}, the artifact's are of {foreign.digest}"
        with pytest.raises(ContractError, match=digests):
            read_calibration(tmp_path, foreign)
        with open(path, "ab") as file:
            file.write(b" " * 2**24)
        with pytest.raises(ArtifactError, match="larger than 16,777,216 bytes"):
            read_calibration(tmp_path, CONTRACT)


class TestCommand:
    def test_from_folder_to_page(self, artifact: Path, faces: Path, run: Any) -> None:
        card = (artifact / "card.md").read_text()
        asked = ("--far", "0.3", "--far", "0.001", "--map", "logistic")
        ran = run("calibrate", artifact, "count=200", "--data", faces, *asked, "--json")
        assert ran.code == 0, ran.err
        told = json.loads(ran.out)
        kept = open_artifact(artifact).calibration()
        assert [one["target"] for one in told["fars"]] == [0.3, 0.001]
        assert told["contract"] == kept.contract == open_artifact(artifact).contract.digest
        assert kept.conditions["protocol"] == "folder"
        assert kept.conditions["flip"] == "sum"
        assert kept.conditions["people"] == 12
        assert kept.scores.folds == 6
        assert "warning: FAR 0.001 is not supported" in ran.err
        assert "1,056 impostor pairs: --all-pairs takes the thresholds from them" in ran.err
        page = Path(told["report"]).read_text()
        assert Path(told["report"]).name == "calibration-net.html"
        for words in ("Are the pairs enough?", "Impostors most alike", "Only 12 people", "people told by"):
            assert words in page
        written = (artifact / "card.md").read_text()
        assert written.startswith(card.rstrip())
        assert "| 0.3 | " in written
        assert "| 0.001 | " not in written

        again = run("calibrate", artifact, "--data", faces).complaint()
        assert "the artifact is calibrated already; give --force to replace it" in again
        ran = run("calibrate", artifact, "--data", faces, "--all-pairs", "--far", "0.05", "--force", "--quiet")
        assert ran.code == 0, ran.err
        assert not ran.err
        assert ran.out.startswith("FAR   Angle")
        kept = open_artifact(artifact).calibration()
        assert kept.fars[0].far.pairs == 48 * 44 // 2
        assert kept.conditions["thresholds_from"] == "all pairs of the faces"
        written = (artifact / "card.md").read_text()
        assert written.count("## Calibration") == 1
        assert "| 0.05 | " in written
        assert "| 0.3 | " not in written

    def test_a_list_of_pairs(self, artifact: Path, faces: Path, tmp_path: Path) -> None:
        rows = [f"P{n:02d}/{a}.png,P{n:02d}/{b}.png,1" for n in range(12) for a, b in ((0, 1), (2, 3))]
        rows += [f"P{n:02d}/{a}.png,P{(n + 1) % 12:02d}/{a}.png,0" for n in range(12) for a in range(4)]
        rows += ["P00/0.png,P77/0.png,0"]
        listed = tmp_path / "pairs.csv"
        listed.write_text("\n".join(rows))
        job = Job(artifact, {"faces": str(faces), "pairs": str(listed)}, Asked((0.1,), "logistic"))
        done = calibrate_artifact(job, QUIET)
        told = done.calibrated.calibration.conditions
        assert (told["protocol"], told["pairs"], told["people"], told["absent_faces"]) == ("pairs", 72, 12, 1)
        listed.write_text("\n".join(row for row in rows if row.endswith("1")))
        with pytest.raises(DataError, match=r"pairs\.csv: all 24 pairs are of one person"):
            calibrate_artifact(Job(artifact, job.pairs, job.asked, force=True), QUIET)
        assert open_artifact(artifact).calibration() == done.calibrated.calibration  # what was there stays

    def test_a_pack_does_not_tell_people(self, artifact: Path, faces: Path, tmp_path: Path) -> None:
        same = [True, False] * 24
        pictures = [
            (faces / f"P{(n + shift) % 12:02d}" / f"{n % 3 + side}.png").read_bytes()
            for n, one in enumerate(same)
            for side, shift in ((0, 0), (1, 0 if one else 1 + n % 5))
        ]
        write_pair_pack(tmp_path / "mine.bin", pictures, same)
        fields = {"faces": str(tmp_path / "mine.bin")}
        done = calibrate_artifact(Job(artifact, fields, Asked((0.1,), "logistic")), QUIET)
        assert done.calibrated.calibration.conditions["people"] == 72  # one of a genuine pair, two of an impostor's
        with pytest.raises(DataError, match="--all-pairs needs labelled faces: 24 of the listed pairs contradict"):
            calibrate_artifact(Job(artifact, fields, Asked((0.1,), "logistic"), all_pairs=True, force=True), QUIET)

    def test_wrong_usage(self, artifact: Path, faces: Path, tmp_path: Path, run: Any) -> None:
        def said(*words: object, code: int = 1) -> str:
            return str(run("calibrate", artifact, *words).complaint(code))

        assert "a prior should lie between 0 and 1, got 1.0" in said("--data", faces, "--prior", "1", code=2)
        assert "far should lie between 0 and 1, got 0.0" in said("--data", faces, "--far", "0", code=2)
        assert "unknown map 'linear'" in said("--data", faces, "--map", "linear", code=2)
        assert "protocol folder needs faces" in said(code=2)
        assert "unknown protocol 'lfv'" in said("--data", faces, "--protocol", "lfv", code=2)
        (tmp_path / "list.txt").write_text("\n".join(f"P{n:02d}/{k}.png P{n}" for n in range(12) for k in range(4)))
        listed = ("--data", faces, "--pairs", tmp_path / "list.txt")
        assert "protocol MFR-ALL is no list of pairs of faces" in said(*listed, "--protocol", "mfr_all", code=2)
        assert not (artifact / CALIBRATION).exists()

    def test_nothing_is_half_written(self, artifact: Path, faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        job = Job(artifact, {"faces": str(faces), "arguments": {"count": 80}}, Asked((0.1,), "logistic"))
        before = calibrate_artifact(job, QUIET).calibrated.calibration
        monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(HyperArcError, match="the disk is full"):
            calibrate_artifact(Job(artifact, job.pairs, Asked((0.2,), "logistic"), force=True), QUIET)
        monkeypatch.undo()
        assert open_artifact(artifact).calibration() == before
        assert not any(artifact.glob(".*"))


def test_maps_of_the_metrics_are_those_on_offer() -> None:
    from hyperarc.protocols.calibration import MAPS

    assert {name: fit([0.6, 0.7], [0.1, 0.2]).kind for name, fit in MAPS.items()} == {name: name for name in MAPS}
    assert metrics.fit_isotonic is MAPS["isotonic"]
