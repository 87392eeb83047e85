"""Face sets: manifests opened again, color orders put right on reading, everywhere."""

from __future__ import annotations

import io
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hyperarc.data.face_set import FaceReader, FaceSet, open_faces
from hyperarc.data.loader import Loader
from hyperarc.data.manifest import Manifest, read_manifest
from hyperarc.data.order import BatchOrder
from hyperarc.data.sources import ArraySource, FolderSource
from hyperarc.data.training_set import open_training_set
from hyperarc.data.verification import verify_faces
from hyperarc.errors import DataError
from hyperarc.recipe import Data, SourceData

RED, BLUE = [255, 0, 0], [0, 0, 255]


def png(color: list[int]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((112, 112, 3), color, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Red faces of two people; those of bob were written with red and blue exchanged."""
    for person, color in (("ann", RED), ("bob", BLUE)):
        (tmp_path / "photos" / person).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "photos" / person / f"{number}.png").write_bytes(png(color))
    return tmp_path / "photos"


@pytest.fixture
def corrected(folder: Path) -> Path:
    """A manifest of the folder that knows of bob's colors and leaves one face out."""
    manifest = FolderSource(folder).scan()
    manifest = manifest.recolored(manifest.column("person") == "bob", "bgr").mark([3], "blurred: 3 px")
    manifest.write(folder.parent / "faces.parquet")
    return folder.parent / "faces.parquet"


def test_a_manifest_is_opened_with_marks_and_colors(corrected: Path) -> None:
    faces = open_faces(corrected)
    assert [faces.image(row)[0, 0].tolist() for row in range(4)] == [RED] * 4
    assert faces.read(2) == png(BLUE)  # bytes are never touched
    assert faces.manifest.keep.tolist() == [True, True, True, False]
    assert len(faces.kept()) == 3
    assert [row.color for row in faces.manifest.rows] == ["rgb", "rgb", "bgr", "bgr"]
    assert faces.name == "photos"


def test_training_loads_corrected_colors(corrected: Path) -> None:
    faces = open_training_set(Data(sources=(SourceData(path=str(corrected)),), verify=True))
    assert len(faces.kept) == 3
    (batch,) = Loader(faces.sources, faces.kept, BatchOrder(3, 3), flip=False)
    assert (batch.images[:, 0] == 255).all()
    assert (batch.images[:, 2] == 0).all()


def test_a_color_of_the_recipe_says_how_all_files_are_written(folder: Path) -> None:
    faces = open_training_set(Data(sources=(SourceData(path=str(folder), color="bgr"),)))
    reader = FaceReader(faces.sources, faces.kept)
    assert [reader.image(row)[0, 0].tolist() for row in range(4)] == [BLUE, BLUE, RED, RED]


def test_colors_change_the_digest_of_a_training_set(folder: Path, corrected: Path) -> None:
    shutil.copy(corrected, folder.parent / "plain.parquet")
    manifest = read_manifest(folder.parent / "plain.parquet")
    manifest.recolored(manifest.swapped, "rgb").write(folder.parent / "plain.parquet")
    digests = {
        open_training_set(Data(sources=(SourceData(path=str(path)),))).digest()
        for path in (corrected, folder.parent / "plain.parquet")
    }
    assert len(digests) == 2


def test_a_manifest_moved_with_its_folder_is_found(corrected: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(corrected, moved / "faces.parquet")
    shutil.move(tmp_path / "photos", moved / "photos")
    assert open_faces(moved / "faces.parquet").image(3)[0, 0].tolist() == RED
    shutil.rmtree(moved / "photos")
    with pytest.raises(DataError, match="its source 'photos' is gone"):
        open_faces(moved / "faces.parquet")


def test_a_manifest_without_places_says_so(tmp_path: Path) -> None:
    source = ArraySource(np.zeros((2, 8, 8, 3), np.uint8), ["ann", "bob"])
    Manifest(source.scan().table).write(tmp_path / "faces.parquet")
    with pytest.raises(DataError, match="does not say where its source 'array' is"):
        open_faces(tmp_path / "faces.parquet")


def test_manifests_without_colors_are_rgb_and_unknown_colors_are_refused(corrected: Path) -> None:
    table = pq.read_table(corrected)
    pq.write_table(table.drop_columns("color"), corrected)
    assert not read_manifest(corrected).swapped.any()
    pq.write_table(table.set_column(table.schema.get_field_index("color"), "color", [["hsv"] * 4]), corrected)
    with pytest.raises(DataError, match="expected the colors rgb or bgr, got 'hsv'"):
        read_manifest(corrected)


def test_colors_survive_taking_combining_and_writing(corrected: Path, tmp_path: Path) -> None:
    manifest = read_manifest(corrected)
    assert manifest.take(np.array([2, 0])).swapped.tolist() == [True, False]
    twice = Manifest(pa.concat_tables([manifest.table, manifest.table]))
    assert twice.swapped.tolist() == [False, False, True, True] * 2
    manifest.write(tmp_path / "again.parquet")
    assert read_manifest(tmp_path / "again.parquet").swapped.tolist() == manifest.swapped.tolist()


def test_readers_travel_to_other_processes_and_verification_sees_through_them(corrected: Path) -> None:
    faces = open_faces(corrected)
    reader = pickle.loads(pickle.dumps(faces.reader))
    assert (len(reader), reader.where(3)) == (4, "photos:bob/1.png")
    assert reader.image(3)[0, 0].tolist() == RED
    verified = verify_faces(faces.sources, faces.manifest, size=100)
    assert not verified.keep.any()
    assert str(verified.findings[-1]).startswith("3 faces of the wrong size left out: 'photos:ann/0.png'")


def test_sources_must_fit_the_manifest(folder: Path) -> None:
    source = FolderSource(folder)
    with pytest.raises(DataError, match="different names"):
        FaceReader([source, source], source.scan())
    with pytest.raises(DataError, match="holds faces of source 'photos', given were only other"):
        FaceSet((FolderSource(folder, name="other"),), source.scan()).image(0)


def test_faces_in_memory_have_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ArraySource(np.zeros((1, 4, 4, 3), np.uint8), ["ann"])
    faces = FaceSet((source,), source.scan())
    monkeypatch.chdir(tmp_path)
    before = faces.state()
    (tmp_path / "something.txt").write_text("that was not there before")
    assert faces.state() == before
