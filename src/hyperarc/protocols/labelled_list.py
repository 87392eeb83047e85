"""Lists ``path person`` of the faces of all-pairs protocols: person below 0 marks a distractor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import IntArray
from hyperarc.protocols.pair_lists import face_key, text_lines


@dataclass(frozen=True, eq=False)
class LabelledList:
    """Faces of a list.

    Attributes:
        faces: [n] keys.
        people: [n] who they are, as numbers; -1 for distractors.
        sides: [n] on which side they stand, if told.
        where: the list.
        names: of the people.
    """

    faces: tuple[str, ...]
    people: IntArray
    sides: IntArray | None
    where: str
    names: tuple[str, ...] = ()


def read_labelled_list(path: str | Path) -> LabelledList:
    """Rows ``path person`` or ``path person side``, separated by tabs or blanks.

    ``person`` is a name or a whole number; ``-1`` marks a distractor, who is nobody else. ``side`` is 0 or 1: where it
    is given, only pairs of different sides are compared (masked against unmasked faces).

    Raises:
        DataError: missing or empty file, a row of other form, a face named twice; with file and row.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "filelist.txt"
        >>> _ = path.write_text("a/1.jpg ann\\na/2.jpg ann\\nflickr/7.jpg -1\\n")
        >>> read_labelled_list(path).people.tolist()
        [0, 0, -1]
    """
    path = Path(path)
    rows = [(number, line.split()) for number, line in text_lines(path)]
    if not rows:
        raise DataError("holds no faces", where=path)
    columns = len(rows[0][1])
    numbers: dict[str, int] = {"-1": -1}
    seen: dict[str, int] = {}
    for number, words in rows:
        where = f"{path}:{number}"
        if columns not in (2, 3) or len(words) != columns or (columns == 3 and words[2] not in ("0", "1")):
            raise DataError(f"expected 'path person' or 'path person side', got {' '.join(words)!r}", where=where)
        before = seen.setdefault(face_key(words[0]), number)
        if before != number:
            raise DataError(f"names {words[0]} again, after row {before}", where=where)
        numbers.setdefault(words[1], len(numbers) - 1)
    people = np.array([numbers[words[1]] for _, words in rows], np.int64)
    sides = np.array([int(words[2]) for _, words in rows], np.int64) if columns == 3 else None
    return LabelledList(tuple(seen), people, sides, str(path), tuple(numbers)[1:])
