"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
