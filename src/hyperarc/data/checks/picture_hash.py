"""Near copies of pictures among millions: short hashes find the candidates, the likeness of thumbnails decides.

**Likeness.** A thumbnail of 16 x 16 grey levels shows the middle of the face. Its discrete cosine transform without the
constant term, each coefficient multiplied by its frequency and the whole brought to length 1, is the descriptor; the
cosine of two descriptors is the correlation of the thumbnails' gradients. All aligned faces share light and dark where
eyes and mouth are, which makes plain thumbnails of different people alike; gradients are not.

**Hash.** The signs of the 96 lowest frequencies. 24 bands of some of these bits each are looked up; who shares a band
is a candidate. A mirror image changes the signs of the odd columns alone, so a band is looked up as the smaller of its
value and that of its mirror image, and mirrored copies are found in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperarc.data.checks.measures import THUMB, Floats32
from hyperarc.data.verification import Progress
from hyperarc.faces.image import Pixels

LIKENESS = 0.9
_BITS, _BANDS, _NEIGHBOURS = 96, 24, 64
_MOST_DIFFERENT = 26  # bits of 96; pairs of likeness 0.9 differ in 14 on average
_BLOCK = 1 << 15

Ints = npt.NDArray[np.int64]
Int8s = npt.NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class PicturePairs:
    """Pairs of pictures that are alike.

    Attributes:
        first, second: int64 [M], first < second.
        likeness: float32 [M], cosines of the descriptors.
        mirrored: bool [M], whether the one is like the mirror image of the other.
    """

    first: Ints
    second: Ints
    likeness: Floats32
    mirrored: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.first)


def near_pairs(descriptors: Int8s, limit: float = LIKENESS, progress: Progress | None = None) -> PicturePairs:
    """Pairs of pictures whose likeness, or that of one and the other's mirror image, reaches a limit.

    Every pair told of reaches the limit. Not every pair that reaches it is found: of those above 0.95 about 99.8 % are,
    of those between 0.9 and 0.95 about 95 %. Time and memory grow as N log N.

    Args:
        descriptors: int8 [N, 256]; see :func:`describe`. One that is 0 is like nothing.
        limit: of the likeness.
        progress: called with (bands done, bands in all).

    Example:
        >>> thumbs = np.random.default_rng(0).integers(0, 256, (50, 16, 16), np.uint8)
        >>> thumbs[7], thumbs[9] = thumbs[3] // 2 + 50, thumbs[3, :, ::-1]
        >>> pairs = near_pairs(describe(thumbs))
        >>> [(int(a), int(b), bool(m)) for a, b, m in zip(pairs.first, pairs.second, pairs.mirrored)]
        [(3, 7, False), (3, 9, True), (7, 9, True)]
    """
    bits = descriptors[:, _LOWEST] > 0
    packed = np.packbits(bits, axis=1)
    found = [_none()]
    for done, band in enumerate(_bands(len(descriptors)), 1):
        for first, second in _sharing(_keys(bits, band)):
            found.append(_alike(descriptors, packed, first, second, limit))
        if progress:
            progress(done, _BANDS)
    first, second, cosines, mirrored = (np.concatenate(column) for column in zip(*found, strict=True))
    _, once = np.unique(first * len(descriptors) + second, return_index=True)
    return PicturePairs(first[once], second[once], cosines[once], mirrored[once])


def describe(thumbs: Pixels) -> Int8s:
    """The descriptor of each thumbnail uint8 [N, 16, 16]: int8 [N, 256], the largest value 127, or 0 for a flat one.

    Example:
        >>> flat_and_step = np.zeros((2, 16, 16), np.uint8)
        >>> flat_and_step[1, :, 8:] = 99
        >>> np.abs(describe(flat_and_step)).max(1).tolist()
        [0, 127]
    """
    weighted = thumbs.reshape(len(thumbs), THUMB**2).astype(np.float32) @ _WEIGHTED_WAVES
    largest = np.abs(weighted).max(1, keepdims=True)
    return np.asarray(np.rint(np.where(largest > 1, 127 * weighted / np.maximum(largest, 1), 0)), dtype=np.int8)


def likeness(one: Int8s, other: Int8s) -> tuple[Floats32, npt.NDArray[np.bool_]]:
    """Likeness of each pair of descriptors [N, 256], and whether it is that of a mirror image.

    Example:
        >>> thumbs = np.random.default_rng(0).integers(0, 256, (1, 16, 16), np.uint8)
        >>> cosines, mirrored = likeness(describe(thumbs), describe(thumbs[..., ::-1]))
        >>> cosines.round(2).tolist(), mirrored.tolist()
        ([1.0], [True])
    """
    a, b = one.astype(np.float32), other.astype(np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", a, a) * np.einsum("nd,nd->n", b, b))
    straight, turned = ((a * b) @ _STRAIGHT_AND_MIRRORED).T
    return np.asarray(np.maximum(straight, turned) / np.maximum(lengths, 1)), np.asarray(turned > straight)


def _cosine_transform(size: int) -> Floats32:
    """The orthonormal DCT-II of a column."""
    order, place = np.arange(size)[:, None], np.arange(size) + 0.5
    rows = np.sqrt(2 / size) * np.cos(np.pi * order * place / size)
    rows[0] /= np.sqrt(2)
    return np.asarray(rows, dtype=np.float32)


_DOWN, _ACROSS = np.divmod(np.arange(THUMB**2), THUMB)
_FREQUENCY = np.hypot(_DOWN, _ACROSS).astype(np.float32)
_WAVES = _cosine_transform(THUMB)
_WEIGHTED_WAVES = np.ascontiguousarray(np.kron(_WAVES, _WAVES).T * _FREQUENCY)
_LOWEST = np.argsort(_FREQUENCY, kind="stable")[1 : _BITS + 1]
_ODD = _ACROSS % 2 == 1  # columns whose sign a mirror image changes
_STRAIGHT_AND_MIRRORED = np.where(_ODD, [[1.0], [-1.0]], 1.0).T.astype(np.float32)
_ODD_BITS = _ODD[_LOWEST]
_ODD_PACKED = np.packbits(_ODD_BITS)
_ONES = np.array([value.bit_count() for value in range(256)], np.uint8)


def _bands(count: int) -> Iterator[Ints]:
    """Which bits a band takes; one more than the logarithm of the count, so that few share one by chance."""
    rng = np.random.default_rng(0)
    width = min(max(count, 2).bit_length() + 1, 60)
    for _ in range(_BANDS):
        yield rng.permutation(_BITS)[:width]


def _keys(bits: npt.NDArray[np.bool_], band: Ints) -> Ints:
    places = np.int64(1) << np.arange(len(band), dtype=np.int64)
    keys = bits[:, band] @ places
    return np.asarray(np.minimum(keys, keys ^ int(_ODD_BITS[band] @ places)))


def _sharing(keys: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Pairs that share a key. Of a key of many only the nearest 64 in the order of rows are paired with each."""
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    for step in range(1, _NEIGHBOURS + 1):
        shared = np.flatnonzero(keys[step:] == keys[:-step])
        if not len(shared):
            return
        for start in range(0, len(shared), _BLOCK):
            some = shared[start : start + _BLOCK]
            yield order[some], order[some + step]


def _alike(
    descriptors: Int8s, packed: Pixels, first: Ints, second: Ints, limit: float
) -> tuple[Ints, Ints, Floats32, npt.NDArray[np.bool_]]:
    """Those pairs that reach the limit: hashes are compared before descriptors are."""
    apart = packed[first] ^ packed[second]
    near = np.minimum(_ONES[apart].sum(1), _ONES[apart ^ _ODD_PACKED].sum(1)) <= _MOST_DIFFERENT
    first, second = first[near], second[near]
    cosines, mirrored = likeness(descriptors[first], descriptors[second])
    alike = cosines >= limit
    return first[alike], second[alike], cosines[alike], mirrored[alike]


def _none() -> tuple[Ints, Ints, Floats32, npt.NDArray[np.bool_]]:
    return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.bool_)
