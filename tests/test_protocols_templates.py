"""IJB-B and IJB-C: files, pooling, pair scores, verification and identification against the released scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hyperarc.contract import Contract
from hyperarc.errors import DataError
from hyperarc.metrics import tar_at_far
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.ijb import Switches, TemplateIdentification, TemplateVerification
from hyperarc.protocols.ijb_files import (
    Subjects,
    TemplateFaces,
    TemplatePairs,
    read_landmarks,
    read_subjects,
    read_template_pairs,
    read_templates,
)
from hyperarc.protocols.protocol import open_protocol
from hyperarc.protocols.sampling import thinned_roc
from hyperarc.protocols.templates import pair_scores, pool_templates
from hyperarc.recipe import Evaluation

SWITCHES = ("F1N1D1", "F1N0D1", "F0N1D0", "F1N0D0")


def golden(shared: Path, name: str) -> dict[str, Any]:
    with np.load(shared / "golden" / f"{name}.npz") as content:
        return dict(content)


def features_of(case: dict[str, Any], flip: bool) -> np.ndarray:
    left, right = np.hsplit(case["img_feats_flip_concat"], 2)
    return left + right if flip else left


def members_of(case: dict[str, Any]) -> TemplateFaces:
    keys = tuple(f"{number}" for number in range(len(case["templates"])))
    return TemplateFaces(keys, case["templates"], case["medias"], case["faceness"], "golden")


def subjects_of(rows: np.ndarray) -> Subjects:
    templates, first = np.unique(rows[:, 0], return_index=True)
    return Subjects(templates, rows[first, 1], "golden")


@pytest.mark.parametrize("name", SWITCHES)
class TestGoldenVerification:
    def test_pooling_and_scores(self, shared: Path, name: str) -> None:
        case = golden(shared, f"ijb11_{name}")
        quality = case["faceness"] if name.endswith("D1") else None
        pooled = pool_templates(
            features_of(case, "F1" in name), case["templates"], case["medias"], norm="N1" in name, quality=quality
        )
        assert np.array_equal(pooled.numbers, case["unique_templates"])
        assert pooled.units == pytest.approx(case["template_feats"], abs=1e-13)
        assert pair_scores(pooled, case["pair_t1"], case["pair_t2"]) == pytest.approx(case["scores"], abs=1e-13)

    def test_numbers(self, shared: Path, name: str) -> None:
        case = golden(shared, f"ijb11_{name}")
        members = members_of(case)
        pairs = TemplatePairs(case["pair_t1"], case["pair_t2"], case["label"] == 1, "golden")
        protocol = TemplateVerification("IJB", members, pairs, Switches("N1" in name, "D1" in name))
        vectors = dict(zip(members.faces, features_of(case, "F1" in name), strict=True))
        result = protocol.judge(Embedded.of(vectors))
        told = {number.name: number.value for number in result.numbers}
        for far, tar in zip(case["far_grid"], case["tar"], strict=True):
            assert told[f"TAR at FAR {far:g}"] == tar
        same = case["label"] == 1
        assert told["TAR at FAR <= 0.01"] == tar_at_far(case["scores"][same], case["scores"][~same], 0.01)
        assert result.headline().startswith("TAR at FAR 0.0001 ")
        json.dumps(result.as_dict(), allow_nan=False)


def test_golden_identification(shared: Path) -> None:
    case = golden(shared, "ijb1n")
    members = members_of(case)
    galleries = {"S1": subjects_of(case["gallery"][:12]), "S2": subjects_of(case["gallery"][12:])}
    protocol = TemplateIdentification("IJB", members, galleries, subjects_of(case["probe"]), Switches())
    result = protocol.judge(Embedded.of(dict(zip(members.faces, features_of(case, True), strict=True))))
    told = {number.name: number.value for number in result.numbers}
    ranks = [told[f"rank-{rank}, both galleries"] for rank in (1, 5, 10)]
    assert ranks == pytest.approx(case["top1_top5_top10"], abs=1e-12)
    for far, tpir, _ in case["far_tpir_threshold"]:
        assert told[f"script's TPIR@FPIR={far:g}"] == pytest.approx(tpir, abs=1e-12)
    assert set(result.details["by_gallery"]) == {"S1", "S2"}


def drawn(templates: int, images: int, seed: int = 0) -> tuple[TemplateFaces, dict[str, np.ndarray], np.ndarray]:
    """Templates of half as many people, each of some photos and frames."""
    rng = np.random.default_rng(seed)
    people = rng.normal(size=(templates // 2, 8))
    more = rng.integers(0, templates, images - 2 * templates)
    of = np.sort(np.concatenate([np.repeat(np.arange(templates), 2), more]))
    members = TemplateFaces(
        tuple(f"{n}" for n in range(images)), of + 100, rng.integers(0, 3, images), rng.uniform(0.5, 1, images), "drawn"
    )
    vectors = {f"{n}": people[of[n] // 2] + 0.7 * rng.normal(size=8) for n in range(images)}
    return members, vectors, np.arange(templates) // 2


def test_pooling_equals_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hyperarc.protocols.pooling._AT_A_TIME", 16)
    members, vectors, _ = drawn(20, 200)
    features = np.stack(list(vectors.values()))
    pooled = pool_templates(features, members.templates, members.media, norm=False, quality=members.quality)
    assert members.quality is not None
    for number, unit in zip(pooled.numbers, pooled.units, strict=True):
        total = np.zeros(8)
        for medium in np.unique(members.media[members.templates == number]):
            rows = np.flatnonzero((members.templates == number) & (members.media == medium))
            scaled = [features[r] / np.linalg.norm(features[r]) * members.quality[r] for r in rows]
            total += np.mean(scaled, axis=0)
        assert unit == pytest.approx(total / np.linalg.norm(total), abs=1e-12)


def test_absent_faces_and_templates_in_verification() -> None:
    members, vectors, subjects = drawn(20, 60)
    first, second = np.triu_indices(20, 1)
    pairs = TemplatePairs(first + 100, second + 100, subjects[first] == subjects[second], "drawn")
    protocol = TemplateVerification("IJB", members, pairs, Switches())
    gone = set(np.flatnonzero(members.templates == 105).tolist()) | {0}
    there = Embedded.of({key: v for key, v in vectors.items() if int(key) not in gone}, contract=Contract(), data="x")
    result = protocol.judge(there)
    told = result.conditions
    assert (told["absent_faces"], told["absent_templates"], told["absent_pairs"]) == (len(gone), 1, 19)
    assert (told["pairs"], told["flip"], told["norm_kept"], told["detector_score"]) == (190, "sum", True, True)
    assert result.scores is not None
    assert int((result.scores.genuine == 0.0).sum()) == 1  # template 105's one genuine pair stays, with cosine 0
    assert len(result.scores.genuine) == 10


def test_strict_identification_by_a_plain_loop() -> None:
    members, vectors, subjects = drawn(40, 160)
    galleries = {
        "G1": Subjects(np.arange(100, 120, 2), subjects[0:20:2], "G1"),
        "G2": Subjects(np.arange(120, 136, 2), subjects[20:36:2], "G2"),
    }
    probes = Subjects(np.arange(101, 141, 2), subjects[1::2], "probes")
    protocol = TemplateIdentification("IJB", members, galleries, probes, Switches())
    gone = {int(row) for number in (103, 137, 108) for row in np.flatnonzero(members.templates == number)}
    result = protocol.judge(Embedded.of({key: v for key, v in vectors.items() if int(key) not in gone}))
    told = {number.name: number.value for number in result.numbers}
    keep = np.array([row for row in range(160) if row not in gone])
    features = np.stack(list(vectors.values())).astype(np.float32)[keep]
    assert members.quality is not None
    pooled = pool_templates(features, members.templates[keep], members.media[keep], quality=members.quality[keep])
    unit = dict(zip(pooled.numbers.tolist(), pooled.units, strict=True))
    rank1, tpir = [], []
    for gallery in galleries.values():
        found, alarms = [], []
        for probe, subject in zip(probes.templates.tolist(), probes.subjects.tolist(), strict=True):
            entries = zip(gallery.templates.tolist(), gallery.subjects.tolist(), strict=True)
            scores = [(float(unit[probe] @ unit[t]), s) for t, s in entries if probe in unit and t in unit]
            best = max(scores, default=(-9.0, -1))
            if subject in gallery.subjects:
                found.append(best[0] if best[1] == subject else -9.0)
            else:
                alarms.append(best[0])
        rank1.append(np.mean(np.array(found) > -9))
        limit = sorted(alarms, reverse=True)[int(0.1 * len(alarms))]
        tpir.append(np.mean(np.array(found) > limit))
    assert told["rank-1, each gallery"] == pytest.approx(np.mean(rank1), abs=1e-12)
    assert told["TPIR@FPIR=0.1"] == pytest.approx(np.mean(tpir), abs=1e-12)
    assert result.conditions["absent_templates"] == 3


@pytest.fixture
def meta(tmp_path: Path) -> Path:
    """Eight images in four templates of two people, in the published layout."""
    folder = tmp_path / "meta"
    folder.mkdir()
    (tmp_path / "loose_crop").mkdir()
    points = "60.0 90.0 120.0 90.0 90.0 120.0 65.0 150.0 115.0 150.0"
    rows = range(1, 9)
    for row in rows:
        Image.new("RGB", (180, 220), (20 * row, 0, 0)).save(tmp_path / "loose_crop" / f"{row}.jpg")
    lists = {
        "ijbc_face_tid_mid.txt": [f"{row}.jpg {(row + 1) // 2} {row // 4}" for row in rows],
        "ijbc_name_5pts_score.txt": [f"{row}.jpg {points} 0.{row}" for row in rows],
        "ijbc_template_pair_label.txt": ["1 3 1", "2 4 1", "1 2 0", "3 4 0", "1 4 0"],
        "ijbc_1N_gallery_G1.csv": ["TEMPLATE_ID,SUBJECT_ID,FILENAME", "1,11,img/1.jpg", "1,11,img/2.jpg"],
        "ijbc_1N_gallery_G2.csv": ["TEMPLATE_ID,SUBJECT_ID,FILENAME", "2,12,img/3.jpg"],
        "ijbc_1N_probe_mixed.csv": ["TEMPLATE_ID,SUBJECT_ID,FILENAME", '3,11,"a,b.jpg"', "4,12,img/7.jpg"],
    }
    for name, lines in lists.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


class TestFiles:
    def test_published_layout(self, meta: Path) -> None:
        members = read_templates(meta, "ijbc")
        assert members.faces == tuple(map(str, range(1, 9)))
        assert members.templates.tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
        assert members.quality is not None
        assert members.quality[2] == 0.3
        assert read_landmarks(meta, "ijbc")[1][0, 2].tolist() == [90.0, 120.0]
        pairs = read_template_pairs(meta, "ijbc", np.arange(1, 5))
        assert pairs.same.tolist() == [True, True, False, False, False]
        gallery = read_subjects(meta / "ijbc_1N_gallery_G1.csv", np.arange(1, 5))
        assert (gallery.templates.tolist(), gallery.subjects.tolist()) == ([1], [11])

    @pytest.mark.parametrize("aligned", [False, True])
    def test_open(self, meta: Path, aligned: bool) -> None:
        crops = meta.parent / "loose_crop"
        given = {"faces": str(crops), "pairs": str(meta), "arguments": {"aligned": aligned, "norm": False}}
        protocol, faces = open_protocol(Evaluation(protocol="ijbc", **given))
        assert (protocol.name, len(protocol.faces()), len(faces)) == ("IJB-C 1:1", 8, 8)
        assert faces.image(0).shape == ((220, 180, 3) if aligned else (112, 112, 3))
        protocol, faces = open_protocol(Evaluation(protocol="ijbc_1n", faces=str(crops.parent), pairs=str(meta)))
        assert (protocol.name, len(faces)) == ("IJB-C 1:N", 8)
        vectors = {str(row): np.eye(2)[(row - 1) // 2 % 2] + 0.1 for row in range(1, 9)}
        result = protocol.judge(Embedded.of(vectors))
        assert [n.value for n in result.numbers if n.name.startswith("rank-1,")] == [1.0, 1.0]

    @pytest.mark.parametrize(
        ("file", "change", "said"),
        [
            ("ijbc_face_tid_mid.txt", ("2.jpg 1 0", "2.jpg 1"), "tid_mid.txt:2: expected rows of image, template, med"),
            ("ijbc_face_tid_mid.txt", ("3.jpg 2", "3.jpg x"), "ijbc_face_tid_mid.txt:3.*'x'"),
            ("ijbc_face_tid_mid.txt", ("3.jpg", "9.jpg"), "mid.txt:3: does not name the images of ijbc_name_5pts"),
            ("ijbc_name_5pts_score.txt", ("0.4", "inf"), "5pts_score.txt:4: holds a NaN or infinity"),
            ("ijbc_template_pair_label.txt", ("1 2 0", "1 2 7"), "label.txt:3: label should be 0 or 1, got 7"),
            ("ijbc_template_pair_label.txt", ("1 2 0", "1 9 0"), "label.txt:3: template 9 has no faces"),
            ("ijbc_template_pair_label.txt", (" 0\n", " 1\n"), "every pair has label 1"),
            ("ijbc_1N_gallery_G1.csv", ("1,11,img/2", "1,12,img/2"), "G1.csv:3: template 1 has two subjects"),
            ("ijbc_1N_probe_mixed.csv", ("4,12", "7,12"), "mixed.csv:3: template 7 has no faces"),
        ],
    )
    def test_errors_name_file_and_row(self, meta: Path, file: str, change: tuple[str, str], said: str) -> None:
        (meta / file).write_text((meta / file).read_text().replace(*change))
        name = "ijbc_1n" if "1N" in file else "ijbc"
        with pytest.raises(DataError, match=said):
            open_protocol(Evaluation(protocol=name, faces=str(meta.parent / "loose_crop"), pairs=str(meta)))

    def test_missing_and_empty_files(self, meta: Path) -> None:
        (meta / "ijbc_template_pair_label.txt").write_text("")
        with pytest.raises(DataError, match=r"label.txt: holds no rows"):
            read_template_pairs(meta, "ijbc", np.arange(5))
        with pytest.raises(DataError, match=r"ijbb_face_tid_mid.txt: no such file"):
            read_templates(meta, "ijbb")


def test_a_thinned_roc_holds_exact_points() -> None:
    rng = np.random.default_rng(0)
    genuine, impostor = rng.normal(1, 1, 5000).round(2), rng.normal(0, 1, 20000).round(2)
    curve = thinned_roc(genuine, impostor)
    assert len(curve.x) < 2002
    for far, tar in list(zip(curve.x, curve.y, strict=True))[::100]:
        assert tar == tar_at_far(genuine, impostor, far)
