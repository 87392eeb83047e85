"""docs/extend.md: its margin, registered for real, held to a plain loop, trained, and run from the command line."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import hyperarc
import hyperarc.margins
from hyperarc.errors import HyperArcError
from hyperarc.geometry import unit
from hyperarc.heads.head import create_head
from hyperarc.margins.margin import margins
from hyperarc.registry import Registry
from test_docs import DOCS, ROOT, blocks
from test_margin_laws import plain_loop

FILE, TRAINING, GROWING = blocks(DOCS / "extend.md", "python")


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's file lies in hyperarc/margins, as the page says; it is gone again afterwards."""
    margins.names()
    before, modules = dict(margins._things), set(sys.modules)
    (tmp_path / "linear_angle.py").write_text(FILE, encoding="utf-8")
    monkeypatch.setattr(hyperarc.margins, "__path__", [*hyperarc.margins.__path__, str(tmp_path)])
    yield
    margins._things.clear()
    margins._things.update(before)
    for name in set(sys.modules) - modules:
        if name.endswith("linear_angle"):
            del sys.modules[name]


def test_the_file_is_short() -> None:
    assert len(FILE.splitlines()) < 35
    assert len([line for line in FILE.splitlines() if line.strip()]) < 30


@pytest.mark.usefixtures("registered")
def test_the_registry_finds_the_file() -> None:
    assert "linear_angle" in hyperarc.margin_names()
    assert type(create_head("linear_angle", num_classes=3, embedding_dim=2).margin).__module__.startswith("hyperarc.")
    with pytest.raises(HyperArcError, match="did you mean 'margin'"):
        create_head("linear_angle", num_classes=3, embedding_dim=2, margn=0.1)


def loss_by_hand(x: Tensor, weight: Tensor, labels: list[int], scale: float, margin: float) -> float:
    """The page's formula with nothing but math: one row and one class at a time."""
    total = 0.0
    for row, label in zip(x.tolist(), labels, strict=True):
        logits = []
        for j, center in enumerate(weight[:, 0].tolist()):
            dot = sum(a * b for a, b in zip(row, center, strict=True))
            theta = math.acos(dot / math.hypot(*row) / math.hypot(*center))
            logits.append(scale * (1 - 2 * (theta + margin) / math.pi if j == label else math.cos(theta)))
        total += math.log(sum(math.exp(z) for z in logits)) - logits[label]
    return total / len(labels)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("sweep", ["reference", "chunked"])
def test_the_margin_equals_plain_loops(sweep: str) -> None:
    head = create_head("linear_angle", num_classes=7, embedding_dim=5, scale=8.0, seed=1, sweep=sweep).double()
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 6, 6])
    got, expected = head(x, labels).loss, plain_loop(head, x, labels)
    torch.testing.assert_close(got, expected)
    assert got.item() == pytest.approx(loss_by_hand(x, head.centers.weight, labels.tolist(), 8.0, 0.3), rel=1e-9)
    torch.testing.assert_close(*(torch.autograd.grad(loss, x)[0] for loss in (got, expected)))


@pytest.mark.usefixtures("registered")
def test_the_margin_obeys_the_laws() -> None:
    """Those that ask for no table of test_margin_laws.py; the page says which entry the file has to add there."""
    import test_margin_laws as laws

    for sweep in laws.SWEEPS:
        laws.test_equals_a_plain_loop_in_value_and_gradient("linear_angle", sweep, 3)
        laws.test_loss_is_the_cross_entropy_of_the_logits("linear_angle", sweep)
        laws.test_gradient_is_finite_at_the_poles_and_at_norm_zero("linear_angle", sweep, torch.float32)
    laws.test_chunked_is_dense_whatever_the_memory("linear_angle", 1)
    laws.test_half_precision_embeddings_stay_close("linear_angle")
    laws.test_target_logit_never_rises_with_its_angle("linear_angle")
    laws.test_gradcheck("linear_angle")
    laws.test_gradients_are_tangent("linear_angle")


@pytest.mark.usefixtures("registered")
def test_the_training_of_the_page_learns() -> None:
    place: dict[str, Any] = {"__name__": "block"}
    exec(compile(TRAINING, "extend.md", "exec", flags=0, dont_inherit=True), place)
    assert place["losses"][-1] < place["losses"][0] / 2


