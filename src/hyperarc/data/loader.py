"""Batches of faces by global step: decoded once, in worker processes, exactly resumable."""

from __future__ import annotations

import mmap
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from hyperarc.data.face_set import FaceReader
from hyperarc.data.manifest import Manifest
from hyperarc.data.order import Order
from hyperarc.data.sources import Source
from hyperarc.data.verification import verify_faces
from hyperarc.errors import DataError
from hyperarc.faces.image import Pixels

__all__ = ["Batch", "Loader", "verify_faces"]


@dataclass(frozen=True)
class Batch:
    """The faces of one step.

    Attributes:
        step: global step.
        images: uint8 [N, 3, size, size], RGB, in channels_last memory; pinned when asked.
        labels: int64 [N].
        rows: row of each face in the manifest, int64 [N].
    """

    step: int
    images: torch.Tensor
    labels: torch.Tensor
    rows: npt.NDArray[np.int64]


class _Wish(NamedTuple):
    """What a worker is asked for; ``ready`` says which crops the cache held when it was asked."""

    step: int
    rows: npt.NDArray[np.int64]
    flips: npt.NDArray[np.bool_] | None
    ready: npt.NDArray[np.bool_]


class _Filled(NamedTuple):
    """What a worker answers; ``error`` instead of pixels when a face cannot be used."""

    wish: _Wish
    images: torch.Tensor | None
    error: DataError | None


@dataclass(frozen=True)
class Loader:
    """Iterates the batches of steps ``start_step ... stop_step - 1``.

    The batch of a step is a pure function of (manifest, order, step): any number of workers gives the same,
    and a run resumed at step k sees what the unbroken one would have seen. An order that learns from training is
    asked only as far as it knows its batches: workers wait there until the last known batch has been trained on.
    Conversion to float is left to the device.

    Args:
        sources: one source or several; the manifest's ``source`` column says which holds a face.
        manifest: the faces to train on; all rows must be kept (``manifest.kept()``).
        order: over ``len(manifest)`` rows.
        start_step: first step.
        stop_step: step to stop before; default the end of the epoch that ``start_step`` lies in.
        workers: processes that read and decode; 0 works in this one.
        prefetch: batches each worker keeps ahead (without workers there is nothing to keep ahead).
        pin_memory: page-locked batches, for asynchronous copies to a CUDA device.
        size: side of a crop in pixels.
        flip: mirror half of the faces, as the order draws them.
        cache_bytes: memory for decoded crops, 0 for none. Crops of the first ``cache_bytes // (3 size^2)``
            rows are kept once decoded, and later epochs (and later iterations of this loader) do not decode
            them again. Memory is taken as it fills, and forked workers share it. Batches already asked of
            workers when an epoch ends may decode a crop a second time; without workers that never happens.
        rank, world_size: which part of each global batch this process loads: contiguous, of equal length.
        start_method: of worker processes; default "fork" where there is one, else "spawn".

    Raises:
        DataError: order and manifest differ in length, a source of the manifest is missing, rows are not
            kept, a batch does not divide among the ranks; while iterating, a face unreadable or of another
            size, named.

    Example:
        >>> from hyperarc.data.order import BatchOrder
        >>> from hyperarc.data.sources import ArraySource
        >>> source = ArraySource(np.zeros((4, 112, 112, 3), np.uint8), ["a", "a", "b", "b"])
        >>> loader = Loader(source, source.scan(), BatchOrder(4, batch_size=2, seed=0))
        >>> [tuple(batch.images.shape) for batch in loader]
        [(2, 3, 112, 112), (2, 3, 112, 112)]
    """

    sources: Source | Sequence[Source]
    manifest: Manifest
    order: Order
    start_step: int = field(default=0, kw_only=True)
    stop_step: int | None = field(default=None, kw_only=True)
    workers: int = field(default=0, kw_only=True)
    prefetch: int = field(default=4, kw_only=True)
    pin_memory: bool = field(default=False, kw_only=True)
    size: int = field(default=112, kw_only=True)
    flip: bool = field(default=True, kw_only=True)
    cache_bytes: int = field(default=0, kw_only=True)
    rank: int = field(default=0, kw_only=True)
    world_size: int = field(default=1, kw_only=True)
    start_method: str | None = field(default=None, kw_only=True)
    _decoder: _Decoder = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._require_sound()
        cache = _Cache.of(self.cache_bytes, len(self.manifest), self.size)
        object.__setattr__(self, "_decoder", _Decoder(self, cache))

    def __len__(self) -> int:
        """Number of batches."""
        return max(0, self.last_step - self.start_step)

    @property
    def last_step(self) -> int:
        """The step iteration stops before."""
        if self.stop_step is not None:
            return self.stop_step
        return (self.order.epoch(self.start_step) + 1) * self.order.batches_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        cache = self._decoder.cache
        for filled in self._filled():
            if filled.error is not None:
                raise filled.error
            assert filled.images is not None
            rows = filled.wish.rows
            # Told only now, in this process: a worker that is asked later is asked through a pipe, so it sees
            # the pixels whatever the memory model of the machine.
            cache.ready[rows[rows < cache.slots]] = True
            labels = torch.from_numpy(self.manifest.labels[rows])
            if self.pin_memory:
                labels = labels.pin_memory()
            yield Batch(filled.wish.step, filled.images, labels, rows)

    def _filled(self) -> Iterator[_Filled]:
        wishes = _Wishes(self, self._decoder.cache)
        if self.workers == 0:
            while wishes.step < self.last_step:
                for wish in wishes:
                    filled = self._decoder[wish]
                    if self.pin_memory and filled.images is not None:
                        filled = filled._replace(images=filled.images.pin_memory())
                    yield filled
            return
        feed = DataLoader(
            self._decoder,
            batch_size=None,
            sampler=wishes,
            num_workers=self.workers,
            prefetch_factor=self.prefetch,
            collate_fn=_as_is,
            pin_memory=self.pin_memory,
            multiprocessing_context=self.start_method or _default_start_method(),
            persistent_workers=True,
            generator=torch.Generator(),  # else the number for seeding workers is taken from the training's own stream
        )
        while wishes.step < self.last_step:
            yield from feed

    def _require_sound(self) -> None:
        if self.order.count != len(self.manifest):
            raise DataError(
                f"expected an order over {len(self.manifest)} faces, got one over {self.order.count}",
                mend="BatchOrder(count=len(manifest), ...)",
            )
        left_out = int((~self.manifest.keep).sum())
        if left_out:
            raise DataError(
                f"expected only kept faces, got {left_out} left out", mend="pass manifest.kept().relabelled()"
            )
        if not 0 <= self.rank < self.world_size or self.order.batch_size % self.world_size:
            raise DataError(
                f"expected a batch size that divides among the ranks, got {self.order.batch_size} faces "
                f"for rank {self.rank} of {self.world_size}",
                mend="make the global batch size a multiple of the number of ranks",
            )
        if min(self.workers, self.cache_bytes, self.start_step) < 0 or min(self.prefetch, self.size) < 1:
            raise DataError("expected workers, cache_bytes, start_step >= 0 and prefetch, size >= 1", where="Loader")
        if self.pin_memory and not torch.cuda.is_available():
            raise DataError("expected a CUDA device to pin memory for, got none", mend="leave pin_memory off")
        method = self.start_method or _default_start_method()
        if self.cache_bytes and self.workers and method != "fork":
            raise DataError(
                f"expected forked workers to share a cache, got start_method={method!r}",
                mend="use workers=0, start_method='fork' or cache_bytes=0",
            )


