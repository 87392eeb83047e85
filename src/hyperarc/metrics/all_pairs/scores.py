"""The score of a pair, the same number on every machine.

It is the dot product of the two unit vectors (fp32), without rounding errors inside, rounded to fp64 and then to fp32.
Neither the order of summation, nor blocks, threads or the device can change it. Matrix products, which do round as they
like, only sort out the pairs whose score is looked at.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hyperarc.metrics.all_pairs.tally import Scores
from hyperarc.metrics.inputs import FloatArray, IntArray

GATHERED = 256  # pairs gathered at a time: their vectors stay in the cache
DENSE = 32  # a gathered pair costs about as much as this many of a dense fp64 product


def exact_scores(rows: Tensor, columns: Tensor, r: IntArray, c: IntArray) -> Scores:
    """Scores of the pairs (rows[r[k]], columns[c[k]]).

    A product of two fp32 numbers is exact in fp64, and a sum of d of them, in any order, is off by at most d 2^-53
    times the sum of their sizes (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1), which is
    at most 1 for unit vectors. Where that could turn the rounding to fp32, the sum is taken exactly.

    Args:
        rows, columns: [n, d] and [m, d] unit vectors, fp32, on one device.
        r, c: [k] places in them.

    Example:
        >>> eye = torch.eye(3)
        >>> exact_scores(eye, eye, np.array([0, 1]), np.array([0, 2])).tolist()
        [1.0, 0.0]
    """
    if not r.size:
        return np.empty(0, dtype=np.float32)
    first, last = int(r.min()), int(r.max()) + 1
    if r.size * DENSE > (last - first) * len(columns):
        places = tuple(torch.from_numpy(p).to(rows.device) for p in (r - first, c))
        dots = (rows[first:last].double() @ columns.double().T)[places].cpu().numpy()
    elif rows.device.type == "cpu":
        dots = _gathered(rows.numpy(), columns.numpy(), r, c)
    else:
        at_r, at_c = (torch.from_numpy(places).to(rows.device) for places in (r, c))
        parts = zip(at_r.split(1 << 16), at_c.split(1 << 16), strict=True)
        dots = torch.cat([(rows[i].double() * columns[j].double()).sum(1) for i, j in parts]).cpu().numpy()
    slack = 1.001 * rows.shape[1] * 2.0**-53
    unsure = np.flatnonzero((dots - slack).astype(np.float32) != (dots + slack).astype(np.float32))
    for k in unsure.tolist():
        dots[k] = math.fsum((rows[int(r[k])].double() * columns[int(c[k])].double()).tolist())
    return np.asarray(dots.astype(np.float32))


def _gathered(rows: npt.NDArray[np.float32], columns: npt.NDArray[np.float32], r: IntArray, c: IntArray) -> FloatArray:
    dots = np.empty(r.size)
    for start in range(0, r.size, GATHERED):
        part = slice(start, start + GATHERED)
        np.einsum("kd,kd->k", rows[r[part]], columns[c[part]], dtype=np.float64, out=dots[part])
    return dots
