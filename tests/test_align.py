"""``hyperarc align``: photos to a folder of crops, with a manifest, a table and a report; resumable."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from hyperarc.commands import align as command
from hyperarc.commands.aligned import warn_unaligned
from hyperarc.commands.check import CheckOptions, check_faces
from hyperarc.commands.show import Show
from hyperarc.contract import Contract
from hyperarc.data.face_set import open_faces
from hyperarc.data.formats.face_writer import ShardLimits
from hyperarc.data.loader import Loader
from hyperarc.data.order import BatchOrder
from hyperarc.data.packing import Packing, pack
from hyperarc.data.photos import open_photos
from hyperarc.data.sources import FolderSource
from hyperarc.errors import DataError, HyperArcError
from hyperarc.faces.aligned import ALIGNED_PX, ready_detector, seen_misfit_px
from hyperarc.faces.alignment import align
from hyperarc.faces.detectors.registry import DETECTORS
from hyperarc.faces.face import Face
from hyperarc.faces.image import Pixels
from hyperarc.faces.template import TEMPLATES

POINTS = TEMPLATES["arcface_112"].points


class GreenEyes:
    """Finds a face wherever the left eye is a green pixel; the blue of that pixel is the score in percent."""

    def detect(self, image: Pixels) -> list[Face]:
        faces = []
        for y, x in np.argwhere((image[..., 1] == 255) & (image[..., 0] == 0)):
            points = POINTS - POINTS[0] + (x, y)
            box = np.concatenate([points.min(0) - 30, points.max(0) + 30])
            faces.append(Face(box, points, image[y, x, 2] / 100))
        return sorted(faces, key=lambda face: -face.score)


@pytest.fixture(autouse=True)
def green_eyes() -> Iterator[None]:
    DETECTORS.register("green_eyes")(GreenEyes)
    yield
    del DETECTORS._things["green_eyes"]


def photo(*eyes: tuple[int, int, int], seed: int = 0, size: tuple[int, int] = (240, 320)) -> bytes:
    """A PNG of noise with a green pixel (x, y, score) for each face."""
    pixels = np.random.default_rng(seed).integers(60, 190, (*size, 3), np.uint8)
    for x, y, score in eyes:
        pixels[y, x] = (0, 255, score)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    contents = {
        "ann/1.png": photo((100, 90, 95), seed=1),
        "ann/2.png": photo((90, 80, 50), seed=2),
        "bob/1.png": photo((60, 60, 95), (200, 120, 90), seed=3),
        "bob/nobody.png": photo(seed=4),
        "bob/broken.jpg": b"no picture",
        "party.png": photo((120, 100, 95), seed=5),
    }
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("nothing")
    return folder


def test_photos_become_crops_a_manifest_a_table_and_a_report(run: Any, photos: Path, tmp_path: Path) -> None:
    done = run("align", photos, tmp_path / "out", "--detector", "green_eyes", "--kind", "png", "--json")
    told = json.loads(done.out)
    assert done.code == 0
    assert (told["photos"], told["photos_with_faces"], told["faces"], told["people"]) == (6, 4, 4, 3)
    assert (told["doubtful"], told["without_face"], told["unreadable"], told["left_out"]) == (2, 1, 1, 0)
    assert told["residual_px"]["median"] < 0.01
    for line in (
        "photos: 1 files of other kinds skipped: 'notes.txt'",
        "out: 1 photos without a face: 'bob/nobody.png'",
        "out: 1 unreadable photos: 'bob/broken.jpg'",
        "out: 2 doubtful crops: 'ann/2.png', 'bob/1.png'",
    ):
        assert line in told["notes"]
        assert line in done.err
    faces = open_faces(tmp_path / "out" / "faces.parquet")
    assert [row.face for row in faces.manifest.rows] == ["ann/1.png", "ann/2.png", "bob/1.png", "unknown/party.png"]
    original = np.asarray(Image.open(photos / "ann" / "1.png"))
    assert np.array_equal(faces.image(0), align(original, GreenEyes().detect(original)[0].landmarks))
    assert np.abs(faces.manifest.landmarks - POINTS).max() < 0.01
    with open(tmp_path / "out" / "align.csv", newline="") as file:
        rows = {row["photo"]: row for row in csv.DictReader(file)}
    assert rows["ann/2.png"]["doubts"] == "low score: 0.50, at least 0.8"
    assert rows["bob/1.png"]["doubts"] == "several faces: the second has 100 % of the area"
    assert (rows["bob/nobody.png"]["problem"], rows["bob/nobody.png"]["face"]) == ("no face", "")
    assert rows["bob/broken.jpg"]["problem"].startswith("unreadable: ")
    assert float(rows["ann/1.png"]["x1"]) == 100
    page = (tmp_path / "out" / "report.html").read_text()
    for title in ("Low score", "Several faces", "Photos without a face", "Unreadable"):
        assert title in page


def test_all_faces_of_a_photo_may_be_taken_and_doubtful_ones_left_out(run: Any, photos: Path, tmp_path: Path) -> None:
    words = ("--detector", "green_eyes", "--policy", "all", "--leave-out-doubtful", "--size", "64", "--json")
    told = json.loads(run("align", photos, tmp_path / "out", *words).out)
    assert (told["faces"], told["doubtful"], told["left_out"]) == (5, 1, 1)
    manifest = open_faces(tmp_path / "out" / "faces.parquet").manifest
    assert [row.face for row in manifest.rows if row.person == "bob"] == ["bob/1+0.jpg", "bob/1+1.jpg"]
    assert [row.reason for row in manifest.rows if not row.keep] == ["low score: 0.50, at least 0.8"]
    assert set(manifest.column("height").tolist()) == {64}


def test_the_folder_of_crops_packed_trains_as_the_folder_does(run: Any, photos: Path, tmp_path: Path) -> None:
    assert run("align", photos, tmp_path / "crops", "--detector", "green_eyes").code == 0
    assert run("pack", tmp_path / "crops", tmp_path / "packed").code == 0
    batches = []
    for place in (tmp_path / "crops", tmp_path / "packed", tmp_path / "crops" / "faces.parquet"):
        faces = open_faces(place)
        (batch,) = Loader(faces.sources, faces.manifest, BatchOrder(4, 4, seed=3))
        batches.append(batch)
    for other in batches[1:]:
        assert (other.images == batches[0].images).all()
        assert other.labels.tolist() == batches[0].labels.tolist()


class Beside(GreenEyes):
    """Also sees a face whose points lie in one place, and one far outside of the photo."""

    def detect(self, image: Pixels) -> list[Face]:
        faces = super().detect(image)
        return [*faces, *(Face(f.box, f.landmarks * 0 + 9, 0.9) for f in faces), Face([0, 0, 9, 9], POINTS + 9000, 0.9)]


def test_a_face_that_cannot_be_cut_takes_no_other_with_it(run: Any, photos: Path, tmp_path: Path) -> None:
    DETECTORS._things["green_eyes"] = Beside
    done = run("align", photos / "ann", tmp_path / "out", "--detector", "green_eyes", "--policy", "all", "--json")
    told = json.loads(done.out)
    assert (told["faces"], told["unreadable"]) == (2, 4)
    with open(tmp_path / "out" / "align.csv", newline="") as file:
        problems = [row["problem"] for row in csv.DictReader(file)]
    assert sum(problem.startswith("a face that cannot be cut out: ") for problem in problems) == 4


def test_a_detector_that_fails_ends_the_work(run: Any, photos: Path, tmp_path: Path) -> None:
    class Failing:
        def detect(self, image: Pixels) -> list[Face]:
            raise DataError("out of memory")

    DETECTORS._things["green_eyes"] = Failing
    assert "out of memory" in run("align", photos, tmp_path / "out", "--detector", "green_eyes").complaint()
    DETECTORS._things["green_eyes"] = GreenEyes
    assert json.loads(run("align", photos, tmp_path / "out", "--detector", "green_eyes", "--json").out)["faces"] == 4


def test_photos_changed_between_starts_are_not_mixed(run: Any, photos: Path, tmp_path: Path) -> None:
    state = open_photos(photos).faces.state()
    assert open_photos(photos).faces.state() == state
    (photos / "ann" / "1.png").write_bytes(photo((100, 90, 95), seed=9))
    assert open_photos(photos).faces.state()["files"] != state["files"]


_STOPPED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_align
from hyperarc.commands import align as command
from hyperarc.commands.show import Show
from hyperarc.faces.cutting import Cutting
from hyperarc.faces.detectors.registry import DETECTORS

class Waiting(test_align.GreenEyes):
    seen = 0
    def detect(self, image):
        Waiting.seen += 1
        if Waiting.seen == 8:
            print("there", flush=True)
            sys.stdin.read()  # until it is killed
        return super().detect(image)

DETECTORS.register("green_eyes")(Waiting)
command._CHUNK = 3
command.align(Path(sys.argv[2]), Path(sys.argv[3]), command.Alignment(detector="green_eyes"), Show(quiet=True))
"""


