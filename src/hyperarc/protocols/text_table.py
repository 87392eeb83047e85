"""Protocol files that are tables of text: whole columns at once, complaints with file and row."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

from hyperarc.errors import DataError

Column = npt.NDArray[np.int64] | npt.NDArray[np.float64] | list[str]
_TYPES = {int: pa.int64(), float: pa.float64(), str: pa.string()}


def read_table(path: Path, columns: dict[str, type], *, delimiter: str = " ", header: bool = False) -> list[Column]:
    """The first columns of a text table.

    Args:
        path: the file, UTF-8; further columns are not looked at.
        columns: name of each column, for errors, and whether it holds ``int``, ``float`` or ``str``.
        delimiter: one character; header: whether the first row is one, which is skipped.

    Returns:
        int64 and float64 arrays, lists of str.

    Raises:
        DataError: missing or empty file, a row with other columns, a value of another kind; with file and row.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "ijbc_face_tid_mid.txt"
        >>> _ = path.write_text("1.jpg 1 69544\\n2.jpg 1 69544\\n")
        >>> [list(column) for column in read_table(path, {"image": str, "template": int})]
        [['1.jpg', '2.jpg'], [np.int64(1), np.int64(1)]]
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError("no such file", where=path) from error
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from error
    count = len(content.partition(b"\n")[0].split(delimiter.encode()))
    if not content.strip():
        raise DataError("holds no rows", where=path)
    if count < len(columns):
        raise DataError(f"expected columns {', '.join(columns)}, got {count}", where=f"{path}:1")
    names = [*columns, *(f"column {place}" for place in range(len(columns), count))]
    try:  # on one thread, as only then errors tell the row
        table = csv.read_csv(
            io.BytesIO(content),
            read_options=csv.ReadOptions(column_names=names, skip_rows=int(header), use_threads=False),
            parse_options=csv.ParseOptions(delimiter=delimiter, quote_char='"' if delimiter == "," else False),
            convert_options=csv.ConvertOptions(
                column_types={name: _TYPES[kind] for name, kind in columns.items()}, include_columns=list(columns)
            ),
        )
    except pa.ArrowInvalid as error:
        told = str(error).splitlines()[0]
        raise DataError(f"expected rows of {', '.join(columns)}: {told}", where=_where(path, error)) from error
    for name, kind in columns.items():
        if kind is not str and table[name].null_count:
            row = table[name].is_null().combine_chunks().index(pa.scalar(True)).as_py()
            raise DataError(f"{name} is missing", where=f"{path}:{row + 1 + header}")
    return [
        table[name].to_pylist() if kind is str else np.asarray(table[name].to_numpy()) for name, kind in columns.items()
    ]


def _where(path: Path, error: Exception) -> str:
    row = re.search(r"[Rr]ow #(\d+)", str(error))
    return f"{path}:{row[1]}" if row else str(path)


def read_header(path: Path, delimiter: str = ",") -> list[str]:
    """The cells of the first row.

    Raises:
        DataError: missing file, or one that is no UTF-8 text.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            return [cell.strip() for cell in file.readline().split(delimiter)]
    except FileNotFoundError as error:
        raise DataError("no such file", where=path) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read as UTF-8 text ({error})", where=path) from error
