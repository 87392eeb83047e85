"""Which row of a set each face that a protocol asks for is."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hyperarc.data.face_set import FaceSet
from hyperarc.errors import DataError
from hyperarc.protocols.pair_lists import face_key


def rows_by_key(faces: FaceSet, asked: Sequence[str] = ()) -> dict[str, int]:
    """The row of each face by the key that protocols name it by; marks do not count, as a protocol's list is fixed.

    Where none of the ``asked`` keys is there as it stands, folders that every face lies in are left off in front.

    Raises:
        DataError: two faces are one of the asked keys without their endings.
    """
    keys = [face_key(face) for face in faces.manifest.column("face").tolist()]
    rows = {key: row for row, key in enumerate(keys)}
    folder = os.path.commonpath(keys) if asked and not any(key in rows for key in asked) else ""
    if folder:
        keys = [key.removeprefix(f"{folder}/") for key in keys]
        rows = {key: row for row, key in enumerate(keys)}
    if len(rows) < len(keys):
        _require_single(faces, keys, rows, asked)
    return rows


def _require_single(faces: FaceSet, keys: list[str], rows: dict[str, int], asked: Sequence[str]) -> None:
    wanted = set(asked)
    for row, key in enumerate(keys):
        if key in wanted and rows[key] != row:
            one, other = (faces.reader.where(place) for place in (row, rows[key]))
            raise DataError(f"two faces are {key}: {one} and {other}", where=faces.name, mend="remove one")
