"""What faces are called in the files that they are packed into: ``person/name``, whatever their keys were."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hyperarc.data.formats.layout import EXTENSIONS, is_hidden, is_text_path, leads_outside
from hyperarc.data.manifest import Manifest
from hyperarc.errors import DataError

_ENDING = "(?i)(?:" + "|".join(ending.replace(".", r"\.") for ending in EXTENSIONS) + ")$"


def member_stems(manifest: Manifest, *, dots: bool = True) -> pa.Array:
    """A name without ending for each row, ``person/name``; all differ.

    A key that lies in a folder of its person keeps its name. Of other keys the last part is taken, or, where the person
    has several of that, the whole key with ``_`` for ``/``.

    Args:
        manifest: the faces.
        dots: False puts ``_`` in place of dots in names, as WebDataset cuts names at the first one.

    Raises:
        DataError: a person that is no name of a folder, or faces that cannot be told apart by these names.

    Example:
        >>> from hyperarc.data.manifest import manifest_of
        >>> faces = ["ann/1.png", "set/a/1.jpg", "set/b/1.jpg"]
        >>> member_stems(manifest_of(faces, ["ann", "7", "7"], source="set")).to_pylist()
        ['ann/1', '7/set_a_1', '7/set_b_1']
    """
    _require_folders(manifest)
    persons = manifest.table["person"].chunk(0).cast(pa.large_string())
    faces = manifest.table["face"].chunk(0)
    keys = pc.replace_substring_regex(faces, _ENDING, "")
    names = _clean(pc.replace_substring_regex(keys, r"^.*/", ""), dots)
    folders = pc.replace_substring_regex(keys, r"/[^/]*$", "")
    inside = np.asarray(pc.equal(folders, persons).to_numpy(zero_copy_only=False))
    stems = _joined(persons, names)
    flat = _joined(persons, _clean(pc.replace_substring(keys, "/", "_"), dots))
    stems = pc.if_else(pa.array(_recurring(stems) & ~inside), flat, stems)
    stems = _with_endings(stems, faces)
    again = _recurring(stems)
    if again.any():
        named = " and ".join(repr(face) for face in manifest.faces(np.flatnonzero(again)[:2]))
        raise DataError(f"faces that cannot be told apart by name: {named}", where=manifest.about.name)
    return stems


def _clean(names: pa.Array, dots: bool) -> pa.Array:
    """Names that every reader takes for files: not hidden, and of one part."""
    names = pc.replace_substring_regex(names, r"[\\\x00]" if dots else r"[.\\\x00]", "_")
    return pc.replace_substring_regex(names, r"^(?:\.|$)", "_")


def _with_endings(stems: pa.Array, faces: pa.Array) -> pa.Array:
    """``1.jpg`` and ``1.png`` of one person become ``1_jpg`` and ``1_png``: stems must differ without their endings."""
    again = _recurring(stems)
    if not again.any():
        return stems
    endings = pc.replace_substring_regex(faces, r"^.*\.", "")
    longer = pc.binary_join_element_wise(stems, endings, pa.scalar("_", pa.large_string()))
    return pc.if_else(pa.array(again), longer, stems)


def _joined(persons: pa.Array, names: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(persons, names, pa.scalar("/", pa.large_string()))


def _recurring(names: pa.Array) -> npt.NDArray[np.bool_]:
    codes = np.asarray(names.dictionary_encode().indices.to_numpy(zero_copy_only=False), np.int64)
    counts = np.bincount(codes) if len(codes) else np.zeros(0, np.int64)
    return np.asarray(counts[codes] > 1)


def _require_folders(manifest: Manifest) -> None:
    """People become folders, so a name that leads elsewhere, or that readers skip, is refused."""
    for person in manifest.people:
        odd = "\n" in person or "//" in person or person.endswith("/") or not is_text_path(person)
        if odd or leads_outside(person) or is_hidden(person):
            named = f"expected names of folders, got {person[:80]!r}"
            raise DataError(named, where=manifest.about.name, mend="rename this person in the manifest")
