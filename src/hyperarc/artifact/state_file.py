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

MOST_BYTES = 1 << 32  # an iresnet200 with the centers of 360,000 people, and the optimizer's twice that
SUFFIXES = (".pth", ".pt", ".ckpt", ".tar", ".bin", ".safetensors")
_NESTS = ("state_dict_backbone", "state_dict", "model_state_dict", "model", "backbone")  # keys of checkpoints


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors by name, on the CPU; where a checkpoint keeps them beside other things, those of its state dict.

    Raises:
        ArtifactError: missing, damaged, larger than 4 GiB, or anything but a state dict, such as a whole module.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ArtifactError(f"cannot be read: {error.strerror}", where=path) from error
    if path.suffix.lower() == ".safetensors":
        _require_size(size, path)
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ArtifactError(f"not a safetensors file, or damaged: {one_line(error)}", where=path) from error
    _require_size(size, path)
    if zipfile.is_zipfile(path):
        _look_into(path)
    return _state_in(_load(path), path)


def _look_into(path: Path) -> None:
    """Refuse a TorchScript module, and an archive that holds more than its size says."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise _damaged(path, error) from error
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise _no_state("it is a TorchScript module", path)
    _require_size(sum(member.file_size for member in members), path)


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        if foreign is None:
            raise _damaged(path, error) from error
        raise _no_state(f"it holds Python's {foreign[1]}", path) from error
    except Exception as error:  # of a file that is cut or was never torch's: RuntimeError, EOFError, KeyError, ...
        raise _damaged(path, error) from error


def _state_in(content: Any, path: Path) -> dict[str, Tensor]:
    for _ in _NESTS:
        held = content if isinstance(content, Mapping) else {}
        content = next((held[key] for key in _NESTS if isinstance(held.get(key), Mapping)), content)
    if not isinstance(content, Mapping) or not content:
        raise _no_state(f"it holds {'nothing' if isinstance(content, Mapping) else type(content).__name__}", path)
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or not _is_plain(value):
            raise _no_state(f"{repr(name)[:80]} in it is no plain tensor but {type(value).__name__}", path)
    return dict(content)


def _is_plain(tensor: Tensor) -> bool:
    """Dense, on the CPU, and no larger than what the file holds of it: some views stand for more than any memory."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _require_size(size: int, path: Path) -> None:
    if size > MOST_BYTES:
        raise ArtifactError(f"expected at most {MOST_BYTES:,} bytes of weights, got {size:,}", where=path)


def _no_state(why: str, path: Path) -> ArtifactError:
    return ArtifactError(
        f"expected a state dict, names and tensors alone: {why}",
        where=path,
        mend="if you trust the file and have its code, save model.state_dict() alone; or export it to ONNX",
    )


def _damaged(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"not a file of torch.save, or damaged: {one_line(error)[:300]}", where=path)
