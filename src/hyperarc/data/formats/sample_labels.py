"""What stands beside a picture in a WebDataset sample: ``key.cls``, ``key.json`` or ``key.txt`` for ``key.jpg``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from hyperarc.data.formats.list_columns import fixed_points
from hyperarc.data.parquet import COLORS
from hyperarc.errors import DataError

KINDS = (".json", ".cls", ".txt")  # what says most goes first
LONGEST = 2**20  # bytes of one
_PERSON = ("person", "label")


class Label(NamedTuple):
    """What is known of the pictures of a sample; ``person`` is empty when nothing says who it is."""

    person: str = ""
    landmarks: tuple[float, ...] | None = None
    color: str = ""


def read_label(kind: str, data: bytes, where: object) -> Label:
    """What one of the files says.

    A ``.cls`` holds a number. A ``.json`` holds ``person`` (or ``label``), and perhaps ``landmarks`` and ``color``; a
    ``.txt`` counts when it holds a number alone, else it is a caption.

    Raises:
        DataError: anything else in it.

    Example:
        >>> read_label(".cls", b"42\\n", "a.cls").person, read_label(".json", b'{"person": "ann"}', "a.json").person
        ('42', 'ann')
    """
    if kind == ".json":
        return _from_json(data, where)
    text = data[:64].strip()
    if re.fullmatch(rb"-?\d{1,19}", text) and len(data) <= 64:
        return Label(text.decode())
    if kind == ".cls":
        raise DataError(f"expected a number, got {data[:40]!r}", where=where, mend="give names of people in a .json")
    return Label()


def label_columns(labels: Iterable[Label]) -> Mapping[str, pa.Array]:
    """Landmarks and colors as columns of a manifest, where any is known."""
    every = list(labels)
    columns: dict[str, pa.Array] = {}
    known = np.array([label.landmarks is not None for label in every], np.bool_)
    if known.any():
        points = np.array([label.landmarks or (0.0,) * 10 for label in every], np.float32)
        columns["landmarks"] = fixed_points(points, ~known)
    if any(label.color for label in every):
        columns["color"] = pa.array([label.color or COLORS[0] for label in every], pa.large_string())
    return columns


def _from_json(data: bytes, where: object) -> Label:
    try:
        content: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"unreadable JSON: {str(error)[:100]}", where=where, mend="pack it again") from error
    if not isinstance(content, dict):
        return Label()
    person = next((content[key] for key in _PERSON if isinstance(content.get(key), int | str)), "")
    if isinstance(person, bool):
        raise DataError(f"expected a name or a number, got {person}", where=where)
    return Label(str(person).strip(), _landmarks(content.get("landmarks"), where), _color(content.get("color"), where))


def _landmarks(value: Any, where: object) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        points = np.asarray(value, np.float32).ravel()
    except (TypeError, ValueError, OverflowError):
        points = np.zeros(0, np.float32)
    if len(points) != 10 or not np.isfinite(points).all():
        raise DataError(f"expected ten numbers in landmarks, got {str(value)[:60]}", where=where)
    return tuple(points.tolist())


def _color(value: Any, where: object) -> str:
    if value is None or value in COLORS:
        return value or ""
    raise DataError(f"expected the color {' or '.join(COLORS)}, got {str(value)[:40]!r}", where=where)
