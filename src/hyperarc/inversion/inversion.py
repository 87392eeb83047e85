"""The search itself: pictures that begin as noise and end as what the model takes for the targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from hyperarc.errors import DataError, HyperArcError
from hyperarc.inversion.batch_norm import BatchNormPrior
from hyperarc.inversion.goals import Goal
from hyperarc.inversion.pixels import bounds_of
from hyperarc.inversion.priors import Priors, shortness, usual_length
from hyperarc.inversion.search import Search

if TYPE_CHECKING:
    from hyperarc.contract import Contract

Progress = Callable[[int, int, float], None]


@dataclass(eq=False)
class Inversion:
    """A batch of pictures on the way to their goal; it can be stopped after any step, saved and gone on with.

    The model is frozen and in eval mode, only the pictures move (ArcFace paper, section 3.3). Jitter and flips of a
    step depend on seed and step alone, so that a resumed search goes the way that it would have gone.

    Args:
        backbone: any that gradients flow through.
        contract: what the backbone expects.
        goal: a target for each picture.
        search, priors: how.
        device: where.

    Attributes:
        step: how many are done.

    Raises:
        HyperArcError, DataError: no BatchNorm to look at though it has a weight; targets of another dimension.

    Example:
        >>> from hyperarc.contract import Contract
        >>> from hyperarc.inversion.goals import EmbeddingGoal
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 5, 5), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(72, 4))
        >>> contract = Contract(height=16, width=16, embedding_dim=4)
        >>> search = Inversion(net, contract, EmbeddingGoal(torch.eye(4)[:2]), Search(iterations=40))
        >>> before = search.scores().mean()
        >>> bool(search.run().scores().mean() > before), search.images().shape
        (True, torch.Size([2, 3, 16, 16]))
    """

    backbone: nn.Module
    contract: Contract
    goal: Goal
    search: Search = field(default_factory=Search)
    priors: Priors = field(default_factory=Priors)
    device: torch.device | str = "cpu"
    step: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.device = torch.device(self.device)
        self.backbone = self.backbone.to(self.device).eval().requires_grad_(False)
        self.goal = self.goal.to(self.device)
        self._statistics = BatchNormPrior(self.backbone, self.priors) if self.priors.batch_norm else None
        self._length = usual_length(self.backbone, self.contract.embedding_dim) if self.priors.length else None
        self._bounds = bounds_of(self.contract, self.device)
        self._begin(self._noise())
        embeddings = self._embed(self.images()[:1])
        if embeddings.shape[1] != self.contract.embedding_dim:
            raise DataError(f"the model returns {embeddings.shape[1]} values, its contract says otherwise")
        targets = getattr(self.goal, "targets", None)
        if targets is not None and targets.shape[1] != embeddings.shape[1]:
            raise DataError(
                f"expected targets of {embeddings.shape[1]} values as this model's embeddings, got {targets.shape[1]}",
                mend="invert embeddings with the artifact that made them",
            )

    def run(self, steps: int | None = None, progress: Progress | None = None) -> Inversion:
        """Go on for so many steps, or to the end.

        Args:
            steps: at most so many.
            progress: called with (steps done, steps in all, loss).
        """
        last = self.search.iterations if steps is None else min(self.step + steps, self.search.iterations)
        while self.step < last:
            if self._variable.shape[2] != self._side(self.search.stage(self.step))[0]:
                self._begin(self._resized(self._variable.detach(), self._side(self.search.stage(self.step))))
            loss = self._advance()
            self.step += 1
            if progress is not None:
                progress(self.step, self.search.iterations, loss)
        return self

    def images(self) -> Tensor:
        """[N, 3, H, W] as the model sees them, detached."""
        return self._resized(self._variable.detach(), (self.contract.height, self.contract.width))

    @torch.no_grad()
    def scores(self) -> Tensor:
        """[N] cosines of the pictures as they are to their targets, by the contract's flip policy."""
        images = self.images()
        embeddings = self._embed(images)
        if self.contract.flip == "sum":
            embeddings = embeddings + self._embed(images.flip(3))
        return self.goal.cosine(embeddings).float().cpu()

    def state(self) -> dict[str, Tensor]:
        """All that going on needs, as plain tensors."""
        kept = self._optimizer.state.get(self._variable, {})
        moments = {name: kept[name] for name in ("exp_avg", "exp_avg_sq") if name in kept}
        steps = torch.tensor([self.step, int(kept["step"]) if kept else 0])
        return {"images": self._variable.detach(), "steps": steps, **moments}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a :meth:`state`.

        Raises:
            DataError: it is of another number or size of pictures.
        """
        images, (done, adam) = state["images"].to(self.device), state["steps"].tolist()
        if images.shape[:2] != self._variable.shape[:2]:
            raise DataError(f"expected a state of {len(self.goal)} pictures, got {list(images.shape)}")
        self.step = done
        self._begin(images)
        if adam:
            self._optimizer.state[self._variable] = {
                "step": torch.tensor(float(adam)),
                **{name: state[name].to(self.device) for name in ("exp_avg", "exp_avg_sq")},
            }

    def _begin(self, images: Tensor) -> None:
        """Let Adam begin with these pictures."""
        self._variable = images.clone().requires_grad_()
        self._optimizer = torch.optim.Adam([self._variable], lr=self.search.rate, betas=self.search.betas)

    def _noise(self) -> Tensor:
        """N(0, 1), as the paper begins."""
        generator = torch.Generator().manual_seed(self.search.seed)
        count = 1 if self.search.same_start else len(self.goal)
        noise = torch.randn(count, 3, *self._side(0), generator=generator).expand(len(self.goal), -1, -1, -1)
        return noise.to(self.device)

    def _side(self, stage: int) -> tuple[int, int]:
        factor = self.search.resolutions[stage]
        return max(1, round(factor * self.contract.height)), max(1, round(factor * self.contract.width))

    def _resized(self, images: Tensor, side: tuple[int, int]) -> Tensor:
        if tuple(images.shape[2:]) == side:
            return images
        return interpolate(images, side, mode="bilinear", align_corners=False)

    def _advance(self) -> float:
        self._optimizer.param_groups[0]["lr"] = self.search.rate_at(self.step)
        self._optimizer.zero_grad(set_to_none=True)
        images = self._resized(self._variable, (self.contract.height, self.contract.width))
        seen = self._moved(images)
        if self._statistics is None:
            embeddings = self._embed(seen)
        else:
            with self._statistics.watching():
                embeddings = self._embed(seen)
        loss = self.goal.loss(embeddings) + self.priors.of_images(images, self._bounds)
        if self._statistics is not None:
            loss = loss + self.priors.batch_norm * self._statistics.value()
        if self._length is not None:
            loss = loss + self.priors.length * shortness(embeddings, self._length)
        if not bool(loss.isfinite()):
            raise HyperArcError(
                f"the loss is {float(loss.detach())} at step {self.step}", mend="lower the rate or the weights"
            )
        loss.backward()
        self._optimizer.step()
        with torch.no_grad():
            self._variable.clamp_(self._bounds.low, self._bounds.high)
        return float(loss.detach())

    def _moved(self, images: Tensor) -> Tensor:
        """Shifted and mirrored as this step does."""
        generator = torch.Generator().manual_seed((self.search.seed + 1) * 1_000_003 + self.step)
        if self.search.jitter_px:
            most = self.search.jitter_px
            down, right = torch.randint(-most, most + 1, (2,), generator=generator).tolist()
            images = images.roll((down, right), (2, 3))
        if self.search.flip:
            count = 1 if self.search.same_start else len(images)
            mirrored = torch.rand(count, generator=generator).to(images.device) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        return images

    def _embed(self, images: Tensor) -> Tensor:
        device = torch.device(self.device).type
        with torch.autocast(device, torch.bfloat16, enabled=self.search.precision == "bf16"):
            embeddings: Tensor = self.backbone(images.contiguous(memory_format=torch.channels_last))
        return embeddings.float()
