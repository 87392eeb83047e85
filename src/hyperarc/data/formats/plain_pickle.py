"""Reading pickles of plain content from strangers: numbers, text, bytes, lists, tuples, and arrays of bytes.

A pickle is a program for a small machine. The one here knows only what such content needs, runs nothing that a file
names, and makes nothing larger than the file. Names that numpy's arrays need are answered by stand-ins; every other
name, and every other opcode, is refused.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hyperarc.errors import DataError

_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_BYTES_MAKERS = ("_codecs.encode", *(f"{m}.{n}" for m in ("builtins", "__builtin__") for n in ("bytes", "bytearray")))
_BYTES, _BOOLS = "u1", "b1"
_MOST_DIMENSIONS = 32
_PUSHED = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_OLD_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}  # bytes, as Python 2 wrote them
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class _Name:
    """Something the pickle asks for by name."""

    name: str


@dataclass(frozen=True)
class _Kind:
    """In place of numpy's dtype."""

    code: str


@dataclass
class PlainArray:
    """In place of numpy's array of uint8 or bool: its bytes, whatever its shape."""

    content: bytes = b""


class _Unfit(Exception):
    """What stands at this place is not what should."""


def read_plain_pickle(data: bytes, where: object) -> Any:
    """The content of a pickle, of any protocol.

    Args:
        data: the whole pickle.
        where: what to call it in an error, usually its path.

    Returns:
        None, bool, int, str, bytes, list, tuple or :class:`PlainArray`. Python 2's strings are bytes.

    Raises:
        DataError: damaged; or refused, with the name or opcode that it asks for.

    Example:
        >>> import pickle
        >>> read_plain_pickle(pickle.dumps(([b"face"], [True])), "x.bin")
        ([b'face'], [True])
        >>> try:
        ...     read_plain_pickle(b"cos\\nsystem\\n.", "x.bin")
        ... except DataError as error:
        ...     print(error)
        x.bin: byte 0: refused: the pickle asks for 'os.system'; do not trust this file
    """
    return _Machine(data, where).run()


