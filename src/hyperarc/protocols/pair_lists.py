"""Which pairs of faces are compared: :class:`Pairs`, and readers of the files of LFW and one's own.

Fold membership is kept as the files have it. Every complaint names the file and the row, counted from 1.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import BoolArray, IntArray, bool_vector, label_numbers
from hyperarc.metrics.kfold import fold_indices

_PICTURE_ENDINGS = (".webp", ".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
_YES, _NO = ("1", "true", "yes"), ("0", "false", "no")


def face_key(name: str) -> str:
    """The name of a face without the ending of a picture file, and with forward slashes.

    Only endings of pictures are cut, because people have dots in their names.

    Example:
        >>> face_key("J.R._Smith/J.R._Smith_0001.JPG"), face_key("J.R._Smith")
        ('J.R._Smith/J.R._Smith_0001', 'J.R._Smith')
    """
    key = name.replace("\\", "/").removeprefix("./")
    for ending in _PICTURE_ENDINGS:
        if key.lower().endswith(ending):
            return key[: -len(ending)]
    return key


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of faces by key, in the order and with the folds of their file.

    Attributes:
        name: what the list is called, such as ``"LFW"``.
        first, second: key of either face, such as ``"Zico/Zico_0002"``; endings of picture files are cut.
        same: [pairs] bool, one person or two.
        folds: [pairs] fold index 0..F-1; a fold count given instead becomes contiguous blocks.
        people: [pairs, 2] who either face is, numbers from 0 (given as numbers or names). By default the folders that
            the faces lie in, if these agree with every flag; None where nobody knows.

    Raises:
        DataError: lists of different lengths, flags other than 0 and 1, fold indices with gaps, no pairs; pairs of one
            kind only; a face paired with itself.

    Example:
        >>> pairs = Pairs("mine", ["a/1.jpg", "a/1.jpg"], ["a/2.jpg", "b/1.jpg"], [True, False], 2)
        >>> pairs.faces(), pairs.folds.tolist(), pairs.people.tolist()
        (['a/1', 'a/2', 'b/1'], [0, 1], [[0, 0], [0, 1]])
    """

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    same: BoolArray
    folds: IntArray
    people: IntArray | None

    def __init__(self, name: str, first: Any, second: Any, same: Any, folds: Any = 10, people: Any = None) -> None:
        keys = tuple(map(face_key, first)), tuple(map(face_key, second))
        if len(keys[0]) != len(keys[1]) or not keys[0]:
            raise DataError(
                f"expected as many first as second faces, at least one; got {len(keys[0])} and {len(keys[1])}",
                where=name,
            )
        itself = next((row for row, (a, b) in enumerate(zip(*keys, strict=True), start=1) if a == b), None)
        if itself is not None:
            raise DataError(f"pair {itself} is {keys[0][itself - 1]} and itself", where=name, mend="remove the pair")
        flags = _both_kinds(bool_vector(same, "same", len(keys[0])), name)
        given = people_by(folder_of, *keys, flags) if people is None else people
        for field, value in (
            ("name", name),
            ("first", keys[0]),
            ("second", keys[1]),
            ("same", flags),
            ("folds", fold_indices(folds, len(keys[0]))),
            ("people", None if given is None else label_numbers(people=given)[0]),
        ):
            object.__setattr__(self, field, value)

    def __len__(self) -> int:
        return len(self.first)

    def faces(self) -> list[str]:
        """Every face that the pairs need, once, in order of first appearance."""
        return list(dict.fromkeys(key for pair in zip(self.first, self.second, strict=True) for key in pair))


def folder_of(key: str) -> str:
    """The folder that a face lies in, as a rule its person's.

    Example:
        >>> folder_of("Zico/Zico_0002")
        'Zico'
    """
    return key.rpartition("/")[0]


def people_by(person_of: Callable[[str], str], first: Any, second: Any, same: BoolArray) -> list[list[str]] | None:
    """The people [pairs, 2] of the faces; None where they contradict the flag of any pair.

    Example:
        >>> people_by(folder_of, ["a/1", "a/1"], ["a/2", "b/1"], np.array([True, False]))
        [['a', 'a'], ['a', 'b']]
    """
    people = [[person_of(a), person_of(b)] for a, b in zip(first, second, strict=True)]
    agree = all((a == b) == one for (a, b), one in zip(people, same.tolist(), strict=True))
    return people if agree else None


