"""``hyperarc purify``: marks, names, undo, decisions, resuming after a kill, and a whole run from a recipe."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hyperarc.artifact import build_backbone, build_head, open_artifact, save_artifact
from hyperarc.artifact.card import Card
from hyperarc.commands.decisions import Decisions, read_decisions
from hyperarc.commands.polling import Polling, poll_faces
from hyperarc.commands.purify import Purification, purify, undo_purify
from hyperarc.commands.show import Show
from hyperarc.data.face_set import open_faces
from hyperarc.data.manifest import Manifest, read_manifest
from hyperarc.data.truth import Truth
from hyperarc.encoder import Embeddings, Encoder
from hyperarc.errors import DataError, HyperArcError
from hyperarc.recipe.file import load_recipe

QUIET = Show(quiet=True)
DIM = 64
PEOPLE = [f"p{number:02d}" for number in range(12)]
# Who is under whose name: p01 holds 6 faces of a stranger and a stray one, p02 5 faces of p03, p05 is p04 again
UNDER = {
    "p00": {0: 8},
    "p01": {1: 9, 20: 6, 31: 1},
    "p02": {2: 9, 3: 5},
    "p03": {3: 8},
    "p04": {4: 9},
    "p05": {4: 7},
    "p06": {6: 1},
    "p07": {30: 2},  # nobody at the centers of p07: left empty
}
UNDER |= {name: {number: 5} for number, name in enumerate(PEOPLE) if number > 7}


def directions() -> np.ndarray:
    vectors = np.random.default_rng(5).normal(size=(40, DIM))
    return np.linalg.qr(vectors.T)[0].T[:40]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of noise whose first pixel tells who it is and which picture of them."""
    folder = tmp_path_factory.mktemp("photos") / "photos"
    random = np.random.default_rng(0)
    for person, held in UNDER.items():
        (folder / person).mkdir(parents=True)
        faces = [who for who, count in held.items() for _ in range(count)]
        for number, who in enumerate(faces):
            pixels = random.integers(0, 256, (112, 112, 3), np.uint8)
            pixels[0, 0] = who, number, 0
            Image.fromarray(pixels).save(folder / person / f"{number:02d}.png")
    return folder


