"""Which pairs of faces are compared: :class:`Pairs`, and readers of the files of LFW, CFP, and one's own.

Fold membership is kept as the files have it. Every complaint names the file and the row, counted from 1.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hyperarc.errors import DataError
from hyperarc.metrics.inputs import BoolArray, IntArray, bool_vector
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

    Raises:
        DataError: lists of different lengths, flags other than 0 and 1, fold indices with gaps, no pairs.

    Example:
        >>> pairs = Pairs("mine", ["a/1.jpg", "a/1.jpg"], ["a/2.jpg", "b/1.jpg"], [True, False], 2)
        >>> pairs.faces(), pairs.folds.tolist()
        (['a/1', 'a/2', 'b/1'], [0, 1])
    """

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    same: BoolArray
    folds: IntArray

    def __init__(self, name: str, first: Any, second: Any, same: Any, folds: Any = 10) -> None:
        keys = tuple(map(face_key, first)), tuple(map(face_key, second))
        if len(keys[0]) != len(keys[1]) or not keys[0]:
            raise DataError(
                f"expected as many first as second faces, at least one; got {len(keys[0])} and {len(keys[1])}",
                where=name,
            )
        for field, value in (
            ("name", name),
            ("first", keys[0]),
            ("second", keys[1]),
            ("same", bool_vector(same, "same", len(keys[0]))),
            ("folds", fold_indices(folds, len(keys[0]))),
        ):
            object.__setattr__(self, field, value)

    def __len__(self) -> int:
        return len(self.first)

    def faces(self) -> list[str]:
        """Every face that the pairs need, once, in order of first appearance."""
        return list(dict.fromkeys(key for pair in zip(self.first, self.second, strict=True) for key in pair))


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
    return Pairs("LFW", first, second, same, np.repeat(np.arange(folds), 2 * each))


def read_cfp_pairs(protocol_folder: str | Path, kind: Literal["FF", "FP"] = "FP") -> Pairs:
    """The pairs of CFP: frontal against frontal (``"FF"``) or against profile (``"FP"``).

    ``Pair_list_F.txt`` and ``Pair_list_P.txt`` number the pictures, ``Split/KIND/NN/same.txt`` and
    ``diff.txt`` hold pairs of these numbers; each NN is a fold. Keys are ``001/frontal_01`` and
    ``001/profile_01``.

    Raises:
        DataError: a missing file, a row that is not two numbers, a number that no picture has, a row whose
            people contradict the name of its file.

    Example:
        read_cfp_pairs("cfp/Protocol", kind="FP").faces()[0]   # '001/frontal_05'
    """
    if kind not in ("FF", "FP"):
        raise DataError(f"unknown kind of CFP pairs {kind!r}", mend="use 'FF' or 'FP'")
    folder = Path(protocol_folder)
    frontal = _cfp_pictures(folder / "Pair_list_F.txt")
    other = frontal if kind == "FF" else _cfp_pictures(folder / "Pair_list_P.txt")
    splits = sorted(path for path in (folder / "Split" / kind).glob("*") if path.is_dir())
    if len(splits) < 2:
        raise DataError("expected folders 01, 02, ... with same.txt and diff.txt", where=folder / "Split" / kind)
    first: list[str] = []
    second: list[str] = []
    same: list[bool] = []
    folds: list[int] = []
    for fold, split in enumerate(splits):
        for file, one_person in (("same.txt", True), ("diff.txt", False)):
            for number, line in text_lines(split / file):
                where = f"{split / file}:{number}"
                a, b = _cfp_pair(line, frontal, other, where)
                if (a.split("/")[0] == b.split("/")[0]) != one_person:
                    raise DataError(f"{a} and {b} do not belong into {file}", where=where)
                first.append(a)
                second.append(b)
                same.append(one_person)
                folds.append(fold)
    return Pairs(f"CFP-{kind}", first, second, np.array(same), np.array(folds))


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
    membership = folds if columns == 3 else [_whole(cells[3], f"{path}:{number}") for number, cells in rows]
    return Pairs(path.stem, [cells[0] for _, cells in rows], [cells[1] for _, cells in rows], same, membership)


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Non-blank lines with their numbers from 1."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError("no such file", where=path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read as UTF-8 text ({error})", where=path) from error
    return ((number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip())


def _whole(word: str, where: str) -> int:
    if not word.isdecimal():
        raise DataError(f"expected a whole number, got {word!r}", where=where)
    return int(word)


def _lfw_key(name: str, number: str, where: str) -> str:
    return f"{name}/{name}_{_whole(number, where):04d}"


def _cfp_pictures(path: Path) -> dict[int, str]:
    """Number to key, from rows such as ``1 ../Data/Images/001/frontal/01.jpg``."""
    pictures = {}
    for row, line in text_lines(path):
        words = line.split()
        parts = words[-1].split("/")
        if len(words) != 2 or len(parts) < 3:
            raise DataError(f"expected 'number .../person/view/picture', got {line!r}", where=f"{path}:{row}")
        number = _whole(words[0], f"{path}:{row}")
        pictures[number] = f"{parts[-3]}/{parts[-2]}_{parts[-1].rsplit('.', 1)[0]}"
    return pictures


def _cfp_pair(line: str, left: dict[int, str], right: dict[int, str], where: str) -> tuple[str, str]:
    words = [word.strip() for word in line.split(",")]
    if len(words) != 2:
        raise DataError(f"expected two numbers separated by a comma, got {line!r}", where=where)
    a, b = (_whole(word, where) for word in words)
    for number, pictures in ((a, left), (b, right)):
        if number not in pictures:
            raise DataError(f"no picture has the number {number}", where=where)
    return left[a], right[b]


def _own_flag(cells: list[str], columns: int, where: str) -> bool:
    if len(cells) != columns or columns not in (3, 4):
        raise DataError(f"expected a, b, same and perhaps fold in every row, got {len(cells)} cells", where=where)
    if not cells[0] or not cells[1] or cells[0] == cells[1]:
        raise DataError(f"expected two different faces, got {cells[0]!r} and {cells[1]!r}", where=where)
    if cells[2].lower() not in _YES + _NO:
        raise DataError(f"expected 1 (same) or 0 (different), got {cells[2]!r}", where=where)
    return cells[2].lower() in _YES