def test_killed_alignment_goes_on_and_ends_with_the_same_bytes(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_CHUNK", 3)
    for number in range(12):
        place = tmp_path / "photos" / f"p{number % 4}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(photo((100, 90, 95), seed=number))
    words = (Path(__file__).parent, tmp_path / "photos", tmp_path / "a" / "out")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    stopped = subprocess.Popen([sys.executable, "-c", _STOPPED, *words], **pipes, text=True)
    assert stopped.stdout is not None
    assert stopped.stdout.readline() == "there\n"
    stopped.send_signal(signal.SIGKILL)
    stopped.wait()
    assert not (tmp_path / "a" / "out").exists()
    resumed = run("align", tmp_path / "photos", tmp_path / "a" / "out", "--detector", "green_eyes")
    assert "going on with what an earlier start has left" in resumed.err
    assert run("align", tmp_path / "photos", tmp_path / "b" / "out", "--detector", "green_eyes").code == 0
    for whole in (tmp_path / "b" / "out").rglob("*"):
        again = tmp_path / "a" / whole.relative_to(tmp_path / "b")
        if whole.is_file() and whole.name != "faces.parquet":
            assert again.read_bytes() == whole.read_bytes(), whole
    first, second = (open_faces(tmp_path / side / "out" / "faces.parquet").manifest for side in "ab")
    assert first.table.equals(second.table)  # the files differ by the path that they name
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]


