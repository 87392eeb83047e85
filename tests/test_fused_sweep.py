"""The fused sweep: its cases in Triton's interpreter, on a GPU where there is one, and compiled for GPUs anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import hyperarc
from hyperarc.errors import HyperArcError
from hyperarc.heads.head import create_head
from hyperarc.heads.sweep import Plan, Precision, fused_sweep, resolve
from hyperarc.heads.sweep.fused import can_fuse
from hyperarc.heads.sweep.fused_memory import fused_footprint
from hyperarc.margins import Margin, create_margin

CASES = Path(__file__).with_name("fused_cases.py")


def run(*command: object, interpreted: bool) -> str:
    """Python in a process of its own, as Triton decides on loading whether it interprets."""
    pytest.importorskip("triton", reason="Triton is not installed")
    environment = os.environ | {"TRITON_INTERPRET": "1" if interpreted else "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *map(str, command)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


def test_the_cases_in_the_interpreter() -> None:
    assert " passed" in run("-m", "pytest", "-p", "no:cacheprovider", CASES, interpreted=True)


@pytest.mark.gpu
def test_the_cases_on_the_gpu() -> None:
    assert " passed" in run("-m", "pytest", "-p", "no:cacheprovider", CASES, interpreted=False)


COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from hyperarc.heads.sweep import fused_launch as launch
import triton, torch

small = {"rows", "classes", "width", "first", "count", "tiles", "part", "rows_about", "classes_about"}
whole = {"labels", "taken", "near_class"}
product = {"x", "shares"}
choice = {"DIM": 512, "SUB": 3, "UNIT": True, "PRECISION": "ieee", "MAPS": True, "TOP": 6, "SLOTS": 8}
for tuned in (launch._SUM, launch._SHARES, launch._CENTERS, launch._ROWS):
    config, names = tuned.configs[-1], tuned.fn.arg_names
    fixed = {k: v for k, v in (choice | config.kwargs).items() if k in names}
    kinds = {n: "constexpr" if n in fixed else "i32" if n in small else "*i32" if n in whole
             else "*bf16" if n in product else "*fp32" for n in names}
    for capability in (80, 90):
        source = ASTSource(tuned.fn, kinds, {(names.index(k),): v for k, v in fixed.items()})
        made = triton.compile(source, GPUTarget("cuda", capability, 32), {"num_warps": config.num_warps})
        assert "mma" in made.asm["ptx"] and "atom" not in made.asm["ptx"]
        assert made.metadata.shared <= (163, 227)[capability == 90] * 1024
        print(tuned.fn.__name__, capability)
"""


@pytest.mark.slow
def test_the_kernels_compile_for_gpus_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ampere and Hopper: on tensor cores, without atomics, within their shared memory."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    assert len(run("-c", COMPILE, interpreted=False).splitlines()) == 8


class Idle:
    """Stands for a kernel: starts nothing, and leaves zeros where forward would have written."""

    def __getitem__(self, grid: object) -> Callable[..., None]:
        return self.start

    def start(self, *given: Any, **variant: Any) -> None:
        if "TOP" in variant:
            for result in given[8:11]:
                result.zero_()


@pytest.mark.parametrize(
    ("sub_centers", "plan"),
    [
        (1, Plan(memory_mb=8)),
        (1, Plan(memory_mb=1)),
        (3, Plan(memory_mb=8)),
        (1, Plan(memory_mb=8, top_k=6)),
        (1, Plan(memory_mb=8, normalize_centers=False)),
        (1, Plan(memory_mb=8, precision=Precision(torch.bfloat16, torch.bfloat16))),
        (1, Plan(memory_mb=8, update=lambda first, last, gradient: None)),
    ],
)
def test_the_footprint_is_what_is_held(sub_centers: int, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """With idle kernels, as all memory is taken around them."""
    pytest.importorskip("triton", reason="Triton is not installed")
    if can_fuse("cpu"):
        pytest.skip("TRITON_INTERPRET is set")
    from hyperarc.heads.sweep import fused_launch as launch

    monkeypatch.setattr("hyperarc.heads.sweep.fused.can_fuse", lambda device: True)
    for kernel in ("_SUM", "_SHARES", "_CENTERS", "_ROWS"):
        monkeypatch.setattr(launch, kernel, Idle())
    rows = torch.nn.functional.normalize(torch.randn(128, 64), dim=1).requires_grad_()
    weight, labels = torch.randn(60_000, sub_centers, 64).requires_grad_(), torch.arange(128)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        out = fused_sweep(rows, weight, labels, plan)
        (out.log_sum.mean() + (0.0 if out.nearest_k is None else out.nearest_k.sum())).backward()
    assert out.skipped is not None
    assert out.skipped.share == 0.0
    held = peak = 0
    for event in profiler.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    gradients = 4 * (rows.numel() + (0 if plan.update else weight.numel()))
    expected = fused_footprint(rows, weight, plan)
    assert 0.85 * expected < peak - gradients <= 1.02 * expected


def test_auto_is_chunked_on_a_cpu_and_fused_says_what_it_wants() -> None:
    assert resolve("auto", "cpu") == "chunked"
    if can_fuse("cpu"):
        pytest.skip("TRITON_INTERPRET is set")
    head = create_head("arcface", num_classes=5, embedding_dim=4, sweep="fused")
    with pytest.raises(HyperArcError, match="expects a GPU and Triton"):
        head(torch.randn(3, 4), torch.arange(3))
    with pytest.raises(HyperArcError, match="got cpu"):
        fused_sweep(torch.randn(3, 4), torch.randn(5, 1, 4), torch.arange(3), Plan())


@pytest.mark.parametrize("name", hyperarc.margin_names())
def test_a_form_says_what_the_margin_does(name: str) -> None:
    """In value and slope, on both sides of the threshold and at the ends."""
    margin = create_margin(name)
    negatives = margin.negative_map(torch.tensor([0.3, 0.6]), torch.tensor([20.0, 30.0]))
    form = None if negatives is None else negatives.form()
    if form is None:
        assert (negatives is None) == (type(margin).negative is Margin.negative)
        return
    assert negatives is not None
    c = torch.linspace(-1, 1, 401).expand(2, -1)
    above = c > (form.above if negatives.threshold is None else negatives.threshold)
    square, linear, constant = (torch.as_tensor(one) for one in (form.square, form.linear, form.constant))
    torch.testing.assert_close(
        torch.where(above, (square * c + linear) * c + constant, c.clamp_min(form.floor)), negatives(c)
    )
    slope = torch.where(above, 2 * square * c + linear, (c >= form.floor).to(c))
    torch.testing.assert_close(slope, negatives.slope(c))


def test_another_negative_is_not_taken_for_the_form_of_its_parent() -> None:
    from hyperarc.margins.mv_softmax import MVSoftmax

    class Bent(MVSoftmax):
        def negative(self, cosine: torch.Tensor, threshold: torch.Tensor | None) -> torch.Tensor:
            return super().negative(cosine, threshold) ** 3

    for kind, known in ((MVSoftmax, True), (Bent, False)):
        negatives = kind().negative_map(torch.ones(2), torch.ones(2))
        assert negatives is not None
        assert (negatives.form() is not None) == known
