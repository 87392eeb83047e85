"""Pairs on two lines each, as CALFW and CPLFW list them, and pairs of videos, as YouTube Faces lists them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hyperarc.errors import DataError
from hyperarc.protocols.pair_lists import Pairs, face_key, people_by, text_lines, told_of

FOLDS = 10


def read_line_pairs(path: str | Path, name: str) -> Pairs:
    """The pairs of ``pairs_CALFW.txt`` and ``pairs_CPLFW.txt``.

    Two lines ``picture flag`` make a pair; the flag is the same on both and above 0 for one person. A header may come
    first. The files list all genuine pairs before all impostor pairs, so fold k is made of the k-th tenth of either.

    Raises:
        DataError: missing file, a row of other form, a picture without a partner, two flags in one pair, fewer than ten
            pairs of a kind.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "pairs_CALFW.txt"
        >>> same = [f"Ann_{n}.jpg 1" for n in range(20)]
        >>> _ = path.write_text("\\n".join(same + [f"P_{n}.jpg 0" for n in range(20)]))
        >>> pairs = read_line_pairs(path, "CALFW")
        >>> pairs.second[0], pairs.folds.tolist()
        ('Ann_1', [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    rows = [(number, line.split()) for number, line in text_lines(Path(path))]
    if rows and not _is_flag(rows[0][1][-1]):
        rows = rows[1:]
    if len(rows) % 2 or not rows:
        raise DataError(f"two rows make a pair, got {len(rows)} rows", where=path)
    for number, words in rows:
        if len(words) != 2 or not _is_flag(words[1]):
            raise DataError(f"expected 'picture flag', got {' '.join(words)!r}", where=f"{path}:{number}")
    first, second = rows[::2], rows[1::2]
    for (_, (_, one)), (number, (_, other)) in zip(first, second, strict=True):
        if one != other:
            raise DataError(f"the flags of a pair differ: {one} and {other}", where=f"{path}:{number}")
    same = np.array([int(words[1]) > 0 for _, words in first])
    folds = np.zeros(len(same), np.int64)
    for kind, told in ((same, "genuine"), (~same, "impostor")):
        count = int(kind.sum())
        if count < FOLDS:
            raise DataError(f"expected at least {FOLDS} {told} pairs, one a fold, got {count}", where=path)
        folds[kind] = np.arange(count) * FOLDS // count
    left, right = ([face_key(words[0]) for _, words in half] for half in (first, second))
    people = people_by(lambda key: key.rpartition("_")[0], left, right, same)  # pictures are Name_0001.jpg
    return Pairs(name, left, right, same, folds, people)


def read_ytf_splits(path: str | Path) -> Pairs:
    """The pairs of videos of YouTube Faces' ``splits.txt`` (or ``splits_corrected.txt``).

    After a header, rows ``split, pair, first, second, same`` separated by commas, perhaps with more columns between
    second and same; splits count from 1, videos are folders ``Name/0``. The name of the file is that of the pairs, so
    results say which of the two lists was used.

    Raises:
        DataError: missing file, a row of other form, splits with gaps.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "splits.txt"
        >>> _ = path.write_text("split number, pair number, first name, second name, is same\\n"
        ...     "1, 1, Ann/0, Ann/3, 1\\n2, 1, Ann/0, Bob/1, 0\\n")
        >>> read_ytf_splits(path).second
        ('Ann/3', 'Bob/1')
    """
    path = Path(path)
    rows = [(number, [cell.strip() for cell in line.split(",")]) for number, line in text_lines(path)]
    if rows and not rows[0][1][0].isdecimal():
        rows = rows[1:]
    for number, cells in rows:
        if len(cells) < 5 or not cells[0].isdecimal() or cells[-1] not in ("0", "1") or not all(cells[2:4]):
            raise DataError(
                f"expected 'split, pair, first, second, same', got {', '.join(cells)!r}", where=f"{path}:{number}"
            )
    if not rows:
        raise DataError("holds no pairs", where=path)
    columns = list(zip(*((cells[0], cells[2], cells[3], cells[-1]) for _, cells in rows), strict=True))
    splits = np.array(columns[0], dtype=np.int64) - 1
    with told_of(path):
        return Pairs(f"YTF {path.stem}", columns[1], columns[2], [flag == "1" for flag in columns[3]], splits)


def _is_flag(word: str) -> bool:
    return word.lstrip("-").isdecimal()
