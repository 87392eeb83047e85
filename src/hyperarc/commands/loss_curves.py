"""What margins and auxiliary losses do, as arrays: every number is an answer of the real class, no formula stands here.

Most curves look at one sample of a scene that every loss can be asked about: PEOPLE unit centers in DIM dimensions,
all but the own one in random directions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperarc.heads.auxiliary import create_auxiliary
from hyperarc.heads.shard import Cut, Shard
from hyperarc.margins import Margin, create_margin

PEOPLE, DIM = 1000, 512
NORMS = (10.0, 50.0, 90.0)  # of embeddings: of poor, middling and good pictures, to MagFace and AdaFace
SETTLED_STEPS = 2000
STEP = 0.01  # of the whole span, between neighbors of angles_deg: a step, not a slope
BEND = 5e-4  # of the whole span: less cannot be seen
DRAWS = 1000

Floats = npt.NDArray[np.float64]


def angles_deg(low: float = 0.0, high: float = 180.0) -> Floats:
    """Eight a degree, so that steps can be told from slopes."""
    return np.linspace(low, high, 8 * round(high - low) + 1)


def settled(name: str, **arguments: Any) -> Margin:
    """The margin after SETTLED_STEPS steps of one batch: angles of 60 degrees, norms of 50 +- 13."""
    margin = create_margin(name, **arguments)
    margin.for_classes(PEOPLE)
    margin = margin.double()
    cosine = torch.full((64,), 0.5, dtype=torch.float64)
    norm = torch.linspace(-23.0, 23.0, 64, dtype=torch.float64) + NORMS[1]
    with torch.no_grad():
        for _ in range(SETTLED_STEPS):
            margin.observe(cosine, norm)
        for _ in range(50 if margin.rescales else 0):
            margin.rescale(cosine, _log_sum(margin, cosine, norm))
    return margin.eval()


def target(margin: Margin, theta_deg: Floats, norm: float, labels: Tensor | None = None) -> Floats:
    """The margined target cosine over the angle; of margins that keep the embedding's norm, divided by it."""
    cosine = torch.from_numpy(np.deg2rad(theta_deg)).cos()
    size = _size(margin, norm)
    labels = torch.zeros(len(cosine), dtype=torch.long) if labels is None else labels
    with torch.no_grad():
        values: Floats = (margin.target(size * cosine, torch.full_like(cosine, norm), labels) / size).numpy()
    return values


