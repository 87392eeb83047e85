"""What every test may use: the shared folder, and which tests run only when asked or only on a GPU."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of golden vectors, real faces and small weights; tests that need it skip where it is absent."""
    place = Path(os.environ.get("HYPERARC_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if not place.is_dir():
        pytest.skip(f"no shared folder at {place}; set HYPERARC_SHARED to its path")
    return place


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
