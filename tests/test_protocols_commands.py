"""Protocols from files to page: faces embedded, judged, and reported, whatever the protocol."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import nn

from hyperarc.commands.judgement import Judgement, judge
from hyperarc.commands.protocol_page import section_of
from hyperarc.commands.show import Show
from hyperarc.contract import Contract
from hyperarc.data.drawn import draw_set
from hyperarc.encoder import Encoder
from hyperarc.errors import DataError
from hyperarc.recipe import Evaluation
from hyperarc.report.page import Report, write_report

SIZE = 112


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """Eight by eight pixels of the face, not a model, so that nothing has to be trained."""
    net = nn.Sequential(nn.AvgPool2d(14), nn.Flatten())
    return Encoder(net, Contract(embedding_dim=192, model="pixels"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight drawn people with five faces each."""
    root = tmp_path_factory.mktemp("photos") / "faces"
    drawn = draw_set(8, 5, seed=5)
    for number, (image, label) in enumerate(zip(drawn.images, drawn.labels.tolist(), strict=True)):
        (root / f"P{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / f"P{label}" / f"{number}.png")
    return root


def page_of(judgement: Judgement, folder: Path) -> str:
    json.dumps(judgement.result.as_dict(), allow_nan=False)
    return write_report(Report("x", sections=[section_of({"mine": judgement})]), folder / "x.html").read_text("utf-8")


def judged(encoder: Encoder, tmp_path: Path, **fields: Any) -> tuple[Judgement, str]:
    judgement = judge(encoder, Evaluation(**fields), Show(quiet=True))
    return judgement, page_of(judgement, tmp_path)


def test_a_folder(encoder: Encoder, photos: Path, tmp_path: Path) -> None:
    judgement, page = judged(encoder, tmp_path, protocol="folder", faces=str(photos), arguments={"count": 80}, seed=3)
    assert judgement.result.conditions["pairs"] == 80
    assert judgement.result.conditions["contract"] == encoder.contract.digest
    for words in ("Two people, most alike", "DET", "TAR at FAR 0.001", "genuine pairs"):
        assert words in page


def test_groups(encoder: Encoder, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("person,hair\n" + "".join(f"P{n},{'ab'[n % 2]}\n" for n in range(8)))
    asked = {"column": "hair", "groups": str(tmp_path / "people.csv"), "far": 0.1}
    judgement, page = judged(encoder, tmp_path, protocol="fairness", faces=str(photos), arguments=asked)
    assert judgement.result.numbers[0].name == "FRR spread"
    assert judgement.headline().startswith("FRR spread ")
    for words in ("FAR, a", "FRR, b", "small groups"):
        assert words in page


def ijb_meta(photos: Path, folder: Path) -> Path:
    """Two templates a person; of the last person only probes."""
    faces = sorted(photos.rglob("*.png"))
    rows = [(face, 2 * (number // 5) + (number % 5) // 3 + 1) for number, face in enumerate(faces)]
    points = "38.3 51.7 73.5 51.5 56.0 71.7 41.5 92.4 70.7 92.2"
    (folder / "loose_crop").mkdir()
    for number, (face, _) in enumerate(rows):
        Image.open(face).save(folder / "loose_crop" / f"{number}.png")
    lists = {
        "ijbb_face_tid_mid.txt": [f"{n}.png {template} {n % 2}" for n, (_, template) in enumerate(rows)],
        "ijbb_name_5pts_score.txt": [f"{n}.png {points} 0.9" for n in range(len(rows))],
        "ijbb_template_pair_label.txt": [f"{2 * a + 1} {2 * b + 2} {int(a == b)}" for a in range(8) for b in range(8)],
        "ijbb_1N_gallery_S1.csv": ["TEMPLATE_ID,SUBJECT_ID", *(f"{2 * a + 1},{a}" for a in range(4))],
        "ijbb_1N_gallery_S2.csv": ["TEMPLATE_ID,SUBJECT_ID", *(f"{2 * a + 1},{a}" for a in range(4, 7))],
        "ijbb_1N_probe_mixed.csv": ["TEMPLATE_ID,SUBJECT_ID", *(f"{2 * a + 2},{a}" for a in range(8))],
    }
    for name, lines in lists.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def test_templates(encoder: Encoder, photos: Path, tmp_path: Path) -> None:
    meta = ijb_meta(photos, tmp_path)
    given = {"faces": str(meta / "loose_crop"), "pairs": str(meta)}
    judgement, page = judged(encoder, tmp_path, protocol="ijbb", **given)
    assert judgement.result.conditions["genuine_pairs"] == 8
    assert "FAR nearest to the target" in page
    judgement, page = judged(encoder, tmp_path, protocol="ijbb_1n", **given)
    for words in ("rank-1, both galleries", "TPIR@FPIR=0.01", "CMC"):
        assert words in page
    assert judgement.result.conditions["gallery_S2"] == 3


def test_videos_have_no_pictures(encoder: Encoder, photos: Path, tmp_path: Path) -> None:
    for number, face in enumerate(sorted(photos.rglob("*.png"))):
        place = tmp_path / "frames" / face.parent.name / str(number % 2)
        place.mkdir(parents=True, exist_ok=True)
        (place / face.name).write_bytes(face.read_bytes())
    shifted = [(fold, n, shift) for fold in (1, 2) for n in range(8) for shift in (0, fold)]
    rows = [f"{fold}, {n}, P{n}/0, P{(n + shift) % 8}/1, {int(not shift)}" for fold, n, shift in shifted]
    (tmp_path / "splits_corrected.txt").write_text("split, pair, first, second, same\n" + "\n".join(rows))
    judgement, page = judged(
        encoder, tmp_path, protocol="ytf", faces=str(tmp_path / "frames"), pairs=str(tmp_path / "splits_corrected.txt")
    )
    assert judgement.result.name == "YTF splits_corrected"
    assert len(judgement.result.hardest_impostor) == 16
    assert "Two people, most alike" not in page


def test_folders_in_front_are_left_off(encoder: Encoder, photos: Path, tmp_path: Path) -> None:
    faces = sorted(photos.rglob("*.png"))
    flat = tmp_path / "cplfw" / "aligned images"
    flat.mkdir(parents=True)
    for face in faces:
        (flat / f"{face.parent.name}_{face.name}").write_bytes(face.read_bytes())
    names = sorted(path.name for path in flat.iterdir())
    rows = [f"{a} 1\n{b} 1" for a, b in itertools.pairwise(names) if a[:2] == b[:2]]
    rows += [f"{a} 0\n{b} 0" for a, b in zip(names, names[10:], strict=False)]
    (tmp_path / "pairs.txt").write_text("\n".join(rows))
    given = {"faces": str(tmp_path / "cplfw"), "pairs": str(tmp_path / "pairs.txt")}
    judgement, _ = judged(encoder, tmp_path, protocol="cplfw", **given)
    assert judgement.result.conditions["absent_faces"] == 0
    assert judgement.result.conditions["pairs"] == 62
    (tmp_path / "pairs.txt").write_text("\n".join(row.replace("P", "Q") for row in rows))
    with pytest.raises(DataError, match="none of the 40 faces of CPLFW is there, such as Q"):
        judged(encoder, tmp_path, protocol="cplfw", **given)


def test_numbers_agree_with_the_encoder(encoder: Encoder, photos: Path, tmp_path: Path) -> None:
    """The scores of the page are those of the encoder's own embeddings."""
    judgement, _ = judged(encoder, tmp_path, protocol="folder", faces=str(photos), arguments={"count": 40})
    pair = judgement.result.hardest_impostor[0]
    vectors = encoder.embed(np.stack([judgement.image(pair.first), judgement.image(pair.second)])).vectors
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert pair.cosine == pytest.approx(float(units[0] @ units[1]), abs=1e-6)
