"""Ways in which templates may be stored, and what an attacker makes of each before inverting it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hyperarc.errors import UsageError, unknown_name
from hyperarc.inversion import Noise, Plain, Protection, Rotation, Signs, Truncation, recover_rotation
from hyperarc.inversion.protection import Templates

ALL = "all"
KINDS = ("none", "signs", "values", "noise", "rotation", "pairs")
_ASKED = re.compile(r"([a-z]+)(?::(\d+(?:\.\d+)?))?")
_KEYS = (b"one database", b"another database")


@dataclass(frozen=True, eq=False)
class Way:
    """One way of storing.

    Attributes:
        name: of it; protection: what is stored.
        other: the same of another database, with a key of its own where there are keys.
        known_pairs: plain and stored templates that the attacker has of other people, by which the rotation is undone.
    """

    name: str
    protection: Protection
    other: Protection
    known_pairs: int = 0

    def attacked(self, stored: Templates, rows: npt.NDArray[np.int64], known: tuple[Templates, Templates]) -> Templates:
        """What the attacker inverts: the stored templates of ``rows``, turned back as far as known pairs tell.

        Args:
            stored: of the whole gallery; rows: attacked.
            known: plain and stored templates of people who are not attacked, as many as there are.
        """
        if not self.known_pairs:
            return stored[rows]
        plain, turned = (one[: self.known_pairs] for one in known)
        return np.asarray(stored[rows] @ recover_rotation(plain, turned), np.float32)


def ways_of(text: str, dimension: int, seed: int) -> list[Way]:
    """The ways named, such as "none,signs,values:64,noise:30,rotation,pairs:64"; "all" is one of everything.

    Raises:
        UnknownNameError: a name that is none. UsageError: a number that does not fit.

    Example:
        >>> [way.name for way in ways_of("none,noise:30,pairs:8", 32, 0)]
        ['none', 'noise 30°', 'rotation, 8 pairs known']
    """
    quarter = max(1, dimension // 4)
    if text == ALL:
        text = f"none,signs,values:{quarter},noise:30,noise:60,rotation,pairs:{quarter}"
    found = list(_parsed(text, dimension, seed))
    names = [way.name for way in found]
    if not found or len(set(names)) < len(names):
        raise UsageError(f"expected ways of storing templates, each once, got {text!r}", where="--protect")
    return found


def _parsed(text: str, dimension: int, seed: int) -> Iterator[Way]:
    for word in filter(None, (word.strip() for word in text.split(","))):
        parts = _ASKED.fullmatch(word)
        kind = parts[1] if parts else word
        if kind not in KINDS:
            raise unknown_name("protection", kind, KINDS)
        number = None if parts is None or parts[2] is None else float(parts[2])
        if (number is None) == (kind in ("values", "noise", "pairs")):
            told = "needs a number" if number is None else "takes no number"
            raise UsageError(f"{kind} {told}, got {word!r}", where="--protect", mend="such as values:64, noise:30")
        yield _way(kind, number or 0.0, dimension, seed)


def _way(kind: str, number: float, dimension: int, seed: int) -> Way:
    if kind in ("rotation", "pairs"):
        # a measurement that can be repeated: a real database takes its key from secrets.token_bytes
        one, other = (Rotation(hashlib.sha256(key + b" %d" % seed).digest()) for key in _KEYS)
        if kind == "rotation":
            return Way("rotation, key secret", one, other)
        if number < 1:
            raise UsageError("expected at least one known pair", where="--protect")
        return Way(f"rotation, {number:g} pairs known", one, other, int(number))
    if kind == "values" and not 1 <= number <= dimension:
        raise UsageError(f"templates have {dimension} values, got values:{number:g}", where="--protect")
    if kind == "noise" and not 0 < number <= 180:
        raise UsageError(f"expected noise of 0 to 180 degrees, got {number:g}", where="--protect")
    made: dict[str, Protection] = {"none": Plain(), "signs": Signs()}
    made |= {"values": Truncation(int(number))} if kind == "values" else {}
    protection = Noise(number, seed) if kind == "noise" else made[kind]
    return Way(protection.name, protection, Noise(number, seed + 1) if kind == "noise" else protection)
