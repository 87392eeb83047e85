"""One self-contained HTML page: a report that can be mailed, kept and opened offline.

Nothing is fetched: style, figures (inline SVG) and faces (base64) are in the file. Every name and number goes
through the template's escaping. The page follows the light or dark setting of its reader, figures included.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from hyperarc.errors import DataError
from hyperarc.files import write_beside
from hyperarc.report.sheet import rgb_picture
from hyperarc.report.style import CSS_NAMES, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Value:
    """A number in a table, as it should read.

    Attributes:
        text: the number; note: a smaller line below it, such as its interval.
        tone: "best" of those it is compared with, "level" with the best, or "plain".
    """

    text: str
    note: str = ""
    tone: Literal["best", "level", "plain"] = "plain"


Cell = str | int | float | bool | Value | None


@dataclass(frozen=True)
class Card:
    """A headline number.

    Attributes:
        label: what it is; value: the number as it should read; note: its conditions, in small letters.
    """

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, eq=False)
class Plot:
    """A matplotlib figure with its caption; ``wide`` gives it the whole width of the page."""

    figure: Figure
    caption: str = ""
    wide: bool = False


@dataclass(frozen=True, eq=False)
class Table:
    """A table. Numbers are aligned right; None reads "–", a number that is none reads "n/a".

    Attributes:
        header: column titles, or empty for a list of facts; rows: cells; caption: heading.
        groups: titles over several columns each, and how many, over all columns; or empty.
        note: below the table; wide: it takes the whole width of the page.

    Raises:
        DataError: a row of another length than the header, or groups of another.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    groups: Sequence[tuple[str, int]] = ()
    note: str = ""
    wide: bool = False

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if self.header and len(row) != len(self.header):
                raise DataError(
                    f"row {number} has {len(row)} cells under {len(self.header)} titles",
                    where=self.caption or "table",
                )
        if self.groups and sum(count for _, count in self.groups) != len(self.header):
            raise DataError(f"groups over other than {len(self.header)} columns", where=self.caption or "table")


@dataclass(frozen=True, eq=False)
class Tile:
    """One face, or the faces of a pair side by side.

    Attributes:
        faces: uint8 RGB [height, width, 3] each.
        caption: below them; score: emphasised, above the caption.
        tone: color of the score: "good", "bad" or "plain".
    """

    faces: Sequence[npt.ArrayLike]
    caption: str = ""
    score: str = ""
    tone: Literal["good", "bad", "plain"] = "plain"


@dataclass(frozen=True, eq=False)
class Strip:
    """Tiles in rows under one caption."""

    caption: str
    tiles: Sequence[Tile]


@dataclass(frozen=True, eq=False)
class FaceToFace:
    """Two groups of faces side by side.

    Attributes:
        left, right: uint8 RGB [height, width, 3] faces; left_caption, right_caption: below them.
        score: emphasised, between them; note: below it; tone: color of the score.
    """

    left: Sequence[npt.ArrayLike]
    right: Sequence[npt.ArrayLike]
    left_caption: str = ""
    right_caption: str = ""
    score: str = ""
    note: str = ""
    tone: Literal["good", "bad", "plain"] = "plain"


@dataclass(frozen=True, eq=False)
class FacesToFaces:
    """Groups of faces side by side, row by row, under one caption."""

    caption: str
    rows: Sequence[FaceToFace]


@dataclass(frozen=True)
class Listing:
    """A text kept as it is, such as a recipe, folded away behind its caption."""

    caption: str
    text: str


@dataclass(frozen=True, eq=False)
class Section:
    """A part of the page, in this order: text (blank lines part paragraphs), the leading table, figures, strips, faces
    side by side, tables, listings."""

    title: str
    text: str = ""
    figures: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    image_strips: Sequence[Strip] = ()
    listings: Sequence[Listing] = ()
    side_by_side: Sequence[FacesToFaces] = ()
    lead: Table | None = None


@dataclass(frozen=True, eq=False)
class Report:
    """A page: title, one line below it, headline numbers, sections.

    Example:
        >>> report = Report("Run 1", sections=[Section("Notes", "Hi <b>")])
        >>> "Hi &lt;b&gt;" in render_report(report)
        True
    """

    title: str
    subtitle: str = ""
    cards: Sequence[Card] = ()
    sections: Sequence[Section] = ()


def write_report(report: Report, path: str | Path) -> Path:
    """Write the page to ``path`` (its folder is made); a reader never meets a half-written file.

    Returns:
        The path written.

    Raises:
        HyperArcError: the place cannot be written. DataError: a tile holds something that is no uint8 RGB
            face.

    Example:
        >>> import tempfile
        >>> write_report(Report("Run 1"), Path(tempfile.mkdtemp()) / "run" / "report.html").name
        'report.html'
    """
    return write_page(render_report(report), path)


def write_page(text: str, path: str | Path) -> Path:
    """Write the text of a page, whole or not at all; its path."""
    with write_beside(Path(path)) as beside:
        beside.write_text(text, encoding="utf-8")
    return Path(path)


def render_report(report: Report, template: str = "report.html.j2", **more: Any) -> str:
    """The page as text; see :func:`write_report`. A template that extends the report's may be given ``more``."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    house = Environment(
        loader=PackageLoader("hyperarc.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    house.filters.update(cell=cell_text, svg=figure_svg, picture=picture_uri, paragraphs=_paragraphs)
    house.tests["number_value"] = lambda value: isinstance(value, Value)
    house.tests["figure_number"] = lambda value: isinstance(value, int | float | Value) and not isinstance(value, bool)
    page = house.get_template(template).render(report=report, **more)
    return page if page.endswith("\n") else page + "\n"


def cell_text(value: Cell) -> str:
    """How a value reads in a table.

    Example:
        >>> [cell_text(v) for v in (12000, 0.123456, None, True, float("nan"), "x")]
        ['12,000', '0.1235', '–', 'yes', 'n/a', 'x']
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "n/a"
    return value.text if isinstance(value, Value) else value


@styled
def figure_svg(figure: Figure) -> Any:
    """A figure as inline SVG whose colors are variables of the page and whose text is text."""
    from markupsafe import Markup

    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    # matplotlib has escaped every letter. Inside HTML neither prologue, metadata nor namespace declarations
    # mean anything, and the page shall name no address at all.
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    head, rest = text.split(">", 1)
    size = re.search(r'viewBox="[^"]*"', head)
    head = f'<svg {size.group(0) if size else ""} role="img"'
    for color, name in CSS_NAMES.items():
        rest = rest.replace(color, f"var(--{name}, {color})")
    return Markup(head + ">" + rest)


def picture_uri(face: npt.ArrayLike) -> str:
    """A face as a data address: WebP, or PNG where Pillow was built without it."""
    from PIL import Image, features

    kind = "webp" if features.check("webp") else "png"
    buffer = io.BytesIO()
    Image.fromarray(rgb_picture(face, where="report")).save(buffer, kind, quality=88)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
