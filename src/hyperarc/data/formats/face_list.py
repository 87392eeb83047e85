"""Faces named by a list: a text file, or a Parquet file with a column of paths."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hyperarc.data.findings import finding
from hyperarc.data.formats.layout import read_inside
from hyperarc.data.formats.list_columns import ListColumns, Where
from hyperarc.data.formats.parquet_file import is_parquet, read_path_list
from hyperarc.data.formats.text_list import read_text_list
from hyperarc.data.manifest import About, Manifest, manifest_of
from hyperarc.errors import DataError
from hyperarc.faces.image import DEFAULT_LIMITS, ImageLimits, Pixels, decode

SEVERAL_PEOPLE = "listed under several people"
LEFT_OUT = "left out by the list"
# A path that is empty or absolute, has a part "..", a drive, or a zero byte; as layout.leads_outside, for a column.
OUTSIDE = r"^$|^[/\\]|^[A-Za-z]:|\x00|(?:^|[/\\])\.\.(?:[/\\]|$)"


class ListSource:
    """Faces named by a list: CSV or TSV with a header, ``path label`` lines, an MXNet ``.lst``, Parquet with paths.

    A label that is a number is the person's name as it stands. Rows with a label below 0 name nobody and are skipped.
    A path that is listed again is skipped; under another person, the face is left out. Whether the files are there is
    seen when they are read.

    Args:
        path: the list.
        root: the folder that paths start from; default the list's own. Paths that lead out of it are refused. Absolute
            ones are accepted beneath a root that is given, else refused.
        name: short name of the source; default the name of the list.
        limits: of each picture.

    Raises:
        DataError: a list that cannot be read, or a row of it that cannot be used, named by its line.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "train.csv"
        >>> _ = path.write_text("path,person,width,height\\nann/1.jpg,ann,112,112\\nbob/1.jpg,bob,112,112\\n")
        >>> ListSource(path).scan().people
        ('ann', 'bob')
    """

    def __init__(
        self,
        path: str | Path,
        root: str | Path | None = None,
        *,
        name: str | None = None,
        limits: ImageLimits = DEFAULT_LIMITS,
    ) -> None:
        self.path = Path(path).absolute()
        self.root = self.path.parent if root is None else Path(os.path.abspath(root))
        self.name = name or self.path.stem
        self.limits = limits
        self._given = root is not None
        if not self.root.is_dir():
            raise DataError("expected the folder that the list starts from, got nothing there", where=self.root)

    def scan(self) -> Manifest:
        """All rows of the list in its order, with findings: rows skipped and faces left out."""
        columns = read_path_list(self.path) if is_parquet(self.path) else read_text_list(self.path)
        place = f"{self.path}@{self.root}" if self._given else str(self.path)
        about = About(self.name, sources={self.name: place})
        inside = columns._replace(paths=self._inside(columns.paths, columns.row_name))
        return listed_manifest(inside, about, self.path)

    def read(self, face: str) -> bytes:
        """The picture file of ``face``; :class:`DataError` when it is missing or outside the root."""
        return read_inside(self.root, face, self.limits)

    def image(self, face: str) -> Pixels:
        """The picture of ``face``: uint8 [H, W, 3], RGB."""
        return decode(self.read(face), where=self.root / face, limits=self.limits)

    def _inside(self, paths: pa.Array, row_name: Where) -> pa.Array:
        """The paths, relative to the root."""
        paths = pc.replace_substring_regex(paths, r"^(?:\./+)+", "")
        if self._given:
            start = str(self.root).rstrip("/") + "/"
            short = pc.utf8_slice_codeunits(paths, start=len(start))
            paths = pc.if_else(pc.starts_with(paths, start), short, paths)
        outside = np.flatnonzero(pc.match_substring_regex(paths, OUTSIDE).to_numpy(zero_copy_only=False))
        if len(outside):
            row = int(outside[0])
            raise DataError(
                f"refused: the path {paths[row].as_py()[:200]!r} leads out of {self.root}",
                where=row_name(row),
                mend=f"write paths relative to the list, or name the folder they start from: {self.path.name}@FOLDER",
            )
        return paths


def listed_manifest(columns: ListColumns, about: About, where: object) -> Manifest:
    """The manifest of what a list says, one row a face.

    Raises:
        DataError: no rows, or a row without a person.
    """
    columns = columns._replace(persons=person_names(columns.persons, columns.row_name))
    nobody = np.asarray(pc.match_substring_regex(columns.persons, r"^-\d+$").to_numpy(zero_copy_only=False), np.bool_)
    named = columns.take(np.flatnonzero(~nobody))
    if not len(named.paths):
        raise DataError(f"expected faces, got {len(nobody)} that name nobody", where=where)
    codes = np.asarray(named.paths.dictionary_encode().indices.to_numpy(zero_copy_only=False), np.int64)
    first = np.diff(np.maximum.accumulate(codes), prepend=-1) > 0  # codes are given as paths come up
    once = columns.take(np.flatnonzero(~nobody)[first])
    several = _under_several(codes, named.persons)
    skipped = (
        ("faces whose label is below 0 skipped", columns.paths.filter(pa.array(nobody))),
        ("rows whose path was listed before skipped", named.paths.filter(pa.array(~first))),
        ("faces listed under several people left out", once.paths.filter(pa.array(several))),
    )
    found = tuple(finding(what, names.to_pylist(), source=about.name) for what, names in skipped if len(names))
    manifest = manifest_of(once.paths, once.persons, source=about.name, about=replace(about, findings=found))
    extra = {name: column for name, column in once.extra.items() if name not in ("keep", "reason")}
    manifest = manifest.with_columns(**extra) if extra else manifest
    return _marked(manifest, once.extra, several)


def person_names(column: pa.Array, row_name: Where) -> pa.Array:
    """Texts or whole numbers as names; :class:`DataError` names a row without one."""
    if pa.types.is_floating(column.type):
        try:
            column = column.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise DataError(f"expected people, got numbers with fractions: {error}", where=row_name(0)) from error
    names = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
    empty = np.flatnonzero(pc.fill_null(pc.equal(names, ""), True).to_numpy(zero_copy_only=False))
    if len(empty):
        raise DataError("expected a person, got nothing", where=row_name(int(empty[0])))
    return names


def _under_several(codes: npt.NDArray[np.int64], persons: pa.Array) -> npt.NDArray[np.bool_]:
    """Of each code, whether its rows name different people."""
    people = np.asarray(persons.dictionary_encode().indices.to_numpy(zero_copy_only=False), np.int64)
    least = np.full(int(codes.max()) + 1, np.iinfo(np.int64).max)
    most = np.full(len(least), -1)
    np.minimum.at(least, codes, people)
    np.maximum.at(most, codes, people)
    return np.asarray(least < most)


def _marked(manifest: Manifest, extra: dict[str, pa.Array], several: npt.NDArray[np.bool_]) -> Manifest:
    """What the list itself leaves out, with its reasons, and who cannot be told apart."""
    keep = extra.get("keep")
    if keep is not None:
        reasons = extra.get("reason", pa.array([""] * len(keep), pa.large_string()))
        reasons = pc.if_else(pc.equal(reasons, ""), LEFT_OUT, reasons)
        manifest = manifest.with_columns(keep=keep, reason=pc.if_else(keep, "", reasons))
    return manifest.mark(several, SEVERAL_PEOPLE) if several.any() else manifest
