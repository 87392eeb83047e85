"""MATLAB files of level 5: numbers and lists of texts, which is what protocols keep in them. Nothing is run."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from hyperarc.errors import DataError

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _COMPRESSED = 14, 15
_CELL, _CHAR = 1, 4
_MOST_BYTES = 1 << 30


def read_mat(path: str | Path) -> dict[str, Any]:
    """The variables of a file by name: numeric arrays as flat NumPy arrays, cell arrays of texts as lists.

    Both are in MATLAB's order, column by column, so a column of a table comes as it stands. Other kinds are left out.

    Raises:
        DataError: missing, damaged, or not of level 5 (``-v7.3`` files are HDF5).

    Example:
        read_mat("probe_img_ID_pairs.mat")["probe_ids"]   # array([1, 1, 2, ...], dtype=uint16)
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError("no such file", where=path) from error
    if len(content) < 128 or content[126:128] not in (b"IM", b"MI"):
        raise DataError("expected a MATLAB file of level 5", where=path, mend="save it with -v7 in MATLAB")
    order = "<" if content[126:128] == b"IM" else ">"
    try:
        return dict(_variables(content[128:], order))
    except (struct.error, zlib.error, ValueError, UnicodeDecodeError, IndexError, KeyError) as error:
        raise DataError(f"damaged: {error}", where=path, mend="copy it again") from error


def _variables(content: bytes, order: str) -> Iterator[tuple[str, Any]]:
    for kind, data in _elements(content, order):
        if kind == _COMPRESSED:
            unpack = zlib.decompressobj()
            whole = unpack.decompress(data, _MOST_BYTES)
            if unpack.unconsumed_tail:
                raise ValueError(f"a variable of more than {_MOST_BYTES} bytes")
            yield from _variables(whole, order)
        elif kind == _MATRIX:
            name, value = _matrix(data, order)
            if value is not None:
                yield name, value


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of each element; small ones hold both in eight bytes."""
    place = 0
    while place + 8 <= len(content):
        first, size = struct.unpack_from(f"{order}II", content, place)
        if first >> 16:
            kind, size, start = first & 0xFFFF, first >> 16, place + 4
            place += 8
        else:
            kind, start = first, place + 8
            place = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > len(content):
            raise ValueError("it ends too early")
        yield kind, content[start : start + size]


def _matrix(data: bytes, order: str) -> tuple[str, Any]:
    (_, flags), _, (_, name), *parts = _elements(data, order)
    kind = struct.unpack_from(f"{order}I", flags)[0] & 0xFF
    if kind == _CELL:
        cells = [_matrix(cell, order)[1] for _, cell in parts]
        return name.decode("latin-1"), cells if all(isinstance(cell, str) for cell in cells) else None
    stored, values = parts[0] if parts else (2, b"")
    if kind == _CHAR:
        encoding = _TEXTS[stored] + ("-le" if order == "<" else "-be") * (_TEXTS[stored] in ("utf-16", "utf-32"))
        return name.decode("latin-1"), values.decode(encoding)
    if stored not in _NUMBERS:
        return name.decode("latin-1"), None
    return name.decode("latin-1"), np.frombuffer(values, np.dtype(order + _NUMBERS[stored])).astype(_NUMBERS[stored])
