"""A classifier of video features: the three fully connected layers of the iQIYI-VID pipeline of ArcFace's authors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import IntArray

Floats = npt.NDArray[np.float32]
_SCORED = 8192  # videos at a time


@dataclass(frozen=True)
class MlpPlan:
    """How the classifier is built and trained. The paper (Deng et al., CVPR 2019, table 9) says three layers and a
    classification loss; widths, activation and schedule are HyperArc's own.

    Attributes:
        width: of the two hidden layers; dropout: before the last layer.
        epochs, batch_size, lr, weight_decay: AdamW with a cosine schedule.
        seed: of weights and order.
        device: to train on.
    """

    width: int = 1024
    dropout: float = 0.5
    epochs: int = 40
    batch_size: int = 256
    lr: float = 1e-3
    weight_decay: float = 1e-4
    seed: int = 0
    device: str = "cpu"


class VideoMlp(nn.Module):
    """Linear, batch normalization, PReLU; twice; then a linear layer: [n, d] -> logits [n, people].

    Example:
        >>> VideoMlp(8, 3, MlpPlan(width=4)).eval()(torch.zeros(2, 8)).shape
        torch.Size([2, 3])
    """

    def __init__(self, dim: int, people: int, plan: MlpPlan) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dim, plan.width),
            nn.BatchNorm1d(plan.width),
            nn.PReLU(plan.width),
            nn.Linear(plan.width, plan.width),
            nn.BatchNorm1d(plan.width),
            nn.PReLU(plan.width),
            nn.Dropout(plan.dropout),
            nn.Linear(plan.width, people),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of unit video features; their entries are brought to a mean square of 1 first."""
        logits: torch.Tensor = self.layers(features * features.shape[1] ** 0.5)
        return logits


def train_mlp(features: Floats, people: IntArray, count: int, plan: MlpPlan) -> VideoMlp:
    """Train the classifier on the unit features [n, d] of videos of people 0..count-1.

    The same features and plan give the same classifier on one machine; the caller's random state is left alone.

    Raises:
        DataError: fewer than two videos or two people.
    """
    if len(features) < 2 or count < 2:
        raise DataError(f"expected videos of at least two people to train on, got {len(features)} of {count}")
    device = torch.device(plan.device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(plan.seed)
        model = VideoMlp(features.shape[1], count, plan).to(device).train()
        inputs, labels = torch.from_numpy(features).to(device), torch.from_numpy(people).to(device)
        size = min(plan.batch_size, len(features))
        steps = plan.epochs * (len(features) // size)
        optimizer = torch.optim.AdamW(model.parameters(), lr=plan.lr, weight_decay=plan.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(plan.epochs):
            # a last part smaller than the others is left out of this epoch: one video has no batch statistics
            for rows in torch.randperm(len(inputs)).to(device).split(size)[: len(inputs) // size]:
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(inputs[rows]), labels[rows]).backward()
                optimizer.step()
                schedule.step()
    return model.eval()


@torch.inference_mode()
def probabilities(model: VideoMlp, features: Floats) -> Floats:
    """Softmax probabilities [n, people] of videos.

    Example:
        >>> probabilities(VideoMlp(8, 2, MlpPlan(width=4)).eval(), np.zeros((1, 8), np.float32)).shape
        (1, 2)
    """
    device = next(model.parameters()).device
    parts = torch.from_numpy(features).split(_SCORED)
    return np.concatenate([model(part.to(device)).softmax(dim=1).cpu().numpy() for part in parts])
