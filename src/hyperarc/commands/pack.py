"""``hyperarc pack``: faces into one file or folder of another kind, pairs of faces into a verification pack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hyperarc.commands.evaluate import evaluation_of
from hyperarc.commands.show import Show
from hyperarc.data.face_set import open_faces
from hyperarc.data.formats.pair_pack import write_pair_pack
from hyperarc.data.packing import Packing, one_size, pack
from hyperarc.errors import DataError, UsageError
from hyperarc.files import require_absent
from hyperarc.protocols.face_rows import rows_by_key
from hyperarc.protocols.pair_lists import Pairs
from hyperarc.protocols.protocol import open_protocol

PACK = ".bin"
_KINDS = {".zip": "zip", ".tar": "tar", ".parquet": "parquet"}


def pack_faces(source: str | Path, target: Path, show: Show, packing: Packing) -> dict[str, Any]:
    """Pack every face of ``source`` that can be read; the facts of what was done."""
    require_absent(target)
    if packing.kind == "rec" and target.suffix in (PACK, ".rec"):
        mend = "give --pairs" if target.suffix == PACK else "give a folder to make; it will hold train.rec"
        raise UsageError("expected the name of a folder", where=target, mend=mend)
    if packing.shards and target.suffix in _KINDS:
        raise UsageError("expected the name of a folder for shards", where=target, mend=f"call it {target.stem}")
    done = pack(open_faces(source), target, packing, show.progress)
    for found in done.findings:
        show.note(str(found))
    facts = {"target": str(target), "kind": packing.kind, "faces": len(done.manifest)}
    facts |= {"people": done.manifest.num_people, "findings": [str(found) for found in done.findings]}
    if packing.kind == "rec":
        facts["width"], facts["height"] = one_size(done.manifest)
    return facts


def kind_of(target: Path) -> str:
    """What to make of a target by its ending: .zip, .tar and .parquet say so, all else is a folder with train.rec.

    Example:
        >>> kind_of(Path("faces.zip")), kind_of(Path("faces"))
        ('zip', 'rec')
    """
    return _KINDS.get(target.suffix, "rec")


def pack_pairs(protocol: Mapping[str, str | None], target: Path, show: Show) -> dict[str, Any]:
    """Pack the pairs of a protocol given as the fields of a recipe's evaluation; the facts of what was done."""
    require_absent(target)
    if target.suffix != PACK:
        raise UsageError(f"expected the name of a {PACK} for pairs", where=target, mend=f"call it {target.name}{PACK}")
    judged, faces = open_protocol(evaluation_of(protocol))
    pairs = judged.pairs
    if pairs is None:
        raise UsageError(f"protocol {judged.name} is no list of pairs of faces", mend="give one that is, such as lfw")
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


def _folds_survive(pairs: Pairs) -> bool:
    if len(pairs) < 10:
        return False
    blocks = Pairs(pairs.name, pairs.first, pairs.second, pairs.same)
    return bool(np.array_equal(blocks.folds, pairs.folds))
