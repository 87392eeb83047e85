"""The search of ``hyperarc invert``: batch by batch, try by try, with its state on disk, so that it survives a kill."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hyperarc.commands.invert_targets import Targets
from hyperarc.commands.show import Show
from hyperarc.encoder import Encoder
from hyperarc.errors import HyperArcError, UsageError
from hyperarc.files import write_beside
from hyperarc.inversion import Inversion, Priors, Search, to_pixels
from hyperarc.unfinished import Unfinished, continue_work, difference

_PLAN, _PICTURES, _FRAMES, _STATE = "plan.json", "pictures.npy", "frames.npy", "state.safetensors"
_LOOK_EVERY = 10  # steps between looks at the clock

Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class How:
    """How faces are searched for.

    Attributes:
        search, priors: of each picture.
        batch: targets that are searched together, at most; the statistics of BatchNorm are those of a batch.
        tries: faces of each target, from different noise.
        save_every_s: how much time a kill may cost.
        frames: steps, rising, after which the pictures as they are then are kept too.
    """

    search: Search
    priors: Priors
    batch: int = 64
    tries: int = 1
    save_every_s: float = 60.0
    frames: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.batch < 1 or self.tries < 1:
            raise UsageError(f"expected a batch and tries of at least 1, got {self.batch} and {self.tries}")
        if self.frames and not 0 <= self.frames[0] <= self.frames[-1] <= self.search.iterations:
            raise UsageError(f"expected steps of pictures from 0 to {self.search.iterations}, got {self.frames}")


@dataclass(frozen=True, eq=False)
class _Unit:
    """Targets that are searched together, in one try."""

    attempt: int
    batch: int
    rows: npt.NDArray[np.int64]

    @property
    def name(self) -> str:
        return f"try-{self.attempt:03d}-batch-{self.batch:06d}.npy"

    def frame(self, step: int) -> str:
        """Name of the file with the pictures after a step."""
        return f"{self.name.removesuffix('.npy')}-step-{step:06d}.npy"

    def seed(self, seed: int) -> int:
        """Of its noise, far from that of any other unit of any seed."""
        return int(np.random.SeedSequence([seed, self.attempt, self.batch]).generate_state(1)[0])


def search_faces(model: Encoder, targets: Targets, how: How, folder: Path, show: Show) -> Pictures:
    """Search for faces of all targets, or read what an earlier start has found.

    Args:
        model: attacked; gradients must flow through its backbone.
        targets: what for.
        how: settings.
        folder: where the pictures of all tries are kept; unfinished work lies hidden beside it.

    Returns:
        uint8 [tries, N, H, W, 3], RGB, mapped into memory; changes do not reach the file.

    Raises:
        HyperArcError: the folder holds the faces of another request; a model without BatchNorm under their prior.
    """
    plan = _plan(model, targets, how)
    if folder.exists():
        _require_same(folder, plan)
        show.note(f"found before, in {folder}")
    else:
        with continue_work(folder, plan) as unfinished:
            units = _units(len(targets), how)
            _search_all(model, targets, how, (units, unfinished), show)
            _assemble(model, targets, how, (units, unfinished), plan)
    pictures: Pictures = np.load(folder / _PICTURES, mmap_mode="c", allow_pickle=False)
    return pictures


def read_frames(folder: Path) -> Pictures:
    """Pictures uint8 [tries, F, N, H, W, 3] after each of the steps that :attr:`How.frames` named, mapped."""
    pictures: Pictures = np.load(folder / _FRAMES, mmap_mode="r", allow_pickle=False)
    return pictures


def frame_steps(iterations: int, count: int) -> tuple[int, ...]:
    """Steps after which faces are shown on their way, from the noise on: so many, or all where there are fewer.

    Example:
        >>> frame_steps(1000, 5)
        (0, 250, 500, 750, 1000)
    """
    return tuple(np.unique(np.linspace(0, iterations, max(2, count)).round().astype(int)).tolist())


def _plan(model: Encoder, targets: Targets, how: How) -> dict[str, Any]:
    """All that the pictures depend on."""
    return {
        "model": model.contract.digest,
        "targets": targets.digest(),
        "search": asdict(how.search),
        "priors": asdict(how.priors),
        "batch": how.batch,
        "tries": how.tries,
        "frames": how.frames,
        "device": str(model.device),
    }


def _require_same(folder: Path, plan: dict[str, Any]) -> None:
    now = json.dumps(plan)
    try:
        before = (folder / _PLAN).read_text(encoding="utf-8")
        same = json.loads(before) == json.loads(now)
    except (OSError, ValueError) as error:
        raise HyperArcError(f"cannot be read: {error}", where=folder, mend="remove it") from error
    if not same:
        told = f"holds the faces of another request: {difference(before, now)}"
        raise HyperArcError(told, where=folder, mend="name another folder with --run, or remove this one")


def _units(count: int, how: How) -> list[_Unit]:
    """Batches as equal as can be: a small one has statistics of its own."""
    batches = np.array_split(np.arange(count), -(-count // how.batch))
    return [_Unit(attempt, place, rows) for attempt in range(how.tries) for place, rows in enumerate(batches)]


def _search_all(
    model: Encoder, targets: Targets, how: How, work: tuple[list[_Unit], Unfinished], show: Show
) -> None:
    units, unfinished = work
    todo = [unit for unit in units if not unfinished.part(unit.name).exists()]
    steps = how.search.iterations
    done = (len(units) - len(todo)) * steps
    if unfinished.resumed:
        show.note(f"going on: {len(units) - len(todo)} of {len(units)} batches are finished")
    with show.progress("inverting") as tell:
        for unit in todo:
            search = replace(how.search, seed=unit.seed(how.search.seed))
            goal = targets.goal(unit.rows)
            inversion = Inversion(model.backbone, model.contract, goal, search, how.priors, model.device)
            _resume(inversion, unit, unfinished.part(_STATE))
            for step in _searching(inversion, unit, how, unfinished):
                tell(done + step, len(units) * steps)
            with unfinished.writing(unit.name) as path, open(path, "wb") as file:
                np.save(file, to_pixels(inversion.images(), model.contract))
            done += steps


def _searching(inversion: Inversion, unit: _Unit, how: How, unfinished: Unfinished) -> Iterator[int]:
    """Go on to the end, with the state saved now and then; yields the steps done."""
    saved = time.monotonic()
    if inversion.step in how.frames:
        _keep_frame(inversion, unit, unfinished)
    while inversion.step < how.search.iterations:
        ahead = next((step for step in how.frames if step > inversion.step), how.search.iterations)
        inversion.run(min(_LOOK_EVERY, ahead - inversion.step))
        if inversion.step in how.frames:
            _keep_frame(inversion, unit, unfinished)
        yield inversion.step
        if time.monotonic() - saved >= how.save_every_s and inversion.step < how.search.iterations:
            with write_beside(unfinished.part(_STATE)) as path:  # it vouches for nothing but itself
                save_file(inversion.state(), path, metadata={"unit": unit.name})
            saved = time.monotonic()


def _keep_frame(inversion: Inversion, unit: _Unit, unfinished: Unfinished) -> None:
    with unfinished.writing(unit.frame(inversion.step)) as path, open(path, "wb") as file:
        np.save(file, to_pixels(inversion.images(), inversion.contract))


def _resume(inversion: Inversion, unit: _Unit, path: Path) -> None:
    """From a state that is this unit's; that of another one is of a batch that was finished since."""
    if not path.exists():
        return
    try:
        with safe_open(path, framework="pt") as file:
            if file.metadata().get("unit") == unit.name:
                inversion.load({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except SafetensorError as error:
        raise HyperArcError(f"damaged: {error}", where=path, mend="remove it; the batch then begins anew") from error


def _assemble(
    model: Encoder, targets: Targets, how: How, work: tuple[list[_Unit], Unfinished], plan: dict[str, Any]
) -> None:
    units, unfinished = work
    shutil.rmtree(unfinished.content, ignore_errors=True)  # of a start that was killed here
    unfinished.content.mkdir()
    shape = (len(targets), model.contract.height, model.contract.width, 3)
    pictures = np.lib.format.open_memmap(unfinished.content / _PICTURES, "w+", np.uint8, (how.tries, *shape))
    for unit in units:
        pictures[unit.attempt, unit.rows] = np.load(unfinished.part(unit.name), allow_pickle=False)
    pictures.flush()
    if how.frames:
        whole = (how.tries, len(how.frames), *shape)
        frames = np.lib.format.open_memmap(unfinished.content / _FRAMES, "w+", np.uint8, whole)
        for unit in units:
            for place, step in enumerate(how.frames):
                frames[unit.attempt, place, unit.rows] = np.load(unfinished.part(unit.frame(step)), allow_pickle=False)
        frames.flush()
    (unfinished.content / _PLAN).write_text(json.dumps(plan, indent=1) + "\n", encoding="utf-8")
