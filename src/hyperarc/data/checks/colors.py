"""Whose red and blue are exchanged: skin says it face by face, the faces of a source say it together.

The redness x of skin (:func:`hyperarc.data.checks.measures.redness`) was measured on the 42,330 faces of six sets whose
colors are right: it lies around 0.17 with a standard deviation of 0.06; in one face of 200 it may be anything, by
colored light or a tinted print. Exchanging red and blue turns x into -x. So the evidence of a face is the logarithm of
f(-x) / f(x), with f the normal density mixed with that one in 200. A gray face has none, and no single face has more
than 7.2: blue light is possible, only rare.

How many files of a source are exchanged is not known before; it is found by expectation and maximization, as the share
that explains all its faces best. Where none are, one blue face is taken for blue light; where nearly all are, a reddish
one for a tinted print.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SURE = 0.95
_SKIN, _SPREAD, _ODD = 0.17, 0.06, 0.005
_FACES, _SHARE = 2.0, 0.05  # what is believed before the first face: as if 5 % of two faces had been exchanged
_ROUNDS = 200

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ColorOrders:
    """What the skin of N faces says of their color order.

    Attributes:
        probability: float64 [N], that red and blue are exchanged, by the face and its source.
        alone: float64 [N], the same from the face alone, both orders being as likely before.
        shares: of each source, the share of exchanged files.
    """

    probability: Floats
    alone: Floats
    shares: dict[int, float]

    @property
    def swapped(self) -> npt.NDArray[np.bool_]:
        """Those that are surely exchanged."""
        return np.asarray(self.probability >= SURE)

    @property
    def odd(self) -> npt.NDArray[np.bool_]:
        """Those whose own skin surely says the other order than what was decided."""
        return np.where(self.swapped, self.alone <= 1 - SURE, self.alone >= SURE)


def color_orders(redness: npt.ArrayLike, sources: npt.ArrayLike) -> ColorOrders:
    """Judge the color order of faces.

    Args:
        redness: [N].
        sources: number of the source that each face comes from, [N].

    Example:
        >>> orders = color_orders([-0.2, -0.1, -0.15, 0.2, 0.1, -0.01], [0, 0, 0, 1, 1, 1])
        >>> orders.swapped.tolist()
        [True, True, True, False, False, False]
    """
    evidence = swap_evidence(redness)
    codes = np.asarray(sources)
    probability = np.zeros(len(evidence))
    shares = {}
    for code in np.unique(codes).tolist():
        of_source = codes == code
        shares[code] = share = _swapped_share(evidence[of_source])
        probability[of_source] = _sigmoid(evidence[of_source] + np.log(share / (1 - share)))
    return ColorOrders(probability, _sigmoid(evidence), shares)


def swap_evidence(redness: npt.ArrayLike) -> Floats:
    """log f(-x) / f(x) of each redness x: above 0 where red and blue look exchanged.

    Example:
        >>> swap_evidence([0.17, 0.0, -0.17]).round(1).tolist()
        [-7.2, 0.0, 7.2]
    """
    x = np.asarray(redness, dtype=np.float64)
    return np.asarray(np.log(_density(-x) / _density(x)), dtype=np.float64)


def _density(x: Floats) -> Floats:
    normal = np.exp(-0.5 * ((x - _SKIN) / _SPREAD) ** 2) / (_SPREAD * np.sqrt(2 * np.pi))
    return np.asarray((1 - _ODD) * normal + _ODD, dtype=np.float64)


def _swapped_share(evidence: Floats) -> float:
    share = 0.5
    for _ in range(_ROUNDS):
        belief = _sigmoid(evidence + np.log(share / (1 - share)))
        before, share = share, (belief.sum() + _FACES * _SHARE) / (len(belief) + _FACES)
        if abs(share - before) < 1e-6:
            break
    return float(share)


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -50, 50))), dtype=np.float64)
