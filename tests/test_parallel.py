"""Processes with parts of the batch, and of the centers: losses, gradients and running state equal one process's."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from hyperarc.heads.distillation import class_divergence
from hyperarc.heads.head import Head, create_head
from hyperarc.heads.sweep import UpdateInBackward
from hyperarc.margins import margin_names
from hyperarc.parallel import gather, share

CLASSES, DIM, STEPS, ROWS = 30, 8, 3, 8
WORLDS = {2: ((0, 5), (5, 8)), 4: ((0, 3), (3, 3), (3, 7), (7, 8))}  # rows of the batch on each rank; one has none
EXTRA: dict[str, dict[str, Any]] = {
    "sub-centers": {"name": "arcface", "sub_centers": 3},
    "partial fc": {"name": "cosface", "sample_rate": 0.5},
    "prototypes": {"name": "arcface", "prototypes": {"queue": 3}},
    "prototypes that leave": {
        "name": "arcface", "sub_centers": 2, "prototypes": {"queue": 3, "threshold": 0.2, "refresh_every": 2}
    },
    "center": {"name": "norm_softmax", "auxiliary": {"center": {}, "intra": {}, "inter": {}}},
    "released inter": {"name": "arcface", "auxiliary": {"inter": {"variant": "released"}, "triplet": {}}},
    "groupface": {"name": "groupface", "groups": 4},
    "elasticface+": {"name": "elasticface", "plus": True},
    "softmax with bias": {"name": "softmax", "bias": True},
    "npt of six": {"name": "npt", "top_k": 6},
    "filter": {"name": "cosface", "inter_class_filter": 0.1},
    "reference sweep": {"name": "curricularface", "sweep": "reference"},
    "reference sweep, npt": {"name": "npt", "top_k": 6, "sweep": "reference"},
    "three classes": {"name": "mv_softmax", "num_classes": 3},
    "three classes, npt": {"name": "npt", "num_classes": 3, "top_k": 4},
    "three classes, binary": {"name": "sphereface2", "num_classes": 3},
    "three classes, softmax": {"name": "softmax", "num_classes": 3, "bias": True, "sweep": "reference"},
    "three classes, sampled": {"name": "arcface", "num_classes": 3, "sample_rate": 0.5},
    "three, center": {"name": "cosface", "num_classes": 3, "auxiliary": {"center": {}, "intra": {}, "inter": {}}},
}
MOVED = {  # in backward, by SGD with momentum
    "moved": {"name": "arcface", "sub_centers": 2},
    "moved, sampled": {"name": "cosface", "sample_rate": 0.5},
    "moved, three classes": {"name": "cosface", "num_classes": 3},
}
EXTRA |= MOVED
HEADS = {name: {"name": name} for name in margin_names()} | EXTRA
Found = dict[str, Tensor]
PATIENCE = timedelta(minutes=15)  # ranks wait for those that have work before; one that fails ends all at once


@dataclass(frozen=True)
class Case:
    """How a head is run: which one, in which precision, cut or whole in every process."""

    head: str
    dtype: torch.dtype
    sharded: bool

    def build(self) -> Head:
        arguments = {"num_classes": CLASSES, "embedding_dim": DIM, "seed": 3, **HEADS[self.head]}
        return create_head(**arguments, sharded=self.sharded).to(self.dtype)

    def run(self, rows: slice, told: list[Tensor] | None = None) -> Found:
        """Some steps on these rows of each batch; everything worth comparing. ``told``: classes to sweep over."""
        head = self.build()
        choose = head.centers.select
        optimizer = torch.optim.SGD(head.parameters(), lr=0.05, momentum=0.9 if self.head in MOVED else 0.0)
        if self.head in MOVED:
            head.update = UpdateInBackward(optimizer, head.centers.weight)
        found: Found = {}
        for step in range(STEPS):
            generator = torch.Generator().manual_seed(step)
            width = DIM + HEADS[self.head].get("groups", 0)
            embeddings = 12 * torch.randn(ROWS, width, generator=generator, dtype=torch.float64).to(self.dtype)
            labels = torch.randint(head.centers.cut.classes, (ROWS,), generator=generator)[rows]
            mine = embeddings[rows].clone().requires_grad_()

            def select(batch: Tensor, step: int = step, swept: Found = found) -> Tensor | None:
                classes = choose(batch) if told is None else told[step]
                if classes is not None:
                    swept[f"{step}.swept"] = classes + head.centers.cut.first
                return classes

            head.centers.select = select  # type: ignore[method-assign]
            optimizer.zero_grad()
            out = head(mine, labels)
            out.loss.backward()
            optimizer.step()
            values = {"loss": out.loss, "accuracy": out.accuracy, "gradient": mine.grad, "target": out.target_cosine}
            values["nearest"] = out.nearest_negative_cosine
            found.update({f"{step}.{name}": value for name, value in values.items()})
        cut = {f"cut.{name}": value for name, value in head.state_dict().items() if name in head.sharded}
        rest = {f"state.{name}": value for name, value in head.state_dict().items() if name not in head.sharded}
        return {name: value.detach().clone() for name, value in (found | cut | rest).items()}


CASES = [
    *(Case(head, torch.float64, True) for head in HEADS),
    *(Case(head, torch.float32, True) for head in margin_names()),
    *(Case(head, torch.float64, False) for head in (*EXTRA, "adacos", "curricularface", "sphereface2", "a_softmax")),
]


def distil(rows: slice, sharded: bool) -> Found:
    """The divergence of a teacher, of all rows, over the classes of this process."""
    torch.manual_seed(1)
    embeddings, theirs, centers, their_centers = (
        torch.randn(*shape, dtype=torch.float64) for shape in ((ROWS, 6), (ROWS, 5), (7, 2, 6), (7, 1, 5))
    )
    part = slice(0, 7)
    if sharded:
        part = share(7, dist.get_rank(), dist.get_world_size())
    mine, own = embeddings[rows].clone().requires_grad_(), centers[part].clone().requires_grad_()
    whole, _ = gather(mine)
    loss = class_divergence((whole, own), (theirs, their_centers[part]), scale=8.0, sharded=sharded)
    loss.backward()
    return {"0.loss": loss.detach(), "0.gradient": mine.grad, "cut.centers": own.grad}


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    for world, parts in WORLDS.items():
        if rank >= world:
            continue
        meet = f"file://{folder}/meet{world}"
        dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=world, timeout=PATIENCE)
        rows = slice(*parts[rank])
        results = {str(case): case.run(rows) for case in CASES} | {"distillation": distil(rows, sharded=True)}
        torch.save(results, Path(folder) / f"{world}.{rank}.pt")
        dist.barrier()
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks() -> dict[int, list[dict[str, Found]]]:
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, args=(folder,), nprocs=max(WORLDS))
        return {
            world: [torch.load(Path(folder) / f"{world}.{rank}.pt", weights_only=True) for rank in range(world)]
            for world in WORLDS
        }


def assert_equal(parts: list[Found], one: Found, loose: float = 1.0) -> None:
    """What the ranks found, put together, is what one process found."""
    for name, expected in one.items():
        values = [part[name] for part in parts]
        if name.startswith("state.") or name.endswith(("loss", "accuracy")):
            assert all(torch.equal(value, values[0]) for value in values), f"{name} differs between the ranks"
            torch.testing.assert_close(values[0], expected, rtol=loose * 1e-12, atol=loose * 1e-14, msg=name)
        else:  # of the rank's own rows or classes
            torch.testing.assert_close(torch.cat(values), expected, rtol=loose * 1e-10, atol=loose * 1e-13, msg=name)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.head}-{c.dtype}-{'sharded' if c.sharded else 'whole'}")
def test_ranks_equal_one_process(case: Case, world: int, ranks: dict[int, list[dict[str, Found]]]) -> None:
    parts = [rank[str(case)] for rank in ranks[world]]
    told = None
    if case.sharded and "sample_rate" in HEADS[case.head]:  # each rank draws for itself
        told = [torch.cat([part[f"{step}.swept"] for part in parts]) for step in range(STEPS)]
        for part in parts:
            del part["state.centers.sampling_state"]
    one = Case(case.head, case.dtype, False).run(slice(None), told)
    if told is not None:
        del one["state.centers.sampling_state"]
    cut = {name.partition(".")[2] for name in parts[0] if name.startswith("cut.")}
    if not case.sharded:  # every rank holds, and moves, all
        parts = [{name.replace("cut.", "state."): value for name, value in part.items()} for part in parts]
        parts = [{name: value for name, value in part.items() if "swept" not in name} for part in parts]
        one = {name.replace("cut.", "state."): value for name, value in one.items() if "swept" not in name}
    assert "centers.weight" in cut
    assert_equal(parts, one, loose=1.0 if case.dtype == torch.float64 else 1e7)


@pytest.mark.parametrize("world", WORLDS)
def test_each_rank_holds_its_part(world: int, ranks: dict[int, list[dict[str, Found]]]) -> None:
    for name in ("cut.centers.weight", "cut.auxiliary.center.centers"):
        sizes = [len(rank[str(Case("center", torch.float64, True))][name]) for rank in ranks[world]]
        assert sizes == {2: [15, 15], 4: [8, 8, 7, 7]}[world]


@pytest.mark.parametrize("world", WORLDS)
def test_distillation(world: int, ranks: dict[int, list[dict[str, Found]]]) -> None:
    assert_equal([rank["distillation"] for rank in ranks[world]], distil(slice(None), sharded=False))
