"""What commands show while they work: notes and progress bars, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from hyperarc.training.watch import Row, Watcher


class Show:
    """Notes and bars; ``quiet`` shows nothing.

    Standard output stays free for results, so that ``--json`` can be piped.

    Example:
        >>> with Show(quiet=True).progress("looking") as tell:
        ...     tell(1, 2)
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False)

    def note(self, text: str) -> None:
        """One line."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """A bar for work that is told as (done, total)."""
        with self._bar() as bar:
            task = bar.add_task(what, total=None)

            def tell(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            yield tell

    @contextmanager
    def steps(self, total: int, done: int, name: str) -> Iterator[Watcher]:
        """A bar that watches training steps."""
        with self._bar() as bar:
            yield _StepBar(bar, total, done, name)

    def _bar(self) -> Progress:
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,  # a file or pipe would get an empty line of each bar
        )


class _StepBar:
    def __init__(self, bar: Progress, total: int, done: int, name: str) -> None:
        self._bar = bar
        self._name = name
        self._task = bar.add_task(name, total=total, completed=done)

    def __call__(self, row: Row) -> None:
        if "expected_first_loss" in row:
            self._bar.console.print(
                f"first loss {float(row['loss']):.2f}, expected of random weights {row['expected_first_loss']:.2f}"
            )
        text = (
            f"{self._name}  loss {float(row['loss']):.2f}  target {float(row['target_angle_deg']):.0f}°  "
            f"nearest wrong {float(row['nearest_negative_angle_deg']):.0f}°  accuracy {float(row['accuracy']):.0%}  "
            f"{float(row['faces_per_s']):.0f} faces/s"
        )
        self._bar.update(self._task, completed=int(row["step"]) + 1, description=text)

    def close(self) -> None:
        """The bar's own context ends it."""
