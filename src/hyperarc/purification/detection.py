"""How well noise was found, where the truth is known."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.metrics import auc, roc
from hyperarc.metrics.verification import Roc


@dataclass(frozen=True)
class Detection:
    """Noise found and missed.

    Attributes:
        wrong: faces that are noise.
        dropped: faces that were dropped.
        right: faces dropped that are noise.
        auc: area under the ROC over the angle: how often a noisy face lies further off than a clean one; NaN where
            there is no noise, or nothing else.
    """

    wrong: int
    dropped: int
    right: int
    auc: float

    @property
    def precision(self) -> float:
        """Share of the dropped faces that are noise; NaN where none was dropped."""
        return self.right / self.dropped if self.dropped else float("nan")

    @property
    def recall(self) -> float:
        """Share of the noise that was dropped; NaN where there is none."""
        return self.right / self.wrong if self.wrong else float("nan")

    def as_dict(self) -> dict[str, float | None]:
        """Everything for JSON; what is not a number becomes None."""
        numbers = {**asdict(self), "precision": self.precision, "recall": self.recall}
        return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def judge_detection(
    wrong: npt.NDArray[np.bool_], dropped: npt.NDArray[np.bool_], angles: npt.NDArray[np.floating]
) -> Detection:
    """Compare what was dropped with what is wrong, [N] each; ``angles`` [N] to the dominant centers.

    Example:
        >>> wrong, dropped = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
        >>> found = judge_detection(wrong, dropped, np.array([2.0, 1.0, 2.0, 0.5]))
        >>> found.precision, found.recall, found.auc
        (0.5, 0.5, 0.625)
    """
    if not wrong.shape == dropped.shape == angles.shape:
        raise DataError(f"expected as many of each, got {wrong.shape}, {dropped.shape} and {angles.shape}")
    both = bool(wrong.any() and not wrong.all())
    area = auc(angles[wrong], angles[~wrong]) if both else float("nan")
    return Detection(int(wrong.sum()), int(dropped.sum()), int((wrong & dropped).sum()), float(area))


def detection_curve(wrong: npt.NDArray[np.bool_], angles: npt.NDArray[np.floating]) -> Roc | None:
    """Share of the noise beyond each angle against the share of the clean faces, or None without both kinds."""
    return roc(angles[wrong], angles[~wrong]) if wrong.any() and not wrong.all() else None
