"""A file of weights: a state dict that torch or safetensors saved, read without running anything of it."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from hyperarc.errors import ArtifactError
from hyperarc.onnx_session import one_line

MOST_BYTES = 1 << 32  # twice an iresnet200 with the centers of 360,000 people and their momentum
SUFFIXES = (".pth", ".pt", ".ckpt", ".tar", ".bin", ".safetensors")
_NESTS = ("state_dict", "model_state_dict", "model", "backbone")  # keys under which checkpoints keep a state dict


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors by name, on the CPU; where a checkpoint keeps them beside other things, those of its state dict.

    Raises:
        ArtifactError: missing, damaged, larger than 4 GiB, or anything but a state dict, such as a whole module.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}", where=path) from error
    if path.suffix == ".safetensors":
        _require_size(size, path)
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ArtifactError(f"not a safetensors file, or damaged: {one_line(error)}", where=path) from error
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            size = max(size, sum(entry.file_size for entry in archive.infolist()))
    _require_size(size, path)
    return _state_in(_load(path), path)


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        if foreign is None:
            raise _damaged(path, error) from error
        raise _no_state(f"it holds Python's {foreign[1]}", path) from error
    except Exception as error:  # of a file that is cut or was never torch's: RuntimeError, EOFError, KeyError, ...
        if "TorchScript" in str(error):
            raise _no_state("it is a TorchScript module", path) from error
        raise _damaged(path, error) from error


def _state_in(content: Any, path: Path) -> dict[str, Tensor]:
    for _ in range(3):
        inner = next((content[key] for key in _NESTS if _is_mapping(content) and _is_mapping(content.get(key))), None)
        if inner is None:
            break
        content = inner
    if not _is_mapping(content) or not content:
        raise _no_state(f"it holds a {type(content).__name__}", path)
    others = [name for name, value in content.items() if not isinstance(name, str) or not isinstance(value, Tensor)]
    if others:
        raise _no_state(f"{others[0]!r} in it is a {type(content[others[0]]).__name__}", path)
    return dict(content)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _require_size(size: int, path: Path) -> None:
    if size > MOST_BYTES:
        raise ArtifactError(f"expected at most {MOST_BYTES:,} bytes of weights, got {size:,}", where=path)


def _no_state(why: str, path: Path) -> ArtifactError:
    return ArtifactError(
        f"expected a state dict, names and tensors alone: {why}",
        where=path,
        mend="save model.state_dict() where the model's code is at hand, or export it to ONNX and import that",
    )


def _damaged(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"not a file of torch.save, or damaged: {one_line(error)[:300]}", where=path)
