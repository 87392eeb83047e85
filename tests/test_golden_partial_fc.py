"""Partial FC: numbers of the released PartialFC_V2, on one rank and on several, met by one process's head."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from hyperarc.heads.head import Head, create_head

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


@pytest.mark.parametrize("sweep", ["reference", "chunked"])
@pytest.mark.parametrize("run", RUNS)
def test_loss_and_gradients_of_all_ranks(shared: Path, run: str, sweep: str) -> None:
    golden, hyper = load(shared, f"partialfc_{run}")
    ranks = range(int(hyper["world_size"]))
    arguments: dict[str, object] = {"scale": hyper["s"]}
    if tau := hyper["interclass_filtering_threshold"]:
        arguments["inter_class_filter"] = tau
    if hyper["m3"] > 0:
        name, arguments["margin"] = "cosface", hyper["m3"]
    else:
        name = "arcface"
        arguments |= {"margin": hyper["m2"], "beyond_pi": "raw", "gradient": "straight_through"}
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


def test_centers_move_as_in_version_2(shared: Path) -> None:
    """Momentum and weight decay move all rows in every step, those not swept too."""
    golden, hyper = load(shared, "partialfc_sgd_v2")
    classes, dim = golden["weight_before"].shape
    head = create_head("cosface", num_classes=classes, embedding_dim=dim, scale=32.0, margin=0.35).double()
    head.centers.weight.data = torch.tensor(golden["weight_before"])[:, None].clone()
    optimizer = torch.optim.SGD(
        head.parameters(), lr=hyper["lr"], momentum=hyper["momentum"], weight_decay=hyper["weight_decay"]
    )
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