class _Machine:
    def __init__(self, data: bytes, where: object) -> None:
        self.data = data
        self.where = where
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def run(self) -> Any:
        try:
            for opcode, argument, at in pickletools.genops(self.data):
                self.at = at or 0
                if opcode.name == "STOP":
                    return self.pop()
                self.do(opcode.name, argument)
        except (_Unfit, ValueError, OverflowError) as error:
            raise DataError(
                f"unreadable pickle: {str(error)[:200]}", where=f"{self.where}: byte {self.at}", mend="copy it again"
            ) from error
        raise AssertionError("genops ends with STOP or raises")

    def do(self, opcode: str, argument: Any) -> None:
        if opcode in _PUSHED:
            self.stack.append(argument)
        elif opcode in _OLD_STRINGS:
            self.stack.append(argument.encode("latin-1"))
        elif opcode == "BYTEARRAY8":
            self.stack.append(bytes(argument))
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode])
        elif opcode in _TUPLES:
            items = [self.pop() for _ in range(_TUPLES[opcode])]
            self.stack.append(tuple(reversed(items)))
        elif opcode in _DEEDS:
            _DEEDS[opcode](self, argument)
        else:
            asked = f" for {argument!r}" if isinstance(argument, str) else ""
            raise self.refused(f"opcode {opcode}{asked[:200]}")

    def refused(self, what: str) -> DataError:
        return DataError(
            f"refused: the pickle asks for {what}", where=f"{self.where}: byte {self.at}", mend="do not trust this file"
        )

    def pop(self, kind: Any = object) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise _Unfit("an operand is missing")
        value = self.stack.pop()
        if not isinstance(value, kind):
            raise _Unfit(f"did not expect a {type(value).__name__.strip('_')}")
        return value

    def pop_marked(self) -> list[Any]:
        if not self.marks:
            raise _Unfit("a mark is missing")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def append(self, items: list[Any]) -> None:
        into = self.pop(list)
        into.extend(items)
        self.stack.append(into)

    def remember(self, number: int | None) -> None:
        value = self.pop()
        self.stack.append(value)
        self.memo[len(self.memo) if number is None else number] = value

    def recall(self, number: int) -> None:
        if number not in self.memo:
            raise _Unfit(f"nothing was remembered as {number}")
        self.stack.append(self.memo[number])

    def name(self, name: str) -> None:
        if name not in _CALLED and name != "numpy.ndarray":
            raise self.refused(repr(name[:200]))
        self.stack.append(_Name(name))

    def name_of_two(self) -> None:
        name, module = self.pop(str), self.pop(str)
        self.name(f"{module}.{name}")

    def call(self) -> None:
        arguments = self.pop(tuple)
        called: _Name = self.pop(_Name)
        if called.name not in _CALLED:
            raise self.refused(f"a call of {called.name!r}")
        self.stack.append(_CALLED[called.name](self, *_four(arguments)))

    def build(self) -> None:
        state = self.pop(tuple)
        target = self.pop((PlainArray, _Kind))
        self.stack.append(target)
        if isinstance(target, _Kind):
            return  # byte order and alignment, of which single bytes have none
        if len(state) != 5:
            raise _Unfit(f"an array's state of {len(state)} parts")
        _, shape, kind, _, content = state
        target.content = self.array(content, kind, shape).content

    def array(self, content: Any, kind: Any, shape: Any) -> PlainArray:
        if not isinstance(content, bytes) or not isinstance(kind, _Kind) or not isinstance(shape, tuple):
            raise _Unfit("an array without bytes, dtype or shape")
        fits = all(isinstance(n, int) and 0 <= n <= len(content) for n in shape) and len(shape) <= _MOST_DIMENSIONS
        if not fits or math.prod(shape) != len(content):
            raise _Unfit(f"an array whose shape does not fit its {len(content)} bytes")
        return PlainArray(content)

    def bytes_of(self, text: Any, encoding: Any) -> bytes:
        if encoding is None and (text is None or isinstance(text, bytes)):
            return text or b""
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise _Unfit("bytes that are not written as latin-1 text")
        self.copied += len(text)
        if self.copied > len(self.data):  # the same text again and again
            raise _Unfit("unpacks to more than its own size")
        return text.encode("latin-1")

    def kind(self, code: Any) -> _Kind:
        plain = code.decode("latin-1") if isinstance(code, bytes) else code
        if plain not in (_BYTES, _BOOLS):
            raise self.refused(f"an array of dtype {str(plain)[:20]!r}")
        return _Kind(plain)

    def scalar(self, kind: Any, content: Any) -> bool:
        if kind != _Kind(_BOOLS) or not isinstance(content, bytes) or len(content) != 1:
            raise _Unfit("a numpy number that is no bool")
        return content != b"\0"


def _four(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(arguments) > 4:
        raise _Unfit(f"a call with {len(arguments)} arguments")
    return (*arguments, *[None] * (4 - len(arguments)))


_DEEDS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_marked()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_marked())),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_marked()),
    "MEMOIZE": lambda machine, _: machine.remember(None),
    "PUT": lambda machine, number: machine.remember(number),
    "BINPUT": lambda machine, number: machine.remember(number),
    "LONG_BINPUT": lambda machine, number: machine.remember(number),
    "GET": lambda machine, number: machine.recall(number),
    "BINGET": lambda machine, number: machine.recall(number),
    "LONG_BINGET": lambda machine, number: machine.recall(number),
    "GLOBAL": lambda machine, name: machine.name(name.replace(" ", ".", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.name_of_two(),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.build(),
}

# what the arrays, bools and bytes of such pickles are made by; a call always has four arguments, absent ones are None
_CALLED: dict[str, Callable[[_Machine, Any, Any, Any, Any], Any]] = {
    "numpy.dtype": lambda machine, code, *_: machine.kind(code),
    **{f"{module}._reconstruct": lambda *_: PlainArray() for module in _MULTIARRAY},
    **{f"{module}.scalar": lambda machine, kind, content, *_: machine.scalar(kind, content) for module in _MULTIARRAY},
    **{
        f"{module}._frombuffer": lambda machine, content, kind, shape, _: machine.array(content, kind, shape)
        for module in _NUMERIC
    },
    **{name: lambda machine, text, encoding, *_: machine.bytes_of(text, encoding) for name in _BYTES_MAKERS},
}
