"""Files of features as MegaFace's and LFR2019's evaluations take them: a header of four int32, then float32.

A matrix of OpenCV's: rows, columns, bytes of a row, type 5 (float32), then the rows, all little-endian. MegaFace keeps
one column a face, in ``<image name>_<algorithm>.bin``; LFR2019 one file for all, a row a face.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.files import write_beside

_HEADER = struct.Struct("<4i")
_FLOAT32 = 5
Floats = npt.NDArray[np.float32]


def write_matrix(path: Path, matrix: npt.ArrayLike) -> None:
    """Write [rows, columns], whole or not at all.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "video.bin"
        >>> write_matrix(path, [[1.0, 2.0]])
        >>> len(path.read_bytes()), read_matrix(path).tolist()
        (24, [[1.0, 2.0]])
    """
    values = np.ascontiguousarray(matrix, "<f4")
    if values.ndim != 2 or 0 in values.shape:
        raise DataError(f"expected a matrix with rows and columns, got {list(values.shape)}", where=path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_beside(path) as beside, open(beside, "wb") as file:
        file.write(_HEADER.pack(*values.shape, 4 * values.shape[1], _FLOAT32))
        file.write(values.tobytes())


def map_matrix(path: Path) -> Floats:
    """The matrix [rows, columns] of a file, left there: numbers are read when they are looked at.

    Raises:
        DataError: missing, another kind of content, or cut off.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(_HEADER.size)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise DataError("no such file", where=path) from error
    header = _HEADER.unpack(content) if len(content) == _HEADER.size else (0, 0, 0, 0)
    rows, columns, step, kind = header
    if kind != _FLOAT32 or rows < 1 or columns < 1 or step != 4 * columns:
        raise DataError(f"expected a header (rows, columns, 4 x columns, 5), got {header}", where=path)
    if size != _HEADER.size + rows * step:
        raise DataError(f"{rows} x {columns} numbers need {_HEADER.size + rows * step} bytes, got {size}", where=path)
    return np.memmap(path, "<f4", "r", offset=_HEADER.size, shape=(rows, columns))


def read_matrix(path: Path) -> Floats:
    """The matrix [rows, columns] of a file; raises as :func:`map_matrix`."""
    return np.array(map_matrix(path), np.float32)


def feature_path(folder: Path, image: str, algorithm: str) -> Path:
    """Where the feature of an image lies.

    Example:
        >>> feature_path(Path("out"), "alice/alice_0.png", "r100").as_posix()
        'out/alice/alice_0.png_r100.bin'
    """
    return folder / f"{image}_{algorithm}.bin"


def write_features(folder: Path, images: Iterable[str], features: Floats, algorithm: str) -> None:
    """Write the feature of each image of a list, [images, d], as MegaFace's development kit reads them."""
    for image, feature in zip(images, features, strict=True):
        write_matrix(feature_path(folder, image, algorithm), feature[:, None])


def read_features(folder: Path, images: Sequence[str], algorithm: str) -> Floats:
    """The features [images, d] of a list.

    Raises:
        DataError: a file is missing or damaged, not one column, or of another length than the first.
    """
    found: list[Floats] = []
    for image in images:
        path = feature_path(folder, image, algorithm)
        feature = read_matrix(path)
        if feature.shape[1] != 1 or (found and len(feature) != len(found[0])):
            expected = f"{len(found[0])} x 1" if found else "one column"
            raise DataError(f"expected {expected}, got {feature.shape[0]} x {feature.shape[1]}", where=path)
        found.append(feature[:, 0])
    if not found:
        raise DataError("expected images, got none", where=folder)
    return np.stack(found)