def artifact_with(path: Path, centers: np.ndarray, people: list[str] = PEOPLE) -> Path:
    words = ["backbone.embedding_dim=64", "evaluation=[]", f"head.sub_centers={centers.shape[1]}"]
    recipe = load_recipe("demo", [*words, "backbone.name=iresnet_tiny"])
    torch.manual_seed(0)
    head = build_head(recipe, len(people))
    with torch.no_grad():
        head.centers.weight.copy_(torch.from_numpy(centers))
    save_artifact(path, build_backbone(recipe), head, recipe, people, Card())
    return path


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    known = directions()
    centers = np.stack([known[:12], known[20:32]], axis=1)
    centers[1, 1] = known[20]
    centers[2, 1], centers[5, 0] = known[3], known[4]
    centers[7] = known[36:38]
    return artifact_with(tmp_path_factory.mktemp("model") / "artifact", centers * 7)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Embeds by the first pixel instead of a network; holds how many faces were embedded at a time."""
    known, embedded = directions(), []

    def embed(self: Encoder, faces: np.ndarray, *words: Any) -> Embeddings:
        embedded.append(len(faces))
        noise = np.random.default_rng(faces[:, 0, 0, 1].tolist()).normal(size=(len(faces), DIM)) / np.sqrt(DIM)
        vectors = (3 * (known[faces[:, 0, 0, 0]] + 0.3 * noise)).astype(np.float32)
        return Embeddings(vectors, np.linalg.norm(vectors, axis=1), self.contract.digest)

    monkeypatch.setattr(Encoder, "embed", embed)
    return embedded


def rows(manifest: Manifest, person: str) -> list[Any]:
    return [row for row in manifest.rows if row.face.startswith(person)]


def purified(artifact: Path, photos: Path, run: Path, **asked: Any) -> tuple[dict[str, Any], Manifest]:
    outcome = purify(str(artifact), [], Purification(data=photos, **asked), run, QUIET)
    assert outcome is not None
    return outcome.facts, read_manifest(run / "faces.parquet")


# ---- marks


def test_faces_far_from_the_dominant_center_are_marked_and_nothing_is_deleted(
    artifact: Path, photos: Path, tmp_path: Path, seen: list[int]
) -> None:
    told, manifest = purified(artifact, photos, tmp_path / "run")
    assert len(manifest) == len(open_faces(photos)) == told["faces_looked_at"]
    wrong = {"p01": 7, "p02": 5, "p07": 2}
    for person in PEOPLE:
        marked = [row for row in rows(manifest, person) if not row.keep]
        assert len(marked) == wrong.get(person, 0), person
        assert all(re.fullmatch(r"noise: \d+ deg from the dominant center", row.reason) for row in marked)
        assert all(int(row.reason.split()[1]) > 75 for row in marked)
    assert told["left_out"] == 14
    assert told["people_left_empty"] == ["p07"]
    assert (told["splits"], told["moves"], told["merges"], told["applied"]) == (1, 1, 1, 0)
    assert told["kept"] == len(manifest) - 14
    assert told["angle_deg"] == 75
    assert (told["sub_centers"], told["detection"]) == (2, None)
    assert any("people whose faces are all noise: 'p07'" in str(found) for found in manifest.findings)
    page = (tmp_path / "run" / "report.html").read_text()
    data = json.loads(page.split('id="data">')[1].split("</script>")[0])
    assert data["people"][0]["name"] == "p01"
    assert {one["name"] for one in data["people"]} == set(PEOPLE)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert (tmp_path / "run" / "proposals.csv").read_text().splitlines()[1].startswith("split,p01,,1,6,")


def test_undo_takes_all_of_it_back(artifact: Path, photos: Path, tmp_path: Path, seen: list[int], run: Any) -> None:
    before = open_faces(photos).manifest.mark([0], "blurred").mark([9, 10], "overlap: named like Ann")
    before.write(tmp_path / "marked.parquet")
    told, manifest = purified(artifact, tmp_path / "marked.parquet", tmp_path / "run", apply=True)
    assert told["applied"] == 3
    assert told["faces_looked_at"] == len(before) - 3
    assert manifest.column("person").tolist() != before.column("person").tolist()
    done = run("purify", tmp_path / "run" / "faces.parquet", "--undo", "--json")
    assert done.code == 0, done.err
    back = json.loads(done.out)
    assert back["names_taken_back"] == 6 + 5 + 7
    after = read_manifest(tmp_path / "run" / "faces.parquet")
    for name in ("person", "keep", "reason", "label", "face"):
        assert after.column(name).tolist() == before.column(name).tolist(), name
    assert after.findings == before.findings
    with pytest.raises(DataError, match=r"expected a manifest with marks to take back; give faces\.parquet"):
        undo_purify(photos, None)


def test_names_are_changed_where_proposals_are_applied(
    artifact: Path, photos: Path, tmp_path: Path, seen: list[int]
) -> None:
    told, manifest = purified(artifact, photos, tmp_path / "run", apply=True)
    assert told["applied"] == 3
    people = {person: [row.person for row in rows(manifest, person) if row.keep] for person in PEOPLE}
    assert sorted(people["p01"]) == ["p01"] * 9 + ["p01 (2)"] * 6  # the stray one stays out
    assert sorted(people["p02"]) == ["p02"] * 9 + ["p03"] * 5
    assert people["p05"] == ["p04"] * 7
    assert len(set(manifest.labels[manifest.column("person") == "p04"].tolist())) == 1
    notes = {row.reason for row in manifest.rows if row.keep and row.reason}
    assert {note.partition(" (")[0].rpartition(", cosine")[0] for note in notes} == {
        "renamed: was p01; split",
        "renamed: was p02; move",
        "renamed: was p05; merge",
    }
    kept = manifest.unmark("noise")  # taking other marks back leaves new names and their notes alone
    assert kept.column("person").tolist() == manifest.column("person").tolist()
    assert kept.keep.all()


def test_faces_left_out_are_looked_at_again(
    artifact: Path, photos: Path, tmp_path: Path, seen: list[int]
) -> None:
    told, first = purified(artifact, photos, tmp_path / "run")
    kept = int(np.flatnonzero(first.keep)[0])
    marks = first.mark(np.arange(len(first)) == kept, "blurred")
    marks.write(tmp_path / "marked.parquet")
    less, _ = purified(artifact, tmp_path / "marked.parquet", tmp_path / "less")
    assert less["faces_looked_at"] == told["kept"] - 1
    again, second = purified(artifact, tmp_path / "marked.parquet", tmp_path / "again", again=True, angle_deg=100.0)
    assert again["faces_looked_at"] == told["faces_looked_at"] - 1
    assert again["left_out"] < told["left_out"]
    assert second.column("reason")[kept] == "blurred"
    assert (second.keep | first.keep).sum() > first.keep.sum()
    # somebody whom the artifact does not know stays as marked
    fewer = artifact_with(tmp_path / "fewer", directions()[1:12, None], PEOPLE[1:])
    _, third = purified(fewer, tmp_path / "marked.parquet", tmp_path / "third", again=True, angle_deg=180.0)
    unknown = first.column("person") == PEOPLE[0]
    assert (third.keep[unknown] <= first.keep[unknown]).all()
    assert third.keep[~unknown].sum() >= (~unknown).sum() - 1


def test_decisions_of_the_page_count(artifact: Path, photos: Path, tmp_path: Path, seen: list[int]) -> None:
    decided = {"people": {"p07": "keep", "p08": "drop"}, "proposals": {"move p02 1 p03": "accept"}}
    (tmp_path / "decisions.json").write_text(json.dumps({"about": {}, **decided}))
    told, manifest = purified(artifact, photos, tmp_path / "run", decisions=tmp_path / "decisions.json")
    assert told["applied"] == 1
    assert all(row.keep for row in rows(manifest, "p07"))
    assert [row.reason for row in rows(manifest, "p08")] == ["noise: decided"] * 5
    assert [row.person for row in rows(manifest, "p02")][-5:] == ["p03"] * 5
    assert sum(row.keep for row in rows(manifest, "p01")) == 9
    (tmp_path / "decisions.json").write_text(json.dumps({"proposals": {"split p01 1": "reject"}}))
    told, _ = purified(artifact, photos, tmp_path / "run", decisions=tmp_path / "decisions.json", apply=True)
    assert told["applied"] == 2
    for text, message in (
        ("{", "cannot read the decisions"),
        ("[]", "expected decisions as the page exports them"),
        ('{"people": {"ann": "maybe"}}', r"expected 'keep' or 'drop' by name under 'people', got \['maybe'\]"),
        ('{"proposals": []}', "expected 'accept' or 'reject'"),
    ):
        (tmp_path / "wrong.json").write_text(text)
        with pytest.raises(DataError, match=message):
            read_decisions(tmp_path / "wrong.json")
    assert not Decisions().people


def test_known_noise_is_judged(artifact: Path, photos: Path, tmp_path: Path, seen: list[int]) -> None:
    manifest = open_faces(photos).manifest
    kinds = np.full(len(manifest), "", dtype=object)
    wrong = [place for place, row in enumerate(manifest.rows) if row.person == "p01" and int(row.face[4:6]) >= 9]
    kinds[wrong] = "stranger"
    Truth(np.asarray(manifest.column("person"), dtype=object), kinds).write(manifest, tmp_path / "truth.parquet")
    told, _ = purified(artifact, photos, tmp_path / "run", truth=tmp_path / "truth.parquet", angle_deg=None)
    found = told["detection"]
    assert (found["wrong"], found["right"], found["recall"]) == (7, 7, 1.0)
    assert found["precision"] == 7 / told["left_out"]
    assert found["auc"] > 0.9
    assert "Noise found by the angle" in (tmp_path / "run" / "report.html").read_text()
    assert told["angle_from"].startswith(("valley between hills", "the angles are one hill"))


def test_copies_vote_once(artifact: Path, photos: Path, tmp_path: Path, seen: list[int]) -> None:
    folder = tmp_path / "copied"
    (folder / "p01").mkdir(parents=True)
    for number in range(3):
        (folder / "p01" / f"{number}.png").write_bytes((photos / "p01" / f"{number:02d}.png").read_bytes())
    for number in range(6):  # the same stranger six times, once at another quality
        image = Image.open(photos / "p01" / "09.png")
        image.save(folder / "p01" / f"copy{number}.png", compress_level=number)
    faces = poll_faces(open_artifact(artifact), open_faces(folder), tmp_path / "angles", Polling(), QUIET)
    assert faces.polled.votes[1].tolist() == [3, 1]
    assert faces.copies.tolist() == [False] * 4 + [True] * 5
    assert faces.polled.kept(np.radians(75)).tolist() == [True] * 3 + [False] * 6


# ---- unusual sets


def test_one_face_a_person_and_one_center_a_person(photos: Path, tmp_path: Path, seen: list[int]) -> None:
    single = artifact_with(tmp_path / "artifact", directions()[:12, None])
    told, manifest = purified(single, photos, tmp_path / "run")
    assert told["sub_centers"] == 1
    assert sum(row.keep for row in rows(manifest, "p01")) == 9
    assert told["splits"] == told["moves"] == 0
    ones = open_faces(photos).manifest
    ones = ones.take(np.unique(ones.labels, return_index=True)[1])
    ones.write(tmp_path / "ones.parquet")
    told, manifest = purified(single, tmp_path / "ones.parquet", tmp_path / "ones", angle_deg=None)
    assert (told["faces_looked_at"], told["left_out"], told["people_left_empty"]) == (12, 2, ["p05", "p07"])
    assert "75 is taken" in told["angle_from"]


def test_people_are_matched_by_name_and_others_told_of(
    artifact: Path, photos: Path, tmp_path: Path, seen: list[int]
) -> None:
    named = artifact_with(tmp_path / "artifact", directions()[:12, None], [f"photos/{name}" for name in PEOPLE])
    faces = poll_faces(open_artifact(named), open_faces(photos), tmp_path / "angles", Polling(), QUIET)
    assert len(faces.rows) == len(open_faces(photos))
    other = photos.parent / "others"
    (other / "zoe").mkdir(parents=True, exist_ok=True)
    (other / "p00").mkdir(exist_ok=True)
    for person in ("zoe", "p00"):
        (other / person / "1.png").write_bytes((photos / "p00" / "00.png").read_bytes())
    (other / "p00" / "2.png").write_bytes(b"no picture")
    faces = poll_faces(open_artifact(artifact), open_faces(other), tmp_path / "others", Polling(), QUIET)
    assert [str(found) for found in faces.findings] == [
        "1 faces that could not be read, not looked at: 'others:p00/2.png'",
        "1 people whom the artifact does not know, not looked at: 'zoe'",
    ]
    strangers = open_faces(other).manifest
    strangers.take(strangers.labels == 1).write(tmp_path / "zoe.parquet")
    with pytest.raises(DataError, match=r"expected faces of the artifact's 12 people, got .* such as 'zoe'"):
        poll_faces(open_artifact(artifact), open_faces(tmp_path / "zoe.parquet"), tmp_path / "zoe", Polling(), QUIET)


def test_wrong_usage_is_told(artifact: Path, tmp_path: Path, run: Any) -> None:
    assert run("purify", artifact, "--angle", "200", "--run", tmp_path).code == 2
    assert "an artifact is trained already" in run("purify", artifact, "head.margin=cosface").complaint()
    assert "an artifact is trained already" in run("purify", artifact, "--sub-centers", "5").complaint()
    assert "--again takes an artifact" in run("purify", "demo", "--again").complaint()
    assert "recipe" in run("purify", "nothing_like_it").complaint(2)


# ---- resuming

_WORKER = """
import signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from hyperarc.artifact import open_artifact
from hyperarc.commands.polling import Polling, poll_faces
from hyperarc.commands.show import Show
from hyperarc.data.face_set import open_faces
artifact, data, out, place, calls = sys.argv[1:]
if int(calls):
    if place == "savez":
        import numpy as holder
    else:
        from pyarrow.parquet import ParquetWriter as holder
    original, left = getattr(holder, place), int(calls)
    def waiting(*words, **options):
        global left
        left -= 1
        if left == 0:
            print("there", flush=True)
            signal.pause()
        return original(*words, **options)
    setattr(holder, place, waiting)
