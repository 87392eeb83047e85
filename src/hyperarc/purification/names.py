"""Whether two people are named alike: case, accents, order of words, initials and one letter aside."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

_NO_ACCENTS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i"})
_FEWEST_LETTERS = 8  # of names that may differ by one: Jan and Jon, or two characters of three, are two people


class Name(NamedTuple):
    """A name as it is compared: small letters without accents, initials apart."""

    words: tuple[str, ...]
    initials: tuple[str, ...]


@dataclass(frozen=True)
class NamePair:
    """Two people who are named alike.

    Attributes:
        first, second: their places in the lists of names.
        likeness: 1 for equal names; 1 - 1 / n where they differ by one letter and the longer one has n.
    """

    first: int
    second: int
    likeness: float


def read_name(person: str) -> Name:
    """The name in the name of a person's folder; without words where it is a code.

    Of a path the last part counts. Digits and signs part words. What holds digits and fewer than two words, such as
    ``0001``, ``n000001`` or ``person_7``, is a code: a number of one data set, which says nothing in another.

    Example:
        >>> read_name("eval/Penélope_CRUZ_0002").words, read_name("George W. Bush"), read_name("n000001").words
        (('penelope', 'cruz'), Name(words=('george', 'bush'), initials=('w',)), ())
    """
    text = unicodedata.normalize("NFKD", person.rpartition("/")[2].casefold()).translate(_NO_ACCENTS)
    text = "".join(letter for letter in text if not unicodedata.combining(letter) and letter not in "'’`")
    parts = re.findall(r"[^\W\d_]+", text)
    words = tuple(part for part in parts if len(part) > 1 or not part.isascii())
    if len(words) < 2 and any(letter.isdigit() for letter in text):
        return Name((), ())
    return Name(words, tuple(part for part in parts if part not in words))


def named_alike(first: Sequence[str], second: Sequence[str] | None = None) -> list[NamePair]:
    """All pairs of people of two lists, or inside one, who are named alike.

    Two names are alike when their words are equal in any order or run together, or when they differ by one letter more,
    less or other and have at least 8. Initials count only where both names have them: George P. and George W. Bush are
    two people, either may be George Bush. Names are looked up, not compared each with each, so that 100,000 of them
    take seconds.

    Args:
        first: names of people, such as those of their folders.
        second: names of other people; None compares the first ones with each other.

    Returns:
        Pairs in the order of the lists; with one list, ``first < second`` in each.

    Example:
        >>> named_alike(["Cruz_Penelope", "ann"], ["ann lee", "Penélope Cruz"])
        [NamePair(first=0, second=1, likeness=1.0)]
    """
    names = [read_name(person) for person in first]
    others = names if second is None else [read_name(person) for person in second]
    places = defaultdict[str, set[int]](set)
    for place, name in enumerate(others):
        for spelling in _spellings(name):
            places[spelling].add(place)
    found = []
    for place, name in enumerate(names):
        candidates = set().union(*(places.get(spelling, set()) for spelling in _spellings(name)))
        for other in sorted(candidates):
            if (second is not None or place < other) and (likeness := name_likeness(name, others[other])):
                found.append(NamePair(place, other, likeness))
    return found


def name_likeness(first: Name, second: Name) -> float:
    """How alike two names are; 0 for names of two people. See :func:`named_alike`.

    Example:
        >>> name_likeness(read_name("Eliot Spitzer"), read_name("Eliott_Spitzer"))
        0.9230769230769231
    """
    if first.initials and second.initials and first.initials != second.initials:
        return 0.0
    ours, theirs = _forms(first), _forms(second)
    if ours & theirs:
        return 1.0
    near = [max(len(a), len(b)) for a in ours for b in theirs if min(len(a), len(b)) >= _FEWEST_LETTERS and _near(a, b)]
    return 1.0 - 1.0 / max(near) if near else 0.0


def _forms(name: Name) -> set[str]:
    """The words run together, as written and sorted."""
    return {"".join(name.words), "".join(sorted(name.words))} - {""}


def _spellings(name: Name) -> set[str]:
    """The forms, and each with any one letter left out: names that are alike share one of these."""
    forms = _forms(name)
    long = [form for form in forms if len(form) >= _FEWEST_LETTERS]
    return forms | {form[:cut] + form[cut + 1 :] for form in long for cut in range(len(form))}


def _near(first: str, second: str) -> bool:
    """Whether one letter more, less or other makes one of the other."""
    short, long = sorted((first, second), key=len)
    same = next((place for place, letter in enumerate(short) if letter != long[place]), len(short))
    rest = long[same + 1 :]
    return rest in (short[same:], short[same + 1 :])