@pytest.mark.usefixtures("registered")
def test_the_growing_margin_equals_a_plain_loop_and_keeps_its_state() -> None:
    exec(compile(GROWING, "extend.md", "exec", flags=0, dont_inherit=True), {"__name__": "block"})
    head = create_head("growing_angle", num_classes=7, embedding_dim=5, scale=8.0, seed=1).double()
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 6, 6])
    x.data += 3.0 * unit(head.centers.weight.detach()[labels, 0])  # near their centers, so that t rises
    before = head.margin.t.clone()
    got = head(x, labels)
    assert 0.0 == before.item() < head.margin.t.item() == pytest.approx(0.01 * got.target_cosine.mean().item())
    expected = plain_loop(head, x, labels)
    torch.testing.assert_close(got.loss, expected)
    gradients = [torch.autograd.grad(loss, (x, head.centers.weight)) for loss in (got.loss, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)  # negative_slope is the derivative of negative
    other = create_head("growing_angle", num_classes=7, embedding_dim=5).double()
    other.load_state_dict(head.state_dict())
    assert other.margin.t.item() == head.margin.t.item()


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder like site-packages with the page's file as a package of its own, and its entry point."""
    place = tmp_path / "site"
    (place / "my_losses").mkdir(parents=True)
    (place / "my_losses" / "__init__.py").touch()
    (place / "my_losses" / "linear_angle.py").write_text(FILE, encoding="utf-8")
    facts = place / "my_losses-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my-losses\nVersion: 1.0\n")
    (toml,) = blocks(DOCS / "extend.md", "toml")
    group, line = toml.strip().splitlines()
    assert group == '[project.entry-points."hyperarc.margins"]'
    (facts / "entry_points.txt").write_text("[hyperarc.margins]\n" + line.replace('"', "") + "\n")
    return place


def command(*words: str, where: Path, script: str | None = None) -> subprocess.CompletedProcess[str]:
    """``hyperarc`` in a process of its own that knows the packages of ``where``."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{where}"}
    start = [script] if script else ["-m", "hyperarc"]
    return subprocess.run(
        [sys.executable, *start, *words], capture_output=True, text=True, env=environment, cwd=where, timeout=300
    )


SMALL = [
    "backbone.embedding_dim=16", "data.drawn={people: 8, faces_per_person: 6}", "head.margin=linear_angle",
    "head.arguments={scale: 16}", "schedule={kind: constant, epochs: 3}", "training={batch_size: 8, threads: 1}",
    "evaluation=[]", "--json", "--quiet",
]  # fmt: skip


def losses_of(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def test_an_installed_package_is_found_by_the_commands(installed: Path) -> None:
    done = command("train", "demo", *SMALL, "--run", "run", where=installed)
    assert done.returncode == 0, done.stderr
    losses = losses_of(installed / "run")
    assert sum(losses[-3:]) < sum(losses[:3])
    drawn = command("plots", "linear_angle", "--out", "plots", "--json", where=installed)
    assert drawn.returncode == 0, drawn.stderr
    assert [Path(p).name for p in json.loads(drawn.stdout)["figures"]["linear_angle"]] == [
        "linear_angle.svg",
        "linear_angle.png",
    ]


def test_the_file_itself_may_be_the_command(tmp_path: Path) -> None:
    text = (DOCS / "extend.md").read_text(encoding="utf-8")
    tail = 'if __name__ == "__main__":\n    from hyperarc.cli import main\n\n    main()\n'
    assert tail in text
    (tmp_path / "linear_angle.py").write_text(f"{FILE}\n\n{tail}", encoding="utf-8")
    done = command(
        "train", "demo", *SMALL, "schedule.epochs=1", "--run", "run", where=tmp_path, script="linear_angle.py"
    )
    assert done.returncode == 0, done.stderr
    assert len(losses_of(tmp_path / "run")) == 6


def test_a_broken_entry_point_says_which_package_to_mend(installed: Path) -> None:
    (installed / "my_losses" / "linear_angle.py").write_text("import nothing_of_this_name\n")
    done = command("plots", "arcface", where=installed)
    assert done.returncode == 1
    assert "entry point linear_angle = my_losses.linear_angle of hyperarc.margins" in done.stderr
    assert "No module named 'nothing_of_this_name'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cell_may_be_run_again_but_a_name_is_not_taken_away() -> None:
    shapes: Registry[type] = Registry("shape")

    def cell() -> type:
        @shapes.register("circle")
        class Circle: ...

        return Circle

    first, second = cell(), cell()
    assert shapes.get("circle") is second is not first
    with pytest.raises(ValueError, match="shape 'circle' is declared twice"):
        shapes.register("circle")(Path)
