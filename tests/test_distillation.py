"""Distillation: both distances against plain ones, a student that nears its teacher, resuming, what does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hyperarc.artifact import open_artifact
from hyperarc.commands.show import Show
from hyperarc.commands.train import Start, Trained, train
from hyperarc.contract import Contract
from hyperarc.errors import ArtifactError, CheckpointError, ContractError, HyperArcError, RecipeError
from hyperarc.geometry import unit
from hyperarc.heads.distillation import class_divergence, embedding_distance
from hyperarc.recipe import Recipe
from hyperarc.recipe.file import load_recipe, parse_recipe
from hyperarc.training.checkpoint import recipe_digest
from hyperarc.training.hardware import choose_hardware
from hyperarc.training.teacher import Teacher, open_teacher

DATA = {"drawn": {"people": 8, "faces_per_person": 6}}
TRAINING = {"batch_size": 16, "precision": "fp32", "threads": 1, "checkpoint_every": 3, "keep_checkpoints": 9}


def recipe_of(seed: int, distillation: dict[str, Any] | None = None, **sections: Any) -> Recipe:
    content: dict[str, Any] = {
        "name": "run",
        "seed": seed,
        "data": DATA,
        "backbone": {"name": "iresnet_tiny", "embedding_dim": 16},
        "head": {"arguments": {"scale": 16.0, "margin": 0.2}},
        "distillation": distillation,
        "optimizer": {"lr": 0.05},
        "schedule": {"kind": "constant", "epochs": 4},
        "training": TRAINING,
    }
    return parse_recipe(content | sections, where="test")


def run(recipe: Recipe, folder: Path, resume: Path | None = None) -> Trained:
    return train(recipe, folder, Start(resume=None if resume is None else str(resume)), Show(quiet=True))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of a trained teacher."""
    folder = tmp_path_factory.mktemp("teacher")
    run(recipe_of(1, head={"sub_centers": 2, "arguments": {"scale": 16.0}}), folder / "run")
    return folder / "run" / "artifact"


@pytest.fixture
def altered(teacher: Path, tmp_path: Path) -> Path:
    """A copy of the teacher that a test may change."""
    return Path(shutil.copytree(teacher, tmp_path / "altered"))


def opened(artifact: Path, **section: Any) -> Teacher:
    recipe = recipe_of(0, {"teacher": str(artifact), **section})
    found = open_teacher(recipe, Contract(embedding_dim=16), choose_hardware(recipe.training))
    assert found is not None
    return found


# ---- the two distances


def dense(student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], scale: float) -> Tensor:
    """The class divergence with all N x C similarities at once."""
    own, theirs = (
        (scale * torch.einsum("nd,ckd->nck", unit(rows), unit(centers)).amax(dim=2)).log_softmax(dim=1)
        for rows, centers in (student, teacher)
    )
    return F.kl_div(own, theirs, reduction="batchmean", log_target=True)


