"""What a manifest is made of: a row, the keys by row, and what the whole says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hyperarc.data.findings import Finding


class Row(NamedTuple):
    """One face of a manifest; ``landmarks`` is float32 [5, 2] or None."""

    face: str
    source: str
    person: str
    label: int
    landmarks: npt.NDArray[np.float32] | None
    width: int
    height: int
    color: str
    keep: bool
    reason: str


@dataclass(frozen=True)
class About:
    """What a manifest says of itself.

    Attributes:
        name: of the data set.
        licence: under which its faces may be used.
        sources: short name of each source to what it is, such as a path.
        findings: what making it left out or merged.
    """

    name: str = ""
    licence: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def encoded(self) -> dict[str, Any]:
        """As plain JSON types, for the metadata of a file."""
        found = [[f.what, f.count, list(f.names), f.source] for f in self.findings]
        return {"name": self.name, "licence": self.licence, "sources": dict(self.sources), "findings": found}

    @staticmethod
    def decoded(plain: Mapping[str, Any]) -> About:
        """What :meth:`encoded` wrote; missing entries are empty.

        Example:
            >>> About.decoded(About("tiny").encoded()).name
            'tiny'
        """
        found = tuple(Finding(w, int(c), tuple(n), s) for w, c, n, s in plain.get("findings", []))
        sources = dict(plain.get("sources", {}))
        return About(str(plain.get("name", "")), str(plain.get("licence", "")), sources, found)


class Keys:
    """Face keys by row index, kept as one Arrow array.

    Example:
        >>> Keys(pa.array(["a/1", "b/2"]))(np.array([1, 0]))
        ['b/2', 'a/1']
    """

    def __init__(self, column: pa.Array) -> None:
        self._column = column

    def __call__(self, rows: npt.NDArray[np.integer]) -> list[str]:
        keys: list[str] = self._column.take(pa.array(rows)).to_pylist()
        return keys
