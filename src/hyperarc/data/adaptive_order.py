"""Adaptive Data Sampling: faces that are hard come more often, faces that look like noise hardly ever.

Liu, Zhu, Lei, Li: "AdaptiveFace: Adaptive Margin and Sampling for Face Recognition", CVPR 2019 (ADS).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hyperarc.data.order import BatchOrder, Order, Places, epoch_generator, index_type
from hyperarc.errors import DataError
from hyperarc.recipe import AdaptiveSampler

Weights = npt.NDArray[np.float32]


class AdaptiveOrder(Order):
    """Faces come in proportion to weights that move with what the head says of them.

    All weights begin at 1. After ``warmup_epochs`` each face w of a step, with cosine c_y to its own center and c_j to
    the nearest other one, becomes

        correct,      c_y > c_j              max(floor, w * decrease)
        misclassified                        min(ceiling, max(floor, w * increase))
        suspected,    c_y < noise_cosine     max(floor * noise_factor, w * noise_factor), whatever else it is

    The paper gives the rule and no numbers. The ceiling, the lower floor of suspected faces (with the floor of all they
    would come as often as easy ones) and the warm-up (at first all faces are far from their center) are HyperArc's.

    The faces of an epoch are drawn at its beginning, from the weights as they stood then; what is observed in an epoch
    tells from the next one on. So batches do not depend on how far loader workers read ahead, and a resumed run sees
    those of the unbroken one: the state to keep is the weights now and those at the beginning of the epoch, 8 bytes a
    face. N draws are made for N faces, a face of weight w coming floor or ceil of N w / (sum of weights) times
    (systematic resampling), and shuffled. With equal weights that is each face once, in the very order of
    :class:`~hyperarc.data.order.BatchOrder`. As there, the draws that fill no batch are left out.

    Args:
        count: faces.
        batch_size: rows of one global batch.
        seed: of draws and flips.
        rule: the numbers above.

    Raises:
        DataError: fewer faces than a batch; steps of another epoch than the one that is being trained on.

    Example:
        >>> order = AdaptiveOrder(4, batch_size=2, rule=AdaptiveSampler(warmup_epochs=0))
        >>> for step in range(2):
        ...     rows = order.batch(step)
        ...     order.observe(step, rows, np.where(rows == 3, 0.3, 0.9), np.full(2, 0.5))  # row 3 is misclassified
        >>> print(order.weights)
        [0.8  0.8  0.8  1.25]
    """

    def __init__(self, count: int, batch_size: int, seed: int = 0, rule: AdaptiveSampler | None = None) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.rule = rule or AdaptiveSampler()
        self._batches = BatchOrder(count, batch_size, seed).batches_per_epoch  # refuses what is no order
        self._latest = {}
        self._epoch = 0
        self.weights: Weights = np.ones(count, np.float32)
        self._began = self.weights.copy()

    @property
    def batches_per_epoch(self) -> int:
        """Steps of one epoch."""
        return self._batches

    @property
    def known_until(self) -> int:
        """The end of the epoch that is being trained on."""
        return (self._epoch + 1) * self._batches

    def observe(
        self, step: int, rows: npt.NDArray[np.int64], target: npt.NDArray[np.float32], nearest: npt.NDArray[np.float32]
    ) -> None:
        """Move the weights of the rows; a face that comes twice in a batch is moved twice."""
        self._require_now(self.epoch(step))
        rule = self.rule
        if self._epoch >= rule.warmup_epochs:
            suspected = target < rule.noise_cosine
            factor = np.where(target > nearest, rule.decrease, rule.increase)
            factor[suspected] = rule.noise_factor
            least = np.where(suspected, rule.floor * rule.noise_factor, rule.floor)
            np.multiply.at(self.weights, rows, factor.astype(np.float32))
            self.weights[rows] = np.clip(self.weights[rows], least, rule.ceiling)
        if step + 1 == self.known_until:
            self._begin(self._epoch + 1, self.weights)

    def state_dict(self) -> dict[str, Tensor]:
        """The weights now and at the beginning of the epoch, and which epoch that is."""
        weights, began = torch.from_numpy(self.weights), torch.from_numpy(self._began)
        return {"weights": weights, "began": began, "epoch": torch.tensor(self._epoch)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put back what :meth:`state_dict` gave; another number of faces is a ValueError."""
        self.weights[:] = state["weights"].numpy()
        self._begin(int(state["epoch"]), state["began"].numpy())

    def _begin(self, epoch: int, weights: Weights) -> None:
        self._epoch = epoch
        self._began[:] = weights
        self._latest.clear()

    def _draw(self, epoch: int) -> Places:
        self._require_now(epoch)
        rng = epoch_generator(self.seed, epoch)
        shuffled = np.arange(self.count, dtype=index_type(self.count))
        rng.shuffle(shuffled)  # first, as BatchOrder does
        times = resample(self._began, rng.random())
        rows = np.repeat(np.arange(self.count), times)
        again = np.arange(self.count) - np.repeat(np.cumsum(times) - times, times)
        return (rows + self.count * again).astype(index_type(self.count * int(times.max())))[shuffled]

    def _require_now(self, epoch: int) -> None:
        if epoch != self._epoch:
            raise DataError(
                f"expected a step of epoch {self._epoch}, which is being trained on, got one of epoch {epoch}",
                mend="an adaptive order must observe every step before it draws the next epoch",
            )


def resample(weights: npt.NDArray[np.floating], offset: float) -> npt.NDArray[np.int64]:
    """How often each of N is drawn: floor or ceil of N w / (sum of weights), N in all (systematic resampling).

    Args:
        weights: [N], positive.
        offset: in [0, 1), where the comb of N equal steps begins.

    Example:
        >>> resample(np.array([1.0, 3.0, 1.0, 1.0]), 0.5).tolist()
        [1, 2, 0, 1]
    """
    reached = np.cumsum(weights, dtype=np.float64)
    reached *= len(weights) / reached[-1]
    reached[-1] = len(weights)
    # off the ends, so that rounding of the sums cannot move a draw from one of equal weights to the next
    steps = np.floor(reached + min(max(offset, 1e-6), 1 - 1e-6)).astype(np.int64)
    return np.diff(steps, prepend=0)
