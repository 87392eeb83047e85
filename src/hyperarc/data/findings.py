"""What a scan left out or changed: counted and named, never silent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

NAMES_KEPT = 10_000
_NAMES_SHOWN = 5


@dataclass(frozen=True)
class Finding:
    """One thing noticed about a data set.

    Attributes:
        what: what was noticed, in the plural, such as ``"people without faces"``.
        count: how many.
        names: which ones, in sorted order; the first 10,000 are kept.
        source: short name of the source concerned, empty for all.

    Example:
        >>> str(finding("people without faces", ["b", "a"], source="lfw"))
        "lfw: 2 people without faces: 'a', 'b'"
    """

    what: str
    count: int
    names: tuple[str, ...] = ()
    source: str = ""

    def __str__(self) -> str:
        shown = ", ".join(repr(name) for name in self.names[:_NAMES_SHOWN])
        more = f" and {self.count - _NAMES_SHOWN} more" if self.count > _NAMES_SHOWN else ""
        start = f"{self.source}: " if self.source else ""
        return f"{start}{self.count} {self.what}" + (f": {shown}{more}" if shown else "")


def finding(what: str, names: Iterable[str], *, source: str = "") -> Finding:
    """A :class:`Finding` over all ``names``; the count is theirs.

    Example:
        >>> finding("people left out", ["x"]).count
        1
    """
    every = sorted(names)
    return Finding(what, len(every), tuple(every[:NAMES_KEPT]), source)
