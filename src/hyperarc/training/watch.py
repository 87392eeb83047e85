"""What a run says while it trains: one JSON line a step, and the trackers the recipe asks for."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from hyperarc.errors import HyperArcError
from hyperarc.files import write_beside
from hyperarc.recipe import Recipe

Row = Mapping[str, float | int | str]


class Watcher(Protocol):
    """Anything that is told of every step."""

    def __call__(self, row: Row) -> None:
        """One step's numbers."""

    def close(self) -> None:
        """The run has ended."""


class JsonLog:
    """``log.jsonl``: one line a step. Opening it drops lines of steps at or after ``step``, which will come again.

    Example:
        >>> import tempfile
        >>> log = JsonLog(Path(tempfile.mkdtemp()) / "log.jsonl", step=0)
        >>> log({"step": 0, "loss": 1.5}); log.close()
        >>> read_log(log.path)
        [{'step': 0, 'loss': 1.5}]
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_log(path) if int(row["step"]) < step] if path.exists() else []
        with write_beside(path) as beside:
            beside.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        self._file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115  (lives as long as the run)

    def __call__(self, row: Row) -> None:
        try:
            self._file.write(json.dumps(row) + "\n")
        except OSError as error:
            with suppress(OSError):
                self._file.close()  # or the line would be tried again at the end
            raise HyperArcError(
                f"could not be written: {error.strerror}", where=self.path, mend="free some space, then --resume auto"
            ) from error

    def close(self) -> None:
        self._file.close()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Rows of a ``log.jsonl``; a last line cut off by a kill is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class _TensorBoard:
    def __init__(self, folder: Path, recipe: Recipe) -> None:
        writer = _extra("torch.utils.tensorboard", "tensorboard").SummaryWriter
        self._writer = writer(log_dir=str(folder / "tensorboard"))
        self._writer.add_text("recipe", f"```yaml\n{recipe.to_yaml()}\n```")

    def __call__(self, row: Row) -> None:
        for name, value in row.items():
            if name != "step" and not isinstance(value, str):
                self._writer.add_scalar(name, value, int(row["step"]))

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    def __init__(self, folder: Path, recipe: Recipe) -> None:
        wandb = _extra("wandb", "wandb")
        self._run = wandb.init(
            dir=str(folder), name=folder.name, id=folder.name, resume="allow", config=recipe.model_dump(mode="json")
        )

    def __call__(self, row: Row) -> None:
        self._run.log(dict(row), step=int(row["step"]))

    def close(self) -> None:
        self._run.finish()


TRACKERS: dict[str, Callable[[Path, Recipe], Watcher]] = {"tensorboard": _TensorBoard, "wandb": _WeightsAndBiases}


def open_watchers(folder: Path, recipe: Recipe, step: int) -> list[Watcher]:
    """The JSON log and the recipe's trackers, for a run that starts at ``step``."""
    return [JsonLog(folder / "log.jsonl", step), *(TRACKERS[name](folder, recipe) for name in recipe.training.trackers)]


def _extra(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise HyperArcError(f"tracker {package} is not installed", mend="pip install 'hyperarc[track]'") from error
