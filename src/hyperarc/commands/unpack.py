"""``hyperarc unpack``: faces of any source into person folders, a verification pack into faces and a list of pairs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from hyperarc.commands.pack import PACK
from hyperarc.commands.show import Show
from hyperarc.data.face_set import open_faces
from hyperarc.data.findings import Finding, finding
from hyperarc.data.formats.pair_pack import PairPack
from hyperarc.data.packing import Packing, pack
from hyperarc.data.verification import Progress
from hyperarc.errors import DataError
from hyperarc.faces.image import file_ending
from hyperarc.files import require_absent, write_beside

_TOLD_EVERY = 256


def unpack(source: str | Path, target: Path, show: Show) -> dict[str, Any]:
    """Write every face as the file that it is; the folder appears when it is complete. The facts of what was done."""
    require_absent(target)
    if Path(source).suffix == PACK:
        return _unpack_pairs(PairPack(source), target, show)
    done = pack(open_faces(source), target, Packing("folder", verify=False), show.progress)
    for found in done.findings:
        show.note(str(found))
    facts = {"target": str(target), "faces": len(done.manifest), "people": done.manifest.num_people}
    return facts | {"findings": [str(found) for found in done.findings]}


def _unpack_pairs(opened: PairPack, target: Path, show: Show) -> dict[str, Any]:
    with show.progress("unpacking") as tell, write_beside(target) as beside:
        files, odd = _write_faces(opened, beside / "faces", tell)
        _write_pairs(opened, files, beside / "pairs.csv")
    for found in odd:
        show.note(str(found))
    facts = {"target": str(target), "faces": len(files), "findings": [str(found) for found in odd]}
    return facts | {"pairs": len(opened.same)}


def _write_faces(opened: PairPack, folder: Path, tell: Progress) -> tuple[dict[str, str], list[Finding]]:
    """Write the faces; their keys with their files, and what is no picture."""
    files: dict[str, str] = {}
    odd: list[str] = []
    manifest = opened.scan()
    for done, row in enumerate(manifest.rows, start=1):
        data = opened.read(row.face)
        ending = file_ending(data)
        if ending is None:
            odd.append(row.face)
        else:
            files[row.face] = row.face + ending
            place = folder / files[row.face]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        if done % _TOLD_EVERY == 0 or done == len(manifest):
            tell(done, len(manifest))
    if not files:
        raise DataError("expected pictures, got other content alone", where=opened.name)
    what = "faces whose file is no JPEG, PNG, WebP or BMP skipped"
    return files, [finding(what, odd, source=opened.name)] if odd else []


def _write_pairs(pack: PairPack, files: dict[str, str], path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("a", "b", "same"))
        for first, second, same in zip(pack.first, pack.second, pack.same, strict=True):
            writer.writerow((files.get(first, first), files.get(second, second), int(same)))
