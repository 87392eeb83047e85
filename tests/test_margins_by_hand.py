"""The margins without golden files: the papers' formulas as plain loops, and numbers of the authors' codes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from hyperarc.errors import HyperArcError
from hyperarc.heads.head import Head, create_head
from hyperarc.margins import create_margin

SWEEPS = ("reference", "chunked")
CLASSES, DIM = 7, 4
LABELS = [0, 3, 6, 2, 5, 1]


def batch() -> tuple[Tensor, Tensor]:
    """Embeddings [6, 4] and centers [7, 4]: three faces near their center, two far, the last opposite."""
    i = torch.arange(6 * DIM, dtype=torch.float64)
    j = torch.arange(CLASSES * DIM, dtype=torch.float64)
    embeddings = (2 * torch.sin(1.7 * i + 0.3)).view(6, DIM)
    weight = torch.cos(2.3 * j + 0.1 * j * j / 7).view(CLASSES, DIM)
    embeddings[:3] += 3 * weight[[0, 3, 6]]
    embeddings[5] = 0.3 * embeddings[5] - 3 * weight[1]
    return embeddings.requires_grad_(), weight


def head_of(name: str, weight: Tensor, sweep: str = "chunked", **arguments: object) -> Head:
    head = create_head(name, num_classes=CLASSES, embedding_dim=DIM, sweep=sweep, memory_mb=1e-3, **arguments).double()
    head.centers.weight.data = weight[:, None].clone()
    return head


# ---- the papers' formulas, one cosine at a time


def softmax(target: float, negatives: list[float]) -> float:
    """log(1 + sum_j exp(n_j - t)), the largest taken out so that nothing overflows."""
    largest = max(target, *negatives)
    return largest - target + math.log(sum(math.exp(z - largest) for z in (target, *negatives)))


def circle(c_y: float, others: list[float]) -> float:
    m, gamma = 0.25, 256.0
    positive = gamma * max(0, 1 + m - c_y) * (c_y - (1 - m))
    return softmax(positive, [gamma * max(0, c + m) * (c - m) for c in others])


def arcnegface(c_y: float, others: list[float]) -> float:
    m, alpha, sigma, s = 0.5, 1.2, 1.0, 64.0
    theta = math.acos(c_y)
    f = math.cos(theta + m) if theta + m < math.pi else c_y - m * math.sin(m)
    weights = [alpha * math.exp(-((c - f) ** 2) / (2 * sigma**2)) for c in others]
    return softmax(s * f, [s * (t * c + t - 1) for t, c in zip(weights, others, strict=True)])


def x2_softmax(c_y: float, others: list[float]) -> float:
    a, h, k, s = -0.9, 0.0, 0.65, 64.0
    f = a * (math.acos(c_y) - h) ** 2 + k
    return softmax(s * f, [s * c for c in others])


def sphereface_r_v1(c_y: float, others: list[float]) -> float:
    m, s = 1.4, 60.0
    f = math.cos(min(m * math.acos(c_y), math.pi))
    return softmax(s * f, [s * c for c in others])


def sphereface_r_v2(c_y: float, others: list[float]) -> float:
    m, s = 1.4, 60.0
    return softmax(s * c_y, [s * math.cos(math.acos(c) / m) for c in others])


def uniface(c_y: float, others: list[float]) -> float:
    m, s, b = 0.4, 64.0, math.log(10 * CLASSES)
    return math.log(1 + math.exp(b - s * (c_y - m))) + sum(math.log(1 + math.exp(s * c - b)) for c in others)


def sphereface2(c_y: float, others: list[float]) -> float:
    m, lam, t, w, r, b = 0.4, 0.7, 3, 50.0, 40.0, 13.548014876256929
    g = [2 * ((c + 1) / 2) ** t - 1 for c in (c_y, *others)]
    positive = math.log(1 + math.exp(-(r * (g[0] - m) + b)))
    negative = sum(math.log(1 + math.exp(r * (g_j + m) + b)) for g_j in g[1:])
    return w / r * (lam * positive + (1 - lam) * negative)


BY_HAND: dict[str, tuple[Callable[[float, list[float]], float], dict[str, object]]] = {
    "circle": (circle, {}),
    "arcnegface": (arcnegface, {}),
    "x2_softmax": (x2_softmax, {}),
    "sphereface_r": (sphereface_r_v2, {}),
    "sphereface_r v1": (sphereface_r_v1, {"version": "v1"}),
    "uniface": (uniface, {}),
    "sphereface2": (sphereface2, {}),
}


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("case", BY_HAND)
def test_loss_is_the_papers_formula(case: str, sweep: str) -> None:
    formula, arguments = BY_HAND[case]
    embeddings, weight = batch()
    losses = []
    for x, y in zip(embeddings.tolist(), LABELS, strict=True):
        cosines = []
        for w in weight.tolist():
            product = sum(a * b for a, b in zip(x, w, strict=True))
            cosines.append(product / math.sqrt(sum(a * a for a in x)) / math.sqrt(sum(b * b for b in w)))
        losses.append(formula(cosines[y], [c for j, c in enumerate(cosines) if j != y]))
    head = head_of(case.split()[0], weight, sweep, **arguments)
    loss = head(embeddings, torch.tensor(LABELS)).loss
    assert loss.item() == pytest.approx(sum(losses) / len(losses), rel=1e-6)  # b is kept in single precision


# ---- the authors' codes, run in double precision on the same batch


@dataclass(frozen=True)
class Original:
    """Loss, lengths of the gradients of all embeddings and all centers, and the gradient of embedding 4."""

    arguments: dict[str, object]
    loss: float
    to_embeddings: float
    to_weight: float | None
    row: list[float]


ORIGINALS = {
    # the port in FaceX-Zoo; the paper has no code
    "circle": Original(
        {},
        406.15748825902443,
        22.50599918642908,
        75.89872229378537,
        [-2.4098654548905962, 13.64967704187272, -5.917510177829133, 10.44335038105543],
    ),
    # loss.py of liuyuisanai/trojans-face-recognizer
    "arcnegface": Original(
        {},
        33.44247361776767,
        7.215244463767882,
        17.713308331325294,
        [0.26496171846308614, 0.429840520489538, 0.00579043143965835, 0.17387747284526667],
    ),
    # loss.py of XieZixiUSTC/X2-Softmax
    "x2_softmax": Original(
        {"gradient": "straight_through"},
        158.18222794157617,
        4.445963384469566,
        14.741660672775591,
        [-0.09287603335146688, 2.1067721734325384, -0.6394474360549993, 1.5470854520274258],
    ),
    # SphereFaceR_H and SphereFace2 of ydwen/opensphere at 032c31b
    "sphereface_r v1": Original(
        {"version": "v1"},
        51.31372991723678,
        3.4290030068285198,
        None,
        [-0.08707128126700114, 1.9750989125930056, -0.5994819713015631, 1.4503926112757117],
    ),
    "sphereface_r v2": Original(
        {"version": "v2"},
        41.17330056301916,
        3.4251253145013525,
        None,
        [-0.08707128738787051, 1.97509891645534, -0.599481978695543, 1.450392615290494],
    ),
    "sphereface2": Original(
        {},
        44.49338998226725,
        3.1540768748211656,
        None,
        [-0.1465910656842736, 1.1444460063677244, -0.46247989962478697, 0.8516751824455662],
    ),
    # head.py of CVI-SZU/UniFace
    "uniface": Original(
        {},
        95.02568398343699,
        7.490568775894851,
        31.655773333554038,
        [0.411625397605615, 2.5772032729000216, -0.2882342789564789, 1.759129721455933],
    ),
}
# name -> b at the start and its gradient
LEARNED = {"uniface": (4.248495101928711, -2.303943157196045), "sphereface2": (13.548014876256929, 0.6925014953219979)}


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("case", ORIGINALS)
def test_numbers_are_the_originals(case: str, sweep: str) -> None:
    original = ORIGINALS[case]
    embeddings, weight = batch()
    labels = torch.tensor(LABELS)
    if case == "uniface":  # the code holds exponents within [-s, s]; keep clear of that
        labels[5] = 5
    head = head_of(case.split()[0], weight, sweep, **original.arguments)
    loss = head(embeddings, labels).loss
    loss.backward()
    assert loss.item() == pytest.approx(original.loss, rel=1e-6)
    assert embeddings.grad.norm().item() == pytest.approx(original.to_embeddings, rel=1e-6)
    assert embeddings.grad[4].tolist() == pytest.approx(original.row, rel=1e-5, abs=1e-7)
    if original.to_weight is not None:  # OpenSphere normalizes its centers outside autograd
        assert head.centers.weight.grad.norm().item() == pytest.approx(original.to_weight, rel=1e-6)
    if case in LEARNED:
        assert (head.margin.b.item(), head.margin.b.grad.item()) == pytest.approx(LEARNED[case], rel=1e-6)


# ---- slopes, branch points and bad arguments


@pytest.mark.parametrize("name", ["circle", "arcnegface"])
def test_slope_of_a_weighted_negative_is_its_weight(name: str) -> None:
    margin = create_margin(name)
    cosine = torch.linspace(-1, 1, 41, dtype=torch.float64).requires_grad_()
    threshold = torch.tensor([[0.3]], dtype=torch.float64)
    (slope,) = torch.autograd.grad(margin.negative(cosine[None], threshold).sum(), cosine)
    if name == "circle":
        expected = [max(0.0, c + 0.25) for c in cosine.tolist()]
    else:
        expected = [1.2 * math.exp(-((c - 0.3) ** 2) / 2) for c in cosine.tolist()]
    assert slope.tolist() == pytest.approx(expected)
    assert margin.negative_slope(cosine[None], threshold)[0].tolist() == pytest.approx(expected)


def test_slope_of_circles_target_is_its_weight() -> None:
    cosine = torch.linspace(-1, 1, 41, dtype=torch.float64).requires_grad_()
    labels = torch.zeros(41, dtype=torch.long)
    (slope,) = torch.autograd.grad(create_margin("circle").target(cosine, cosine, labels).sum(), cosine)
    assert slope.tolist() == pytest.approx([1.25 - c for c in cosine.tolist()])


def test_circle_parts_two_classes_on_its_circle() -> None:
    m = 0.25
    margin = create_margin("circle", margin=m)
    turn = torch.linspace(0, math.pi / 2, 20, dtype=torch.float64)
    s_n, s_p = m * math.sqrt(2) * turn.cos(), 1 - m * math.sqrt(2) * turn.sin()
    target = margin.target(s_p, s_p, torch.zeros(20, dtype=torch.long))
    torch.testing.assert_close(margin.negative(s_n[:, None], None)[:, 0], target)


def test_gradient_of_the_threshold_is_the_finite_difference() -> None:
    embeddings, weight = batch()
    head = head_of("uniface", weight, negative_weight=0.3)
    head(embeddings, torch.tensor(LABELS)).loss.backward()
    gradient, step, losses = head.margin.b.grad.item(), 1e-6, []
    for b in (head.margin.b.item() + step, head.margin.b.item() - step):
        head.margin.b.data.fill_(b)
        losses.append(head(embeddings, torch.tensor(LABELS)).loss.item())
    assert gradient == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("balance", [0.1, 0.7, 0.9])
@pytest.mark.parametrize("classes", [2, 3, 8, 1000])
def test_sphereface2_starts_balanced_at_right_angles(classes: int, balance: float) -> None:
    margin = create_margin("sphereface2", balance=balance)
    margin.for_classes(classes)
    b = margin.b.double()
    right = torch.zeros(1, dtype=torch.float64)
    z_y = margin.scale * margin.target(right, right, right.long()) + b
    z_j = margin.scale * margin.negative(right, None) + b
    pull, push = balance * torch.sigmoid(-z_y), (1 - balance) * (classes - 1) * torch.sigmoid(z_j)
    torch.testing.assert_close(pull, push.detach(), rtol=1e-4, atol=0.0)


def test_binary_losses_of_far_cosines_are_exact() -> None:
    # torch's softplus drops e^-x beyond x = 20; the sweeps do not
    embeddings = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    weight = torch.tensor([[0.0, 1.0], [0.5, math.sqrt(0.75)]], dtype=torch.float64)
    for sweep in SWEEPS:
        head = create_head("uniface", num_classes=2, embedding_dim=2, sweep=sweep).double()
        head.centers.weight.data = weight[:, None].clone()
        head.margin.b.data.fill_(0.0)
        loss = head(embeddings, torch.tensor([0])).loss.item()
        expected = 25.6 + math.log1p(math.exp(-25.6)) + 32 + math.log1p(math.exp(-32))
        assert loss == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("circle", {"margin": 1.5}, "margin must be in"),
        ("arcnegface", {"sigma": 0.0}, "sigma must be positive"),
        ("x2_softmax", {"a": 0.9}, "a < 0"),
        ("x2_softmax", {"gradient": "analytical"}, "analytic"),
        ("sphereface_r", {"version": "v3"}, "v2"),
        ("sphereface_r", {"margin": 0.5}, "at least 1"),
        ("uniface", {"negative_weight": -1.0}, "negative_weight must be positive"),
        ("sphereface2", {"balance": 1.0}, "balance must be in"),
        ("sphereface2", {"t": 0.5}, "t must be at least 1"),
    ],
)
def test_bad_arguments_are_told(name: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(HyperArcError, match=message):
        create_margin(name, **arguments)
