"""FID of inverted faces, with a small stand-in for the network whose weights are not at hand."""

from __future__ import annotations

import json
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.linalg import sqrtm
from torch import Tensor, nn

from hyperarc.artifact import build_backbone, build_head, save_artifact
from hyperarc.artifact.card import Card
from hyperarc.commands.invert_fid import DIM, Inception
from hyperarc.data.drawn import draw_set
from hyperarc.errors import ArtifactError, DataError, HyperArcError
from hyperarc.metrics import frechet_distance
from hyperarc.recipe.file import load_recipe


class _StandIn(nn.Module):
    """Takes and gives what torch-fidelity's network does, and reads its file as carelessly."""

    def __init__(self, name: str, features: list[str], feature_extractor_weights_path: str) -> None:
        super().__init__()
        assert features == [str(DIM)]
        self.mix = nn.Linear(3, DIM)
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=False))

    def forward(self, pictures: Tensor) -> tuple[Tensor]:
        assert pictures.dtype == torch.uint8
        return (self.mix(pictures.float().mean(dim=(2, 3)) / 255),)


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    package: Any = types.ModuleType("torch_fidelity")
    package.FeatureExtractorInceptionV3 = _StandIn
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    torch.manual_seed(0)
    torch.save({f"mix.{name}": value for name, value in nn.Linear(3, DIM).state_dict().items()}, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def test_distance_of_features_as_they_are() -> None:
    """Heusel et al., with scipy's root of a matrix; lengths count."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.5, 1, (90, 8)), rng.normal(0.0, 2, (60, 8))
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert frechet_distance(a, b, unit=False).distance == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(3 * a, 3 * b, unit=False).distance == pytest.approx(9 * expected, rel=1e-9)
    zeros = frechet_distance(np.zeros((2, 3)), np.ones((2, 3)), unit=False)
    assert (zeros.means, zeros.covariances) == (3.0, 0.0)
    with pytest.raises(DataError, match="b holds a NaN or infinity in row 1"):
        frechet_distance(a, np.where(np.arange(60)[:, None] == 1, np.nan, b), unit=False)


def test_an_inversion_tells_its_fid(run: Any, weights: Path, tmp_path: Path) -> None:
    recipe = load_recipe("demo", ["backbone.embedding_dim=16"])
    torch.manual_seed(0)
    save_artifact(tmp_path / "model", build_backbone(recipe), build_head(recipe, 2), recipe, ["ann", "bob"], Card())
    faces = draw_set(3, 2, seed=0).images
    np.save(tmp_path / "plain.npy", np.random.default_rng(0).normal(size=(3, 16)))
    for row, face in enumerate(faces):
        place = tmp_path / "photos" / f"p{row // 2}" / f"{row % 2}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(face).save(place)
    words = ["invert", tmp_path / "model", "--inception", weights, "--iterations", 1, "--no-batch-norm", "--json"]
    done = run(*words, "--photos", tmp_path / "photos", "--run", tmp_path / "out")
    assert done.code == 0, done.err
    told = json.loads(done.out)["results"]["without"]["fid"]
    found = np.stack([np.asarray(Image.open(path)) for path in sorted((tmp_path / "out" / "faces").iterdir())])
    network = Inception(weights)
    expected = frechet_distance(network.features(found), network.features(faces), unit=False)
    assert told["distance"] == pytest.approx(expected.distance, rel=1e-6)
    assert told["samples"] == [6, 6]
    assert "FID, by Inception" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    alone = run(*words, "--embeddings", tmp_path / "plain.npy", "--run", tmp_path / "alone")
    assert "--inception needs real faces to compare with" in alone.complaint(2)


class _Evil:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("a file was unpickled",))


def test_files_that_are_no_weights(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such file of Inception's weights"):
        Inception(tmp_path / "nothing.pth")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(_Evil(), protocol=2))
    with pytest.raises(ArtifactError, match=r"no weights that can be read"):
        Inception(tmp_path / "evil.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(ArtifactError, match="expected tensors by name"):
        Inception(tmp_path / "list.pth")
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ArtifactError, match="expected InceptionV3 as torch-fidelity has it"):
        Inception(tmp_path / "other.pth")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(HyperArcError, match=r"FID needs the package torch-fidelity.*hyperarc\[fid\]"):
        Inception(tmp_path / "w.pth")
