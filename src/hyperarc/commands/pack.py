"""``hyperarc pack``: faces into InsightFace's record files, pairs of faces into a verification pack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hyperarc.commands.evaluate import evaluation_of, pairs_and_faces, rows_by_key
from hyperarc.commands.show import Show
from hyperarc.data.face_set import open_faces
from hyperarc.data.formats.pair_pack import write_pair_pack
from hyperarc.data.formats.record_writer import write_records
from hyperarc.data.manifest import Manifest
from hyperarc.data.verification import verify_faces
from hyperarc.errors import DataError
from hyperarc.protocols.pairs import Pairs

PACK = ".bin"


def pack_faces(source: Path, target: Path, show: Show, *, flat: bool) -> dict[str, Any]:
    """Pack every face of ``source`` that can be read; the facts of what was done."""
    require_absent(target)
    if target.suffix in (PACK, ".rec"):
        mend = "give --pairs" if target.suffix == PACK else "give a folder to make; it will hold train.rec"
        raise DataError("expected the name of a folder", where=target, mend=mend)
    opened = open_faces(source)
    with show.progress("verifying faces") as tell:
        manifest = verify_faces(opened.sources, opened.manifest, progress=tell)
    for found in manifest.findings:
        show.note(str(found))
    kept = manifest.kept()
    size = _one_size(kept)
    with show.progress("packing") as tell:
        write_records(opened.sources, kept, target, size=size, flat=flat, progress=tell)
    findings = [str(found) for found in manifest.findings]
    facts = {"target": str(target), "faces": len(kept), "people": kept.num_people}
    return facts | {"width": size[0], "height": size[1], "findings": findings}


def pack_pairs(protocol: Mapping[str, str | None], target: Path, show: Show) -> dict[str, Any]:
    """Pack the pairs of a protocol given as the fields of a recipe's evaluation; the facts of what was done."""
    require_absent(target)
    if target.suffix != PACK:
        raise DataError(f"expected the name of a {PACK} for pairs", where=target, mend=f"call it {target.name}{PACK}")
    pairs, faces = pairs_and_faces(evaluation_of(protocol))
    row_of = rows_by_key(faces)
    absent = [key for key in pairs.faces() if key not in row_of]
    if absent:
        named = f"{len(absent)} faces of the pairs are absent, the first being {absent[0]!r}"
        raise DataError(named, where=faces.name, mend="a pack needs every face")
    keys = [key for pair in zip(pairs.first, pairs.second, strict=True) for key in pair]
    pictures = []
    with show.progress("packing") as tell:
        for done, key in enumerate(keys, start=1):
            pictures.append(faces.read(row_of[key]))
            tell(done, len(keys))
    write_pair_pack(target, pictures, pairs.same.tolist())
    if not _folds_survive(pairs):
        show.note("the folds of the list are not kept: readers of a pack cut it into ten contiguous blocks")
    facts = {"target": str(target), "faces": len(pairs.faces()), "pairs": len(pairs)}
    return facts | {"folds_kept": _folds_survive(pairs)}


def require_absent(target: Path) -> None:
    """Raise :class:`DataError` where something stands already."""
    if target.exists():
        raise DataError("refused to overwrite what stands there", where=target, mend="remove it or name another place")


def _one_size(kept: Manifest) -> tuple[int, int]:
    """Width and height that all faces share, as ``property`` knows only one."""
    if not len(kept):
        raise DataError("expected faces, got none that can be read", where=kept.about.name)
    sizes = np.stack([kept.column("width"), kept.column("height")], axis=1)
    other = np.flatnonzero((sizes != sizes[0]).any(axis=1))
    if len(other):
        row = kept.row(int(other[0]))
        raise DataError(
            f"expected faces of one size, {sizes[0][0]}x{sizes[0][1]}, got {row.width}x{row.height}",
            where=f"{row.source}:{row.face}",
            mend="align the faces to one size first",
        )
    return int(sizes[0][0]), int(sizes[0][1])


def _folds_survive(pairs: Pairs) -> bool:
    if len(pairs) < 10:
        return False
    blocks = Pairs(pairs.name, pairs.first, pairs.second, pairs.same)
    return bool(np.array_equal(blocks.folds, pairs.folds))
