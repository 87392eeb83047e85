"""Numbers of the original implementations: logits, loss and gradients."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from hyperarc.heads.head import Head, create_head

RAW = {"beyond_pi": "raw"}
STRAIGHT = {"beyond_pi": "raw", "gradient": "straight_through"}

# case -> margin, its arguments, sub-centers
CASES = {
    "if_arcface_combined": ("arcface", STRAIGHT, 1),
    "if_arcface_class": ("arcface", STRAIGHT, 1),
    "if_arcface_filter": ("arcface", {**STRAIGHT, "inter_class_filter": 0.3}, 1),
    "if_cosface_combined": ("cosface", {"margin": 0.4}, 1),
    "if_cosface_class": ("cosface", {"margin": 0.4}, 1),
    "if_cosface_filter": ("cosface", {"margin": 0.4, "inter_class_filter": 0.4}, 1),
    # with m3 > 0 arcface_torch's combined class is CosFace(m3)
    "if_combined_cm1_bug": ("cosface", {"margin": 0.2}, 1),
    "if2021_arcface_raw": ("arcface", RAW, 1),
    "if2022_arcface_threshold": ("arcface", {}, 1),
    "if2022_combined_threshold": ("arcface", {}, 1),
    "arcface_threshold_curricularrepo": ("arcface", {}, 1),
    "arcmargin_threshold": ("arcface", {}, 1),
    "arcmargin_easy": ("arcface", {"beyond_pi": "easy"}, 1),
    "adafacerepo_arcface": ("arcface", {"beyond_pi": "clip"}, 1),
    "mxnet_arcface": ("arcface", RAW, 1),
    "mxnet_cosface": ("cosface", {}, 1),
    "mxnet_cm1": ("combined", RAW, 1),
    "mxnet_cm2": ("combined", {"m1": 0.9, "m2": 0.4, "m3": 0.15, **RAW}, 1),
    "mxnet_cm_other": ("combined", {"m1": 1.1, "m2": 0.2, "m3": 0.1, **RAW}, 1),
    "mxnet_old_arcface_threshold": ("arcface", {}, 1),
    "mxnet_old_arcface_easy": ("arcface", {"beyond_pi": "easy"}, 1),
    "mxnet_norm_softmax": ("norm_softmax", {}, 1),
    "mxnet_norm_softmax_s20": ("norm_softmax", {"scale": 20}, 1),
    "mxnet_softmax_nobias": ("softmax", {}, 1),
    "mxnet_subcenter_K1": ("cosface", {}, 1),
    "mxnet_subcenter_K3": ("arcface", RAW, 3),
    "if_arcface_neg_labels": ("arcface", STRAIGHT, 1),
    "mxnet_sphereface135": ("combined", {"m1": 1.35, "m2": 0.0, "m3": 0.0, **RAW}, 1),
    "svx_norm_softmax": ("norm_softmax", {}, 1),
    "svx_arc_easy": ("arcface", {"beyond_pi": "easy"}, 1),
    "svx_arc_nothresh": ("arcface", RAW, 1),
    "adacosrepo_arcface": ("arcface", RAW, 1),
    "adacosrepo_cosface": ("cosface", {}, 1),
    "pml_arcface": ("arcface", {"margin": math.radians(28.64788975654116)}, 1),
    "pml_cosface": ("cosface", {}, 1),
    "pml_subcenter": ("arcface", {"margin": math.radians(28.64788975654116)}, 3),
    "svx_am": ("cosface", {}, 1),
    "svx_am_easy": ("cosface", {"easy": True}, 1),
}


def load(shared: Path, case: str) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    index = json.loads((shared / "golden" / "index.json").read_text())
    about = next(c for c in index["cases"] if c["id"] == case)
    with np.load(shared / "golden" / f"{case}.npz", allow_pickle=False) as file:
        return {name.removesuffix("_softmax"): values for name, values in file.items()}, about["hyper"]


def golden_head(golden: dict[str, np.ndarray], case: str, sweep: str, hyper: dict[str, object]) -> Head:
    margin, arguments, sub_centers = CASES[case]
    rows, dim = golden["weight"].shape
    arguments = dict(arguments)
    if margin != "softmax":
        arguments.setdefault("scale", hyper.get("s", hyper.get("scale", 64.0)))
    margin_name = "m3" if case == "if_combined_cm1_bug" else "m"
    if margin in ("arcface", "cosface") and margin_name in hyper:
        arguments.setdefault("margin", hyper[margin_name])
    head = create_head(
        margin,
        num_classes=rows // sub_centers,
        embedding_dim=dim,
        sub_centers=sub_centers,
        sweep=sweep,
        memory_mb=0.002,  # several blocks even for 10 classes
        **arguments,
    ).double()
    head.centers.weight.data = torch.tensor(golden["weight"]).view(-1, sub_centers, dim)
    return head


@pytest.mark.parametrize("sweep", ["reference", "chunked"])
@pytest.mark.parametrize("case", [case for case in CASES if case != "if_arcface_neg_labels"])
def test_logits_loss_and_gradients_are_the_originals(shared: Path, case: str, sweep: str) -> None:
    golden, hyper = load(shared, case)
    head = golden_head(golden, case, sweep, hyper)
    embeddings = torch.tensor(golden["emb"], requires_grad=True)
    labels = torch.tensor(golden["labels"])
    # MXNet divides by sqrt(sum x^2 + 1e-10), which leaves 1e-10 of angle and, at 0.002 rad, 1e-8 of logit
    tolerance = 1e-8 if case.startswith("mxnet") else 1e-9
    if "logits" in golden:  # pytorch-metric-learning's heads give the loss only
        logits = head.logits(embeddings, labels).detach().numpy()
        np.testing.assert_allclose(logits, golden["logits"], rtol=tolerance, atol=tolerance)
    out = head(embeddings, labels)
    out.loss.backward()
    np.testing.assert_allclose(out.loss.item(), golden["loss"], rtol=1e-9, atol=1e-10)
    weight_gradient = head.centers.weight.grad.view(golden["weight"].shape).numpy()
    for ours, theirs in ((embeddings.grad.numpy(), golden["grad_emb"]), (weight_gradient, golden["grad_weight"])):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-8 * np.abs(theirs).max())


def test_foreign_labels_get_no_margin(shared: Path) -> None:
    golden, _ = load(shared, "if_arcface_neg_labels")
    head = golden_head(golden, "if_arcface_neg_labels", "reference", {"s": 64.0})
    embeddings = torch.tensor(golden["emb"], requires_grad=True)
    logits = head.logits(embeddings, torch.tensor(golden["labels"]))
    np.testing.assert_allclose(logits.detach().numpy(), golden["logits"], rtol=1e-9, atol=1e-9)
    (logits * torch.tensor(golden["upstream_grad_logits"])).sum().backward()
    weight_gradient = head.centers.weight.grad[:, 0]
    for ours, theirs in ((embeddings.grad, golden["grad_emb"]), (weight_gradient, golden["grad_weight"])):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-6, atol=1e-9 * np.abs(theirs).max())
