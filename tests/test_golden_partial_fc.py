"""Partial FC: numbers of the released PartialFC_V2, on one rank and on several, met by one process's head."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.nn.functional import cross_entropy

from hyperarc.heads.head import Head, create_head
from hyperarc.heads.sweep import UpdateInBackward
from hyperarc.parallel import share

RUNS = (
    "w1_full_arc",
    "w1_rate03_arc",
    "w1_rate_toosmall_cos",
    "w2_full_arc",
    "w2_rate05_cos",
    "w3_full_cos_filter",
)
Golden = dict[str, np.ndarray]


def load(shared: Path, case: str) -> tuple[Golden, dict[str, float]]:
    index = json.loads((shared / "golden" / "index.json").read_text())
    (hyper,) = (entry["hyper"] for entry in index["cases"] if entry["id"] == case)
    with np.load(shared / "golden" / f"{case}.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file}, hyper


def sweep_over(head: Head, classes: Tensor) -> None:
    """Let the head draw the classes that the original drew."""
    head.centers.select = lambda labels: classes  # type: ignore[method-assign]


def margin_of(hyper: dict[str, float]) -> tuple[str, dict[str, object]]:
    arguments: dict[str, object] = {"scale": hyper["s"]}
    if tau := hyper["interclass_filtering_threshold"]:
        arguments["inter_class_filter"] = tau
    if hyper["m3"] > 0:
        name, arguments["margin"] = "cosface", hyper["m3"]
    else:
        name = "arcface"
        arguments |= {"margin": hyper["m2"], "beyond_pi": "raw", "gradient": "straight_through"}
    return name, arguments


@pytest.mark.parametrize("sweep", ["reference", "chunked"])
@pytest.mark.parametrize("run", RUNS)
def test_loss_and_gradients_of_all_ranks(shared: Path, run: str, sweep: str) -> None:
    golden, hyper = load(shared, f"partialfc_{run}")
    ranks = range(int(hyper["world_size"]))
    name, arguments = margin_of(hyper)
    classes, dim = golden["weight"].shape
    head = create_head(name, num_classes=classes, embedding_dim=dim, sweep=sweep, **arguments).double()
    head.centers.weight.data = torch.tensor(golden["weight"])[:, None]
    drawn = [golden[f"rank{r}_weight_index"] + golden[f"rank{r}_class_start"] for r in ranks]
    chosen = torch.tensor(np.concatenate(drawn))
    sweep_over(head, chosen)
    embeddings = torch.tensor(golden["emb"], requires_grad=True)
    labels = torch.tensor(golden["labels"])
    out = head(embeddings, labels)
    out.loss.backward()
    logits = head.logits(embeddings.detach(), labels)[:, chosen].detach()
    of_rows = cross_entropy(logits, torch.searchsorted(chosen, labels), reduction="none")
    np.testing.assert_allclose(out.loss.item(), of_rows.mean(), rtol=1e-9)
    # the original's loss, not its gradient, is cut off at -log(1e-30) in every row
    np.testing.assert_allclose(of_rows.clamp_max(30 * math.log(10)).mean(), golden["rank0_loss"], rtol=1e-9)
    # the original's gather multiplies by the number of ranks, as DDP divides by it later
    theirs = np.concatenate([golden[f"rank{r}_grad_local_embeddings"] for r in ranks]) / len(ranks)
    np.testing.assert_allclose(embeddings.grad, theirs, rtol=1e-6, atol=1e-9 * np.abs(theirs).max())
    theirs = np.concatenate([golden[f"rank{r}_grad_local_weight"] for r in ranks])
    ours = head.centers.weight.grad[:, 0].numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9 * np.abs(theirs).max())


def rank_of_the_original(rank: int, shared: str, out: str) -> None:
    torch.set_num_threads(1)
    for run in (run for run in RUNS if run[:2] in ("w2", "w3")):
        golden, hyper = load(Path(shared), f"partialfc_{run}")
        world = int(hyper["world_size"])
        if rank >= world:
            continue
        dist.init_process_group("gloo", init_method=f"file://{out}/meet-{run}", rank=rank, world_size=world)
        classes, dim = golden["weight"].shape
        name, arguments = margin_of(hyper)
        head = create_head(name, num_classes=classes, embedding_dim=dim, sharded=True, **arguments).double()
        first = int(golden[f"rank{rank}_class_start"])
        assert head.centers.cut.first == first
        head.centers.weight.data = torch.tensor(golden["weight"])[first : head.centers.cut.last, None]
        sweep_over(head, torch.tensor(golden[f"rank{rank}_weight_index"]))
        rows = share(len(golden["emb"]), rank, world)
        embeddings = torch.tensor(golden["emb"])[rows].requires_grad_()
        loss = head(embeddings, torch.tensor(golden["labels"])[rows]).loss
        loss.backward()
        found = {"loss": loss.detach(), "embeddings": embeddings.grad, "weight": head.centers.weight.grad[:, 0]}
        torch.save(found, f"{out}/{run}-{rank}.pt")
        dist.destroy_process_group()


def test_every_rank_is_the_originals(shared: Path, tmp_path: Path) -> None:
    """The same numbers from as many processes as the original had, each with its classes and its rows."""
    mp.spawn(rank_of_the_original, args=(str(shared), str(tmp_path)), nprocs=3)
    for run in (run for run in RUNS if run[:2] in ("w2", "w3")):
        golden, hyper = load(shared, f"partialfc_{run}")
        for rank in range(int(hyper["world_size"])):
            found = torch.load(tmp_path / f"{run}-{rank}.pt", weights_only=True)
            theirs = golden[f"rank{rank}_grad_local_embeddings"] / hyper["world_size"]
            np.testing.assert_allclose(found["embeddings"], theirs, rtol=1e-6, atol=1e-9 * np.abs(theirs).max())
            theirs = golden[f"rank{rank}_grad_local_weight"]
            np.testing.assert_allclose(found["weight"], theirs, rtol=1e-6, atol=1e-9 * np.abs(theirs).max())
            assert found["loss"] == torch.load(tmp_path / f"{run}-0.pt", weights_only=True)["loss"]


@pytest.mark.parametrize("version", [1, 2])
def test_centers_move_as_in_the_original(shared: Path, version: int) -> None:
    """Momentum and decay move all rows in every step (2), or those not swept sleep (1, updated in backward)."""
    golden, hyper = load(shared, f"partialfc_sgd_v{version}")
    classes, dim = golden["weight_before"].shape
    head = create_head("cosface", num_classes=classes, embedding_dim=dim, scale=32.0, margin=0.35).double()
    head.centers.weight.data = torch.tensor(golden["weight_before"])[:, None].clone()
    optimizer = torch.optim.SGD(
        head.parameters(), lr=hyper["lr"], momentum=hyper["momentum"], weight_decay=hyper["weight_decay"]
    )
    if version == 1:
        head.update = UpdateInBackward(optimizer, head.centers.weight)
    for k in range(int(hyper["steps"])):
        sweep_over(head, torch.tensor(golden[f"step{k}_weight_index"]))
        embeddings = torch.tensor(golden[f"step{k}_emb"], requires_grad=True)
        optimizer.zero_grad()
        loss = head(embeddings, torch.tensor(golden[f"step{k}_labels"])).loss
        loss.backward()
        optimizer.step()
        np.testing.assert_allclose(loss.item(), golden[f"step{k}_loss"], rtol=1e-9)
        theirs = golden[f"step{k}_grad_emb"]
        np.testing.assert_allclose(embeddings.grad, theirs, rtol=1e-6, atol=1e-9 * np.abs(theirs).max())
        np.testing.assert_allclose(head.centers.weight.detach()[:, 0], golden[f"step{k}_weight_after"], atol=1e-8)
