"""``hyperarc unpack``: record files into person folders, a verification pack into faces and a list of pairs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from hyperarc.commands.pack import PACK, require_absent
from hyperarc.commands.show import Show
from hyperarc.data.findings import Finding, finding
from hyperarc.data.formats.pair_pack import PairPack
from hyperarc.data.manifest import Manifest
from hyperarc.data.sources import RecordSource, Source, open_source
from hyperarc.errors import DataError
from hyperarc.faces.image import file_ending
from hyperarc.files import write_beside

_TOLD_EVERY = 256


def unpack(source: Path, target: Path, show: Show) -> dict[str, Any]:
    """Write every face as the file that it is; the folder appears when it is complete. The facts of what was done."""
    require_absent(target)
    pack = PairPack(source) if source.suffix == PACK else None
    opened = pack or open_source(source)
    if not isinstance(opened, PairPack | RecordSource):
        raise DataError(f"expected a .rec, a folder with train.rec, or a {PACK}", where=source)
    manifest = opened.scan()
    with show.progress("unpacking") as tell, write_beside(target) as beside:
        files, odd = _write_faces(opened, manifest, beside / "faces" if pack else beside, tell)
        if pack:
            _write_pairs(pack, files, beside / "pairs.csv")
    findings = [str(found) for found in (*manifest.findings, *odd)]
    for found in findings:
        show.note(found)
    facts = {"target": str(target), "faces": len(files), "findings": findings}
    return facts | ({"pairs": len(pack.same)} if pack else {"people": manifest.num_people})


def _write_faces(source: Source, manifest: Manifest, folder: Path, tell: Any) -> tuple[dict[str, str], list[Finding]]:
    """Write the faces; their keys with their files, and what is no picture."""
    files: dict[str, str] = {}
    odd: list[str] = []
    for done, row in enumerate(manifest.rows, start=1):
        data = source.read(row.face)
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
        raise DataError("expected pictures, got other content alone", where=source.name)
    what = "records that are no JPEG, PNG, WebP or BMP skipped"
    return files, [finding(what, odd, source=source.name)] if odd else []


def _write_pairs(pack: PairPack, files: dict[str, str], path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("a", "b", "same"))
        for first, second, same in zip(pack.first, pack.second, pack.same, strict=True):
            writer.writerow((files.get(first, first), files.get(second, second), int(same)))