polling = Polling(batch_size=8, part_faces=20)
poll_faces(open_artifact(Path(artifact)), open_faces(Path(data)), Path(out), polling, Show(quiet=True))
print("finished", flush=True)
"""


def work(artifact: Path, photos: Path, out: Path, place: str, calls: int) -> None:
    words = [sys.executable, "-c", _WORKER, artifact, photos, out, place, str(calls)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert process.stdout is not None
    assert process.stdout.readline() == ("there\n" if calls else "finished\n")
    if calls:
        process.send_signal(signal.SIGKILL)
    process.wait()


def test_killed_at_any_time_the_angles_are_the_same(artifact: Path, photos: Path, tmp_path: Path) -> None:
    work(artifact, photos, tmp_path / "whole", "savez", 0)
    assert sorted(path.name for path in (tmp_path / "whole").iterdir()) == ["faces.parquet", "people.npz", "plan.json"]
    work(artifact, photos, tmp_path / "angles", "savez", 2)
    assert not (tmp_path / "angles").exists()
    work(artifact, photos, tmp_path / "angles", "write_table", 2)
    work(artifact, photos, tmp_path / "angles", "savez", 0)
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "angles" / path.name).read_bytes(), path.name
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_another_angle_embeds_nothing_again_and_a_foreign_artifact_is_refused(
    artifact: Path, photos: Path, tmp_path: Path, seen: list[int]
) -> None:
    told, fewer = purified(artifact, photos, tmp_path / "run")
    fewer.write(tmp_path / "fewer.parquet")
    assert sum(seen) == told["faces"]
    seen.clear()
    again, manifest = purified(artifact, photos, tmp_path / "run", angle_deg=100.0)
    assert not seen
    assert again["left_out"] < told["left_out"]
    assert int((~manifest.keep).sum()) == again["left_out"]
    foreign = artifact_with(tmp_path / "artifact", directions()[:12, None])
    with pytest.raises(HyperArcError, match="holds the angles of another artifact: centers was"):
        purified(foreign, photos, tmp_path / "run")
    with pytest.raises(HyperArcError, match="holds the angles of other faces"):
        purified(artifact, tmp_path / "fewer.parquet", tmp_path / "run")


# ---- a whole run

TINY = """
name: tiny
data: {drawn: {people: 12, faces_per_person: 4}, noise: {flips: 0.25}}
backbone: {name: iresnet_tiny, embedding_dim: 16}
head: {margin: cosface, arguments: {scale: 16, margin: 0.2}}
schedule: {kind: cosine, epochs: 1}
training: {batch_size: 16, threads: 1, precision: fp32}
"""


def test_a_recipe_is_trained_purified_and_trained_again(tmp_path: Path, run: Any) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    folder = tmp_path / "run"
    words = ["purify", tmp_path / "tiny.yaml", "--retrain", "--run", folder, "--angle", "88", "--json", "--quiet"]
    done = run(*words)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told == json.loads((folder / "purify.json").read_text())
    assert told["sub_centers"] == 3
    assert told["detection"]["wrong"] == 12
    first, second = open_artifact(folder / "k3" / "artifact"), open_artifact(folder / "k1" / "artifact")
    assert first.head().centers.weight.shape == (12, 3, 16)
    assert second.head().centers.weight.shape[1] == 1
    assert second.people() == sorted(set(first.people()) - set(told["people_left_empty"]))
    assert second.recipe is not None
    assert second.recipe.name == "tiny-k1"
    kept = read_manifest(folder / "k1" / "manifest.parquet")
    assert int(kept.keep.sum()) == told["kept"]
    before = (folder / "angles" / "faces.parquet").stat().st_mtime_ns
    again = run(*words)  # nothing left to do: trained, polled and trained again as it is
    assert again.code == 0, again.err
    assert (folder / "angles" / "faces.parquet").stat().st_mtime_ns == before
    assert json.loads(again.out) | {"seconds": 0} == told | {"seconds": 0}
