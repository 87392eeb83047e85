"""Two processes with half of the batch each: losses, gradients and running state equal those of one process."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from hyperarc.heads.head import Head, create_head
from hyperarc.margins import margin_names

CLASSES, DIM, STEPS = 30, 8, 3
SHARES = ((0, 5), (5, 8))  # rows of the batch on each rank: of unequal number
EXTRA: dict[str, dict[str, Any]] = {
    "sub-centers": {"name": "arcface", "sub_centers": 3},
    "partial fc": {"name": "cosface", "sample_rate": 0.5},
    "prototypes": {"name": "arcface", "prototypes": {"queue": 3}},
    "center": {"name": "norm_softmax", "auxiliary": {"center": {}, "intra": {}, "inter": {}}},
    "groupface": {"name": "groupface", "groups": 4},
    "elasticface+": {"name": "elasticface", "plus": True},
}
HEADS = {name: {"name": name} for name in margin_names()} | EXTRA


def run(arguments: dict[str, Any], rows: slice) -> dict[str, torch.Tensor]:
    """Some steps on these rows of each batch; everything worth comparing."""
    head = build(arguments)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.05)
    found: dict[str, torch.Tensor] = {}
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        embeddings = 12 * torch.randn(8, DIM + arguments.get("groups", 0), generator=generator, dtype=torch.float64)
        labels = torch.randint(CLASSES, (8,), generator=generator)[rows]
        mine = embeddings[rows].clone().requires_grad_()
        optimizer.zero_grad()
        out = head(mine, labels)
        out.loss.backward()
        optimizer.step()
        found |= {f"{step}.loss": out.loss.detach(), f"{step}.gradient": mine.grad, f"{step}.target": out.target_cosine}
    return found | {f"state.{name}": value.clone() for name, value in head.state_dict().items()}


def build(arguments: dict[str, Any]) -> Head:
    return create_head(num_classes=CLASSES, embedding_dim=DIM, seed=3, **arguments).double()


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=len(SHARES))
    results = {case: run(arguments, slice(*SHARES[rank])) for case, arguments in HEADS.items()}
    torch.save(results, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, dict[str, torch.Tensor]]]:
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, args=(folder,), nprocs=len(SHARES))
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(len(SHARES))]


@pytest.mark.parametrize("case", HEADS)
def test_ranks_equal_one_process(case: str, ranks: list[dict[str, dict[str, torch.Tensor]]]) -> None:
    one = run(HEADS[case], slice(None))
    for name, expected in one.items():
        parts = [rank[case][name] for rank in ranks]
        if name.startswith("state.") or name.endswith("loss"):
            assert torch.equal(parts[0], parts[1]), f"{name} differs between the ranks"
            torch.testing.assert_close(parts[0], expected, rtol=1e-12, atol=1e-14)
        else:  # of the rank's own rows
            torch.testing.assert_close(torch.cat(parts), expected, rtol=1e-10, atol=1e-13)


def test_a_rank_without_rows(tmp_path: Path) -> None:
    """One rank has no face in a batch: the other's loss is the whole's."""
    mp.spawn(lonely, args=(str(tmp_path),), nprocs=2)
    one, other = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    alone = run({"name": "curricularface"}, slice(None))
    assert torch.equal(one["2.loss"], other["2.loss"])
    torch.testing.assert_close(one["2.loss"], alone["2.loss"])
    assert other["0.gradient"].shape == (0, DIM)


def lonely(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(run({"name": "curricularface"}, slice(None) if rank == 0 else slice(0, 0)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()
