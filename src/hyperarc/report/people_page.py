"""A report with a list of people to look through: searched, filtered and sorted in the browser, decisions exported.

All people stand in the page as data; only those in view are drawn, so that ten thousand of them scroll as a dozen do.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hyperarc.report.page import Report, render_report, write_page
from hyperarc.report.sheet import rgb_picture

TILE_PX = 64


@dataclass(frozen=True)
class FaceStrip:
    """Some faces of a person in one picture.

    Attributes:
        picture: as a data address; see :func:`strip_picture`.
        captions: below each face.
        tones: of each face: "bad" for noise, "good" for a clean face, "" where nobody knows.
        more: how many there are besides.
    """

    picture: str
    captions: Sequence[str]
    tones: Sequence[str] = ()
    more: int = 0


@dataclass(frozen=True)
class Question:
    """A proposal that can be accepted or rejected.

    Attributes:
        key: what it is called in the exported file; kind: "split", "move" or "merge"; text: in words.
        faces: that it is about; other: those of the other person, or half.
        applied: whether it was.
    """

    key: str
    kind: str
    text: str
    faces: FaceStrip | None = None
    other: FaceStrip | None = None
    applied: bool = False


@dataclass(frozen=True)
class PersonEntry:
    """One person of the list.

    Attributes:
        name: who; faces, dropped: counts.
        note: one line more.
        dominant, others: faces per 5 degrees of angle, 36 counts each, that voted for the dominant sub-center or not.
        kept_faces, dropped_faces: some of each, or None.
        questions: proposals about the person.
    """

    name: str
    faces: int
    dropped: int
    note: str = ""
    dominant: Sequence[int] = ()
    others: Sequence[int] = ()
    kept_faces: FaceStrip | None = None
    dropped_faces: FaceStrip | None = None
    questions: Sequence[Question] = ()


@dataclass(frozen=True)
class PeopleList:
    """The list.

    Attributes:
        title: heading; text: below it.
        people: the worst first.
        limit_deg: from which on faces are dropped.
        about: written into the exported file.
        truth_known: whether faces have tones, which a legend then explains.
    """

    title: str
    text: str
    people: Sequence[PersonEntry]
    limit_deg: float
    about: Mapping[str, Any] = field(default_factory=dict)
    truth_known: bool = False


def write_people_page(report: Report, people: PeopleList, path: str | Path) -> Path:
    """Write a report that ends in a list of people; see :func:`hyperarc.report.page.write_report`.

    Example:
        >>> import tempfile
        >>> ann = PersonEntry("ann", 10, 2)
        >>> page = Path(tempfile.mkdtemp()) / "report.html"
        >>> '"ann"' in write_people_page(Report("Run 1"), PeopleList("People", "", [ann], 75), page).read_text()
        True
    """
    plain = {"people": [_plain(one) for one in people.people], "limit": people.limit_deg, "about": dict(people.about)}
    text = json.dumps(plain, separators=(",", ":"), ensure_ascii=False)
    # nothing in a name can end the script element, be it </script> or <!--
    return write_page(render_report(report, "people.html.j2", people=people, data=text.replace("<", "\\u003c")), path)


def strip_picture(faces: Sequence[npt.ArrayLike], tile_px: int = TILE_PX) -> str:
    """Faces side by side in one WebP (PNG where Pillow was built without it), as a data address.

    Example:
        >>> strip_picture([np.zeros((112, 112, 3), np.uint8)] * 2)[:11]
        'data:image/'
    """
    from PIL import Image, features

    sheet = Image.new("RGB", (tile_px * len(faces), tile_px))
    for place, face in enumerate(faces):
        tile = Image.fromarray(rgb_picture(face, where=f"face {place}"))
        sheet.paste(tile.resize((tile_px, tile_px), Image.Resampling.LANCZOS, reducing_gap=2.0), (tile_px * place, 0))
    kind = "webp" if features.check("webp") else "png"
    buffer = io.BytesIO()
    sheet.save(buffer, kind, quality=78)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def angle_counts(angles_deg: npt.NDArray[np.floating[Any]]) -> list[int]:
    """Faces per 5 degrees, 36 counts.

    Example:
        >>> angle_counts(np.array([1.0, 4.0, 179.0]))[::35]
        [2, 1]
    """
    counts: list[int] = np.histogram(angles_deg, np.arange(0, 181, 5))[0].tolist()
    return counts


def _plain(person: PersonEntry) -> dict[str, Any]:
    """As JSON, without what is empty."""
    return {name: value for name, value in asdict(person).items() if value or name in ("faces", "dropped")}
