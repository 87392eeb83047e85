"""The kinds of faults a face can have, and what becomes of such a face by default."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hyperarc.data.verification import UNREADABLE, WRONG_SIZE
from hyperarc.errors import unknown_name

BLANK, TINY, GRAY, BLURRED = "blank", "tiny", "gray", "blurred"
COPY, NEAR_COPY, CONFLICT = "copy", "near copy", "conflict"
SWAPPED, ODD_COLOR = "swapped", "odd color"
FEW = "few faces"
ALL = "all"


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: by which it is marked and taken back.
        title: heading of its findings.
        text: what it means, in one or two sentences.
        left_out: whether such faces are left out unless told otherwise.
    """

    name: str
    title: str
    text: str
    left_out: bool = False


_ALL_KINDS = (
    Kind(UNREADABLE, "Unreadable", "No picture comes of these files.", left_out=True),
    Kind(WRONG_SIZE, "Wrong size", "Pictures of another size than the one asked for.", left_out=True),
    Kind(BLANK, "Blank", "Pictures of nearly one gray level where the face should be."),
    Kind(TINY, "Tiny", "Pictures with too few pixels for a face."),
    Kind(GRAY, "Gray", "Pictures without color: their channels lie less than 3 grey levels apart."),
    Kind(BLURRED, "Blurred", "Crops whose strongest edges are soft, most blurred first."),
    Kind(COPY, "Copies", "Pictures of one person whose pixels are equal. The first of each is kept.", left_out=True),
    Kind(
        NEAR_COPY,
        "Near copies",
        "Pictures of one person that are one photo: encoded again, resized, recolored, mirrored or cut a little "
        "otherwise. The sharpest of each is not counted.",
    ),
    Kind(
        CONFLICT,
        "Label conflicts",
        "One photo under two people: at least one of the labels is wrong, unless both are one person.",
    ),
    Kind(
        SWAPPED,
        "Red and blue exchanged",
        "Files whose colors were written in the wrong order. The manifest says so (color bgr), and they are put right "
        "on reading; nobody is left out. Left as the file is, right as it is read.",
    ),
    Kind(
        ODD_COLOR,
        "Odd colors",
        "Faces whose skin tells another order of colors than they are read in: colored light, tinted photos, or files "
        "that were exchanged while their source was not.",
    ),
    Kind(FEW, "Too few faces", "Everything that is left of people who have too few faces.", left_out=True),
)
KINDS = {kind.name: kind for kind in _ALL_KINDS}
"""All kinds by name, in the order in which they are told."""

MARKING = tuple(name for name in KINDS if name != SWAPPED)


def kind_names(words: Iterable[str], *, among: Iterable[str] = MARKING) -> list[str]:
    """The kinds that are meant, hyphens for blanks; an unknown one is an error that names the nearest.

    Example:
        >>> kind_names(["near-copy", "gray"])
        ['near copy', 'gray']
    """
    known = tuple(among)
    names = [word.replace("-", " ") for word in words]
    for name in names:
        if name not in known:
            raise unknown_name("kind of fault", name, known)
    return names

