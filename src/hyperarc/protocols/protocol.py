"""One interface for every protocol: which faces are needed, and what their embeddings come to.

A protocol is declared by a function that opens it from what a user gives::

    @protocols.register("mine")
    def open_mine(faces: Faces, files: Path, *, ranks: int = 10) -> Opened: ...

Its parameters say what it needs. ``faces`` is the path of the faces, or a set of them, either of which
:func:`hyperarc.data.face_set.open_faces` takes; ``files`` is the path of the protocol's own files (``--data`` and
``--pairs``), ``people`` and ``seed`` those of the evaluation; all others are the protocol's own
arguments. A parameter without a default must be given. Other packages declare protocols as entry points of the group
``hyperarc.protocols``.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hyperarc.data.face_set import FaceSet
from hyperarc.data.formats.http_bytes import as_text, is_url
from hyperarc.data.sources import is_there
from hyperarc.errors import DataError, UsageError, unknown_name
from hyperarc.protocols.embedded import Embedded
from hyperarc.protocols.pair_lists import Pairs
from hyperarc.protocols.result import Result
from hyperarc.recipe import Evaluation
from hyperarc.recipe.file import expand_path
from hyperarc.registry import Registry

_GIVEN = {"faces": "faces", "files": "pairs"}  # parameters and the keys of an evaluation
_DRAWN = ("people", "seed")


class Protocol(ABC):
    """What is compared, and how it is judged.

    Attributes:
        name: of what is judged, such as ``"LFW"``.
        pairs: the pairs that are compared, where faces are compared one by one; None elsewhere.
    """

    name: str
    pairs: Pairs | None = None

    @abstractmethod
    def faces(self) -> Sequence[str]:
        """Keys of the faces whose embeddings are needed, each once, in any order."""

    @abstractmethod
    def judge(self, embedded: Embedded) -> Result:
        """What the embeddings come to. A face that is absent is counted and scored by the protocol's stated rule."""


class Opened(NamedTuple):
    """A protocol, and where its faces are."""

    protocol: Protocol
    faces: FaceSet


protocols: Registry[Callable[..., Opened]] = Registry("protocol", "hyperarc.protocols")


def protocol_names() -> list[str]:
    """Names of all protocols, sorted.

    Example:
        >>> "lfw" in protocol_names()
        True
    """
    return protocols.names()


def takes(name: str, key: str) -> bool:
    """Whether a protocol has a use for a key of an evaluation, ``faces`` or ``pairs``.

    Example:
        >>> takes("lfw", "pairs"), takes("folder", "pairs")
        (True, False)
    """
    parameters = inspect.signature(protocols.get(name)).parameters
    return any(_GIVEN.get(parameter) == key for parameter in parameters)


def check_evaluation(evaluation: Evaluation, faces: FaceSet | None = None) -> None:
    """Whether an evaluation can be opened, seen without reading its files; ``faces`` stand in for its own.

    Raises:
        UnknownNameError: no such protocol, or no such argument of it.
        UsageError: paths that the protocol needs are not given, or it has no use for one.
        DataError: nothing is at a path.
    """
    _arguments(evaluation, faces)


def open_protocol(evaluation: Evaluation, faces: FaceSet | None = None) -> Opened:
    """The protocol of an evaluation, its files read; errors as :func:`check_evaluation`, and those of the files.

    ``faces`` that are open already, such as those of stored embeddings, stand in for its own.
    """
    return protocols.get(evaluation.protocol)(**_arguments(evaluation, faces))


def _arguments(evaluation: Evaluation, faces: FaceSet | None) -> dict[str, Any]:
    """What the protocol's opener is called with."""
    name = evaluation.protocol
    parameters = inspect.signature(protocols.get(name)).parameters
    own = [parameter for parameter in parameters if parameter not in (*_GIVEN, *_DRAWN)]
    for argument in evaluation.arguments:
        if argument not in own:
            raise unknown_name(f"argument of protocol {name!r}:", argument, own)
    protocols.check_arguments(name, protocols.get(name), evaluation.arguments)
    given: dict[str, Any] = {"people": evaluation.people, "seed": evaluation.seed}
    given = {parameter: value for parameter, value in given.items() if parameter in parameters}
    for parameter, path in (("faces", evaluation.faces), ("files", evaluation.pairs)):
        if path is not None:
            if parameter not in parameters:
                raise UsageError(f"protocol {name} takes no {_GIVEN[parameter]}", where=path, mend="leave it out")
            given[parameter] = expand_path(path)
            if not (is_there(given[parameter]) or is_url(as_text(given[parameter]))):
                raise DataError(f"evaluation {name}: nothing there", where=given[parameter])
    if faces is not None and "faces" in parameters:
        given["faces"] = faces
    needed = [one for one, p in parameters.items() if p.default is inspect.Parameter.empty and one not in _DRAWN]
    if not {*needed} <= {*given, *evaluation.arguments}:
        words = " and ".join(_GIVEN.get(one, one) for one in needed)
        raise UsageError(f"protocol {name} needs {words}", mend="see docs/judging.md for what each protocol takes")
    return given | evaluation.arguments
