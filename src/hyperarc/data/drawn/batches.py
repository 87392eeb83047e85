"""Many drawn faces, a few alike at a time."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from hyperarc.data.drawn.camera import Bytes
from hyperarc.data.drawn.head import SIZE, Floats, Knobs, Rows
from hyperarc.data.drawn.portrait import draw_portraits
from hyperarc.data.drawn.scene import NUISANCES
from hyperarc.data.drawn.traits import TRAITS

Progress = Callable[[int, int], None]
"""Called with (faces done, faces in all)."""

_AT_ONCE = 32  # faces drawn together: enough to spread the cost of a call, few enough for the cache
_REPORT = 8  # batches from one report of progress to the next


def draw_batches(identities: Floats, nuisances: Floats, seed: int, progress: Progress | None) -> tuple[Bytes, Floats]:
    """Pictures uint8 [N, 112, 112, 3] and landmarks float32 [N, 5, 2] of N faces."""
    count = len(identities)
    images = np.empty((count, SIZE, SIZE, 3), dtype=np.uint8)
    landmarks = np.empty((count, 5, 2), dtype=np.float32)
    _keep_memory()
    order = _alike(Knobs(tuple(NUISANCES), nuisances))
    for batch, start in enumerate(range(0, count, _AT_ONCE), start=1):
        rows = order[start : start + _AT_ONCE]
        traits, knobs = Knobs(tuple(TRAITS), identities[rows]), Knobs(tuple(NUISANCES), nuisances[rows])
        images[rows], landmarks[rows] = draw_portraits(traits, knobs, seed)
        done = start + len(rows)
        if progress is not None and (batch % _REPORT == 0 or done == count):
            progress(done, count)
    return images, landmarks


def _alike(n: Knobs) -> Rows:
    """An order in which faces that wear the same follow each other, by yaw.

    What only some wear is then drawn for few batches; and faces turned alike lie on the same pixels, so that the
    bands of the crop drawn for all of a batch stay narrow.
    """
    worn = 2 * (n["mask"] > 0).ravel() + (n["glasses"] + n["sunglasses"] > 0).ravel()
    return np.lexsort((n["yaw"].ravel(), worn))


@functools.cache
def _keep_memory() -> None:
    """Free one large block, after which glibc no longer hands every freed plane back to the system.

    A third of the drawing time would go into page faults otherwise; other allocators do not mind.
    """
    np.empty(31 << 20, dtype=np.uint8)
