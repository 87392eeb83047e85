"""Checkpoint files as they lie on disk: what they are about, whether they are sound, and the rows of any classes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from hyperarc.errors import CheckpointError
from hyperarc.heads.shard import Cut
from hyperarc.parallel import rank, share, world_size
from hyperarc.training.snapshot import RANDOM, CutNames

FORMAT = "1"
_BLOCK_BYTES = 64 << 20  # read at a time, so that checking a file takes no memory


def shard_path(path: Path, number: int, count: int) -> Path:
    """Where the shard of a process lies, beside the checkpoint at ``path``.

    Example:
        >>> shard_path(Path("step-00000010.safetensors"), 0, 2).name
        'shard-00000010-0-of-2.safetensors'
    """
    return path.with_name(f"shard-{path.stem.removeprefix('step-')}-{number}-of-{count}.safetensors")


def belongs_to(shard: Path, checkpoints: list[Path]) -> bool:
    """Whether a shard is of one of the checkpoints' steps."""
    return shard.name.split("-")[1] in {path.stem.removeprefix("step-") for path in checkpoints}


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names and contents."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(_bytes(tensors[name]))
    return digest.hexdigest()


@dataclass(frozen=True)
class Saved:
    """A checkpoint on disk.

    Attributes:
        path: of its main file.
        about: what that says of itself.
        shards: digest of each shard beside it; none where one process wrote all.
    """

    path: Path
    about: dict[str, str]
    shards: list[str]

    @staticmethod
    def open(path: Path) -> Saved:
        """Look at a checkpoint; nothing but what it says of itself is read."""
        if not path.is_file():
            raise CheckpointError("no such checkpoint", where=path)
        with _reading(path) as file:
            about = file.metadata() or {}
        return Saved(path, about, json.loads(about.get("shards", "[]")))

    def paths(self) -> list[Path]:
        """The main file and the shards."""
        return [self.path, *(shard_path(self.path, i, len(self.shards)) for i in range(len(self.shards)))]

    def require_sound(self) -> None:
        """:class:`CheckpointError` unless the files hold what was written; processes share the shards among them."""
        for number, (path, expected) in enumerate(zip(self.paths(), [self.about["sha256"], *self.shards], strict=True)):
            if number and (number - 1) % world_size() != rank():
                continue
            if not path.is_file():
                raise CheckpointError("missing beside its checkpoint", where=path, mend=self._other())
            digest = hashlib.sha256()
            with _reading(path) as file:
                for name in sorted(file.keys()):
                    digest.update(name.encode())
                    for block in _blocks(file, name):
                        digest.update(_bytes(block))
            if digest.hexdigest() != expected:
                raise CheckpointError(
                    "damaged: its content does not match its digest", where=path, mend=self._other()
                )

    def read(self, is_cut: CutNames) -> dict[str, Tensor]:
        """All tensors; of those that are cut, the rows of the classes held here; the random state of this process."""
        cut, tensors = is_cut.cut, {}
        with _reading(self.path) as file:
            for name in file.keys():  # noqa: SIM118
                if cut.whole or not is_cut(name, file.get_slice(name).get_shape()):
                    tensors[name] = file.get_tensor(name)
                else:
                    tensors[name] = self._rows(file, name, slice(0, cut.classes), cut)
        if not self.shards:
            return tensors if rank() == 0 else {k: v for k, v in tensors.items() if not k.startswith(RANDOM)}
        found: dict[str, list[Tensor]] = {}
        for number, path in enumerate(self.paths()[1:]):
            held = share(cut.classes, number, len(self.shards))
            near = (held.start < cut.last and held.stop > cut.first) or number == 0  # of one at least, be it no row
            if not near and number != rank():
                continue
            with _reading(path) as file:
                for name in file.keys():  # noqa: SIM118
                    if name.startswith(RANDOM):
                        tensors |= {name: file.get_tensor(name)} if number == rank() else {}
                    elif near:
                        found.setdefault(name, []).append(self._rows(file, name, held, cut))
        return tensors | {name: torch.cat(parts) for name, parts in found.items()}

    def _rows(self, file: Any, name: str, held: slice, cut: Cut) -> Tensor:
        """Of a tensor that has a row for each of the classes ``held``, those of the cut."""
        rows = file.get_slice(name)
        count = rows.get_shape()[0]
        if count != held.stop - held.start:
            expected = f"expected {held.stop - held.start} classes in {name}, got {count}"
            raise CheckpointError(f"does not fit this run: size mismatch, {expected}", where=self.path)
        first = min(max(cut.first - held.start, 0), count)
        return rows[first : max(first, min(cut.last, held.stop) - held.start)]  # type: ignore[no-any-return]

    def _other(self) -> str:
        others = [p.name for p in sorted(self.path.parent.glob("step-*.safetensors")) if p != self.path]
        return f"resume from {others[-1]} instead" if others else "no other checkpoint is left; start again"


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"damaged: {error}", where=path, mend="resume from an older one beside it") from error


def _blocks(file: Any, name: str) -> Iterator[Tensor]:
    rows = file.get_slice(name)
    shape = rows.get_shape()
    if not shape:
        yield file.get_tensor(name)
        return
    few = max(1, _BLOCK_BYTES // max(1, 8 * torch.Size(shape[1:]).numel()))
    for first in range(0, shape[0], few):
        yield rows[first : first + few]


def _bytes(tensor: Tensor) -> Any:
    return tensor.flatten().view(torch.uint8).numpy().data
