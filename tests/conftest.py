"""What every test may use: the shared folder, and which tests run only when asked or only on a GPU."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# The same examples in every run, so that a run tells of the change and not of luck; HYPERARC_FULL=1 looks for new ones.
settings.register_profile("same", derandomize=True)
if os.environ.get("HYPERARC_FULL") != "1":
    settings.load_profile("same")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of golden vectors, real faces and small weights; tests that need it skip where it is absent."""
    place = Path(os.environ.get("HYPERARC_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not place.is_dir():
        pytest.skip(f"no shared folder at {place}; set HYPERARC_SHARED to its path")
    return place


class Ran:
    """What a command line came to, run in this process."""

    def __init__(self, capfd: pytest.CaptureFixture[str], *words: object) -> None:
        from hyperarc import cli

        capfd.readouterr()
        before = sys.argv
        sys.argv = ["hyperarc", *map(str, words)]
        try:
            cli.main()
            self.code: Any = 0
        except SystemExit as end:
            self.code = end.code or 0
        finally:
            sys.argv = before
        self.out, self.err = capfd.readouterr()

    def complaint(self, code: int = 1) -> str:
        """The error of a command that failed: one paragraph, no traceback, nothing on standard output."""
        assert self.code == code, (self.code, self.err)
        assert not self.out
        lines = [line for line in self.err.splitlines() if line.startswith("hyperarc: ")]
        assert len(lines) == 1, self.err
        assert self.err.rstrip().endswith(lines[0])
        assert "Traceback" not in self.err
        return lines[0]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command line in this process: ``run("train", "demo").code``."""
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words: Ran(capfd, *words)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip ``slow`` tests unless HYPERARC_FULL=1, and ``gpu`` tests where there is no CUDA device."""
    full = os.environ.get("HYPERARC_FULL") == "1"
    for item in items:
        if item.get_closest_marker("slow") and not full:
            item.add_marker(pytest.mark.skip(reason="slow; run with HYPERARC_FULL=1"))
        if item.get_closest_marker("gpu") and not _has_cuda():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