def test_frames_of_videos_are_aligned(run: Any, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    (tmp_path / "clips" / "ann").mkdir(parents=True)
    picture = np.asarray(Image.open(io.BytesIO(photo((100, 90, 95)))))
    with av.open(str(tmp_path / "clips" / "ann" / "walk.mp4"), "w") as container:
        # lossless RGB: the green pixel must survive
        stream = container.add_stream("libx264rgb", rate=4, options={"crf": "0"})
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "rgb24"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    (tmp_path / "clips" / "ann" / "broken.mp4").write_bytes(b"no video")
    done = run("align", tmp_path / "clips", tmp_path / "out", "--detector", "green_eyes", "--json")
    told = json.loads(done.out)
    assert (told["photos"], told["photos_with_faces"], told["faces"], told["unreadable"]) == (2, 1, 3, 1)
    names = [f"ann/walk.mp4+{number:06d}.jpg" for number in range(3)]
    assert [row.face for row in open_faces(tmp_path / "out" / "faces.parquet").manifest.rows] == names


def test_unfinished_work_of_other_options_is_refused(run: Any, photos: Path, tmp_path: Path) -> None:
    (tmp_path / ".out.unfinished").mkdir()
    (tmp_path / ".out.unfinished" / "plan.json").write_text(json.dumps({"ending": "png"}))
    text = run("align", photos, tmp_path / "out", "--detector", "green_eyes").complaint()
    assert "begun otherwise" in text
    assert "ending was png, is jpg" in text


def test_unfinished_work_of_other_photos_is_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others under the same names of crops, in other colors, or seen by another file of the detector's name."""
    manifest = FolderSource(photos).scan()
    manifest.write(tmp_path / "a.parquet")
    manifest.recolored(np.ones(len(manifest), np.bool_), "bgr").write(tmp_path / "b.parquet")
    monkeypatch.setattr(GreenEyes, "model", tmp_path / "model.onnx", raising=False)
    (tmp_path / "model.onnx").write_bytes(b"one")
    asked = command.Alignment(detector="green_eyes")

    def start(source: Path, failing: bool = False) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(command, "_CHUNK", 1)
            if failing:
                patch.setattr(command, "_cut_all", make_a_part_and_fail)
            command.align(source, tmp_path / "out", asked, Show(quiet=True))

    def make_a_part_and_fail(*given: Any) -> None:
        with given[3].writing("000000000.parquet") as path:
            path.write_bytes(b"")
        raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        start(tmp_path / "a.parquet", failing=True)
    with pytest.raises(HyperArcError, match="begun otherwise: faces was"):
        start(tmp_path / "b.parquet")
    (photos / "ann" / "1.png").rename(photos / "ann" / "1.webp")
    FolderSource(photos).scan().write(tmp_path / "a.parquet")
    with pytest.raises(HyperArcError, match="begun otherwise: faces was"):
        start(tmp_path / "a.parquet")
    (photos / "ann" / "1.webp").rename(photos / "ann" / "1.png")
    manifest.write(tmp_path / "a.parquet")
    (tmp_path / "model.onnx").write_bytes(b"another")
    with pytest.raises(HyperArcError, match="begun otherwise: model was"):
        start(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (("--policy", "centrall"), 2, "unknown policy 'centrall'; did you mean 'central'"),
        (("--kind", "jpeg"), 2, "unknown kind of picture 'jpeg'; did you mean 'jpg'"),
        (("--template", "arcface"), 2, "unknown template 'arcface'"),
        (("--detector", "yunett"), 2, "unknown detector 'yunett'; did you mean 'yunet'"),
        (("--size", "4"), 1, "16 to 1024"),
    ],
)
def test_wrong_options_are_told(
    run: Any, photos: Path, tmp_path: Path, words: tuple[str, ...], code: int, complaint: str
) -> None:
    given = {"--detector": "green_eyes"} | dict(zip(words[::2], words[1::2], strict=True))
    flat = [word for pair in given.items() for word in pair]
    assert complaint in run("align", photos, tmp_path / "out", *flat).complaint(code)
    assert not (tmp_path / "out").exists()


