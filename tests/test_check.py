"""Faults built into drawn faces, found again; marks that come and go; hashes held to a search of all pairs."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from hyperarc.commands.check import CheckOptions, check_faces
from hyperarc.commands.check_people import Artifact, compare_faces
from hyperarc.commands.show import Show
from hyperarc.data.checks.colors import color_orders
from hyperarc.data.checks.copies import equals_of_others, first_of_equals, linked_groups
from hyperarc.data.checks.faults import FaultLimits, find_faults
from hyperarc.data.checks.measures import contrast, crop_of, small_of, thumbnails
from hyperarc.data.checks.people import label_findings
from hyperarc.data.checks.picture_hash import describe, likeness, near_pairs
from hyperarc.data.checks.statistics import measure_faces
from hyperarc.data.drawn import Conditions, draw_set
from hyperarc.data.face_set import FaceReader, FaceSet, open_faces
from hyperarc.data.manifest import manifest_of
from hyperarc.data.sources import ArraySource
from hyperarc.errors import DataError, UnknownNameError
from hyperarc.faces.image import Pixels

PEOPLE, EACH = 6, 4


def saved(picture: Pixels, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def drawn() -> Pixels:
    """Pictures of six people, four each, person by person."""
    return draw_set(PEOPLE, EACH, seed=3, conditions=Conditions.frontal()).images


@pytest.fixture
def faulty(drawn: Pixels, tmp_path: Path) -> tuple[Path, dict[str, set[str]]]:
    """A folder of person folders with one fault of every kind, and the true files of each."""
    root = tmp_path / "faces"
    first = drawn[0]
    files = {f"p{n // EACH}/{n % EACH}.png": saved(face) for n, face in enumerate(drawn)}
    blurred = Image.fromarray(drawn[5]).filter(ImageFilter.GaussianBlur(4))
    files |= {
        "p0/unreadable.png": b"no picture",
        "p0/wrong size.png": saved(crop_of(drawn[1])[8:104, 8:104]),
        "p1/blank.png": saved(np.full((112, 112, 3), (120, 90, 80), np.uint8)),
        "p1/gray.png": saved(np.repeat(np.asarray(Image.fromarray(drawn[11]).convert("L"))[..., None], 3, 2)[::-1]),
        "p1/blurred.png": saved(np.asarray(blurred)[:, ::-1] // 2 + 60),
        "p0/copy.png": saved(first, compress_level=1),
        "p0/near copy.jpg": saved(first[:, ::-1], "JPEG", quality=60),
        "p2/conflict.jpg": saved(drawn[12], "JPEG", quality=75),
        "p2/tiny.png": saved(np.asarray(Image.fromarray(drawn[9]).rotate(90).resize((30, 30)))),
        "single/0.png": saved(np.asarray(Image.fromarray(drawn[23]).rotate(180))),
    }
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    true = {
        "unreadable": {"p0/unreadable.png"},
        "wrong size": {"p0/wrong size.png", "p2/tiny.png"},
        "blank": {"p1/blank.png"},
        "gray": {"p1/gray.png"},
        "blurred": {"p1/blurred.png"},
        "tiny": {"p2/tiny.png"},
        "copy": {"p0/copy.png"},
        "near copy": {"p0/near copy.jpg"},
        "conflict": {"p2/conflict.jpg", "p3/0.png"},
        "few faces": {"single/0.png"},
    }
    return root, true


def test_every_fault_is_found_and_nothing_else(faulty: tuple[Path, dict[str, set[str]]]) -> None:
    root, true = faulty
    checked = check_faces(open_faces(root), CheckOptions(FaultLimits(size=112)), Show(quiet=True))
    found: dict[str, set[str]] = {}
    for fault in checked.faults:
        found.setdefault(fault.kind, set()).add(checked.faces.manifest.row(fault.row).face)
    near = found["near copy"] | {"p0/near copy.jpg"}
    assert near <= {"p0/near copy.jpg", "p0/0.png"}  # whichever is the less sharp
    assert {kind: found[kind] for kind in true if kind not in ("near copy", "blurred")} == {
        kind: files for kind, files in true.items() if kind not in ("near copy", "blurred")
    }
    assert true["blurred"] <= found["blurred"] <= true["blurred"] | {"p2/tiny.png"}
    assert set(found) == set(true)
    details = {fault.kind: fault.detail for fault in checked.faults}
    assert details["wrong size"] in ("96 x 96 instead of 112", "30 x 30 instead of 112")
    assert details["unreadable"].startswith("expected a picture")
    assert details["few faces"] == "1 of 2 faces"


def test_command_writes_manifest_table_and_report(
    run: Any, faulty: tuple[Path, dict[str, set[str]]], tmp_path: Path
) -> None:
    root, true = faulty
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    out = tmp_path / "out"
    told = json.loads(run("check", root, "--out", out, "--size", 112, "--leave-out", "gray", "--json").out)
    manifest = open_faces(out / "faces.parquet").manifest
    left_out = {row.face: row.reason for row in manifest.rows if not row.keep}
    expected = set().union(*(true[kind] for kind in ("unreadable", "wrong size", "copy", "few faces", "gray")))
    assert set(left_out) == expected
    assert left_out["p0/copy.png"] == "copy: equal pixels"
    assert told["left_out"] == len(expected)
    assert told["kept"] == told["faces"] - len(expected)
    assert told["found"]["conflict"] == 2
    with open(out / "findings.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(told["found"].values()) + told["same_people"]
    [copy] = [row for row in rows if row["kind"] == "copy"]
    assert (copy["face"], copy["other_face"], copy["left_out"]) == ("p0/copy.png", "p0/0.png", "yes")
    page = (out / "report.html").read_text(encoding="utf-8")
    for heading in ("Unreadable", "Label conflicts", "Near copies", "Too few faces"):
        assert f"<h2>{heading}</h2>" in page
    assert "http" not in page.replace("http-equiv", "")
    assert {path: path.read_bytes() for path in before} == before


def test_marks_go_back_kind_by_kind(run: Any, faulty: tuple[Path, dict[str, set[str]]], tmp_path: Path) -> None:
    root, _ = faulty
    out = tmp_path / "out"
    run("check", root, "--out", out, "--size", 112)
    path = out / "faces.parquet"
    first = open_faces(path).manifest
    own = first.mark([3], "overlap: looks like Ann")
    own.write(path)
    told = json.loads(run("check", path, "--undo", "wrong-size", "--json").out)
    assert told["changed"] == 2
    after = open_faces(path).manifest
    assert {row.face for row in first.rows if row.reason} - {row.face for row in after.rows if row.reason} == {
        "p0/wrong size.png",
        "p2/tiny.png",
    }
    assert "no face is marked" in run("check", path, "--undo", "wrong-size").complaint()
    run("check", path, "--undo", "all")
    assert [row.reason for row in open_faces(path).manifest.rows if row.reason] == ["overlap: looks like Ann"]
    run("check", path, "--out", out, "--size", 112)  # anew, from the manifest: what others marked stays
    again = open_faces(path).manifest
    assert again.row(3).reason == "overlap: looks like Ann"
    assert {row.face for row in again.rows if not row.keep} == {row.face for row in own.rows if not row.keep}
    assert len(again.findings) == len(own.findings)


def test_wrong_words_are_one_error(run: Any, faulty: tuple[Path, dict[str, set[str]]], tmp_path: Path) -> None:
    root, _ = faulty
    assert "did you mean 'near copy'" in run("check", root, "--leave-out", "near-copies").complaint(2)
    assert "expected a manifest" in run("check", root, "--undo", "gray").complaint()
    assert not (tmp_path / "runs").exists()


def test_training_leaves_out_what_was_marked(run: Any, drawn: Pixels, tmp_path: Path) -> None:
    root = tmp_path / "faces"
    for number, face in enumerate(drawn):
        for copy in range(2):
            path = root / f"p{number // EACH}" / f"{number % EACH}-{copy}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(saved(face))
    run("check", root, "--out", tmp_path / "out")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: x\ndata: {{sources: [{{path: {tmp_path / 'out' / 'faces.parquet'}}}]}}\n"
        "backbone: {name: iresnet_tiny}\ntraining: {batch_size: 8}\nschedule: {kind: cosine, epochs: 1}\n",
        encoding="utf-8",
    )
    done = run("train", recipe, "--run", tmp_path / "run", "--json", "--quiet")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["faces"] == len(drawn)


def test_colors_are_put_right(drawn: Pixels) -> None:
    swapped = draw_set(10, 10, seed=5, conditions=Conditions.frontal()).images
    sources = [
        ArraySource(np.ascontiguousarray(swapped[..., ::-1]), ["a"] * len(swapped), name="blue"),
        ArraySource(drawn, ["b"] * len(drawn), name="right"),
    ]
    manifest = pa.concat_tables([source.scan().table for source in sources])
    joined = sources[0].scan().__class__(manifest)
    checked = check_faces(FaceSet(tuple(sources), joined), CheckOptions(), Show(quiet=True))
    after = checked.faces.manifest
    of_blue = np.arange(len(after)) < len(swapped)
    assert after.swapped[of_blue].mean() > 0.95
    assert not after.swapped[~of_blue].any()
    row = int(np.flatnonzero(after.swapped)[0])
    np.testing.assert_array_equal(checked.faces.image(row), swapped[row])
    again = check_faces(checked.faces, CheckOptions(), Show(quiet=True))
    np.testing.assert_array_equal(again.faces.manifest.swapped, after.swapped)  # right now: nothing to exchange


def test_one_blue_face_is_light_many_are_a_wrong_order() -> None:
    rng = np.random.default_rng(0)
    right = rng.normal(0.17, 0.05, 1000)
    right[0] = -0.2
    one = color_orders(right, np.zeros(1000, int))
    assert not one.swapped.any()
    assert one.odd.tolist() == [True] + [False] * 999
    mixed = np.concatenate([right[1:501], -right[1:501]])
    half = color_orders(mixed, np.zeros(1000, int))
    assert half.swapped[500:].mean() > 0.98
    assert half.swapped[:500].mean() < 0.01
    assert half.shares[0] == pytest.approx(0.5, abs=0.02)
    warm = -right
    nearly_all = color_orders(warm, np.zeros(1000, int))
    assert nearly_all.swapped[1:].all()


@pytest.mark.parametrize(("name", "low", "high"), [("pubfig_noisy", 0.99, 1.0), ("lfw", 0.0, 0.0), ("cfp", 0.0, 0.0)])
def test_colors_of_real_faces(shared: Path, name: str, low: float, high: float) -> None:
    faces = open_faces(shared / "data" / f"{name}.zip")
    rows = np.arange(0, len(faces), len(faces) // 300)
    faults, _ = find_faults(faces.manifest, measured := measure_faces(faces.reader, rows))
    colored = (measured.chroma >= FaultLimits().chroma).sum()
    swapped = sum(fault.kind == "swapped" for fault in faults)
    assert low <= swapped / colored <= high


def brute(descriptors: Any, limit: float) -> set[tuple[int, int]]:
    first, second = np.triu_indices(len(descriptors), 1)
    cosines, _ = likeness(descriptors[first], descriptors[second])
    return {(int(a), int(b)) for a, b in zip(first[cosines >= limit], second[cosines >= limit], strict=True)}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), noise=st.floats(0.0, 12.0), count=st.integers(2, 60))
def test_near_pairs_are_those_of_a_search_of_all(seed: int, noise: float, count: int) -> None:
    rng = np.random.default_rng(seed)
    smooth = rng.normal(size=(count, 4, 4)).repeat(4, 1).repeat(4, 2) * 40 + 128
    copies = smooth[: count // 2][:, :, :: rng.choice([-1, 1])] * 0.8 + 10 + rng.normal(0, noise, (count // 2, 16, 16))
    thumbs = np.concatenate([smooth, copies]).clip(0, 255).astype(np.uint8)
    descriptors = describe(thumbs)
    found = near_pairs(descriptors)
    pairs = {(int(a), int(b)) for a, b in zip(found.first, found.second, strict=True)}
    assert pairs <= brute(descriptors, 0.9)
    assert brute(descriptors, 0.99) <= pairs
    assert (found.first < found.second).all()


def test_near_pairs_among_many(drawn: Pixels) -> None:
    faces = draw_set(40, 3, seed=9).images
    shapes = (
        lambda face: np.asarray(Image.open(io.BytesIO(saved(face, "JPEG", quality=40)))),
        lambda face: np.asarray(Image.fromarray(face).resize((60, 60)).resize((112, 112))),
        lambda face: np.ascontiguousarray(face[:, ::-1, ::-1]),
        lambda face: (face * 0.7 + 40).astype(np.uint8),
    )
    everything = np.concatenate([faces, *(np.stack([change(face) for face in faces]) for change in shapes)])
    thumbs = thumbnails(np.stack([small_of(face) for face in everything]))
    found = near_pairs(describe(thumbs))
    reached = brute(describe(thumbs), 0.9)
    pairs = {(int(a), int(b)) for a, b in zip(found.first, found.second, strict=True)}
    assert pairs <= reached
    assert len(pairs) > 0.98 * len(reached)
    of_one = np.array([a % len(faces) == b % len(faces) for a, b in pairs])
    assert of_one.mean() > 0.97
    assert of_one.sum() > 0.95 * 10 * len(faces)  # all pairs among five versions
    assert contrast(thumbs[:1])[0] > 4


def test_nothing_is_like_a_flat_picture() -> None:
    assert len(near_pairs(describe(np.zeros((5, 16, 16), np.uint8)))) == 0
    assert len(near_pairs(describe(np.zeros((0, 16, 16), np.uint8)))) == 0


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=20))
def test_equal_pictures_by_hand(pictures: list[tuple[int, int]]) -> None:
    digests = np.array([digest for digest, _ in pictures], np.uint64)
    labels = [label for _, label in pictures]
    assert first_of_equals(digests, labels).tolist() == [pictures.index(picture) for picture in pictures]
    rows, others = equals_of_others(digests, labels)
    mixed = [n for n, (d, x) in enumerate(pictures) if any(d == other and x != y for other, y in pictures)]
    assert rows.tolist() == mixed
    for row, other in zip(rows.tolist(), others.tolist(), strict=True):
        assert pictures[row][0] == pictures[other][0]
        assert pictures[row][1] != pictures[other][1]


def test_links_make_groups() -> None:
    assert linked_groups(np.array([3, 1, 9]), np.array([5, 3, 8])) == {1: [1, 3, 5], 8: [8, 9]}
    assert linked_groups(np.zeros(0, np.int64), np.zeros(0, np.int64)) == {}


def test_labels_that_do_not_fit() -> None:
    manifest = manifest_of(["a/1", "a/2", "b/1"], ["a", "a", "b"], source="x")
    assert label_findings(manifest) == []
    odd = manifest.with_columns(label=pa.array([0, 5, 5]))
    assert [str(found) for found in label_findings(odd)] == [
        "4 labels without faces: '1 to 4'",
        "1 people with several labels: 'a'",
        "1 labels of several people: '5'",
    ]


def test_statistics_do_not_depend_on_threads(drawn: Pixels) -> None:
    source = ArraySource(np.concatenate([drawn] * 5), ["a"] * 5 * len(drawn))
    reader = FaceReader(source, source.scan())
    rows = np.arange(5 * len(drawn))
    told: list[tuple[int, int]] = []
    one = measure_faces(reader, rows, threads=1, progress=lambda *done: told.append(done))
    many = measure_faces(reader, rows, threads=3)
    for name in ("rows", "width", "digests", "chroma", "redness", "contrast", "blur_px", "descriptors"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))
    assert told[-1] == (len(rows), len(rows))


def test_photos_of_many_sizes_are_not_judged_by_color(drawn: Pixels, tmp_path: Path) -> None:
    for number, face in enumerate(drawn):
        path = tmp_path / "photos" / "ann" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(saved(np.asarray(Image.fromarray(face[..., ::-1]).resize((100 + number, 120)))))
    checked = check_faces(open_faces(tmp_path / "photos"), CheckOptions(), Show(quiet=True))
    assert checked.shares == {}
    assert not checked.faces.manifest.swapped.any()


def test_nothing_to_check_is_one_error(drawn: Pixels) -> None:
    source = ArraySource(drawn, ["a"] * len(drawn))
    left_out = source.scan().mark(np.arange(len(drawn)), "overlap")
    with pytest.raises(DataError, match="none that are kept"):
        check_faces(FaceSet((source,), left_out), CheckOptions(), Show(quiet=True))
    with pytest.raises(UnknownNameError, match="few"):
        _ = CheckOptions(leave_out=["fwe faces"]).marking


def test_people_are_compared_by_name_and_by_embedding(drawn: Pixels, tmp_path: Path) -> None:
    import torch
    from torch import nn

    from hyperarc.contract import Contract
    from hyperarc.encoder import Encoder

    everything = draw_set(12, 3, seed=1, conditions=Conditions.neutral())
    names = [10 * "abcdefghijkl"[label] for label in everything.labels]
    names[:3] = ["Ann Lee"] * 3
    names[-3:] = ["lee_ann"] * 3
    images = everything.images.copy()
    images[-1] = images[0]
    source = ArraySource(images, names)
    faces = FaceSet((source,), source.scan())
    measured = measure_faces(faces.reader, np.arange(len(faces)))
    by_name = compare_faces(faces, measured, [], None, Show(quiet=True))
    assert [(faces.manifest.people[m.first], faces.manifest.people[m.second]) for m in by_name.matches] == [
        ("Ann Lee", "lee_ann")
    ]
    assert by_name.faults == []

    torch.manual_seed(0)
    encoder = Encoder(nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(588, 64)), Contract(embedding_dim=64))

    class Opened:
        def encoder(self, device: str) -> Encoder:
            assert device == "cpu"
            return encoder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hyperarc.commands.check_people.open_artifact", lambda path: Opened())
        both = compare_faces(faces, measured, [], Artifact(tmp_path), Show(quiet=True))
    conflicts = {fault.row for fault in both.faults if fault.kind == "conflict"}
    assert {0, len(images) - 1} <= conflicts
    copies = [fault for fault in both.faults if fault.kind == "near copy"]
    assert copies  # neutral pictures of one person are all but equal
    for label in np.unique(faces.manifest.labels).tolist():
        marked = {fault.row for fault in copies}
        assert not set(np.flatnonzero(faces.manifest.labels == label).tolist()) <= marked  # one is always left
