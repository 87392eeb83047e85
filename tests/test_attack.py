"""``hyperarc invert --attack``: what leaks and what stays useful under every way of storing, with a searcher that
knows every photo in place of the search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from hyperarc.artifact import build_backbone, build_head, load_encoder, save_artifact
from hyperarc.artifact.card import Card
from hyperarc.commands import attack as attack_module
from hyperarc.commands.attack_ways import ways_of
from hyperarc.errors import UnknownNameError, UsageError
from hyperarc.inversion import Photos
from hyperarc.inversion.protection import Noise, Plain, Rotation, Signs, Truncation
from hyperarc.recipe.file import load_recipe
from hyperarc.report.attack_plots import Estimate, Stored, leakage_and_use

PEOPLE, EACH, DIMENSION = 30, 3, 16


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An untrained model, and another one to judge."""
    recipe = load_recipe("demo", [f"backbone.embedding_dim={DIMENSION}", "evaluation=[]"])
    places = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        places.append(tmp_path_factory.mktemp("run") / f"model{seed}")
        save_artifact(places[-1], build_backbone(recipe), build_head(recipe, 2), recipe, ["ann", "bob"], Card())
    return places[0], places[1]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """People of some colored blocks each, alike in their photos."""
    folder = tmp_path_factory.mktemp("photos") / "photos"
    rng = np.random.default_rng(0)
    for person in range(PEOPLE):
        (folder / f"p{person:02d}").mkdir(parents=True)
        blocks = rng.integers(0, 256, (7, 7, 3)).repeat(16, axis=0).repeat(16, axis=1)
        for number in range(EACH):
            picture = np.clip(blocks + rng.normal(0, 4, blocks.shape), 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(folder / f"p{person:02d}" / f"{number}.png")
    return folder


@pytest.fixture
def gallery(run: Any, artifacts: tuple[Path, Path], photos: Path, tmp_path: Path) -> Path:
    file = tmp_path / "gallery.parquet"
    assert run("embed", photos, file, "--artifact", artifacts[0], "--quiet").code == 0
    return file


def searcher(photos: Path, model: Path) -> Any:
    """In place of the search: the photo whose template is nearest to the target."""
    pictures = np.stack([np.array(Image.open(path)) for path in sorted(photos.rglob("*.png"))])
    vectors = load_encoder(model).embed(pictures).vectors
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def search(_: Any, targets: Any, *__: Any) -> npt.NDArray[np.uint8]:
        found: npt.NDArray[np.uint8] = pictures[(targets.vectors @ units.T).argmax(axis=1)][None]
        return found

    return search


def test_an_attack_by_one_who_knows_every_photo(
    run: Any, artifacts: tuple[Path, Path], photos: Path, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, judge = artifacts
    monkeypatch.setattr(attack_module, "search_faces", searcher(photos, model))
    out = tmp_path / "attack"
    words = ("--attack", gallery, "--real", photos, "--judge", judge, "--limit", 20, "--run", out)
    done = run("invert", model, *words, "--protect", "none,noise:3,rotation,pairs:20", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["templates"], told["people"], told["attacked"]) == (PEOPLE * EACH, PEOPLE, 20)
    assert told["threshold_from"].startswith("FAR 0.001 of 3,915 pairs of two people")
    ways = {way["protection"]: way for way in told["ways"]}
    leaks = {name: way["leakage"]["same_photo"]["share"] for name, way in ways.items()}
    assert leaks["none"] == leaks["rotation, 20 pairs known"] == 1.0  # 20 pairs in 16 dimensions tell all
    assert leaks["rotation, key secret"] < 0.3
    bounds = ways["none"]["leakage"]["same_photo"]
    assert bounds["pairs"] == 20
    assert 0.8 < bounds["low"] < 0.9
    assert bounds["high"] == 1.0
    assert ways["none"]["leakage"]["other_photos"]["pairs"] == 20 * (EACH - 1)
    kept = {name: way["verification"]["tar"]["share"] for name, way in ways.items()}
    assert kept["rotation, key secret"] == pytest.approx(kept["none"], abs=0.03)
    assert ways["none"]["linkage"]["tar"]["share"] == kept["none"]
    assert ways["rotation, key secret"]["linkage"]["tar"]["share"] < 0.3
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "What stored templates give away" in page
    assert "ISO/IEC 24745" in page
    with Image.open(told["sheet"]) as sheet:
        assert sheet.height > 5 * 112
    assert json.loads((out / "attack.json").read_text())["ways"] == told["ways"]


def test_the_search_itself_is_used(
    run: Any, artifacts: tuple[Path, Path], photos: Path, gallery: Path, tmp_path: Path
) -> None:
    model, judge = artifacts
    words = ("--attack", gallery, "--real", photos, "--judge", judge, "--limit", 2, "--run", tmp_path / "out")
    done = run("invert", model, *words, "--protect", "none,signs", "--iterations", 2, "--threads", 1, "--quiet")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split("  ")[0] == "stored as"
    assert [line.split()[0] for line in lines[1:]] == ["none", "signs", "report"]
    assert (tmp_path / "out" / "search-signs" / "pictures.npy").is_file()
    again = run("invert", model, *words, "--protect", "none,signs,rotation", "--iterations", 2, "--threads", 1)
    assert again.code == 0, again.err  # what is there already is not searched for again
    assert [line.split() for line in again.out.splitlines()[1:3]] == [line.split() for line in lines[1:3]]


def test_a_calibrated_judge_says_where_it_accepts(
    artifacts: tuple[Path, Path], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Calibrated:
        @staticmethod
        def threshold(far: float) -> float:
            assert far == 1e-3
            return 0.42

    seen = Photos(np.eye(4), [0, 0, 1, 2])
    few = attack_module.judge_threshold(artifacts[1], seen)
    assert 0 < few.cosine < 1e-300  # above all pairs of two people, which are at 0
    assert "5 pairs of two people among the photos; too few to bound that rate, which takes 3,000" in few.told
    monkeypatch.setattr("hyperarc.artifact.Artifact.calibration", lambda _: Calibrated)
    assert attack_module.judge_threshold(artifacts[1], seen).cosine == 0.42


def test_what_cannot_be_attacked(
    run: Any, artifacts: tuple[Path, Path], photos: Path, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, judge = artifacts
    others = tmp_path / "others" / "x"
    others.mkdir(parents=True)
    Image.fromarray(np.zeros((112, 112, 3), np.uint8)).save(others / "1.png")
    words = ("--judge", judge, "--run", tmp_path / "out", "--iterations", 2, "--quiet")
    told = run("invert", model, "--attack", gallery, "--real", others.parent, *words).complaint()
    assert "expected photos of at least two people of the gallery, got those of 0" in told
    told = run("invert", judge, "--attack", gallery, "--real", photos, "--judge", model, *words[2:]).complaint()
    assert "embed both sides with the same artifact" in told
    told = run("invert", model, "--attack", gallery, "--real", photos, "--protect", "pairs:9", *words).complaint(2)
    assert "9 pairs cannot be known: the gallery has 0 templates of people not attacked" in told
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(attack_module, "search_faces", searcher(photos, model))
    done = run("invert", model, "--attack", gallery, "--real", photos, *words[:4])
    assert "left out: rotation, 4 pairs known; all people of the gallery are attacked, add --limit" in done.err
    assert "rotation, key secret" in done.out


def test_ways_of_storing() -> None:
    assert [way.name for way in ways_of("all", 64, 0)] == [
        "none", "signs", "16 values", "noise 30°", "noise 60°", "rotation, key secret", "rotation, 16 pairs known",
    ]  # fmt: skip
    none, signs, values, noise, *_, rotation, pairs = ways_of("all", 64, 0)
    assert [type(way.protection) for way in (none, signs, values, noise)] == [Plain, Signs, Truncation, Noise]
    assert rotation.protection == pairs.protection
    assert isinstance(rotation.protection, Rotation)
    assert rotation.other != rotation.protection
    assert ways_of("rotation", 64, 1)[0].protection != rotation.protection
    with pytest.raises(UnknownNameError, match="unknown protection 'rotate'; did you mean 'rotation'"):
        ways_of("rotate", 64, 0)
    for text, message in (
        ("noise", "noise needs a number"),
        ("none:3", "none takes no number"),
        ("values:65", "templates have 64 values"),
        ("noise:181", "expected noise of 0 to 180 degrees"),
        ("pairs:0", "at least one known pair"),
        ("none,none", "each once"),
        ("", "each once"),
    ):
        with pytest.raises(UsageError, match=message):
            ways_of(text, 64, 0)


def test_the_figure_has_a_line_for_each_way() -> None:
    one = Estimate(0.5, 0.4, 0.6)
    figure = leakage_and_use([Stored("none", one, one, one), Stored("signs", one, None, one)], 1e-3)
    leaks, use = figure.axes
    assert [label.get_text() for label in leaks.get_yticklabels()] == ["none", "signs"]
    assert len(leaks.lines) == 2 * 3 + 1
    assert len(use.lines) == 2 * 2
