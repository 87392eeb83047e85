"""Whether faces would score better with red and blue exchanged: the most common fault of an evaluation.

A model fed with exchanged colors still recognizes faces, only worse, so nobody notices. A sample of the pairs is scored
both ways. How far genuine and impostor cosines lie apart is measured in their pooled standard deviation,

    separation = (mean genuine - mean impostor) / sqrt((variance genuine + variance impostor) / 2),

as it still tells models apart where the area under the ROC is nearly one. The other order is called better only if it
is so in nearly all resamples of the pairs (the paired bootstrap: both ways on the same pairs).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperarc.metrics.inputs import FloatArray
from hyperarc.protocols.pair_lists import Pairs

MOST = 200  # pairs of either kind that are looked at
FEWEST = 20  # below, chance says too much
_RESAMPLES = 1000
_CERTAIN = 0.99  # share of the resamples in which the other order is better


@dataclass(frozen=True)
class ColorOrder:
    """How a sample of pairs scores as it is and with red and blue exchanged.

    Attributes:
        separation: of the faces as they are, in standard deviations; exchanged: with red and blue exchanged.
        genuine, impostor: pairs looked at.
        certainty: share of resamples in which exchanged is the larger one.
    """

    separation: float
    exchanged: float
    genuine: int
    impostor: int
    certainty: float

    @property
    def exchanged_is_better(self) -> bool:
        """Whether it clearly is."""
        return self.certainty >= _CERTAIN

    def conditions(self) -> dict[str, str | int | float]:
        """As conditions of a result."""
        return {
            "separation": round(self.separation, 3),
            "separation_red_blue_exchanged": round(self.exchanged, 3),
            "red_blue_exchanged_better": self.exchanged_is_better,
        }

    def warning(self) -> str:
        """What to tell when :attr:`exchanged_is_better`."""
        return (
            f"these faces score better with red and blue exchanged: separation {self.exchanged:.2f} instead of "
            f"{self.separation:.2f} standard deviations over {self.genuine} genuine and {self.impostor} impostor "
            "pairs; if the model was trained with the other order, import it again with the other --color; "
            "if the files were written so, say color bgr in their manifest"
        )


def sample_pairs(pairs: Pairs, present: Container[str]) -> npt.NDArray[np.int64]:
    """Rows of at most 200 genuine and 200 impostor pairs whose faces are present, evenly over the list.

    No rows when there are fewer than 20 of a kind.

    Example:
        >>> pairs = Pairs("mine", ["a"] * 500, ["b"] * 500, [1, 0] * 250)
        >>> len(sample_pairs(pairs, {"a", "b"})), len(sample_pairs(pairs, {"a"}))
        (400, 0)
    """
    there = np.array([a in present and b in present for a, b in zip(pairs.first, pairs.second, strict=True)], np.bool_)
    kinds = [np.flatnonzero(there & kind) for kind in (pairs.same, ~pairs.same)]
    if min(map(len, kinds)) < FEWEST:
        return np.zeros(0, np.int64)
    spread = [rows[np.linspace(0, len(rows) - 1, min(MOST, len(rows))).astype(np.int64)] for rows in kinds]
    return np.sort(np.concatenate(spread))


def compare_color_orders(
    pairs: Pairs,
    rows: npt.NDArray[np.int64],
    given: Mapping[str, npt.NDArray[np.float32]],
    exchanged: Mapping[str, npt.NDArray[np.float32]],
) -> ColorOrder:
    """Compare the sampled pairs both ways; the same answer for the same pairs and embeddings.

    Args:
        pairs: whole list; rows: of :func:`sample_pairs`.
        given: key of a face to its embedding [d]; exchanged: to that of the same crop, red and blue exchanged.
    """
    genuine, impostor = rows[pairs.same[rows]], rows[~pairs.same[rows]]
    scores = [[_cosines(pairs, kind, embeddings) for kind in (genuine, impostor)] for embeddings in (given, exchanged)]
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, len(kind), (_RESAMPLES, len(kind))) for kind in (genuine, impostor)]
    as_is, other = (separation(*(s[d] for s, d in zip(score, drawn, strict=True))) for score in scores)
    whole, whole_exchanged = (float(separation(*score)) for score in scores)
    return ColorOrder(whole, whole_exchanged, len(genuine), len(impostor), float((other > as_is).mean()))


def separation(genuine: FloatArray, impostor: FloatArray) -> FloatArray:
    """Distance of the means of two lists of scores [..., n] in their pooled standard deviation; 0 of constant ones.

    Example:
        >>> float(separation(np.array([3.0, 5.0]), np.array([-1.0, 1.0])))
        4.0
    """
    pooled = np.sqrt((genuine.var(axis=-1) + impostor.var(axis=-1)) / 2)
    distance = genuine.mean(axis=-1) - impostor.mean(axis=-1)
    return np.asarray(np.divide(distance, pooled, out=np.zeros_like(distance), where=pooled > 0))


def _cosines(
    pairs: Pairs, rows: npt.NDArray[np.int64], embeddings: Mapping[str, npt.NDArray[np.float32]]
) -> FloatArray:
    first, second = (
        np.stack([embeddings[keys[row]] for row in rows]).astype(np.float64) for keys in (pairs.first, pairs.second)
    )
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.asarray(np.einsum("pd,pd->p", first, second) / np.maximum(norms, np.finfo(np.float64).tiny))
