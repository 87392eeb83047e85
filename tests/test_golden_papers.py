"""Numbers of the authors' implementations: the margins with state, draws, penalties or nearest negatives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hyperarc.geometry import unit
from hyperarc.heads.head import Head, create_head

SWEEPS = ("reference", "chunked")
Golden = dict[str, np.ndarray]


def load(shared: Path, case: str) -> tuple[Golden, dict]:
    index = json.loads((shared / "golden" / "index.json").read_text())
    hyper = next(c for c in index["cases"] if c["id"] == case)["hyper"]
    with np.load(shared / "golden" / f"{case}.npz", allow_pickle=False) as file:
        return dict(file), hyper


def make(name: str, weight: np.ndarray, sweep: str, **arguments: object) -> Head:
    head = create_head(
        name, num_classes=len(weight), embedding_dim=weight.shape[1], sweep=sweep, memory_mb=0.002, **arguments
    ).double()
    head.centers.weight.data = torch.tensor(weight)[:, None]
    return head


def step(head: Head, golden: Golden, prefix: str = "") -> Tensor:
    """One forward and backward held to ``golden``; returns the loss."""
    embeddings = torch.tensor(golden[f"{prefix}emb"], requires_grad=True)
    labels = torch.tensor(golden[f"{prefix}labels"])
    head.zero_grad()
    loss = head(embeddings, labels).loss
    loss.backward()
    if head.margin.top_k == 0:
        logits = head.logits(embeddings, labels).detach()
        np.testing.assert_allclose(logits, golden[f"{prefix}logits"], rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(loss.item(), golden[f"{prefix}loss"], rtol=1e-9)
    theirs = golden[f"{prefix}grad_emb"]
    np.testing.assert_allclose(embeddings.grad, theirs, rtol=1e-6, atol=1e-9 * np.abs(theirs).max())
    theirs = golden[f"{prefix}grad_weight"]
    np.testing.assert_allclose(head.centers.weight.grad[:, 0], theirs, rtol=1e-6, atol=1e-9 * np.abs(theirs).max())
    return loss


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("case", ["curricularface_a", "curricularface_b"])
def test_curricularface_over_three_steps(shared: Path, case: str, sweep: str) -> None:
    golden, hyper = load(shared, case)
    head = make("curricularface", golden["weight"], sweep, margin=hyper["m"], scale=hyper["s"])
    head.margin.t.fill_(hyper["t_init"])
    for k in range(3):
        np.testing.assert_allclose(head.margin.t, golden[f"step{k}_t_before"], rtol=1e-12)
        step(head, golden, f"step{k}_")
        np.testing.assert_allclose(head.margin.t, golden[f"step{k}_t_after"], rtol=1e-12)


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("case", ["adaface_paper", "adaface_t1", "adaface_warm"])
def test_adaface_over_three_steps(shared: Path, case: str, sweep: str) -> None:
    golden, hyper = load(shared, case)
    chosen = {"margin": hyper["m"], "h": hyper["h"], "t_alpha": hyper["t_alpha"], "eps": hyper["eps"]}
    head = make("adaface", golden["weight"], sweep, scale=hyper["s"], **chosen)
    head.margin.batch_mean.fill_(hyper["batch_mean_init"])
    head.margin.batch_std.fill_(hyper["batch_std_init"])
    for k in range(3):
        step(head, golden, f"step{k}_")
        np.testing.assert_allclose(head.margin.batch_mean, golden[f"step{k}_batch_mean_after"], rtol=1e-12)
        np.testing.assert_allclose(head.margin.batch_std, golden[f"step{k}_batch_std_after"], rtol=1e-12)


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("case", ["magface_paper_easy", "magface_paper_noneasy", "magface_other"])
@pytest.mark.filterwarnings("ignore:magface. penalty_weight")
def test_magface(shared: Path, case: str, sweep: str) -> None:
    golden, hyper = load(shared, case)
    names = ("l_margin", "u_margin", "l_a", "u_a")
    beyond = "easy" if hyper["easy_margin"] else "threshold"
    head = make(
        "magface",
        golden["weight"],
        sweep,
        scale=hyper["s"],
        penalty_weight=hyper["lambda_g"],
        beyond_pi=beyond,
        **{name: hyper[name] for name in names},
    )
    step(head, golden)
    norm = torch.tensor(golden["emb"]).norm(dim=1)
    np.testing.assert_allclose(head.margin.margin_of(norm), golden["margins"][:, 0], rtol=1e-10)


def test_magface_tells_of_an_infeasible_penalty() -> None:
    with pytest.warns(UserWarning, match=r"penalty_weight 20 is below the bound 22\.59"):
        create_head("magface", num_classes=5, embedding_dim=4, penalty_weight=20)


ELASTIC = ["arc", "cos", "arc_plus", "cos_plus", "arc_wide", "arcface", "cosface"]


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("variant", ELASTIC)
def test_elasticface(shared: Path, variant: str, sweep: str, monkeypatch: pytest.MonkeyPatch) -> None:
    golden, hyper = load(shared, f"elasticface_{variant}")
    kind = "arc" if variant.startswith("arc") else "cos"
    plus = bool(hyper.get("plus"))
    chosen = {"kind": kind, "margin": hyper["m"], "sigma": hyper.get("std", 0.0), "plus": plus}
    head = make("elasticface", golden["weight"], sweep, scale=hyper["s"], assignment="released", **chosen)
    if "margin_draws" in golden:
        draws = torch.tensor(golden["margin_draws"])
        monkeypatch.setattr(head.margin, "draw", lambda cosine: draws)
    step(head, golden)
    if plus:
        cosine = (unit(torch.tensor(golden["emb"])) * unit(torch.tensor(golden["weight"]))[golden["labels"]]).sum(1)
        np.testing.assert_allclose(head.margin.assign(draws, cosine), golden["margin_applied_as_official"])
        head.margin.assignment = "paper"
        np.testing.assert_allclose(head.margin.assign(draws, cosine), golden["margin_applied_as_paper"])


def test_elasticface_draws_on_after_a_restart() -> None:
    ones, again = torch.ones(1000), create_head("elasticface", num_classes=4, embedding_dim=2).margin
    margin = create_head("elasticface", num_classes=4, embedding_dim=2).margin
    first = margin.draw(ones)
    assert abs(float(first.mean()) - 0.5) < 0.01
    assert abs(float(first.std()) - 0.05) < 0.005
    again.load_state_dict(margin.state_dict())
    second = margin.draw(ones)
    assert torch.equal(second, again.draw(ones))
    assert not torch.equal(first, second)
    assert margin.eval().draw(ones).unique().tolist() == [0.5]


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("case", ["am", "arc", "am_fixed", "arc_fixed", "am_hard", "arc_hard"])
def test_mv_softmax(shared: Path, case: str, sweep: str) -> None:
    golden, hyper = load(shared, f"svx_mv_{case}")
    head = make(
        "mv_softmax",
        golden["weight"],
        sweep,
        kind=case.split("_")[0],
        margin=hyper["margin"],
        t=hyper["t"],
        scale=hyper["scale"],
        reweight="fixed" if "fixed" in case else "adaptive",
        easy=hyper.get("easy_margin", "hard" not in case),
    )
    # the authors' head expects unit embeddings, and its gradient is in respect of those
    step(head, golden)


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("case", ["npt_k1", "npt_k6", "npt_all", "npt_negcos_bug", "npt_other"])
def test_npt(shared: Path, case: str, sweep: str) -> None:
    golden, hyper = load(shared, case)
    chosen = {"delta": hyper["delta"], "radius": hyper["r"], "top_k": hyper["top_k"]}
    step(make("npt", golden["weight"], sweep, exclude_target=False, **chosen), golden)
    paper = make("npt", golden["weight"], sweep, **chosen)
    loss = paper(torch.tensor(golden["emb"]), torch.tensor(golden["labels"])).loss
    np.testing.assert_allclose(loss.item(), golden["loss_paper_formula"], rtol=1e-10)


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("case", ["adam_softmax_a", "adam_softmax_b"])
def test_adaptiveface(shared: Path, case: str, sweep: str) -> None:
    golden, hyper = load(shared, case)
    head = make("adaptiveface", golden["weight"], sweep, scale=hyper["s"], penalty_weight=hyper["lamda"])
    head.margin.margins.data = torch.tensor(golden["margins_before"])
    step(head, golden)
    np.testing.assert_allclose(head.margin.margins.detach(), golden["margins_after"])
    np.testing.assert_allclose(head.margin.margins.grad, golden["grad_margins"], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("case", ["asoftmax_clcarwin_m2", "asoftmax_clcarwin_m4"])
def test_a_softmax(shared: Path, case: str, sweep: str) -> None:
    golden, hyper = load(shared, case)
    head = make("a_softmax", golden["weight"], sweep, margin=hyper["m"], base=1500.0, gamma=0.1)
    head.margin.iteration.fill_(hyper["it"] - 1)
    step(head, golden)
    assert int(head.margin.iteration) == hyper["it"]


def test_a_softmax_has_the_caffe_layers_loss(shared: Path) -> None:
    golden, hyper = load(shared, "asoftmax_caffe_m4")  # its gradients are not the true ones
    head = make("a_softmax", golden["weight"], "chunked", margin=4)
    head.margin.iteration.fill_(hyper["iter"] - 1)
    embeddings, labels = torch.tensor(golden["emb"]), torch.tensor(golden["labels"])
    loss = head(embeddings, labels).loss.item()
    np.testing.assert_allclose(head.logits(embeddings, labels).detach(), golden["logits"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(loss, golden["loss"], rtol=1e-9)


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("m", ["1p35", "1p7", "4p0"])
def test_sphereface_psi(shared: Path, m: str, sweep: str) -> None:
    golden, hyper = load(shared, f"sphereface_opensphere_m{m}")
    chosen = {"margin": hyper["m"], "scale": hyper["s"], "gradient": "straight_through"}
    head = make("sphereface", golden["weight_after"], sweep, **chosen)
    embeddings = torch.tensor(golden["emb"], requires_grad=True)
    labels = torch.tensor(golden["labels"])
    head(embeddings, labels).loss.backward()
    own = (unit(embeddings.detach()) * unit(torch.tensor(golden["weight_after"]))[labels]).sum(1)
    away = (own.abs() < 1 - 2e-5).numpy()  # OpenSphere clamps the cosine by 1e-5 before arccos
    assert away.sum() >= 12
    logits = head.logits(embeddings, labels).detach().numpy()
    np.testing.assert_allclose(logits[away], golden["logits"][away], rtol=1e-9, atol=1e-8)
    theirs = golden["grad_emb"][away]
    np.testing.assert_allclose(embeddings.grad[away], theirs, rtol=1e-6, atol=1e-9 * np.abs(theirs).max())


@pytest.mark.parametrize("case", ["mxnet_sphereface135", "adacosrepo_sphereface"])
def test_sphereface_raw(shared: Path, case: str) -> None:
    golden, hyper = load(shared, case)
    chosen = {"margin": hyper.get("m1", hyper.get("m", 1.35)), "scale": hyper["s"], "beyond_pi": "raw"}
    head = make("sphereface", golden["weight"], "chunked", **chosen)
    logits = head.logits(torch.tensor(golden["emb"]), torch.tensor(golden["labels"])).detach().numpy()
    np.testing.assert_allclose(logits, golden["logits"], rtol=1e-6, atol=1e-4)


def test_cosface_between_adafaces_clamps(shared: Path) -> None:
    """AdaFace's CosFace clamps all cosines by 1e-4, ours none: equal in every row without a cosine that far out."""
    golden, hyper = load(shared, "adafacerepo_cosface")
    head = make("cosface", golden["weight"], "chunked", margin=hyper["m"], scale=hyper["s"])
    embeddings, labels = torch.tensor(golden["emb"], requires_grad=True), torch.tensor(golden["labels"])
    logits = head.logits(embeddings, labels)
    torch.nn.functional.cross_entropy(logits, labels).backward()
    cosine = unit(embeddings.detach()) @ unit(torch.tensor(golden["weight"])).T
    free = (cosine.abs() < 1 - 1e-4).all(dim=1).numpy()
    assert free.sum() >= 12
    np.testing.assert_allclose(logits.detach()[free], golden["logits"][free], rtol=1e-9, atol=1e-9)
    theirs = golden["grad_emb"][free]
    np.testing.assert_allclose(embeddings.grad[free], theirs, rtol=1e-6, atol=1e-9 * np.abs(theirs).max())
    clamped = cosine.clamp(-1 + 1e-4, 1 - 1e-4)
    clamped[torch.arange(len(labels)), labels] -= hyper["m"]
    np.testing.assert_allclose(hyper["s"] * clamped, golden["logits"], rtol=1e-9, atol=1e-9)  # what theirs is


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("case", ["adacos_dynamic_a", "adacos_dynamic_b"])
def test_adacos_over_steps(shared: Path, case: str, sweep: str) -> None:
    golden, _ = load(shared, case)
    head = make("adacos", golden["weight"], sweep)
    steps = sorted({name.split("_")[0] for name in golden if name.startswith("step")})
    for k in steps:
        if f"{k}_s_before" in golden:
            np.testing.assert_allclose(head.margin.scale, golden[f"{k}_s_before"].squeeze(), rtol=1e-6)
            head.margin.scale.fill_(float(golden[f"{k}_s_before"].squeeze()))
        step(head, golden, f"{k}_")
        np.testing.assert_allclose(head.margin.scale, golden[f"{k}_s_after"].squeeze(), rtol=1e-9)


def test_a_softmax_without_annealing_is_pytorch_metric_learnings(shared: Path) -> None:
    golden, hyper = load(shared, "pml_sphereface")
    head = make("a_softmax", golden["weight"], "chunked", margin=hyper["margin"], base=0.0, lambda_min=0.0)
    embeddings = torch.tensor(golden["emb"], requires_grad=True)
    loss = head(embeddings, torch.tensor(golden["labels"])).loss
    loss.backward()
    np.testing.assert_allclose(loss.item(), golden["loss"], rtol=1e-9)
    theirs = golden["grad_emb"]
    np.testing.assert_allclose(embeddings.grad, theirs, rtol=1e-6, atol=1e-9 * np.abs(theirs).max())
