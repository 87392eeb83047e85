"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hyperarc.errors import HyperArcError
from hyperarc.files import write_beside


def test_many_files_reach_the_disk_by_one_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One fsync for each of a million unpacked faces would take hours."""
    calls: list[str] = []
    monkeypatch.setattr(os, "sync", lambda: calls.append("sync"))
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), real(handle)))
    for count, expected in ((3, ["fsync"] * 4), (200, ["sync", "fsync"])):  # the last is the folder's own
        calls.clear()
        with write_beside(tmp_path / str(count)) as beside:
            beside.mkdir()
            for number in range(count):
                (beside / str(number)).write_bytes(b"x")
        assert calls == expected
        assert len(list((tmp_path / str(count)).iterdir())) == count


def test_a_file_never_replaces_a_folder(tmp_path: Path) -> None:
    """``hyperarc evaluate --out photos`` must not cost anybody their photos."""
    photo = tmp_path / "photos" / "ann" / "1.jpg"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"dear")
    with pytest.raises(HyperArcError, match=r"photos: could not be written: a folder stands there; name a file"):
        write_beside_text(tmp_path / "photos")
    assert photo.read_bytes() == b"dear"
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_file_in_place_of_a_folder_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "faces.zip").write_bytes(b"zip")
    with pytest.raises(HyperArcError, match=r"x\.html: could not be written: a file stands where a folder is needed"):
        write_beside_text(tmp_path / "faces.zip" / "x.html")


def write_beside_text(path: Path) -> None:
    with write_beside(path) as beside:
        beside.write_text("report")
