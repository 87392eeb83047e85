"""A safetensors file written block by block, so that tensors may be larger than memory, and lie in other processes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def in_order(tensors: Mapping[str, Tensor]) -> list[str]:
    """Names in the order in which they are written: wide types first, so that every tensor is aligned.

    Example:
        >>> in_order({"a": torch.zeros(1, dtype=torch.uint8), "b": torch.zeros(1)})
        ['b', 'a']
    """
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def write_tensors(path: Path, shapes: Mapping[str, Tensor], blocks: Iterable[Tensor]) -> None:
    """Write a safetensors file.

    Args:
        path: of the file.
        shapes: name -> a tensor of the shape and type, such as one on the meta device.
        blocks: contents of all tensors in the order of :func:`in_order`, each in one block or several.

    Example:
        >>> import tempfile
        >>> from safetensors.torch import load_file
        >>> path = Path(tempfile.mkdtemp()) / "two.safetensors"
        >>> write_tensors(path, {"w": torch.empty(3, 2, device="meta")}, [torch.ones(1, 2), torch.zeros(2, 2)])
        >>> load_file(path)["w"].tolist()
        [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    """
    header, end = {}, 0
    for name in in_order(shapes):
        first, end = end, end + shapes[name].numel() * shapes[name].element_size()
        kind, shape = _TYPES[shapes[name].dtype], list(shapes[name].shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [first, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for block in blocks:
            file.write(block.contiguous().flatten().view(torch.uint8).numpy().data)