class _Wishes:
    """The sampler: what to ask for at each step, made in the loading process as workers become free.

    Each iteration goes on from ``step`` to where the order knows its batches.
    """

    def __init__(self, loader: Loader, cache: _Cache) -> None:
        self.loader = loader
        self.cache = cache
        self.step = loader.start_step

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[_Wish]:
        loader, order = self.loader, self.loader.order
        known = max(order.known_until, self.step + 1)  # at least one: an order never told of its steps says so itself
        for step in range(self.step, min(loader.last_step, known)):
            self.step = step + 1
            rows = order.batch(step)
            share = -(-len(rows) // loader.world_size)
            part = slice(loader.rank * share, (loader.rank + 1) * share)
            mine = rows[part]
            ready = np.zeros(len(mine), np.bool_)
            inside = mine < self.cache.slots
            ready[inside] = self.cache.ready[mine[inside]]
            yield _Wish(step, mine, order.flips(step)[part] if loader.flip else None, ready)


@dataclass(frozen=True)
class _Cache:
    """Decoded crops of the first ``slots`` rows, in memory that forked workers share."""

    slots: int
    pixels: Pixels
    ready: npt.NDArray[np.bool_]

    @staticmethod
    def of(room_bytes: int, rows: int, size: int) -> _Cache:
        slots = min(room_bytes // (3 * size * size), rows)
        if slots == 0:
            return _Cache(0, np.empty((0, size, size, 3), np.uint8), np.zeros(0, np.bool_))
        # Anonymous shared pages: taken on first use, and not bounded by the small /dev/shm of containers.
        shared = mmap.mmap(-1, slots * 3 * size * size)
        pixels = np.frombuffer(shared, np.uint8).reshape(slots, size, size, 3)
        return _Cache(slots, pixels, np.zeros(slots, np.bool_))


class _Decoder(Dataset[_Filled]):
    """Turns a wish into pixels; runs in the workers."""

    def __init__(self, loader: Loader, cache: _Cache) -> None:
        self.size = loader.size
        self.cache = cache
        self.faces = FaceReader(loader.sources, loader.manifest)

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, wish: _Wish) -> _Filled:
        # Channels last in memory, and seen as channels first: no transposing copy of a batch.
        images = np.empty((len(wish.rows), self.size, self.size, 3), np.uint8)
        try:
            for i, row in enumerate(wish.rows.tolist()):
                face = self.cache.pixels[row] if wish.ready[i] else self._decode(row)
                images[i] = face[:, ::-1] if wish.flips is not None and wish.flips[i] else face
        except DataError as error:  # carried as a value: torch would bury it in a worker's traceback
            return _Filled(wish, None, error)
        return _Filled(wish, torch.from_numpy(images).permute(0, 3, 1, 2), None)

    def _decode(self, row: int) -> Pixels:
        face = self.faces.image(row)
        if face.shape != (self.size, self.size, 3):
            raise DataError(
                f"size mismatch: expected a face of {self.size}x{self.size} pixels, "
                f"got {face.shape[1]}x{face.shape[0]}",
                where=self.faces.where(row),
                mend="align first (hyperarc align), or verify_faces(..., size=...) to leave such faces out",
            )
        if row < self.cache.slots:
            self.cache.pixels[row] = face
        return face


def _as_is(filled: Any) -> Any:
    return filled


def _default_start_method() -> str:
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
