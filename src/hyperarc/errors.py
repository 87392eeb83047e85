"""Errors that a user can mend.

Every message says what was expected, what came, where, and how to mend it. The command line prints such an error
as one paragraph and ends with code 1, of wrong usage with 2; anything else that escapes is a defect of HyperArc and
keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HyperArcError(Exception):
    """Base of all errors that a user can mend.

    Args:
        message: what was expected and what came.
        where: file, row, key or step concerned.
        mend: what to do about it.

    Example:
        >>> str(HyperArcError("expected 2 columns, got 3", where="pairs.txt:7", mend="remove the third"))
        'pairs.txt:7: expected 2 columns, got 3; remove the third'
    """

    def __init__(self, message: str, *, where: object = None, mend: str | None = None) -> None:
        self.where = where
        self.mend = mend
        text = message if where is None else f"{where}: {message}"
        super().__init__(text if mend is None else f"{text}; {mend}")


class UsageError(HyperArcError):
    """Wrong usage: a value outside its range, something that is missing or not wanted, options that exclude each other.

    What is well asked for and cannot be had, such as a file that is gone or a device that is not there, is none.
    """


class UnknownNameError(UsageError):
    """A name that nothing answers to; the message lists the nearest known ones."""


class RecipeError(HyperArcError):
    """A recipe that cannot be run: unknown key, value out of range, missing file."""


class DataError(HyperArcError):
    """Faces, manifests, pairs or protocol files that cannot be used."""


class ContractError(HyperArcError):
    """Embeddings or faces made under another contract."""


class ArtifactError(HyperArcError):
    """An artifact folder that is missing, incomplete or damaged."""


class CheckpointError(HyperArcError):
    """A checkpoint that is missing, damaged, or belongs to another run."""


class TrainingError(HyperArcError):
    """A training run that cannot go on, such as a non-finite loss."""


def nearest_names(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The known names most like ``name``, best first.

    Example:
        >>> nearest_names("arcfcae", ["arcface", "cosface", "softmax"])
        ['arcface', 'cosface']
    """
    return difflib.get_close_matches(name, list(known), n=most, cutoff=0.5)


def unknown_name(kind: str, name: str, known: Iterable[str], *, where: object = None) -> UnknownNameError:
    """An :class:`UnknownNameError` that names the nearest known names, or all when none is near.

    Example:
        >>> str(unknown_name("margin", "arcfcae", ["arcface", "softmax"]))
        "unknown margin 'arcfcae'; did you mean 'arcface'?"
    """
    names = sorted(known)
    near = nearest_names(name, names)
    asked = "did you mean " + " or ".join(repr(n) for n in near) + "?"
    mend = asked if near else "known: " + (", ".join(names) or "none")
    return UnknownNameError(f"unknown {kind} {name!r}", where=where, mend=mend)
