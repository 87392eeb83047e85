"""Studies of benchmarks/studies run from end to end, a few faces and steps each, and do nothing twice."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

STUDIES = Path(__file__).resolve().parents[1] / "benchmarks" / "studies"


def study(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"study_of_{name}", STUDIES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_inversion_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    found = study("inversion")
    words = ["--smoke", "--out", str(tmp_path), "--seeds", "0", "1", "--losses", "arcface", "--quiet"]
    words += ["--priors", "none", "deepinversion"]
    assert found.main(words) == 0
    told = capsys.readouterr().out
    assert (tmp_path / "tables.md").read_text() == told.rstrip("\n") + "\n"
    assert told.count("| arcface | none |") == told.count("| arcface | deepinversion |") == 2
    assert "Closed set: 3 targets, 2 iterations" in told
    assert "Open set: 3 targets, 2 iterations" in told
    searches = sorted(path.name for path in (tmp_path / "searches").iterdir())
    assert len(searches) == 2 * 2 * 2
    assert searches[0] == "arcface-classes-deepinversion-seed0"

    monkeypatch.setattr(found, "invert", None)
    monkeypatch.setattr(found, "train", None)
    assert found.main(words) == 0
    assert capsys.readouterr().out == told