def read_lfw_pairs(path: str | Path) -> Pairs:
    """The pairs of LFW's ``pairs.txt`` (view 2).

    The first line holds the number of folds F and of pairs of one kind per fold P. Then F times: P lines
    ``name n1 n2`` (one person) and P lines ``name1 n1 name2 n2`` (two people), separated by tabs or blanks.
    Keys are ``name/name_0001``.

    Raises:
        DataError: the file is missing, the header differs, a row has other columns, rows are missing.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "pairs.txt"
        >>> _ = path.write_text("2 1\\nAnn 1 2\\nAnn 1 Bob 3\\nBob 1 2\\nBob 2 Cy 1\\n")
        >>> read_lfw_pairs(path).first
        ('Ann/Ann_0001', 'Ann/Ann_0001', 'Bob/Bob_0001', 'Bob/Bob_0002')
    """
    path = Path(path)
    rows = [(number, line.split()) for number, line in text_lines(path)]
    if not rows or len(rows[0][1]) != 2 or not all(word.isdecimal() for word in rows[0][1]):
        raise DataError(
            "expected a first line with the number of folds and of pairs, such as '10 300'",
            where=f"{path}:1",
            mend="use pairs.txt of view 2",
        )
    folds, each = (int(word) for word in rows[0][1])
    body = rows[1:]
    if len(body) != 2 * folds * each:
        raise DataError(f"{folds} folds of 2 x {each} pairs need {2 * folds * each} rows, got {len(body)}", where=path)
    first, second = [], []
    same = np.tile(np.repeat([True, False], each), folds)
    for (number, words), one_person in zip(body, same, strict=True):
        where = f"{path}:{number}"
        if len(words) != (3 if one_person else 4):
            expected = "name n1 n2" if one_person else "name1 n1 name2 n2"
            raise DataError(f"expected '{expected}', got {' '.join(words)!r}", where=where)
        first.append(_lfw_key(words[0], words[1], where))
        second.append(_lfw_key(words[-2] if not one_person else words[0], words[-1], where))
    with told_of(path):
        return Pairs("LFW", first, second, same, np.repeat(np.arange(folds), 2 * each))


def read_own_pairs(path: str | Path, folds: int = 10) -> Pairs:
    """Pairs of one's own: rows ``a, b, same`` separated by commas or tabs, ``same`` being 1 or 0.

    A fourth column may hold the fold of the row, counted from 0. Without it the rows are cut into contiguous
    blocks, so rows of both kinds should be mixed. A first row whose third cell is ``same`` is a header.

    Args:
        path: CSV or TSV file; a tab in its first row makes it a TSV.
        folds: number of blocks (default 10) when the file has no fold column.

    Raises:
        DataError: missing or empty file, a row with other columns, a flag that is neither 0 nor 1, an empty
            key, a face paired with itself.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mine.csv"
        >>> _ = path.write_text("a,b,same\\nann/1.jpg,ann/2.jpg,1\\nann/1.jpg,bob/1.jpg,0\\n")
        >>> read_own_pairs(path, folds=2).second
        ('ann/2', 'bob/1')
    """
    path = Path(path)
    lines = list(text_lines(path))
    delimiter = "\t" if lines and "\t" in lines[0][1] else ","
    parsed = csv.reader((line for _, line in lines), delimiter=delimiter)
    rows = [(number, [cell.strip() for cell in cells]) for (number, _), cells in zip(lines, parsed, strict=True)]
    if rows and len(rows[0][1]) >= 3 and rows[0][1][2].lower() in ("same", "issame", "is_same"):
        rows = rows[1:]
    if not rows:
        raise DataError("holds no pairs", where=path, mend="write rows of a, b, same")
    columns = len(rows[0][1])
    same = [_own_flag(cells, columns, f"{path}:{number}") for number, cells in rows]
    membership = folds if columns == 3 else [whole_number(cells[3], f"{path}:{number}") for number, cells in rows]
    with told_of(path):
        return Pairs(path.stem, [cells[0] for _, cells in rows], [cells[1] for _, cells in rows], same, membership)


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """Errors of :class:`Pairs` made inside name the file."""
    try:
        yield
    except DataError as error:
        message = str(error).removeprefix(f"{error.where}: ")
        raise DataError(message, where=path) from error


def _both_kinds(same: BoolArray, name: str) -> BoolArray:
    if same.all() or not same.any():
        kind = "one person" if same.all() else "two people"
        raise DataError(f"all {same.size} pairs are of {kind}, expected both kinds", where=name, mend="check the flags")
    return same


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Non-blank lines with their numbers from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError("no such file", where=path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read as UTF-8 text ({error})", where=path) from error
    return ((number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip())


def whole_number(word: str, where: str) -> int:
    """The number that ``word`` is; an error naming the row where it is none."""
    if not word.isdecimal():
        raise DataError(f"expected a whole number, got {word!r}", where=where)
    return int(word)


def _lfw_key(name: str, number: str, where: str) -> str:
    return f"{name}/{name}_{whole_number(number, where):04d}"


def _own_flag(cells: list[str], columns: int, where: str) -> bool:
    if len(cells) != columns or columns not in (3, 4):
        raise DataError(f"expected a, b, same and perhaps fold in every row, got {len(cells)} cells", where=where)
    if not cells[0] or not cells[1] or cells[0] == cells[1]:
        raise DataError(f"expected two different faces, got {cells[0]!r} and {cells[1]!r}", where=where)
    if cells[2].lower() not in _YES + _NO:
        raise DataError(f"expected 1 (same) or 0 (different), got {cells[2]!r}", where=where)
    return cells[2].lower() in _YES
