"""Processes that torchrun started: how they meet, what must be true of them before the first step, how they end.

Whatever is wrong is said once, clearly and within a bounded time, before anything is trained.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from hyperarc.errors import HyperArcError, RecipeError
from hyperarc.parallel import everyones, rank, together, world_size
from hyperarc.recipe import Training

MEET_S = float(os.environ.get("HYPERARC_MEET_S", "120"))  # how long processes wait for the last one to come
_LOST = ("closed by peer", "Connection reset", "Broken pipe", "Timed out", "timed out", "NCCL")


@dataclass(frozen=True)
class Launch:
    """What torchrun told this process.

    Attributes:
        rank, world_size: which of how many processes.
        local_rank: which of this machine's.
        restarts: how often torchrun has started all processes again.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    restarts: int = 0

    @staticmethod
    def of_environment(environment: Mapping[str, str] | None = None) -> Launch:
        """From torchrun's variables; without them, a process by itself.

        Example:
            >>> Launch.of_environment({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"})
            Launch(rank=1, world_size=2, local_rank=1, restarts=0)
        """
        found = os.environ if environment is None else environment
        names = {"rank": "RANK", "world_size": "WORLD_SIZE", "local_rank": "LOCAL_RANK"}
        if "WORLD_SIZE" not in found:
            return Launch()
        try:
            values = {key: int(found[name]) for key, name in names.items()}
            return Launch(**values, restarts=int(found.get("TORCHELASTIC_RESTART_COUNT", "0")))
        except (KeyError, ValueError):
            told = ", ".join(f"{name}={found.get(name, 'unset')}" for name in names.values())
            raise HyperArcError(f"expected numbers from torchrun, got {told}", mend="start with torchrun") from None


@contextmanager
def joined(training: Training, launch: Launch) -> Iterator[None]:
    """The processes' work together; a process by itself just works.

    Raises:
        HyperArcError: a backend, interface or GPU that is not there; processes that do not come within ``MEET_S``
            seconds, by rank; a process that is lost later on.
    """
    if launch.world_size == 1:
        yield
        return
    backend = _backend(training, launch)
    _require_interface(backend)
    store = _meet(launch)
    try:
        dist.init_process_group(
            backend,
            store=store,
            rank=launch.rank,
            world_size=launch.world_size,
            timeout=timedelta(seconds=training.timeout_s),
        )
    except (RuntimeError, ValueError) as error:
        raise HyperArcError(f"{backend} could not connect: {_first_line(error)}", where=_who(launch)) from error
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error) for words in _LOST):
            raise
        raise HyperArcError(
            f"lost another process: {_first_line(error)}",
            where=_who(launch),
            mend="see its own message; torchrun --max-restarts goes on from the last checkpoint",
        ) from error
    finally:
        dist.destroy_process_group()


def require_same(facts: Mapping[str, str]) -> None:
    """:class:`HyperArcError` where processes differ in what they train: recipe, faces, versions.

    Args:
        facts: what -> its value here; the same names in all processes.

    Example:
        >>> require_same({"recipe": "7a4e"})
    """
    for what, value in facts.items():
        digests = everyones(hashlib.sha256(value.encode()).digest())
        others = [at for at, digest in enumerate(digests) if digest != digests[0]]
        if others:
            raise HyperArcError(
                f"processes disagree on the {what}: {value!r} here, and rank 0 differs from rank "
                f"{', '.join(map(str, others[:8]))}",
                where=f"rank {rank()} of {world_size()}",
                mend=f"give every process the same {what}",
            )


def require_batches(training: Training) -> None:
    """:class:`RecipeError` unless every process has an equal share of each part of a batch.

    Example:
        >>> require_batches(Training(batch_size=8, accumulate=2))
    """
    count = world_size()
    if training.batch_size % (training.accumulate * count) or training.batch_size // count == training.accumulate:
        raise RecipeError(
            f"expected a batch_size that {count} processes x {training.accumulate} parts divide into two faces or more "
            f"each, got {training.batch_size}",
            where="training.batch_size",
            mend="batch_size counts the faces of all processes; make it a multiple",
        )


def require_shared_folder(folder: Path) -> None:
    """:class:`HyperArcError` unless all processes see the same folder: shards of a checkpoint lie side by side."""
    if world_size() == 1:
        return
    mark = folder / ".seen-by-all"
    if rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        mark.touch()
    together()
    seen = [words == b"\1" for words in everyones(bytes([mark.exists()]))]
    if rank() == 0:
        mark.unlink()
    if not all(seen):
        raise HyperArcError(
            f"rank {seen.index(False)} does not see the run folder that rank 0 writes", where=folder,
            mend="put --run on a file system that all machines share",
        )


def own_stream(seed: int) -> int:
    """The seed of this process's dropout and the like; that of the first is the recipe's."""
    if rank() == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed} rank {rank()}".encode()).digest()[:8], "little") >> 1


def _backend(training: Training, launch: Launch) -> str:
    gpus = torch.cuda.device_count()
    backend = training.backend if training.backend != "auto" else ("nccl" if gpus else "gloo")
    if backend == "nccl" and not gpus:
        raise RecipeError(
            "training.backend is nccl, which needs CUDA, and there is no CUDA device here",
            where=_who(launch),
            mend="set training.backend=gloo, or auto",
        )
    if gpus and launch.local_rank >= gpus:
        raise RecipeError(
            f"expected a GPU for each process, got {gpus} for local rank {launch.local_rank}",
            where=_who(launch),
            mend=f"start at most --nproc-per-node={gpus}",
        )
    return backend


def _require_interface(backend: str) -> None:
    variable = f"{backend.upper()}_SOCKET_IFNAME"
    there = [name for _, name in socket.if_nameindex()]
    for name in filter(None, os.environ.get(variable, "").split(",")):
        wanted, exact = name.removeprefix("="), backend == "gloo" or name.startswith("=")
        fits = [one for one in there if one == wanted or (one.startswith(wanted) and not exact)]
        if not fits and not name.startswith("^"):
            raise HyperArcError(
                f"{variable} names the network interface {name!r}, and there are {', '.join(there)}",
                mend=f"set {variable} to one of them, or leave it unset",
            )


def _meet(launch: Launch) -> Any:
    """A store that all processes have come to."""
    address, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    where = f"MASTER_ADDR={address or 'unset'} MASTER_PORT={port or 'unset'}"
    wait = timedelta(seconds=MEET_S)
    try:
        store, _, _ = next(iter(rendezvous("env://", launch.rank, launch.world_size, timeout=wait)))
    except (RuntimeError, ValueError, OSError) as error:
        raise HyperArcError(
            f"could not reach the meeting point within {MEET_S:.0f} s: {_first_line(error)}",
            where=f"{_who(launch)}, {where}",
            mend="check address, port and firewall; on all machines they must be those of the first",
        ) from error
    names = [f"here/{launch.restarts}/{number}" for number in range(launch.world_size)]
    store.set(names[launch.rank], b"1")
    try:
        store.wait(names, wait)
    except RuntimeError as error:
        absent = [number for number, name in enumerate(names) if not store.check([name])]
        raise HyperArcError(
            f"{len(absent)} of {launch.world_size} processes did not come within {MEET_S:.0f} s: rank "
            f"{', '.join(map(str, absent[:16]))}",
            where=f"{_who(launch)}, {where}",
            mend="look at what they printed",
        ) from error
    return store


def _who(launch: Launch) -> str:
    return f"rank {launch.rank} of {launch.world_size} on {socket.gethostname()}"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
