"""The ArcFace paper's toy: a few people in two dimensions, where softmax and ArcFace can be looked at.

A network with embeddings of two dimensions learns eight drawn people by softmax; from there it is trained on, once by
softmax and once by ArcFace, equally long. (On a circle nobody can get past anybody, so that ArcFace from random weights
stays where its people happen to meet.)
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperarc.backbones import create_backbone
from hyperarc.contract import Contract
from hyperarc.data.drawn import NUISANCE_NAMES, DrawnSet, draw_set
from hyperarc.encoder import model_input
from hyperarc.geometry import unit
from hyperarc.heads.head import Head, create_head
from hyperarc.metrics.angles import angle
from hyperarc.report.toy_plots import PlaneEmbeddings

PEOPLE, FACES, SEED = 8, 64, 3
SHRINK = 4  # 112 px to 28: enough to tell eight people, and sixteen times as fast
STEPS, BATCH = 300, 64
FIRST_RATE, RATE = 0.1, 0.01
LOSSES: dict[str, dict[str, Any]] = {"softmax": {}, "arcface": {"scale": 16.0, "margin": 0.5}}

Tell = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Toy:
    """Embeddings by softmax and by ArcFace, and a face of each person, uint8 [112, 112, 3]."""

    clouds: list[PlaneEmbeddings]
    faces: list[npt.NDArray[np.uint8]]


def train_toy(tell: Tell, steps: int = STEPS) -> Toy:
    """Train the toy; less than a minute of one core. ``tell`` hears of (steps done, steps in all)."""
    drawn = draw_set(PEOPLE, FACES, seed=SEED)
    crops = model_input(torch.from_numpy(drawn.images).permute(0, 3, 1, 2), Contract(embedding_dim=2), "cpu")
    crops, labels = F.avg_pool2d(crops, SHRINK), torch.from_numpy(drawn.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        backbone = create_backbone("iresnet_tiny", embedding_dim=2, input_size=crops.shape[-1])
    first = create_head("softmax", num_classes=PEOPLE, embedding_dim=2, seed=SEED)
    run = Course(crops, labels, steps, tell)
    run.fit(backbone, first, FIRST_RATE)
    clouds = []
    for name, arguments in LOSSES.items():
        head = create_head(name, num_classes=PEOPLE, embedding_dim=2, seed=SEED, **arguments)
        head.centers.load_state_dict(first.centers.state_dict())
        further = copy.deepcopy(backbone)
        run.fit(further, head, RATE)
        clouds.append(_cloud(further, head, crops, labels))
    return Toy(clouds, _portraits(drawn))


def _portraits(drawn: DrawnSet) -> list[npt.NDArray[np.uint8]]:
    """Of each person the picture that shows most of the face: turned least, without mask and sunglasses."""
    yaw, mask, sunglasses = (drawn.nuisances[:, NUISANCE_NAMES.index(n)] for n in ("yaw", "mask", "sunglasses"))
    hidden = np.abs(yaw) + mask + sunglasses
    return [drawn.images[min(np.flatnonzero(drawn.labels == p), key=hidden.__getitem__)] for p in range(PEOPLE)]


@dataclass
class Course:
    """Trainings on the same crops [N, 3, S, S] and labels [N], ``steps`` each; ``tell`` hears of the steps of all."""

    crops: Tensor
    labels: Tensor
    steps: int
    tell: Tell
    done: int = 0

    def fit(self, backbone: nn.Module, head: Head, rate: float) -> None:
        """Plain SGD on random, randomly mirrored batches, the rate falling as a cosine."""
        parameters = [*backbone.parameters(), *head.parameters()]
        optimizer = torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        generator = torch.Generator().manual_seed(SEED)
        backbone.train()
        for _ in range(self.steps):
            rows = torch.randperm(len(self.labels), generator=generator)[:BATCH]
            mirrored = torch.rand(BATCH, 1, 1, 1, generator=generator) < 0.5
            batch = torch.where(mirrored, self.crops[rows].flip(3), self.crops[rows])
            optimizer.zero_grad()
            head(backbone(batch), self.labels[rows]).loss.backward()
            nn.utils.clip_grad_norm_(backbone.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            self.done += 1
            self.tell(self.done, (1 + len(LOSSES)) * self.steps)


@torch.no_grad()
def _cloud(backbone: nn.Module, head: Head, crops: Tensor, labels: Tensor) -> PlaneEmbeddings:
    backbone.eval()
    vectors = torch.cat([backbone(part) for part in crops.split(BATCH)])
    shown = unit(vectors) if head.margin.normalizes_embeddings else vectors
    first, second = torch.triu_indices(len(labels), len(labels), offset=1)
    degrees = np.rad2deg(angle(vectors[first].numpy(), vectors[second].numpy()))
    same = (labels[first] == labels[second]).numpy()
    title = "ArcFace, embeddings normalized" if head.margin.normalizes_embeddings else "Softmax"
    centers = head.centers.weight[:, 0].numpy()
    return PlaneEmbeddings(title, shown.numpy(), labels.numpy(), centers, degrees[same], degrees[~same])
