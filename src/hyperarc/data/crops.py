"""Crops for an encoder, read ahead: threads decode the next batches while one is being embedded."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperarc.contract import Contract
from hyperarc.data.face_set import FaceReader
from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels

_AHEAD = 4  # batches that wait decoded, or are being decoded

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CropBatch:
    """One batch.

    Attributes:
        rows: int64 [n] those asked for that could be read.
        crops: uint8 [n, H, W, 3], RGB.
        unreadable: the other rows, with why.
    """

    rows: Rows
    crops: Pixels
    unreadable: dict[int, DataError]


def read_crops(
    faces: FaceReader, batches: Iterable[Rows], contract: Contract, *, threads: int = 1
) -> Generator[CropBatch, None, None]:
    """Read batches of rows in their order, some batches ahead of whoever takes them.

    Args:
        faces: by row.
        batches: the rows of each batch.
        contract: says the size of the crops.
        threads: that decode at a time; the result does not depend on it.

    Raises:
        DataError: a face of another size than the contract's, by name. Unreadable faces are not raised but returned.

    Example:
        >>> from hyperarc.data.sources import ArraySource
        >>> source = ArraySource(np.zeros((3, 112, 112, 3), np.uint8), ["ann", "bob", "ann"])
        >>> reader = FaceReader(source, source.scan())
        >>> [batch.crops.shape for batch in read_crops(reader, [np.array([0, 1]), np.array([2])], Contract())]
        [(2, 112, 112, 3), (1, 112, 112, 3)]
    """
    pool = ThreadPoolExecutor(max(1, threads), thread_name_prefix="read")
    waiting: deque[tuple[Rows, list[Future[Pixels | DataError]]]] = deque()
    try:
        for rows in batches:
            waiting.append((rows, [pool.submit(_read, faces, int(row)) for row in rows]))
            if len(waiting) > _AHEAD:
                yield _batch(faces, contract, *waiting.popleft())
        while waiting:
            yield _batch(faces, contract, *waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def cut(rows: Rows, size: int) -> list[Rows]:
    """Rows in batches of ``size``, the last one smaller.

    Example:
        >>> [len(batch) for batch in cut(np.arange(5), 2)]
        [2, 2, 1]
    """
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _read(faces: FaceReader, row: int) -> Pixels | DataError:
    try:
        return faces.image(row)
    except DataError as error:
        return error


def _batch(
    faces: FaceReader, contract: Contract, rows: Rows, pending: list[Future[Pixels | DataError]]
) -> CropBatch:
    read: list[tuple[int, Pixels]] = []
    unreadable: dict[int, DataError] = {}
    for row, future in zip(rows.tolist(), pending, strict=True):
        crop = future.result()
        if isinstance(crop, DataError):
            unreadable[row] = crop
            continue
        if crop.shape[:2] != (contract.height, contract.width):
            raise DataError(
                f"expected a face of {contract.width}x{contract.height} pixels, got {crop.shape[1]}x{crop.shape[0]}",
                where=faces.where(row),
                mend="align the faces to the contract's size first",
            )
        read.append((row, crop))
    none = np.zeros((0, contract.height, contract.width, 3), np.uint8)
    crops = np.stack([crop for _, crop in read]) if read else none
    return CropBatch(np.array([row for row, _ in read], np.int64), crops, unreadable)