def test_photos_without_any_face_are_an_error_with_a_report(run: Any, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_bytes(photo())
    done = run("align", tmp_path / "photos", tmp_path / "out", "--detector", "green_eyes", "--quiet")
    assert "no face found in any of 1 photos" in done.complaint()
    assert (tmp_path / "out" / "report.html").exists()
    again = run("align", tmp_path / "photos", tmp_path / "out", "--detector", "green_eyes")
    assert "refused to overwrite" in again.complaint()


def test_crops_that_are_aligned_already_are_noticed(run: Any, tmp_path: Path) -> None:
    x, y = POINTS[0].round().astype(int).tolist()
    for number in range(3):
        (tmp_path / "crops" / "ann").mkdir(parents=True, exist_ok=True)
        (tmp_path / "crops" / "ann" / f"{number}.png").write_bytes(photo((x, y, 95), seed=number, size=(112, 112)))
    (tmp_path / "crops" / "aaron.png").write_bytes(b"the first one is broken")
    done = run("align", tmp_path / "crops", tmp_path / "out", "--detector", "green_eyes")
    assert "these photos seem to be aligned to arcface_112 already" in done.err


def test_a_folder_of_shards_is_aligned_like_any_other(run: Any, photos: Path, tmp_path: Path) -> None:
    pack(open_faces(photos).kept(), tmp_path / "shards", Packing("tar", ShardLimits(faces=2)))
    done = run("align", tmp_path / "shards", tmp_path / "out", "--detector", "green_eyes", "--json")
    assert done.code == 0, done.err
    assert (json.loads(done.out)["photos"], json.loads(done.out)["faces"]) == (4, 3)


@pytest.mark.parametrize(("far", "told"), [(0, False), (9, True)])
def test_faces_that_are_not_aligned_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], far: int, told: bool
) -> None:
    x, y = POINTS[0].round().astype(int).tolist()
    for number in range(10):
        place = tmp_path / "faces" / f"p{number % 3}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(photo((x + far, y, 95), seed=number, size=(112, 112)))
    monkeypatch.setattr("hyperarc.commands.aligned.ready_detector", GreenEyes)
    warn_unaligned(open_faces(tmp_path / "faces"), Contract(), Show())
    warning = "do not seem to be aligned to arcface_112: in a sample of 10 their landmarks lie 8.7 px from it"
    assert (warning in capfd.readouterr().err) is told
    checked = check_faces(open_faces(tmp_path / "faces"), CheckOptions(), Show(quiet=True))
    assert any(warning in str(found) for found in checked.findings) is told


