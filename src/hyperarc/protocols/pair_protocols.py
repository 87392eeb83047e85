"""The protocols that are lists of pairs of faces, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from zipfile import is_zipfile

from hyperarc.data.drawn.source import drawn_pairs
from hyperarc.data.face_set import Faces, FaceSet, open_faces
from hyperarc.data.formats.pair_pack import PairPack
from hyperarc.errors import UsageError
from hyperarc.protocols.cfp_pairs import read_cfp_pairs
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.line_pairs import read_line_pairs
from hyperarc.protocols.pair_lists import Pairs, read_lfw_pairs, read_own_pairs, told_of
from hyperarc.protocols.pairs import PairsResult, evaluate_pairs
from hyperarc.protocols.protocol import Opened, Protocol, protocols


class PairsProtocol(Protocol):
    """Pairs of faces under the rule of :func:`hyperarc.protocols.pairs.evaluate_pairs`.

    Example:
        >>> protocol = PairsProtocol(Pairs("mine", ["a1", "a1", "b1", "b1"], ["a2", "b1", "b2", "a2"], [1, 0, 1, 0], 2))
        >>> vectors = {"a1": [1, 0], "a2": [1, 0.1], "b1": [0, 1], "b2": [0.1, 1]}
        >>> protocol.judge(Embedded.of(vectors)).numbers[0].text()
        '100.00 +- 0.00 %'
    """

    def __init__(self, pairs: Pairs) -> None:
        self.name = pairs.name
        self.pairs: Pairs = pairs

    def faces(self) -> list[str]:
        return self.pairs.faces()

    def judge(self, embedded: Embedded) -> PairsResult:
        return evaluate_pairs(
            self.pairs, embedded, contract=embedded.contract, data=embedded.data, device=embedded.device
        )


@protocols.register("lfw")
def open_lfw(faces: Faces, files: Path) -> Opened:
    """LFW, view 2: ``pairs.txt``."""
    return _listed(read_lfw_pairs(files), faces)


@protocols.register("cfp_ff")
def open_cfp_ff(faces: Faces, files: Path) -> Opened:
    """CFP, frontal against frontal: CFP's ``Protocol`` folder."""
    return _cfp(faces, files, "FF")


@protocols.register("cfp_fp")
def open_cfp_fp(faces: Faces, files: Path) -> Opened:
    """CFP, frontal against profile."""
    return _cfp(faces, files, "FP")


@protocols.register("pairs")
def open_pairs(faces: Faces, files: Path | None = None) -> Opened:
    """One's own pairs: a list of rows ``a, b, same``, or a verification pack (``.bin``), which needs no list."""
    return open_pack(faces) if files is None else _listed(read_own_pairs(files), faces)


@protocols.register("agedb_30")
def open_agedb_30(faces: Faces, files: Path | None = None) -> Opened:
    """AgeDB-30: InsightFace's ``agedb_30.bin``, or one's own list of its pairs."""
    return open_pack(faces, "AgeDB-30") if files is None else _listed(_named(read_own_pairs(files), "AgeDB-30"), faces)


@protocols.register("calfw")
def open_calfw(faces: Faces, files: Path | None = None) -> Opened:
    """CALFW: ``calfw.bin``, or pictures and ``pairs_CALFW.txt``."""
    return open_pack(faces, "CALFW") if files is None else _listed(read_line_pairs(files, "CALFW"), faces)


@protocols.register("cplfw")
def open_cplfw(faces: Faces, files: Path | None = None) -> Opened:
    """CPLFW: ``cplfw.bin``, or pictures and ``pairs_CPLFW.txt``."""
    return open_pack(faces, "CPLFW") if files is None else _listed(read_line_pairs(files, "CPLFW"), faces)


@protocols.register("xqlfw")
def open_xqlfw(faces: Faces, files: Path) -> Opened:
    """XQLFW: ``xqlfw_pairs.txt``, written as LFW's list is."""
    return _listed(_named(read_lfw_pairs(files), "XQLFW"), faces)


@protocols.register("drawn")
def open_drawn(people: int, seed: int, *, low_quality: float = 0.0) -> Opened:
    """Drawn people whom nobody trained on; a share of their faces blurred, small and compressed."""
    if not 0.0 <= low_quality <= 1.0:
        raise UsageError(f"expected a share from 0 to 1, got {low_quality}", where="low_quality of protocol drawn")
    first, second, same, drawn = drawn_pairs(people, seed, low_quality)
    name = "drawn" if not low_quality else f"drawn-low-quality-{low_quality:g}"
    return Opened(PairsProtocol(Pairs(name, first, second, same, 10)), FaceSet((drawn,), drawn.scan()))


def open_pack(path: Faces, name: str | None = None) -> Opened:
    """The pairs of a verification pack, in ten contiguous folds."""
    if isinstance(path, FaceSet) or path.is_dir() or is_zipfile(path):
        where = path.name if isinstance(path, FaceSet) else path
        what = f"{name or 'the protocol'} needs pairs besides these faces"
        raise UsageError(what, where=where, mend="give their list with --pairs")
    pack = PairPack(path)
    with told_of(path):
        pairs = Pairs(name or pack.name, pack.first, pack.second, pack.same)
    return Opened(PairsProtocol(pairs), FaceSet((pack,), pack.scan()))


def _cfp(faces: Faces, files: Path, kind: Literal["FF", "FP"]) -> Opened:
    return _listed(read_cfp_pairs(files, kind), faces)


def _named(pairs: Pairs, name: str) -> Pairs:
    return Pairs(name, pairs.first, pairs.second, pairs.same, pairs.folds, pairs.people)


def _listed(pairs: Pairs, faces: Faces) -> Opened:
    return Opened(PairsProtocol(pairs), open_faces(faces))
