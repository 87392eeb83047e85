"""Names of the outputs of an ONNX file, read without the onnx package.

An ONNX file is a ``ModelProto`` of Protocol Buffers: its field 7 is the graph, the graph's field 12 is an output, and
an output's field 1 its name (onnx.proto). Every other field is stepped over.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hyperarc.errors import DataError

_GRAPH, _OUTPUT, _NAME = 7, 12, 1
_MOST_BYTES = 2**31  # Protocol Buffers hold no more
_FIXED = {1: 8, 5: 4}  # wire types of a fixed width, and their bytes


def output_names(path: Path) -> list[str]:
    """Names of the graph's outputs, in their order.

    Raises:
        DataError: the file is missing, or no ONNX file.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("larger than 2 GiB")
        model = memoryview(path.read_bytes())
        names = [
            bytes(name).decode()
            for graph in _fields(model, _GRAPH)
            for output in _fields(graph, _OUTPUT)
            for name in _fields(output, _NAME)
        ]
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path, mend="check the path") from error
    except (ValueError, IndexError) as error:
        raise DataError(f"expected an ONNX file, got something else ({error})", where=path) from error
    if not names:
        raise DataError("expected an ONNX file with a graph and outputs, found none", where=path)
    return names


def _fields(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """The contents of every field ``wanted`` of a message; these are all of wire type 2, bytes after their length."""
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        field, wire = key >> 3, key & 7
        if wire == 0:
            _, at = _number(message, at)
            continue
        if wire == 2:
            length, at = _number(message, at)
        elif wire in _FIXED:
            length = _FIXED[wire]
        else:
            raise ValueError(f"wire type {wire}")
        if at + length > len(message):
            raise ValueError("it ends early")
        if field == wanted and wire == 2:
            yield message[at : at + length]
        at += length


def _number(message: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        value, at = value | (byte & 127) << shift, at + 1
        if byte < 128:
            return value, at
    raise ValueError("a number of more than ten bytes")