def test_real_crops_are_told_from_unaligned_ones(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    monkeypatch.setenv("HYPERARC_MODELS", str(shared / "models"))
    detector = ready_detector()
    assert detector is not None
    faces = open_faces(shared / "data" / "cfp.zip")
    misfit = seen_misfit_px((faces.image(row) for row in range(0, 6000, 250)), detector)
    assert misfit is not None
    assert misfit < ALIGNED_PX
    photos = open_faces(shared / "data" / "raw" / "lfw")
    misfit = seen_misfit_px((photos.image(row)[69:181, 69:181] for row in range(0, 240, 10)), detector)
    assert misfit is not None
    assert misfit > ALIGNED_PX


def test_names_of_crops_are_all_different(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png", "a/1.jpg", "a/2.jpg"):
        place = tmp_path / name
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(photo(seed=1))
    source = FolderSource(tmp_path)
    persons = ["ann", "bob", "bob", "ann"]
    manifest = source.scan()
    assert [row.face for row in manifest.rows] == ["a/1.jpg", "a/1.png", "a/2.jpg", "b/1.png"]
    manifest.with_columns(person=pa.array(persons)).write(tmp_path / "faces.parquet")
    assert open_photos(tmp_path / "faces.parquet").stems == ("ann/1.jpg", "bob/1", "bob/2", "ann/1.png")
    (tmp_path / "c").mkdir()
    for name in ("c/IMG.JPG", "c/img.png", "c/other.png"):
        (tmp_path / name).write_bytes(photo(seed=1))
    assert open_photos(tmp_path / "c").stems == ("unknown/IMG.JPG", "unknown/img.png", "unknown/other")
    manifest.with_columns(person=pa.array(["../x", *persons[1:]])).write(tmp_path / "faces.parquet")
    with pytest.raises(DataError, match=r"'\.\./x' leads out of a folder"):
        open_photos(tmp_path / "faces.parquet")


def test_real_photos(run: Any, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    monkeypatch.setenv("HYPERARC_MODELS", str(shared / "models"))
    told = json.loads(run("align", shared / "data" / "raw" / "lfw", tmp_path / "lfw", "--json").out)
    assert told["photos_with_faces"] >= 0.99 * told["photos"]
    assert told["residual_px"]["median"] < 4
    assert not any("aligned to arcface_112 already" in note for note in told["notes"])
    assert run("pack", tmp_path / "lfw" / "faces.parquet", tmp_path / "packed").code == 0
    folder, packed = open_faces(tmp_path / "lfw" / "faces.parquet"), open_faces(tmp_path / "packed")
    order = BatchOrder(len(folder), 64, seed=1)
    first, second = (next(iter(Loader(faces.sources, faces.manifest, order))) for faces in (folder, packed))
    assert (first.images == second.images).all()
    assert first.labels.tolist() == second.labels.tolist()
    told = json.loads(run("align", shared / "data" / "raw" / "photos", tmp_path / "photos", "--json").out)
    assert told["photos_with_faces"] >= 0.98 * told["photos"]
