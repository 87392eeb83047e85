"""Which product sorts out the pairs fastest on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from hyperarc.metrics.all_pairs.layout import Layout
from hyperarc.metrics.all_pairs.plan import Plan
from hyperarc.metrics.all_pairs.products import Bf16, Fp32, Int8, OffsetInt8
from hyperarc.metrics.all_pairs.scores import exact_scores

MEASURED = 1024  # rows and columns of the product that is timed
FAR_BEHIND = 6.0
WORTH_MEASURING = 1 << 24  # pairs


def choose_product(precision: str, device: torch.device, layout: Layout, plan: Plan) -> Fp32:
    """The product of a precision; of several, or of all for ``auto``, the one that needs the least time for a pair.

    Timed are the product itself and the exact scoring of the pairs that its bound leaves in doubt, of which the sample
    tells how many there will be. With identification ``auto`` takes fp32 or bf16: the wide bound of int8 leaves too
    many candidates for each probe's best.
    """
    kinds = _kinds(precision, device, layout, plan)
    if len(kinds) == 1:
        return kinds[0](device)
    unit = torch.from_numpy(layout.probes.vectors.block(0, min(MEASURED, len(layout.probes)))).to(device)
    places = np.sort(np.random.default_rng(0).integers(len(unit), size=min(MEASURED, len(unit)), dtype=np.int64))
    scoring = _seconds(lambda: exact_scores(unit, unit, places, places[::-1])) / places.size
    best, least = kinds[0](device), float("inf")
    for kind in kinds:
        product = kind(device)
        rows, columns = product.rows(unit), product.columns(unit)
        some = product.rows(unit[:32])
        few = _seconds(lambda: product.multiply(some, columns), 2) / 32 / len(unit)  # noqa: B023
        if few > FAR_BEHIND * least:
            continue  # processors without instructions for it take many times as long
        seconds = _seconds(lambda: product.multiply(rows, columns)) / len(unit) ** 2  # noqa: B023
        seconds += _share_in_doubt(plan, product.bound(rows, columns, layout.dim)) * scoring
        if seconds < least:
            best, least = product, seconds
    return best


def _kinds(precision: str, device: torch.device, layout: Layout, plan: Plan) -> list[type[Fp32]]:
    whole: list[type[Fp32]] = [Int8]
    if device.type == "cpu":
        packed = hasattr(torch.ops.onednn, "qlinear_pointwise") and layout.dim <= 1024
        whole = [OffsetInt8, Int8] if packed and torch.backends.mkldnn.is_available() else [Int8]
    known: dict[str, list[type[Fp32]]] = {"fp32": [Fp32], "bf16": [Bf16], "int8": whole}
    if precision != "auto":
        return known[precision]
    if layout.impostors < WORTH_MEASURING:
        return [Fp32]
    return [Fp32, Bf16] if plan.wanted.identification else [Fp32, *whole, Bf16]


def _seconds(work: Callable[[], object], repeats: int = 3) -> float:
    least = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        least = min(least, time.perf_counter() - start)
    return least


def _share_in_doubt(plan: Plan, slack: float) -> float:
    """Share of the sampled impostors that would have to be scored exactly."""
    return sum(plan.share_near(window.low - slack, window.high + slack) for window in plan.windows)