def sides(classes: int = 23) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Student and teacher of other dimensions and numbers of sub-centers."""
    torch.manual_seed(0)
    student = torch.randn(6, 5, dtype=torch.float64), torch.randn(classes, 2, 5, dtype=torch.float64)
    teacher = torch.randn(6, 9, dtype=torch.float64), torch.randn(classes, 3, 9, dtype=torch.float64)
    for tensor in (*student, *teacher):
        tensor.requires_grad_()
    return student, teacher


def test_embedding_distance_by_hand() -> None:
    student = torch.tensor([[3.0, 4.0], [1.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[2.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    distance = embedding_distance(student, teacher)
    assert distance.item() == pytest.approx((2 - 2 * 0.6 + 4) / 2)
    distance.backward()
    assert teacher.grad is None
    assert student.grad is not None
    with pytest.raises(HyperArcError, match="embeddings of one shape"):
        embedding_distance(student, torch.zeros(2, 3))


def test_class_divergence_by_hand() -> None:
    centers = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]], dtype=torch.float64)
    student, teacher = torch.tensor([[3.0, 4.0]]).double(), torch.tensor([[4.0, 3.0]]).double()
    p = np.exp([5 * 0.8, 5 * 0.6]) / np.exp([5 * 0.8, 5 * 0.6]).sum()
    divergence = class_divergence((student, centers), (teacher, centers), scale=5.0)
    assert divergence.item() == pytest.approx(float((p * np.log(p / p[::-1])).sum()), rel=1e-12)


@pytest.mark.parametrize("memory_mb", [64.0, 0.005, 1e-9], ids=["one block", "several blocks", "a class a block"])
@pytest.mark.parametrize("scale", [4.0, 64.0])
def test_class_divergence_is_the_dense_one(memory_mb: float, scale: float) -> None:
    student, teacher = sides()
    ours = class_divergence(student, teacher, scale=scale, memory_mb=memory_mb)
    theirs = dense(student, teacher, scale)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-10)
    for one, two in zip(torch.autograd.grad(ours, student), torch.autograd.grad(theirs, student), strict=True):
        torch.testing.assert_close(one, two)


def test_only_the_student_learns() -> None:
    student, teacher = sides(classes=5)
    class_divergence(student, teacher, memory_mb=0.002).backward()
    assert all(tensor.grad is not None for tensor in student)
    assert all(tensor.grad is None for tensor in teacher)
    assert torch.autograd.gradcheck(
        lambda rows, centers: class_divergence((rows, centers), teacher, scale=3.0, memory_mb=0.002), student
    )


def test_who_agrees_has_nothing_to_learn() -> None:
    student, _ = sides()
    divergence = class_divergence(student, (2 * student[0], 3 * student[1]))
    assert divergence.item() == pytest.approx(0.0, abs=1e-12)
    assert all(g.abs().max() < 1e-12 for g in torch.autograd.grad(divergence, student))
    with pytest.raises(HyperArcError, match="6 x 23 and 6 x 22"):
        class_divergence(student, (student[0], student[1][:-1]))


def test_no_matrix_of_rows_and_classes_is_held() -> None:
    rows, classes, limit_mb = 64, 4096, 0.25
    seen: list[int] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            seen.extend(o.nbytes for o in (out if isinstance(out, tuple) else (out,)) if isinstance(o, Tensor))
            return out

    student = torch.randn(rows, 8, requires_grad=True), torch.randn(classes, 1, 8, requires_grad=True)
    teacher = torch.randn(rows, 8), torch.randn(classes, 1, 8)
    with Watch():
        class_divergence(student, teacher, memory_mb=limit_mb).backward()
    assert max(seen) <= limit_mb * 2**20 < rows * classes * 4  # the gradient of the centers is the largest


# ---- runs


def test_the_student_draws_near(teacher: Path, tmp_path: Path) -> None:
    section = {"teacher": str(teacher), "embedding_weight": 2.0, "class_weight": 0.5, "class_scale": 16.0}
    rows = run(recipe_of(2, section), tmp_path / "taught").log()
    for name in ("embedding_distance", "class_divergence"):
        values = [row[name] for row in rows]
        assert np.mean(values[-3:]) < 0.8 * np.mean(values[:3]), (name, values)
    alone = run(recipe_of(2), tmp_path / "alone").log()
    assert "embedding_distance" not in alone[0]
    added = 2.0 * rows[0]["embedding_distance"] + 0.5 * rows[0]["class_divergence"]
    assert rows[0]["loss"] == pytest.approx(alone[0]["loss"] + added, rel=1e-6)


def test_either_weight_may_be_zero(teacher: Path) -> None:
    assert opened(teacher, class_weight=0).centers is None
    assert opened(teacher).backbone.training is False
    assert not any(p.requires_grad for p in opened(teacher).backbone.parameters())
    with pytest.raises(RecipeError, match="are both 0: leave distillation out"):
        recipe_of(0, {"teacher": "x", "embedding_weight": 0, "class_weight": 0})


def test_groups_of_the_student_are_left_to_its_head(teacher: Path, tmp_path: Path) -> None:
    neck = {"neck": "groupface", "groups": 3, "shared_dim": 24, "hidden_dim": 8}
    recipe = recipe_of(
        2,
        {"teacher": str(teacher)},
        backbone={"name": "iresnet_tiny", "embedding_dim": 16, "arguments": neck},
        head={"margin": "groupface", "arguments": {"groups": 3, "scale": 16.0}},
        schedule={"kind": "constant", "epochs": 0.5},
    )
    (row, *_) = run(recipe, tmp_path / "run").log()
    assert {"group", "embedding_distance", "class_divergence"} <= row.keys()


def test_the_teacher_sees_faces_its_own_way(altered: Path) -> None:
    contract = json.loads((altered / "contract.json").read_text())
    images = torch.randint(0, 256, (2, 3, 112, 112), dtype=torch.uint8)
    contract |= {"color": "bgr", "mean": [0.0, 0.0, 0.0], "std": [255.0, 255.0, 255.0]}
    (altered / "contract.json").write_text(json.dumps(contract))
    expected = open_artifact(altered).backbone()(images.flip(1).float() / 255.0)
    torch.testing.assert_close(opened(altered).embed(images), expected, rtol=1e-4, atol=1e-4)


def test_a_resumed_student_ends_the_same(teacher: Path, altered: Path, tmp_path: Path) -> None:
    recipe = recipe_of(2, {"teacher": str(teacher)})
    run(recipe, tmp_path / "whole")
    middle = tmp_path / "whole" / "checkpoints" / "step-00000006.safetensors"
    moved = recipe_of(2, {"teacher": str(altered)})  # the same teacher in another place
    run(moved, tmp_path / "resumed", middle)
    for name in ("weights.safetensors", "head.safetensors"):
        one, two = ((tmp_path / folder / "artifact" / name).read_bytes() for folder in ("whole", "resumed"))
        assert one == two, name
    assert "teacher" not in "".join(open_artifact(tmp_path / "whole" / "artifact").backbone().state_dict())


def test_another_teacher_is_refused(teacher: Path, tmp_path: Path) -> None:
    recipe = recipe_of(2, {"teacher": str(teacher)}, schedule={"kind": "constant", "epochs": 1})
    run(recipe, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / "step-00000003.safetensors"
    other = run(recipe_of(7, schedule={"kind": "constant", "epochs": 0.5}), tmp_path / "other").folder / "artifact"
    with pytest.raises(CheckpointError, match="taught by another teacher"):
        run(recipe_of(2, {"teacher": str(other)}, schedule=recipe.schedule.model_dump()), tmp_path / "new", checkpoint)
    with pytest.raises(CheckpointError, match="another recipe"):
        run(recipe_of(2, schedule=recipe.schedule.model_dump()), tmp_path / "new", checkpoint)


def test_runs_without_a_teacher_keep_their_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[dict[str, Any]] = []
    dumps = json.dumps
    monkeypatch.setattr(json, "dumps", lambda content, **how: hashed.append(content) or dumps(content, **how))
    without, one, two = (
        recipe_digest(recipe_of(0, section))
        for section in (None, {"teacher": "a"}, {"teacher": "b", "class_weight": 0.2})
    )
    assert "distillation" not in hashed[0], "checkpoints from before there was distillation must stay resumable"
    assert len({without, one, two}) == 3


# ---- what does not fit


def test_what_does_not_fit_is_said(teacher: Path, altered: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such artifact folder"):
        run(recipe_of(0, {"teacher": str(tmp_path / "nowhere")}), tmp_path / "run")
    wide = {"name": "iresnet_tiny", "embedding_dim": 24}
    with pytest.raises(RecipeError, match=r"have 16 values, the student's 24; set backbone.embedding_dim=16, or"):
        run(recipe_of(0, {"teacher": str(teacher)}, backbone=wide), tmp_path / "run")
    more = {"drawn": {"people": 9, "faces_per_person": 6}}
    with pytest.raises(RecipeError, match=r"teacher's 8 people in the same order, got 9.*class_weight=0"):
        run(recipe_of(0, {"teacher": str(teacher)}, data=more), tmp_path / "run")
    (altered / "people.txt").write_text("".join(f"{name}\n" for name in reversed(open_artifact(teacher).people())))
    with pytest.raises(RecipeError, match="got 8; the first to differ is 0: "):
        run(recipe_of(0, {"teacher": str(altered)}), tmp_path / "run")
    contract = json.loads((altered / "contract.json").read_text())
    (altered / "contract.json").write_text(json.dumps(contract | {"height": 128, "template": "other"}))
    with pytest.raises(ContractError, match="height 128 against 112, template 'other' against 'arcface_112'"):
        run(recipe_of(0, {"teacher": str(altered)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_people_and_dimensions_with_one_distance_alone(teacher: Path, tmp_path: Path) -> None:
    short = {"schedule": {"kind": "constant", "epochs": 0.4}}
    more = {"drawn": {"people": 9, "faces_per_person": 6}}
    section: dict[str, Any] = {"teacher": str(teacher), "class_weight": 0}
    (row, *_) = run(recipe_of(0, section, data=more, **short), tmp_path / "a").log()
    assert "class_divergence" not in row
    wide = {"name": "iresnet_tiny", "embedding_dim": 24}
    section = {"teacher": str(teacher), "embedding_weight": 0}
    (row, *_) = run(recipe_of(0, section, backbone=wide, **short), tmp_path / "b").log()
    assert "embedding_distance" not in row


def test_the_shipped_recipe(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERARC_TEACHER", str(teacher))
    assert load_recipe("ms1mv3_mbf_distilled").distillation is not None
    changes = [
        "data.sources=[]",
        "data.drawn={people: 8, faces_per_person: 6}",
        "backbone.embedding_dim=16",
        "schedule.epochs=0.25",
        "training={batch_size: 4, precision: fp32, threads: 1}",
        "optimizer.lr=0.01",
        "evaluation=[]",
    ]
    rows = run(load_recipe("ms1mv3_mbf_distilled", changes), tmp_path / "run").log()
    assert len(rows) == 3
    assert all(np.isfinite(row["loss"]) and row["embedding_distance"] > 0 for row in rows)