def spread(margin: Margin, theta_deg: Floats, norm: float) -> tuple[Floats, Floats, Floats] | None:
    """5th, 50th and 95th percentile of the target while training, over draws and people; None where all are equal."""
    people = torch.arange(DRAWS) * PEOPLE // DRAWS
    margin.train()
    few = [target(margin, theta_deg, norm, person.expand(len(theta_deg))) for person in people[:: DRAWS // 4]]
    varied = any((one != few[0]).any() for one in few)
    rows = [target(margin, theta_deg, norm, person.expand(len(theta_deg))) for person in people] if varied else few
    margin.eval()
    low, middle, high = np.percentile(rows, (5, 50, 95), axis=0)
    return (low, middle, high) if varied else None


def sparse(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """A curve over ``angles_deg`` with the points that its shape needs, and every step as a gap (NaN)."""
    steps = np.flatnonzero(np.abs(np.diff(y)) > STEP * np.ptp(y))
    pieces = [_corners(y, piece) for piece in np.split(np.arange(y.size), steps + 1)]
    kept = np.concatenate(pieces)
    gaps = np.cumsum([piece.size for piece in pieces])[:-1]
    return np.insert(x[kept], gaps, x[steps]), np.insert(y[kept], gaps, np.nan)


def _corners(y: Floats, piece: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Places of ``piece`` between which the curve is straight (Douglas and Peucker, along y)."""
    kept, waiting = {0, piece.size - 1}, [(0, piece.size - 1)]
    while waiting:
        first, last = waiting.pop()
        straight = np.linspace(y[piece[first]], y[piece[last]], last - first + 1)
        off = np.abs(y[piece[first : last + 1]] - straight)
        if off.max() > BEND * np.ptp(y):
            middle = first + int(off.argmax())
            kept.add(middle)
            waiting += [(first, middle), (middle, last)]
    return piece[sorted(kept)]


def negative(margin: Margin, theta_deg: Floats, target_deg: float) -> Floats:
    """What becomes of a negative's cosine over its angle, for a sample at ``target_deg`` from its own center."""
    cosine = torch.from_numpy(np.deg2rad(theta_deg)).cos()
    size = _size(margin, NORMS[1])
    own = torch.full((1,), size * np.cos(np.deg2rad(target_deg)), dtype=torch.float64)
    mapped = margin.negative_map(own, torch.full_like(own, NORMS[1]))
    with torch.no_grad():
        values: Floats = (cosine if mapped is None else mapped(size * cosine[None])[0] / size).numpy()
    return values


def loss_and_gradient(margin: Margin, theta_deg: Floats, norm: float) -> tuple[Floats, Floats]:
    """Of one sample of the scene, over the angle to the own center: loss [T], and -d loss / d cosine / s [T]."""
    cosine = torch.from_numpy(np.deg2rad(theta_deg)).cos().requires_grad_()
    norms = torch.full_like(cosine, norm)
    size = _size(margin, norm)
    nearest = None
    if margin.top_k:
        nearest = (size * _others()).topk(margin.top_k).values.expand(len(cosine), -1)
    logit = margin.scale * margin.target(size * cosine, norms, torch.zeros(len(cosine), dtype=torch.long))
    loss = margin.loss(logit, _log_sum(margin, size * cosine.detach(), norms), nearest)
    (slope,) = torch.autograd.grad(loss.sum(), cosine)
    return loss.detach().numpy(), -slope.numpy() / (float(margin.scale) * size)


def two_numbers(margin: Margin, norms: Floats) -> tuple[Floats, Floats]:
    """Angular margin a in degrees and cosine margin b over the norm, of a target cos(theta + a) - b.

    Read off three angles: f(t - d) + f(t + d) = 2 cos(t + a) cos d - 2 b.
    """
    at, by = 60.0, 25.0
    answers = np.array([target(margin, np.array([at - by, at, at + by]), float(norm)) for norm in norms])
    shifted = ((answers[:, 0] + answers[:, 2]) / 2 - answers[:, 1]) / (np.cos(np.deg2rad(by)) - 1.0)
    return np.rad2deg(np.arccos(shifted)) - at, shifted - answers[:, 1]


def decision(margin: Margin, theta_deg: Floats, norm: float, weights: tuple[float, float]) -> tuple[Floats, Floats]:
    """[T, T] each: by how much the margined own cosine beats the other person's, for samples of person 1 and 2.

    Rows are theta_2, columns theta_1. ``weights`` are the centers' norms, for margins that do not normalize them.
    """
    cosine = _size(margin, norm) * torch.from_numpy(np.deg2rad(theta_deg)).cos()
    first, second = (1.0, 1.0) if margin.normalizes_centers else weights
    return _lead(margin, first * cosine, second * cosine, norm).T, _lead(margin, second * cosine, first * cosine, norm)


def _lead(margin: Margin, own: Tensor, other: Tensor, norm: float) -> Floats:
    """[own, other] the margined target product minus the mapped product with the other center."""
    norms = torch.full_like(own, norm)
    rivals = other[None].expand(len(own), -1)
    with torch.no_grad():
        mapped = margin.negative_map(own, norms)
        margined = margin.target(own, norms, torch.zeros(len(own), dtype=torch.long))[:, None]
        values: Floats = (margined - (rivals if mapped is None else mapped(rivals))).numpy()
    return values


def auxiliary(name: str, theta_deg: Floats) -> tuple[Floats, Floats]:
    """An auxiliary loss of two people in the plane, 48 samples each within about 25 degrees; its weight left out.

    First over the angle by which the samples of person 1 have left its center, towards person 2, whose center is 90
    degrees away. Then over the angle between the two people, all samples being around their own centers.
    """
    loss = create_auxiliary(name)
    around = 15.0 * torch.randn(2, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(2).repeat_interleave(48)

    def value(apart: float, off: float) -> float:
        samples = _on_circle(torch.cat([off + around[0], apart + around[1]]))
        return float(loss(samples, labels, Shard.whole(_on_circle(torch.tensor([0.0, apart]).double())[:, None])))

    def settle(apart: float) -> None:
        loss.for_classes(Cut.of(2), 2)
        loss.train()
        for _ in range(25 if list(loss.buffers()) else 0):  # running centers come to rest
            value(apart, 0.0)
        loss.eval()

    with torch.no_grad():
        settle(90.0)
        leaving = [value(90.0, float(off)) for off in theta_deg]
        moving = []
        for apart in theta_deg:
            settle(float(apart))
            moving.append(value(float(apart), 0.0))
    return np.array(leaving), np.array(moving)


def _size(margin: Margin, norm: float) -> float:
    """What a cosine is multiplied with before the margin sees it."""
    return 1.0 if margin.normalizes_embeddings else norm


def _others() -> Tensor:
    """Cosines to PEOPLE - 1 random centers: the quantiles of their distribution, N(0, 1 / DIM)."""
    places = (torch.arange(PEOPLE - 1, dtype=torch.float64) + 0.5) / (PEOPLE - 1)
    quantiles: Tensor = torch.special.ndtri(places)
    return quantiles / math.sqrt(DIM)


def _log_sum(margin: Margin, product: Tensor, norms: Tensor) -> Tensor:
    """n_i [N] of samples with these target products [N] in the scene."""
    others = (torch.ones_like(norms) if margin.normalizes_embeddings else norms)[:, None] * _others()
    mapped = margin.negative_map(product, norms)
    logits = margin.scale * (others if mapped is None else mapped(others))
    offset = margin.offset()
    return logits.logsumexp(dim=1) if offset is None else F.softplus(logits + offset).sum(dim=1)


def _on_circle(degrees: Tensor) -> Tensor:
    theta = torch.deg2rad(degrees)
    return torch.stack([theta.cos(), theta.sin()], dim=1)
