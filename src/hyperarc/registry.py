"""Names to things: a registry fills itself from the modules of one package.

A newcomer adds a margin, backbone or protocol by adding one file; nothing else is edited. The package is imported
at the first look-up, never at ``import hyperarc``. So are the modules that other installed packages name as entry
points of a group called like the package, such as ``hyperarc.margins``.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from importlib import metadata
from numbers import Integral, Real
from typing import Generic, TypeVar

from hyperarc.errors import HyperArcError, UsageError, unknown_name

T = TypeVar("T")

_PLAIN: dict[str, type] = {"float": Real, "int": Integral, "bool": bool}
_WORDS = {"float": "a number", "int": "a whole number", "bool": "true or false"}


class Registry(Generic[T]):
    """Named things of one kind, declared with :meth:`register` in the modules of ``package``.

    Args:
        kind: singular noun for error messages, such as ``"margin"``.
        package: dotted name of the package whose modules declare the things, and of the group of entry points.

    Example:
        >>> shapes = Registry[type]("shape")
        >>> @shapes.register("circle")
        ... class Circle: ...
        >>> shapes.names()
        ['circle']
    """

    def __init__(self, kind: str, package: str | None = None) -> None:
        self.kind = kind
        self._package = package
        self._things: dict[str, T] = {}
        self._entries_loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Declare the decorated thing under ``name``; declaring a name twice is an error.

        A thing of the same module and name takes its older self's place: a notebook's cell may be run again.
        """

        def declare(thing: T) -> T:
            if name in self._things and _home(self._things[name]) != _home(thing):
                raise ValueError(f"{self.kind} {name!r} is declared twice")
            self._things[name] = thing
            return thing

        return declare

    def names(self) -> list[str]:
        """All known names, sorted."""
        self._fill()
        return sorted(self._things)

    def get(self, name: str) -> T:
        """The thing called ``name``; :class:`UnknownNameError` names the nearest known ones."""
        self._fill()
        if name not in self._things:
            raise unknown_name(self.kind, name, self._things)
        return self._things[name]

    def argument_names(self, name: str, base: Callable[..., object]) -> list[str]:
        """Arguments that ``name`` takes, those that it hands on to ``base`` as ``**rest`` included."""
        return list(self._parameters(name, base))

    def check_arguments(self, name: str, base: Callable[..., object], given: Mapping[str, object]) -> None:
        """Raise an error unless every argument given is known, and a number or truth value where one is asked for.

        An unknown one is an :class:`UnknownNameError` that names the nearest known.
        """
        parameters = self._parameters(name, base)
        for argument, value in given.items():
            if argument not in parameters:
                raise unknown_name(f"argument of {self.kind} {name!r}:", argument, parameters)
            asked, _, optional = str(parameters[argument].annotation).partition(" | ")
            kind = _PLAIN.get(asked)
            if kind is None or (value is None and optional == "None"):
                continue
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                what = f"argument {argument} of {self.kind} {name!r}"
                raise UsageError(f"{what} must be {_WORDS[asked]}, got {value!r}")

    def _parameters(self, name: str, base: Callable[..., object]) -> dict[str, inspect.Parameter]:
        own = dict(inspect.signature(self.get(name)).parameters)  # type: ignore[arg-type]
        own.pop("rest", None)
        return own | {key: value for key, value in inspect.signature(base).parameters.items() if key not in own}

    def _fill(self) -> None:
        if self._package is None:
            return
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        if not self._entries_loaded:
            for entry in metadata.entry_points(group=self._package):
                _load(entry, self._package)
            self._entries_loaded = True


def _load(entry: metadata.EntryPoint, group: str) -> None:
    try:
        entry.load()
    except Exception as error:
        raise HyperArcError(
            f"cannot be imported: {type(error).__name__}: {error}",
            where=f"entry point {entry.name} = {entry.value} of {group}",
            mend="mend or uninstall the package that declares it",
        ) from error


def _home(thing: object) -> tuple[object, object]:
    return getattr(thing, "__module__", thing), getattr(thing, "__qualname__", thing)
