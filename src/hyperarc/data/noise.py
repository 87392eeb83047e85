"""Wrong labels put in on purpose, with the truth kept, so that cleaning can be judged."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError

Labels = npt.NDArray[np.int64]


def flip_labels(
    labels: npt.NDArray[np.integer], rate: float, rng: np.random.Generator
) -> tuple[Labels, npt.NDArray[np.bool_]]:
    """Give a share of the rows the label of another person of the same set (closed-set noise).

    Args:
        labels: [N] whole numbers.
        rate: share of rows to change, 0..1; exactly ``round(rate * N)`` rows change.
        rng: where the draws come from.

    Returns:
        New labels [N] int64, and which rows changed [N] bool. Each wrong label is equally likely.

    Example:
        >>> new, wrong = flip_labels(np.repeat(np.arange(5), 4), 0.25, np.random.default_rng(0))
        >>> int(wrong.sum()), bool((new[wrong] != np.repeat(np.arange(5), 4)[wrong]).all())
        (5, True)
    """
    old = _checked(labels, rate)
    names, place = np.unique(old, return_inverse=True)
    count = round(rate * len(old))
    if count and len(names) < 2:
        raise DataError(
            f"expected two or more people to flip labels between, got {len(names)}", mend="set the rate to 0"
        )
    rows = rng.permutation(len(old))[:count]
    wrong = np.zeros(len(old), dtype=np.bool_)
    wrong[rows] = True
    new = old.copy()
    if count:
        step = rng.integers(1, len(names), size=count)
        new[rows] = names[(place[rows] + step) % len(names)]
    return new, wrong


def split_conflicts(
    labels: npt.NDArray[np.integer], rate: float, rng: np.random.Generator
) -> tuple[Labels, dict[int, int]]:
    """Cut a share of the people in two: about half of such a person's faces get a label of their own.

    Args:
        labels: [N] whole numbers.
        rate: share, 0..1, of the people with two or more faces (one face cannot be cut); exactly
            ``round(rate * that number)`` people are cut.
        rng: where the draws come from.

    Returns:
        New labels [N] int64, and for every new label the person it was cut from. New labels follow the largest
        old one without gaps.

    Example:
        >>> new, origin = split_conflicts(np.repeat(np.arange(4), 6), 0.5, np.random.default_rng(0))
        >>> sorted(origin), len(np.unique(new))
        ([4, 5], 6)
    """
    old = _checked(labels, rate)
    names, counts = np.unique(old, return_counts=True)
    able = names[counts >= 2]
    chosen = np.sort(rng.permutation(able)[: round(rate * len(able))])
    new = old.copy()
    origin: dict[int, int] = {}
    following = int(names.max()) + 1
    for label, person in enumerate(chosen.tolist(), start=following):
        rows = np.flatnonzero(old == person)
        new[rng.permutation(rows)[: len(rows) // 2]] = label
        origin[label] = person
    return new, origin


def _checked(labels: npt.NDArray[np.integer], rate: float) -> Labels:
    """The labels as int64, or a :class:`DataError`."""
    found = np.asarray(labels)
    if found.ndim != 1 or len(found) == 0 or not np.issubdtype(found.dtype, np.integer):
        raise DataError(f"expected labels as whole numbers [N], N >= 1, got {found.dtype} {list(found.shape)}")
    if not 0.0 <= rate <= 1.0:
        raise DataError(f"expected a rate from 0 to 1, got {rate}")
    return found.astype(np.int64)
