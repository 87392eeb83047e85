"""The pairs of CFP (Sengupta et al., WACV 2016), as its ``Protocol`` folder lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from hyperarc.errors import DataError
from hyperarc.protocols.pair_lists import Pairs, text_lines, told_of, whole_number


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
    with told_of(folder):
        return Pairs(f"CFP-{kind}", first, second, np.array(same), np.array(folds))


def _cfp_pictures(path: Path) -> dict[int, str]:
    """Number to key, from rows such as ``1 ../Data/Images/001/frontal/01.jpg``."""
    pictures = {}
    for row, line in text_lines(path):
        words = line.split()
        parts = words[-1].split("/")
        if len(words) != 2 or len(parts) < 3:
            raise DataError(f"expected 'number .../person/view/picture', got {line!r}", where=f"{path}:{row}")
        number = whole_number(words[0], f"{path}:{row}")
        pictures[number] = f"{parts[-3]}/{parts[-2]}_{parts[-1].rsplit('.', 1)[0]}"
    return pictures


def _cfp_pair(line: str, left: dict[int, str], right: dict[int, str], where: str) -> tuple[str, str]:
    words = [word.strip() for word in line.split(",")]
    if len(words) != 2:
        raise DataError(f"expected two numbers separated by a comma, got {line!r}", where=where)
    a, b = (whole_number(word, where) for word in words)
    for number, pictures in ((a, left), (b, right)):
        if number not in pictures:
            raise DataError(f"no picture has the number {number}", where=where)
    return left[a], right[b]
