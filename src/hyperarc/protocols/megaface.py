"""MegaFace challenge 1: faces found among a million distractors (Kemelmacher-Shlizerman et al., CVPR 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hyperarc.data.face_set import Faces, open_faces
from hyperarc.errors import DataError
from hyperarc.metrics.all_pairs import Wanted
from hyperarc.metrics.inputs import BoolArray, IntArray
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.exact_counts import Side, count_pairs
from hyperarc.protocols.pair_lists import face_key, text_lines
from hyperarc.protocols.protocol import Opened, Protocol, protocols
from hyperarc.protocols.result import Conditions, Measured, Number

PROBES, DISTRACTORS = "facescrub_images", "megaface_images"
VERIFICATION = Wanted(fars=(1e-6, 1e-5, 1e-4), among_probes="genuine")
RANKS = (1, 10)
APART = 100.0  # what the released cleaning appends to a noisy distractor
_BLOCK = 8192  # distractors scored at a time
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MegaFaceLists:
    """The images of the challenge, and which of them are noise.

    Attributes:
        probes: FaceScrub images ``person/image``; people: [probes] who they are.
        distractors: images ``folder/folder/image``.
        noisy_probes, noisy_distractors: bool, all False where nothing is cleaned.
    """

    probes: tuple[str, ...]
    people: IntArray
    distractors: tuple[str, ...]
    noisy_probes: BoolArray
    noisy_distractors: BoolArray


def read_megaface_lists(files: Path, *, refined: bool = True) -> MegaFaceLists:
    """``facescrub_lst`` and ``megaface_lst``, and unless not ``refined`` the lists of noises beside them.

    ``facescrub_noises.txt`` names images (``alice_1.png``), ``megaface_noises.txt`` paths (``101/1/1.jpg``); lines with
    ``#`` are comments.

    Raises:
        DataError: a missing file, an image without its folders, no images.
    """
    probes, distractors = _images(files / "facescrub_lst", 2), _images(files / "megaface_lst", 3)
    names = [image.split("/")[0] for image in probes]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    people = np.array([numbers[name] for name in names], np.int64)
    noise: list[set[str]] = [set(), set()]
    if refined:
        noise = [
            {line.strip() for _, line in text_lines(files / name) if not line.startswith("#")}
            for name in ("facescrub_noises.txt", "megaface_noises.txt")
        ]
    noisy_probes = np.array([image.split("/")[-1] in noise[0] for image in probes], np.bool_)
    noisy_distractors = np.array([image in noise[1] for image in distractors], np.bool_)
    return MegaFaceLists(probes, people, distractors, noisy_probes, noisy_distractors)


def replace_noise(units: Floats, people: IntArray, noisy: BoolArray) -> Floats:
    """Noisy probes replaced by the normalized sum of the clean ones of their person, as the released cleaning does.

    The release adds noise of at most 0.001 an entry, which is left out here. A person needs a clean probe.

    Example:
        >>> units = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
        >>> replace_noise(units, np.array([0, 0, 1]), np.array([False, True, False])).tolist()
        [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
    """
    sums = np.zeros((int(people.max(initial=-1)) + 1, units.shape[1]))
    np.add.at(sums, people[~noisy], units[~noisy])
    centers = sums[people[noisy]]
    lengths = np.linalg.norm(centers, axis=1, keepdims=True)
    if not lengths.all():
        row = int(np.flatnonzero(noisy)[np.flatnonzero(lengths[:, 0] == 0)[0]])
        raise DataError(f"probe {row} is noise, and its person has no clean probe to take its place")
    cleaned = units.copy()
    cleaned[noisy] = centers / lengths
    return cleaned


def refined_features(probes: Floats, people: IntArray, noisy: BoolArray) -> Floats:
    """Features [n, d + 1] of probes for the development kit: cleaned, with a 0 appended."""
    cleaned = replace_noise(probes, people, noisy)
    return np.pad(cleaned, ((0, 0), (0, 1)))


def refined_distractors(distractors: Floats, noisy: BoolArray) -> Floats:
    """Features [n, d + 1] of distractors for the development kit: 100 is appended to noise, which is far away, else 0.

    Example:
        >>> refined_distractors(np.array([[1, 0], [0, 1]], np.float32), np.array([True, False])).tolist()
        [[1.0, 0.0, 100.0], [0.0, 1.0, 0.0]]
    """
    return np.hstack([distractors, np.where(noisy, APART, 0.0).astype(np.float32)[:, None]])


class MegaFace(Protocol):
    """Identification and verification among distractors.

    Identification: for every ordered pair of probes of one person, one is searched in a gallery of the other and all
    distractors; a distractor of the same cosine stands before the mate. Verification: genuine pairs are those of
    probes, impostor pairs those of a probe and a distractor.

    With the lists of noises (the refined version, "R"), noisy distractors are left out and noisy probes are replaced by
    the center of their person. A search with an absent probe or mate is a miss in both numbers; absent distractors are
    left out. All are counted.
    """

    name = "MegaFace"

    def __init__(self, lists: MegaFaceLists) -> None:
        self.lists = lists
        self._probes = tuple(face_key(f"{PROBES}/{image}") for image in lists.probes)
        kept = zip(lists.distractors, lists.noisy_distractors.tolist(), strict=True)
        self._distractors = tuple(face_key(f"{DISTRACTORS}/{image}") for image, noise in kept if not noise)

    def faces(self) -> list[str]:
        """Probes, and the distractors that are no noise."""
        return [*self._probes, *self._distractors]

    def judge(self, embedded: Embedded) -> Measured:
        """Search and verify."""
        absent = embedded.require_most(self.faces(), self.name)
        rows = embedded.rows(self._probes)
        there = rows >= 0
        people = self.lists.people[there]
        units = replace_noise(embedded.units[rows[there]], people, self.lists.noisy_probes[there])
        others = embedded.rows(self._distractors)
        distractors = embedded.units[others[others >= 0]]
        if not len(distractors):
            raise DataError("no distractor has an embedding", where=self.name)
        listed = np.bincount(self.lists.people)
        searches = int((listed * (listed - 1)).sum())
        if not searches:
            raise DataError("no person has two probes", where=self.name)
        ranks = [found / searches for found in _found(units, people, distractors)]
        strangers = Side(distractors, np.full(len(distractors), -1))
        counted = count_pairs(Side(units, people), strangers, VERIFICATION, embedded.device)
        few = "too few impostor pairs for this FAR"
        rates = [(point, few if point.target in counted.unsupported else "") for point in counted.points]
        numbers = [
            Number("rank-1", ranks[0]),
            *(Number(f"TAR at FAR {p.target:g}", 2 * p.true_accepts / searches, note=note) for p, note in rates),
            Number("rank-10", ranks[1]),
        ]
        conditions: Conditions = {
            "data": embedded.data,
            "probes": len(self._probes),
            "people": len(listed),
            "distractors": len(distractors),
            "noisy_probes": int(self.lists.noisy_probes.sum()),
            "noisy_distractors": int(self.lists.noisy_distractors.sum()),
            "searches": searches,
            "impostor_pairs": counted.impostor_pairs,
            "absent_probes": int((~there).sum()),
            "absent_distractors": int((others < 0).sum()),
        }
        return Measured(
            self.name, tuple(numbers), conditions | embedded.conditions(), absent_faces=absent, told=2
        )


def _found(units: Floats, people: IntArray, distractors: Floats) -> list[int]:
    """Of all ordered pairs of probes of one person, how many put the mate at each of the ranks or before."""
    most = max(RANKS)
    highest = np.full((len(units), most), -np.inf, np.float32)  # of each probe, the cosines of the nearest distractors
    for start in range(0, len(distractors), _BLOCK):
        cosines = units @ distractors[start : start + _BLOCK].T
        both = np.hstack([highest, cosines])
        highest = np.partition(both, both.shape[1] - most, axis=1)[:, -most:]
    limits = np.sort(highest, axis=1)[:, [-rank for rank in RANKS]]
    found = np.zeros(len(RANKS), np.int64)
    for person in np.unique(people):
        rows = np.flatnonzero(people == person)
        cosines = units[rows] @ units[rows].T
        apart = ~np.eye(len(rows), dtype=np.bool_)
        found += ((cosines[..., None] > limits[rows][:, None]) & apart[..., None]).sum(axis=(0, 1))
    return [int(count) for count in found]


def _images(path: Path, parts: int) -> tuple[str, ...]:
    images = []
    for number, line in text_lines(path):
        split = line.strip().split("/")
        if len(split) < parts:
            raise DataError(f"expected a path of {parts} parts, got {line.strip()!r}", where=f"{path}:{number}")
        images.append("/".join(split[-parts:]))
    if not images:
        raise DataError("names no images", where=path)
    return tuple(images)


@protocols.register("megaface")
def open_megaface(faces: Faces, files: Path, *, refined: bool = True) -> Opened:
    """MegaFace: ``facescrub_images`` and ``megaface_images``; the folder of the lists."""
    return Opened(MegaFace(read_megaface_lists(files, refined=refined)), open_faces(faces))
