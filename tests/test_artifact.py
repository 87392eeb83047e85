"""The artifact: whole, readable by strangers, and the same after a round trip."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import hyperarc
import hyperarc.artifact.artifact as artifact_module
from hyperarc.artifact import open_artifact, save_artifact
from hyperarc.artifact.card import LIBRARIES, Card
from hyperarc.backbones import create_backbone
from hyperarc.commands.show import Show
from hyperarc.commands.train import Start, new_state, train
from hyperarc.encoder import Encoder
from hyperarc.errors import ArtifactError, HyperArcError, RecipeError
from hyperarc.heads.head import Head, create_head
from hyperarc.recipe import Recipe
from hyperarc.recipe.file import load_recipe
from hyperarc.training.hardware import choose_hardware
from hyperarc.training.watch import read_log

CHANGES = [
    "name=mine",
    "description=Made for a test.",
    "seed=5",
    "backbone={name: iresnet_tiny, embedding_dim: 16}",
    "data.drawn.people=4",
    "data.drawn.faces_per_person=4",
    "data.licence=free of rights",
    "head.sub_centers=2",
    "head.memory_mb=3",
    "schedule={kind: constant, epochs: 1, warmup_epochs: 0}",
    "training.batch_size=8",
    "training.threads=1",
    "training.precision=fp32",
    "evaluation=[]",
]
PEOPLE = ["ann", "bob\nby", "Zoë  Ünlü", "dan"]
CARD = Card(
    data={"people": 4, "faces": 16, "sources": ["drawn"], "licence": "free of rights"},
    training={"steps": 3, "epochs": 1.0, "device": "cpu"},
    metrics={"LFW": "99.00 +- 0.10 % over 10 folds"},
)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("demo", CHANGES)


def modules(recipe: Recipe) -> tuple[torch.nn.Module, Head]:
    torch.manual_seed(3)
    backbone = create_backbone("iresnet_tiny", embedding_dim=16)
    for name, buffer in backbone.named_buffers():  # as after a training, so that a lost buffer shows
        if "running" in name:
            buffer.uniform_(0.5, 1.5)
    arguments = recipe.head.arguments
    return backbone, create_head("arcface", num_classes=4, embedding_dim=16, sub_centers=2, seed=9, **arguments)


@pytest.fixture(scope="module")
def saved(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "artifact"
    save_artifact(path, *modules(recipe), recipe, PEOPLE, CARD)
    return path


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "artifact"))


def crops(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 112, 112, 3), dtype=np.uint8)


# ---- round trip


def test_the_same_embeddings_after_a_round_trip(saved: Path, recipe: Recipe) -> None:
    backbone, head = modules(recipe)
    opened = open_artifact(str(saved))
    ours = Encoder(backbone, opened.contract).embed(crops())
    theirs = hyperarc.load_encoder(saved).embed(crops())
    assert np.array_equal(ours.vectors, theirs.vectors)
    assert ours.contract == theirs.contract == opened.contract.digest
    again = opened.head()
    assert not again.training
    assert again.memory_mb == 3
    assert opened.people() == ["ann", "bob by", "Zoë Ünlü", "dan"]
    assert opened.recipe == recipe
    for name, value in head.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    labels = torch.tensor([0, 1, 3])
    vectors = torch.from_numpy(theirs.vectors)
    assert torch.equal(again(vectors, labels).loss, head.eval()(vectors, labels).loss)


def test_channels_last_weights_are_saved_alike(recipe: Recipe, saved: Path, tmp_path: Path) -> None:
    backbone, head = modules(recipe)
    backbone = backbone.to(memory_format=torch.channels_last)
    contract = save_artifact(tmp_path / "a", backbone, head, recipe, PEOPLE, CARD)
    assert contract == open_artifact(saved).contract
    assert (tmp_path / "a" / "weights.safetensors").read_bytes() == (saved / "weights.safetensors").read_bytes()


def test_the_contract_covers_the_weights(saved: Path, recipe: Recipe, tmp_path: Path) -> None:
    contract = open_artifact(saved).contract
    weights = (saved / "weights.safetensors").read_bytes()
    assert contract.model == hashlib.sha256(weights).hexdigest()[:16]
    backbone, head = modules(recipe)
    with torch.no_grad():
        next(backbone.parameters()).view(-1)[0] += 1e-3
    other = save_artifact(tmp_path / "a", backbone, head, recipe, PEOPLE, CARD)
    assert other.model != contract.model
    assert other.digest != contract.digest


def test_saving_again_replaces_the_whole_folder(copied: Path, recipe: Recipe) -> None:
    (copied / "stale.txt").write_text("from before")
    save_artifact(copied, *modules(recipe), recipe, PEOPLE, CARD)
    assert not (copied / "stale.txt").exists()
    assert [p.name for p in copied.parent.iterdir()] == ["artifact"]


def test_nothing_in_it_is_pickled(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(p.name for p in saved.iterdir()) == [
        "card.md",
        "contract.json",
        "head.safetensors",
        "people.txt",
        "recipe.yaml",
        "weights.safetensors",
    ]
    for name in ("weights", "head"):
        content = (saved / f"{name}.safetensors").read_bytes()
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])
        assert 8 + size + max(entry["data_offsets"][1] for k, entry in header.items() if k[0] != "_") == len(content)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("unpickled something")

    monkeypatch.setattr("pickle.load", refuse)
    monkeypatch.setattr("pickle.loads", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    opened = open_artifact(saved)
    opened.encoder()
    opened.head()


def test_the_card_states_the_facts(saved: Path, recipe: Recipe) -> None:
    card = (saved / "card.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["name"] == "mine"
    assert front["contract"] == open_artifact(saved).contract.digest
    assert (front["margin"], front["backbone"], front["seed"]) == ("arcface", "iresnet_tiny", 5)
    assert front["data"] == CARD.data
    assert front["training"] == CARD.training
    assert front["metrics"] == CARD.metrics
    assert set(front["versions"]) == {"python", *LIBRARIES}
    assert front["versions"]["torch"] in torch.__version__
    body = card.split("---\n", 2)[2]
    assert "# mine" in body
    assert "Made for a test." in body
    assert "| LFW | 99.00 +- 0.10 % over 10 folds |" in body
    assert "Licence of the data: free of rights." in body


# ---- missing, damaged, foreign


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "head.safetensors", "contract.json", "recipe.yaml", "people.txt"]
)
def test_a_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(ArtifactError, match="missing from the artifact") as caught:
        use_all(copied)
    assert str(copied / name) in str(caught.value)


def use_all(path: Path) -> None:
    opened = open_artifact(path)
    opened.backbone()
    opened.head()


@pytest.mark.parametrize(
    ("name", "content", "kind", "said"),
    [
        ("weights.safetensors", b"", ArtifactError, "damaged or foreign"),
        ("weights.safetensors", b"x" * 1000, ArtifactError, "damaged or foreign"),
        ("head.safetensors", b"x" * 1000, ArtifactError, "damaged: "),
        ("contract.json", b"{}x", ArtifactError, "not a contract: "),
        ("contract.json", b'{"colour": "rgb"}', ArtifactError, "not a contract: Extra inputs"),
        ("contract.json", b"\xff\xfe", ArtifactError, "not a text file"),
        ("people.txt", b"\xff\xfe", ArtifactError, "not a text file"),
        ("people.txt", b"", ArtifactError, "expected at least 2 people, got 0"),
        ("recipe.yaml", b"name: [", RecipeError, "not valid YAML"),
        ("recipe.yaml", b"\xff\xfe", RecipeError, "not a text file"),
    ],
)
def test_a_damaged_file_is_named(copied: Path, name: str, content: bytes, kind: type[Exception], said: str) -> None:
    (copied / name).write_bytes(content)
    with pytest.raises(kind, match=said) as caught:
        use_all(copied)
    assert str(copied / name) in str(caught.value)


def test_other_people_than_the_centers(copied: Path) -> None:
    (copied / "people.txt").write_text("ann\nbob\n")
    with pytest.raises(ArtifactError, match=r"head\.safetensors: does not fit the recipe: .*size mismatch"):
        use_all(copied)


def test_one_flipped_byte_of_the_weights_is_noticed(copied: Path) -> None:
    path = copied / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"damaged or foreign: these are not the weights that contract\.json names"):
        hyperarc.load_encoder(copied)


def test_weights_of_another_backbone(copied: Path) -> None:
    path = copied / "weights.safetensors"
    save_file({name: value.flatten()[:1].clone() for name, value in load_file(path).items()}, path)
    contract = json.loads((copied / "contract.json").read_text())
    contract["model"] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    (copied / "contract.json").write_text(json.dumps(contract))
    with pytest.raises(ArtifactError, match=r"does not fit the recipe: .*size mismatch"):
        hyperarc.load_encoder(copied)


def test_no_artifact_at_all(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no such artifact folder; give the folder that holds contract\.json"):
        hyperarc.load_encoder(tmp_path / "absent")
    with pytest.raises(ArtifactError, match=r"contract\.json: missing from the artifact"):
        open_artifact(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="no such artifact folder"):
        open_artifact(tmp_path / "file")


def test_a_full_disk_leaves_the_old_artifact(
    copied: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {p.name: p.read_bytes() for p in copied.iterdir()}

    def full(*_: Any) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(artifact_module, "card_text", full)
    with pytest.raises(HyperArcError, match="could not be written: the disk is full"):
        save_artifact(copied, *modules(recipe), recipe, PEOPLE, CARD)
    assert {p.name: p.read_bytes() for p in copied.iterdir()} == before
    assert [p.name for p in copied.parent.iterdir()] == ["artifact"]


# ---- fine-tuning


@pytest.fixture(scope="module")
def trained(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(recipe, folder, Start(), Show(quiet=True))
    return folder


def fine_tune(changes: list[str], folder: Path, source: Path) -> Path:
    """A run from ``source`` whose weights hardly move."""
    recipe = load_recipe("demo", [*CHANGES, "name=tuned", "optimizer.lr=1.0e-30", "training.freeze_batchnorm=true"])
    recipe = load_recipe_with(recipe, changes)
    train(recipe, folder, Start(source=source), Show(quiet=True))
    return folder / "artifact"


def load_recipe_with(recipe: Recipe, changes: list[str]) -> Recipe:
    return load_recipe("demo", [*(f"{k}={json.dumps(v)}" for k, v in recipe.model_dump(mode="json").items()), *changes])


def test_fine_tuning_begins_where_the_artifact_ended(trained: Path, tmp_path: Path) -> None:
    theirs = trained / "artifact"
    tuned = fine_tune([], tmp_path / "run", theirs)
    for name in ("weights", "head"):
        ours = load_file(tuned / f"{name}.safetensors")
        for key, value in load_file(theirs / f"{name}.safetensors").items():
            if key != "centers.votes":  # they go on counting
                torch.testing.assert_close(ours[key], value, rtol=0, atol=1e-20)


def test_other_people_get_fresh_centers(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = load_recipe("demo", [*CHANGES, "data.drawn.people=5", "optimizer.lr=1.0e-30"])
    train(recipe, tmp_path / "run", Start(source=trained / "artifact"), Show())
    assert "fresh centers, as people or head differ" in re.sub(r"\s+", " ", capsys.readouterr().err)
    centers = load_file(tmp_path / "run" / "artifact" / "head.safetensors")["centers.weight"]
    fresh = new_state(recipe, 5, choose_hardware(recipe.training)).head.centers.weight
    torch.testing.assert_close(centers, fresh.detach(), rtol=0, atol=1e-20)
    weights = load_file(tmp_path / "run" / "artifact" / "weights.safetensors")
    theirs = load_file(trained / "artifact" / "weights.safetensors")
    torch.testing.assert_close(weights["fc.weight"], theirs["fc.weight"], rtol=0, atol=1e-20)
    assert len(read_log(tmp_path / "run" / "log.jsonl")) == 2


@pytest.mark.parametrize(
    "change", ["backbone.embedding_dim=8", "backbone.name=iresnet_small", "backbone.arguments.neck=gap"]
)
def test_a_foreign_backbone_is_refused(trained: Path, tmp_path: Path, change: str) -> None:
    with pytest.raises(RecipeError, match=r"copy the backbone section of the artifact's recipe\.yaml"):
        fine_tune([change], tmp_path / "run", trained / "artifact")
    assert not (tmp_path / "run").exists()


def test_fine_tuning_from_a_damaged_artifact_is_refused(copied: Path, tmp_path: Path) -> None:
    (copied / "weights.safetensors").unlink()
    with pytest.raises(ArtifactError, match="missing from the artifact"):
        fine_tune([], tmp_path / "run", copied)
    with pytest.raises(ArtifactError, match="no such artifact folder"):
        fine_tune([], tmp_path / "run", tmp_path / "absent")
    assert not (tmp_path / "run").exists()
