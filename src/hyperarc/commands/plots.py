"""``hyperarc plots``: the figures of the losses, as SVG and PNG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hyperarc.commands.loss_figures import FIGURES, loss_figure
from hyperarc.commands.show import Show
from hyperarc.commands.toy import train_toy
from hyperarc.errors import unknown_name
from hyperarc.heads.auxiliary import auxiliary_names
from hyperarc.margins import margin_names
from hyperarc.report.style import save_figure
from hyperarc.report.toy_plots import plane_embeddings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOY = "toy-embeddings"
KINDS = (".svg", ".png")


def figure_names() -> list[str]:
    """The comparing figures, in the order in which they are drawn."""
    return [*FIGURES, TOY]


def plots(names: Sequence[str], folder: Path, show: Show) -> dict[str, list[Path]]:
    """Draw figures into ``folder``; figure -> the files written.

    Args:
        names: comparing figures, and losses (margins and auxiliary losses), each of which has a figure of its own; none
            draws all comparing figures.
        folder: made if need be.
        show: a bar for each figure.
    """
    losses = [*margin_names(), *auxiliary_names()]
    for name in names:
        if name not in figure_names() and name not in losses:
            raise unknown_name("figure or loss", name, [*figure_names(), *losses])
    written = {}
    for name in dict.fromkeys(names or figure_names()):
        with show.progress(f"drawing {name}") as tell:
            figure = draw(name, tell)
            written[name] = [save_figure(figure, folder / f"{name}{kind}") for kind in KINDS]
    return written


def draw(name: str, tell: Callable[[int, int], None] = lambda done, total: None) -> Figure:
    """The figure called ``name``, a comparing one or a loss's; ``tell`` hears of the toy's training steps."""
    if name == TOY:
        toy = train_toy(tell)
        return plane_embeddings(toy.clouds, toy.faces)
    return FIGURES[name]() if name in FIGURES else loss_figure(name)
