"""The four kernels of the fused sweep, in Triton: one forward, three backward.

Every kernel cuts its result into tiles, one program a tile, and each number is written by one program: there are no
atomics, and the same input gives the same bits. Centers [C, K, d] are read as they are; 1 / ||w|| is multiplied into
products and shares. ``PRECISION`` is what becomes of fp32 factors ("ieee", "tf32"); sums are always fp32.
"""

from __future__ import annotations

import os

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")
LEAST = tl.constexpr(-3.0e38)  # stands for no maximum yet; finite, so that differences are numbers


@triton.jit
def _dot(left, right, total, PRECISION: tl.constexpr):
    if INTERPRETED:  # the interpreter takes bf16 for integers
        left, right = left.to(tl.float32), right.to(tl.float32)
    return tl.dot(left, right, total, input_precision=PRECISION)


@triton.jit
def _cosine(
    x, w, inverse, row, has_row, cls, has_class, k,
    DIM: tl.constexpr, SUB: tl.constexpr, UNIT: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, CLASSES: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """<x_i, w_jk / ||w_jk||> of one tile."""
    total = tl.zeros((ROWS, CLASSES), tl.float32)
    center = cls.to(tl.int64) * SUB + k
    for start in range(0, DIM, DEPTH):
        at = start + tl.arange(0, DEPTH)
        left = x + row.to(tl.int64)[:, None] * DIM + at[None, :]
        right = w + center[None, :] * DIM + at[:, None]
        a = tl.load(left, mask=has_row[:, None] & (at < DIM)[None, :], other=0.0)
        b = tl.load(right, mask=has_class[None, :] & (at < DIM)[:, None], other=0.0)
        total = _dot(a, b.to(a.dtype), total, PRECISION)
    if UNIT:
        total *= tl.load(inverse + center, mask=has_class, other=0.0)[None, :]
    return total


@triton.jit
def _largest(
    x, w, inverse, row, has_row, cls, has_class,
    DIM: tl.constexpr, SUB: tl.constexpr, UNIT: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, CLASSES: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """The largest over the K sub-centers, and which it was."""
    best = _cosine(
        x, w, inverse, row, has_row, cls, has_class, 0, DIM, SUB, UNIT, PRECISION, ROWS, CLASSES, DEPTH
    )  # fmt: skip
    winner = tl.zeros((ROWS, CLASSES), tl.int32)
    for k in tl.static_range(1, SUB):
        other = _cosine(
            x, w, inverse, row, has_row, cls, has_class, k, DIM, SUB, UNIT, PRECISION, ROWS, CLASSES, DEPTH
        )  # fmt: skip
        winner = tl.where(other > best, k, winner)
        best = tl.maximum(best, other)
    return best, winner


@triton.jit
def _negative(cosine, row, has_row, threshold, tau, form):
    """The margin's map of the negatives and its slope, as hyperarc.margins.margin.NegativeForm says."""
    hard = tl.load(threshold + row, mask=has_row, other=0.0)[:, None]
    most = tl.load(tau + row, mask=has_row, other=0.0)[:, None]
    square, linear, constant, floor = tl.load(form), tl.load(form + 1), tl.load(form + 2), tl.load(form + 3)
    kept = tl.where(cosine > most, 0.0, cosine)
    value = tl.where(kept > hard, (square * kept + linear) * kept + constant, tl.maximum(kept, floor))
    slope = tl.where(kept > hard, 2.0 * square * kept + linear, tl.where(kept < floor, 0.0, 1.0))
    return value, tl.where(cosine > most, 0.0, slope)


@triton.jit
def _keep_nearest(cosine, cls, values, which, SLOTS: tl.constexpr):
    """Put what a tile has of the largest into the lists [ROWS, SLOTS]; seldom anything, so the loop seldom runs."""
    slot = tl.arange(0, SLOTS)[None, :]
    best, least = tl.max(cosine, axis=1), tl.min(values, axis=1)
    while tl.max((best > least).to(tl.int32), axis=0) > 0:
        better = (best > least)[:, None]
        found = tl.min(tl.where(cosine == best[:, None], cls[None, :], 2147483647), axis=1)
        replaced = better & (slot == tl.argmin(values, axis=1)[:, None])
        values = tl.where(replaced, best[:, None], values)
        which = tl.where(replaced, found[:, None], which)
        cosine = tl.where(better & (cls[None, :] == found[:, None]), -float("inf"), cosine)
        best, least = tl.max(cosine, axis=1), tl.min(values, axis=1)
    return values, which


@triton.jit
def sum_negatives(
    x, w, inverse, labels, scale, threshold, tau, form, mass, near, near_class,
    rows, classes, width, rows_about, classes_about,
    TOP: tl.constexpr, SLOTS: tl.constexpr, MAPS: tl.constexpr,
    DIM: tl.constexpr, SUB: tl.constexpr, UNIT: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, CLASSES: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """log2 sum_j exp2(logit_ij) over a run of ``width`` classes, and its ``TOP`` largest cosines with their classes.

    The true class is left out where it lies. ``scale`` is in units of log 2. ``rows_about`` and ``classes_about`` are
    what the tuning goes by.
    """
    tiles = tl.cdiv(rows, ROWS)
    run = tl.program_id(0) // tiles
    row = tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)
    has_row = row < rows
    label, factor = tl.load(labels + row, mask=has_row, other=-1), tl.load(scale)
    highest, total = tl.full((ROWS,), LEAST, tl.float32), tl.zeros((ROWS,), tl.float32)
    slot = tl.arange(0, SLOTS)[None, :]
    values = tl.where(slot < TOP, -float("inf"), float("inf")) + tl.zeros((ROWS, SLOTS), tl.float32)
    which = label[:, None] + tl.zeros((ROWS, SLOTS), tl.int32)
    last = tl.minimum((run + 1) * width, classes)
    for start in range(run * width, last, CLASSES):
        cls = start + tl.arange(0, CLASSES)
        has_class = cls < last
        cosine, _ = _largest(
            x, w, inverse, row, has_row, cls, has_class, DIM, SUB, UNIT, PRECISION, ROWS, CLASSES, DEPTH
        )  # fmt: skip
        counts = has_class[None, :] & (cls[None, :] != label[:, None])
        cosine = tl.where(counts, cosine, -float("inf"))
        values, which = _keep_nearest(cosine, cls, values, which, SLOTS)
        logit = cosine * factor
        if MAPS:
            value, _ = _negative(cosine, row, has_row, threshold, tau, form)
            logit = tl.where(counts, value * factor, -float("inf"))
        higher = tl.maximum(highest, tl.max(logit, axis=1))
        total = total * tl.exp2(highest - higher) + tl.sum(tl.exp2(logit - higher[:, None]), axis=1)
        highest = higher
    place = run.to(tl.int64) * rows + row
    tl.store(mass + place, highest + tl.log2(total), mask=has_row)
    kept = has_row[:, None] & (slot < TOP)
    tl.store(near + place[:, None] * TOP + slot, values, mask=kept)
    tl.store(near_class + place[:, None] * TOP + slot, which, mask=kept)


@triton.jit
def fill_shares(
    x, w, inverse, labels, scale, threshold, tau, form, taken, log_sum, factor, shares, along,
    rows, first, count, width, rows_about,
    MAPS: tl.constexpr, DIM: tl.constexpr, SUB: tl.constexpr, UNIT: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, CLASSES: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """d loss / d <x_i, w_jk> of the rows ``taken`` in the block of ``count`` classes from ``first``: [K, rows, width].

    ``along`` [row tiles, K, width] gets a tile's part of sum_i share_ij c_ij / ||w||, what the gradient has along w.
    """
    tiles = tl.cdiv(rows, ROWS)
    tile = tl.program_id(0) % tiles
    place = tile * ROWS + tl.arange(0, ROWS)
    has_row = place < rows
    row = tl.load(taken + place, mask=has_row, other=0)
    slot = tl.program_id(0) // tiles * CLASSES + tl.arange(0, CLASSES)
    has_class, cls = slot < count, first + slot
    cosine, winner = _largest(
        x, w, inverse, row, has_row, cls, has_class, DIM, SUB, UNIT, PRECISION, ROWS, CLASSES, DEPTH
    )  # fmt: skip
    logit = cosine
    if MAPS:
        logit, slope = _negative(cosine, row, has_row, threshold, tau, form)
    share = tl.exp2(logit * tl.load(scale) - tl.load(log_sum + row, mask=has_row, other=0.0)[:, None])
    share *= tl.load(factor + row, mask=has_row, other=0.0)[:, None]
    if MAPS:
        share *= slope
    label = tl.load(labels + row, mask=has_row, other=-1)
    stored = has_row[:, None] & has_class[None, :]
    share = tl.where(stored & (cls[None, :] != label[:, None]), share, 0.0)
    for k in tl.static_range(SUB):
        mine = tl.where(winner == k, share, 0.0)
        if UNIT:
            length = tl.load(inverse + cls.to(tl.int64) * SUB + k, mask=has_class, other=0.0)
            mine = (mine * length[None, :]).to(shares.dtype.element_ty).to(tl.float32)
            part = tl.sum(mine * cosine, axis=0) * length
            tl.store(along + (tile * SUB + k).to(tl.int64) * width + slot, part, mask=has_class)
        at = shares + (k * rows + place).to(tl.int64)[:, None] * width + slot[None, :]
        tl.store(at, mine.to(shares.dtype.element_ty), mask=stored)


@triton.jit
def move_centers(
    shares, along, x, w, taken, out,
    rows, first, count, width, tiles, rows_about,
    DIM: tl.constexpr, SUB: tl.constexpr, UNIT: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, CLASSES: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """The gradient [count, K, d] of a block's centers: sum_i share_ij x_i, less what would change their length."""
    depths = (DIM + DEPTH - 1) // DEPTH
    at = tl.program_id(0) % depths * DEPTH + tl.arange(0, DEPTH)
    k = tl.program_id(0) // depths % SUB
    slot = tl.program_id(0) // (depths * SUB) * CLASSES + tl.arange(0, CLASSES)
    has_class, has_depth = slot < count, at < DIM
    total = tl.zeros((CLASSES, DEPTH), tl.float32)
    for start in range(0, rows, ROWS):
        place = start + tl.arange(0, ROWS)
        has_row = place < rows
        row = tl.load(taken + place, mask=has_row, other=0).to(tl.int64)
        left = shares + (k * rows + place).to(tl.int64)[None, :] * width + slot[:, None]
        a = tl.load(left, mask=has_class[:, None] & has_row[None, :], other=0.0)
        b = tl.load(x + row[:, None] * DIM + at[None, :], mask=has_row[:, None] & has_depth[None, :], other=0.0)
        total = _dot(a, b, total, PRECISION)
    inside = has_class[:, None] & has_depth[None, :]
    if UNIT:
        length = tl.zeros((CLASSES,), tl.float32)
        for tile in range(0, tiles):
            length += tl.load(along + (tile * SUB + k).to(tl.int64) * width + slot, mask=has_class, other=0.0)
        center = w + ((first + slot).to(tl.int64) * SUB + k)[:, None] * DIM + at[None, :]
        total -= length[:, None] * tl.load(center, mask=inside, other=0.0)
    tl.store(out + (slot.to(tl.int64) * SUB + k)[:, None] * DIM + at[None, :], total, mask=inside)


@triton.jit
def move_rows(
    shares, w, out,
    rows, first, count, width, part, rows_about,
    DIM: tl.constexpr, SUB: tl.constexpr, PRECISION: tl.constexpr,
    ROWS: tl.constexpr, CLASSES: tl.constexpr, DEPTH: tl.constexpr,
):  # fmt: skip
    """sum_jk share_ijk w_jk over each ``part`` of a block's classes: [parts, rows, d], to be added up."""
    depths, tiles = (DIM + DEPTH - 1) // DEPTH, tl.cdiv(rows, ROWS)
    at = tl.program_id(0) % depths * DEPTH + tl.arange(0, DEPTH)
    place = tl.program_id(0) // depths % tiles * ROWS + tl.arange(0, ROWS)
    number = tl.program_id(0) // (depths * tiles)
    has_row, has_depth = place < rows, at < DIM
    total = tl.zeros((ROWS, DEPTH), tl.float32)
    last = tl.minimum((number + 1) * part, count)
    for start in range(number * part, last, CLASSES):
        slot = start + tl.arange(0, CLASSES)
        has_class = slot < last
        for k in tl.static_range(SUB):
            left = shares + (k * rows + place).to(tl.int64)[:, None] * width + slot[None, :]
            right = w + ((first + slot).to(tl.int64) * SUB + k)[:, None] * DIM + at[None, :]
            a = tl.load(left, mask=has_row[:, None] & has_class[None, :], other=0.0)
            b = tl.load(right, mask=has_class[:, None] & has_depth[None, :], other=0.0)
            total = _dot(a, b.to(a.dtype), total, PRECISION)
    into = out + (number * rows + place).to(tl.int64)[:, None] * DIM + at[None, :]
    tl.store(into, total, mask=has_row[:, None] & has_depth[None, :])
